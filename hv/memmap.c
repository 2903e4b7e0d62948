#include "hv/memmap.h"

#include "boot/multiboot2.h"
#include "hv/mem.h"

#define LOW_MEMORY_END   (UINT64_C(1) << 20)
#define LOW_USABLE_END   (UINT64_C(640) << 10)
#define PAGING_LEAST_END (UINT64_C(4) << 30)

static uint64_t region_end(const struct boot_region *r)
{
    return r->base + r->length; /* the parser has checked that it does not wrap */
}

bool memmap_find_free(const struct boot_info *boot, const struct image_layout *image, struct mem *mem)
{
    bool good = true;

    mem->count = 0;
    for (uint32_t i = 0; i < boot->region_count; i++) {
        if (boot->regions[i].type == BOOT_MEMORY_USABLE) {
            good = good && mem_add(mem, boot->regions[i].base, region_end(&boot->regions[i]));
        }
    }
    /* Where the map contradicts itself, usable loses. */
    for (uint32_t i = 0; i < boot->region_count; i++) {
        if (boot->regions[i].type != BOOT_MEMORY_USABLE) {
            good = good && mem_remove(mem, boot->regions[i].base, region_end(&boot->regions[i]));
        }
    }
    for (uint32_t i = 0; i < boot->module_count; i++) {
        good = good && mem_remove(mem, boot->modules[i].start, boot->modules[i].end);
    }
    return good && mem_remove(mem, 0, LOW_MEMORY_END) && mem_remove(mem, image->start, image->end) &&
           mem_remove(mem, boot->info_address, boot->info_address + boot->info_size) &&
           mem_remove(mem, PAGING_ADDRESS_END, UINT64_MAX);
}

static bool overlaps(uint64_t page, uint64_t start, uint64_t end)
{
    return start < page + PAGE_SIZE && page < end;
}

static bool low_page_is_free(const struct boot_info *boot, uint64_t page)
{
    bool usable = false;

    for (uint32_t i = 0; i < boot->region_count; i++) {
        const struct boot_region *r = &boot->regions[i];

        if (r->type != BOOT_MEMORY_USABLE) {
            if (overlaps(page, r->base, region_end(r))) {
                return false;
            }
        } else if (r->base <= page && region_end(r) >= page + PAGE_SIZE) {
            usable = true;
        }
    }
    for (uint32_t i = 0; i < boot->module_count; i++) {
        if (overlaps(page, boot->modules[i].start, boot->modules[i].end)) {
            return false;
        }
    }
    return usable && !overlaps(page, boot->info_address, boot->info_address + boot->info_size);
}

bool memmap_find_low_page(const struct boot_info *boot, uint64_t *page)
{
    /* From the top: the lowest pages hold the BIOS's data. */
    for (uint64_t p = LOW_USABLE_END - PAGE_SIZE; p >= PAGE_SIZE; p -= PAGE_SIZE) {
        if (low_page_is_free(boot, p)) {
            *page = p;
            return true;
        }
    }
    return false;
}

static void *alloc_table(void *context)
{
    return mem_alloc(context, PAGE_SIZE, PAGE_SIZE);
}

static bool is_ram(uint32_t type)
{
    return type == BOOT_MEMORY_USABLE || type == BOOT_MEMORY_ACPI_TABLES || type == BOOT_MEMORY_ACPI_NVS;
}

static bool map_ram(const struct boot_region *r, struct paging *paging)
{
    uint64_t start = ALIGN_UP(MIN(r->base, PAGING_ADDRESS_END), (uint64_t)PAGE_SIZE);
    uint64_t end = MIN(region_end(r), PAGING_ADDRESS_END) & ~PAGE_MASK;

    return !is_ram(r->type) || start >= end || paging_set(paging, start, end, PAGING_DATA);
}

bool memmap_build_paging(const struct boot_info *boot, const struct image_layout *image, bool pages_1g,
                         struct mem *mem, struct paging *paging)
{
    bool good = paging_init(paging, pages_1g, alloc_table, mem) &&
                paging_set(paging, 0, PAGING_LEAST_END, PAGING_MMIO);

    for (uint32_t i = 0; i < boot->region_count; i++) {
        good = good && map_ram(&boot->regions[i], paging);
    }
    return good && paging_set(paging, 0, PAGE_SIZE, 0) &&
           paging_set(paging, image->start, image->text_end, PAGING_CODE) &&
           paging_set(paging, image->text_end, image->rodata_end, PAGING_RODATA) &&
           paging_set(paging, image->rodata_end, image->end, PAGING_DATA);
}
