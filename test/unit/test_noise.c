/* What a recording does by its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/noise.h"

#define DRAWS 20000u

static struct noise noise_of(uint64_t seed, uint32_t vcpu, uint32_t kinds, uint32_t chaos)
{
    struct noise noise;

    noise_init(&noise, seed, vcpu, kinds, chaos);
    return noise;
}

/* Without noise nothing is decided, and nothing drawn. */
static void silence(void **state)
{
    struct noise noise = noise_of(5, 1, 0, 0), before = noise;
    uint64_t path;

    (void)state;
    assert_int_equal(noise_late(&noise), 0);
    assert_int_equal(noise_length(&noise, 1234), 1234);
    assert_false(noise_squash(&noise));
    assert_int_equal(noise_delay(&noise), 0);
    assert_false(noise_token(&noise));
    assert_false(noise_walk(&noise, &path));
    assert_true(noise_interrupt(&noise, 1000) == NOISE_NO_INTERRUPT);
    assert_memory_equal(&noise, &before, sizeof(noise));
}

/* One kind turns on just that. */
static void kinds_are_apart(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind & NOISE_ALL; kind <<= 1) {
        struct noise noise = noise_of(6, 0, kind, 0);
        uint32_t seen = 0;
        uint64_t path;

        for (uint32_t i = 0; i < 1000; i++) {
            seen |= noise_squash(&noise) ? NOISE_SQUASH : 0;
            seen |= noise_delay(&noise) ? NOISE_DELAY : 0;
            seen |= noise_token(&noise) ? NOISE_TOKEN : 0;
            seen |= noise_walk(&noise, &path) ? NOISE_WALK : 0;
            seen |= noise_interrupt(&noise, 500) != NOISE_NO_INTERRUPT ? NOISE_INTERRUPT : 0;
            assert_int_equal(noise_length(&noise, 77), 77);
            assert_int_equal(noise_late(&noise), 0);
        }
        assert_int_equal(seen, kind);
    }
}

/* The same seed and vCPU decide the same again, others otherwise. */
static void decided_by_seed_and_vcpu(void **state)
{
    struct noise one = noise_of(7, 2, NOISE_ALL, 50), same = one;
    struct noise seed = noise_of(8, 2, NOISE_ALL, 50), vcpu = noise_of(7, 3, NOISE_ALL, 50);
    uint32_t other_seed = 0, other_vcpu = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t length = noise_length(&one, 100000);

        assert_int_equal(noise_length(&same, 100000), length);
        other_seed += noise_length(&seed, 100000) != length;
        other_vcpu += noise_length(&vcpu, 100000) != length;
    }
    assert_true(other_seed > 900 && other_vcpu > 900);
}

/* Lengths and times stay within their bounds, and come near to them. */
static void bounds(void **state)
{
    struct noise noise = noise_of(9, 0, NOISE_ALL, 40);
    uint64_t least = UINT64_MAX, most = 0, soonest = UINT64_MAX, latest = 0, longest = 0;

    (void)state;
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint64_t length = noise_length(&noise, 1000), after = noise_interrupt(&noise, 500);

        least = length < least ? length : least;
        most = length > most ? length : most;
        longest = noise_delay(&noise) > longest ? longest + 1 : longest;
        if (after == NOISE_NO_INTERRUPT)
            continue;
        soonest = after < soonest ? after : soonest;
        latest = after > latest ? after : latest;
    }
    assert_true(least >= 600 && least < 610 && most <= 1400 && most > 1390);
    assert_true(soonest == 0 && latest < 500 && latest > 480);
    assert_true(longest > 0);
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t after = noise_interrupt(&noise, 0);
        assert_true(after == 0 || after == NOISE_NO_INTERRUPT);
    }
    assert_int_equal(noise_length(&noise, 0), 0);
}

/* Often enough to matter, seldom enough that chunks get through. */
static void rates(void **state)
{
    struct noise noise = noise_of(10, 0, NOISE_ALL, 0);
    uint32_t squashes = 0, tokens = 0, interrupts = 0;

    (void)state;
    for (uint32_t i = 0; i < DRAWS; i++) {
        squashes += noise_squash(&noise);
        tokens += noise_token(&noise);
        interrupts += noise_interrupt(&noise, 100) != NOISE_NO_INTERRUPT;
    }
    assert_true(squashes > DRAWS / 20 && squashes < DRAWS / 10);
    assert_true(tokens > DRAWS / 50 && tokens < DRAWS / 20);
    assert_true(interrupts > DRAWS / 5 && interrupts < DRAWS / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence),
        cmocka_unit_test(kinds_are_apart),
        cmocka_unit_test(decided_by_seed_and_vcpu),
        cmocka_unit_test(bounds),
        cmocka_unit_test(rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
