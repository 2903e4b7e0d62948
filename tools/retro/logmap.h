/* A log file seen as memory, while it is being written or whole; what log_reader wants. */
#ifndef RV_TOOLS_RETRO_LOGMAP_H
#define RV_TOOLS_RETRO_LOGMAP_H

#include "replay/log_codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct logmap {
    int fd;
    const uint8_t *bytes; /* NULL while nothing is mapped */
    size_t mapped;        /* address space taken; only `size` of it may be read */
    uint64_t bad_at;      /* after a walk that ended by LOG_ERROR: where it is wrong, perhaps a record */
    size_t size;          /* bytes of the file; of a compressed one, what it expands to */
    bool compressed;      /* `fd` is not the file, but a copy of what it expands to */
    bool damaged;         /* it does not expand to its end; a message has told why */
    uint64_t file_size;   /* logmap_open: of the file as it lies there */
};

/* Maps a file open for reading, `size` bytes of it. Returns 0, or -1 with errno set. */
int logmap_init(struct logmap *m, int fd, size_t size);
/* The file has grown to `size` bytes. Returns as logmap_init does; `bytes` may move. */
int logmap_grow(struct logmap *m, size_t size);
/* Opens a log that exists, compressed or not. Prints a message and returns an exit code where it fails, else
 * RETRO_OK. */
int logmap_open(struct logmap *m, const char *path);
/* Unmaps, and closes the file. */
void logmap_close(struct logmap *m);

/*
 * Reads all blocks of `m`, stopping at the first that is damaged or holds a record or a counter that does
 * not decode; `r` then stands before that block, but for `next`, which counts its good records. `visit` (may
 * be NULL) is called for each, a block with such a record included, which it reads up to there. Returns the
 * reader's last status: LOG_END, LOG_NEED_MORE (cut off) or LOG_ERROR.
 */
enum log_status logmap_walk(struct logmap *m, struct log_reader *r,
                            void (*visit)(void *context, const struct log_reader *r,
                                          const struct log_block *b),
                            void *context);

/*
 * Reads the whole log and its header, for commands that need nothing else. Damage and cuts behind the
 * header are told in `status` alone. Prints a message and returns an exit code if there is no header.
 */
int logmap_header(struct logmap *m, const char *path, struct log_reader *r, enum log_status *status);

/* The exit code for how a walk ended: RETRO_OK, RETRO_INCOMPLETE or RETRO_DAMAGED; prints what is wrong. */
int logmap_report(const struct logmap *m, const char *path, const struct log_reader *r,
                  enum log_status status);

#endif
