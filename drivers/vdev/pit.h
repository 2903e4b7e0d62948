/*
 * An 8254 programmable interval timer and port 61H of a PC (Intel 8254 data sheet). Pure: nothing counts
 * here, everything is computed from the time, in ticks of the input clock (1193182 Hz).
 *
 * The gates of counters 0 and 1 are high; that of counter 2 is bit 0 of port 61H. Times are never before
 * those of earlier calls (an older one counts as the latest).
 *
 * Departures: a count takes effect with the write, not with the next input pulse.
 */
#ifndef RV_DRIVERS_VDEV_PIT_H
#define RV_DRIVERS_VDEV_PIT_H

#include "hv/base/types.h"

#define VPIT_COUNTERS 3u

/* Guest state of one counter; reserved bytes are 0. */
struct vpit_counter {
    uint64_t start;     /* tick at which the count began; while stopped: ticks that it had counted */
    uint64_t next_from; /* modes 2 and 3: when `next` takes over */
    uint32_t count;     /* 1..65536 */
    uint32_t next;      /* count written meanwhile; 0: none */
    uint16_t latch;     /* latched count, as it is read */
    uint8_t status;     /* latched status */
    uint8_t mode;       /* 0..5 */
    uint8_t access;     /* 1: low byte, 2: high byte, 3: low, then high */
    uint8_t bcd;
    uint8_t low;        /* the low byte, while the high one is awaited */
    uint8_t write_high; /* 1: the next write is the high byte */
    uint8_t read_high;  /* 1: the next read is the high byte */
    uint8_t latched;    /* count is latched: bytes left to read */
    uint8_t has_status; /* status is latched */
    uint8_t gate;
    uint8_t loaded;  /* 1: there is a count since the control word */
    uint8_t running; /* 1: it counts */
    uint8_t reserved[2];
};

_Static_assert(sizeof(struct vpit_counter) == 40, "struct vpit_counter has no padding");

struct vpit {
    struct vpit_counter counter[VPIT_COUNTERS];
    uint64_t now;    /* latest tick known */
    uint8_t speaker; /* port 61H bit 1 */
    uint8_t rose;    /* 1: counter 0's output has risen since vpit_take_edge() */
    uint8_t reserved[6];
};

_Static_assert(sizeof(struct vpit) == 136, "struct vpit has no padding");

/* State at power-up: no counter has a mode yet; their outputs are low. */
void vpit_reset(struct vpit *p);
/* Goes on to tick `now`. */
void vpit_advance(struct vpit *p, uint64_t now);
/* Registers 0 to 3 (40H to 43H), and port 61H, at the time of the last vpit_advance(). */
uint8_t vpit_read(struct vpit *p, uint32_t offset);
void vpit_write(struct vpit *p, uint32_t offset, uint8_t value);
uint8_t vpit_read_port_b(struct vpit *p);
void vpit_write_port_b(struct vpit *p, uint8_t value);
/* Counter 0's output (IRQ 0), and whether it has risen since the last call. */
bool vpit_output(const struct vpit *p);
bool vpit_take_edge(struct vpit *p);
/* The tick at which counter 0's output rises next, or UINT64_MAX. */
uint64_t vpit_next_edge(const struct vpit *p);

#endif
