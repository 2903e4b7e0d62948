/* The 8254. See pit.h. */
#include "drivers/vdev/pit.h"

#include <string.h>

#define CONTROL 3u /* register: control word */

/* Control word and read-back command (data sheet, figures 7 and 11). */
#define CW_BCD          UINT8_C(0x01)
#define CW_MODE_SHIFT   1
#define CW_ACCESS_SHIFT 4
#define CW_SELECT_SHIFT 6
#define READ_BACK       3u
#define BACK_NO_STATUS  UINT8_C(0x10)
#define BACK_NO_COUNT   UINT8_C(0x20)
#define STATUS_OUTPUT   UINT8_C(0x80)
#define STATUS_NULL     UINT8_C(0x40)

#define ACCESS_LOW  1u
#define ACCESS_HIGH 2u
#define ACCESS_BOTH 3u

#define B_GATE          UINT8_C(0x01)
#define B_SPEAKER       UINT8_C(0x02)
#define B_REFRESH       UINT8_C(0x10)
#define B_OUTPUT        UINT8_C(0x20)
#define B_REFRESH_TICKS 18u /* counter 1 refreshes memory each 15 us on a PC */

#define COUNT_MAX     UINT32_C(0x10000)
#define COUNT_MAX_BCD UINT32_C(10000)

void vpit_reset(struct vpit *p)
{
    memset(p, 0, sizeof(*p));
    for (uint32_t i = 0; i < VPIT_COUNTERS; i++) {
        p->counter[i].access = ACCESS_BOTH;
        p->counter[i].count = COUNT_MAX;
        p->counter[i].gate = i != 2;
    }
}

static bool periodic(const struct vpit_counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Ticks counted since the count began. */
static uint64_t elapsed(const struct vpit_counter *c, uint64_t now)
{
    return c->running ? now - c->start : c->start;
}

static bool output(const struct vpit_counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now);

    switch (c->mode) {
    case 0:
    case 1: /* one-shot: low from the trigger to the end of the count */
        if (!c->loaded)
            return c->mode == 1;
        return c->mode == 1 && !c->running ? true : t >= c->count;
    case 2:
        return !c->running || t % c->count != c->count - 1;
    case 3:
        return !c->running || t % c->count < (c->count + 1) / 2;
    default: /* strobes: low for one tick at the end */
        return !c->loaded || !c->running || t != c->count;
    }
}

/* The counting element, before BCD. */
static uint32_t counting(const struct vpit_counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now);
    uint32_t modulus = c->bcd ? COUNT_MAX_BCD : COUNT_MAX;
    uint32_t half = (c->count + 1) / 2;

    if (!c->loaded)
        return 0;
    if (c->mode == 2)
        return c->count - (uint32_t)(t % c->count);
    if (c->mode == 3) { /* it counts by twos, twice in a period */
        t %= c->count;
        return (c->count & ~1u) - 2 * (uint32_t)(t < half ? t : t - half);
    }
    return (uint32_t)((c->count + modulus - t % modulus) % modulus); /* and wraps */
}

static uint16_t as_read(const struct vpit_counter *c, uint64_t now)
{
    uint32_t n = counting(c, now);

    if (!c->bcd)
        return (uint16_t)n;
    n %= COUNT_MAX_BCD;
    return (uint16_t)(n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

/* A register value as a count. Digits above 9 have no meaning in BCD, and count as what they are. */
static uint32_t as_count(const struct vpit_counter *c, uint16_t value)
{
    uint32_t n = value;

    if (c->bcd)
        n = ((value >> 12) * 1000u + (value >> 8 & 15) * 100u + (value >> 4 & 15) * 10u + (value & 15)) %
            COUNT_MAX_BCD;
    if (n == 0)
        n = c->bcd ? COUNT_MAX_BCD : COUNT_MAX;
    return n;
}

/* A count that waited for the end of its period takes over. */
static void settle(struct vpit_counter *c, uint64_t now)
{
    if (!c->next || now < c->next_from)
        return;
    c->start = c->next_from;
    c->count = c->next;
    c->next = 0;
}

/* The first tick after `now` at which the output rises, UINT64_MAX: never as things are. */
static uint64_t next_rise(const struct vpit_counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now), at;

    if (!c->running || !c->loaded)
        return UINT64_MAX;
    if (periodic(c)) {
        at = c->start + (t / c->count + 1) * c->count;
        /* With a count of 1 the output of mode 2 never rises, nor does that of mode 3. */
        return c->count == 1 && !c->next ? UINT64_MAX : at;
    }
    at = c->mode >= 4 ? (uint64_t)c->count + 1 : c->count;
    return t < at ? c->start + at : UINT64_MAX;
}

void vpit_advance(struct vpit *p, uint64_t now)
{
    if (now <= p->now)
        return;
    if (next_rise(&p->counter[0], p->now) <= now)
        p->rose = 1;
    p->now = now;
    for (uint32_t i = 0; i < VPIT_COUNTERS; i++)
        settle(&p->counter[i], now);
}

/* Starts to count `count` now. */
static void begin(struct vpit_counter *c, uint32_t count, uint64_t now)
{
    c->count = count;
    c->next = 0;
    c->loaded = 1;
    /* Modes 1 and 5 wait for the gate to rise. */
    c->running = c->gate && c->mode != 1 && c->mode != 5;
    c->start = c->running ? now : 0;
}

static void load(struct vpit_counter *c, uint16_t value, uint64_t now)
{
    uint32_t count = as_count(c, value);

    if ((c->mode == 1 || c->mode == 5) && c->loaded) {
        c->next = count; /* from the next trigger on */
        c->next_from = UINT64_MAX;
    } else if (periodic(c) && c->running) {
        c->next = count;
        c->next_from = c->start + (elapsed(c, now) / c->count + 1) * c->count;
    } else {
        begin(c, count, now);
    }
}

static void write_count(struct vpit_counter *c, uint8_t value, uint64_t now)
{
    if (c->access == ACCESS_LOW) {
        load(c, value, now);
    } else if (c->access == ACCESS_HIGH) {
        load(c, (uint16_t)(value << 8), now);
    } else if (!c->write_high) {
        c->low = value;
        c->write_high = 1;
        if (c->mode == 0 && c->running) { /* the first byte stops the count (data sheet, mode 0) */
            c->start = elapsed(c, now);
            c->running = 0;
        }
    } else {
        c->write_high = 0;
        load(c, (uint16_t)(value << 8 | c->low), now);
    }
}

static void latch_count(struct vpit_counter *c, uint64_t now)
{
    if (c->latched)
        return; /* the first one stays until it is read */
    c->latch = as_read(c, now);
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct vpit_counter *c, uint64_t now)
{
    if (c->has_status)
        return;
    c->status = (uint8_t)((output(c, now) ? STATUS_OUTPUT : 0) | (c->loaded && !c->next ? 0 : STATUS_NULL) |
                          c->access << CW_ACCESS_SHIFT | c->mode << CW_MODE_SHIFT | c->bcd);
    c->has_status = 1;
}

static void set_mode(struct vpit_counter *c, uint8_t word)
{
    uint8_t mode = word >> CW_MODE_SHIFT & 7;

    *c = (struct vpit_counter){.count = COUNT_MAX,
                               .mode = mode >= 6 ? mode - 4 : mode, /* bit 2 is ignored in modes 2 and 3 */
                               .access = word >> CW_ACCESS_SHIFT & 3,
                               .bcd = word & CW_BCD,
                               .gate = c->gate};
}

static void write_control(struct vpit *p, uint8_t word)
{
    uint32_t select = word >> CW_SELECT_SHIFT;

    if (select == READ_BACK) {
        for (uint32_t i = 0; i < VPIT_COUNTERS; i++) {
            if (!(word >> (i + 1) & 1))
                continue;
            if (!(word & BACK_NO_COUNT))
                latch_count(&p->counter[i], p->now);
            if (!(word & BACK_NO_STATUS))
                latch_status(&p->counter[i], p->now);
        }
    } else if ((word >> CW_ACCESS_SHIFT & 3) == 0) {
        latch_count(&p->counter[select], p->now);
    } else {
        set_mode(&p->counter[select], word);
    }
}

void vpit_write(struct vpit *p, uint32_t offset, uint8_t value)
{
    bool before = vpit_output(p);

    if (offset == CONTROL)
        write_control(p, value);
    else if (offset < VPIT_COUNTERS)
        write_count(&p->counter[offset], value, p->now);
    if (!before && vpit_output(p))
        p->rose = 1;
}

static uint8_t read_count(struct vpit_counter *c, uint64_t now)
{
    uint16_t value = c->latched ? c->latch : as_read(c, now);
    bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high);

    if (c->has_status) {
        c->has_status = 0;
        return c->status;
    }
    if (c->latched)
        c->latched--;
    if (c->access == ACCESS_BOTH)
        c->read_high = !c->read_high;
    return (uint8_t)(high ? value >> 8 : value);
}

uint8_t vpit_read(struct vpit *p, uint32_t offset)
{
    return offset < VPIT_COUNTERS ? read_count(&p->counter[offset], p->now) : UINT8_MAX;
}

/* The gate's edges, by mode (data sheet, figure 21). */
static void set_gate(struct vpit_counter *c, bool gate, uint64_t now)
{
    bool rises = gate && !c->gate;
    bool falls = !gate && c->gate;

    c->gate = gate;
    if (!c->loaded)
        return;
    if (rises && (c->mode == 1 || c->mode == 5 || periodic(c))) {
        c->count = c->next ? c->next : c->count;
        c->next = 0;
        c->running = 1;
        c->start = now;
    } else if (rises && !c->running) { /* modes 0 and 4 go on where they stopped */
        c->running = 1;
        c->start = now - c->start;
    } else if (falls && c->mode != 1 && c->mode != 5 && c->running) {
        c->start = periodic(c) ? 0 : elapsed(c, now);
        c->running = 0;
    }
}

void vpit_write_port_b(struct vpit *p, uint8_t value)
{
    p->speaker = value & B_SPEAKER;
    set_gate(&p->counter[2], value & B_GATE, p->now);
}

uint8_t vpit_read_port_b(struct vpit *p)
{
    const struct vpit_counter *c = &p->counter[2];

    return (uint8_t)((c->gate ? B_GATE : 0) | p->speaker | (p->now / B_REFRESH_TICKS & 1 ? B_REFRESH : 0) |
                     (output(c, p->now) ? B_OUTPUT : 0));
}

bool vpit_output(const struct vpit *p)
{
    return output(&p->counter[0], p->now);
}

bool vpit_take_edge(struct vpit *p)
{
    bool rose = p->rose;

    p->rose = 0;
    return rose;
}

uint64_t vpit_next_edge(const struct vpit *p)
{
    return next_rise(&p->counter[0], p->now);
}
