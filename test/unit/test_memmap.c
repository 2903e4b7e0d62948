/* Free memory, the low page, and the hypervisor's page tables, from boot information. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/multiboot2.h"
#include "hv/mem.h"
#include "hv/memmap.h"

#define MIB UINT64_C(0x100000)

static struct boot_info boot;
static struct mem mem;
static const struct image_layout image = {2 * MIB, 2 * MIB + 0x3000, 2 * MIB + 0x5000, 2 * MIB + 0x9000};

static void region(uint64_t base, uint64_t end, uint32_t type)
{
    boot.regions[boot.region_count++] = (struct boot_region){base, end - base, type};
}

static void module(uint64_t start, uint64_t end)
{
    boot.modules[boot.module_count].start = start;
    boot.modules[boot.module_count++].end = end;
}

/* A PC with 64 MiB, ACPI tables in it, and 2 MiB beyond 4 GiB. */
static void make_pc(void)
{
    memset(&boot, 0, sizeof(boot));
    region(0, 0x9F800, BOOT_MEMORY_USABLE);
    region(0x9F800, MIB, BOOT_MEMORY_RESERVED);
    region(MIB, 60 * MIB, BOOT_MEMORY_USABLE);
    region(60 * MIB, 61 * MIB, BOOT_MEMORY_ACPI_TABLES);
    region(61 * MIB, 64 * MIB, BOOT_MEMORY_USABLE);
    region(0xFFFC0000, 0x100000000, BOOT_MEMORY_RESERVED);
    region(0x100000000, 0x100200000, BOOT_MEMORY_USABLE);
    module(4 * MIB, 5 * MIB + 1);
    boot.info_address = 0x10000;
    boot.info_size = 0x500;
}

static bool is_free(uint64_t page)
{
    for (uint32_t i = 0; i < mem.count; i++) {
        if (mem.ranges[i].start <= page && page < mem.ranges[i].end) {
            return true;
        }
    }
    return false;
}

static void test_free_memory(void **state)
{
    (void)state;
    make_pc();
    assert_true(memmap_find_free(&boot, &image, &mem));
    assert_false(is_free(0x1000));
    assert_true(is_free(MIB));
    assert_true(is_free(image.start - PAGE_SIZE));
    assert_false(is_free(image.start));
    assert_false(is_free(image.end - PAGE_SIZE));
    assert_true(is_free(image.end));
    assert_false(is_free(5 * MIB)); /* the module's last byte */
    assert_true(is_free(5 * MIB + PAGE_SIZE));
    assert_false(is_free(60 * MIB));
    assert_true(is_free(0x100000000));
    assert_int_equal(mem_free_bytes(&mem), 64 * MIB - MIB - MIB - 0x9000 - MIB - PAGE_SIZE + 2 * MIB);
}

/* The order of the map does not matter, and usable loses against everything else. */
static void test_contradictions(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        memset(&boot, 0, sizeof(boot));
        if (order) {
            region(10 * MIB, 12 * MIB, BOOT_MEMORY_BAD);
        }
        region(8 * MIB, 11 * MIB, BOOT_MEMORY_USABLE);
        region(9 * MIB, 14 * MIB, BOOT_MEMORY_USABLE);
        region(UINT64_MAX - 100, UINT64_MAX, BOOT_MEMORY_USABLE);
        if (!order) {
            region(10 * MIB, 12 * MIB, BOOT_MEMORY_BAD);
        }
        assert_true(memmap_find_free(&boot, &image, &mem));
        assert_int_equal(mem.count, 2);
        assert_int_equal(mem_free_bytes(&mem), 4 * MIB);
    }
}

static void test_low_page(void **state)
{
    uint64_t page = 0;

    (void)state;
    make_pc();
    assert_true(memmap_find_low_page(&boot, &page));
    assert_int_equal(page, 0x9E000); /* the page with 0x9F800 in it is not whole */
    module(0x9D800, 0x9E001);
    assert_true(memmap_find_low_page(&boot, &page));
    assert_int_equal(page, 0x9C000);
    memset(&boot, 0, sizeof(boot));
    region(0, 0x1000, BOOT_MEMORY_USABLE);
    assert_false(memmap_find_low_page(&boot, &page));
    region(0x1000, 0x3000, BOOT_MEMORY_USABLE);
    boot.info_address = 0x2FFF;
    boot.info_size = 1;
    assert_true(memmap_find_low_page(&boot, &page));
    assert_int_equal(page, 0x1000);
    region(0x1FFF, 0x2000, BOOT_MEMORY_RESERVED);
    assert_false(memmap_find_low_page(&boot, &page));
}

#define TABLE_PAGES 64u

static struct paging build(bool pages_1g, uint8_t *tables, uint32_t pages, bool expected)
{
    struct paging paging;

    mem.count = 0;
    mem_add(&mem, (uint64_t)tables, (uint64_t)tables + pages * PAGE_SIZE);
    assert_int_equal(memmap_build_paging(&boot, &image, pages_1g, &mem, &paging), expected);
    return paging;
}

/* Walks the tables as the CPU does (SDM 3A 4.5.4). */
static uint64_t translate(const struct paging *p, uint64_t address)
{
    uint64_t entry = (uint64_t)p->root, mask = UINT64_C(0x000FFFFFFFFFF000);

    for (unsigned shift = 39;; shift -= 9) {
        entry = ((const uint64_t *)(entry & mask))[address >> shift & 511];
        assert_true(entry & 1);
        if (shift == 12 || (entry & 0x80)) {
            return (entry & mask & ~(BIT(shift) - 1)) | (address & (BIT(shift) - 1));
        }
    }
}

static void check_identity(const struct paging *p)
{
    static const uint64_t addresses[] = {0x1234,     0x9F800,    0x200000,    0x203000,   0x207FFF,
                                         0x209000,   0x3FFFFF,   0x3C00000,   0x3D23456,  0x40000000,
                                         0xFEE00300, 0xFFFFFFFF, 0x100000000, 0x1001FFFFF};

    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        assert_true(translate(p, addresses[i]) == addresses[i]);
    }
}

static void test_paging(void **state)
{
    uint8_t *tables = aligned_alloc(PAGE_SIZE, TABLE_PAGES * PAGE_SIZE);

    (void)state;
    assert_non_null(tables);
    make_pc();
    for (int pages_1g = 0; pages_1g < 2; pages_1g++) {
        struct paging p = build(pages_1g, tables, TABLE_PAGES, true);

        assert_int_equal(paging_get(&p, 0), 0);
        assert_true(paging_get(&p, 0x1000) == PAGING_DATA);
        assert_true(paging_get(&p, 0x9F800) == PAGING_MMIO);
        assert_true(paging_get(&p, 0xB8000) == PAGING_MMIO);
        assert_true(paging_get(&p, image.start) == PAGING_CODE);
        assert_true(paging_get(&p, image.text_end - 1) == PAGING_CODE);
        assert_true(paging_get(&p, image.text_end) == PAGING_RODATA);
        assert_true(paging_get(&p, image.rodata_end) == PAGING_DATA);
        assert_true(paging_get(&p, image.end) == PAGING_DATA);
        assert_true(paging_get(&p, 60 * MIB) == PAGING_DATA);
        assert_true(paging_get(&p, 64 * MIB) == PAGING_MMIO);
        assert_true(paging_get(&p, 0xFEE00000) == PAGING_MMIO);
        assert_true(paging_get(&p, 0x100000000) == PAGING_DATA);
        assert_int_equal(paging_get(&p, 0x100200000), 0);
        assert_int_equal(paging_get(&p, PAGING_ADDRESS_END), 0);
        assert_int_equal(paging_get(&p, UINT64_MAX), 0);
        check_identity(&p);
        /* Changing a page in the middle changes that page alone, and back. */
        assert_true(paging_set(&p, 0x700000, 0x701000, 0));
        assert_int_equal(paging_get(&p, 0x700FFF), 0);
        assert_true(paging_get(&p, 0x6FFFFF) == PAGING_DATA);
        assert_true(paging_get(&p, 0x701000) == PAGING_DATA);
        assert_true(paging_set(&p, 0x700000, 0x701000, PAGING_CODE));
        assert_true(paging_get(&p, 0x700000) == PAGING_CODE);
        assert_true(paging_set(&p, 0, PAGING_ADDRESS_END, 0));
        assert_int_equal(paging_get(&p, 0x1000), 0);
    }
    free(tables);
}

/* Wherever the memory for tables ends, the answer is "no memory". */
static void test_paging_no_memory(void **state)
{
    uint8_t *tables = aligned_alloc(PAGE_SIZE, TABLE_PAGES * PAGE_SIZE);
    uint32_t needed;

    (void)state;
    assert_non_null(tables);
    make_pc();
    (void)build(false, tables, TABLE_PAGES, true);
    needed = TABLE_PAGES - (uint32_t)(mem_free_bytes(&mem) / PAGE_SIZE);
    for (uint32_t pages = 0; pages < needed; pages++) {
        (void)build(false, tables, pages, false);
    }
    (void)build(false, tables, needed, true);
    free(tables);
}

/* A region that ends the address space must not wrap into mapping all of it. */
static void test_paging_far_region(void **state)
{
    uint8_t *tables = aligned_alloc(PAGE_SIZE, TABLE_PAGES * PAGE_SIZE);

    (void)state;
    assert_non_null(tables);
    memset(&boot, 0, sizeof(boot));
    region(UINT64_MAX - 100, UINT64_MAX, BOOT_MEMORY_USABLE);
    region(PAGING_ADDRESS_END, PAGING_ADDRESS_END + MIB, BOOT_MEMORY_USABLE);
    struct paging p = build(false, tables, TABLE_PAGES, true);

    assert_true(paging_get(&p, 64 * MIB) == PAGING_MMIO);
    assert_int_equal(paging_get(&p, BIT(40)), 0);
    free(tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_memory),      cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_low_page),         cmocka_unit_test(test_paging),
        cmocka_unit_test(test_paging_no_memory), cmocka_unit_test(test_paging_far_region),
    };

    return cmocka_run_group_tests_name("memmap", tests, NULL, NULL);
}
