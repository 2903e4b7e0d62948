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

static void changes_of_the_same_words_are_told_from_others(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    memset(memory, 0x11, sizeof(memory));
    assert_int_equal(frames_change_same(&pool, 0, 1, 2), FRAME_WORDS);
    assert_int_equal(frames_first_difference(&pool, 0, 1), FRAME_WORDS);
    for (uint32_t i = 0; i < PAGE_SIZE; i += 8) {
        memory[1][i] = 1;
        memory[2][(i + 8) % PAGE_SIZE] = 2;
        assert_int_equal(frames_change_same(&pool, 0, 1, 2), FRAME_WORDS);
        assert_int_equal(frames_first_difference(&pool, 0, 1), i / 8);
        memory[2][i + 7] = 3;
        assert_int_equal(frames_change_same(&pool, 0, 1, 2), i / 8);
        memset(memory[1], 0x11, 2 * PAGE_SIZE);
    }
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
    frame_copy(&pool, 2, 1, FRAME_SIMD_GUEST);
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

static uint64_t *word(uint32_t frame, uint32_t index)
{
    return (uint64_t *)(void *)memory[frame] + index;
}

static uint64_t change(const struct frame_pool *pool, uint32_t base, uint32_t copy, uint64_t seed)
{
    bool soft;

    return frame_change_digest(pool, base, copy, seed, FRAME_SIMD_GUEST, &soft);
}

static void change_digest_is_zero_only_where_nothing_changed(void **state)
{
    struct frame_pool pool;
    uint64_t last = 0;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i++)
        *word(1, i) = *word(2, i) = *word(3, i) = i * UINT64_C(0x123456789abcdef);
    assert_int_equal(change(&pool, 1, 2, 5), 0);
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i++) {
        *word(2, i) ^= 1;
        uint64_t d = change(&pool, 1, 2, 5);
        assert_int_not_equal(d, 0);
        assert_int_not_equal(d, last); /* the same bit of the next word is another change */
        assert_int_equal(change(&pool, 3, 2, 5), d);
        assert_int_not_equal(change(&pool, 1, 2, 6), d);
        *word(2, i) ^= 1;
        last = d;
    }
}

/* Few changes are digested one by one, more in one go: every word counts on both sides of that. */
static void change_digest_sees_each_of_many_changes(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    for (uint32_t step = 1; step <= 128; step *= 2) {
        memset(memory[1], 0, PAGE_SIZE);
        memset(memory[2], 0, PAGE_SIZE);
        for (uint32_t i = 3; i < PAGE_SIZE / 8; i += step)
            *word(2, i) = i;
        uint64_t d = change(&pool, 1, 2, 0);
        for (uint32_t i = 0; i < PAGE_SIZE / 8; i++) {
            *word(2, i) ^= UINT64_C(1) << 63;
            assert_int_not_equal(change(&pool, 1, 2, 0), d);
            *word(2, i) ^= UINT64_C(1) << 63;
        }
    }
}

/* The sum of two pages' digests where each has counted `times` up: as two sides of a ring, or a lock, do. */
static uint64_t counted_in_step(const struct frame_pool *pool, uint64_t from, uint64_t times)
{
    *word(2, 2) = from + times;
    *word(4, 2) = from + 1 + times;
    return change(pool, 1, 2, ~UINT64_C(0x11c)) + change(pool, 3, 4, ~UINT64_C(0x11e));
}

/* A chunk's digest adds up those of its pages: changes that go together must not cancel each other. */
static void pages_that_change_in_step_do_not_cancel(void **state)
{
    struct frame_pool pool;

    (void)state;
    frames_init(&pool, memory[0], stack, COUNT, 0);
    memset(memory, 0, sizeof(memory));
    for (uint64_t from = 0; from < 256; from++) {
        *word(1, 2) = from;
        *word(3, 2) = from + 1;
        for (uint64_t times = 1; times < 64; times++) {
            uint64_t d = counted_in_step(&pool, from, times);
            for (uint64_t other = times + 1; other < 64; other++)
                assert_int_not_equal(counted_in_step(&pool, from, other), d);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_in_order_and_once),
        cmocka_unit_test(the_reserve_is_for_those_who_ask),
        cmocka_unit_test(all_that_is_freed_comes_back),
        cmocka_unit_test(copy_and_compare_see_every_byte),
        cmocka_unit_test(changes_of_the_same_words_are_told_from_others),
        cmocka_unit_test(change_digest_is_zero_only_where_nothing_changed),
        cmocka_unit_test(change_digest_sees_each_of_many_changes),
        cmocka_unit_test(pages_that_change_in_step_do_not_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
