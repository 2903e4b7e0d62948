/* The 8254 against its data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/pit.h"

static struct vpit fresh(void)
{
    struct vpit p;

    memset(&p, 0xAA, sizeof(p));
    vpit_reset(&p);
    return p;
}

/* Low byte, then high byte. */
static void set(struct vpit *p, uint32_t counter, uint32_t mode, uint16_t count)
{
    vpit_write(p, 3, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    vpit_write(p, counter, (uint8_t)count);
    vpit_write(p, counter, (uint8_t)(count >> 8));
}

static uint32_t latch(struct vpit *p, uint32_t counter)
{
    uint32_t low;

    vpit_write(p, 3, (uint8_t)(counter << 6));
    low = vpit_read(p, counter);
    return low | (uint32_t)vpit_read(p, counter) << 8;
}

static uint8_t status(struct vpit *p, uint32_t counter)
{
    vpit_write(p, 3, (uint8_t)(0xE0 | 2u << counter));
    return vpit_read(p, counter);
}

static void test_mode_0(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 0, 0, 1000);
    assert_false(vpit_output(&p));
    assert_int_equal(vpit_next_edge(&p), 1000);
    vpit_advance(&p, 999);
    assert_int_equal(latch(&p, 0), 1);
    assert_false(vpit_take_edge(&p));
    vpit_advance(&p, 1000);
    assert_true(vpit_take_edge(&p));
    assert_true(vpit_output(&p));
    assert_int_equal(vpit_next_edge(&p), UINT64_MAX);
    vpit_advance(&p, 1002);
    assert_int_equal(latch(&p, 0), 0xFFFE); /* it goes on */
    assert_false(vpit_take_edge(&p));
    assert_int_equal(status(&p, 0), 0xB0);
    vpit_write(&p, 0, 10); /* the first byte stops it */
    vpit_advance(&p, 5000);
    vpit_write(&p, 0, 0);
    assert_false(vpit_output(&p));
    assert_int_equal(vpit_next_edge(&p), 5010);
}

static void test_mode_2(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 0, 2, 100);
    assert_true(vpit_output(&p));
    assert_true(vpit_take_edge(&p)); /* from mode 0, whose output was low */
    for (uint64_t i = 1; i < 5; i++) {
        assert_int_equal(vpit_next_edge(&p), 100 * i);
        vpit_advance(&p, 100 * i - 1);
        assert_false(vpit_output(&p));
        assert_false(vpit_take_edge(&p));
        assert_int_equal(latch(&p, 0), 1);
        vpit_advance(&p, 100 * i);
        assert_true(vpit_output(&p));
        assert_true(vpit_take_edge(&p));
        assert_int_equal(latch(&p, 0), 100);
    }
    vpit_advance(&p, 10000); /* many at once are one */
    assert_true(vpit_take_edge(&p));
    assert_false(vpit_take_edge(&p));
    assert_int_equal(status(&p, 0), 0xB4);
}

/* A new count takes over at the end of the period. */
static void test_new_count(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 0, 2, 100);
    vpit_take_edge(&p);
    vpit_advance(&p, 250);
    vpit_write(&p, 0, 50);
    vpit_write(&p, 0, 0);
    assert_int_equal(status(&p, 0) & 0x40, 0x40); /* null count */
    assert_int_equal(latch(&p, 0), 50);           /* 100 - 250 % 100 */
    assert_int_equal(vpit_next_edge(&p), 300);
    vpit_advance(&p, 310);
    assert_true(vpit_take_edge(&p));
    assert_int_equal(status(&p, 0) & 0x40, 0);
    assert_int_equal(latch(&p, 0), 40);
    assert_int_equal(vpit_next_edge(&p), 350);
}

static void test_mode_3(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 0, 3, 10);
    vpit_take_edge(&p);
    for (uint64_t t = 0; t < 30; t++) {
        vpit_advance(&p, t);
        assert_int_equal(vpit_output(&p), t % 10 < 5);
        assert_int_equal(latch(&p, 0), 10 - 2 * (t % 5));
        assert_int_equal(vpit_take_edge(&p), t && t % 10 == 0);
    }
    set(&p, 0, 3, 5); /* odd: longer high than low */
    for (uint64_t t = 0; t < 10; t++) {
        vpit_advance(&p, 29 + t);
        assert_int_equal(vpit_output(&p), t % 5 < 3);
    }
}

static void test_mode_4(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 0, 4, 20);
    vpit_take_edge(&p);
    assert_true(vpit_output(&p));
    vpit_advance(&p, 20);
    assert_false(vpit_output(&p));
    vpit_advance(&p, 21);
    assert_true(vpit_output(&p));
    assert_true(vpit_take_edge(&p));
    assert_int_equal(vpit_next_edge(&p), UINT64_MAX);
}

/* Operating systems measure the TSC with it: gate, mode 0, output. */
static void test_counter_2(void **state)
{
    struct vpit p = fresh();

    (void)state;
    assert_int_equal(vpit_read_port_b(&p) & 0x23, 0);
    set(&p, 2, 0, 500);
    vpit_advance(&p, 1000);
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0); /* the gate is low: it does not count */
    vpit_write_port_b(&p, 1);
    vpit_advance(&p, 1499);
    assert_int_equal(vpit_read_port_b(&p) & 0x21, 0x01);
    vpit_advance(&p, 1500);
    assert_int_equal(vpit_read_port_b(&p) & 0x21, 0x21);
    set(&p, 2, 0, 100);
    vpit_advance(&p, 1540);
    vpit_write_port_b(&p, 2); /* stops, and goes on where it was */
    vpit_advance(&p, 2000);
    vpit_write_port_b(&p, 3);
    assert_int_equal(latch(&p, 2), 60);
    vpit_advance(&p, 2060);
    assert_int_equal(vpit_read_port_b(&p) & 0x23, 0x23);
}

static void test_hardware_one_shot(void **state)
{
    struct vpit p = fresh();

    (void)state;
    set(&p, 2, 1, 50);
    vpit_advance(&p, 100);
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0x20);
    vpit_write_port_b(&p, 1);
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0);
    vpit_advance(&p, 149);
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0);
    vpit_advance(&p, 150);
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0x20);
    vpit_write_port_b(&p, 0);
    vpit_write_port_b(&p, 1); /* again */
    assert_int_equal(vpit_read_port_b(&p) & 0x20, 0);
}

static void test_access_forms(void **state)
{
    struct vpit p = fresh();

    (void)state;
    vpit_write(&p, 3, 0x14); /* low byte only, mode 2 */
    vpit_write(&p, 0, 200);
    assert_int_equal(vpit_read(&p, 0), 200);
    assert_int_equal(vpit_read(&p, 0), 200);
    vpit_write(&p, 3, 0x24); /* high byte only */
    vpit_write(&p, 0, 3);
    assert_int_equal(vpit_read(&p, 0), 3);
    assert_int_equal(vpit_next_edge(&p), 0x300);
    set(&p, 0, 2, 0); /* 65536 */
    assert_int_equal(vpit_next_edge(&p), 65536);
    vpit_write(&p, 3, 0x00);
    vpit_advance(&p, 77);
    assert_int_equal(vpit_read(&p, 0), 0); /* latched before */
    assert_int_equal(vpit_read(&p, 0), 0);
    assert_int_equal(vpit_read(&p, 0), (65536 - 77) & 0xFF);
    assert_int_equal(vpit_read(&p, 0), (65536 - 77) >> 8);
}

static void test_bcd(void **state)
{
    struct vpit p = fresh();

    (void)state;
    vpit_write(&p, 3, 0x31); /* mode 0 */
    vpit_write(&p, 0, 0x34);
    vpit_write(&p, 0, 0x12);
    assert_int_equal(vpit_next_edge(&p), 1234);
    vpit_advance(&p, 235);
    assert_int_equal(latch(&p, 0), 0x0999);
    vpit_advance(&p, 1235);
    assert_int_equal(latch(&p, 0), 0x9999);
}

/* Computing one leap gives what many steps give. */
static void test_leaps(void **state)
{
    (void)state;
    for (uint32_t mode = 0; mode < 6; mode++) {
        struct vpit a = fresh(), b = fresh();
        uint32_t edges = 0;

        set(&a, 0, mode, 37);
        set(&b, 0, mode, 37);
        vpit_take_edge(&a);
        vpit_take_edge(&b);
        for (uint64_t t = 1; t <= 500; t++) {
            bool before = vpit_output(&a);
            vpit_advance(&a, t);
            assert_int_equal(vpit_take_edge(&a), !before && vpit_output(&a));
            edges += !before && vpit_output(&a);
        }
        vpit_advance(&b, 500);
        assert_int_equal(vpit_take_edge(&b), edges != 0);
        assert_memory_equal(&a, &b, sizeof(a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_0),    cmocka_unit_test(test_mode_2),
        cmocka_unit_test(test_new_count), cmocka_unit_test(test_mode_3),
        cmocka_unit_test(test_mode_4),    cmocka_unit_test(test_counter_2),
        cmocka_unit_test(test_bcd),       cmocka_unit_test(test_hardware_one_shot),
        cmocka_unit_test(test_leaps),     cmocka_unit_test(test_access_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
