/* ACPI fixed hardware. See acpi_pm.h. */
#include "drivers/vdev/acpi_pm.h"

#include "drivers/vdev/platform.h"

#include <string.h>

/* PM1 status and enable (ACPI 6.5, tables 4.13, 4.14), and control (table 4.15). */
#define TIMER_EVENT   UINT16_C(0x0001)
#define STATUS_BITS   UINT16_C(0x8731) /* write 1 to clear */
#define ENABLE_BITS   UINT16_C(0x0721)
#define CONTROL_SCI   UINT16_C(0x0001)
#define CONTROL_BITS  UINT16_C(0x1C02) /* SLP_TYP, BM_RLD */
#define CONTROL_SLEEP UINT16_C(0x2000) /* SLP_EN: write-only */
#define SLP_TYP_SHIFT 10

/* TMR_STS is set whenever the timer's highest bit changes (ACPI 6.5, 4.8.3.1.1). */
#define HALF_ROUND (UINT64_C(1) << (VPM_TIMER_BITS - 1))

void vpm_reset(struct vpm *p)
{
    memset(p, 0, sizeof(*p));
    p->control = CONTROL_SCI;
}

void vpm_advance(struct vpm *p, uint64_t now)
{
    if (now <= p->now)
        return;
    if (p->now / HALF_ROUND != now / HALF_ROUND)
        p->status |= TIMER_EVENT;
    p->now = now;
}

static uint32_t read_register(const struct vpm *p, uint32_t offset)
{
    if (offset >= VPM_TIMER)
        return (uint32_t)p->now & ((UINT32_C(1) << VPM_TIMER_BITS) - 1);
    if (offset >= VPM_CONTROL)
        return p->control;
    return p->status | (uint32_t)p->enable << 16;
}

uint8_t vpm_read(const struct vpm *p, uint32_t offset)
{
    return (uint8_t)(read_register(p, offset) >> 8 * (offset % 4));
}

static uint16_t with_byte(uint16_t word, uint32_t offset, uint8_t value)
{
    uint32_t shift = 8 * (offset % 2);

    return (uint16_t)((word & ~(0xFFu << shift)) | (uint32_t)value << shift);
}

bool vpm_write(struct vpm *p, uint32_t offset, uint8_t value)
{
    uint16_t control;

    if (offset < VPM_EVENT + 2) {
        p->status &= (uint16_t) ~(with_byte(0, offset, value) & STATUS_BITS);
    } else if (offset < VPM_CONTROL) {
        p->enable = with_byte(p->enable, offset, value) & ENABLE_BITS;
    } else if (offset < VPM_CONTROL + 2) {
        control = with_byte(p->control, offset, value);
        p->control = (control & CONTROL_BITS) | CONTROL_SCI;
        return (control & CONTROL_SLEEP) && (control >> SLP_TYP_SHIFT & 7) == VPLAT_SLP_TYP_S5;
    }
    return false; /* the timer is read-only */
}

bool vpm_sci(const struct vpm *p)
{
    return (p->status & p->enable) != 0;
}

uint64_t vpm_next_sci(const struct vpm *p)
{
    if (vpm_sci(p) || !(p->enable & TIMER_EVENT))
        return UINT64_MAX;
    return (p->now / HALF_ROUND + 1) * HALF_ROUND;
}
