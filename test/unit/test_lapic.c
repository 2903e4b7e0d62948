/* The virtual local APIC: registers, classes, interrupts. Timer and routing have files of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/lapic.h"

#define ID_UNDER_TEST 3u

static struct vlapic xapic(void)
{
    struct vlapic v;

    memset(&v, 0xAA, sizeof(v)); /* reset must leave nothing of what was there */
    vlapic_reset(&v, ID_UNDER_TEST, false);
    vlapic_write(&v, VLAPIC_SVR, VLAPIC_SVR_ENABLE | 0xFF, 0);
    return v;
}

static struct vlapic x2apic(void)
{
    struct vlapic v = xapic();

    vlapic_write(&v, VLAPIC_APIC_BASE, v.apic_base | VLAPIC_BASE_EXTD, 0);
    return v;
}

static void test_reset_values(void **state)
{
    struct vlapic v;

    (void)state;
    memset(&v, 0xAA, sizeof(v));
    vlapic_reset(&v, 5, true);
    assert_int_equal(vlapic_read(&v, VLAPIC_APIC_BASE, 0), 0xFEE00900);
    assert_int_equal(vlapic_read(&v, VLAPIC_ID, 0), 5u << 24);
    assert_int_equal(vlapic_read(&v, VLAPIC_VERSION, 0), 0x50014);
    assert_int_equal(vlapic_read(&v, VLAPIC_SVR, 0), 0xFF);
    assert_int_equal(vlapic_read(&v, VLAPIC_DFR, 0), 0xFFFFFFFF);
    assert_int_equal(vlapic_read(&v, VLAPIC_LDR, 0), 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_TPR, 0), 0);
    for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg++)
        assert_int_equal(vlapic_read(&v, reg, 0), 0x10000);
    for (uint32_t reg = VLAPIC_ISR; reg < VLAPIC_ESR; reg++)
        assert_int_equal(vlapic_read(&v, reg, 0), 0);
    assert_int_equal(vlapic_pending(&v), -1);
    assert_true(vlapic_next_deadline(&v) == VLAPIC_NEVER);
    vlapic_reset(&v, 1, false);
    assert_int_equal(v.apic_base, 0xFEE00800);
}

static void test_init_keeps_id_and_mode(void **state)
{
    struct vlapic v = x2apic();

    (void)state;
    vlapic_accept(&v, 0x40);
    vlapic_write(&v, VLAPIC_LVT_TIMER, 0x30, 0);
    vlapic_init_reset(&v);
    assert_true(vlapic_x2apic(&v));
    assert_int_equal(vlapic_read(&v, VLAPIC_ID, 0), ID_UNDER_TEST);
    assert_int_equal(vlapic_read(&v, VLAPIC_LDR, 0), 1u << ID_UNDER_TEST);
    assert_int_equal(vlapic_read(&v, VLAPIC_SVR, 0), 0xFF);
    assert_int_equal(vlapic_read(&v, VLAPIC_LVT_TIMER, 0), 0x10000);
    assert_int_equal(vlapic_pending(&v), -1);
}

static void test_mmio_decoding(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    assert_int_equal(vlapic_page(&v), 0xFEE00000);
    assert_int_equal(vlapic_mmio_reg(0x300, 4), VLAPIC_ICR);
    assert_int_equal(vlapic_mmio_reg(0x310, 4), VLAPIC_ICR_HIGH);
    assert_int_equal(vlapic_mmio_reg(0x304, 4), VLAPIC_BAD_OFFSET);
    assert_int_equal(vlapic_mmio_reg(0x300, 8), VLAPIC_BAD_OFFSET);
    assert_int_equal(vlapic_mmio_reg(0x20, 1), VLAPIC_BAD_OFFSET);
    assert_int_equal(vlapic_mmio_reg(0x1000, 4), VLAPIC_BAD_OFFSET);
    assert_int_equal(vlapic_read_class(&v, VLAPIC_BAD_OFFSET), VLAPIC_CLASS_LOCAL);
    assert_int_equal(vlapic_read(&v, VLAPIC_BAD_OFFSET, 0), 0);
    assert_int_equal(v.esr_pending, 0);
}

static void test_msr_decoding(void **state)
{
    struct vlapic x = xapic(), x2 = x2apic();

    (void)state;
    assert_int_equal(vlapic_msr_reg(&x, 0x1B), VLAPIC_APIC_BASE);
    assert_int_equal(vlapic_msr_reg(&x, 0x6E0), VLAPIC_TSC_DEADLINE);
    assert_int_equal(vlapic_msr_reg(&x, 0x802), VLAPIC_NO_REG);
    assert_int_equal(vlapic_msr_reg(&x2, 0x802), VLAPIC_ID);
    assert_int_equal(vlapic_msr_reg(&x2, 0x830), VLAPIC_ICR);
    assert_int_equal(vlapic_msr_reg(&x2, 0x83F), VLAPIC_SELF_IPI);
    assert_int_equal(vlapic_msr_reg(&x2, 0x900), VLAPIC_NO_REG);
    assert_int_equal(vlapic_msr_reg(&x2, 0x7FF), VLAPIC_NO_REG);
    assert_int_equal(vlapic_read_class(&x2, VLAPIC_NO_REG), VLAPIC_CLASS_FAULT);
    assert_int_equal(vlapic_write_class(&x, VLAPIC_NO_REG, 0), VLAPIC_CLASS_FAULT);
    assert_true(vlapic_page(&x2) == UINT64_MAX);
}

/* SDM 3A table 11-6: which x2APIC MSRs can be read and written. */
static void test_x2apic_access_table(void **state)
{
    static const char readable[] = "02 03 08 0A 0D 0F 28 30 32 33 34 35 36 37 38 39 3E ";
    static const char writable[] = "08 0B 0F 28 30 32 33 34 35 36 37 38 3E 3F ";
    struct vlapic v = x2apic();
    char name[8];

    (void)state;
    for (uint32_t reg = 0; reg <= VLAPIC_REG_MAX; reg++) {
        bool vectors = reg >= VLAPIC_ISR && reg < VLAPIC_ESR;

        snprintf(name, sizeof(name), "%02X ", reg);
        assert_int_equal(vlapic_read_class(&v, reg) != VLAPIC_CLASS_FAULT,
                         vectors || strstr(readable, name) != NULL);
        assert_int_equal(vlapic_write_class(&v, reg, 0) != VLAPIC_CLASS_FAULT,
                         strstr(writable, name) != NULL);
    }
}

static void test_x2apic_reserved_bits(void **state)
{
    static const struct {
        uint32_t reg;
        uint64_t bits; /* that may be 1 */
    } rows[] = {{VLAPIC_TPR, 0xFF},
                {VLAPIC_EOI, 0},
                {VLAPIC_SVR, 0x3FF},
                {VLAPIC_ESR, 0},
                {VLAPIC_ICR, 0xFFFFFFFF000CDFFF},
                {VLAPIC_LVT_TIMER, 0x710FF},
                {VLAPIC_LVT_THERMAL, 0x117FF},
                {VLAPIC_LVT_LINT0, 0x1F7FF},
                {VLAPIC_LVT_ERROR, 0x110FF},
                {VLAPIC_TIMER_INITIAL, 0xFFFFFFFF},
                {VLAPIC_TIMER_DIVIDE, 0xB},
                {VLAPIC_SELF_IPI, 0xFF}};
    struct vlapic v = x2apic();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint32_t bit = 0; bit < 64; bit++)
            assert_int_equal(vlapic_write_class(&v, rows[i].reg, BIT(bit)) != VLAPIC_CLASS_FAULT,
                             rows[i].bits >> bit & 1);
    }
    assert_int_equal(vlapic_write_class(&v, VLAPIC_LVT_TIMER, VLAPIC_LVT_MODE), VLAPIC_CLASS_FAULT);
}

/* SDM 3A figure 11-27: off, xAPIC, x2APIC and the allowed ways between them. */
static void test_apic_base_transitions(void **state)
{
    const uint64_t off = VLAPIC_BASE_DEFAULT, x = off | VLAPIC_BASE_EN, x2 = x | VLAPIC_BASE_EXTD;
    const struct {
        uint64_t from, to;
        enum vlapic_class class;
    } rows[] = {
        {x, x2, VLAPIC_CLASS_ACT},   {x, off, VLAPIC_CLASS_ACT},    {x, x, VLAPIC_CLASS_LOCAL},
        {x2, off, VLAPIC_CLASS_ACT}, {x2, x, VLAPIC_CLASS_FAULT},   {x2, x2, VLAPIC_CLASS_LOCAL},
        {off, x, VLAPIC_CLASS_ACT},  {off, x2, VLAPIC_CLASS_FAULT}, {off, off, VLAPIC_CLASS_LOCAL},
    };
    const uint64_t only_extd = off | VLAPIC_BASE_EXTD;
    struct vlapic v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        vlapic_reset(&v, 0, false);
        v.apic_base = rows[i].from;
        assert_int_equal(vlapic_write_class(&v, VLAPIC_APIC_BASE, rows[i].to), rows[i].class);
        assert_int_equal(vlapic_write_class(&v, VLAPIC_APIC_BASE, only_extd), VLAPIC_CLASS_FAULT);
        assert_int_equal(vlapic_write_class(&v, VLAPIC_APIC_BASE, rows[i].from | BIT(0)), VLAPIC_CLASS_FAULT);
        assert_int_equal(vlapic_write_class(&v, VLAPIC_APIC_BASE, rows[i].from | BIT(9)), VLAPIC_CLASS_FAULT);
        assert_int_equal(vlapic_write_class(&v, VLAPIC_APIC_BASE, rows[i].from | BIT(36)),
                         VLAPIC_CLASS_FAULT);
    }
}

static void test_apic_base_effects(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_accept(&v, 0x55);
    vlapic_write(&v, VLAPIC_APIC_BASE, v.apic_base | VLAPIC_BASE_EXTD, 0);
    assert_int_equal(vlapic_pending(&v), 0x55);
    assert_int_equal(vlapic_read(&v, VLAPIC_LDR, 0), 1u << ID_UNDER_TEST);
    vlapic_write(&v, VLAPIC_APIC_BASE, VLAPIC_BASE_DEFAULT, 0);
    assert_false(vlapic_enabled(&v));
    vlapic_accept(&v, 0x56);
    assert_int_equal(vlapic_pending(&v), -1);
    v.irr[2] = 1; /* however it got there: an APIC that is off offers nothing */
    assert_int_equal(vlapic_pending(&v), -1);
    vlapic_write(&v, VLAPIC_APIC_BASE, v.apic_base, 0); /* off again: nothing is reset a second time */
    assert_int_equal(v.irr[2], 1);
    vlapic_write(&v, VLAPIC_APIC_BASE, UINT64_C(0x123456000) | VLAPIC_BASE_EN | VLAPIC_BASE_BSP, 0);
    assert_true(vlapic_page(&v) == UINT64_C(0x123456000));
    assert_int_equal(v.apic_base & VLAPIC_BASE_BSP, 0); /* the flag is the machine's */
    assert_int_equal(vlapic_read(&v, VLAPIC_SVR, 0), 0xFF);
}

static void test_xapic_masks_and_ignores(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_write(&v, VLAPIC_ID, 0xFFFFFFFF, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_ID, 0), ID_UNDER_TEST << 24);
    vlapic_write(&v, VLAPIC_VERSION, 0, 0);
    vlapic_write(&v, VLAPIC_PPR, 0x50, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_PPR, 0), 0);
    vlapic_write(&v, VLAPIC_TPR, 0xFFFFFFFF, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_TPR, 0), 0xFF);
    vlapic_write(&v, VLAPIC_LDR, 0x12345678, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_LDR, 0), 0x12000000);
    vlapic_write(&v, VLAPIC_DFR, 0, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_DFR, 0), 0x0FFFFFFF);
    vlapic_write(&v, VLAPIC_LVT_LINT1, 0xFFFFFFFF, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_LVT_LINT1, 0), 0x1A7FF); /* without bits 12 and 14 */
    assert_int_equal(v.esr_pending, 0);
}

static void test_error_status(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_write(&v, VLAPIC_LVT_ERROR, 0xFE, 0);
    vlapic_read(&v, 0x3F, 0); /* no such register in xAPIC form */
    assert_int_equal(vlapic_read(&v, VLAPIC_ESR, 0), 0);
    assert_int_equal(vlapic_pending(&v), 0xFE);
    vlapic_deliver(&v, 0xFE);
    vlapic_write(&v, 0x05, 0, 0); /* a second error before ESR is written: no second interrupt */
    vlapic_eoi(&v);
    assert_int_equal(vlapic_pending(&v), -1);
    vlapic_write(&v, VLAPIC_ESR, 0, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_ESR, 0), VLAPIC_ESR_ILLEGAL_REGISTER);
    vlapic_accept(&v, 15);
    assert_int_equal(vlapic_pending(&v), 0xFE);
    vlapic_write(&v, VLAPIC_ICR, VLAPIC_ICR_TO_SELF | 3, 0);
    vlapic_write(&v, VLAPIC_ESR, 0, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_ESR, 0), VLAPIC_ESR_RECEIVE_ILLEGAL | VLAPIC_ESR_SEND_ILLEGAL);
    vlapic_write(&v, VLAPIC_ESR, 0, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_ESR, 0), 0);
}

static void test_error_vector_itself_illegal(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_write(&v, VLAPIC_LVT_ERROR, 0x05, 0);
    vlapic_accept(&v, 0);
    assert_int_equal(v.esr_pending, VLAPIC_ESR_RECEIVE_ILLEGAL);
    assert_int_equal(vlapic_pending(&v), -1);
}

static void test_software_disable(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_write(&v, VLAPIC_LVT_LINT0, 0x700, 0);
    vlapic_accept(&v, 0x80);
    assert_int_equal(vlapic_write_class(&v, VLAPIC_SVR, 0x1AA), VLAPIC_CLASS_LOCAL);
    assert_int_equal(vlapic_write_class(&v, VLAPIC_SVR, 0x0FF), VLAPIC_CLASS_ACT);
    vlapic_write(&v, VLAPIC_SVR, 0xFF, 0);
    assert_int_equal(vlapic_read(&v, VLAPIC_LVT_LINT0, 0), 0x10700);
    vlapic_write(&v, VLAPIC_LVT_LINT0, 0x700, 0); /* the mask cannot be cleared now */
    assert_int_equal(vlapic_read(&v, VLAPIC_LVT_LINT0, 0), 0x10700);
    vlapic_accept(&v, 0x90);
    assert_int_equal(vlapic_pending(&v), 0x80); /* old ones stay, new ones are dropped */
}

static void test_priorities(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_accept(&v, 0x31);
    vlapic_accept(&v, 0x52);
    vlapic_accept(&v, 0x5F);
    assert_int_equal(vlapic_pending(&v), 0x5F);
    vlapic_deliver(&v, 0x5F);
    assert_int_equal(vlapic_ppr(&v), 0x50);
    assert_int_equal(vlapic_pending(&v), -1); /* 52H is of the class in service */
    vlapic_accept(&v, 0x60);
    assert_int_equal(vlapic_pending(&v), 0x60);
    vlapic_deliver(&v, 0x60);
    vlapic_eoi(&v);
    assert_int_equal(vlapic_ppr(&v), 0x50);
    vlapic_eoi(&v);
    assert_int_equal(vlapic_pending(&v), 0x52);
    vlapic_set_cr8(&v, 5);
    assert_int_equal(vlapic_read(&v, VLAPIC_TPR, 0), 0x50);
    assert_int_equal(vlapic_pending(&v), -1);
    vlapic_write(&v, VLAPIC_TPR, 0x4F, 0);
    assert_int_equal(vlapic_cr8(&v), 4);
    assert_int_equal(vlapic_pending(&v), 0x52);
    assert_int_equal(vlapic_ppr(&v), 0x4F);
    v.isr[2] = 1u << 1; /* 41H: same class as TPR, whose low half then shows (SDM 3A 11.8.3.1) */
    assert_int_equal(vlapic_ppr(&v), 0x4F);
    vlapic_eoi(&v);
    vlapic_eoi(&v); /* nothing in service: no effect */
    assert_int_equal(vlapic_pending(&v), 0x52);
}

/* Every legal vector goes through IRR and ISR, at the bit where the register shows it. */
static void test_every_vector(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    for (uint32_t n = VLAPIC_FIRST_VECTOR; n < 256; n++) {
        vlapic_accept(&v, (uint8_t)n);
        assert_int_equal(vlapic_read(&v, VLAPIC_IRR + n / 32, 0), 1u << n % 32);
        assert_int_equal(vlapic_pending(&v), (int)n);
        vlapic_deliver(&v, (uint8_t)n);
        assert_int_equal(vlapic_read(&v, VLAPIC_IRR + n / 32, 0), 0);
        assert_int_equal(vlapic_read(&v, VLAPIC_ISR + n / 32, 0), 1u << n % 32);
        vlapic_write(&v, VLAPIC_EOI, 0, 0);
        assert_int_equal(vlapic_read(&v, VLAPIC_ISR + n / 32, 0), 0);
    }
}

static void test_level_eoi_is_an_act(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_accept(&v, 0x70);
    vlapic_deliver(&v, 0x70);
    assert_int_equal(vlapic_write_class(&v, VLAPIC_EOI, 0), VLAPIC_CLASS_LOCAL);
    v.tmr[3] = 1u << (0x70 % 32);
    assert_int_equal(vlapic_write_class(&v, VLAPIC_EOI, 0), VLAPIC_CLASS_ACT);
    vlapic_accept(&v, 0x70); /* this time as an edge */
    assert_int_equal(vlapic_read(&v, VLAPIC_TMR + 3, 0), 0);
    v.tmr[3] = 1u << (0x70 % 32);
    vlapic_accept(&v, 0x80);
    vlapic_deliver(&v, 0x80); /* an edge above the level one */
    assert_int_equal(vlapic_write_class(&v, VLAPIC_EOI, 0), VLAPIC_CLASS_LOCAL);
}

static void test_ipi_classes(void **state)
{
    struct vlapic v = xapic(), x2 = x2apic();
    const struct {
        uint64_t icr;
        enum vlapic_class class;
    } rows[] = {
        {0x40, VLAPIC_CLASS_ACT},
        {VLAPIC_ICR_TO_OTHERS | 0x40, VLAPIC_CLASS_ACT},
        {VLAPIC_ICR_TO_ALL | 0x40, VLAPIC_CLASS_ACT},
        {VLAPIC_ICR_TO_SELF | 0x40, VLAPIC_CLASS_LOCAL},
        {VLAPIC_ICR_LOGICAL | 0x40, VLAPIC_CLASS_ACT},
        {0x0F, VLAPIC_CLASS_LOCAL},  /* illegal vector */
        {0x10F, VLAPIC_CLASS_LOCAL}, /* the same with lowest priority */
        {0x240, VLAPIC_CLASS_LOCAL}, /* SMI */
        {0x340, VLAPIC_CLASS_LOCAL}, /* reserved */
        {0x740, VLAPIC_CLASS_LOCAL}, /* ExtINT */
        {0x400, VLAPIC_CLASS_ACT},   /* NMI */
        {0x4500, VLAPIC_CLASS_ACT},  /* INIT */
        {0xC500, VLAPIC_CLASS_ACT},
        {0x8500, VLAPIC_CLASS_LOCAL}, /* INIT de-assert */
        {0x608, VLAPIC_CLASS_ACT},    /* SIPI */
        {VLAPIC_ICR_TO_SELF | 0x400, VLAPIC_CLASS_LOCAL},
        {VLAPIC_ICR_TO_ALL | 0x400, VLAPIC_CLASS_LOCAL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(vlapic_write_class(&v, VLAPIC_ICR, rows[i].icr), rows[i].class);
        assert_int_equal(vlapic_write_class(&x2, VLAPIC_ICR, rows[i].icr), rows[i].class);
    }
}

static void test_ipi_to_self(void **state)
{
    struct vlapic v = xapic(), x2 = x2apic();

    (void)state;
    vlapic_write(&v, VLAPIC_ICR, VLAPIC_ICR_TO_SELF | VLAPIC_ICR_BUSY | 0x41, 0);
    assert_int_equal(vlapic_pending(&v), 0x41);
    assert_int_equal(vlapic_read(&v, VLAPIC_ICR, 0), VLAPIC_ICR_TO_SELF | 0x41);
    vlapic_write(&v, VLAPIC_ICR_HIGH, ID_UNDER_TEST << 24, 0);
    assert_int_equal(vlapic_write_class(&v, VLAPIC_ICR, 0x42), VLAPIC_CLASS_LOCAL);
    vlapic_write(&v, VLAPIC_ICR, 0x42, 0);
    assert_int_equal(vlapic_pending(&v), 0x42);
    vlapic_write(&v, VLAPIC_ICR_HIGH, 0xFF000000, 0);
    vlapic_write(&v, VLAPIC_ICR, 0x43, 0); /* an act: stored, sent by the caller */
    assert_int_equal(vlapic_pending(&v), 0x42);
    assert_true(vlapic_icr(&v) == UINT64_C(0xFF00000000000043));

    assert_int_equal(vlapic_write_class(&x2, VLAPIC_SELF_IPI, 0x44), VLAPIC_CLASS_LOCAL);
    vlapic_write(&x2, VLAPIC_SELF_IPI, 0x44, 0);
    assert_int_equal(vlapic_pending(&x2), 0x44);
    assert_int_equal(vlapic_write_class(&x2, VLAPIC_ICR, (uint64_t)ID_UNDER_TEST << 32 | 0x45),
                     VLAPIC_CLASS_LOCAL);
    vlapic_write(&x2, VLAPIC_ICR, (uint64_t)ID_UNDER_TEST << 32 | 0x45, 0);
    assert_int_equal(vlapic_pending(&x2), 0x45);
    vlapic_write(&x2, VLAPIC_SELF_IPI, 0x0F, 0);
    assert_int_equal(x2.esr_pending, VLAPIC_ESR_SEND_ILLEGAL);
}

/* What must hold of any state that a guest can make. */
static void check_invariants(const struct vlapic *v)
{
    assert_int_equal(v->reserved, 0);
    assert_int_equal(v->id, ID_UNDER_TEST);
    assert_int_equal(v->irr[0] & 0xFFFF, 0);
    assert_int_equal(v->isr[0] & 0xFFFF, 0);
    assert_true(v->tpr <= 0xFF && v->timer_divide <= 0xB);
    assert_true(vlapic_enabled(v) || !vlapic_x2apic(v));
    assert_true(vlapic_pending(v) < 256);
}

/* All registers, all one-bit values and some more, in all three modes: no fault slips through, no state
 * breaks. */
static void test_hostile_sweep(void **state)
{
    static const uint64_t values[] = {0, UINT64_MAX, 0xFFFFFFFF, 0x1FF, 0xFEE00800, 0xFEE00C00, 0xFEE00000};

    (void)state;
    for (uint32_t reg = 0; reg <= 0x200; reg++) {
        for (uint32_t i = 0; i < 64 + ARRAY_LEN(values); i++) {
            uint64_t value = i < 64 ? BIT(i) : values[i - 64];
            struct vlapic v = i & 1 ? x2apic() : xapic();

            for (int n = 0; n < 3; n++) {
                if (vlapic_write_class(&v, reg, value) != VLAPIC_CLASS_FAULT)
                    vlapic_write(&v, reg, value, UINT64_MAX - 5);
                if (vlapic_read_class(&v, reg) != VLAPIC_CLASS_FAULT)
                    vlapic_read(&v, reg, UINT64_MAX);
                vlapic_timer_fire(&v, UINT64_MAX);
                check_invariants(&v);
            }
        }
    }
}

/* Level-triggered vectors: TMR remembers, and their end is an act. */
static void test_level(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    vlapic_write(&v, VLAPIC_SVR, 0x1FF, 0);
    assert_int_equal(vlapic_in_service(&v), -1);
    vlapic_accept_level(&v, 0x61);
    assert_int_equal(vlapic_pending(&v), 0x61);
    vlapic_deliver(&v, 0x61);
    assert_int_equal(vlapic_in_service(&v), 0x61);
    assert_true(vlapic_is_level(&v, 0x61));
    assert_int_equal(vlapic_write_class(&v, VLAPIC_EOI, 0), VLAPIC_CLASS_ACT);
    vlapic_write(&v, VLAPIC_EOI, 0, 0);
    vlapic_accept(&v, 0x61); /* an edge of the same vector */
    vlapic_deliver(&v, 0x61);
    assert_false(vlapic_is_level(&v, 0x61));
    assert_int_equal(vlapic_write_class(&v, VLAPIC_EOI, 0), VLAPIC_CLASS_LOCAL);
    vlapic_accept_level(&v, 0x0F);
    assert_int_equal(v.esr_pending, VLAPIC_ESR_RECEIVE_ILLEGAL);
}

static void test_extint(void **state)
{
    struct vlapic v = xapic();

    (void)state;
    assert_false(vlapic_takes_extint(&v));
    vlapic_write(&v, VLAPIC_SVR, 0x1FF, 0);
    vlapic_write(&v, VLAPIC_LVT_LINT0, 0x700, 0);
    assert_true(vlapic_takes_extint(&v));
    vlapic_write(&v, VLAPIC_LVT_LINT0, 0x10700, 0);
    assert_false(vlapic_takes_extint(&v));
    vlapic_write(&v, VLAPIC_LVT_LINT0, 0x400, 0);
    assert_false(vlapic_takes_extint(&v));
    vlapic_write(&v, VLAPIC_APIC_BASE, VLAPIC_BASE_DEFAULT, 0); /* off: LINT0 is INTR */
    assert_true(vlapic_takes_extint(&v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_values),
        cmocka_unit_test(test_init_keeps_id_and_mode),
        cmocka_unit_test(test_mmio_decoding),
        cmocka_unit_test(test_msr_decoding),
        cmocka_unit_test(test_x2apic_access_table),
        cmocka_unit_test(test_x2apic_reserved_bits),
        cmocka_unit_test(test_apic_base_transitions),
        cmocka_unit_test(test_apic_base_effects),
        cmocka_unit_test(test_xapic_masks_and_ignores),
        cmocka_unit_test(test_error_status),
        cmocka_unit_test(test_error_vector_itself_illegal),
        cmocka_unit_test(test_software_disable),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_every_vector),
        cmocka_unit_test(test_level_eoi_is_an_act),
        cmocka_unit_test(test_ipi_classes),
        cmocka_unit_test(test_ipi_to_self),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_extint),
        cmocka_unit_test(test_hostile_sweep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
