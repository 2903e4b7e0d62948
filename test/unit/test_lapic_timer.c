/* The timer of the virtual local APIC (SDM 3A 11.5.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drivers/vdev/lapic.h"

#define VECTOR 0x60u

static struct vlapic timer(uint32_t lvt, uint32_t divide)
{
    struct vlapic v;

    vlapic_reset(&v, 0, true);
    vlapic_write(&v, VLAPIC_SVR, VLAPIC_SVR_ENABLE | 0xFF, 0);
    vlapic_write(&v, VLAPIC_LVT_TIMER, lvt, 0);
    vlapic_write(&v, VLAPIC_TIMER_DIVIDE, divide, 0);
    return v;
}

/* SDM 3A figure 11-10. */
static void test_divisors(void **state)
{
    static const uint32_t rows[][2] = {{0x0, 2},  {0x1, 4},  {0x2, 8},   {0x3, 16},
                                       {0x8, 32}, {0x9, 64}, {0xA, 128}, {0xB, 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vlapic v = timer(VECTOR, rows[i][0]);

        vlapic_write(&v, VLAPIC_TIMER_INITIAL, 100, 1000);
        assert_int_equal(vlapic_next_deadline(&v), 1000 + 100 * rows[i][1]);
        assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 1000), 100);
        assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 1000 + 40 * rows[i][1]), 60);
        assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 1000 + 100 * rows[i][1] - 1), 1);
        assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_DIVIDE, 0), rows[i][0]);
    }
}

static void test_oneshot(void **state)
{
    struct vlapic v = timer(VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 100);
    assert_false(vlapic_timer_due(&v, 149));
    vlapic_timer_fire(&v, 149);
    assert_int_equal(vlapic_pending(&v), -1);
    assert_true(vlapic_timer_due(&v, 150));
    vlapic_timer_fire(&v, 170);
    assert_int_equal(vlapic_pending(&v), VECTOR);
    assert_true(vlapic_next_deadline(&v) == VLAPIC_NEVER);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 171), 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_INITIAL, 171), 50);
}

static void test_stop(void **state)
{
    struct vlapic v = timer(VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 100);
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 0, 120);
    assert_false(vlapic_timer_due(&v, UINT64_MAX));
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 130), 0);
}

static void test_periodic(void **state)
{
    struct vlapic v = timer(VLAPIC_LVT_MODE_PERIODIC | VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 100);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 20), 50); /* never above the initial count */
    vlapic_timer_fire(&v, 150);
    assert_int_equal(vlapic_next_deadline(&v), 200);
    vlapic_timer_fire(&v, 433); /* lost periods: one interrupt, and the phase stays */
    assert_int_equal(vlapic_next_deadline(&v), 450);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 433), 17);
    /* Due at 450, read at 460 before it could fire: the count has wrapped. */
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 460), 40);
    vlapic_timer_fire(&v, 500);
    assert_int_equal(vlapic_next_deadline(&v), 550);
}

static void test_masked_still_counts(void **state)
{
    struct vlapic v = timer(VLAPIC_LVT_MODE_PERIODIC | VLAPIC_LVT_MASKED | VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 0);
    vlapic_timer_fire(&v, 60);
    assert_int_equal(vlapic_pending(&v), -1);
    assert_int_equal(vlapic_next_deadline(&v), 100);
}

static void test_deadline_mode(void **state)
{
    struct vlapic v = timer(VLAPIC_LVT_MODE_DEADLINE | VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 0); /* ignored here */
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_INITIAL, 0), 0);
    vlapic_write(&v, VLAPIC_TSC_DEADLINE, 1234, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_TSC_DEADLINE, 0), 1234);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 0), 0);
    assert_false(vlapic_timer_due(&v, 1233));
    vlapic_timer_fire(&v, 1234);
    assert_int_equal(vlapic_pending(&v), VECTOR);
    assert_int_equal(vlapic_read(&v, VLAPIC_TSC_DEADLINE, 0), 0);
    vlapic_write(&v, VLAPIC_TSC_DEADLINE, 1, 5000); /* the past: due at once */
    assert_true(vlapic_timer_due(&v, 5000));
    vlapic_write(&v, VLAPIC_TSC_DEADLINE, 0, 5000);
    assert_false(vlapic_timer_due(&v, 5000));
}

static void test_deadline_outside_its_mode(void **state)
{
    struct vlapic v = timer(VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TSC_DEADLINE, 1234, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_TSC_DEADLINE, 0), 0);
    assert_false(vlapic_timer_due(&v, UINT64_MAX));
}

static void test_mode_changes(void **state)
{
    struct vlapic v = timer(VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 0);
    vlapic_write(&v, VLAPIC_LVT_TIMER, VLAPIC_LVT_MODE_PERIODIC | VECTOR, 10);
    assert_int_equal(vlapic_next_deadline(&v), 50);
    vlapic_write(&v, VLAPIC_LVT_TIMER, VLAPIC_LVT_MODE_DEADLINE | VECTOR, 10);
    assert_true(vlapic_next_deadline(&v) == VLAPIC_NEVER);
    vlapic_write(&v, VLAPIC_TSC_DEADLINE, 99, 0);
    vlapic_write(&v, VLAPIC_LVT_TIMER, VLAPIC_LVT_MODE_DEADLINE | VLAPIC_LVT_MASKED | VECTOR, 10);
    assert_int_equal(vlapic_next_deadline(&v), 99); /* only the mask changed */
    vlapic_write(&v, VLAPIC_LVT_TIMER, VECTOR, 10);
    assert_true(vlapic_next_deadline(&v) == VLAPIC_NEVER);
    vlapic_write(&v, VLAPIC_LVT_TIMER, VLAPIC_LVT_MODE | VECTOR, 10); /* reserved mode: counts nothing */
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 50, 10);
    assert_true(vlapic_next_deadline(&v) == VLAPIC_NEVER);
}

static void test_divide_while_counting(void **state)
{
    struct vlapic v = timer(VECTOR, 0xB);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, 100, 0);
    vlapic_write(&v, VLAPIC_TIMER_DIVIDE, 0, 40); /* 60 counts left, now two ticks each */
    assert_int_equal(vlapic_next_deadline(&v), 160);
    assert_int_equal(vlapic_read(&v, VLAPIC_TIMER_CURRENT, 50), 55);
}

static void test_extremes_saturate(void **state)
{
    struct vlapic v = timer(VLAPIC_LVT_MODE_PERIODIC | VECTOR, 0xA);

    (void)state;
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, UINT32_MAX, 0);
    assert_true(vlapic_next_deadline(&v) == UINT64_C(0xFFFFFFFF) * 128);
    vlapic_write(&v, VLAPIC_TIMER_INITIAL, UINT32_MAX, UINT64_MAX - 1);
    assert_true(vlapic_next_deadline(&v) == UINT64_MAX);
    vlapic_timer_fire(&v, UINT64_MAX);
    assert_int_equal(vlapic_pending(&v), VECTOR);
}

static void test_uses_time(void **state)
{
    struct vlapic count = timer(VECTOR, 0xB), deadline = timer(VLAPIC_LVT_MODE_DEADLINE | VECTOR, 0xB);

    (void)state;
    assert_true(vlapic_uses_time(&count, VLAPIC_TIMER_CURRENT, false));
    assert_true(vlapic_uses_time(&count, VLAPIC_TIMER_INITIAL, true));
    assert_true(vlapic_uses_time(&count, VLAPIC_TIMER_DIVIDE, true));
    assert_false(vlapic_uses_time(&count, VLAPIC_TIMER_INITIAL, false));
    assert_false(vlapic_uses_time(&count, VLAPIC_LVT_TIMER, true));
    assert_false(vlapic_uses_time(&deadline, VLAPIC_TSC_DEADLINE, true));
    assert_false(vlapic_uses_time(&deadline, VLAPIC_TIMER_CURRENT, false));
}

/* What vlapic_uses_time() denies must not depend on time: every register, two very different times. */
static void test_uses_time_is_complete(void **state)
{
    static const uint32_t modes[] = {VLAPIC_LVT_MODE_ONESHOT, VLAPIC_LVT_MODE_PERIODIC,
                                     VLAPIC_LVT_MODE_DEADLINE, VLAPIC_LVT_MODE};

    (void)state;
    for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
        for (uint32_t reg = 0; reg <= 0x200; reg++) {
            struct vlapic a = timer(modes[m] | VECTOR, 0), b;

            vlapic_write(&a, VLAPIC_TIMER_INITIAL, 1000, 0);
            vlapic_write(&a, VLAPIC_TSC_DEADLINE, 1000, 0);
            b = a;
            if (!vlapic_uses_time(&a, reg, false))
                assert_true(vlapic_read(&a, reg, 10) == vlapic_read(&b, reg, 777777));
            if (!vlapic_uses_time(&a, reg, true)) {
                vlapic_write(&a, reg, 3, 10);
                vlapic_write(&b, reg, 3, 777777);
            }
            assert_memory_equal(&a, &b, sizeof(a));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divisors),
        cmocka_unit_test(test_oneshot),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_periodic),
        cmocka_unit_test(test_masked_still_counts),
        cmocka_unit_test(test_deadline_mode),
        cmocka_unit_test(test_deadline_outside_its_mode),
        cmocka_unit_test(test_mode_changes),
        cmocka_unit_test(test_divide_while_counting),
        cmocka_unit_test(test_extremes_saturate),
        cmocka_unit_test(test_uses_time),
        cmocka_unit_test(test_uses_time_is_complete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
