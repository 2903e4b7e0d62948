/*
 * The machine's memory: what is free, and how it is mapped. Boot processor, before the others run.
 */
#ifndef RV_HV_MEMMAP_H
#define RV_HV_MEMMAP_H

#include "hv/base/types.h"
#include "hv/cpu/paging.h"

struct boot_info;
struct mem;

/* Where the hypervisor's image lies: page-aligned, from the linker. Text, read-only data, data in this order.
 */
struct image_layout {
    uint64_t start;
    uint64_t text_end;
    uint64_t rodata_end;
    uint64_t end;
};

/*
 * Pure. Free memory: what the map calls usable, minus what it calls anything else, the low 1 MiB, the image,
 * the boot information and the modules. False: too many pieces.
 */
bool memmap_find_free(const struct boot_info *boot, const struct image_layout *image, struct mem *mem);

/*
 * Pure. A page below 640 KiB, not page 0, that is usable and held by nothing: for the application processors'
 * start. False: none.
 */
bool memmap_find_low_page(const struct boot_info *boot, uint64_t *page);

/*
 * Pure. Maps all RAM cached, the rest of the first 4 GiB uncached, the image by its rights, and page 0 not at
 * all. Tables come from `mem`. The map must outlive the struct mem's address. False: no memory.
 */
bool memmap_build_paging(const struct boot_info *boot, const struct image_layout *image, bool pages_1g,
                         struct mem *mem, struct paging *paging);

#endif
