/*
 * Little-endian numbers and varints as bytes, for the codec's own use. Writers are told by their caller
 * that there is room; readers go through a cursor that remembers its first error.
 */
#ifndef RV_REPLAY_LOG_BYTES_H
#define RV_REPLAY_LOG_BYTES_H

#include <string.h>

#include "replay/log_format.h"

#define VARINT_BITS 7u
#define VARINT_MORE 0x80u

/* The processors that this runs on are little-endian: a copy is the encoding. */
static inline uint8_t *put8(uint8_t *p, uint8_t v)
{
    *p = v;
    return p + 1;
}

static inline uint8_t *put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t length)
{
    memcpy(p, bytes, length);
    return p + length;
}

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= VARINT_MORE; v >>= VARINT_BITS)
        *p++ = (uint8_t)(v | VARINT_MORE);
    *p++ = (uint8_t)v;
    return p;
}

/* The difference of two numbers modulo 2^64, small where they are close on either side. */
static inline uint8_t *put_delta(uint8_t *p, uint64_t value, uint64_t previous)
{
    uint64_t d = value - previous;

    return put_varint(p, d << 1 ^ (0 - (d >> 63)));
}

/* Bytes still to read; `at` stays put once `error` is set. */
struct log_cursor {
    const uint8_t *at, *end;
    enum log_error error;
};

static inline const uint8_t *get_bytes(struct log_cursor *c, size_t length)
{
    const uint8_t *p = c->at;

    if (c->error || (size_t)(c->end - p) < length) {
        c->error = c->error ? c->error : LOG_ERROR_RECORD_SHORT;
        return NULL;
    }
    c->at += length;
    return p;
}

static inline uint8_t get8(struct log_cursor *c)
{
    const uint8_t *p = get_bytes(c, 1);

    return p ? *p : 0;
}

static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint16_t get16(struct log_cursor *c)
{
    const uint8_t *p = get_bytes(c, 2);

    return p ? load16(p) : 0;
}

static inline uint32_t get32(struct log_cursor *c)
{
    const uint8_t *p = get_bytes(c, 4);

    return p ? load32(p) : 0;
}

/* A varint of at most `max`; one that is longer than needed is refused, so that a value has one form. */
static inline uint64_t get_varint(struct log_cursor *c, uint64_t max)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += VARINT_BITS) {
        uint8_t byte = get8(c);
        uint64_t part = (uint64_t)(byte & (VARINT_MORE - 1)) << shift;

        if (c->error)
            return 0;
        if (part >> shift != (byte & (VARINT_MORE - 1)))
            break;
        v |= part;
        if (byte & VARINT_MORE)
            continue;
        if ((shift && !byte) || v > max)
            break;
        return v;
    }
    c->error = LOG_ERROR_VARINT;
    return 0;
}

static inline uint64_t get_delta(struct log_cursor *c, uint64_t previous)
{
    uint64_t z = get_varint(c, UINT64_MAX);

    return previous + (z >> 1 ^ (0 - (z & 1)));
}

#endif
