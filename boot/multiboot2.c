#include "boot/multiboot2.h"

#include <string.h>

/* Multiboot2 specification 3.6: tag types. */
enum mb2_tag_type {
    MB2_TAG_END = 0,
    MB2_TAG_CMDLINE = 1,
    MB2_TAG_MODULE = 3,
    MB2_TAG_MMAP = 6,
    MB2_TAG_ACPI_OLD = 14,
    MB2_TAG_ACPI_NEW = 15,
};

#define MB2_TAG_ALIGN 8

struct mb2_header {
    uint32_t total_size;
    uint32_t reserved;
};
_Static_assert(sizeof(struct mb2_header) == 8, "Multiboot2 3.6.1");

struct mb2_tag {
    uint32_t type;
    uint32_t size;
};
_Static_assert(sizeof(struct mb2_tag) == 8, "Multiboot2 3.6.2");

struct mb2_module {
    struct mb2_tag tag;
    uint32_t start;
    uint32_t end;
};
_Static_assert(sizeof(struct mb2_module) == 16, "Multiboot2 3.6.6");

struct mb2_mmap {
    struct mb2_tag tag;
    uint32_t entry_size;
    uint32_t entry_version;
};
_Static_assert(sizeof(struct mb2_mmap) == 16, "Multiboot2 3.6.8");

struct mb2_mmap_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
    uint32_t reserved;
};
_Static_assert(sizeof(struct mb2_mmap_entry) == 24, "Multiboot2 3.6.8");

#define ACPI_OLD_SIZE 20u /* an RSDP of ACPI 1.0 */

/* Copies a string of at most `size` bytes that must hold its closing zero. */
static enum mb2_error copy_string(char *to, size_t room, const uint8_t *from, size_t size)
{
    size_t length = strnlen((const char *)from, size);

    if (length == size || length >= room) {
        return MB2_UNTERMINATED;
    }
    memcpy(to, from, length + 1);
    return MB2_OK;
}

static enum mb2_error parse_module(const uint8_t *tag, uint32_t size, struct boot_info *out)
{
    struct mb2_module fixed;
    struct boot_module *module;

    if (size < sizeof(fixed)) {
        return MB2_BAD_TAG;
    }
    if (out->module_count == BOOT_MAX_MODULES) {
        return MB2_TOO_MANY_MODULES;
    }
    memcpy(&fixed, tag, sizeof(fixed));
    if (fixed.start > fixed.end) {
        return MB2_BAD_TAG;
    }
    module = &out->modules[out->module_count++];
    module->start = fixed.start;
    module->end = fixed.end;
    return copy_string(module->cmdline, sizeof(module->cmdline), tag + sizeof(fixed), size - sizeof(fixed));
}

static enum mb2_error parse_mmap(const uint8_t *tag, uint32_t size, struct boot_info *out)
{
    struct mb2_mmap fixed;
    uint32_t offset;

    if (size < sizeof(fixed)) {
        return MB2_BAD_TAG;
    }
    memcpy(&fixed, tag, sizeof(fixed));
    if (fixed.entry_size < sizeof(struct mb2_mmap_entry) || fixed.entry_size % MB2_TAG_ALIGN != 0) {
        return MB2_BAD_TAG;
    }
    for (offset = sizeof(fixed); size - offset >= fixed.entry_size; offset += fixed.entry_size) {
        struct mb2_mmap_entry entry;

        memcpy(&entry, tag + offset, sizeof(entry));
        if (entry.length > UINT64_MAX - entry.base) {
            return MB2_BAD_TAG;
        }
        if (out->region_count == BOOT_MAX_REGIONS) {
            return MB2_TOO_MANY_REGIONS;
        }
        out->regions[out->region_count++] = (struct boot_region){entry.base, entry.length, entry.type};
    }
    return offset == size ? MB2_OK : MB2_BAD_TAG;
}

static enum mb2_error parse_rsdp(const uint8_t *tag, uint32_t size, uint32_t least, struct boot_info *out)
{
    uint32_t length = size - sizeof(struct mb2_tag);

    if (length < least) {
        return MB2_BAD_TAG;
    }
    /* The newer one wins, whichever comes first. */
    if (least > out->rsdp_size) {
        memcpy(out->rsdp, tag + sizeof(struct mb2_tag), least);
        out->rsdp_size = least;
    }
    return MB2_OK;
}

static enum mb2_error parse_tag(const uint8_t *tag, uint32_t type, uint32_t size, struct boot_info *out)
{
    switch (type) {
    case MB2_TAG_CMDLINE:
        return copy_string(out->cmdline, sizeof(out->cmdline), tag + sizeof(struct mb2_tag),
                           size - sizeof(struct mb2_tag));
    case MB2_TAG_MODULE:
        return parse_module(tag, size, out);
    case MB2_TAG_MMAP:
        return parse_mmap(tag, size, out);
    case MB2_TAG_ACPI_OLD:
        return parse_rsdp(tag, size, ACPI_OLD_SIZE, out);
    case MB2_TAG_ACPI_NEW:
        return parse_rsdp(tag, size, BOOT_RSDP_SIZE, out);
    default:
        return MB2_OK; /* of no use here */
    }
}

enum mb2_error mb2_parse(const void *info, size_t available, struct boot_info *out)
{
    const uint8_t *bytes = info;
    struct mb2_header header;
    uint32_t offset = sizeof(header);

    memset(out, 0, sizeof(*out));
    if (available < sizeof(header)) {
        return MB2_TRUNCATED;
    }
    memcpy(&header, bytes, sizeof(header));
    if (header.total_size > available || header.total_size < sizeof(header)) {
        return MB2_TRUNCATED;
    }
    out->info_size = header.total_size;
    while (offset <= header.total_size && header.total_size - offset >= sizeof(struct mb2_tag)) {
        struct mb2_tag tag;
        enum mb2_error error;

        memcpy(&tag, bytes + offset, sizeof(tag));
        if (tag.size < sizeof(tag)) {
            return MB2_BAD_TAG;
        }
        if (tag.size > header.total_size - offset) {
            return MB2_TRUNCATED;
        }
        if (tag.type == MB2_TAG_END) {
            return out->region_count ? MB2_OK : MB2_NO_MEMORY_MAP;
        }
        error = parse_tag(bytes + offset, tag.type, tag.size, out);
        if (error != MB2_OK) {
            return error;
        }
        if (tag.size > UINT32_MAX - offset - MB2_TAG_ALIGN) {
            return MB2_TRUNCATED;
        }
        offset = ALIGN_UP(offset + tag.size, MB2_TAG_ALIGN);
    }
    return MB2_TRUNCATED;
}

const char *mb2_error_name(enum mb2_error error)
{
    static const char *const names[] = {
        [MB2_OK] = "no error",
        [MB2_TRUNCATED] = "boot information is cut off",
        [MB2_BAD_TAG] = "boot information has a malformed tag",
        [MB2_UNTERMINATED] = "a command line is not terminated or too long",
        [MB2_TOO_MANY_REGIONS] = "too many memory regions",
        [MB2_TOO_MANY_MODULES] = "too many modules",
        [MB2_NO_MEMORY_MAP] = "no memory map",
    };

    return (size_t)error < ARRAY_LEN(names) ? names[error] : "unknown error";
}
