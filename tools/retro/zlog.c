#include "tools/retro/zlog.h"
#include "tools/retro/retro.h"

#include "replay/log_codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Bytes of a log that a frame holds, if its blocks divide so. */
#define FRAME_TARGET ((size_t)256 << 10)

/*
 * Records have two bytes of digest each, and blocks CRCs: a log does not shrink to a hundredth. Only console
 * and messages could, and there is not so much of them.
 */
#define BOMB_FREE  ((uint64_t)64 << 20)
#define BOMB_RATIO 100u

bool zlog_is(const uint8_t *bytes, size_t length)
{
    return length >= 4 && (bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                           (uint32_t)bytes[3] << 24) == ZSTD_MAGICNUMBER;
}

/* The most that a file of this size may expand to. */
static uint64_t bomb_limit(uint64_t file_size)
{
    return BOMB_FREE + file_size * BOMB_RATIO;
}

static int damaged(const char *path, const struct zlog_result *r, size_t at, const char *why)
{
    return fail(RETRO_DAMAGED, "%s: compressed frame %" PRIu64 " at offset %zu: %s", path, r->frames, at,
                why);
}

/* One frame into `frame`. 1: whole; 0: not all there; -1: damaged, after a message. */
static int expand_frame(const char *path, ZSTD_DCtx *d, ZSTD_inBuffer *in, struct buffer *frame,
                        uint64_t most, const struct zlog_result *r)
{
    size_t begin = in->pos, left;
    uint8_t piece[1 << 14];

    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    frame->length = 0;
    do {
        ZSTD_outBuffer out = {piece, sizeof piece, 0};
        size_t before = in->pos;
        left = ZSTD_decompressStream(d, &out, in);
        if (ZSTD_isError(left)) {
            damaged(path, r, begin, ZSTD_getErrorName(left));
            return -1;
        }
        if (frame->length + out.pos > most) {
            damaged(path, r, begin, "it expands to more than a log of this size can");
            return -1;
        }
        buffer_add(frame, piece, out.pos);
        if (left && !out.pos && in->pos == before)
            return 0;
    } while (left);
    return 1;
}

int zlog_expand(const char *path, const uint8_t *bytes, size_t length, int out, struct zlog_result *r)
{
    ZSTD_inBuffer in = {bytes, length, 0};
    ZSTD_DCtx *d = ZSTD_createDCtx();
    struct buffer frame = {0};
    uint64_t written = 0;
    int code = RETRO_OK;

    *r = (struct zlog_result){0};
    if (!d)
        abort();
    while (code == RETRO_OK && in.pos < length && !r->cut && !r->damaged) {
        uint64_t most = bomb_limit(length) - written;
        int whole = expand_frame(path, d, &in, &frame, most, r);
        r->cut = whole == 0;
        r->damaged = whole < 0;
        if (whole <= 0)
            break;
        if (write_all(out, frame.data, frame.length))
            code = fail(RETRO_IO, "cannot expand %s: %s", path, strerror(errno));
        written += frame.length;
        r->frames++;
    }
    buffer_free(&frame);
    ZSTD_freeDCtx(d);
    return code;
}

/* The end of the frame that begins at `from`: behind as many whole blocks as fit, or one that is larger. */
static size_t frame_end(struct log_reader *r, const uint8_t *bytes, size_t length, size_t from)
{
    struct log_block block;
    size_t end = from;

    while (r->offset - from < FRAME_TARGET && log_reader_next(r, bytes, length, &block) == LOG_BLOCK)
        end = (size_t)r->offset;
    return end > from ? end : MIN(length, from + FRAME_TARGET);
}

int zlog_compress(const char *path, const uint8_t *bytes, size_t length, int out, int level)
{
    size_t room = ZSTD_compressBound(FRAME_TARGET + LOG_PAYLOAD_MAX + LOG_BLOCK_EXTRA);
    uint8_t *frame = xmalloc(room);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    struct log_reader r;
    uint64_t written = 0;
    int code = RETRO_OK;

    if (!c)
        abort();
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    log_reader_init(&r);
    for (size_t at = 0; code == RETRO_OK && at < length;) {
        size_t end = frame_end(&r, bytes, length, at);
        size_t n = ZSTD_compress2(c, frame, room, bytes + at, end - at);
        if (ZSTD_isError(n))
            code = fail(RETRO_IO, "cannot compress %s: %s", path, ZSTD_getErrorName(n));
        else if (write_all(out, frame, n))
            code = fail(RETRO_IO, "cannot write what %s is compressed to: %s", path, strerror(errno));
        written += n;
        at = end;
    }
    if (code == RETRO_OK && length > bomb_limit(written))
        code = fail(RETRO_USAGE, "%s shrinks more than a log can: nobody would read that back", path);
    ZSTD_freeCCtx(c);
    free(frame);
    return code;
}
