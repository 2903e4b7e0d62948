/* What the machine advertises, tried out. */
#ifndef RV_HV_PROBE_H
#define RV_HV_PROBE_H

#include "hv/base/types.h"

struct mem;
struct vmx_caps;
struct vmx_pmu;

/* The monitor trap flag: an exit after each instruction (SDM 3C 26.5.2). */
enum probe_mtf {
    PROBE_MTF_UNKNOWN, /* not tried: the machine lacks more than that, or VMX does not start */
    PROBE_MTF_ABSENT,
    PROBE_MTF_DOES_NOTHING, /* the control can be set, but the exit does not come */
    PROBE_MTF_WORKS,
};

/*
 * Runs a few instructions in a throw-away guest on this CPU, with the flag set. `caps` fulfil all
 * requirements; the CPU is not in VMX operation, and is not afterwards. What is free in `mem` is used and
 * free again; control and table registers are put back.
 */
enum probe_mtf probe_mtf(const struct vmx_caps *caps, const struct mem *mem);

/*
 * Whether the counter of conditional branches counts a known loop right, here and in a throw-away guest that
 * runs in slices, as probe_mtf() has one. `pmu` lacks nothing, but under another hypervisor it may count
 * wrong. The counter is off afterwards.
 */
bool probe_pmu(const struct vmx_pmu *pmu, const struct vmx_caps *caps, const struct mem *mem);

#endif
