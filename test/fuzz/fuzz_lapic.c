/*
 * Three virtual APICs under any sequence of accesses, IPIs, messages of an I/O APIC and time: the state stays
 * one that the manual allows, reads and LOCAL writes of one change no other, and the same input gives the
 * same bytes again.
 */
#include <string.h>

#include "drivers/vdev/lapic.h"
#include "hv/base/check.h"

#define APICS 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    WRITE_REG,
    WRITE_MSR,
    WRITE_MMIO,
    READ_REG,
    ACCEPT,
    DELIVER,
    FIRE,
    CR8,
    INIT,
    LEVEL,
    BUS,
    ACTIONS
};

struct step {
    uint8_t action;
    uint8_t vcpu;
    uint16_t reg;
    uint32_t delay; /* guest ticks since the step before */
    uint64_t value;
};

_Static_assert(sizeof(struct step) == 16, "steps are read as bytes");

struct machine {
    struct vlapic apic[APICS];
    struct vlapic_dest dest[APICS];
    uint64_t now;
};

static void check_apic(const struct vlapic *v, uint32_t id)
{
    HV_CHECK(v->id == id && v->reserved == 0);
    HV_CHECK(vlapic_enabled(v) || !vlapic_x2apic(v));
    HV_CHECK((v->irr[0] & 0xFFFF) == 0 && (v->isr[0] & 0xFFFF) == 0);
    HV_CHECK(v->tpr <= 0xFF && (v->timer_divide & ~0xBu) == 0 && !(v->icr & VLAPIC_ICR_BUSY));
    HV_CHECK((v->svr & VLAPIC_SVR_ENABLE) || (v->lvt_timer & VLAPIC_LVT_MASKED));
    HV_CHECK(vlapic_page(v) == UINT64_MAX || vlapic_page(v) % PAGE_SIZE == 0);
    HV_CHECK(vlapic_pending(v) < 0 || (uint32_t)vlapic_pending(v) >> 4 > vlapic_ppr(v) >> 4);
}

static void apply_targets(struct machine *m, struct vlapic_targets t, bool level)
{
    HV_CHECK(t.targets >> APICS == 0);
    for (uint32_t i = 0; i < APICS; i++) {
        if (!(t.targets >> i & 1))
            continue;
        HV_CHECK(t.mode == VLAPIC_FIXED || (t.mode >= VLAPIC_NMI && t.mode <= VLAPIC_SIPI));
        if (t.mode == VLAPIC_FIXED && level)
            vlapic_accept_level(&m->apic[i], t.vector);
        else if (t.mode == VLAPIC_FIXED)
            vlapic_accept(&m->apic[i], t.vector);
        else if (t.mode == VLAPIC_INIT)
            vlapic_init_reset(&m->apic[i]);
    }
}

static void apply_ipi(struct machine *m, uint32_t source)
{
    apply_targets(m, vlapic_route(m->dest, APICS, source, vlapic_icr(&m->apic[source])), false);
}

/* The end of a level is an act, that of an edge is not; no processor's own mode comes from the bus. */
static void apply_message(struct machine *m, const struct step *s)
{
    struct vlapic_targets t = vlapic_route_bus(m->dest, APICS, s->value);

    HV_CHECK(!t.targets || t.mode != VLAPIC_SIPI);
    apply_targets(m, t, s->reg & 1);
    for (uint32_t i = 0; i < APICS; i++) {
        int vector = vlapic_in_service(&m->apic[i]);
        bool act = vlapic_write_class(&m->apic[i], VLAPIC_EOI, 0) == VLAPIC_CLASS_ACT;
        HV_CHECK(act == (vector >= 0 && vlapic_is_level(&m->apic[i], (uint8_t)vector)));
    }
}

static void write_reg(struct machine *m, uint32_t vcpu, uint32_t reg, uint64_t value)
{
    struct vlapic *v = &m->apic[vcpu];
    enum vlapic_class class = vlapic_write_class(v, reg, value);
    struct vlapic_dest before = vlapic_dest(v), after;

    if (class == VLAPIC_CLASS_FAULT)
        return;
    vlapic_write(v, reg, value, m->now);
    after = vlapic_dest(v);
    /* What others see changes by acts only. */
    HV_CHECK(class == VLAPIC_CLASS_ACT || memcmp(&before, &after, sizeof(after)) == 0);
    if (class == VLAPIC_CLASS_ACT && reg == VLAPIC_ICR)
        apply_ipi(m, vcpu);
}

static void read_reg(struct machine *m, uint32_t vcpu, uint32_t reg)
{
    struct vlapic *v = &m->apic[vcpu];
    struct vlapic copy = *v;

    if (vlapic_read_class(v, reg) == VLAPIC_CLASS_FAULT)
        return;
    HV_CHECK(vlapic_read(v, reg, m->now) == vlapic_read(&copy, reg, m->now));
    if (!vlapic_uses_time(v, reg, false))
        HV_CHECK(vlapic_read(&copy, reg, m->now) == vlapic_read(&copy, reg, ~m->now));
}

static void fire(struct vlapic *v, uint64_t now)
{
    vlapic_timer_fire(v, now);
    HV_CHECK(!vlapic_timer_due(v, now) || v->deadline == UINT64_MAX);
}

static void do_step(struct machine *m, const struct step *s)
{
    uint32_t vcpu = s->vcpu % APICS;
    struct vlapic *v = &m->apic[vcpu];

    m->now += s->delay;
    switch (s->action % ACTIONS) {
    case WRITE_REG:
        write_reg(m, vcpu, s->reg, s->value);
        break;
    case WRITE_MSR:
        write_reg(m, vcpu, vlapic_msr_reg(v, s->reg), s->value);
        break;
    case WRITE_MMIO:
        if (vlapic_page(v) != UINT64_MAX)
            write_reg(m, vcpu, vlapic_mmio_reg(s->reg, 4), (uint32_t)s->value);
        break;
    case READ_REG:
        read_reg(m, vcpu, s->reg);
        break;
    case ACCEPT:
        vlapic_accept(v, (uint8_t)s->value);
        break;
    case DELIVER:
        if (vlapic_pending(v) >= 0)
            vlapic_deliver(v, (uint8_t)vlapic_pending(v));
        break;
    case FIRE:
        fire(v, m->now);
        break;
    case CR8:
        vlapic_set_cr8(v, s->value & 15);
        HV_CHECK(vlapic_cr8(v) == (s->value & 15));
        break;
    case LEVEL:
        vlapic_accept_level(v, (uint8_t)s->value);
        break;
    case BUS:
        apply_message(m, s);
        break;
    default:
        vlapic_init_reset(v);
        break;
    }
    for (uint32_t i = 0; i < APICS; i++) {
        m->dest[i] = vlapic_dest(&m->apic[i]);
        check_apic(&m->apic[i], i);
    }
}

static void run(struct machine *m, const uint8_t *data, size_t size)
{
    struct step s;

    memset(m, 0, sizeof(*m));
    for (uint32_t i = 0; i < APICS; i++) {
        vlapic_reset(&m->apic[i], i, i == 0);
        m->dest[i] = vlapic_dest(&m->apic[i]);
    }
    for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
        memcpy(&s, data, sizeof(s));
        do_step(m, &s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine first, second;

    run(&first, data, size);
    run(&second, data, size);
    HV_CHECK(memcmp(&first, &second, sizeof(first)) == 0);
    return 0;
}
