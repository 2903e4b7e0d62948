/* The guest's port map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/ports.h"

#define TSC_HZ UINT64_C(1000000000)

static uint64_t now; /* guest time of the next access */

static struct vports fresh(void)
{
    static const struct vports_config config = {.tsc_hz = TSC_HZ, .memory_bytes = 64u << 20, .vcpus = 2};
    struct vports p;

    memset(&p, 0xAA, sizeof(p));
    now = 0;
    vports_reset(&p, &config);
    return p;
}

static struct vports_effect out(struct vports *p, uint16_t port, uint32_t size, uint32_t value)
{
    struct vports_effect e;

    memset(&e, 0xAA, sizeof(e));
    vports_out(p, port, size, value, now, &e);
    return e;
}

static uint32_t in(struct vports *p, uint16_t port, uint32_t size)
{
    return vports_in(p, port, size, now);
}

static void test_console(void **state)
{
    struct vports p = fresh();
    struct vports_effect e = out(&p, 0x3F8, 1, 0x12345641);

    (void)state;
    assert_int_equal(e.kind, VPORTS_CONSOLE);
    assert_int_equal(e.value, 0x41);
    assert_int_equal(out(&p, 0x3FB, 1, 3).kind, VPORTS_NONE);
    assert_int_equal(in(&p, 0x3FB, 1), 3);
    assert_int_equal(in(&p, 0x3FD, 1), 0x60);
    assert_true(vports_receive(&p, 'k'));
    assert_int_equal(in(&p, 0x3FD, 1), 0x61);
    assert_int_equal(in(&p, 0x3F8, 1), 'k');
    assert_int_equal(p.unknown_reads + p.unknown_writes, 0);
}

static void test_exit_sizes(void **state)
{
    static const uint32_t rows[][2] = {{1, 0xEF}, {2, 0xBEEF}, {4, 0xDEADBEEF}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vports p = fresh();
        struct vports_effect e = out(&p, 0x501, rows[i][0], 0xDEADBEEF);

        assert_int_equal(e.kind, VPORTS_EXIT);
        assert_int_equal(e.value, rows[i][1]);
        assert_int_equal(p.exited, 1);
        assert_int_equal(p.exit_status, rows[i][1]);
        assert_int_equal(out(&p, 0x501, 4, 7).kind, VPORTS_NONE); /* only the first counts */
        assert_int_equal(p.exit_status, rows[i][1]);
        assert_int_equal(p.unknown_writes, 0);
    }
}

/* Where something is, by platform.h; [0] to [1] - 1. */
static const uint32_t known[][2] = {{0x20, 0x22},   {0x40, 0x44},   {0x60, 0x62},   {0x64, 0x65},
                                    {0x70, 0x72},   {0xA0, 0xA2},   {0x3F8, 0x400}, {0x4D0, 0x4D2},
                                    {0x501, 0x502}, {0x600, 0x60C}, {0xCF9, 0xCFA}, {0xCFC, 0xD00}};

static bool is_known(uint32_t port)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (port >= known[i][0] && port < known[i][1])
            return true;
    }
    return false;
}

static void test_unknown_ports(void **state)
{
    struct vports p = fresh();
    uint32_t count = 0;

    (void)state;
    for (uint32_t port = 0; port <= 0xFFFF; port++) {
        if (is_known(port))
            continue;
        count++;
        assert_int_equal(in(&p, (uint16_t)port, 1), 0xFF);
        assert_int_equal(out(&p, (uint16_t)port, 1, 0xFF).kind, VPORTS_NONE);
    }
    assert_int_equal(p.unknown_reads, count);
    assert_int_equal(p.unknown_writes, count);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        for (uint32_t port = known[i][0]; port < known[i][1]; port++)
            in(&p, (uint16_t)port, 1);
    }
    assert_int_equal(p.unknown_reads, count);
    assert_int_equal(p.exited, 0);
    assert_int_equal(in(&p, 0xCF8, 2),
                     0x00FF); /* only all four bytes are CONFIG_ADDRESS; CF9H is another device */
    assert_int_equal(in(&p, 0x501, 4), 0xFFFFFFFF);
}

/* ---- Outcomes ---- */

static void test_power_off(void **state)
{
    struct vports p = fresh();

    (void)state;
    assert_int_equal(in(&p, 0x604, 2), 1); /* SCI_EN */
    assert_int_equal(out(&p, 0x604, 2, 5 << 10).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0x604, 2, 0x2000 | 3 << 10).kind, VPORTS_NONE); /* another sleeping state */
    assert_int_equal(out(&p, 0x604, 2, 0x2000 | 5 << 10).kind, VPORTS_POWER_OFF);
    assert_int_equal(out(&p, 0x501, 1, 1).kind, VPORTS_NONE); /* the first end counts */
}

static void test_reset(void **state)
{
    struct vports p = fresh();

    (void)state;
    assert_int_equal(out(&p, 0xCF9, 1, 2).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0xCF9, 1, 6).kind, VPORTS_RESET);
    p = fresh();
    assert_int_equal(out(&p, 0x64, 1, 0xFE).kind, VPORTS_RESET);
    p = fresh();
    assert_int_equal(out(&p, 0x64, 1, 0xFF).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0x64, 1, 0xD1).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0x60, 1, 0xDE).kind, VPORTS_RESET);
}

/* ---- Keyboard controller and PCI ---- */

static void test_keyboard_controller(void **state)
{
    struct vports p = fresh();

    (void)state;
    assert_int_equal(in(&p, 0x64, 1) & 3, 0); /* nothing to read, ready to be written */
    out(&p, 0x64, 1, 0xAA);
    assert_int_equal(in(&p, 0x64, 1) & 1, 1);
    assert_int_equal(in(&p, 0x60, 1), 0x55);
    assert_int_equal(in(&p, 0x64, 1) & 1, 0);
    out(&p, 0x64, 1, 0x60);
    out(&p, 0x60, 1, 0x45);
    out(&p, 0x64, 1, 0x20);
    assert_int_equal(in(&p, 0x60, 1), 0x45);
    out(&p, 0x60, 1, 0xF4); /* to a keyboard that is not there */
    assert_int_equal(in(&p, 0x64, 1) & 1, 0);
}

static void test_pci(void **state)
{
    struct vports p = fresh();

    (void)state;
    assert_int_equal(in(&p, 0xCFC, 4), 0xFFFFFFFF); /* not enabled */
    out(&p, 0xCF8, 4, 0x80000003);
    assert_int_equal(in(&p, 0xCF8, 4), 0x80000000);
    assert_int_equal(in(&p, 0xCFC, 4), 0x00081B36);
    assert_int_equal(in(&p, 0xCFE, 2), 0x0008);
    out(&p, 0xCF8, 4, 0x80000008);
    assert_int_equal(in(&p, 0xCFC, 4), 0x06000000);
    out(&p, 0xCFC, 4, 0xFFFFFFFF);
    assert_int_equal(in(&p, 0xCFC, 4), 0x06000000);
    out(&p, 0xCF8, 4, 0x80000800); /* device 1: no disk */
    assert_int_equal(in(&p, 0xCFC, 4), 0xFFFFFFFF);
    out(&p, 0xCF8, 4, 0x80001800); /* device 3 */
    assert_int_equal(in(&p, 0xCFC, 4), 0x10441AF4);
    assert_int_equal(in(&p, 0xCFE, 2), 0x1044);
    assert_int_equal(in(&p, 0xCFB, 4), 0x441AF4FF); /* the reset control register is 0 in the real world */
    out(&p, 0xCF8, 4, 0x80001900);                  /* its function 1 */
    assert_int_equal(in(&p, 0xCFC, 1), 0xFF);
    out(&p, 0xCF8, 4, 0x80011800); /* on bus 1 */
    assert_int_equal(in(&p, 0xCFC, 2), 0xFFFF);
    out(&p, 0xCF8, 4, 0x80001810);
    out(&p, 0xCFC, 4, 0xFFFFFFFF);
    assert_int_equal(in(&p, 0xCFC, 4), 0xFFFFC000);
    out(&p, 0xCFE, 2, 0xFE10); /* the upper half */
    assert_int_equal(in(&p, 0xCFC, 4), 0xFE10C000);
    assert_int_equal(vports_window_read(&p, 0xFE10C018, 2), VIRTIO_QUEUE_SIZE);
    assert_int_equal(vports_window_read(&p, 0xFE00C018, 2), 0xFFFF);
}

/* The entropy device says that its driver has broken a rule, in both ways that it has. */
static void test_functions_interrupts(void **state)
{
    struct vports p = fresh();
    struct virtio *v = vports_function(&p, VIRTIO_SLOT_RNG);
    uint64_t bar = VPLAT_PCI_MEMORY + VIRTIO_SLOT_RNG * VIRTIO_BAR_BYTES;
    struct vioapic_message m;

    (void)state;
    vports_ioapic_write(&p, 0, 0x10 + 2 * VPLAT_IRQ_RNG, 0);
    vports_ioapic_write(&p, 0x10, 0x8055, 0); /* level-triggered */
    virtio_raise(v, 0);
    vports_devices_changed(&p);
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x55);
    assert_int_equal(m.level, 1);
    assert_int_equal(vports_window_read(&p, bar + VIRTIO_BAR_ISR, 1), 1);
    vports_eoi(&p, 0x55);
    assert_false(vports_next_message(&p, &m));
    out(&p, 0xCF8, 4, 0x80001804);
    out(&p, 0xCFC, 2, 6);
    out(&p, 0xCF8, 4, 0x80001898);
    out(&p, 0xCFE, 2, 0x8000);
    vports_window_write(&p, bar + VIRTIO_BAR_MSIX, 8, 0xFEE0300C); /* to a set of logical IDs */
    vports_window_write(&p, bar + VIRTIO_BAR_MSIX + 8, 8, 0x0141); /* lowest priority */
    vports_window_write(&p, bar + VIRTIO_BAR_MSIX + 16, 8, 0xFED00000);
    vports_window_write(&p, bar + VIRTIO_BAR_MSIX + 24, 8, 0x42);
    vports_window_write(&p, bar + 0x10, 2, 1);
    vports_window_write(&p, bar + 0x1A, 2, 0);
    virtio_raise(v, 0);
    virtio_raise(v, VIRTIO_QUEUES);
    vports_devices_changed(&p);
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x41);
    assert_int_equal(m.mode, 1);
    assert_int_equal(m.dest, 3);
    assert_int_equal(m.logical, 1);
    assert_int_equal(m.level, 0);
    assert_false(vports_next_message(&p, &m)); /* the other is no interrupt message */
    assert_int_equal(vports_window_read(&p, bar + VIRTIO_BAR_PENDING, 1), 0);
}

/* ---- Interrupts and time ---- */

static void set_pics(struct vports *p, uint8_t master_mask, uint8_t slave_mask)
{
    out(p, 0x20, 1, 0x11);
    out(p, 0x21, 1, 0x30);
    out(p, 0x21, 1, 4);
    out(p, 0x21, 1, 1);
    out(p, 0xA0, 1, 0x11);
    out(p, 0xA1, 1, 0x38);
    out(p, 0xA1, 1, 2);
    out(p, 0xA1, 1, 1);
    out(p, 0x21, 1, master_mask);
    out(p, 0xA1, 1, slave_mask);
}

/* A hundred times a second, seen by the 8259 alone: the deadline is what to wait for, and no edge is lost. */
static void test_timer_ticks(void **state)
{
    struct vports p = fresh();
    uint64_t first;

    (void)state;
    set_pics(&p, 0xFE, 0xFF);
    assert_true(vports_next_deadline(&p) == UINT64_MAX);
    out(&p, 0x43, 1, 0x34);
    out(&p, 0x40, 1, 11932 & 0xFF);
    out(&p, 0x40, 1, 11932 >> 8);
    assert_int_equal(vports_acknowledge(&p), 0x30); /* mode 2 begins with the output rising */
    out(&p, 0x20, 1, 0x20);
    first = vports_next_deadline(&p);
    assert_in_range(first, TSC_HZ / 100, TSC_HZ / 100 + 2000);
    vports_advance(&p, first - 1);
    assert_false(vports_intr(&p));
    for (uint64_t i = 1; i <= 100; i++) {
        uint64_t due = vports_next_deadline(&p);
        assert_in_range(due, i * (TSC_HZ / 100), i * (TSC_HZ / 100 + 200));
        now = due;
        vports_advance(&p, now);
        assert_true(vports_intr(&p));
        assert_true(vports_next_deadline(&p) == UINT64_MAX); /* nothing new to hear before the acknowledge */
        assert_int_equal(vports_intr_vector(&p), 0x30);
        assert_int_equal(vports_acknowledge(&p), 0x30);
        assert_false(vports_intr(&p));
        out(&p, 0x20, 1, 0x20);
    }
}

static void entry(struct vports *p, uint32_t pin, uint32_t low, uint32_t high)
{
    vports_ioapic_write(p, 0, 0x10 + 2 * pin + 1, now);
    vports_ioapic_write(p, 0x10, high, now);
    vports_ioapic_write(p, 0, 0x10 + 2 * pin, now);
    vports_ioapic_write(p, 0x10, low, now);
}

/* Each source at its pin. */
static void test_ioapic_pins(void **state)
{
    struct vports p = fresh();
    struct vioapic_message m;

    (void)state;
    entry(&p, 4, 0x44, 0x01000000);
    entry(&p, 8, 0x48, 0);
    entry(&p, 2, 0x42, 0);
    out(&p, 0x3FC, 1, 0x08);
    out(&p, 0x3F9, 1, 1);
    assert_false(vports_next_message(&p, &m));
    assert_true(vports_receive(&p, 'x'));
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x44);
    assert_int_equal(m.dest, 1);
    assert_false(vports_next_message(&p, &m));
    out(&p, 0x43, 1, 0x30);
    out(&p, 0x40, 1, 100);
    out(&p, 0x40, 1, 0);
    now = vports_next_deadline(&p);
    vports_advance(&p, now);
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x42);
    out(&p, 0x70, 1, 0x0B);
    out(&p, 0x71, 1, 0x42); /* periodic, 1024 Hz */
    now = vports_next_deadline(&p);
    assert_in_range(now, 0, TSC_HZ / 1000);
    vports_advance(&p, now);
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x48);
    assert_true(vports_next_deadline(&p) == UINT64_MAX); /* until register C is read */
    out(&p, 0x70, 1, 0x0C);
    assert_int_equal(in(&p, 0x71, 1), 0xC0);
    assert_in_range(vports_next_deadline(&p), now, now + TSC_HZ / 1024 + 1);
}

/* The SCI is a level: sent again after its end, until its cause is gone. */
static void test_sci(void **state)
{
    struct vports p = fresh();
    struct vioapic_message m;

    (void)state;
    entry(&p, 9, 0x8000 | 0x49, 0);
    out(&p, 0x602, 2, 1);
    now = vports_next_deadline(&p);
    assert_in_range(now, TSC_HZ * 2, TSC_HZ * 3); /* 2^23 ticks of 3.58 MHz */
    vports_advance(&p, now);
    assert_true(vports_next_message(&p, &m));
    assert_int_equal(m.vector, 0x49);
    assert_int_equal(m.level, 1);
    assert_false(vports_next_message(&p, &m));
    vports_eoi(&p, 0x49);
    assert_true(vports_next_message(&p, &m));
    out(&p, 0x600, 2, 1);
    vports_eoi(&p, 0x49);
    assert_false(vports_next_message(&p, &m));
}

/* One time for all clocks, and none goes back. */
static void test_one_time(void **state)
{
    struct vports p = fresh();
    uint32_t ticks, last = 0;

    (void)state;
    vports_set_clock(&p, 1700000000, 0);
    for (uint64_t ms = 0; ms < 3000; ms += 7) {
        now = ms * (TSC_HZ / 1000);
        ticks = in(&p, 0x608, 4);
        assert_int_equal(ticks, ms * VPLAT_PM_TIMER_HZ / 1000);
        assert_true(ticks >= last);
        last = ticks;
        now = 0; /* another vCPU, whose chunk began earlier */
        assert_int_equal(in(&p, 0x608, 4), last);
        out(&p, 0x70, 1, 0);
        assert_int_equal(in(&p, 0x71, 1), 0x20 + ms / 1000); /* 22:13:20 */
    }
}

static void test_uses_time(void **state)
{
    (void)state;
    assert_true(vports_uses_time(0x40, 1));
    assert_true(vports_uses_time(0x608, 4));
    assert_true(vports_uses_time(0x605, 4));
    assert_true(vports_uses_time(0x71, 1));
    assert_true(vports_uses_time(0x20, 1));
    assert_false(vports_uses_time(0x3F8, 1));
    assert_false(vports_uses_time(0x501, 4));
    assert_false(vports_uses_time(0xCF8, 4));
    assert_false(vports_uses_time(0xFFFF, 4));
}

static void test_wide_accesses(void **state)
{
    struct vports p = fresh();
    struct vports_effect e;

    (void)state;
    out(&p, 0x3FF, 1, 0x77);
    assert_int_equal(in(&p, 0x3FE, 4), 0xFFFF77B0); /* MSR, SCR, nothing, nothing */
    assert_int_equal(in(&p, 0x3F6, 4), 0x0000FFFF); /* nothing, nothing, RBR, IER */
    e = out(&p, 0x3F7, 2, 0x5A00);                  /* the second byte is the data register */
    assert_int_equal(e.kind, VPORTS_CONSOLE);
    assert_int_equal(e.value, 0x5A);
    assert_int_equal(in(&p, 0xFFFF, 4), 0xFFFFFFFF);
    assert_int_equal(out(&p, 0xFFFF, 4, 0).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0x4FF, 4, 0).kind, VPORTS_NONE); /* straddling the exit port is no exit */
    assert_int_equal(p.exited, 0);
}

static void test_bad_sizes(void **state)
{
    static const uint32_t sizes[] = {0, 3, 5, 8, UINT32_MAX};
    struct vports p = fresh(), before = p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(in(&p, 0x3F8, sizes[i]), 0);
        assert_int_equal(out(&p, 0x501, sizes[i], 1).kind, VPORTS_NONE);
    }
    assert_memory_equal(&p, &before, sizeof(p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_console),       cmocka_unit_test(test_exit_sizes),
        cmocka_unit_test(test_unknown_ports), cmocka_unit_test(test_power_off),
        cmocka_unit_test(test_reset),         cmocka_unit_test(test_keyboard_controller),
        cmocka_unit_test(test_pci),           cmocka_unit_test(test_functions_interrupts),
        cmocka_unit_test(test_timer_ticks),   cmocka_unit_test(test_ioapic_pins),
        cmocka_unit_test(test_sci),           cmocka_unit_test(test_one_time),
        cmocka_unit_test(test_uses_time),     cmocka_unit_test(test_wide_accesses),
        cmocka_unit_test(test_bad_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
