/*
 * The boot-time page allocator: hands out memory that the memory map calls usable and nobody holds. Pure.
 * Nothing is given back piece by piece; whoever runs one guest after the other (hv/soak.c) keeps a copy of
 * the struct and assigns it again, which takes back all that was handed out since. Not locked: the boot
 * processor allocates while the others do not run.
 */
#ifndef RV_HV_MEM_H
#define RV_HV_MEM_H

#include "hv/base/types.h"

#define MEM_MAX_RANGES 256

/* [start, end), page-aligned, ascending, not touching each other. */
struct mem_range {
    uint64_t start;
    uint64_t end;
};

struct mem {
    uint32_t count;
    struct mem_range ranges[MEM_MAX_RANGES];
};

/*
 * Adds what is free: partial pages at both ends are dropped, parts already there count once. False: too many
 * ranges; the struct is then unchanged.
 */
bool mem_add(struct mem *mem, uint64_t start, uint64_t end);

/* Removes what somebody holds: partial pages at both ends go as well. False: too many ranges; unchanged. */
bool mem_remove(struct mem *mem, uint64_t start, uint64_t end);

/*
 * Takes `bytes` (rounded up to pages) at a multiple of `align` (a power of two, at least PAGE_SIZE), from the
 * lowest range that has room. False when none has. The memory is not touched.
 */
bool mem_take(struct mem *mem, uint64_t bytes, uint64_t align, uint64_t *address);

/* The same, identity-mapped and zeroed; NULL when exhausted. */
void *mem_alloc(struct mem *mem, uint64_t bytes, uint64_t align);

/* What is left, in bytes, all ranges together. */
uint64_t mem_free_bytes(const struct mem *mem);

#endif
