/* The interrupt half of the virtual local APIC: IRR, ISR, priorities, and the way of IPIs. See lapic.h. */
#include "drivers/vdev/lapic.h"

#define PRIORITY_CLASS UINT32_C(0xF0)

#define DFR_MODEL_SHIFT 28
#define DFR_FLAT        UINT32_C(0xF)

#define XAPIC_BROADCAST  UINT32_C(0xFF)
#define X2APIC_BROADCAST UINT32_C(0xFFFFFFFF)

/* The highest vector in a 256-bit register, or -1. */
static int highest(const uint32_t bits[8])
{
    for (int i = 7; i >= 0; i--) {
        if (bits[i] != 0)
            return i * 32 + 31 - __builtin_clz(bits[i]);
    }
    return -1;
}

static void set_bit(uint32_t bits[8], uint8_t vector)
{
    bits[vector / 32] |= UINT32_C(1) << vector % 32;
}

static void clear_bit(uint32_t bits[8], uint8_t vector)
{
    bits[vector / 32] &= ~(UINT32_C(1) << vector % 32);
}

void vlapic_error(struct vlapic *v, uint32_t errors)
{
    bool first = v->esr_pending == 0;

    v->esr_pending |= errors;
    /* One interrupt until ESR is written; this also ends the recursion where the LVT's vector is illegal. */
    if (first && !(v->lvt_error & VLAPIC_LVT_MASKED))
        vlapic_accept(v, (uint8_t)(v->lvt_error & VLAPIC_LVT_VECTOR));
}

/* Whether a vector arrives; one that is illegal is an error. */
static bool accepts(struct vlapic *v, uint8_t vector)
{
    if (!vlapic_enabled(v) || !(v->svr & VLAPIC_SVR_ENABLE))
        return false;
    if (vector >= VLAPIC_FIRST_VECTOR)
        return true;
    vlapic_error(v, VLAPIC_ESR_RECEIVE_ILLEGAL);
    return false;
}

void vlapic_accept(struct vlapic *v, uint8_t vector)
{
    if (!accepts(v, vector))
        return;
    set_bit(v->irr, vector);
    clear_bit(v->tmr, vector);
}

void vlapic_accept_level(struct vlapic *v, uint8_t vector)
{
    if (!accepts(v, vector))
        return;
    set_bit(v->irr, vector);
    set_bit(v->tmr, vector);
}

int vlapic_in_service(const struct vlapic *v)
{
    return highest(v->isr);
}

bool vlapic_is_level(const struct vlapic *v, uint8_t vector)
{
    return v->tmr[vector / 32] >> vector % 32 & 1;
}

bool vlapic_takes_extint(const struct vlapic *v)
{
    uint32_t mode = v->lvt_lint0 >> VLAPIC_ICR_MODE_SHIFT & VLAPIC_ICR_MODE_MASK;

    if (!vlapic_enabled(v))
        return true;
    return mode == VLAPIC_EXTINT && !(v->lvt_lint0 & VLAPIC_LVT_MASKED);
}

uint32_t vlapic_ppr(const struct vlapic *v)
{
    int top = highest(v->isr);
    uint32_t in_service = top < 0 ? 0 : (uint32_t)top & PRIORITY_CLASS;

    return (v->tpr & PRIORITY_CLASS) >= in_service ? v->tpr : in_service;
}

int vlapic_pending(const struct vlapic *v)
{
    int vector = highest(v->irr);

    /* Disabled by software is no obstacle: what is in IRR stays to be handled (SDM 3A 11.4.7.2). */
    if (vector < 0 || !vlapic_enabled(v))
        return -1;
    return ((uint32_t)vector & PRIORITY_CLASS) > (vlapic_ppr(v) & PRIORITY_CLASS) ? vector : -1;
}

void vlapic_deliver(struct vlapic *v, uint8_t vector)
{
    clear_bit(v->irr, vector);
    set_bit(v->isr, vector);
}

void vlapic_eoi(struct vlapic *v)
{
    int vector = highest(v->isr);

    if (vector >= 0)
        clear_bit(v->isr, (uint8_t)vector);
}

struct vlapic_dest vlapic_dest(const struct vlapic *v)
{
    struct vlapic_dest d = {.id = v->id, .ldr = v->ldr, .dfr = v->dfr};

    d.flags |= vlapic_enabled(v) ? VLAPIC_DEST_PRESENT : 0;
    d.flags |= v->svr & VLAPIC_SVR_ENABLE ? VLAPIC_DEST_ENABLED : 0;
    d.flags |= vlapic_x2apic(v) ? VLAPIC_DEST_X2APIC : 0;
    return d;
}

static uint32_t icr_mode(uint64_t icr)
{
    return icr >> VLAPIC_ICR_MODE_SHIFT & VLAPIC_ICR_MODE_MASK;
}

bool vlapic_icr_sends(uint64_t icr)
{
    uint64_t shorthand = icr & VLAPIC_ICR_SHORTHAND_MASK;

    switch (icr_mode(icr)) {
    case VLAPIC_FIXED:
        return (icr & VLAPIC_ICR_VECTOR) >= VLAPIC_FIRST_VECTOR;
    case VLAPIC_LOWEST:
        if ((icr & VLAPIC_ICR_VECTOR) < VLAPIC_FIRST_VECTOR)
            return false;
        break;
    case VLAPIC_INIT:
        if ((icr & VLAPIC_ICR_LEVEL) && !(icr & VLAPIC_ICR_ASSERT))
            return false; /* the de-assert that only the Pentium knew */
        break;
    case VLAPIC_NMI:
    case VLAPIC_SIPI:
        break;
    default:
        return false;
    }
    /* Only fixed interrupts reach the sender by shorthand (SDM 3A table 11-3). */
    return shorthand == 0 || shorthand == VLAPIC_ICR_TO_OTHERS;
}

static bool logical_match(const struct vlapic_dest *d, uint32_t dest)
{
    uint32_t mine = d->ldr >> 24;

    if (d->flags & VLAPIC_DEST_X2APIC)
        return dest >> 16 == d->ldr >> 16 && (dest & d->ldr & 0xFFFF) != 0;
    if (dest > XAPIC_BROADCAST)
        return false;
    if (d->dfr >> DFR_MODEL_SHIFT == DFR_FLAT)
        return (mine & dest) != 0;
    return mine >> 4 == dest >> 4 && (mine & dest & 15) != 0;
}

/* Whether destination field and mode of `icr`, sent by an APIC of `sender`'s kind, name `d`. */
static bool dest_match(const struct vlapic_dest *d, const struct vlapic_dest *sender, uint64_t icr)
{
    bool x2 = sender->flags & VLAPIC_DEST_X2APIC;
    uint32_t dest = x2 ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56);

    if (dest == (x2 ? X2APIC_BROADCAST : XAPIC_BROADCAST))
        return true;
    return icr & VLAPIC_ICR_LOGICAL ? logical_match(d, dest) : dest == d->id;
}

/* Whether `d` is meant by the `icr` of `sender` and takes a message of its mode. */
static bool is_target(const struct vlapic_dest *d, const struct vlapic_dest *sender, uint64_t icr)
{
    bool vectored = icr_mode(icr) == VLAPIC_FIXED || icr_mode(icr) == VLAPIC_LOWEST;

    if (!(d->flags & VLAPIC_DEST_PRESENT) || (vectored && !(d->flags & VLAPIC_DEST_ENABLED)))
        return false;
    switch (icr & VLAPIC_ICR_SHORTHAND_MASK) {
    case VLAPIC_ICR_TO_SELF:
        return d == sender;
    case VLAPIC_ICR_TO_ALL:
        return true;
    case VLAPIC_ICR_TO_OTHERS:
        return d != sender;
    default:
        return dest_match(d, sender, icr);
    }
}

static struct vlapic_targets route(const struct vlapic_dest *dests, uint32_t n,
                                   const struct vlapic_dest *sender, uint64_t icr)
{
    struct vlapic_targets out = {.mode = (uint8_t)icr_mode(icr), .vector = (uint8_t)icr};

    if (out.mode == VLAPIC_LOWEST)
        out.mode = VLAPIC_FIXED;
    if (n > 32 || !vlapic_icr_sends(icr))
        return out;
    for (uint32_t i = 0; i < n; i++) {
        if (is_target(&dests[i], sender, icr))
            out.targets |= UINT32_C(1) << i;
    }
    if (icr_mode(icr) == VLAPIC_LOWEST)
        out.targets &= -out.targets;
    return out;
}

struct vlapic_targets vlapic_route(const struct vlapic_dest *dests, uint32_t n, uint32_t source, uint64_t icr)
{
    if (source >= n)
        return (struct vlapic_targets){0};
    return route(dests, n, &dests[source], icr);
}

struct vlapic_targets vlapic_route_bus(const struct vlapic_dest *dests, uint32_t n, uint64_t icr)
{
    static const struct vlapic_dest bus = {0};

    if (icr_mode(icr) == VLAPIC_SIPI)
        return (struct vlapic_targets){0};
    return route(dests, n, &bus, icr & ~VLAPIC_ICR_SHORTHAND_MASK);
}
