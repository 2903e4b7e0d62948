/* The timer of the virtual local APIC. See lapic.h and lapic_timer.h. */
#include "drivers/vdev/lapic_timer.h"

static uint32_t timer_mode(const struct vlapic *v)
{
    return v->lvt_timer & VLAPIC_LVT_MODE;
}

/* Whether the timer counts down, that is one-shot or periodic; mode 11b is reserved and counts nothing. */
static bool counts(const struct vlapic *v)
{
    return timer_mode(v) == VLAPIC_LVT_MODE_ONESHOT || timer_mode(v) == VLAPIC_LVT_MODE_PERIODIC;
}

/* Ticks per count: bits 3, 1, 0 of the register are log2 of it, less one, modulo 8 (SDM 3A figure 11-10). */
static uint64_t divisor(uint32_t divide)
{
    uint32_t code = (divide & 3) | (divide >> 1 & 4);

    return UINT64_C(1) << ((code + 1) & 7);
}

static uint64_t period(const struct vlapic *v)
{
    return v->timer_initial * divisor(v->timer_divide);
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint32_t vlapic_timer_current(const struct vlapic *v, uint64_t now)
{
    uint64_t rate = divisor(v->timer_divide);
    uint64_t left;

    if (!counts(v) || v->deadline == 0)
        return 0;
    if (now < v->deadline) {
        left = v->deadline - now;
    } else if (timer_mode(v) == VLAPIC_LVT_MODE_PERIODIC && v->timer_initial != 0) {
        /* Due but not fired yet, as that waits for a chunk's begin: count as if it had been. */
        left = period(v) - (now - v->deadline) % period(v);
    } else {
        left = 0;
    }
    /* Rounded up; MIN: a guest time that went backwards must not show a count above the initial one. */
    return (uint32_t)MIN(left / rate + (left % rate != 0), v->timer_initial);
}

void vlapic_timer_write_initial(struct vlapic *v, uint32_t count, uint64_t now)
{
    if (timer_mode(v) == VLAPIC_LVT_MODE_DEADLINE)
        return;
    v->timer_initial = count;
    v->deadline = count != 0 && counts(v) ? add_saturating(now, period(v)) : 0;
}

void vlapic_timer_write_divide(struct vlapic *v, uint32_t divide, uint64_t now)
{
    uint64_t left = vlapic_timer_current(v, now);

    v->timer_divide = divide;
    if (left != 0)
        v->deadline = add_saturating(now, left * divisor(divide));
}

void vlapic_timer_write_deadline(struct vlapic *v, uint64_t deadline)
{
    if (timer_mode(v) == VLAPIC_LVT_MODE_DEADLINE)
        v->deadline = deadline;
}

void vlapic_timer_mode_change(struct vlapic *v, uint32_t mode)
{
    bool was_counting = counts(v);
    bool will_count = mode == VLAPIC_LVT_MODE_ONESHOT || mode == VLAPIC_LVT_MODE_PERIODIC;

    if (mode != timer_mode(v) && !(was_counting && will_count))
        v->deadline = 0;
}

void vlapic_timer_fire(struct vlapic *v, uint64_t now)
{
    uint64_t passed;

    if (!vlapic_timer_due(v, now))
        return;
    if (timer_mode(v) == VLAPIC_LVT_MODE_PERIODIC && v->timer_initial != 0) {
        passed = now - v->deadline;
        v->deadline = add_saturating(now, period(v) - passed % period(v));
    } else {
        v->deadline = 0;
    }
    if (!(v->lvt_timer & VLAPIC_LVT_MASKED))
        vlapic_accept(v, (uint8_t)(v->lvt_timer & VLAPIC_LVT_VECTOR));
}
