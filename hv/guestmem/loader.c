#include "hv/guestmem/loader.h"

#include <string.h>

#include "hv/guestmem/elf_image.h"
#include "hv/guestmem/linux_boot.h"
#include "hv/guestmem/linux_image.h"
#include "hv/guestmem/mb2_header.h"
#include "hv/guestmem/mb2_info.h"
#include "hv/guestmem/tables.h"

#define ONE_MIB (UINT64_C(1) << 20)

const char *load_result_name(enum load_result result)
{
    static const char *const names[] = {
        [LOAD_OK] = "ok",
        [LOAD_BAD_MEMORY] = "guest memory is too small, too large or not whole pages",
        [LOAD_BAD_VCPUS] = "no vCPU, or too many",
        [LOAD_LONG_COMMAND_LINE] = "the guest's command line is too long",
        [LOAD_TRUNCATED] = "the file ends inside its headers",
        [LOAD_NOT_ELF] = "the file is not a little-endian ELF file",
        [LOAD_WRONG_MACHINE] = "the file is neither ELF32 for i386 nor ELF64 for x86-64",
        [LOAD_WRONG_TYPE] = "the file is not an executable",
        [LOAD_BAD_PROGRAM_HEADER] = "the program headers are invalid",
        [LOAD_NO_SEGMENT] = "the file has nothing to load",
        [LOAD_SEGMENT_TRUNCATED] = "the file ends inside a segment",
        [LOAD_SEGMENT_SIZE] = "a segment is larger in the file than in memory",
        [LOAD_SEGMENT_MEMORY] = "a segment lies outside guest memory",
        [LOAD_SEGMENT_RESERVED] = "a segment lies on reserved memory",
        [LOAD_SEGMENT_OVERLAP] = "two segments overlap",
        [LOAD_NO_HEADER] = "there is no multiboot2 header",
        [LOAD_BAD_HEADER] = "the multiboot2 header is broken",
        [LOAD_HEADER_TAG] = "a mandatory multiboot2 header tag is not supported",
        [LOAD_HEADER_REQUEST] = "a mandatory multiboot2 information request is not supported",
        [LOAD_BAD_ENTRY] = "the entry point lies in no segment",
        [LOAD_LINUX_PROTOCOL] = "the Linux kernel's boot protocol is older than 2.12",
        [LOAD_LINUX_32BIT] = "the Linux kernel has no 64-bit entry",
        [LOAD_LINUX_HEADER] = "the Linux kernel's setup header is broken",
        [LOAD_LINUX_TRUNCATED] = "the file ends before the Linux kernel does",
        [LOAD_LINUX_MEMORY] = "guest memory is too small for the Linux kernel, which takes so many bytes",
        [LOAD_INITRD_MEMORY] = "guest memory has no room for the initramfs beside the kernel",
        [LOAD_INITRD_KIND] = "there is an initramfs, but the kernel is not Linux",
    };

    return (unsigned)result < ARRAY_LEN(names) ? names[result] : "unknown";
}

static enum load_result check_request(const struct load_request *request, uint64_t mem_bytes)
{
    if (mem_bytes < LOADER_MIN_MEMORY || mem_bytes > LOADER_MAX_MEMORY || (mem_bytes & PAGE_MASK) != 0)
        return LOAD_BAD_MEMORY;
    if (request->vcpus == 0 || request->vcpus > MAX_VCPUS)
        return LOAD_BAD_VCPUS;
    if (strlen(request->command_line) >= LOADER_MAX_COMMAND_LINE)
        return LOAD_LONG_COMMAND_LINE;
    return LOAD_OK;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

/* One segment against guest memory, what is reserved in it, and the segments before it. */
static enum load_result check_place(const struct elf_image *elf, uint32_t index, uint64_t mem_bytes)
{
    const struct elf_segment *s = &elf->segment[index];

    if (s->gpa > mem_bytes || s->memory_bytes > mem_bytes - s->gpa)
        return LOAD_SEGMENT_MEMORY;
    if (overlap(s->gpa, s->memory_bytes, LOADER_LOW_END, ONE_MIB - LOADER_LOW_END) ||
        overlap(s->gpa, s->memory_bytes, mem_bytes - LOADER_RESERVED_BYTES, LOADER_RESERVED_BYTES))
        return LOAD_SEGMENT_RESERVED;
    for (uint32_t i = 0; i < index; i++)
        if (overlap(s->gpa, s->memory_bytes, elf->segment[i].gpa, elf->segment[i].memory_bytes))
            return LOAD_SEGMENT_OVERLAP;
    return LOAD_OK;
}

static enum load_result check_places(const struct elf_image *elf, uint64_t mem_bytes,
                                     struct loaded_guest *out)
{
    out->image_start = UINT64_MAX;
    for (uint32_t i = 0; i < elf->segments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        enum load_result result = check_place(elf, i, mem_bytes);

        out->detail = i;
        if (result != LOAD_OK)
            return result;
        out->image_start = MIN(out->image_start, s->gpa);
        out->image_end = MAX(out->image_end, s->gpa + s->memory_bytes);
    }
    return LOAD_OK;
}

/* The physical entry point: the header's entry tag gives one, the ELF header a virtual address. */
static enum load_result find_entry(const struct elf_image *elf, const struct mb2_header *header,
                                   struct loaded_guest *out)
{
    for (uint32_t i = 0; i < elf->segments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        uint64_t offset = header->has_entry ? header->entry - s->gpa : elf->entry - s->linear;

        if (offset < s->memory_bytes) {
            out->entry = s->gpa + offset;
            return LOAD_OK;
        }
    }
    return LOAD_BAD_ENTRY;
}

/* All that can be refused, before anything is written. */
static enum load_result check_multiboot2(const struct load_request *request, uint64_t mem_bytes,
                                         struct elf_image *elf, struct loaded_guest *out)
{
    struct mb2_header header;
    enum load_result result = elf_parse(request->image, request->image_bytes, elf, &out->detail);

    if (result == LOAD_OK)
        result = mb2_header_parse(request->image, request->image_bytes, &header, &out->detail);
    if (result == LOAD_OK)
        result = check_places(elf, mem_bytes, out);
    if (result == LOAD_OK)
        result = find_entry(elf, &header, out);
    return result == LOAD_OK && request->initrd_bytes ? LOAD_INITRD_KIND : result;
}

static void copy_segments(const struct elf_image *elf, const uint8_t *file, uint8_t *mem)
{
    for (uint32_t i = 0; i < elf->segments; i++) {
        const struct elf_segment *s = &elf->segment[i];

        memcpy(mem + s->gpa, file + s->file_offset, s->file_bytes);
        memset(mem + s->gpa + s->file_bytes, 0, s->memory_bytes - s->file_bytes);
    }
}

static void build_tables(const struct load_request *request, uint8_t *mem, uint64_t mem_bytes,
                         struct loaded_guest *out)
{
    out->rsdp_gpa = acpi_build(mem, mem_bytes, request->vcpus);
    mp_build(mem, request->vcpus);
}

static enum load_result load_multiboot2(const struct load_request *request, uint8_t *mem, uint64_t mem_bytes,
                                        struct loaded_guest *out)
{
    struct elf_image elf = {0};
    enum load_result result = check_multiboot2(request, mem_bytes, &elf, out);

    if (result != LOAD_OK)
        return result;
    out->kind = LOAD_KIND_MULTIBOOT2;
    copy_segments(&elf, request->image, mem);
    build_tables(request, mem, mem_bytes, out);
    out->info_gpa = mb2_info_build(mem, mem_bytes, request->command_line, &out->info_bytes);
    out->elf64 = elf.elf64;
    return LOAD_OK;
}

static enum load_result load_linux(const struct load_request *request, uint8_t *mem, uint64_t mem_bytes,
                                   struct loaded_guest *out)
{
    struct linux_image image;
    enum load_result result = linux_image_parse(request->image, request->image_bytes, &image, &out->detail);

    if (result == LOAD_OK)
        result = linux_boot_check(&image, request, mem_bytes, &out->detail);
    if (result != LOAD_OK)
        return result;
    build_tables(request, mem, mem_bytes, out);
    linux_boot_build(&image, request, mem, mem_bytes, out);
    return LOAD_OK;
}

enum load_result load_guest(const struct load_request *request, uint8_t *mem, uint64_t mem_bytes,
                            struct loaded_guest *out)
{
    enum load_result result = check_request(request, mem_bytes);

    *out = (struct loaded_guest){0};
    if (result == LOAD_OK && linux_image_is(request->image, request->image_bytes))
        result = load_linux(request, mem, mem_bytes, out);
    else if (result == LOAD_OK)
        result = load_multiboot2(request, mem, mem_bytes, out);
    if (result == LOAD_OK)
        out->detail = 0;
    return result;
}
