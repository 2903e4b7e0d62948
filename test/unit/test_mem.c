/* The boot-time allocator against a bitmap that does the same slowly, and its corners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/mem.h"

#define PAGES 256u
#define BASE  UINT64_C(0x100000000)

static struct mem mem;

static void check_order(void)
{
    for (uint32_t i = 0; i < mem.count; i++) {
        assert_true(mem.ranges[i].start < mem.ranges[i].end);
        assert_int_equal((mem.ranges[i].start | mem.ranges[i].end) & PAGE_MASK, 0);
        assert_true(i == 0 || mem.ranges[i - 1].end < mem.ranges[i].start);
    }
}

static bool has_page(uint64_t page)
{
    for (uint32_t i = 0; i < mem.count; i++) {
        if (mem.ranges[i].start <= page && page < mem.ranges[i].end) {
            return true;
        }
    }
    return false;
}

static void test_against_bitmap(void **state)
{
    (void)state;
    srand(3);
    for (int round = 0; round < 300; round++) {
        uint8_t free_page[PAGES] = {0};
        uint64_t sum = 0;

        mem.count = 0;
        for (int step = 0; step < 40; step++) {
            uint64_t start = (uint64_t)rand() % (PAGES * PAGE_SIZE);
            uint64_t end = start + (uint64_t)rand() % (PAGES * PAGE_SIZE - start + 1);
            bool add = rand() % 2;

            assert_true(add ? mem_add(&mem, BASE + start, BASE + end)
                            : mem_remove(&mem, BASE + start, BASE + end));
            for (uint64_t p = 0; p < PAGES; p++) {
                uint64_t low = p * PAGE_SIZE, high = low + PAGE_SIZE;

                if (add && low >= start && high <= end) {
                    free_page[p] = 1;
                } else if (!add && low < end && high > start && start < end) {
                    free_page[p] = 0;
                }
            }
            check_order();
        }
        for (uint64_t p = 0; p < PAGES; p++) {
            assert_int_equal(has_page(BASE + p * PAGE_SIZE), free_page[p]);
            sum += free_page[p] * PAGE_SIZE;
        }
        assert_int_equal(mem_free_bytes(&mem), sum);
    }
}

static void test_take(void **state)
{
    uint64_t a;

    (void)state;
    mem.count = 0;
    mem_add(&mem, 0x3000, 0x5000);
    mem_add(&mem, 0x101000, 0x400000);
    assert_false(mem_take(&mem, 0, PAGE_SIZE, &a));
    assert_false(mem_take(&mem, UINT64_MAX, PAGE_SIZE, &a));
    assert_false(mem_take(&mem, 0x300000, PAGE_SIZE, &a));
    assert_true(mem_take(&mem, 1, PAGE_SIZE, &a));
    assert_int_equal(a, 0x3000);
    assert_true(mem_take(&mem, 0x1001, PAGE_SIZE, &a)); /* two pages: not in the low range */
    assert_int_equal(a, 0x101000);
    assert_true(mem_take(&mem, PAGE_2M, PAGE_2M, &a));
    assert_int_equal(a, 0x200000);
    assert_false(mem_take(&mem, PAGE_2M, PAGE_2M, &a));
    assert_false(mem_take(&mem, 1, BIT(63), &a));
    assert_true(mem_take(&mem, 0x1000, PAGE_SIZE, &a));
    assert_int_equal(a, 0x4000);
    assert_int_equal(mem_free_bytes(&mem), 0x200000 - 0x103000);
    check_order();
}

static void test_full(void **state)
{
    (void)state;
    mem.count = 0;
    for (uint64_t i = 0; i < MEM_MAX_RANGES; i++) {
        assert_true(mem_add(&mem, i * 0x4000, i * 0x4000 + 0x3000));
    }
    uint64_t before = mem_free_bytes(&mem);

    assert_false(mem_add(&mem, BASE, BASE + PAGE_SIZE));
    assert_false(mem_remove(&mem, 0x1000, 0x2000)); /* would split */
    assert_int_equal(mem_free_bytes(&mem), before);
    assert_true(mem_add(&mem, 0x3000, 0x4000)); /* joins two */
    assert_int_equal(mem.count, MEM_MAX_RANGES - 1);
    assert_true(mem_remove(&mem, 0, UINT64_MAX));
    assert_int_equal(mem.count, 0);
}

static void test_ends_of_space(void **state)
{
    (void)state;
    mem.count = 0;
    assert_true(mem_add(&mem, UINT64_MAX - 10, UINT64_MAX));
    assert_true(mem_add(&mem, 5, 4));
    assert_int_equal(mem.count, 0);
    assert_true(mem_add(&mem, 0, UINT64_MAX));
    assert_true(mem_remove(&mem, 0x1000, 0x1000));
    assert_true(mem_remove(&mem, UINT64_MAX - 1, UINT64_MAX));
    assert_int_equal(mem_free_bytes(&mem), ~PAGE_MASK);
}

static void test_alloc_is_zeroed(void **state)
{
    uint8_t *block = aligned_alloc(PAGE_SIZE, 8 * PAGE_SIZE);
    uint8_t *first, *second;

    (void)state;
    assert_non_null(block);
    memset(block, 0xAA, 8 * PAGE_SIZE);
    mem.count = 0;
    mem_add(&mem, (uint64_t)block, (uint64_t)block + 8 * PAGE_SIZE);
    first = mem_alloc(&mem, PAGE_SIZE + 1, PAGE_SIZE);
    second = mem_alloc(&mem, PAGE_SIZE, PAGE_SIZE);
    assert_ptr_equal(first, block);
    assert_ptr_equal(second, block + 2 * PAGE_SIZE);
    for (size_t i = 0; i < 3 * PAGE_SIZE; i++) {
        assert_int_equal(block[i], 0);
    }
    assert_int_equal(block[3 * PAGE_SIZE], 0xAA);
    assert_null(mem_alloc(&mem, 6 * PAGE_SIZE, PAGE_SIZE));
    free(block);
}

/* What was handed out since a copy of the struct was made comes back with the copy, zeroed again. */
static void test_copy_takes_back(void **state)
{
    uint8_t *block = aligned_alloc(PAGE_SIZE, 4 * PAGE_SIZE);
    struct mem mark;
    uint8_t *kept, *first;

    (void)state;
    assert_non_null(block);
    mem.count = 0;
    mem_add(&mem, (uint64_t)block, (uint64_t)block + 4 * PAGE_SIZE);
    kept = mem_alloc(&mem, PAGE_SIZE, PAGE_SIZE);
    mark = mem;
    for (int round = 0; round < 3; round++) {
        mem = mark;
        first = mem_alloc(&mem, 3 * PAGE_SIZE, PAGE_SIZE);
        assert_ptr_equal(first, kept + PAGE_SIZE);
        assert_null(mem_alloc(&mem, PAGE_SIZE, PAGE_SIZE));
        assert_int_equal(first[0] | first[3 * PAGE_SIZE - 1], 0);
        memset(first, 0xAA, 3 * PAGE_SIZE);
        kept[0] = 1;
    }
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_bitmap),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_ends_of_space),
        cmocka_unit_test(test_alloc_is_zeroed),
        cmocka_unit_test(test_copy_takes_back),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
