/*
 * Any file: the loader stays inside it and inside guest memory, and writes nothing when it refuses.
 * What is rare in random bytes is mended where the file's last bytes ask for it: the ELF header's
 * fixed fields, program headers that fit, a multiboot2 header with a right checksum, the setup header of a
 * bzImage.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "hv/guestmem/loader.h"

#define MEM_BYTES     LOADER_MIN_MEMORY
#define MB2_MAGIC     0xe85250d6u
#define MB2_ALIGN     8u
#define ELF64_HEADER  64u
#define ELF64_SEGMENT 56u
#define FILLER        0xee

#define LINUX_GPA        0x100000u
#define LINUX_HEADER_END 0x264u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum mend {
    MEND_ELF = 1,
    MEND_SEGMENTS = 2,
    MEND_END_TAG = 4,
    MEND_LINUX = 8,
    MEND_INITRD = 16,
};

/* Makes a place that the input chooses the start of a valid multiboot2 header. */
static void mend_header(uint8_t *file, size_t size, uint8_t place, bool end_tag)
{
    static const uint32_t end[2] = {0, 8};
    size_t at = (size_t)place * MB2_ALIGN;
    uint32_t head[4];

    if (at + sizeof(head) + sizeof(end) > size)
        return;
    memcpy(head, file + at, sizeof(head));
    head[0] = MB2_MAGIC;
    head[1] = 0;
    head[2] %= 256;
    head[3] = 0u - (head[0] + head[2]);
    memcpy(file + at, head, sizeof(head));
    if (end_tag)
        memcpy(file + at + sizeof(head), end, sizeof(end));
}

static void put(uint8_t *file, size_t at, uint64_t value, size_t bytes)
{
    memcpy(file + at, &value, bytes);
}

/* The fixed fields of an ELF64 header; few program headers behind it. */
static void mend_elf(uint8_t *file)
{
    memcpy(file, "\177ELF\2\1\1", 7);
    put(file, 16, 2, 2);
    put(file, 18, 62, 2);
    put(file, 32, ELF64_HEADER, 8);
    put(file, 54, ELF64_SEGMENT, 2);
    put(file, 56, 1 + file[56] % 3u, 2);
}

/* Segments of the right size of numbers: in memory and in the file more often than not. */
static void mend_segments(uint8_t *file, size_t size)
{
    static const uint64_t mask[7] = {1, 0xff, 0x1fffff, 0x1fffff, 0xff, 0xfffff, ~UINT64_C(0)};

    for (size_t at = ELF64_HEADER; at + ELF64_SEGMENT <= size && at < ELF64_HEADER + 3 * ELF64_SEGMENT;
         at += ELF64_SEGMENT)
        for (size_t i = 0; i < ARRAY_LEN(mask); i++) {
            uint64_t field;

            memcpy(&field, file + at + 8 * i, sizeof(field));
            put(file, at + 8 * i, field & mask[i], sizeof(field));
        }
}

/* The marks of a bzImage, and numbers that fit more often than not; the kernel's places stay the input's. */
static void mend_linux(uint8_t *file, size_t size)
{
    uint64_t gpa;

    if (size < LINUX_HEADER_END)
        return;
    gpa = LINUX_GPA + file[0x258] % 4u * PAGE_SIZE;
    put(file, 0x1f1, 1 + file[0x1f1] % 2u, 1);
    put(file, 0x1f4, file[0x1f4], 4);
    put(file, 0x1fe, 0xaa55, 2);
    put(file, 0x201, 0x62 + file[0x201] % 64u, 1);
    memcpy(file + 0x202, "HdrS", 4);
    put(file, 0x206, 0x20b + file[0x206] % 8u, 2);
    put(file, 0x211, file[0x211] | 1u, 1);
    put(file, 0x236, file[0x236] | 1u, 2);
    put(file, 0x258, gpa, 8);
    put(file, 0x262, file[0x262] % 32u, 2); /* init_size, its upper half */
}

static void mend(uint8_t *file, size_t size)
{
    uint8_t place, what;

    if (size < ELF64_HEADER + ELF64_SEGMENT)
        return;
    place = file[size - 1];
    what = file[size - 2];
    if ((what & MEND_ELF) != 0)
        mend_elf(file);
    if ((what & MEND_SEGMENTS) != 0)
        mend_segments(file, size);
    mend_header(file, size, place, (what & MEND_END_TAG) != 0);
    if ((what & MEND_LINUX) != 0)
        mend_linux(file, size);
}

static void check_loaded(const struct loaded_guest *guest)
{
    HV_CHECK(guest->entry >= guest->image_start && guest->entry < guest->image_end);
    HV_CHECK(guest->image_end <= MEM_BYTES - LOADER_RESERVED_BYTES);
    HV_CHECK(guest->info_gpa + guest->info_bytes <= MEM_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *mem;
    uint8_t *file = malloc(size + 1);
    struct load_request request = {.image_bytes = size, .command_line = "fuzz", .vcpus = 1};
    struct loaded_guest guest;

    if (mem == NULL) {
        mem = malloc(MEM_BYTES);
        memset(mem, FILLER, MEM_BYTES);
    }
    file = realloc(file, size + (size == 0));
    request.image = file;
    memcpy(file, data, size);
    mend(file, size);
    if (size > 1 && (file[size - 2] & MEND_INITRD) != 0) { /* the file is its own initramfs */
        request.initrd = file;
        request.initrd_bytes = size;
    }
    if (load_guest(&request, mem, MEM_BYTES, &guest) == LOAD_OK) {
        check_loaded(&guest);
        memset(mem, FILLER, MEM_BYTES);
    }
    for (uint64_t at = 0; at < MEM_BYTES; at += PAGE_SIZE / 2)
        HV_CHECK(mem[at] == FILLER);
    free(file);
    return 0;
}
