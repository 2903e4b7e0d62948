/* The I/O APIC against the 82093AA data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/ioapic.h"

static struct vioapic fresh(void)
{
    struct vioapic io;

    memset(&io, 0xAA, sizeof(io));
    vioapic_reset(&io, 5);
    return io;
}

static uint32_t get(struct vioapic *io, uint32_t reg)
{
    vioapic_write(io, 0, reg);
    return vioapic_read(io, 0x10);
}

static void put(struct vioapic *io, uint32_t reg, uint32_t value)
{
    vioapic_write(io, 0, reg);
    vioapic_write(io, 0x10, value);
}

static bool next(struct vioapic *io, struct vioapic_message *m)
{
    memset(m, 0xAA, sizeof(*m));
    return vioapic_next(io, m);
}

static void test_registers(void **state)
{
    struct vioapic io = fresh();

    (void)state;
    assert_int_equal(get(&io, 0), 5u << 24);
    assert_int_equal(get(&io, 1), 0x00170020);
    put(&io, 0, UINT32_MAX);
    assert_int_equal(get(&io, 0), 15u << 24);
    for (uint32_t pin = 0; pin < 24; pin++) {
        assert_int_equal(get(&io, 0x10 + 2 * pin), 0x10000);
        put(&io, 0x10 + 2 * pin, UINT32_MAX);
        put(&io, 0x11 + 2 * pin, UINT32_MAX);
        assert_int_equal(get(&io, 0x10 + 2 * pin),
                         0x1AFFF); /* delivery status and remote IRR are read-only */
        assert_int_equal(get(&io, 0x11 + 2 * pin), 0xFF000000);
    }
    put(&io, 0x40, UINT32_MAX); /* past the table */
    assert_int_equal(get(&io, 0x40), 0);
    assert_int_equal(vioapic_read(&io, 0), 0x40);
    assert_int_equal(vioapic_read(&io, 0x20), 0);
}

static void test_edge(void **state)
{
    struct vioapic io = fresh();
    struct vioapic_message m;

    (void)state;
    vioapic_line(&io, 4, true);
    assert_false(next(&io, &m)); /* masked: the edge is lost */
    put(&io, 0x11 + 8, 0x0F000000);
    put(&io, 0x10 + 8, 0x0934);
    assert_false(next(&io, &m));
    vioapic_line(&io, 4, false);
    vioapic_line(&io, 4, true);
    assert_true(next(&io, &m));
    assert_int_equal(m.vector, 0x34);
    assert_int_equal(m.mode, 1);
    assert_int_equal(m.logical, 1);
    assert_int_equal(m.dest, 0x0F);
    assert_int_equal(m.level, 0);
    assert_false(next(&io, &m));
    vioapic_line(&io, 4, true);
    assert_false(next(&io, &m));
    assert_true(vioapic_hears(&io, 4));
    assert_false(vioapic_hears(&io, 5));
    assert_false(vioapic_hears(&io, 24));
}

static void test_level(void **state)
{
    struct vioapic io = fresh();
    struct vioapic_message m;

    (void)state;
    put(&io, 0x10 + 18, 0x8051);
    vioapic_line(&io, 9, true);
    assert_true(next(&io, &m));
    assert_int_equal(m.level, 1);
    assert_int_equal(get(&io, 0x10 + 18), 0xC051); /* remote IRR */
    assert_false(next(&io, &m));
    vioapic_eoi(&io, 0x50);
    assert_false(next(&io, &m));
    vioapic_eoi(&io, 0x51);
    assert_true(next(&io, &m)); /* still asserted */
    vioapic_line(&io, 9, false);
    vioapic_write(&io, 0x40, 0x51); /* the EOI register does the same */
    assert_int_equal(get(&io, 0x10 + 18), 0x8051);
    assert_false(next(&io, &m));
}

/* Mask, edge, level again: how software without the EOI register gets rid of a remote IRR. */
static void test_remote_irr_is_lost_with_edge(void **state)
{
    struct vioapic io = fresh();
    struct vioapic_message m;

    (void)state;
    put(&io, 0x10 + 18, 0x8051);
    vioapic_line(&io, 9, true);
    assert_true(next(&io, &m));
    put(&io, 0x10 + 18, 0x10051);
    put(&io, 0x10 + 18, 0x18051);
    assert_int_equal(get(&io, 0x10 + 18), 0x18051);
    assert_false(next(&io, &m));
    put(&io, 0x10 + 18, 0x8051);
    assert_true(next(&io, &m));
}

static void test_order_of_pins(void **state)
{
    struct vioapic io = fresh();
    struct vioapic_message m;

    (void)state;
    for (uint32_t pin = 0; pin < 24; pin++)
        put(&io, 0x10 + 2 * pin, 0x40 + pin);
    for (uint32_t pin = 24; pin-- > 0;)
        vioapic_line(&io, pin, true);
    for (uint32_t pin = 0; pin < 24; pin++) {
        assert_true(next(&io, &m));
        assert_int_equal(m.vector, 0x40 + pin);
    }
    assert_false(next(&io, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),     cmocka_unit_test(test_edge),
        cmocka_unit_test(test_level),         cmocka_unit_test(test_remote_irr_is_lost_with_edge),
        cmocka_unit_test(test_order_of_pins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
