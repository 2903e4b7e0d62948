/* The timer half of the virtual local APIC (SDM 3A 11.5.4), for lapic.c; others use lapic.h. */
#ifndef RV_DRIVERS_VDEV_LAPIC_TIMER_H
#define RV_DRIVERS_VDEV_LAPIC_TIMER_H

#include "drivers/vdev/lapic.h"

/* The current count register at `now`. */
uint32_t vlapic_timer_current(const struct vlapic *v, uint64_t now);
/* A write of the initial count: starts the count, 0 stops it; ignored in TSC-deadline mode. */
void vlapic_timer_write_initial(struct vlapic *v, uint32_t count, uint64_t now);
/* A write of the divide configuration: the counts that are left go on at the new rate. */
void vlapic_timer_write_divide(struct vlapic *v, uint32_t divide, uint64_t now);
/* A write of IA32_TSC_DEADLINE: arms, 0 disarms; ignored in the other modes. */
void vlapic_timer_write_deadline(struct vlapic *v, uint64_t deadline);
/* The LVT entry is about to change its mode bits to `mode`: all but one-shot <-> periodic disarms. */
void vlapic_timer_mode_change(struct vlapic *v, uint32_t mode);

#endif
