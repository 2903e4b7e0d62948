/*
 * An I/O APIC with 24 inputs (Intel 82093AA data sheet; the EOI register of version 20H as in ICH data
 * sheets). Pure. What it sends is fetched message by message with vioapic_next(); whoever fetches routes it
 * to the local APICs.
 *
 * An edge at a masked input is lost, as the data sheet has it. Delivery status is always idle.
 */
#ifndef RV_DRIVERS_VDEV_IOAPIC_H
#define RV_DRIVERS_VDEV_IOAPIC_H

#include "drivers/vdev/platform.h"
#include "hv/base/types.h"

/* A redirection table entry (data sheet 3.2.4). */
#define VIOAPIC_VECTOR     UINT64_C(0xFF)
#define VIOAPIC_MODE_SHIFT 8
#define VIOAPIC_MODE       UINT64_C(0x700)
#define VIOAPIC_LOGICAL    BIT(11)
#define VIOAPIC_LOW        BIT(13) /* active low */
#define VIOAPIC_REMOTE_IRR BIT(14)
#define VIOAPIC_LEVEL      BIT(15)
#define VIOAPIC_MASKED     BIT(16)
#define VIOAPIC_DEST_SHIFT 56

/* Guest state. */
struct vioapic {
    uint64_t entry[VPLAT_IOAPIC_PINS];
    uint32_t id;     /* 0..15 */
    uint32_t select; /* IOREGSEL, 8 bits */
    uint32_t lines;  /* asserted inputs, whatever their polarity */
    uint32_t edges;  /* latched edges that have not been sent */
};

_Static_assert(sizeof(struct vioapic) == VPLAT_IOAPIC_PINS * 8 + 16, "struct vioapic has no padding");

struct vioapic_message {
    uint8_t vector;
    uint8_t mode; /* enum vlapic_mode as numbers: 0 fixed, 1 lowest priority, 4 NMI, 5 INIT ... */
    uint8_t dest;
    uint8_t logical; /* 1: `dest` is a set of logical IDs */
    uint8_t level;   /* 1: level-triggered, the end of the interrupt is awaited */
};

/* State at power-up; `id`: as firmware sets it. */
void vioapic_reset(struct vioapic *io, uint32_t id);
/* A 32-bit access at `offset` (< 4096) of its page: 0 IOREGSEL, 10H IOWIN, 40H EOI; others read 0. */
uint32_t vioapic_read(const struct vioapic *io, uint32_t offset);
void vioapic_write(struct vioapic *io, uint32_t offset, uint32_t value);
/* Input `pin` (0..23) is asserted or not: polarity is a matter of wiring, and none is inverted here. */
void vioapic_line(struct vioapic *io, uint32_t pin, bool asserted);
/* A local APIC has ended a level-triggered interrupt of `vector`. */
void vioapic_eoi(struct vioapic *io, uint8_t vector);
/* Takes the next message to send; false: there is none. Ends after at most one for each pin. */
bool vioapic_next(struct vioapic *io, struct vioapic_message *message);
/* Whether an edge or level at `pin` would be sent. */
bool vioapic_hears(const struct vioapic *io, uint32_t pin);

#endif
