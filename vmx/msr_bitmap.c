#include "vmx/msr_bitmap.h"

#include <string.h>

#define LOW_MSRS   UINT32_C(0x2000)
#define HIGH_FIRST UINT32_C(0xC0000000)

/* Offsets of the four bitmaps in the page. */
#define READ_LOW   0u
#define READ_HIGH  1024u
#define WRITE_LOW  2048u
#define WRITE_HIGH 3072u

/* Finds `msr` in its bitmap; false if there is none for it. */
static bool locate(uint32_t msr, bool write, size_t *byte, uint8_t *mask)
{
    uint32_t index;
    size_t base;

    if (msr < LOW_MSRS) {
        index = msr;
        base = write ? WRITE_LOW : READ_LOW;
    } else if (msr - HIGH_FIRST < LOW_MSRS) {
        index = msr - HIGH_FIRST;
        base = write ? WRITE_HIGH : READ_HIGH;
    } else {
        return false;
    }
    *byte = base + index / 8;
    *mask = (uint8_t)(1u << (index % 8));
    return true;
}

void msr_bitmap_deny_all(uint8_t *bitmap)
{
    memset(bitmap, 0xFF, PAGE_SIZE);
}

bool msr_bitmap_allow(uint8_t *bitmap, uint32_t msr, bool read, bool write)
{
    size_t byte;
    uint8_t mask;

    if (!locate(msr, false, &byte, &mask)) {
        return false;
    }
    if (read) {
        bitmap[byte] &= (uint8_t)~mask;
    }
    (void)locate(msr, true, &byte, &mask);
    if (write) {
        bitmap[byte] &= (uint8_t)~mask;
    }
    return true;
}

bool msr_bitmap_exits(const uint8_t *bitmap, uint32_t msr, bool write)
{
    size_t byte;
    uint8_t mask;

    return !locate(msr, write, &byte, &mask) || (bitmap[byte] & mask) != 0;
}
