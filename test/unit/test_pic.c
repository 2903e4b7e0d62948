/* The 8259A pair against its data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/pic.h"

#define MASTER 0
#define SLAVE  1
#define NSEOI  0x20

static void command(struct vpic *p, uint32_t chip, uint8_t value)
{
    vpic_write(p, chip, false, value);
}

static void data(struct vpic *p, uint32_t chip, uint8_t value)
{
    vpic_write(p, chip, true, value);
}

static void initialise(struct vpic *p, uint32_t chip, uint8_t base, uint8_t icw4)
{
    command(p, chip, 0x11);
    data(p, chip, base);
    data(p, chip, chip == MASTER ? 4 : 2);
    data(p, chip, icw4);
}

/* As operating systems set it up: vectors 20H and 28H, nothing masked. */
static struct vpic ready(void)
{
    struct vpic p;

    memset(&p, 0xAA, sizeof(p));
    vpic_reset(&p);
    initialise(&p, MASTER, 0x20, 1);
    initialise(&p, SLAVE, 0x28, 1);
    return p;
}

static void pulse(struct vpic *p, uint32_t irq)
{
    vpic_line(p, irq, false);
    vpic_line(p, irq, true);
}

static uint8_t irr(struct vpic *p, uint32_t chip)
{
    command(p, chip, 0x0A);
    return vpic_read(p, chip, false);
}

static uint8_t isr(struct vpic *p, uint32_t chip)
{
    command(p, chip, 0x0B);
    return vpic_read(p, chip, false);
}

static void test_quiet_before_initialisation(void **state)
{
    struct vpic p;

    (void)state;
    vpic_reset(&p);
    for (uint32_t irq = 0; irq < VPIC_IRQS; irq++)
        pulse(&p, irq);
    assert_false(vpic_intr(&p));
    data(&p, MASTER, 0); /* unmasked, but without vectors */
    assert_false(vpic_intr(&p));
    assert_int_equal(vpic_read(&p, SLAVE, true), 0xFF);
}

static void test_edge(void **state)
{
    struct vpic p = ready();

    (void)state;
    assert_false(vpic_intr(&p));
    vpic_line(&p, 4, true);
    assert_true(vpic_intr(&p));
    assert_int_equal(irr(&p, MASTER), 0x10);
    assert_int_equal(vpic_peek(&p), 0x24);
    assert_int_equal(vpic_acknowledge(&p), 0x24);
    assert_int_equal(irr(&p, MASTER), 0);
    assert_int_equal(isr(&p, MASTER), 0x10);
    command(&p, MASTER, NSEOI);
    assert_int_equal(isr(&p, MASTER), 0);
    assert_false(vpic_intr(&p)); /* the line is still high: no new edge */
    vpic_line(&p, 4, false);
    vpic_line(&p, 4, true);
    assert_true(vpic_intr(&p));
}

static void test_level(void **state)
{
    struct vpic p = ready();

    (void)state;
    vpic_write_elcr(&p, 0, 0xFF);
    vpic_write_elcr(&p, 1, 0xFF);
    assert_int_equal(vpic_read_elcr(&p, 0), 0xF8);
    assert_int_equal(vpic_read_elcr(&p, 1), 0xDE);
    vpic_line(&p, 9, true);
    assert_int_equal(vpic_acknowledge(&p), 0x29);
    assert_false(vpic_intr(&p));
    command(&p, SLAVE, NSEOI);
    command(&p, MASTER, NSEOI);
    assert_true(vpic_intr(&p)); /* still asserted */
    vpic_line(&p, 9, false);
    assert_false(vpic_intr(&p));
    assert_int_equal(vpic_acknowledge(&p), 0x27); /* spurious */
    assert_int_equal(isr(&p, MASTER), 0);
}

static void test_priorities(void **state)
{
    struct vpic p = ready();

    (void)state;
    pulse(&p, 3);
    pulse(&p, 5);
    assert_int_equal(vpic_acknowledge(&p), 0x23);
    assert_false(vpic_intr(&p)); /* 5 is below 3 in service */
    pulse(&p, 1);
    assert_int_equal(vpic_acknowledge(&p), 0x21);
    command(&p, MASTER, NSEOI); /* the highest in service: 1 */
    assert_int_equal(isr(&p, MASTER), 0x08);
    command(&p, MASTER, 0x60 | 3); /* specific */
    assert_int_equal(vpic_acknowledge(&p), 0x25);
}

static void test_slave(void **state)
{
    struct vpic p = ready();

    (void)state;
    pulse(&p, 8);
    assert_int_equal(irr(&p, MASTER), 0x04);
    assert_int_equal(vpic_acknowledge(&p), 0x28);
    assert_int_equal(isr(&p, MASTER), 0x04);
    assert_int_equal(isr(&p, SLAVE), 0x01);
    pulse(&p, 12);
    command(&p, SLAVE, NSEOI);
    assert_false(vpic_intr(&p)); /* the cascade is in service */
    command(&p, MASTER, NSEOI);
    assert_int_equal(vpic_acknowledge(&p), 0x2C);
}

static void test_masks(void **state)
{
    struct vpic p = ready();

    (void)state;
    data(&p, MASTER, 0xFB);
    pulse(&p, 0);
    assert_false(vpic_intr(&p));
    assert_int_equal(irr(&p, MASTER), 1); /* latched all the same */
    assert_false(vpic_hears(&p, 0));
    assert_true(vpic_hears(&p, 8));
    data(&p, MASTER, 0xFA);
    assert_int_equal(vpic_read(&p, MASTER, true), 0xFA);
    assert_int_equal(vpic_acknowledge(&p), 0x20);
    assert_true(vpic_hears(&p, 0));
    initialise(&p, MASTER, 0x40, 1);
    assert_int_equal(vpic_read(&p, MASTER, true), 0); /* ICW1 clears the mask */
    assert_int_equal(isr(&p, MASTER), 0);
}

static void test_automatic_eoi_and_rotation(void **state)
{
    struct vpic p = ready();

    (void)state;
    initialise(&p, MASTER, 0x20, 3);
    command(&p, MASTER, 0x80); /* rotate in automatic EOI mode */
    pulse(&p, 0);
    assert_int_equal(vpic_acknowledge(&p), 0x20);
    assert_int_equal(isr(&p, MASTER), 0);
    pulse(&p, 0);
    pulse(&p, 6);
    assert_int_equal(vpic_acknowledge(&p), 0x26); /* 0 has become the lowest */
    command(&p, MASTER, 0xC0 | 4);                /* set priority: 5 is the highest */
    pulse(&p, 5);
    assert_int_equal(vpic_acknowledge(&p), 0x25);
}

static void test_special_mask(void **state)
{
    struct vpic p = ready();

    (void)state;
    pulse(&p, 1);
    assert_int_equal(vpic_acknowledge(&p), 0x21);
    pulse(&p, 6);
    assert_false(vpic_intr(&p));
    data(&p, MASTER, 0x02);
    command(&p, MASTER, 0x68);
    assert_true(vpic_intr(&p)); /* a masked one in service holds nothing back */
    command(&p, MASTER, 0x48);
    assert_false(vpic_intr(&p));
}

static void test_special_fully_nested(void **state)
{
    struct vpic p = ready();

    (void)state;
    initialise(&p, MASTER, 0x20, 0x11);
    pulse(&p, 12);
    assert_int_equal(vpic_acknowledge(&p), 0x2C);
    pulse(&p, 9);
    assert_true(vpic_intr(&p)); /* the slave has a higher one, and the master lets it through */
    assert_int_equal(vpic_acknowledge(&p), 0x29);
    assert_int_equal(isr(&p, SLAVE), 0x12);
}

static void test_poll(void **state)
{
    struct vpic p = ready();

    (void)state;
    command(&p, MASTER, 0x0C);
    assert_int_equal(vpic_read(&p, MASTER, false), 0);
    pulse(&p, 7);
    command(&p, MASTER, 0x0C);
    assert_int_equal(vpic_read(&p, MASTER, false), 0x87);
    assert_int_equal(isr(&p, MASTER), 0x80);
    assert_false(vpic_intr(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet_before_initialisation),
        cmocka_unit_test(test_edge),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_slave),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_automatic_eoi_and_rotation),
        cmocka_unit_test(test_special_mask),
        cmocka_unit_test(test_special_fully_nested),
        cmocka_unit_test(test_poll),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
