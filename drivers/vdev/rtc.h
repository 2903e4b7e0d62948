/*
 * The MC146818 real-time clock and its 128 bytes of memory (Motorola data sheet), as a PC has it: 32768 Hz
 * time base, IRQ 8, century in byte 32H. Pure: it is computed from the time, in ticks of 32768 Hz.
 *
 * Times are never before those of earlier calls (an older one counts as the latest). The divider cannot be
 * stopped or reset: its bits in register A are stored. Daylight saving is stored.
 */
#ifndef RV_DRIVERS_VDEV_RTC_H
#define RV_DRIVERS_VDEV_RTC_H

#include "hv/base/types.h"

#define VRTC_HZ    UINT32_C(32768)
#define VRTC_BYTES 128u

/* Guest state; reserved bytes are 0. */
struct vrtc {
    uint64_t now;    /* latest tick known */
    uint64_t offset; /* the clock shows (now + offset) / 32768 seconds since 1970 */
    uint8_t index;   /* of the byte at the data port */
    uint8_t reserved[7];
    uint8_t bytes[VRTC_BYTES]; /* time and date only count while the clock is being set */
};

_Static_assert(sizeof(struct vrtc) == 152, "struct vrtc has no padding");

/* State at power-up, with `memory_bytes` of memory noted where firmware notes it; the clock shows 1970. */
void vrtc_reset(struct vrtc *r, uint64_t memory_bytes);
/* What the battery has kept: it is `seconds` since 1970 at tick `now`. */
void vrtc_set(struct vrtc *r, uint64_t seconds, uint64_t now);
/* Goes on to tick `now`. */
void vrtc_advance(struct vrtc *r, uint64_t now);
/* The ports, at the time of the last vrtc_advance(). The index port cannot be read. */
void vrtc_select(struct vrtc *r, uint8_t index);
uint8_t vrtc_read(struct vrtc *r);
void vrtc_write(struct vrtc *r, uint8_t value);
/* The level of its interrupt line. */
bool vrtc_irq(const struct vrtc *r);
/* The tick at which the line is asserted next, or UINT64_MAX. */
uint64_t vrtc_next_irq(const struct vrtc *r);

/* A date of the Gregorian calendar. */
struct vrtc_date {
    uint32_t year; /* 1970.. */
    uint32_t month, day, hour, minute, second;
};

/* Conversions; a date that does not exist counts on from the month's begin. */
uint64_t vrtc_seconds(const struct vrtc_date *date);
struct vrtc_date vrtc_date(uint64_t seconds);

#endif
