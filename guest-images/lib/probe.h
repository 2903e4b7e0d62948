/*
 * Page tables for guests that break them: an address that the start-up library leaves alone, and what leads
 * there.
 */
#ifndef RV_GUEST_PROBE_H
#define RV_GUEST_PROBE_H

#include <stdint.h>

#define PROBED UINT64_C(0x8000000000) /* beyond what the start-up library maps */

/* A zeroed page, as a table. */
uint64_t *empty_page(void);
void load_cr3(uint64_t value);
/* Tables that map PROBED to address 0, as far as `level` (3: PML4 entry), whose entry is `entry` instead. */
void probe_table(unsigned level, uint64_t entry);

#endif
