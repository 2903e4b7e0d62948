#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "replay/frames.h"

#define COUNT 5u

static uint8_t memory[COUNT][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint32_t stack[COUNT];

static void frames_come_in_order_and_once(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(frame_alloc(&pool, false), i);
    assert_int_equal(frame_alloc(&pool, false), FRAME_NONE);
    assert_int_equal(frame_alloc(&pool, true), FRAME_NONE);
    assert_int_equal(pool.low_mark, 0);
}

static void the_reserve_is_for_those_who_ask(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 2);
    for (uint32_t i = 0; i < COUNT - 2; i++)
        assert_int_not_equal(frame_alloc(&pool, false), FRAME_NONE);
    assert_int_equal(frame_alloc(&pool, false), FRAME_NONE);
    assert_int_equal(pool.free_count, 2);
    assert_int_equal(frame_alloc(&pool, true), COUNT - 2);
    frame_free(&pool, 0);
    assert_int_equal(frame_alloc(&pool, false), FRAME_NONE);
    frame_free(&pool, 1);
    assert_int_equal(frame_alloc(&pool, false), 1);
    assert_int_equal(pool.low_mark, 1);
}

static void all_that_is_freed_comes_back(void **state)
{
    struct frame_pool pool;
    uint32_t seen = 0;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        frame_alloc(&pool, false);
    for (uint32_t i = 0; i < COUNT; i++)
        frame_free(&pool, (i * 3) % COUNT);
    assert_int_equal(pool.free_count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        seen |= 1u << frame_alloc(&pool, false);
    assert_int_equal(seen, (1u << COUNT) - 1);
}

static void copy_and_compare_see_every_byte(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    for (uint32_t i = 0; i < PAGE_SIZE; i++)
        memory[1][i] = (uint8_t)(i * 7 + i / 256);
    memset(memory[2], 0xee, PAGE_SIZE);
    memset(memory[3], 0xdd, PAGE_SIZE);
    frame_copy(&pool, 2, 1);
    assert_memory_equal(memory[2], memory[1], PAGE_SIZE);
    assert_int_equal(memory[3][0], 0xdd);
    assert_true(frame_equal(&pool, 1, 2));
    for (uint32_t i = 0; i < PAGE_SIZE; i++) {
        memory[2][i] ^= 0x80;
        assert_false(frame_equal(&pool, 1, 2));
        memory[2][i] ^= 0x80;
    }
    assert_ptr_equal(frame_data(&pool, 3), memory[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_in_order_and_once),
        cmocka_unit_test(the_reserve_is_for_those_who_ask),
        cmocka_unit_test(all_that_is_freed_comes_back),
        cmocka_unit_test(copy_and_compare_see_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
