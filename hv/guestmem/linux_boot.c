#include "hv/guestmem/linux_boot.h"

#include <string.h>

#include "hv/guestmem/memory_map.h"

/* Where in memory below 640 KiB things are; a kernel copies what it wants to keep. */
enum {
    GDT_AT = 0x1000,
    ZERO_PAGE_AT = 0x2000,
    COMMAND_LINE_AT = 0x3000, /* LOADER_MAX_COMMAND_LINE bytes */
    PML4_AT = 0x4000,
    PDPT_AT = 0x5000,
    PD_AT = 0x6000, /* PD_COUNT pages */
    PD_COUNT = 4,   /* the lowest 4 GiB */
    LOW_END = PD_AT + PD_COUNT * PAGE_SIZE,
};
_Static_assert(PML4_AT - COMMAND_LINE_AT >= LOADER_MAX_COMMAND_LINE, "room for the command line");

/* Offsets in the zero page ("Zero Page", struct boot_params). */
enum {
    AT_RSDP = 0x70, /* from protocol 0x20e on; zeros mean nothing to older kernels */
    AT_E820_COUNT = 0x1e8,
    AT_LOADER_TYPE = 0x210,
    AT_INITRD = 0x218,
    AT_INITRD_BYTES = 0x21c,
    AT_COMMAND_LINE = 0x228,
    AT_E820 = 0x2d0,
};
#define LOADER_TYPE_OTHER 0xffu /* a loader without a number of its own */

struct e820_entry {
    uint64_t base;
    uint64_t bytes;
    uint32_t type; /* enum memory_type */
} __attribute__((packed));
_Static_assert(sizeof(struct e820_entry) == 20, "struct boot_e820_entry");

/* Flat 64-bit code and data (SDM 3A 3.4.5): G, P, accessed; L or D/B. */
#define GDT_CODE UINT64_C(0x00af9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)

#define PTE_TABLE UINT64_C(0x03) /* P, R/W */
#define PTE_2M    UINT64_C(0x83) /* P, R/W, PS */
#define ENTRIES   512u

static uint64_t initrd_place(const struct linux_image *image, uint64_t initrd_bytes, uint64_t mem_bytes)
{
    uint64_t end = MIN(mem_bytes - LOADER_RESERVED_BYTES, image->initrd_end_max);

    return initrd_bytes <= end ? (end - initrd_bytes) & ~PAGE_MASK : 0;
}

enum load_result linux_boot_check(const struct linux_image *image, const struct load_request *request,
                                  uint64_t mem_bytes, uint64_t *detail)
{
    uint64_t top = mem_bytes - LOADER_RESERVED_BYTES;

    if (strlen(request->command_line) > image->command_line_max)
        return LOAD_LONG_COMMAND_LINE;
    if (image->gpa > top || image->memory_bytes > top - image->gpa) {
        *detail = image->gpa + image->memory_bytes + LOADER_RESERVED_BYTES;
        return LOAD_LINUX_MEMORY;
    }
    if (request->initrd_bytes &&
        initrd_place(image, request->initrd_bytes, mem_bytes) < image->gpa + image->memory_bytes) {
        *detail = request->initrd_bytes;
        return LOAD_INITRD_MEMORY;
    }
    return LOAD_OK;
}

static void put(uint8_t *page, size_t at, uint64_t value, size_t bytes)
{
    memcpy(page + at, &value, bytes);
}

static void put_memory_map(uint8_t *page, uint64_t mem_bytes)
{
    struct memory_range range[MEMORY_RANGES];

    memory_map(mem_bytes, range);
    put(page, AT_E820_COUNT, MEMORY_RANGES, 1);
    for (uint32_t i = 0; i < MEMORY_RANGES; i++) {
        struct e820_entry entry = {range[i].base, range[i].bytes, range[i].type};

        memcpy(page + AT_E820 + i * sizeof(entry), &entry, sizeof(entry));
    }
}

static void build_zero_page(const struct linux_image *image, const struct load_request *request, uint8_t *mem,
                            uint64_t mem_bytes, uint64_t rsdp)
{
    uint8_t *page = mem + ZERO_PAGE_AT;
    uint64_t initrd = request->initrd_bytes ? initrd_place(image, request->initrd_bytes, mem_bytes) : 0;

    memcpy(page + LINUX_HEADER_AT, request->image + LINUX_HEADER_AT, image->header_bytes);
    put(page, AT_LOADER_TYPE, LOADER_TYPE_OTHER, 1);
    put(page, AT_COMMAND_LINE, COMMAND_LINE_AT, 4);
    put(page, AT_RSDP, rsdp, 8);
    put_memory_map(page, mem_bytes);
    memcpy(mem + COMMAND_LINE_AT, request->command_line, strlen(request->command_line) + 1);
    put(page, AT_INITRD, initrd, 4);
    put(page, AT_INITRD_BYTES, request->initrd_bytes, 4);
    if (request->initrd_bytes)
        memcpy(mem + initrd, request->initrd, request->initrd_bytes);
}

static void put_entry(uint8_t *mem, uint64_t table, uint32_t index, uint64_t entry)
{
    memcpy(mem + table + index * sizeof(entry), &entry, sizeof(entry));
}

static void build_tables(uint8_t *mem)
{
    put_entry(mem, GDT_AT, LINUX_BOOT_CS / 8, GDT_CODE);
    put_entry(mem, GDT_AT, LINUX_BOOT_DS / 8, GDT_DATA);
    put_entry(mem, PML4_AT, 0, PDPT_AT | PTE_TABLE);
    for (uint32_t i = 0; i < PD_COUNT; i++)
        put_entry(mem, PDPT_AT, i, (PD_AT + i * PAGE_SIZE) | PTE_TABLE);
    for (uint64_t i = 0; i < PD_COUNT * ENTRIES; i++)
        put_entry(mem, PD_AT, (uint32_t)i, i * PAGE_2M | PTE_2M);
}

void linux_boot_build(const struct linux_image *image, const struct load_request *request, uint8_t *mem,
                      uint64_t mem_bytes, struct loaded_guest *out)
{
    memset(mem + GDT_AT, 0, LOW_END - GDT_AT);
    memcpy(mem + image->gpa, request->image + image->file_offset, image->file_bytes);
    memset(mem + image->gpa + image->file_bytes, 0, image->memory_bytes - image->file_bytes);
    build_zero_page(image, request, mem, mem_bytes, out->rsdp_gpa);
    build_tables(mem);
    out->kind = LOAD_KIND_LINUX;
    out->entry = image->gpa + LINUX_ENTRY64;
    out->info_gpa = ZERO_PAGE_AT;
    out->info_bytes = PAGE_SIZE;
    out->image_start = image->gpa;
    out->image_end = image->gpa + image->memory_bytes;
    out->cr3 = PML4_AT;
    out->gdt_gpa = GDT_AT;
    out->gdt_bytes = LINUX_BOOT_DS + 8;
}
