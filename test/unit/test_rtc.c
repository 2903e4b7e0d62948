/* The MC146818 against its data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/rtc.h"

#define SECOND (UINT64_C(1) * VRTC_HZ)

static struct vrtc fresh(void)
{
    struct vrtc r;

    memset(&r, 0xAA, sizeof(r));
    vrtc_reset(&r, UINT64_C(64) << 20);
    return r;
}

static uint8_t get(struct vrtc *r, uint8_t index)
{
    vrtc_select(r, index);
    return vrtc_read(r);
}

static void put(struct vrtc *r, uint8_t index, uint8_t value)
{
    vrtc_select(r, index);
    vrtc_write(r, value);
}

static void test_calendar(void **state)
{
    static const struct {
        uint64_t seconds;
        struct vrtc_date date;
    } rows[] = {
        {0, {1970, 1, 1, 0, 0, 0}},
        {951782399, {2000, 2, 28, 23, 59, 59}},
        {951782400, {2000, 2, 29, 0, 0, 0}},
        {951868800, {2000, 3, 1, 0, 0, 0}},
        {1700000000, {2023, 11, 14, 22, 13, 20}},
        {4107542400, {2100, 3, 1, 0, 0, 0}}, /* 2100 is no leap year */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vrtc_date date = vrtc_date(rows[i].seconds);
        assert_memory_equal(&date, &rows[i].date, sizeof(date));
        assert_int_equal(vrtc_seconds(&date), rows[i].seconds);
    }
    for (uint64_t day = 0; day < 200000; day++) {
        struct vrtc_date date = vrtc_date(day * 86400 + 86399);
        assert_int_equal(vrtc_seconds(&date), day * 86400 + 86399);
    }
}

static void test_shows_the_time(void **state)
{
    static const uint8_t bytes[][2] = {{0, 0x20}, {2, 0x13}, {4, 0x22},    {6, 3},    {7, 0x14},
                                       {8, 0x11}, {9, 0x23}, {0x32, 0x20}, {13, 0x80}};
    struct vrtc r = fresh();

    (void)state;
    vrtc_set(&r, 1700000000, 12345);
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
        assert_int_equal(get(&r, bytes[i][0]), bytes[i][1]);
    vrtc_advance(&r, 12345 + 40 * SECOND);
    assert_int_equal(get(&r, 0), 0x00);
    assert_int_equal(get(&r, 2), 0x14);
    put(&r, 11, 0x04); /* binary, 12 hours */
    assert_int_equal(get(&r, 2), 14);
    assert_int_equal(get(&r, 4), 0x80 | 10);
    assert_int_equal(get(&r, 9), 23);
    assert_int_equal(get(&r, 0x32), 0x20);
}

static void test_is_set(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    vrtc_set(&r, 1700000000, 0);
    put(&r, 11, 0x82);
    put(&r, 9, 0x24);
    put(&r, 8, 0x02);
    put(&r, 7, 0x28);
    put(&r, 4, 0x23);
    put(&r, 2, 0x59);
    put(&r, 0, 0x59);
    vrtc_advance(&r, 10 * SECOND);
    assert_int_equal(get(&r, 0), 0x59); /* it stands while it is being set */
    put(&r, 11, 0x02);
    vrtc_advance(&r, 11 * SECOND);
    assert_int_equal(get(&r, 7), 0x29);
    assert_int_equal(get(&r, 4), 0x00);
    put(&r, 4, 0x12); /* without SET, too */
    assert_int_equal(get(&r, 4), 0x12);
    assert_int_equal(get(&r, 7), 0x29);
}

static void test_update_in_progress(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    vrtc_set(&r, 1700000000, 0);
    assert_int_equal(get(&r, 10) & 0x80, 0);
    vrtc_advance(&r, SECOND - 8); /* 244 us */
    assert_int_equal(get(&r, 10) & 0x80, 0x80);
    vrtc_advance(&r, SECOND);
    assert_int_equal(get(&r, 10) & 0x80, 0);
}

static void test_periodic(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    assert_int_equal(vrtc_next_irq(&r), UINT64_MAX);
    put(&r, 11, 0x42); /* rate 6: 1024 Hz */
    assert_int_equal(vrtc_next_irq(&r), 32);
    vrtc_advance(&r, 31);
    assert_false(vrtc_irq(&r));
    vrtc_advance(&r, 32);
    assert_true(vrtc_irq(&r));
    assert_int_equal(vrtc_next_irq(&r), UINT64_MAX);
    assert_int_equal(get(&r, 12), 0xC0);
    assert_false(vrtc_irq(&r));
    assert_int_equal(get(&r, 12), 0);
    assert_int_equal(vrtc_next_irq(&r), 64);
    put(&r, 10, 0x2F); /* 2 Hz */
    assert_int_equal(vrtc_next_irq(&r), 16384);
    put(&r, 10, 0x21); /* 256 Hz */
    assert_int_equal(vrtc_next_irq(&r), 128);
    put(&r, 10, 0x20);
    assert_int_equal(vrtc_next_irq(&r), UINT64_MAX);
}

static void test_flags_without_interrupts(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    vrtc_advance(&r, SECOND + 1);
    assert_false(vrtc_irq(&r));
    assert_int_equal(get(&r, 12), 0x50);
}

static void test_update_ended(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    put(&r, 11, 0x12);
    assert_int_equal(vrtc_next_irq(&r), SECOND);
    vrtc_advance(&r, SECOND);
    assert_true(vrtc_irq(&r));
    assert_int_equal(get(&r, 12) & 0x90, 0x90);
    put(&r, 11, 0x92); /* SET clears UIE */
    assert_int_equal(get(&r, 11), 0x82);
}

static void test_alarm(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    vrtc_set(&r, 1700000000, 0); /* 22:13:20 */
    put(&r, 5, 0x23);
    put(&r, 3, 0x00);
    put(&r, 1, 0x05);
    get(&r, 12);
    put(&r, 11, 0x22);
    assert_int_equal(vrtc_next_irq(&r), (46 * 60 + 45) * SECOND);
    vrtc_advance(&r, (46 * 60 + 45) * SECOND - 1);
    assert_false(vrtc_irq(&r));
    vrtc_advance(&r, (46 * 60 + 45) * SECOND);
    assert_true(vrtc_irq(&r));
    assert_int_equal(get(&r, 12) & 0xA0, 0xA0);
    put(&r, 5, 0xFF);
    put(&r, 3, 0xC0);
    put(&r, 1, 0x07); /* every minute */
    assert_int_equal(vrtc_next_irq(&r), (46 * 60 + 47) * SECOND);
    put(&r, 1, 0x77); /* never */
    assert_int_equal(vrtc_next_irq(&r), UINT64_MAX);
}

static void test_memory_size(void **state)
{
    struct vrtc r = fresh();

    (void)state;
    assert_int_equal(get(&r, 0x15) | get(&r, 0x16) << 8, 640);
    assert_int_equal(get(&r, 0x17) | get(&r, 0x18) << 8, 63 * 1024);
    assert_int_equal(get(&r, 0x34) | get(&r, 0x35) << 8, 48 * 16);
    put(&r, 0x7F, 0x5A);
    assert_int_equal(get(&r, 0xFF), 0x5A); /* bit 7 is not part of the address */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calendar),     cmocka_unit_test(test_shows_the_time),
        cmocka_unit_test(test_is_set),       cmocka_unit_test(test_update_in_progress),
        cmocka_unit_test(test_periodic),     cmocka_unit_test(test_flags_without_interrupts),
        cmocka_unit_test(test_update_ended), cmocka_unit_test(test_alarm),
        cmocka_unit_test(test_memory_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
