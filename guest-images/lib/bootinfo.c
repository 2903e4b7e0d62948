#include "guest-images/lib/bootinfo.h"

#include <string.h>

#include "guest-images/lib/args.h"

enum mb2_tag {
    MB2_TAG_END = 0,
    MB2_TAG_COMMAND_LINE = 1,
    MB2_TAG_MEMORY_MAP = 6,
    MB2_TAG_ACPI_OLD = 14,
    MB2_TAG_ACPI_NEW = 15,
};

#define MB2_MEMORY_AVAILABLE 1
#define MB2_TAG_ALIGN        8
#define MB2_FIRST_TAG        8

struct mb2_tag_head {
    uint32_t type;
    uint32_t size; /* with this head, without padding */
};
_Static_assert(sizeof(struct mb2_tag_head) == 8, "Multiboot2 3.6.1");

struct mb2_memory_map {
    struct mb2_tag_head head;
    uint32_t entry_size;
    uint32_t entry_version;
};
_Static_assert(sizeof(struct mb2_memory_map) == 16, "Multiboot2 3.6.8");

struct mb2_memory_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
    uint32_t reserved;
};
_Static_assert(sizeof(struct mb2_memory_entry) == 24, "Multiboot2 3.6.8");

/* The RSDP lies in the tag right after the head; its 64-bit field is not aligned. ACPI 6.4, 5.2.5.3. */
#define RSDP_RSDT_OFFSET 16
#define RSDP_XSDT_OFFSET 24

extern char guest_image_end[];

static uint64_t usable_end(const struct mb2_memory_map *map)
{
    uint64_t here = (uintptr_t)guest_image_end - 1;

    for (uint32_t at = sizeof(*map); at + map->entry_size <= map->head.size; at += map->entry_size) {
        const struct mb2_memory_entry *entry = (const void *)((const char *)map + at);

        if (entry->type == MB2_MEMORY_AVAILABLE && entry->base <= here && here - entry->base < entry->length)
            return entry->base + entry->length;
    }
    return 0;
}

static void read_rsdp(struct bootinfo *info, const struct mb2_tag_head *tag)
{
    const char *rsdp = (const char *)(tag + 1);
    uint32_t rsdt;

    if (tag->type == MB2_TAG_ACPI_NEW) {
        memcpy(&info->root_table, rsdp + RSDP_XSDT_OFFSET, sizeof(info->root_table));
        info->entry_bytes = 8;
    } else if (info->root_table == 0) {
        memcpy(&rsdt, rsdp + RSDP_RSDT_OFFSET, sizeof(rsdt));
        info->root_table = rsdt;
        info->entry_bytes = 4;
    }
}

struct bootinfo bootinfo_read(uint32_t address)
{
    struct bootinfo info = {0};
    const char *base = (const char *)(uintptr_t)address;
    uint32_t total = *(const uint32_t *)base;
    uint32_t at = MB2_FIRST_TAG;

    while (at + sizeof(struct mb2_tag_head) <= total) {
        const struct mb2_tag_head *tag = (const void *)(base + at);

        if (tag->type == MB2_TAG_END || tag->size < sizeof(*tag) || tag->size > total - at)
            break;
        if (tag->type == MB2_TAG_COMMAND_LINE)
            args_set((const char *)(tag + 1), strnlen((const char *)(tag + 1), tag->size - sizeof(*tag)));
        else if (tag->type == MB2_TAG_MEMORY_MAP)
            info.memory_end = usable_end((const void *)tag);
        else if (tag->type == MB2_TAG_ACPI_OLD || tag->type == MB2_TAG_ACPI_NEW)
            read_rsdp(&info, tag);
        at += (tag->size + MB2_TAG_ALIGN - 1) & ~(MB2_TAG_ALIGN - 1u);
    }
    return info;
}
