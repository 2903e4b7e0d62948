/*
 * The pair of 8259A interrupt controllers of a PC, with edge/level control (Intel 8259A data sheet; 82371AB
 * data sheet 4.2.5). Pure. The slave's output is input 2 of the master.
 *
 * Departures: an edge stays latched until it is acknowledged, even if the line drops before; MCS-80 mode and
 * buffered mode have no effect. At power-up everything is masked, and the pair raises nothing before it has
 * been initialised.
 */
#ifndef RV_DRIVERS_VDEV_PIC_H
#define RV_DRIVERS_VDEV_PIC_H

#include "hv/base/types.h"

#define VPIC_IRQS 16u

/* One chip. Guest state. */
struct vpic_chip {
    uint8_t irr;
    uint8_t isr;
    uint8_t imr;
    uint8_t lines;        /* levels of the inputs */
    uint8_t elcr;         /* level-triggered inputs */
    uint8_t base;         /* ICW2, bits 7:3 */
    uint8_t next_icw;     /* the initialisation word that the data port takes next: 2, 3, 4; 0: none */
    uint8_t icw1;         /* its bits 1:0: single, ICW4 needed */
    uint8_t ready;        /* 1: has been initialised */
    uint8_t auto_eoi;     /* ICW4.AEOI */
    uint8_t nested;       /* ICW4.SFNM: special fully nested mode */
    uint8_t rotate_aeoi;  /* OCW2: rotate in automatic EOI mode */
    uint8_t special_mask; /* OCW3.SMM */
    uint8_t read_isr;     /* OCW3: reads give ISR, not IRR */
    uint8_t poll;         /* OCW3.P: the next read is a poll */
    uint8_t lowest;       /* input of lowest priority */
};

_Static_assert(sizeof(struct vpic_chip) == 16, "struct vpic_chip has no padding");

struct vpic {
    struct vpic_chip chip[2]; /* master, slave */
};

/* State at power-up. */
void vpic_reset(struct vpic *p);
/* Registers: chip 0 or 1; `data`: the odd port. A read may be a poll, which acknowledges. */
uint8_t vpic_read(struct vpic *p, uint32_t chip, bool data);
void vpic_write(struct vpic *p, uint32_t chip, bool data, uint8_t value);
/* The edge/level control register of chip 0 or 1; IRQ 0, 1, 2, 8 and 13 are always edges. */
uint8_t vpic_read_elcr(const struct vpic *p, uint32_t chip);
void vpic_write_elcr(struct vpic *p, uint32_t chip, uint8_t value);
/* The level of input `irq` (0..15 but 2). */
void vpic_line(struct vpic *p, uint32_t irq, bool level);
/* The INTR output. */
bool vpic_intr(const struct vpic *p);
/* What the processor would get from an interrupt acknowledge cycle; changes nothing. */
uint8_t vpic_peek(const struct vpic *p);
/* An interrupt acknowledge cycle: the vector, input 7's (spurious) where nothing is requested any more. */
uint8_t vpic_acknowledge(struct vpic *p);
/* Whether an edge at `irq` would change what the processor sees: not masked, and none is latched already. */
bool vpic_hears(const struct vpic *p, uint32_t irq);

#endif
