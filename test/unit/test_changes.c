#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/base/changes.h"

#define WORDS CHANGES_WORDS

static uint64_t old[WORDS] __attribute__((aligned(64))), new[WORDS] __attribute__((aligned(64)));
static uint64_t copy[WORDS] __attribute__((aligned(64)));
static uint64_t seed = 1;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t digest(uint64_t start)
{
    struct changes changes = {0};

    changes_add(&changes, old, new, 0, WORDS);
    return changes_digest(&changes, start);
}

static uint64_t digest_wide(uint64_t start)
{
    struct changes changes = {0};

    changes_add_page_wide(&changes, old, new);
    return changes_digest(&changes, start);
}

/* A page of numbers of a few bits or of all, and a version of it with about `changed` words in `of` changed.
 */
static void make_pages(unsigned bits, uint64_t changed, uint64_t of)
{
    uint64_t mask = UINT64_MAX >> (64 - bits);

    for (uint32_t i = 0; i < WORDS; i++) {
        old[i] = draw() & mask;
        new[i] = draw() % of < changed ? draw() & mask : old[i];
    }
}

/* Whether some word differs in nothing but CHANGES_SOFT: as both ways say, and as it is. */
static bool soft(void)
{
    struct changes narrow = {0}, wide = {0};
    bool found = false;

    for (uint32_t i = 0; i < WORDS; i++)
        found |= old[i] != new[i] && ((old[i] ^ new[i]) | CHANGES_SOFT) == CHANGES_SOFT;
    changes_add(&narrow, old, new, 0, WORDS);
    assert_int_equal(narrow.soft, found);
    if (__builtin_cpu_supports("avx2")) {
        changes_add_page_wide(&wide, old, new);
        assert_int_equal(wide.soft, found);
    }
    return found;
}

static void accessed_bits_alone_are_seen(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 1000; round++) {
        make_pages(1 + round % 64, round % 7, 1 + draw() % 300);
        (void)soft();
    }
    for (uint32_t i = 0; i < WORDS; i++) {
        make_pages(64, 1, 10);
        new[i] = old[i] ^ (i % 3 == 0 ? CHANGES_SOFT : UINT64_C(0x20) << (i % 3 == 1 ? 0 : 32));
        assert_true(soft());
        new[i] ^= UINT64_C(1) << 63;
        new[(i + 1) % WORDS] = ~old[(i + 1) % WORDS];
        (void)soft();
    }
}

static void registers_wide_and_narrow_agree(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2"))
        skip();
    for (unsigned round = 0; round < 4000; round++) {
        make_pages(1 + round % 64, round % 7, 1 + draw() % 300);
        assert_int_equal(digest_wide(round), digest(round));
    }
    memcpy(new, old, sizeof(new));
    assert_int_equal(digest_wide(3), 0);
    for (uint32_t i = 0; i < WORDS; i++) {
        new[i] ^= UINT64_C(1) << i % 64;
        assert_int_equal(digest_wide(3), digest(3));
        assert_int_not_equal(digest_wide(3), 0);
        new[i] = old[i];
    }
    changes_page_copy_wide(copy, old);
    assert_memory_equal(copy, old, sizeof(copy));
}

/* Calls in any order and of any size come to the same. */
static void parts_may_come_in_any_order(void **state)
{
    (void)state;
    for (uint32_t cut = 0; cut <= WORDS; cut += 7) {
        struct changes changes = {0};
        make_pages(64, 1, 4);
        for (uint32_t i = cut; i < WORDS; i++) {
            if (old[i] != new[i])
                changes_add_word(&changes, new[i], i);
        }
        changes_add(&changes, old, new, 0, cut);
        assert_int_equal(changes_digest(&changes, 9), digest(9));
    }
}

static void equal_words_add_nothing_whatever_they_are(void **state)
{
    uint64_t d;

    (void)state;
    make_pages(64, 0, 1);
    assert_int_equal(digest(5), 0);
    new[100] ^= 1;
    d = digest(5);
    for (uint32_t i = 0; i < WORDS; i++)
        old[i] = i == 100 ? old[i] : (new[i] = draw());
    assert_int_equal(digest(5), d);
    old[100] = ~new[100]; /* nor does what a word was before */
    assert_int_equal(digest(5), d);
}

/* Two bits, whichever they are, of words of the same lane or not. */
static void any_two_bits_show(void **state)
{
    static const uint32_t place[] = {0, 4, 5, 300};
    uint64_t d;

    (void)state;
    make_pages(64, 1, 2);
    for (unsigned i = 0; i < 4; i++)
        old[place[i]] = ~new[place[i]]; /* these are changed in any case */
    d = digest(1);
    for (unsigned a = 0; a < 4 * 64; a++) {
        for (unsigned b = 0; b < a; b++) {
            new[place[a / 64]] ^= UINT64_C(1) << a % 64;
            new[place[b / 64]] ^= UINT64_C(1) << b % 64;
            assert_int_not_equal(digest(1), d);
            new[place[a / 64]] ^= UINT64_C(1) << a % 64;
            new[place[b / 64]] ^= UINT64_C(1) << b % 64;
        }
    }
}

/* Adds `by` to small numbers at places `step` apart, digests, and takes it back. */
static uint64_t digest_moved(uint32_t first, uint32_t step, const int *by, uint32_t count)
{
    uint64_t d;

    for (uint32_t i = 0; i < count; i++)
        new[first + i * step] += (uint64_t)(int64_t)by[i];
    d = digest(1);
    for (uint32_t i = 0; i < count; i++)
        new[first + i * step] -= (uint64_t)(int64_t)by[i];
    return d;
}

/* What programs do: take from one and add to another, sums that stay, differences of differences. */
static void changes_that_balance_do_not_cancel(void **state)
{
    static const int moves[][4] = {{1, -1, 0, 0},  {-1, 1, 0, 0},  {1, -2, 1, 0},
                                   {1, -1, -1, 1}, {1, -3, 3, -1}, {1, 1, 1, 1}};
    uint64_t d;

    (void)state;
    for (uint32_t i = 0; i < WORDS; i++)
        old[i] = 0, new[i] = 1000 + i * 8;
    d = digest(1);
    for (uint32_t step = 1; step <= 128; step++) {
        for (uint32_t first = 0; first + 3 * step < WORDS; first += 1 + first / 16) {
            for (unsigned m = 0; m < ARRAY_LEN(moves); m++)
                assert_int_not_equal(digest_moved(first, step, moves[m], 4), d);
        }
    }
}

static void exchanged_words_show(void **state)
{
    uint64_t d;

    (void)state;
    for (uint32_t i = 0; i < WORDS; i++)
        old[i] = UINT64_MAX, new[i] = i;
    d = digest(1);
    for (uint32_t i = 0; i < WORDS; i += 3) {
        for (uint32_t j = i + 1; j < WORDS; j += 1 + j / 8) {
            new[i] = j, new[j] = i;
            assert_int_not_equal(digest(1), d);
            new[i] = i, new[j] = j;
        }
    }
}

static void keys_are_all_different(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < WORDS; i++) {
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal((uint32_t)changes_keys[i], (uint32_t)changes_keys[j]);
            assert_int_not_equal(changes_keys[i] >> 32, changes_keys[j] >> 32);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_wide_and_narrow_agree),
        cmocka_unit_test(accessed_bits_alone_are_seen),
        cmocka_unit_test(parts_may_come_in_any_order),
        cmocka_unit_test(equal_words_add_nothing_whatever_they_are),
        cmocka_unit_test(any_two_bits_show),
        cmocka_unit_test(changes_that_balance_do_not_cancel),
        cmocka_unit_test(exchanged_words_show),
        cmocka_unit_test(keys_are_all_different),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
