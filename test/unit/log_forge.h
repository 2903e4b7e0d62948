/*
 * Blocks made by hand from replay/FORMAT.md, for logs that the writer would never write. It shares no code
 * with the codec, its CRC included.
 */
#ifndef RV_TEST_UNIT_LOG_FORGE_H
#define RV_TEST_UNIT_LOG_FORGE_H

#include <string.h>

#include "hv/base/types.h"

#define FORGE_SIZE 8192u

struct forge {
    uint8_t bytes[FORGE_SIZE];
    size_t size;
    uint32_t number; /* of the next block */
};

static inline uint32_t forge_crc(const uint8_t *bytes, size_t length)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static inline void forge_number(struct forge *f, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        f->bytes[f->size++] = (uint8_t)(value >> 8 * i);
}

/* Appends a block with sound CRCs and whatever else the caller says. */
static inline void forge_block(struct forge *f, uint16_t type, uint16_t flags, const void *payload,
                               uint32_t length)
{
    size_t begin = f->size;

    forge_number(f, 0x4b425652, 4);
    forge_number(f, type, 2);
    forge_number(f, flags, 2);
    forge_number(f, length, 4);
    forge_number(f, f->number++, 4);
    forge_number(f, forge_crc(f->bytes + begin, 16), 4);
    memcpy(f->bytes + f->size, payload, length);
    f->size += length;
    forge_number(f, forge_crc(f->bytes + begin, f->size - begin), 4);
    forge_number(f, length, 4);
}

/* Appends a block whose payload is `f->bytes[begin..]` of another forge. */
static inline void forge_block_of(struct forge *f, uint16_t type, const struct forge *payload)
{
    forge_block(f, type, 0, payload->bytes, (uint32_t)payload->size);
}

/* A HEADER of minor version 0; or, where positions count `event`, of minor version 2. */
static inline void forge_counting_header(struct forge *f, uint32_t vcpus, uint8_t event)
{
    struct forge p = {.size = 0};

    forge_number(&p, 1, 2);             /* major */
    forge_number(&p, event ? 2 : 0, 2); /* minor */
    forge_number(&p, 1, 4);             /* semantics */
    forge_number(&p, vcpus, 4);
    forge_number(&p, 1, 4);       /* CPUID model */
    forge_number(&p, 1 << 20, 8); /* memory */
    forge_number(&p, 0x1234, 8);  /* image digest */
    forge_number(&p, 64, 4);      /* pause limit */
    forge_number(&p, 24, 4);      /* time stride */
    forge_number(&p, 1024, 4);    /* time quantum */
    forge_number(&p, 0, 2);       /* command line length */
    forge_number(&p, 0, 2);       /* build id length */
    forge_number(&p, 0, 8);       /* TSC rate */
    forge_number(&p, 0, 8);       /* seed */
    if (event) {
        forge_number(&p, 0, 8); /* host traits */
        forge_number(&p, event, 1);
    }
    forge_block_of(f, 0x0001, &p);
}

static inline void forge_header(struct forge *f, uint32_t vcpus)
{
    forge_counting_header(f, vcpus, 0);
}

static inline void forge_flagged_commits(struct forge *f, uint16_t flags, uint64_t first, uint32_t count,
                                         const void *records, size_t length)
{
    struct forge p = {.size = 0};

    forge_number(&p, first, 8);
    forge_number(&p, 0, 8); /* digest */
    forge_number(&p, count, 4);
    memcpy(p.bytes + p.size, records, length);
    p.size += length;
    forge_block(f, 0x0002, flags, p.bytes, (uint32_t)p.size);
}

static inline void forge_commits(struct forge *f, uint64_t first, uint32_t count, const void *records,
                                 size_t length)
{
    forge_flagged_commits(f, 0, first, count, records, length);
}

static inline void forge_trailer(struct forge *f, unsigned vcpus, uint64_t commits)
{
    struct forge p = {.size = 0};

    forge_number(&p, (uint64_t)vcpus << 16, 4); /* outcome 0, vcpu 0, vcpus, no reason */
    forge_number(&p, 0, 4);                     /* status */
    forge_number(&p, commits, 8);
    for (unsigned i = 0; i < 3 + vcpus; i++)
        forge_number(&p, 0, 8); /* digests, console bytes */
    forge_block_of(f, 0x0003, &p);
}

#endif
