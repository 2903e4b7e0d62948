#include "hv/guestmem/mb2_info.h"

#include <string.h>

#include "hv/base/check.h"
#include "hv/guestmem/loader.h"
#include "hv/guestmem/memory_map.h"

#define INFO_OFFSET UINT64_C(0x1000) /* in the reserved area, behind the ACPI tables */
#define TAG_ALIGN   8u
#define KIB         1024u
#define LOADER_NAME "Retrovisor"
#define RSDP_BYTES  36u

struct info_head {
    uint32_t bytes;
    uint32_t reserved;
};
_Static_assert(sizeof(struct info_head) == 8, "multiboot2 information");

struct info_tag {
    uint32_t type;
    uint32_t bytes;
};
_Static_assert(sizeof(struct info_tag) == 8, "multiboot2 information tag");

struct basic_memory {
    uint32_t lower_kib;
    uint32_t upper_kib;
};
_Static_assert(sizeof(struct basic_memory) == 8, "basic memory information");

struct map_entry {
    uint64_t base;
    uint64_t bytes;
    uint32_t type;
    uint32_t reserved;
};
_Static_assert(sizeof(struct map_entry) == 24, "memory map entry");

struct memory_map {
    uint32_t entry_bytes;
    uint32_t entry_version;
    struct map_entry entry[MEMORY_RANGES];
};
_Static_assert(offsetof(struct memory_map, entry) == 8, "memory map");

/* Where the next tag goes. */
struct writer {
    uint8_t *base;
    uint32_t at;
};

static void put_tag(struct writer *w, uint32_t type, const void *body, uint32_t bytes)
{
    struct info_tag tag = {type, (uint32_t)sizeof(tag) + bytes};

    HV_CHECK(w->at + sizeof(tag) + bytes <= LOADER_RESERVED_BYTES - INFO_OFFSET);
    memcpy(w->base + w->at, &tag, sizeof(tag));
    if (bytes != 0)
        memcpy(w->base + w->at + sizeof(tag), body, bytes);
    w->at = ALIGN_UP(w->at + tag.bytes, TAG_ALIGN);
}

static void put_memory(struct writer *w, uint64_t mem_bytes)
{
    struct memory_range range[MEMORY_RANGES];
    struct memory_map map = {.entry_bytes = sizeof(struct map_entry)};
    struct basic_memory basic;

    memory_map(mem_bytes, range);
    for (uint32_t i = 0; i < MEMORY_RANGES; i++)
        map.entry[i] =
            (struct map_entry){.base = range[i].base, .bytes = range[i].bytes, .type = range[i].type};
    basic = (struct basic_memory){.lower_kib = (uint32_t)(LOADER_LOW_END / KIB),
                                  .upper_kib = (uint32_t)(range[2].bytes / KIB)};
    put_tag(w, MB2_INFO_BASIC_MEMORY, &basic, sizeof(basic));
    put_tag(w, MB2_INFO_MEMORY_MAP, &map, sizeof(map));
}

uint64_t mb2_info_build(uint8_t *mem, uint64_t mem_bytes, const char *command_line, uint64_t *info_bytes)
{
    uint64_t top = mem_bytes - LOADER_RESERVED_BYTES;
    struct writer w = {.base = mem + top + INFO_OFFSET, .at = sizeof(struct info_head)};
    struct info_head head = {0};

    put_tag(&w, MB2_INFO_COMMAND_LINE, command_line, (uint32_t)strlen(command_line) + 1);
    put_tag(&w, MB2_INFO_LOADER_NAME, LOADER_NAME, sizeof(LOADER_NAME));
    put_memory(&w, mem_bytes);
    put_tag(&w, MB2_INFO_RSDP_NEW, mem + LOADER_RSDP_COPY, RSDP_BYTES);
    put_tag(&w, MB2_INFO_END, NULL, 0);
    head.bytes = w.at;
    memcpy(w.base, &head, sizeof(head));
    *info_bytes = w.at;
    return top + INFO_OFFSET;
}
