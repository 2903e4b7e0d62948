#include "hv/host_date.h"

#include "drivers/vdev/platform.h"
#include "drivers/vdev/rtc.h"
#include "hv/cpu/cpu.h"

#define TRIES 4000000u /* reads of a port take a microsecond at most: an update takes 2 ms */

/* Bytes of an MC146818, and bits of its registers A and B. */
#define SECOND  0x00
#define MINUTE  0x02
#define HOUR    0x04
#define DAY     0x07
#define MONTH   0x08
#define YEAR    0x09
#define REG_A   0x0A
#define REG_B   0x0B
#define A_UIP   0x80
#define B_DM    0x04
#define B_24H   0x02
#define HOUR_PM 0x80

static uint8_t read(uint8_t index)
{
    out8(VPLAT_RTC_INDEX, index);
    return in8(VPLAT_RTC_DATA);
}

static bool wait_for_update(void)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        if (!(read(REG_A) & A_UIP))
            return true;
    }
    return false;
}

static uint32_t number(uint8_t byte, uint8_t b)
{
    return b & B_DM ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint32_t hour(uint8_t byte, uint8_t b)
{
    if (b & B_24H)
        return number(byte, b);
    return number(byte & (uint8_t)~HOUR_PM, b) % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* The century is not read: firmware does not agree on where it is. */
static struct vrtc_date look(void)
{
    uint8_t b = read(REG_B);

    return (struct vrtc_date){.year = 2000 + number(read(YEAR), b) % 100,
                              .month = number(read(MONTH), b),
                              .day = number(read(DAY), b),
                              .hour = hour(read(HOUR), b),
                              .minute = number(read(MINUTE), b),
                              .second = number(read(SECOND), b)};
}

uint64_t host_date(void)
{
    struct vrtc_date date;

    if (!wait_for_update())
        return 0;
    date = look(); /* in time: the next update is 244 us away at least */
    return date.month >= 1 && date.month <= 12 && date.day >= 1 ? vrtc_seconds(&date) : 0;
}
