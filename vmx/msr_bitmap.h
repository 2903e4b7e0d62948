/*
 * Pure. The MSR bitmaps (SDM 3C 25.6.9): one page of four 1-KByte bitmaps, reads and writes of MSRs
 * 0-1FFFH and C0000000H-C0001FFFH. A set bit exits; an MSR outside both ranges always exits.
 */
#ifndef RV_VMX_MSR_BITMAP_H
#define RV_VMX_MSR_BITMAP_H

#include "hv/base/types.h"

/* Every MSR exits. `bitmap` is PAGE_SIZE bytes. */
void msr_bitmap_deny_all(uint8_t *bitmap);
/* Lets the guest read or write `msr` itself. False if no bitmap covers it: it exits all the same. */
bool msr_bitmap_allow(uint8_t *bitmap, uint32_t msr, bool read, bool write);
/* Whether a read (or write) of `msr` exits. */
bool msr_bitmap_exits(const uint8_t *bitmap, uint32_t msr, bool write);

#endif
