/* The MC146818. See rtc.h. */
#include "drivers/vdev/rtc.h"

#include <string.h>

/* Bytes (data sheet, figure 3), and those that a PC's firmware keeps. */
enum rtc_byte {
    SECOND = 0,
    SECOND_ALARM = 1,
    MINUTE = 2,
    MINUTE_ALARM = 3,
    HOUR = 4,
    HOUR_ALARM = 5,
    WEEKDAY = 6,
    DAY = 7,
    MONTH = 8,
    YEAR = 9,
    REG_A = 10,
    REG_B = 11,
    REG_C = 12,
    REG_D = 13,
    BASE_LOW = 0x15,     /* KiB below 640K */
    EXTENDED_LOW = 0x17, /* KiB above 1M, 63 MiB at most */
    EXTENDED_LOW_AGAIN = 0x30,
    CENTURY = 0x32,
    ABOVE_16M = 0x34, /* units of 64 KiB */
};

#define A_UIP  UINT8_C(0x80)
#define A_RATE UINT8_C(0x0F)
#define A_32K  UINT8_C(0x20)
#define B_SET  UINT8_C(0x80)
#define B_PIE  UINT8_C(0x40)
#define B_AIE  UINT8_C(0x20)
#define B_UIE  UINT8_C(0x10)
#define B_DM   UINT8_C(0x04)
#define B_24H  UINT8_C(0x02)
#define C_IRQF UINT8_C(0x80)
#define C_PF   UINT8_C(0x40)
#define C_AF   UINT8_C(0x20)
#define C_UF   UINT8_C(0x10)
#define D_VRT  UINT8_C(0x80)

#define HOUR_PM     UINT8_C(0x80)
#define ALARM_ANY   UINT8_C(0xC0) /* both bits set: any value */
#define RATE_1024   UINT8_C(6)
#define UIP_TICKS   72u /* 244 us and an update cycle of 1948 us, at the end of each second */
#define DAY_SECONDS 86400u

/* ---- Calendar ---- */

/* Days from 1970 to the first of March of `year`, counted by years that begin in March. */
static uint64_t days_to_march(uint32_t year)
{
    return (uint64_t)year * 365 + year / 4 - year / 100 + year / 400 - 719468;
}

uint64_t vrtc_seconds(const struct vrtc_date *date)
{
    uint32_t month = (date->month + 9) % 12; /* since March */
    uint32_t year = date->year - (date->month <= 2);
    uint64_t days = days_to_march(year) + (153 * month + 2) / 5 + date->day - 1;

    return days * DAY_SECONDS + date->hour * 3600 + date->minute * 60 + date->second;
}

struct vrtc_date vrtc_date(uint64_t seconds)
{
    uint64_t days = seconds / DAY_SECONDS + 719468;
    uint32_t rest = (uint32_t)(seconds % DAY_SECONDS);
    uint32_t era_day = (uint32_t)(days % 146097);
    uint32_t era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    uint32_t year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    uint32_t month = (5 * year_day + 2) / 153;
    struct vrtc_date date = {.hour = rest / 3600, .minute = rest / 60 % 60, .second = rest % 60};

    date.day = year_day - (153 * month + 2) / 5 + 1;
    date.month = month < 10 ? month + 3 : month - 9;
    date.year = (uint32_t)(era_year + days / 146097 * 400) + (date.month <= 2);
    return date;
}

/* ---- Time ---- */

static uint64_t shown(const struct vrtc *r)
{
    return r->now + r->offset;
}

static uint8_t encode(const struct vrtc *r, uint32_t value)
{
    return (uint8_t)(r->bytes[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

static uint32_t decode(const struct vrtc *r, uint8_t byte)
{
    return r->bytes[REG_B] & B_DM ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode_hour(const struct vrtc *r, uint32_t hour)
{
    if (r->bytes[REG_B] & B_24H)
        return encode(r, hour);
    return (uint8_t)(encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static uint32_t decode_hour(const struct vrtc *r, uint8_t byte)
{
    if (r->bytes[REG_B] & B_24H)
        return decode(r, byte);
    return decode(r, byte & (uint8_t)~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* The time as bytes. */
static void show(struct vrtc *r)
{
    uint64_t seconds = shown(r) / VRTC_HZ;
    struct vrtc_date date = vrtc_date(seconds);

    r->bytes[SECOND] = encode(r, date.second);
    r->bytes[MINUTE] = encode(r, date.minute);
    r->bytes[HOUR] = encode_hour(r, date.hour);
    r->bytes[WEEKDAY] =
        encode(r, (uint32_t)((seconds / DAY_SECONDS + 4) % 7) + 1); /* 1970 began on a Thursday */
    r->bytes[DAY] = encode(r, date.day);
    r->bytes[MONTH] = encode(r, date.month);
    r->bytes[YEAR] = encode(r, date.year % 100);
    r->bytes[CENTURY] = (uint8_t)(date.year / 1000 % 10 << 4 | date.year / 100 % 10); /* BCD in both modes */
}

/* The clock goes on from what the bytes say; the fraction of the second stays. */
static void take_bytes(struct vrtc *r)
{
    uint32_t century = (r->bytes[CENTURY] >> 4) * 10u + (r->bytes[CENTURY] & 15);
    struct vrtc_date date = {.year = century * 100 + decode(r, r->bytes[YEAR]),
                             .month = decode(r, r->bytes[MONTH]),
                             .day = decode(r, r->bytes[DAY]),
                             .hour = decode_hour(r, r->bytes[HOUR]),
                             .minute = decode(r, r->bytes[MINUTE]),
                             .second = decode(r, r->bytes[SECOND])};

    date.year = MAX(date.year, UINT32_C(1970));
    date.month = date.month - 1 < 12 ? date.month : 1;
    date.day = MAX(date.day, UINT32_C(1));
    r->offset = vrtc_seconds(&date) * VRTC_HZ + shown(r) % VRTC_HZ - r->now;
}

void vrtc_set(struct vrtc *r, uint64_t seconds, uint64_t now)
{
    r->now = MAX(r->now, now);
    r->offset = seconds * VRTC_HZ - r->now;
    show(r);
}

static void note(struct vrtc *r, uint32_t at, uint64_t value)
{
    r->bytes[at] = (uint8_t)value;
    r->bytes[at + 1] = (uint8_t)(value >> 8);
}

void vrtc_reset(struct vrtc *r, uint64_t memory_bytes)
{
    uint64_t above_1m = memory_bytes - MIN(memory_bytes, UINT64_C(1) << 20);
    uint64_t above_16m = memory_bytes - MIN(memory_bytes, UINT64_C(16) << 20);

    memset(r, 0, sizeof(*r));
    r->bytes[REG_A] = A_32K | RATE_1024;
    r->bytes[REG_B] = B_24H;
    r->bytes[REG_D] = D_VRT;
    note(r, BASE_LOW, MIN(memory_bytes >> 10, UINT64_C(640)));
    note(r, EXTENDED_LOW, MIN(above_1m >> 10, UINT64_C(63) << 10));
    note(r, EXTENDED_LOW_AGAIN, MIN(above_1m >> 10, UINT64_C(63) << 10));
    note(r, ABOVE_16M, MIN(above_16m >> 16, (uint64_t)UINT16_MAX));
    show(r);
}

/* ---- Interrupts ---- */

/* Ticks between periodic interrupts (data sheet, table 5), 0: none. */
static uint32_t period(const struct vrtc *r)
{
    uint32_t rate = r->bytes[REG_A] & A_RATE;

    if (rate == 0)
        return 0;
    return UINT32_C(1) << (rate <= 2 ? rate + 6 : rate - 1);
}

static bool alarm_is(const struct vrtc *r, uint32_t at, uint32_t value)
{
    uint8_t byte = r->bytes[at];

    if ((byte & ALARM_ANY) == ALARM_ANY)
        return true;
    return (at == HOUR_ALARM ? decode_hour(r, byte) : decode(r, byte)) == value;
}

/* The first second after `seconds` that the alarm names, UINT64_MAX: none does. */
static uint64_t next_alarm(const struct vrtc *r, uint64_t seconds)
{
    uint64_t t = seconds + 1, end = t + DAY_SECONDS;

    while (t < end) {
        if (!alarm_is(r, HOUR_ALARM, t / 3600 % 24))
            t = (t / 3600 + 1) * 3600;
        else if (!alarm_is(r, MINUTE_ALARM, t / 60 % 60))
            t = (t / 60 + 1) * 60;
        else if (!alarm_is(r, SECOND_ALARM, t % 60))
            t++;
        else
            return t;
    }
    return UINT64_MAX;
}

static void set_irqf(struct vrtc *r)
{
    uint8_t enabled = r->bytes[REG_B] & (B_PIE | B_AIE | B_UIE);

    r->bytes[REG_C] &= (uint8_t)~C_IRQF;
    if (r->bytes[REG_C] & enabled)
        r->bytes[REG_C] |= C_IRQF;
}

void vrtc_advance(struct vrtc *r, uint64_t now)
{
    uint64_t from = shown(r), to;
    uint32_t ticks = period(r);

    if (now <= r->now)
        return;
    r->now = now;
    to = shown(r);
    if (ticks && from / ticks != to / ticks)
        r->bytes[REG_C] |= C_PF;
    if (!(r->bytes[REG_B] & B_SET) && from / VRTC_HZ != to / VRTC_HZ) {
        r->bytes[REG_C] |= C_UF;
        if (next_alarm(r, from / VRTC_HZ) <= to / VRTC_HZ)
            r->bytes[REG_C] |= C_AF;
    }
    set_irqf(r);
}

bool vrtc_irq(const struct vrtc *r)
{
    return r->bytes[REG_C] & C_IRQF;
}

uint64_t vrtc_next_irq(const struct vrtc *r)
{
    uint8_t enabled = r->bytes[REG_B];
    uint64_t at = UINT64_MAX, alarm;
    uint32_t ticks = period(r);

    if (vrtc_irq(r))
        return UINT64_MAX; /* asserted until register C is read */
    if ((enabled & B_PIE) && ticks)
        at = (shown(r) / ticks + 1) * ticks;
    if ((enabled & B_UIE) && !(enabled & B_SET))
        at = MIN(at, (shown(r) / VRTC_HZ + 1) * VRTC_HZ);
    if ((enabled & B_AIE) && !(enabled & B_SET)) {
        alarm = next_alarm(r, shown(r) / VRTC_HZ);
        at = alarm == UINT64_MAX ? at : MIN(at, alarm * VRTC_HZ);
    }
    return at == UINT64_MAX ? at : at - r->offset;
}

/* ---- Ports ---- */

void vrtc_select(struct vrtc *r, uint8_t index)
{
    r->index = index & (VRTC_BYTES - 1); /* bit 7 gates NMIs, of which there are none */
}

static bool is_time(uint32_t index)
{
    return (index <= YEAR && index != SECOND_ALARM && index != MINUTE_ALARM && index != HOUR_ALARM) ||
           index == CENTURY;
}

static bool updating(const struct vrtc *r)
{
    return !(r->bytes[REG_B] & B_SET) && shown(r) % VRTC_HZ >= VRTC_HZ - UIP_TICKS;
}

uint8_t vrtc_read(struct vrtc *r)
{
    uint8_t value;

    if (is_time(r->index) && !(r->bytes[REG_B] & B_SET))
        show(r);
    value = r->bytes[r->index];
    if (r->index == REG_A)
        value |= updating(r) ? A_UIP : 0;
    if (r->index == REG_C)
        r->bytes[REG_C] = 0;
    return value;
}

static void write_b(struct vrtc *r, uint8_t value)
{
    uint8_t old = r->bytes[REG_B];

    if (!(old & B_SET))
        show(r); /* as it is when it stops, in the old form */
    if (value & B_SET)
        value &= (uint8_t)~B_UIE; /* data sheet: SET clears UIE */
    r->bytes[REG_B] = value;
    if ((old & B_SET) && !(value & B_SET))
        take_bytes(r);
    set_irqf(r);
}

void vrtc_write(struct vrtc *r, uint8_t value)
{
    switch (r->index) {
    case REG_A:
        r->bytes[REG_A] = value & (uint8_t)~A_UIP;
        return;
    case REG_B:
        write_b(r, value);
        return;
    case REG_C:
    case REG_D:
        return;
    default:
        break;
    }
    if (is_time(r->index) && !(r->bytes[REG_B] & B_SET)) {
        show(r);
        r->bytes[r->index] = value;
        take_bytes(r);
    } else {
        r->bytes[r->index] = value;
    }
}
