/* The guest loader: a good image of each class, every refusal, and what the guest finds in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guestmem/loader.h"

#define MEM_BYTES   (UINT64_C(4) << 20)
#define TOP         (MEM_BYTES - LOADER_RESERVED_BYTES)
#define IMAGE_BYTES 0x3000u
#define HEADER_AT   0x1000u
#define CODE_AT     0x2000u
#define CODE_BYTES  0x800u
#define LOAD_GPA    0x100000u
#define LOAD_LINEAR UINT64_C(0xffffffff80100000)
#define MB2_MAGIC   0xe85250d6u
#define PHDR64_AT   64u
#define PHDR32_AT   52u

struct fixture {
    uint8_t *mem;
    uint8_t image[IMAGE_BYTES];
    struct load_request request;
    struct loaded_guest guest;
};

static void put(struct fixture *f, size_t at, uint64_t value, size_t bytes)
{
    memcpy(f->image + at, &value, bytes);
}

/* A header with the given tags (each a multiple of 8 bytes), and the end tag. */
static void put_header(struct fixture *f, size_t at, const void *tags, uint32_t tag_bytes)
{
    static const uint32_t end[2] = {0, 8};
    uint32_t bytes = 16 + tag_bytes + 8;
    uint32_t head[4] = {MB2_MAGIC, 0, bytes, 0u - (MB2_MAGIC + 0 + bytes)};

    memcpy(f->image + at, head, sizeof(head));
    if (tag_bytes != 0)
        memcpy(f->image + at + 16, tags, tag_bytes);
    memcpy(f->image + at + 16 + tag_bytes, end, sizeof(end));
}

static void put_ident(struct fixture *f, uint8_t elf_class)
{
    memset(f->image, 0, IMAGE_BYTES);
    memcpy(f->image, "\177ELF", 4);
    f->image[4] = elf_class;
    f->image[5] = 1;
    f->image[6] = 1;
    put(f, 16, 2, 2); /* ET_EXEC */
    put(f, 20, 1, 4);
    for (unsigned i = 0; i < CODE_BYTES; i++)
        f->image[CODE_AT + i] = (uint8_t)(i * 7 + 1);
    put_header(f, HEADER_AT, NULL, 0);
}

static void put_segment64(struct fixture *f, unsigned index, uint64_t offset, uint64_t physical,
                          uint64_t file_bytes, uint64_t memory_bytes)
{
    const uint64_t segment[7] = {
        1, offset, LOAD_LINEAR + (physical - LOAD_GPA), physical, file_bytes, memory_bytes, 0x1000};

    memcpy(f->image + PHDR64_AT + index * sizeof(segment), segment, sizeof(segment));
}

static void make64(struct fixture *f)
{
    put_ident(f, 2);
    put(f, 18, 62, 2);
    put(f, 24, LOAD_LINEAR + 0x40, 8); /* entry */
    put(f, 32, PHDR64_AT, 8);
    put(f, 54, 56, 2);
    put(f, 56, 2, 2);
    put_segment64(f, 0, CODE_AT, LOAD_GPA, CODE_BYTES, 0x2100);
    put_segment64(f, 1, 0, 0x200000, 0, 0x3000); /* only zeros */
}

static void make32(struct fixture *f)
{
    const uint32_t segment[8] = {1, CODE_AT, LOAD_GPA, LOAD_GPA, CODE_BYTES, 0x2100, 5, 0x1000};

    put_ident(f, 1);
    put(f, 18, 3, 2);
    put(f, 24, LOAD_GPA + 0x44, 4);
    put(f, 28, PHDR32_AT, 4);
    put(f, 42, 32, 2);
    put(f, 44, 1, 2);
    memcpy(f->image + PHDR32_AT, segment, sizeof(segment));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->mem = malloc(MEM_BYTES);
    memset(f->mem, 0xee, MEM_BYTES);
    make64(f);
    f->request = (struct load_request){
        .image = f->image, .image_bytes = IMAGE_BYTES, .command_line = "guest seed=1", .vcpus = 3};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->mem);
    free(f);
    return 0;
}

/* Loads from a copy of just the file's size, so that the sanitizer sees a read past it. */
static enum load_result load(struct fixture *f)
{
    struct load_request request = f->request;
    uint8_t *file = malloc(request.image_bytes + 1);
    enum load_result result;

    file = realloc(file, request.image_bytes + (request.image_bytes == 0));
    memcpy(file, f->image, request.image_bytes);
    request.image = file;
    result = load_guest(&request, f->mem, MEM_BYTES, &f->guest);
    free(file);
    return result;
}

static bool all_bytes(const uint8_t *p, uint64_t bytes, uint8_t value)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (p[i] != value)
            return false;
    return true;
}

static void refused(struct fixture *f, enum load_result wanted)
{
    enum load_result result = load(f);

    if (result != wanted)
        fail_msg("%s, not %s", load_result_name(result), load_result_name(wanted));
    assert_true(all_bytes(f->mem, MEM_BYTES, 0xee));
}

static void loads_elf64(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(load(f), LOAD_OK);
    assert_true(f->guest.elf64);
    assert_int_equal(f->guest.entry, LOAD_GPA + 0x40);
    assert_int_equal(f->guest.image_start, LOAD_GPA);
    assert_int_equal(f->guest.image_end, 0x203000);
    assert_memory_equal(f->mem + LOAD_GPA, f->image + CODE_AT, CODE_BYTES);
    assert_true(all_bytes(f->mem + LOAD_GPA + CODE_BYTES, 0x2100 - CODE_BYTES, 0));
    assert_int_equal(f->mem[LOAD_GPA + 0x2100], 0xee);
    assert_true(all_bytes(f->mem + 0x200000, 0x3000, 0));
    assert_int_equal(f->mem[0x1fffff], 0xee);
    assert_int_equal(f->mem[0x203000], 0xee);
    assert_true(all_bytes(f->mem, LOADER_RSDP_COPY, 0xee));
    assert_int_equal(f->mem[LOADER_RSDP_COPY + PAGE_SIZE], 0xee);
}

static void loads_elf32(void **state)
{
    struct fixture *f = *state;

    make32(f);
    assert_int_equal(load(f), LOAD_OK);
    assert_false(f->guest.elf64);
    assert_int_equal(f->guest.entry, LOAD_GPA + 0x44);
    assert_memory_equal(f->mem + LOAD_GPA, f->image + CODE_AT, CODE_BYTES);
    assert_true(all_bytes(f->mem + LOAD_GPA + CODE_BYTES, 0x2100 - CODE_BYTES, 0));
}

static uint32_t u32(const uint8_t *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof(value));
    return value;
}

static uint64_t u64(const uint8_t *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof(value));
    return value;
}

/* The body of the information's tag of `type`, found as a guest finds it. */
static const uint8_t *find_tag(struct fixture *f, uint32_t type, uint32_t *bytes)
{
    const uint8_t *info = f->mem + f->guest.info_gpa;
    uint32_t at = 8;

    assert_int_equal(u32(info), f->guest.info_bytes);
    for (;;) {
        uint32_t found = u32(info + at);

        *bytes = u32(info + at + 4) - 8;
        if (found == type)
            return info + at + 8;
        assert_int_not_equal(found, 0);
        at = (at + *bytes + 8 + 7) & ~7u;
        assert_true(at + 8 <= f->guest.info_bytes);
    }
}

static void information(void **state)
{
    static const uint64_t map[4][3] = {{0, 0x9f000, 1},
                                       {0x9f000, 0x61000, 2},
                                       {0x100000, TOP - 0x100000, 1},
                                       {TOP, LOADER_RESERVED_BYTES, 3}};
    struct fixture *f = *state;
    const uint8_t *body;
    uint32_t bytes;

    assert_int_equal(load(f), LOAD_OK);
    assert_int_equal(f->guest.info_gpa % 8, 0);
    assert_true(f->guest.info_gpa >= TOP && f->guest.info_gpa + f->guest.info_bytes <= MEM_BYTES);
    assert_string_equal(find_tag(f, 1, &bytes), "guest seed=1");
    assert_int_equal(bytes, sizeof("guest seed=1"));
    assert_string_equal(find_tag(f, 2, &bytes), "Retrovisor");
    body = find_tag(f, 4, &bytes);
    assert_int_equal(u32(body), 636);
    assert_int_equal(u32(body + 4), (TOP >> 10) - 1024);
    body = find_tag(f, 6, &bytes);
    assert_int_equal(bytes, 8 + sizeof(map) / 3 * 3);
    assert_int_equal(u32(body), 24);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned field = 0; field < 3; field++)
            assert_int_equal(u64(body + 8 + i * 24 + field * 8), map[i][field]);
    body = find_tag(f, 15, &bytes);
    assert_int_equal(bytes, 36);
    assert_memory_equal(body, f->mem + f->guest.rsdp_gpa, 36);
    assert_memory_equal(body, f->mem + LOADER_RSDP_COPY, 36);
    find_tag(f, 0, &bytes);
    assert_int_equal(bytes, 0);
}

static uint8_t sum(const uint8_t *p, uint32_t bytes)
{
    uint8_t total = 0;

    for (uint32_t i = 0; i < bytes; i++)
        total = (uint8_t)(total + p[i]);
    return total;
}

static void acpi_tables(void **state)
{
    struct fixture *f = *state;
    const uint8_t *rsdp, *xsdt, *madt;

    assert_int_equal(load(f), LOAD_OK);
    assert_int_equal(f->guest.rsdp_gpa % 16, 0);
    rsdp = f->mem + f->guest.rsdp_gpa;
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(rsdp[15], 2);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    xsdt = f->mem + u64(rsdp + 24);
    assert_memory_equal(xsdt, "XSDT", 4);
    assert_int_equal(u32(xsdt + 4), 52);
    assert_int_equal(sum(xsdt, 52), 0);
    madt = f->mem + u64(xsdt + 44);
    assert_memory_equal(madt, "APIC", 4);
    assert_int_equal(sum(madt, u32(madt + 4)), 0);
    assert_int_equal(u32(madt + 36), 0xfee00000);
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t entry[8] = {0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0};

        assert_memory_equal(madt + 44 + 8 * i, entry, sizeof(entry));
    }
}

static void requests(void **state)
{
    struct fixture *f = *state;
    char *line = malloc(LOADER_MAX_COMMAND_LINE + 1);
    uint32_t bytes;

    f->request.vcpus = 0;
    refused(f, LOAD_BAD_VCPUS);
    f->request.vcpus = MAX_VCPUS + 1;
    refused(f, LOAD_BAD_VCPUS);
    f->request.vcpus = MAX_VCPUS;
    memset(line, 'x', LOADER_MAX_COMMAND_LINE);
    line[LOADER_MAX_COMMAND_LINE] = '\0';
    f->request.command_line = line;
    refused(f, LOAD_LONG_COMMAND_LINE);
    assert_int_equal(load_guest(&f->request, f->mem, LOADER_MIN_MEMORY - PAGE_SIZE, &f->guest),
                     LOAD_BAD_MEMORY);
    assert_int_equal(load_guest(&f->request, f->mem, LOADER_MAX_MEMORY + PAGE_SIZE, &f->guest),
                     LOAD_BAD_MEMORY);
    assert_int_equal(load_guest(&f->request, f->mem, MEM_BYTES - 1, &f->guest), LOAD_BAD_MEMORY);
    line[LOADER_MAX_COMMAND_LINE - 1] = '\0';
    assert_int_equal(load(f), LOAD_OK);
    assert_string_equal(find_tag(f, 1, &bytes), line);
    free(line);
}

static void broken_elf_headers(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 0, 1);
    refused(f, LOAD_NOT_ELF);
    make64(f);
    put(f, 5, 2, 1); /* big-endian */
    refused(f, LOAD_NOT_ELF);
    make64(f);
    put(f, 6, 0, 1);
    refused(f, LOAD_NOT_ELF);
    make64(f);
    put(f, 4, 3, 1);
    refused(f, LOAD_WRONG_MACHINE);
    make64(f);
    put(f, 18, 183, 2);
    refused(f, LOAD_WRONG_MACHINE);
    make32(f);
    put(f, 18, 62, 2);
    refused(f, LOAD_WRONG_MACHINE);
    make64(f);
    put(f, 16, 3, 2); /* ET_DYN */
    refused(f, LOAD_WRONG_TYPE);
}

static void broken_program_headers(void **state)
{
    struct fixture *f = *state;

    put(f, 56, 0, 2);
    refused(f, LOAD_BAD_PROGRAM_HEADER);
    put(f, 56, 0xffff, 2);
    refused(f, LOAD_BAD_PROGRAM_HEADER);
    make64(f);
    put(f, 54, 55, 2);
    refused(f, LOAD_BAD_PROGRAM_HEADER);
    put(f, 54, 0xffff, 2); /* the second one starts far past the end */
    refused(f, LOAD_TRUNCATED);
    make64(f);
    put(f, 32, IMAGE_BYTES - 56, 8); /* the second one is cut off */
    refused(f, LOAD_TRUNCATED);
    put(f, 32, UINT64_MAX - 40, 8);
    refused(f, LOAD_TRUNCATED);
    make64(f);
    put(f, PHDR64_AT, 6, 4); /* no PT_LOAD but an empty one */
    put_segment64(f, 1, 0, 0x200000, 0, 0);
    refused(f, LOAD_NO_SEGMENT);
}

static void broken_segments(void **state)
{
    struct fixture *f = *state;

    put_segment64(f, 0, CODE_AT, LOAD_GPA, 0x1001, 0x2100);
    refused(f, LOAD_SEGMENT_TRUNCATED);
    put_segment64(f, 0, UINT64_MAX - 0x10, LOAD_GPA, CODE_BYTES, 0x2100);
    refused(f, LOAD_SEGMENT_TRUNCATED);
    put_segment64(f, 0, CODE_AT, LOAD_GPA, UINT64_MAX - 8, UINT64_MAX);
    refused(f, LOAD_SEGMENT_TRUNCATED);
    put_segment64(f, 0, CODE_AT, LOAD_GPA, CODE_BYTES, CODE_BYTES - 1);
    refused(f, LOAD_SEGMENT_SIZE);
    put_segment64(f, 0, CODE_AT, LOAD_GPA, CODE_BYTES, UINT64_MAX);
    refused(f, LOAD_SEGMENT_MEMORY);
    put_segment64(f, 0, CODE_AT, MEM_BYTES, CODE_BYTES, CODE_BYTES);
    refused(f, LOAD_SEGMENT_MEMORY);
    put_segment64(f, 0, CODE_AT, UINT64_MAX - 0xff, CODE_BYTES, CODE_BYTES);
    refused(f, LOAD_SEGMENT_MEMORY);
    assert_int_equal(f->guest.detail, 0);
}

static void segments_in_the_way(void **state)
{
    struct fixture *f = *state;

    put_segment64(f, 1, 0, TOP - 0x2fff, 0, 0x3000);
    refused(f, LOAD_SEGMENT_RESERVED);
    assert_int_equal(f->guest.detail, 1);
    put_segment64(f, 1, 0, LOADER_LOW_END - 0x2fff, 0, 0x3000);
    refused(f, LOAD_SEGMENT_RESERVED);
    put_segment64(f, 1, 0, 0xfffff, 0, 1);
    refused(f, LOAD_SEGMENT_RESERVED);
    put_segment64(f, 1, 0, LOAD_GPA + 0x20ff, 0, 0x10);
    refused(f, LOAD_SEGMENT_OVERLAP);
    put_segment64(f, 1, 0, LOAD_GPA + 0x2100, 0, 0x10);
    assert_int_equal(load(f), LOAD_OK);
    put_segment64(f, 1, 0, TOP - 0x3000, 0, 0x3000);
    assert_int_equal(load(f), LOAD_OK);
    put_segment64(f, 1, 0, LOADER_LOW_END - 0x3000, 0, 0x3000);
    assert_int_equal(load(f), LOAD_OK);
}

static void entries(void **state)
{
    struct fixture *f = *state;
    const uint32_t entry_tag[4] = {3, 12, LOAD_GPA + 0x80, 0};

    put(f, 24, LOAD_LINEAR - 1, 8);
    refused(f, LOAD_BAD_ENTRY);
    put(f, 24, LOAD_LINEAR + 0x2100, 8);
    refused(f, LOAD_BAD_ENTRY);
    put(f, 24, LOAD_GPA, 8); /* physical: not what ELF says */
    refused(f, LOAD_BAD_ENTRY);
    put_header(f, HEADER_AT, entry_tag, sizeof(entry_tag));
    assert_int_equal(load(f), LOAD_OK);
    assert_int_equal(f->guest.entry, LOAD_GPA + 0x80);
}

static void finds_the_header(void **state)
{
    struct fixture *f = *state;

    put(f, HEADER_AT + 12, 0, 4); /* checksum */
    refused(f, LOAD_NO_HEADER);
    put_header(f, HEADER_AT + 0x44, NULL, 0); /* not on 8 bytes */
    refused(f, LOAD_NO_HEADER);
    put_header(f, HEADER_AT + 0x88, NULL, 0);
    assert_int_equal(load(f), LOAD_OK); /* behind one with a wrong checksum */
}

static void header_past_32k(void **state)
{
    const size_t bytes = 40000;
    struct fixture *f = *state;
    uint8_t *file = calloc(1, bytes);
    struct load_request request = f->request;

    memcpy(file, f->image, IMAGE_BYTES);
    memset(file + HEADER_AT, 0, 24);
    request.image = file;
    request.image_bytes = bytes;
    memcpy(file + 32768 - 24, f->image + HEADER_AT, 24);
    assert_int_equal(load_guest(&request, f->mem, MEM_BYTES, &f->guest), LOAD_OK);
    memset(file + 32768 - 24, 0, 24);
    memcpy(file + 32768 - 16, f->image + HEADER_AT, 24); /* its end tag is past them */
    assert_int_equal(load_guest(&request, f->mem, MEM_BYTES, &f->guest), LOAD_NO_HEADER);
    free(file);
}

static void header_tags(void **state)
{
    static const struct {
        uint32_t tag[4];
        enum load_result result;
        uint32_t detail;
    } tags[] = {
        {{1, 16, 6, 15}, LOAD_OK, 0},                /* memory map, RSDP */
        {{1, 16, 6, 8}, LOAD_HEADER_REQUEST, 8},     /* framebuffer */
        {{1 | 1 << 16, 16, 6, 8}, LOAD_OK, 0},       /* the same, optional */
        {{2, 16, 0, 0}, LOAD_HEADER_TAG, 2},         /* addresses of a file that is no ELF */
        {{5, 16, 0, 0}, LOAD_HEADER_TAG, 5},         /* framebuffer */
        {{5 | 1 << 16, 16, 0, 0}, LOAD_OK, 0},       /* the same, optional */
        {{6, 8, 6, 8}, LOAD_OK, 0},                  /* module alignment; an odd tag behind it */
        {{99, 16, 0, 0}, LOAD_HEADER_TAG, 99},       /* not known */
        {{6, 7, 0, 0}, LOAD_BAD_HEADER, 0},          /* smaller than a tag */
        {{6, 64, 0, 0}, LOAD_BAD_HEADER, 0},         /* larger than the header */
        {{6, UINT32_MAX, 0, 0}, LOAD_BAD_HEADER, 0}, /* rounding it up overflows */
        {{3, 8, 0, 8}, LOAD_BAD_HEADER, 0},          /* an entry tag without its address */
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < ARRAY_LEN(tags); i++) {
        enum load_result result;

        make64(f);
        put_header(f, HEADER_AT, tags[i].tag, sizeof(tags[i].tag));
        result = load(f);
        if (result != tags[i].result)
            fail_msg("tag %u: %s", i, load_result_name(result));
        if (tags[i].detail != 0)
            assert_int_equal(f->guest.detail, tags[i].detail);
    }
}

static void broken_header(void **state)
{
    struct fixture *f = *state;
    uint32_t head[4] = {MB2_MAGIC, 0, 16, 0u - (MB2_MAGIC + 16)};

    memcpy(f->image + HEADER_AT, head, sizeof(head)); /* no end tag */
    refused(f, LOAD_BAD_HEADER);
    head[2] = 8; /* shorter than its fixed part */
    head[3] = 0u - (MB2_MAGIC + 8);
    memcpy(f->image + HEADER_AT, head, sizeof(head));
    refused(f, LOAD_NO_HEADER);
    head[1] = 4; /* MIPS */
    head[2] = 24;
    head[3] = 0u - (MB2_MAGIC + 4 + 24);
    memcpy(f->image + HEADER_AT, head, sizeof(head));
    refused(f, LOAD_BAD_HEADER);
}

/* A file cut off anywhere is refused, or was whole already. */
static void every_truncation(void **state)
{
    struct fixture *f = *state;

    for (size_t bytes = 0; bytes < CODE_AT + CODE_BYTES; bytes += bytes < 0x200 ? 1 : 61) {
        f->request.image_bytes = bytes;
        assert_int_not_equal(load(f), LOAD_OK);
    }
    assert_true(all_bytes(f->mem, MEM_BYTES, 0xee));
    f->request.image_bytes = CODE_AT + CODE_BYTES;
    assert_int_equal(load(f), LOAD_OK);
}

/* An initramfs is for Linux: a guest that would not look at it is not given one. */
static void initramfs(void **state)
{
    struct fixture *f = *state;

    f->request.initrd = f->image;
    f->request.initrd_bytes = 1;
    refused(f, LOAD_INITRD_KIND);
}

static void names(void **state)
{
    (void)state;
    for (unsigned r = LOAD_OK; r <= LOAD_INITRD_KIND; r++)
        assert_string_not_equal(load_result_name(r), "unknown");
    assert_string_equal(load_result_name(LOAD_INITRD_KIND + 1), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loads_elf64),
        TEST(loads_elf32),
        TEST(information),
        TEST(acpi_tables),
        TEST(requests),
        TEST(broken_elf_headers),
        TEST(broken_program_headers),
        TEST(broken_segments),
        TEST(segments_in_the_way),
        TEST(entries),
        TEST(finds_the_header),
        TEST(header_past_32k),
        TEST(header_tags),
        TEST(broken_header),
        TEST(initramfs),
        TEST(every_truncation),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
