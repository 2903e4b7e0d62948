/* The loader's Linux part: a good bzImage, every refusal, and what the kernel finds at its entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guestmem/linux_boot.h"
#include "hv/guestmem/loader.h"

#define MEM_BYTES    (UINT64_C(8) << 20)
#define TOP          (MEM_BYTES - LOADER_RESERVED_BYTES)
#define SETUP_SECTS  7u
#define KERNEL_AT    ((SETUP_SECTS + 1) * 512)
#define KERNEL_BYTES 0x3000u
#define IMAGE_BYTES  (KERNEL_AT + KERNEL_BYTES)
#define KERNEL_GPA   0x200000u
#define INIT_SIZE    0x100000u
#define INITRD_BYTES 0x1801u
#define FILLER       0xee

struct fixture {
    uint8_t *mem;
    uint8_t image[IMAGE_BYTES];
    uint8_t initrd[INITRD_BYTES];
    struct load_request request;
    struct loaded_guest guest;
};

static void put(struct fixture *f, size_t at, uint64_t value, size_t bytes)
{
    memcpy(f->image + at, &value, bytes);
}

static void make_image(struct fixture *f)
{
    for (size_t i = 0; i < IMAGE_BYTES; i++)
        f->image[i] = (uint8_t)(i * 7 + i / 251);
    put(f, 0x1f1, SETUP_SECTS, 1);
    put(f, 0x1f4, KERNEL_BYTES / 16, 4);
    put(f, 0x1fe, 0xaa55, 2);
    put(f, 0x200, 0x6aeb, 2); /* a jump to 26CH */
    memcpy(f->image + 0x202, "HdrS", 4);
    put(f, 0x206, 0x20f, 2);
    put(f, 0x211, 1, 1);
    put(f, 0x22c, 0x7fffffff, 4);
    put(f, 0x236, 0x7f, 2);
    put(f, 0x238, 2047, 4);
    put(f, 0x258, KERNEL_GPA, 8);
    put(f, 0x260, INIT_SIZE, 4);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->mem = malloc(MEM_BYTES);
    memset(f->mem, FILLER, MEM_BYTES);
    make_image(f);
    for (size_t i = 0; i < INITRD_BYTES; i++)
        f->initrd[i] = (uint8_t)(i * 13 + 5);
    f->request = (struct load_request){.image = f->image,
                                       .image_bytes = IMAGE_BYTES,
                                       .command_line = "console=ttyS0",
                                       .vcpus = 2,
                                       .initrd = f->initrd,
                                       .initrd_bytes = INITRD_BYTES};
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

/* Loads from copies of just the files' sizes, so that the sanitizer sees a read past them. */
static enum load_result load(struct fixture *f, uint64_t mem_bytes)
{
    struct load_request request = f->request;
    uint8_t *file = malloc(request.image_bytes + (request.image_bytes == 0));
    uint8_t *initrd = malloc(request.initrd_bytes + (request.initrd_bytes == 0));
    enum load_result result;

    memcpy(file, f->image, request.image_bytes);
    memcpy(initrd, f->initrd, MIN(request.initrd_bytes, (size_t)INITRD_BYTES));
    request.image = file;
    request.initrd = initrd;
    result = load_guest(&request, f->mem, mem_bytes, &f->guest);
    free(file);
    free(initrd);
    return result;
}

static bool filler_only(const struct fixture *f, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        if (f->mem[i] != FILLER)
            return false;
    return true;
}

static void refused(struct fixture *f, enum load_result wanted)
{
    enum load_result result = load(f, MEM_BYTES);

    if (result != wanted)
        fail_msg("%s, not %s", load_result_name(result), load_result_name(wanted));
    assert_true(filler_only(f, 0, MEM_BYTES));
    make_image(f);
}

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, p, bytes);
    return value;
}

static void kernel_and_initramfs(void **state)
{
    struct fixture *f = *state;
    const uint8_t *zero_page;
    uint64_t initrd = (TOP - INITRD_BYTES) & ~PAGE_MASK;

    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    assert_int_equal(f->guest.kind, LOAD_KIND_LINUX);
    assert_int_equal(f->guest.entry, KERNEL_GPA + 0x200);
    assert_int_equal(f->guest.image_start, KERNEL_GPA);
    assert_int_equal(f->guest.image_end, KERNEL_GPA + INIT_SIZE);
    assert_memory_equal(f->mem + KERNEL_GPA, f->image + KERNEL_AT, KERNEL_BYTES);
    for (uint64_t i = KERNEL_BYTES; i < INIT_SIZE; i++)
        assert_int_equal(f->mem[KERNEL_GPA + i], 0);
    assert_memory_equal(f->mem + initrd, f->initrd, INITRD_BYTES);
    zero_page = f->mem + f->guest.info_gpa;
    assert_int_equal(number(zero_page + 0x218, 4), initrd);
    assert_int_equal(number(zero_page + 0x21c, 4), INITRD_BYTES);
    /* Nothing else is written. */
    assert_true(filler_only(f, 0, 0x1000));
    assert_true(filler_only(f, 0xa000, LOADER_RSDP_COPY));
    assert_true(filler_only(f, LOADER_RSDP_COPY + PAGE_SIZE, KERNEL_GPA));
    assert_true(filler_only(f, KERNEL_GPA + INIT_SIZE, initrd));
    assert_true(filler_only(f, initrd + INITRD_BYTES, TOP));
}

static void zero_page(void **state)
{
    static const uint64_t map[4][3] = {{0, 0x9f000, 1},
                                       {0x9f000, 0x61000, 2},
                                       {0x100000, TOP - 0x100000, 1},
                                       {TOP, LOADER_RESERVED_BYTES, 3}};
    struct fixture *f = *state;
    const uint8_t *page;

    f->request.initrd_bytes = 0;
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    page = f->mem + f->guest.info_gpa;
    assert_int_equal(f->guest.info_gpa % PAGE_SIZE, 0);
    assert_int_equal(f->guest.info_bytes, PAGE_SIZE);
    assert_memory_equal(page + 0x1f1, f->image + 0x1f1, 0x210 - 0x1f1);
    assert_memory_equal(page + 0x22c, f->image + 0x22c, 0x26c - 0x22c);
    assert_int_equal(page[0x26c], 0); /* the header ends there */
    assert_int_equal(page[0x1ef], 0); /* "sentinel": the page was cleared */
    assert_int_equal(page[0x210], 0xff);
    assert_int_equal(number(page + 0x218, 8), 0);
    assert_string_equal((char *)f->mem + number(page + 0x228, 4), "console=ttyS0");
    assert_int_equal(number(page + 0x70, 8), f->guest.rsdp_gpa);
    assert_memory_equal(f->mem + f->guest.rsdp_gpa, "RSD PTR ", 8);
    assert_int_equal(page[0x1e8], 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(number(page + 0x2d0 + i * 20, 8), map[i][0]);
        assert_int_equal(number(page + 0x2d8 + i * 20, 8), map[i][1]);
        assert_int_equal(number(page + 0x2e0 + i * 20, 4), map[i][2]);
    }
}

/* Walks the page tables as a processor does, and reads the GDT's descriptors (SDM 3A 3.4.5, 4.5). */
static void tables(void **state)
{
    struct fixture *f = *state;
    const uint8_t *gdt;

    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    for (uint64_t address = 0; address < UINT64_C(4) << 30; address += PAGE_2M) {
        uint64_t entry = number(f->mem + f->guest.cr3, 8);

        assert_int_equal(entry & 0xfff, 3);
        entry = number(f->mem + (entry & ~PAGE_MASK) + (address >> 30) * 8, 8);
        assert_int_equal(entry & 0xfff, 3);
        entry = number(f->mem + (entry & ~PAGE_MASK) + (address >> 21) % 512 * 8, 8);
        assert_int_equal(entry, address | 0x83);
    }
    for (unsigned i = 1; i < 512; i++)
        assert_int_equal(number(f->mem + f->guest.cr3 + i * 8, 8), 0);
    assert_int_equal(f->guest.gdt_bytes, LINUX_BOOT_DS + 8);
    gdt = f->mem + f->guest.gdt_gpa;
    assert_int_equal(number(gdt, 8), 0);
    assert_int_equal(number(gdt + LINUX_BOOT_CS, 8), 0x00af9b000000ffff);
    assert_int_equal(number(gdt + LINUX_BOOT_DS, 8), 0x00cf93000000ffff);
}

static void broken_headers(void **state)
{
    struct fixture *f = *state;

    put(f, 0x206, 0x20b, 2);
    refused(f, LOAD_LINUX_PROTOCOL);
    assert_int_equal(f->guest.detail, 0x20b);
    put(f, 0x236, 0x7e, 2);
    refused(f, LOAD_LINUX_32BIT);
    put(f, 0x211, 0, 1); /* a zImage, below 640 KiB */
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x201, 0x61, 1); /* the header ends before init_size does */
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x201, 0x8f, 1); /* and past its place in the zero page */
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x258, 0xff000, 8);
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x258, KERNEL_GPA + 0x800, 8);
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x260, KERNEL_BYTES - 1, 4);
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x1f4, 0x20, 4); /* ends where the 64-bit entry would be */
    refused(f, LOAD_LINUX_HEADER);
    put(f, 0x1f4, KERNEL_BYTES / 16 + 1, 4);
    refused(f, LOAD_LINUX_TRUNCATED);
    put(f, 0x1f4, UINT32_MAX, 4);
    refused(f, LOAD_LINUX_TRUNCATED);
    put(f, 0x1fe, 0xaa54, 2); /* no longer a bzImage: tried as an ELF file */
    refused(f, LOAD_NOT_ELF);
    put(f, 0x202, 0, 1);
    refused(f, LOAD_NOT_ELF);
}

/* setup_sects 0 means 4. */
static void old_setup_size(void **state)
{
    struct fixture *f = *state;

    put(f, 0x1f1, 0, 1);
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    assert_memory_equal(f->mem + KERNEL_GPA, f->image + 5 * 512, KERNEL_BYTES);
}

static void every_truncation(void **state)
{
    struct fixture *f = *state;

    for (size_t bytes = 0; bytes < IMAGE_BYTES; bytes += bytes < 0x280 ? 1 : 97) {
        f->request.image_bytes = bytes;
        assert_int_not_equal(load(f, MEM_BYTES), LOAD_OK);
    }
    assert_true(filler_only(f, 0, MEM_BYTES));
    f->request.image_bytes = IMAGE_BYTES;
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
}

static void places(void **state)
{
    struct fixture *f = *state;

    f->request.initrd_bytes = 0;
    put(f, 0x258, TOP - INIT_SIZE + PAGE_SIZE, 8);
    refused(f, LOAD_LINUX_MEMORY);
    assert_int_equal(f->guest.detail, MEM_BYTES + PAGE_SIZE);
    put(f, 0x258, UINT64_MAX & ~PAGE_MASK, 8);
    refused(f, LOAD_LINUX_MEMORY);
    put(f, 0x258, TOP - INIT_SIZE, 8);
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    assert_int_equal(f->guest.image_end, TOP);
}

static void initramfs_places(void **state)
{
    struct fixture *f = *state;
    uint64_t at;

    put(f, 0x260, TOP - KERNEL_GPA - INITRD_BYTES / 2, 4);
    refused(f, LOAD_INITRD_MEMORY);
    assert_int_equal(f->guest.detail, INITRD_BYTES);
    f->request.initrd_bytes = MEM_BYTES;
    refused(f, LOAD_INITRD_MEMORY);
    f->request.initrd_bytes = INITRD_BYTES;
    put(f, 0x22c, KERNEL_GPA + INIT_SIZE + 0x1fff, 4); /* it must end lower than memory does */
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
    at = number(f->mem + f->guest.info_gpa + 0x218, 4);
    assert_int_equal(at, KERNEL_GPA + INIT_SIZE);
    assert_memory_equal(f->mem + at, f->initrd, INITRD_BYTES);
    memset(f->mem, FILLER, MEM_BYTES);
    put(f, 0x22c, KERNEL_GPA + INIT_SIZE + 0xfff, 4);
    refused(f, LOAD_INITRD_MEMORY);
}

static void command_lines(void **state)
{
    struct fixture *f = *state;

    put(f, 0x238, strlen(f->request.command_line) - 1, 4);
    refused(f, LOAD_LONG_COMMAND_LINE);
    put(f, 0x238, strlen(f->request.command_line), 4);
    assert_int_equal(load(f, MEM_BYTES), LOAD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kernel_and_initramfs, setup, teardown),
        cmocka_unit_test_setup_teardown(zero_page, setup, teardown),
        cmocka_unit_test_setup_teardown(tables, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(old_setup_size, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation, setup, teardown),
        cmocka_unit_test_setup_teardown(places, setup, teardown),
        cmocka_unit_test_setup_teardown(initramfs_places, setup, teardown),
        cmocka_unit_test_setup_teardown(command_lines, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
