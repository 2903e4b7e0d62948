/*
 * Logs at rest: zstd frames (RFC 8878) behind each other, each of some whole blocks of the log and with its
 * own checksum, so that a file that was cut off is usable up to its last whole frame.
 */
#ifndef RV_TOOLS_RETRO_ZLOG_H
#define RV_TOOLS_RETRO_ZLOG_H

#include "tools/retro/util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZLOG_LEVEL = 12 };

/* True if a file that begins with these bytes is compressed. */
bool zlog_is(const uint8_t *bytes, size_t length);

/* What expanding came to. */
struct zlog_result {
    uint64_t frames; /* whole ones */
    bool cut;        /* the last frame is not all there: nothing of it counts */
    bool damaged;    /* a message has told which frame and why; those before it count */
};

/*
 * Expands the `length` bytes at `bytes` into the file `out`; `path` is for messages. Returns RETRO_OK, also
 * where it could not be done in full (see `result`), or RETRO_IO after a message.
 */
int zlog_expand(const char *path, const uint8_t *bytes, size_t length, int out, struct zlog_result *result);

/* Compresses the `length` bytes of a log at `bytes` into the file `out`. Returns RETRO_OK, or an exit code
 * after a message. Bytes that are no sound log are kept as they are. */
int zlog_compress(const char *path, const uint8_t *bytes, size_t length, int out, int level);

#endif
