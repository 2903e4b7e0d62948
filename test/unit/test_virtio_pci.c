/* The virtio functions as a driver finds them: configuration space, registers, MSI-X. */
#include "test/unit/virtio_rig.h"

#define BLK VIRTIO_SLOT_BLK

static struct rig rig;

static uint32_t cfg(struct rig *r, uint32_t slot, uint32_t offset, uint32_t size)
{
    return virtio_config_read(&r->bus, slot, offset, size);
}

static void set_cfg(struct rig *r, uint32_t slot, uint32_t offset, uint32_t size, uint32_t value)
{
    virtio_config_write(&r->bus, slot, offset, size, value);
}

static struct rig *power(void)
{
    rig_power(&rig, BLK);
    return &rig;
}

static void test_header(void **state)
{
    static const struct {
        uint32_t slot, device, class, irq;
    } rows[] = {
        {VIRTIO_SLOT_BLK, 0x1042, 0x018000, 10},
        {VIRTIO_SLOT_NET, 0x1041, 0x020000, 11},
        {VIRTIO_SLOT_RNG, 0x1044, 0xFF0000, 5},
    };
    struct rig *r = power();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t s = rows[i].slot;
        assert_int_equal(cfg(r, s, 0, 4), 0x1AF4 | rows[i].device << 16);
        assert_int_equal(cfg(r, s, 2, 2), rows[i].device);
        assert_int_equal(cfg(r, s, 8, 4), 1 | rows[i].class << 8);
        assert_int_equal(cfg(r, s, 0x0E, 1), 0);
        assert_int_equal(cfg(r, s, 0x3C, 2), 0x100 | rows[i].irq);
        assert_int_equal(virtio_bus_irq(s), rows[i].irq);
        assert_int_equal(cfg(r, s, 0x30, 4), 0);
        assert_int_equal(cfg(r, s, 0x06, 2), 0x10);
    }
    assert_int_equal(cfg(r, 0, 0, 4), 0xFFFFFFFF);
    assert_int_equal(cfg(r, VIRTIO_SLOTS, 0, 4), 0xFFFFFFFF);
    assert_int_equal(cfg(r, UINT32_MAX, 0, 1), 0xFF);
}

static void test_absent(void **state)
{
    static struct virtio_bus bus;
    struct virtio_config none = {0};
    uint32_t offset;

    (void)state;
    virtio_bus_reset(&bus, &none);
    assert_int_equal(virtio_config_read(&bus, VIRTIO_SLOT_BLK, 0, 2), 0xFFFF);
    assert_int_equal(virtio_config_read(&bus, VIRTIO_SLOT_NET, 0, 2), 0xFFFF);
    assert_int_equal(virtio_config_read(&bus, VIRTIO_SLOT_RNG, 0, 2), 0x1AF4);
    virtio_config_write(&bus, VIRTIO_SLOT_BLK, 0x10, 4, 0);
    assert_null(virtio_bus_find(&bus, 0, &offset));
}

/* How software finds out the size of a BAR (PCI 6.2.5.1), and moves it. */
static void test_bar(void **state)
{
    struct rig *r = power();
    uint32_t first = cfg(r, BLK, 0x10, 4), offset;

    (void)state;
    assert_int_equal(first, 0xFE004000);
    assert_ptr_equal(virtio_bus_find(&r->bus, 0xFE007FFF, &offset), r->v);
    assert_int_equal(offset, 0x3FFF);
    assert_ptr_equal(virtio_bus_find(&r->bus, 0xFE008000, &offset), &r->bus.slot[VIRTIO_SLOT_NET]);
    assert_null(virtio_bus_find(&r->bus, 0xFE003FFF, &offset));
    assert_null(virtio_bus_find(&r->bus, UINT64_C(0x1FE004000), &offset));
    set_cfg(r, BLK, 0x10, 4, UINT32_MAX);
    assert_int_equal(cfg(r, BLK, 0x10, 4), 0xFFFFC000);
    set_cfg(r, BLK, 0x12, 2, 0xE000); /* the upper half alone */
    assert_int_equal(cfg(r, BLK, 0x10, 4), 0xE000C000);
    assert_ptr_equal(virtio_bus_find(&r->bus, 0xE000C010, &offset), r->v);
    set_cfg(r, BLK, 4, 2, 4);
    assert_null(virtio_bus_find(&r->bus, 0xE000C010, &offset));
    set_cfg(r, BLK, 4, 2, UINT32_MAX);
    assert_int_equal(cfg(r, BLK, 4, 2), 0x0406);
    for (uint32_t at = 0x14; at < 0x28; at += 4) {
        set_cfg(r, BLK, at, 4, UINT32_MAX);
        assert_int_equal(cfg(r, BLK, at, 4), 0);
    }
}

/* The place of capability `type` (vendor's), walking the list as a driver does; 0: there is none. */
static uint32_t find_cap(struct rig *r, uint32_t slot, uint32_t id, uint32_t type)
{
    uint32_t at = cfg(r, slot, 0x34, 1), steps = 0;

    while (at) {
        assert_true(at >= 0x40 && ++steps < 48);
        if (cfg(r, slot, at, 1) == id && (id != 9 || cfg(r, slot, at + 3, 1) == type))
            return at;
        at = cfg(r, slot, at + 1, 1);
    }
    return 0;
}

static void test_capabilities(void **state)
{
    static const struct {
        uint32_t type, offset, bytes;
    } rows[] = {{1, VIRTIO_BAR_COMMON, 0x38},
                {2, VIRTIO_BAR_NOTIFY, 4},
                {3, VIRTIO_BAR_ISR, 1},
                {4, VIRTIO_BAR_DEVICE, 64}};
    struct rig *r = power();
    uint32_t at;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        at = find_cap(r, BLK, 9, rows[i].type);
        assert_true(at);
        assert_int_equal(cfg(r, BLK, at + 2, 1), rows[i].type == 2 ? 20 : 16);
        assert_int_equal(cfg(r, BLK, at + 4, 1), 0);
        assert_int_equal(cfg(r, BLK, at + 8, 4), rows[i].offset);
        assert_int_equal(cfg(r, BLK, at + 12, 4), rows[i].bytes);
    }
    assert_int_equal(cfg(r, BLK, find_cap(r, BLK, 9, 2) + 16, 4), 4);
    assert_int_equal(find_cap(r, VIRTIO_SLOT_RNG, 9, 4), 0); /* it has no configuration */
    assert_true(find_cap(r, VIRTIO_SLOT_RNG, 9, 1));
    at = find_cap(r, BLK, 0x11, 0);
    assert_int_equal(cfg(r, BLK, at + 2, 2), VIRTIO_VECTORS - 1);
    assert_int_equal(cfg(r, BLK, at + 4, 4), VIRTIO_BAR_MSIX);
    assert_int_equal(cfg(r, BLK, at + 8, 4), VIRTIO_BAR_PENDING);
}

/* Everything behind the registers by configuration space alone (virtio 4.1.4.9). */
static void test_window(void **state)
{
    struct rig *r = power();
    uint32_t at = find_cap(r, BLK, 9, 5);

    (void)state;
    set_cfg(r, BLK, 4, 2, 0); /* the BAR need not answer */
    set_cfg(r, BLK, at + 4, 1, 0);
    set_cfg(r, BLK, at + 8, 4, 0x14);
    set_cfg(r, BLK, at + 12, 4, 1);
    assert_int_equal(cfg(r, BLK, at + 8, 4), 0x14);
    set_cfg(r, BLK, at + 16, 1, 3);
    assert_int_equal(reg(r, 0x14, 1), 3);
    assert_int_equal(cfg(r, BLK, at + 16, 1), 3);
    set_cfg(r, BLK, at + 8, 4, VIRTIO_BAR_DEVICE);
    set_cfg(r, BLK, at + 12, 4, 4);
    assert_int_equal(cfg(r, BLK, at + 16, 4), RIG_SECTORS);
    for (uint32_t i = 0; i < 3; i++) { /* another BAR, no alignment, not in the BAR */
        static const uint32_t bad[][3] = {{1, 0, 4}, {0, 2, 4}, {0, VIRTIO_BAR_BYTES, 4}};
        set_cfg(r, BLK, at + 4, 1, bad[i][0]);
        set_cfg(r, BLK, at + 8, 4, bad[i][1]);
        set_cfg(r, BLK, at + 12, 4, bad[i][2]);
        set_cfg(r, BLK, at + 16, 4, UINT32_MAX);
        assert_int_equal(cfg(r, BLK, at + 16, 4), 0);
    }
    set_cfg(r, BLK, at + 4, 1, 0);
    set_cfg(r, BLK, at + 12, 4, 3);
    assert_int_equal(cfg(r, BLK, at + 16, 4), 0);
}

static void test_features(void **state)
{
    struct rig *r = power();

    (void)state;
    set_reg(r, 0, 4, 0);
    assert_int_equal(reg(r, 4, 4), VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE |
                                       VIRTIO_BLK_F_FLUSH);
    set_reg(r, 0, 4, 1);
    assert_int_equal(reg(r, 4, 4), 1);
    set_reg(r, 0, 4, 2);
    assert_int_equal(reg(r, 4, 4), 0);
    rig_features(r, VIRTIO_BLK_F_FLUSH); /* not a modern driver */
    assert_int_equal(reg(r, 0x14, 1), 3);
    rig_features(r, VIRTIO_F_VERSION_1 | BIT(28)); /* what was not offered */
    assert_int_equal(reg(r, 0x14, 1), 3);
    set_reg(r, 0x14, 1, 7); /* DRIVER_OK without FEATURES_OK */
    assert_int_equal(reg(r, 0x14, 1), 3);
    rig_features(r, VIRTIO_F_VERSION_1);
    assert_int_equal(reg(r, 0x14, 1), 11);
    rig_features(r, 0); /* too late */
    assert_int_equal(r->v->accepted, VIRTIO_F_VERSION_1);
    set_reg(r, 0x14, 1, 0xFF);
    assert_int_equal(reg(r, 0x14, 1), 0x8F);
    set_reg(r, 0x14, 1, 0);
    assert_int_equal(reg(r, 0x14, 1), 0);
    assert_int_equal(r->v->accepted, 0);
}

static void test_queue_registers(void **state)
{
    struct rig *r = power();

    (void)state;
    assert_int_equal(reg(r, 0x12, 2), 1);
    assert_int_equal(reg(r, 0x18, 2), VIRTIO_QUEUE_SIZE);
    set_reg(r, 0x18, 2, 24);
    set_reg(r, 0x18, 2, 0);
    set_reg(r, 0x18, 2, 256);
    assert_int_equal(reg(r, 0x18, 2), VIRTIO_QUEUE_SIZE);
    set_reg(r, 0x18, 2, 16);
    set_reg(r, 0x18, 1, 8); /* not its width */
    assert_int_equal(reg(r, 0x18, 2), 16);
    set_reg(r, 0x20, 4, 0x1008); /* not aligned */
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x1C, 2), 0);
    set_reg(r, 0x20, 4, 0x1000);
    set_reg(r, 0x30, 8, UINT64_MAX - 3); /* would wrap */
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x1C, 2), 0);
    set_reg(r, 0x30, 8, UINT64_C(0x123456789C));
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x1C, 2), 1);
    set_reg(r, 0x30, 4, 0); /* it stays */
    set_reg(r, 0x18, 2, 8);
    set_reg(r, 0x1C, 2, 0);
    assert_int_equal(reg(r, 0x30, 8), UINT64_C(0x123456789C));
    assert_int_equal(reg(r, 0x18, 4), 16 | (uint32_t)VIRTIO_NO_VECTOR << 16);
    assert_int_equal(reg(r, 0x1C, 2), 1);
    set_reg(r, 0x16, 2, 1); /* there is no other */
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x18, 8), 0);
    set_reg(r, 0x16, 2, 0xFFFF);
    set_reg(r, 0x20, 8, UINT64_MAX);
    assert_int_equal(reg(r, 0x20, 8), 0);
}

static void test_device_configuration(void **state)
{
    struct rig *r = power();

    (void)state;
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE, 8), RIG_SECTORS);
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE + 8, 4), 4096);
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE + 12, 4), 16);
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE + 20, 4), 512);
    set_reg(r, VIRTIO_BAR_DEVICE, 4, 1);
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE, 4), RIG_SECTORS);
    r->v = &r->bus.slot[VIRTIO_SLOT_NET];
    assert_int_equal(reg(r, VIRTIO_BAR_DEVICE, 8), UINT64_C(0x0001010000005452));
    assert_int_equal(reg(r, 0x12, 2), 2);
}

/* What is no register reads 0 and takes nothing. */
static void test_nothing_there(void **state)
{
    static const uint32_t sizes[] = {1, 2, 4, 8};
    static struct virtio before;
    struct rig *r = power();

    (void)state;
    for (uint32_t at = 0x38; at < VIRTIO_BAR_BYTES; at += 8) {
        for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
            before = *r->v;
            if (at >= 0x3F8 && at < VIRTIO_BAR_ISR)
                continue;
            if (at < VIRTIO_BAR_MSIX || at >= VIRTIO_BAR_MSIX + 48)
                set_reg(r, at, sizes[i], UINT64_MAX);
            r->v->changes = before.changes;
            r->v->queue[0].pending = 0; /* the doorbell */
            assert_memory_equal(r->v, &before, sizeof(before));
            if (at >= VIRTIO_BAR_NOTIFY && at < VIRTIO_BAR_MSIX)
                assert_int_equal(reg(r, at, sizes[i]), 0);
        }
    }
    assert_int_equal(reg(r, VIRTIO_BAR_BYTES - 1, 8), 0);
}

/* ---- MSI-X ---- */

static void enable_msix(struct rig *r, uint32_t control)
{
    set_cfg(r, BLK, find_cap(r, BLK, 0x11, 0) + 2, 2, control);
}

static void set_vector(struct rig *r, uint32_t i, uint64_t address, uint32_t data, uint32_t control)
{
    set_reg(r, VIRTIO_BAR_MSIX + 16 * i, 8, address);
    set_reg(r, VIRTIO_BAR_MSIX + 16 * i + 8, 4, data);
    set_reg(r, VIRTIO_BAR_MSIX + 16 * i + 12, 4, control);
}

static void flush_request(struct rig *r)
{
    put(r->memory + RIG_DATA, 4, 4);
    desc(r, 0, 0, RIG_DATA, 16, DESC_NEXT, 1);
    desc(r, 0, 1, RIG_DATA + 16, 1, DESC_WRITE, 0);
    offer(r, 0, 0);
    notify(r, 0);
    assert_int_equal(run(r), 1);
}

static void test_msix(void **state)
{
    struct virtio_message m;
    struct rig *r = &rig;

    (void)state;
    rig_start(r, BLK, RIG_SIZE);
    enable_msix(r, UINT32_MAX);
    assert_int_equal(cfg(r, BLK, find_cap(r, BLK, 0x11, 0) + 2, 2), 0xC000 | (VIRTIO_VECTORS - 1));
    set_reg(r, 0x1A, 2, 0);
    set_vector(r, 0, 0xFEE01003, 0x4041, 1);
    assert_int_equal(reg(r, VIRTIO_BAR_MSIX, 8), 0xFEE01000);
    assert_int_equal(reg(r, VIRTIO_BAR_MSIX + 8, 8), 0x4041 | BIT(32));
    flush_request(r);
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1), 0);
    assert_false(virtio_intx(r->v));
    assert_int_equal(reg(r, VIRTIO_BAR_PENDING, 8), 1);
    assert_false(virtio_next_message(r->v, &m)); /* masked twice */
    enable_msix(r, VIRTIO_MSIX_ENABLE);
    assert_false(virtio_next_message(r->v, &m));
    set_reg(r, VIRTIO_BAR_MSIX + 12, 4, 0);
    assert_true(virtio_next_message(r->v, &m));
    assert_int_equal(m.address, 0xFEE01000);
    assert_int_equal(m.data, 0x4041);
    assert_false(virtio_next_message(r->v, &m));
    assert_int_equal(reg(r, VIRTIO_BAR_PENDING, 8), 0);
}

static void test_vectors(void **state)
{
    struct virtio_message m;
    struct rig *r = &rig;

    (void)state;
    rig_start(r, BLK, RIG_SIZE);
    set_reg(r, 0x10, 2, VIRTIO_VECTORS); /* more than there are */
    assert_int_equal(reg(r, 0x10, 2), VIRTIO_NO_VECTOR);
    set_reg(r, 0x10, 2, VIRTIO_VECTORS - 1);
    assert_int_equal(reg(r, 0x10, 2), VIRTIO_VECTORS - 1);
    enable_msix(r, VIRTIO_MSIX_ENABLE);
    for (uint32_t i = 0; i < VIRTIO_VECTORS; i++)
        set_vector(r, i, 0xFEE00000 + 0x1000 * i, 0x30 + i, 0);
    set_reg(r, 0x1A, 2, 1);
    offer(r, 0, RIG_SIZE); /* no such descriptor */
    notify(r, 0);
    run(r);
    assert_true(virtio_next_message(r->v, &m));
    assert_int_equal(m.data, 0x30 + VIRTIO_VECTORS - 1);
    assert_false(virtio_next_message(r->v, &m));
    set_reg(r, 0x14, 1, 0);
    assert_int_equal(reg(r, 0x10, 2), VIRTIO_NO_VECTOR);
    assert_int_equal(reg(r, VIRTIO_BAR_MSIX + 8, 4), 0x30); /* the table is the bus's business */
}

/* Switching MSI-X off forgets messages; the line does not rise for what was raised by message. */
static void test_msix_off(void **state)
{
    struct virtio_message m;
    struct rig *r = &rig;

    (void)state;
    rig_start(r, BLK, RIG_SIZE);
    enable_msix(r, VIRTIO_MSIX_ENABLE);
    flush_request(r);
    enable_msix(r, 0);
    assert_false(virtio_intx(r->v));
    enable_msix(r, VIRTIO_MSIX_ENABLE);
    set_vector(r, 0, 0xFEE00000, 0x30, 0);
    assert_false(virtio_next_message(r->v, &m));
}

static void test_line(void **state)
{
    struct rig *r = &rig;

    (void)state;
    rig_start(r, BLK, RIG_SIZE);
    flush_request(r);
    assert_true(virtio_intx(r->v));
    assert_int_equal(cfg(r, BLK, 6, 2), 0x18);
    set_cfg(r, BLK, 4, 2, 0x406);
    assert_false(virtio_intx(r->v));
    assert_int_equal(cfg(r, BLK, 6, 2), 0x18);
    set_cfg(r, BLK, 0x3C, 1, 0x55);
    assert_int_equal(cfg(r, BLK, 0x3C, 4), 0x155);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_queue_registers),
        cmocka_unit_test(test_device_configuration),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_msix),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_msix_off),
        cmocka_unit_test(test_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
