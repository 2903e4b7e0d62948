/*
 * ACPI fixed hardware: the PM timer, PM1 event and control registers (ACPI 6.5, 4.8). Pure. The hardware is
 * always in ACPI mode: SCI_EN reads as 1, and there is no SMI command port.
 *
 * There are no buttons and no wake sources; of the event bits only the timer's is ever set.
 */
#ifndef RV_DRIVERS_VDEV_ACPI_PM_H
#define RV_DRIVERS_VDEV_ACPI_PM_H

#include "hv/base/types.h"

/* Offsets in the ACPI block (see platform.h): 600H to 60BH. */
#define VPM_EVENT   0u
#define VPM_CONTROL 4u
#define VPM_TIMER   8u
#define VPM_PORTS   12u

#define VPM_TIMER_BITS 24u

/* Guest state; reserved bytes are 0. */
struct vpm {
    uint64_t now; /* latest tick of the timer known */
    uint16_t status;
    uint16_t enable;
    uint16_t control;
    uint8_t reserved[2];
};

_Static_assert(sizeof(struct vpm) == 16, "struct vpm has no padding");

/* State at power-up. */
void vpm_reset(struct vpm *p);
/* Goes on to tick `now` of 3579545 Hz; an older one counts as the latest. */
void vpm_advance(struct vpm *p, uint64_t now);
/* The byte at `offset` (< VPM_PORTS). */
uint8_t vpm_read(const struct vpm *p, uint32_t offset);
/* Writes it; true: the guest switches itself off (SLP_EN with the type of S5). */
bool vpm_write(struct vpm *p, uint32_t offset, uint8_t value);
/* The level of the SCI. */
bool vpm_sci(const struct vpm *p);
/* The tick at which the SCI is asserted next, or UINT64_MAX. */
uint64_t vpm_next_sci(const struct vpm *p);

#endif
