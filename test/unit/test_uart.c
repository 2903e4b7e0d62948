/* The virtual 16550A against the PC16550D data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/uart.h"

#define IER_ALL   0x0F
#define FCR_FIFOS 0x01
#define MCR_OUT2  0x08
#define MCR_LOOP  0x10

static struct vuart fresh(void)
{
    struct vuart u;

    memset(&u, 0xAA, sizeof(u));
    vuart_reset(&u);
    return u;
}

/* Writes; returns the byte sent, or -1. */
static int put(struct vuart *u, uint32_t offset, uint8_t value)
{
    struct vuart_out out;

    memset(&out, 0xAA, sizeof(out));
    vuart_write(u, offset, value, &out);
    return out.sent ? out.byte : -1;
}

/* Data sheet, table III. */
static void test_reset_state(void **state)
{
    struct vuart u = fresh();

    (void)state;
    assert_int_equal(vuart_read(&u, VUART_IER), 0);
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x01);
    assert_int_equal(vuart_read(&u, VUART_LCR), 0);
    assert_int_equal(vuart_read(&u, VUART_MCR), 0);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    assert_int_equal(vuart_read(&u, VUART_MSR), 0xB0);
    assert_false(vuart_irq(&u));
}

static void test_transmit(void **state)
{
    struct vuart u = fresh();

    (void)state;
    for (int i = 0; i < 256; i++)
        assert_int_equal(put(&u, VUART_DATA, (uint8_t)i), i);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    for (uint32_t offset = 1; offset < VUART_PORTS; offset++)
        assert_int_equal(put(&u, offset, 0), -1);
}

static void test_divisor_latch(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_LCR, 0x80);
    assert_int_equal(put(&u, VUART_DATA, 0x34), -1);
    put(&u, VUART_IER, 0x12);
    assert_int_equal(vuart_read(&u, VUART_DATA), 0x34);
    assert_int_equal(vuart_read(&u, VUART_IER), 0x12);
    put(&u, VUART_LCR, 0x03);
    assert_int_equal(vuart_read(&u, VUART_DATA), 0);
    assert_int_equal(vuart_read(&u, VUART_IER), 0);
}

static void test_storage_and_masks(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_SCR, 0x5A);
    put(&u, VUART_IER, 0xFF);
    put(&u, VUART_MCR, 0xEF);
    put(&u, VUART_LSR, 0xFF);
    put(&u, VUART_MSR, 0xFF);
    assert_int_equal(vuart_read(&u, VUART_SCR), 0x5A);
    assert_int_equal(vuart_read(&u, VUART_IER), 0x0F);
    assert_int_equal(vuart_read(&u, VUART_MCR), 0x0F);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    assert_int_equal(vuart_read(&u, VUART_MSR), 0xB0);
    assert_int_equal(vuart_read(&u, 8), 0xFF);
}

static void test_receive_without_fifo(void **state)
{
    struct vuart u = fresh();

    (void)state;
    assert_true(vuart_receive(&u, 'a'));
    assert_false(vuart_receive(&u, 'b')); /* one holding register, and nothing is lost */
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x61);
    assert_int_equal(vuart_read(&u, VUART_DATA), 'a');
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    assert_int_equal(vuart_read(&u, VUART_DATA), 0);
}

static void test_receive_fifo_order(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_IIR, FCR_FIFOS);
    for (uint8_t i = 0; i < VUART_FIFO_SIZE; i++)
        assert_true(vuart_receive(&u, 'A' + i));
    assert_false(vuart_receive(&u, '!'));
    for (uint8_t i = 0; i < VUART_FIFO_SIZE; i++)
        assert_int_equal(vuart_read(&u, VUART_DATA), 'A' + i);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
}

static void test_fifo_control(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_IIR, 0xC0); /* without the enable bit nothing changes */
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x01);
    put(&u, VUART_IIR, FCR_FIFOS);
    assert_int_equal(vuart_read(&u, VUART_IIR), 0xC1);
    vuart_receive(&u, 'a');
    put(&u, VUART_IIR, FCR_FIFOS); /* no change, no clearing */
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x61);
    put(&u, VUART_IIR, FCR_FIFOS | 0x02);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    vuart_receive(&u, 'a');
    put(&u, VUART_IIR, 0); /* switching the mode clears */
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x60);
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x01);
}

static void test_trigger_levels(void **state)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    (void)state;
    for (uint8_t i = 0; i < 4; i++) {
        struct vuart u = fresh();

        put(&u, VUART_IIR, (uint8_t)(FCR_FIFOS | i << 6));
        put(&u, VUART_IER, 0x01);
        for (uint8_t n = 1; n <= VUART_FIFO_SIZE; n++) {
            vuart_receive(&u, n);
            assert_int_equal(vuart_read(&u, VUART_IIR), n >= levels[i] ? 0xC4 : 0xCC);
        }
    }
}

static void test_thre_interrupt(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_MCR, MCR_OUT2);
    put(&u, VUART_IER, 0x02); /* enabling it with an empty register raises it */
    assert_true(vuart_irq(&u));
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x02);
    assert_false(vuart_irq(&u)); /* reading IIR was the acknowledgement */
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x01);
    put(&u, VUART_DATA, 'x');
    assert_true(vuart_irq(&u));
    put(&u, VUART_IER, 0x02); /* no edge of the enable bit */
    vuart_read(&u, VUART_IIR);
    put(&u, VUART_IER, 0x02);
    assert_false(vuart_irq(&u));
}

/* Data sheet, table IV: line status, data, THRE, modem. */
static void test_interrupt_priority(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_IER, IER_ALL);
    put(&u, VUART_MCR, MCR_LOOP | 0x01);
    put(&u, VUART_DATA, 'a');
    put(&u, VUART_DATA, 'b'); /* overruns */
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x06);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x63);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x61); /* reading cleared it */
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x04);
    assert_int_equal(vuart_read(&u, VUART_DATA), 'b');
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x02);
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x00);
    assert_int_not_equal(vuart_read(&u, VUART_MSR) & 0x0F, 0);
    assert_int_equal(vuart_read(&u, VUART_IIR), 0x01);
}

static void test_irq_gated_by_out2(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_IER, 0x01);
    vuart_receive(&u, 'a');
    assert_false(vuart_irq(&u));
    put(&u, VUART_MCR, MCR_OUT2);
    assert_true(vuart_irq(&u));
    put(&u, VUART_MCR, MCR_OUT2 | MCR_LOOP);
    assert_false(vuart_irq(&u));
}

static void test_loopback_data(void **state)
{
    struct vuart u = fresh();

    (void)state;
    put(&u, VUART_IIR, FCR_FIFOS);
    put(&u, VUART_MCR, MCR_LOOP);
    assert_int_equal(put(&u, VUART_DATA, 'z'), -1);
    assert_false(vuart_receive(&u, 'n')); /* the wire is cut off */
    assert_int_equal(vuart_read(&u, VUART_DATA), 'z');
    for (int i = 0; i < 20; i++)
        put(&u, VUART_DATA, (uint8_t)i);
    assert_int_equal(vuart_read(&u, VUART_LSR), 0x63);
    for (int i = 0; i < 16; i++)
        assert_int_equal(vuart_read(&u, VUART_DATA), i); /* the FIFO keeps the first 16 */
}

static void test_loopback_modem_lines(void **state)
{
    static const uint8_t msr_of[] = {0x20, 0x10, 0x40, 0x80}; /* DTR, RTS, OUT1, OUT2 */
    struct vuart u = fresh();

    (void)state;
    for (int i = 0; i < 4; i++) {
        put(&u, VUART_MCR, (uint8_t)(MCR_LOOP | 1u << i));
        assert_int_equal(vuart_read(&u, VUART_MSR) & 0xF0, msr_of[i]);
        assert_int_equal(vuart_read(&u, VUART_MSR) & 0x0F, 0);
    }
    put(&u, VUART_MCR, MCR_LOOP);
    vuart_read(&u, VUART_MSR);
    put(&u, VUART_MCR, MCR_LOOP | 0x04); /* RI rises: no event */
    assert_int_equal(vuart_read(&u, VUART_MSR), 0x40);
    put(&u, VUART_MCR, MCR_LOOP); /* RI falls */
    assert_int_equal(vuart_read(&u, VUART_MSR), 0x04);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_state),          cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_divisor_latch),        cmocka_unit_test(test_storage_and_masks),
        cmocka_unit_test(test_receive_without_fifo), cmocka_unit_test(test_receive_fifo_order),
        cmocka_unit_test(test_fifo_control),         cmocka_unit_test(test_trigger_levels),
        cmocka_unit_test(test_thre_interrupt),       cmocka_unit_test(test_interrupt_priority),
        cmocka_unit_test(test_irq_gated_by_out2),    cmocka_unit_test(test_loopback_data),
        cmocka_unit_test(test_loopback_modem_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
