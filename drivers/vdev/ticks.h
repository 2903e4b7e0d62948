/*
 * Guest time in ticks of other counters. All of the guest's clocks are derived from its TSC, so that none
 * runs away from another, and none goes back.
 */
#ifndef RV_DRIVERS_VDEV_TICKS_H
#define RV_DRIVERS_VDEV_TICKS_H

#include "hv/base/types.h"

#define TICKS_NEVER UINT64_MAX /* a deadline: none */

/* How far a counter of `hz` (< 2^24) is at guest time `now`, with `tsc_hz` ticks (not 0) a second: rounded
 * down. */
static inline uint64_t ticks_at(uint64_t now, uint64_t tsc_hz, uint32_t hz)
{
    return now / tsc_hz * hz + now % tsc_hz * hz / tsc_hz;
}

/* The first guest time at which ticks_at() is `count`. */
static inline uint64_t ticks_when(uint64_t count, uint64_t tsc_hz, uint32_t hz)
{
    return count / hz * tsc_hz + (count % hz * tsc_hz + hz - 1) / hz;
}

#endif
