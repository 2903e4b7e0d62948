#include "hv/guestmem/elf_image.h"

#include <string.h>

enum {
    ELF_IDENT_BYTES = 16,
    ELF_IDENT_CLASS = 4,
    ELF_IDENT_DATA = 5,
    ELF_IDENT_VERSION = 6,
    ELF_CLASS_32 = 1,
    ELF_CLASS_64 = 2,
    ELF_DATA_LITTLE = 1,
    ELF_VERSION_1 = 1,
    ELF_TYPE_EXEC = 2,
    ELF_MACHINE_386 = 3,
    ELF_MACHINE_X86_64 = 62,
    ELF_SEGMENT_LOAD = 1,
};

/* Only what is needed of each header is named by the parser below; all fields are here for the layout. */
struct elf32_header {
    uint8_t ident[ELF_IDENT_BYTES];
    uint16_t type, machine;
    uint32_t version, entry, ph_offset, sh_offset, flags;
    uint16_t header_bytes, ph_entry_bytes, ph_count, sh_entry_bytes, sh_count, sh_names;
};
_Static_assert(sizeof(struct elf32_header) == 52, "ELF32 header");

struct elf64_header {
    uint8_t ident[ELF_IDENT_BYTES];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, ph_offset, sh_offset;
    uint32_t flags;
    uint16_t header_bytes, ph_entry_bytes, ph_count, sh_entry_bytes, sh_count, sh_names;
};
_Static_assert(sizeof(struct elf64_header) == 64, "ELF64 header");
_Static_assert(offsetof(struct elf64_header, entry) == 24, "ELF64 header");

struct elf32_segment {
    uint32_t type, offset, linear, physical, file_bytes, memory_bytes, flags, align;
};
_Static_assert(sizeof(struct elf32_segment) == 32, "ELF32 program header");

struct elf64_segment {
    uint32_t type, flags;
    uint64_t offset, linear, physical, file_bytes, memory_bytes, align;
};
_Static_assert(sizeof(struct elf64_segment) == 56, "ELF64 program header");

/* The program headers' place in the file. */
struct ph_table {
    uint64_t offset;
    uint16_t entry_bytes;
    uint16_t count;
};

/* Copies `size` bytes at `offset` out of the file, which may be unaligned; false: not all in the file. */
static bool get(const uint8_t *file, size_t bytes, uint64_t offset, void *buf, size_t size)
{
    if (offset > bytes || size > bytes - offset)
        return false;
    memcpy(buf, file + offset, size);
    return true;
}

static enum load_result check_ident(const uint8_t *ident)
{
    static const uint8_t magic[] = {0x7f, 'E', 'L', 'F'};

    if (memcmp(ident, magic, sizeof(magic)) != 0 || ident[ELF_IDENT_DATA] != ELF_DATA_LITTLE ||
        ident[ELF_IDENT_VERSION] != ELF_VERSION_1)
        return LOAD_NOT_ELF;
    return LOAD_OK;
}

static enum load_result check_kind(uint16_t machine, uint16_t wanted, uint16_t type)
{
    if (machine != wanted)
        return LOAD_WRONG_MACHINE;
    return type == ELF_TYPE_EXEC ? LOAD_OK : LOAD_WRONG_TYPE;
}

static enum load_result parse_header32(const uint8_t *file, size_t bytes, struct elf_image *out,
                                       struct ph_table *table)
{
    struct elf32_header h;

    if (!get(file, bytes, 0, &h, sizeof(h)))
        return LOAD_TRUNCATED;
    out->elf64 = false;
    out->entry = h.entry;
    *table = (struct ph_table){h.ph_offset, h.ph_entry_bytes, h.ph_count};
    return check_kind(h.machine, ELF_MACHINE_386, h.type);
}

static enum load_result parse_header64(const uint8_t *file, size_t bytes, struct elf_image *out,
                                       struct ph_table *table)
{
    struct elf64_header h;

    if (!get(file, bytes, 0, &h, sizeof(h)))
        return LOAD_TRUNCATED;
    out->elf64 = true;
    out->entry = h.entry;
    *table = (struct ph_table){h.ph_offset, h.ph_entry_bytes, h.ph_count};
    return check_kind(h.machine, ELF_MACHINE_X86_64, h.type);
}

static enum load_result parse_header(const uint8_t *file, size_t bytes, struct elf_image *out,
                                     struct ph_table *table)
{
    uint8_t ident[ELF_IDENT_BYTES];
    enum load_result result;

    if (!get(file, bytes, 0, ident, sizeof(ident)))
        return LOAD_TRUNCATED;
    result = check_ident(ident);
    if (result != LOAD_OK)
        return result;
    if (ident[ELF_IDENT_CLASS] == ELF_CLASS_32)
        return parse_header32(file, bytes, out, table);
    if (ident[ELF_IDENT_CLASS] == ELF_CLASS_64)
        return parse_header64(file, bytes, out, table);
    return LOAD_WRONG_MACHINE;
}

/* Program header `index` in one form for both classes; false: not in the file. */
static bool read_segment(const uint8_t *file, size_t bytes, const struct ph_table *table, bool elf64,
                         uint32_t index, struct elf64_segment *out)
{
    uint64_t offset = (uint64_t)index * table->entry_bytes;
    struct elf32_segment s;

    if (table->offset > bytes)
        return false;
    offset += table->offset;
    if (elf64)
        return get(file, bytes, offset, out, sizeof(*out));
    if (!get(file, bytes, offset, &s, sizeof(s)))
        return false;
    *out = (struct elf64_segment){.type = s.type,
                                  .flags = s.flags,
                                  .offset = s.offset,
                                  .linear = s.linear,
                                  .physical = s.physical,
                                  .file_bytes = s.file_bytes,
                                  .memory_bytes = s.memory_bytes,
                                  .align = s.align};
    return true;
}

static enum load_result add_segment(size_t bytes, const struct elf64_segment *s, struct elf_image *out)
{
    if (s->file_bytes > s->memory_bytes)
        return LOAD_SEGMENT_SIZE;
    if (s->offset > bytes || s->file_bytes > bytes - s->offset)
        return LOAD_SEGMENT_TRUNCATED;
    if (s->memory_bytes == 0)
        return LOAD_OK;
    out->segment[out->segments++] = (struct elf_segment){
        .file_offset = s->offset,
        .file_bytes = s->file_bytes,
        .gpa = s->physical,
        .linear = s->linear,
        .memory_bytes = s->memory_bytes,
    };
    return LOAD_OK;
}

enum load_result elf_parse(const uint8_t *file, size_t bytes, struct elf_image *out, uint64_t *detail)
{
    struct ph_table table;
    enum load_result result = parse_header(file, bytes, out, &table);
    size_t smallest = out->elf64 ? sizeof(struct elf64_segment) : sizeof(struct elf32_segment);

    if (result != LOAD_OK)
        return result;
    if (table.count == 0 || table.count > LOADER_MAX_SEGMENTS || table.entry_bytes < smallest)
        return LOAD_BAD_PROGRAM_HEADER;
    out->segments = 0;
    for (uint32_t i = 0; i < table.count; i++) {
        struct elf64_segment s;

        *detail = i;
        if (!read_segment(file, bytes, &table, out->elf64, i, &s))
            return LOAD_TRUNCATED;
        if (s.type != ELF_SEGMENT_LOAD)
            continue;
        result = add_segment(bytes, &s, out);
        if (result != LOAD_OK)
            return result;
    }
    return out->segments != 0 ? LOAD_OK : LOAD_NO_SEGMENT;
}
