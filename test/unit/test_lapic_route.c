/* Where IPIs go (SDM 3A 11.6.2, table 11-3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/lapic.h"

#define N 4u

#define FLAGS_ON (VLAPIC_DEST_PRESENT | VLAPIC_DEST_ENABLED)

/* Four xAPICs in the flat model, LDR bit i for number i. */
static void flat(struct vlapic_dest d[N])
{
    for (uint32_t i = 0; i < N; i++)
        d[i] = (struct vlapic_dest){.id = i, .ldr = 1u << (24 + i), .dfr = 0xFFFFFFFF, .flags = FLAGS_ON};
}

static void x2(struct vlapic_dest d[N])
{
    for (uint32_t i = 0; i < N; i++)
        d[i] = (struct vlapic_dest){.id = i, .ldr = 1u << i, .flags = FLAGS_ON | VLAPIC_DEST_X2APIC};
}

static uint64_t to8(uint32_t dest)
{
    return (uint64_t)dest << 56;
}

static uint64_t to32(uint32_t dest)
{
    return (uint64_t)dest << 32;
}

static uint32_t targets(const struct vlapic_dest d[N], uint32_t source, uint64_t icr)
{
    return vlapic_route(d, N, source, icr).targets;
}

static void test_physical(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(targets(d, 0, to8(i) | 0x40), 1u << i);
    assert_int_equal(targets(d, 1, to8(0xFF) | 0x40), 0xF); /* broadcast, sender too */
    assert_int_equal(targets(d, 1, to8(9) | 0x40), 0);
    x2(d);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(targets(d, 0, to32(i) | 0x40), 1u << i);
    assert_int_equal(targets(d, 1, to32(0xFF) | 0x40), 0); /* an ordinary ID here */
    assert_int_equal(targets(d, 1, to32(0xFFFFFFFF) | 0x40), 0xF);
}

static void test_shorthands(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    assert_int_equal(targets(d, 2, VLAPIC_ICR_TO_SELF | 0x40), 0x4);
    assert_int_equal(targets(d, 2, VLAPIC_ICR_TO_ALL | 0x40), 0xF);
    assert_int_equal(targets(d, 2, VLAPIC_ICR_TO_OTHERS | 0x40), 0xB);
}

static void test_logical_flat(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0x6) | 0x40), 0x6);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0x30) | 0x40), 0);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0xFF) | 0x40), 0xF);
}

static void test_logical_cluster(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    for (uint32_t i = 0; i < N; i++) {
        d[i].dfr = 0x0FFFFFFF;
        d[i].ldr = ((i / 2) << 4 | 1u << i % 2) << 24; /* clusters 0 and 1 of two */
    }
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0x03) | 0x40), 0x3);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0x12) | 0x40), 0x8);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0x2F) | 0x40), 0);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0xFF) | 0x40), 0xF);
}

static void test_logical_x2apic(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    x2(d);
    d[3].id = 0x13;
    d[3].ldr = 0x10008; /* cluster 1 */
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to32(0xF) | 0x40), 0x7);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to32(0x1000F) | 0x40), 0x8);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to32(0xFFFFFFFF) | 0x40), 0xF);
}

static void test_modes(void **state)
{
    static const struct {
        uint32_t icr;
        uint8_t mode;
        bool sent;
    } rows[] = {{0x040, VLAPIC_FIXED, true},
                {0x00F, VLAPIC_FIXED, false},
                {0x140, VLAPIC_FIXED, true},
                {0x240, 0, false},
                {0x340, 0, false},
                {0x400, VLAPIC_NMI, true},
                {0x4500, VLAPIC_INIT, true},
                {0xC500, VLAPIC_INIT, true},
                {0x8500, 0, false},
                {0x0500, VLAPIC_INIT, true},
                {0x4608, VLAPIC_SIPI, true},
                {0x740, 0, false},
                {0x8040, VLAPIC_FIXED, true},
                {0x610, VLAPIC_SIPI, true}};
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vlapic_targets t = vlapic_route(d, N, 0, to8(1) | rows[i].icr);

        assert_int_equal(t.targets, rows[i].sent ? 2 : 0);
        assert_int_equal(t.vector, rows[i].icr & 0xFF);
        if (rows[i].sent)
            assert_int_equal(t.mode, rows[i].mode);
    }
}

/* SDM 3A table 11-3: by shorthand, only fixed interrupts may include the sender. */
static void test_invalid_shorthands(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    for (uint32_t mode = 1; mode < 8; mode++) {
        uint64_t icr = mode << VLAPIC_ICR_MODE_SHIFT | VLAPIC_ICR_ASSERT | 0x40;
        bool exists = mode == VLAPIC_LOWEST || (mode >= VLAPIC_NMI && mode <= VLAPIC_SIPI);

        assert_int_equal(targets(d, 0, icr | VLAPIC_ICR_TO_SELF), 0);
        assert_int_equal(targets(d, 0, icr | VLAPIC_ICR_TO_ALL), 0);
        assert_int_equal(targets(d, 0, icr | VLAPIC_ICR_TO_OTHERS) != 0, exists);
    }
}

static void test_lowest_priority_is_lowest_number(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0xC) | 0x140), 0x4);
    d[2].flags = VLAPIC_DEST_PRESENT; /* disabled by software: no candidate */
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to8(0xC) | 0x140), 0x8);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_TO_OTHERS | 0x140), 0x2);
}

static void test_disabled_apics(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    d[1].flags = VLAPIC_DEST_PRESENT;
    d[2].flags = 0;
    assert_int_equal(targets(d, 0, VLAPIC_ICR_TO_ALL | 0x40), 0x9);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_TO_OTHERS | 0x400), 0xA); /* NMI, INIT, SIPI get through */
    assert_int_equal(targets(d, 0, VLAPIC_ICR_TO_OTHERS | 0x4500), 0xA);
    assert_int_equal(targets(d, 0, VLAPIC_ICR_TO_OTHERS | 0x608), 0xA);
}

/* An x2APIC and an xAPIC in one machine, as during start-up. */
static void test_mixed_modes(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    d[0] = (struct vlapic_dest){.id = 0, .ldr = 1, .flags = FLAGS_ON | VLAPIC_DEST_X2APIC};
    assert_int_equal(targets(d, 0, to32(2) | 0x4500), 0x4);
    /* Too wide a number for xAPICs; the x2APIC is of cluster 0, and bit 0 is its own. */
    assert_int_equal(targets(d, 0, VLAPIC_ICR_LOGICAL | to32(0x10F) | 0x40), 0x1);
    assert_int_equal(targets(d, 1, to8(0) | 0x40), 0x1);
    assert_int_equal(targets(d, 1, to8(0xFF) | 0x40), 0xF);
}

static void test_dest_copy(void **state)
{
    struct vlapic v;
    struct vlapic_dest d;

    (void)state;
    vlapic_reset(&v, 6, false);
    d = vlapic_dest(&v);
    assert_int_equal(d.flags, VLAPIC_DEST_PRESENT);
    vlapic_write(&v, VLAPIC_SVR, 0x1FF, 0);
    vlapic_write(&v, VLAPIC_APIC_BASE, v.apic_base | VLAPIC_BASE_EXTD, 0);
    d = vlapic_dest(&v);
    assert_int_equal(d.flags, FLAGS_ON | VLAPIC_DEST_X2APIC);
    assert_int_equal(d.id, 6);
    assert_int_equal(d.ldr, 1u << 6);
    vlapic_write(&v, VLAPIC_APIC_BASE, VLAPIC_BASE_DEFAULT, 0);
    assert_int_equal(vlapic_dest(&v).flags, 0);
}

/* Classes and routing must agree: what a LOCAL write sends reaches no other APIC. */
static void test_local_reaches_nobody_else(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    for (uint32_t i = 0; i < 1u << 16; i++) {
        /* modes x logical x assert x level x shorthand x some destinations x legal and illegal vector */
        uint64_t icr = (i & 0xF) << 8 | (i >> 4 & 3) << 14 | (i >> 6 & 3) << 18 | (i & 0x100 ? 0x40 : 0x04);
        struct vlapic v;

        vlapic_reset(&v, 2, false);
        vlapic_write(&v, VLAPIC_SVR, 0x1FF, 0);
        vlapic_write(&v, VLAPIC_ICR_HIGH, (i >> 9 & 7) << 24 | (i >> 12 & 1 ? 0xFF000000 : 0), 0);
        flat(d);
        if (vlapic_write_class(&v, VLAPIC_ICR, icr) != VLAPIC_CLASS_LOCAL)
            continue;
        vlapic_write(&v, VLAPIC_ICR, icr, 0);
        assert_int_equal(targets(d, 2, vlapic_icr(&v)) & ~4u, 0);
        assert_int_equal(vlapic_pending(&v) >= 0, targets(d, 2, vlapic_icr(&v)) == 4u);
    }
}

/* Messages of an I/O APIC: 8-bit destinations, whatever the mode of the receivers. */
static void test_bus(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(vlapic_route_bus(d, N, to8(i) | 0x40).targets, 1u << i);
    assert_int_equal(vlapic_route_bus(d, N, to8(0xFF) | 0x40).targets, 0xF);
    assert_int_equal(vlapic_route_bus(d, N, to8(6) | VLAPIC_ICR_LOGICAL | 0x40).targets, 6);
    assert_int_equal(vlapic_route_bus(d, N, to8(6) | VLAPIC_ICR_LOGICAL | 0x140).targets, 2);
    assert_int_equal(vlapic_route_bus(d, N, to8(6) | VLAPIC_ICR_LOGICAL | 0x140).mode, VLAPIC_FIXED);
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x400).mode, VLAPIC_NMI);
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x400).targets, 4);
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x240).targets, 0); /* SMI */
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x640).targets, 0); /* reserved here, not SIPI */
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x740).targets, 0); /* ExtINT */
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | 0x0F).targets, 0);  /* illegal vector */
    assert_int_equal(vlapic_route_bus(d, N, to8(2) | VLAPIC_ICR_TO_ALL | 0x40).targets,
                     4); /* no shorthands */
    x2(d);
    assert_int_equal(vlapic_route_bus(d, N, to8(3) | 0x40).targets, 8);
    assert_int_equal(vlapic_route_bus(d, N, to8(0xFF) | 0x40).targets, 0xF);
    assert_int_equal(vlapic_route_bus(d, N, to8(5) | VLAPIC_ICR_LOGICAL | 0x40).targets, 5);
}

static void test_hostile_arguments(void **state)
{
    struct vlapic_dest d[N];

    (void)state;
    flat(d);
    assert_int_equal(vlapic_route(d, N, N, 0x40).targets, 0);
    assert_int_equal(vlapic_route(d, 33, 0, VLAPIC_ICR_TO_ALL | 0x40).targets, 0);
    assert_int_equal(vlapic_route(d, 0, 0, VLAPIC_ICR_TO_ALL | 0x40).targets, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_physical),
        cmocka_unit_test(test_shorthands),
        cmocka_unit_test(test_logical_flat),
        cmocka_unit_test(test_logical_cluster),
        cmocka_unit_test(test_logical_x2apic),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_invalid_shorthands),
        cmocka_unit_test(test_lowest_priority_is_lowest_number),
        cmocka_unit_test(test_disabled_apics),
        cmocka_unit_test(test_mixed_modes),
        cmocka_unit_test(test_dest_copy),
        cmocka_unit_test(test_local_reaches_nobody_else),
        cmocka_unit_test(test_bus),
        cmocka_unit_test(test_hostile_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
