/* Pure, part of the loader. The guest's memory map, as firmware gives it. */
#ifndef RV_HV_GUESTMEM_MEMORY_MAP_H
#define RV_HV_GUESTMEM_MEMORY_MAP_H

#include "hv/base/types.h"
#include "hv/guestmem/loader.h"

#define MEMORY_RANGES  4u
#define MEMORY_ONE_MIB (UINT64_C(1) << 20)

/* Types of ranges: the same numbers in E820 maps (ACPI 6.5 15.3) and multiboot2's (3.6.8). */
enum memory_type {
    MEMORY_AVAILABLE = 1,
    MEMORY_RESERVED = 2,
    MEMORY_ACPI = 3, /* tables; available once they have been read */
};

struct memory_range {
    uint64_t base;
    uint64_t bytes;
    uint32_t type; /* enum memory_type */
};

/* Fills in all MEMORY_RANGES of a guest with `mem_bytes` of memory, ascending, without gaps. */
static inline void memory_map(uint64_t mem_bytes, struct memory_range *out)
{
    uint64_t top = mem_bytes - LOADER_RESERVED_BYTES;

    out[0] = (struct memory_range){0, LOADER_LOW_END, MEMORY_AVAILABLE};
    out[1] = (struct memory_range){LOADER_LOW_END, MEMORY_ONE_MIB - LOADER_LOW_END, MEMORY_RESERVED};
    out[2] = (struct memory_range){MEMORY_ONE_MIB, top - MEMORY_ONE_MIB, MEMORY_AVAILABLE};
    out[3] = (struct memory_range){top, LOADER_RESERVED_BYTES, MEMORY_ACPI};
}

#endif
