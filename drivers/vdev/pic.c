/* The 8259A pair. See pic.h. */
#include "drivers/vdev/pic.h"

#include <string.h>

#define MASTER     0u
#define SLAVE      1u
#define CASCADE    2u /* the master's input from the slave */
#define SPURIOUS   7u /* input of which the vector is given where none is requested */
#define NO_REQUEST 8u

/* ICW1, ICW4, OCW2, OCW3 (data sheet, figures 7 and 8). */
#define ICW1         UINT8_C(0x10)
#define ICW1_IC4     UINT8_C(0x01)
#define ICW1_SINGLE  UINT8_C(0x02)
#define ICW2_BASE    UINT8_C(0xF8)
#define ICW4_AEOI    UINT8_C(0x02)
#define ICW4_SFNM    UINT8_C(0x10)
#define OCW3         UINT8_C(0x08)
#define OCW3_RIS     UINT8_C(0x01)
#define OCW3_RR      UINT8_C(0x02)
#define OCW3_POLL    UINT8_C(0x04)
#define OCW3_SMM     UINT8_C(0x20)
#define OCW3_ESMM    UINT8_C(0x40)
#define OCW2_SHIFT   5
#define POLL_REQUEST UINT8_C(0x80)

/* The upper three bits of OCW2: rotate, specific, EOI. */
enum ocw2 {
    ROTATE_AEOI_CLEAR = 0,
    EOI = 1,
    SPECIFIC_EOI = 3,
    ROTATE_AEOI_SET = 4,
    ROTATE_EOI = 5,
    SET_PRIORITY = 6,
    ROTATE_SPECIFIC_EOI = 7,
};

/* Inputs that cannot be level-triggered: timer, keyboard, cascade; RTC, coprocessor. */
static const uint8_t elcr_bits[2] = {0xF8, 0xDE};

void vpic_reset(struct vpic *p)
{
    memset(p, 0, sizeof(*p));
    for (uint32_t i = 0; i < ARRAY_LEN(p->chip); i++) {
        p->chip[i].imr = UINT8_MAX;
        p->chip[i].lowest = 7;
    }
}

/* The highest priority bit of `bits`, or NO_REQUEST. Priorities begin after the lowest one. */
static uint32_t first(const struct vpic_chip *c, uint8_t bits)
{
    for (uint32_t i = 1; i <= 8; i++) {
        uint32_t input = (c->lowest + i) & 7;
        if (bits >> input & 1)
            return input;
    }
    return NO_REQUEST;
}

/* 0: highest. */
static uint32_t rank(const struct vpic_chip *c, uint32_t input)
{
    return input == NO_REQUEST ? NO_REQUEST : (input - c->lowest - 1) & 7;
}

/* The input that the chip requests for: unmasked, above what is in service; or NO_REQUEST. */
static uint32_t request(const struct vpic_chip *c, bool master)
{
    uint8_t in_service = c->isr;
    uint32_t input = first(c, (uint8_t)(c->irr & ~c->imr));
    bool again;

    if (!c->ready || c->next_icw)
        return NO_REQUEST;
    /* In special mask mode a masked input in service holds nothing back, others only themselves. */
    if (c->special_mask)
        in_service &= (uint8_t)~c->imr;
    /* Special fully nested: the slave may request again while its input is in service. */
    again = master && c->nested && input == CASCADE;
    if (rank(c, input) < rank(c, first(c, in_service)))
        return input;
    return again && rank(c, input) == rank(c, first(c, in_service)) ? input : NO_REQUEST;
}

static void set_line(struct vpic_chip *c, uint32_t input, bool level)
{
    uint8_t bit = (uint8_t)(1u << input);
    bool rises = level && !(c->lines & bit);

    c->lines = level ? c->lines | bit : c->lines & (uint8_t)~bit;
    if (c->elcr & bit)
        c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
    else if (rises)
        c->irr |= bit;
}

/* The slave's output is a level that the master follows. */
static void cascade(struct vpic *p)
{
    struct vpic_chip *master = &p->chip[MASTER];
    bool level = request(&p->chip[SLAVE], false) != NO_REQUEST;

    master->lines = level ? master->lines | 1u << CASCADE : master->lines & (uint8_t) ~(1u << CASCADE);
    master->irr = level ? master->irr | 1u << CASCADE : master->irr & (uint8_t) ~(1u << CASCADE);
}

void vpic_line(struct vpic *p, uint32_t irq, bool level)
{
    if (irq >= VPIC_IRQS || irq == CASCADE)
        return;
    set_line(&p->chip[irq / 8], irq % 8, level);
    cascade(p);
}

/* `input` goes into service; a level that is still there requests again. */
static void take(struct vpic_chip *c, uint32_t input)
{
    uint8_t bit = (uint8_t)(1u << input);

    if (!(c->elcr & bit))
        c->irr &= (uint8_t)~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_aeoi)
        c->lowest = (uint8_t)input;
}

bool vpic_intr(const struct vpic *p)
{
    return request(&p->chip[MASTER], true) != NO_REQUEST;
}

uint8_t vpic_acknowledge(struct vpic *p)
{
    struct vpic_chip *master = &p->chip[MASTER], *slave = &p->chip[SLAVE];
    uint32_t input = request(master, true);

    if (input == NO_REQUEST)
        return master->base | SPURIOUS;
    take(master, input);
    if (input != CASCADE)
        return (uint8_t)(master->base | input);
    input = request(slave, false);
    if (input != NO_REQUEST)
        take(slave, input);
    cascade(p);
    return (uint8_t)(slave->base | (input == NO_REQUEST ? SPURIOUS : input));
}

uint8_t vpic_peek(const struct vpic *p)
{
    struct vpic copy = *p;

    return vpic_acknowledge(&copy);
}

bool vpic_hears(const struct vpic *p, uint32_t irq)
{
    const struct vpic_chip *c = &p->chip[irq / 8 & 1];
    uint8_t bit = (uint8_t)(1u << irq % 8);

    return c->ready && !((c->imr | c->irr) & bit);
}

static uint8_t poll(struct vpic *p, uint32_t chip)
{
    struct vpic_chip *c = &p->chip[chip];
    uint32_t input = request(c, chip == MASTER);

    c->poll = 0;
    if (input == NO_REQUEST)
        return 0;
    take(c, input);
    cascade(p);
    return (uint8_t)(POLL_REQUEST | input);
}

uint8_t vpic_read(struct vpic *p, uint32_t chip, bool data)
{
    const struct vpic_chip *c = &p->chip[chip & 1];

    if (c->poll)
        return poll(p, chip & 1);
    if (data)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static void begin_initialisation(struct vpic_chip *c, uint8_t icw1)
{
    uint8_t levels = c->lines & c->elcr;

    /* Edge sense is cleared, the mask too, input 7 gets the lowest priority (data sheet, ICW1). */
    *c = (struct vpic_chip){.lines = c->lines,
                            .elcr = c->elcr,
                            .base = c->base,
                            .irr = levels,
                            .lowest = 7,
                            .next_icw = 2,
                            .ready = 1,
                            .icw1 = icw1 & (ICW1_IC4 | ICW1_SINGLE)};
}

static void take_icw(struct vpic_chip *c, uint8_t value)
{
    bool icw4 = c->icw1 & ICW1_IC4;

    if (c->next_icw == 2) {
        c->base = value & ICW2_BASE;
        c->next_icw = c->icw1 & ICW1_SINGLE ? (icw4 ? 4 : 0) : 3;
    } else if (c->next_icw == 3) { /* the cascade is wired: nothing to learn */
        c->next_icw = icw4 ? 4 : 0;
    } else {
        c->auto_eoi = (value & ICW4_AEOI) != 0;
        c->nested = (value & ICW4_SFNM) != 0;
        c->next_icw = 0;
    }
}

static void end_of_interrupt(struct vpic_chip *c, uint32_t input, bool rotate)
{
    if (input == NO_REQUEST)
        return;
    c->isr &= (uint8_t) ~(1u << input);
    if (rotate)
        c->lowest = (uint8_t)input;
}

static void write_ocw2(struct vpic_chip *c, uint8_t value)
{
    uint8_t serving = c->isr;
    uint32_t command = value >> OCW2_SHIFT;

    if (c->special_mask) /* masked ones are not ended by a non-specific EOI */
        serving &= (uint8_t)~c->imr;
    switch (command) {
    case EOI:
    case ROTATE_EOI:
        end_of_interrupt(c, first(c, serving), command == ROTATE_EOI);
        break;
    case SPECIFIC_EOI:
    case ROTATE_SPECIFIC_EOI:
        end_of_interrupt(c, value & 7, command == ROTATE_SPECIFIC_EOI);
        break;
    case SET_PRIORITY:
        c->lowest = value & 7;
        break;
    case ROTATE_AEOI_SET:
    case ROTATE_AEOI_CLEAR:
        c->rotate_aeoi = command == ROTATE_AEOI_SET;
        break;
    default:
        break;
    }
}

static void write_ocw3(struct vpic_chip *c, uint8_t value)
{
    if (value & OCW3_ESMM)
        c->special_mask = (value & OCW3_SMM) != 0;
    if (value & OCW3_POLL)
        c->poll = 1;
    else if (value & OCW3_RR)
        c->read_isr = value & OCW3_RIS;
}

void vpic_write(struct vpic *p, uint32_t chip, bool data, uint8_t value)
{
    struct vpic_chip *c = &p->chip[chip & 1];

    if (!data && (value & ICW1))
        begin_initialisation(c, value);
    else if (!data && (value & OCW3))
        write_ocw3(c, value);
    else if (!data)
        write_ocw2(c, value);
    else if (c->next_icw)
        take_icw(c, value);
    else
        c->imr = value;
    cascade(p);
}

uint8_t vpic_read_elcr(const struct vpic *p, uint32_t chip)
{
    return p->chip[chip & 1].elcr;
}

void vpic_write_elcr(struct vpic *p, uint32_t chip, uint8_t value)
{
    struct vpic_chip *c = &p->chip[chip & 1];

    c->elcr = value & elcr_bits[chip & 1];
    c->irr |= c->lines & c->elcr;
    cascade(p);
}
