/*
 * What a vCPU's CPU does with its time, for the counters REC_COUNT_TICKS_*: at every moment it is in one of
 * them, so that together they are the whole. A change costs one RDTSC.
 */
#ifndef RV_HV_PHASE_H
#define RV_HV_PHASE_H

#include "hv/cpu/cpu.h"
#include "hv/vm.h"

/* The vCPU's life begins, on its CPU: nothing before counts. */
static inline void phase_begin(struct vcpu *vcpu, enum rec_counter phase)
{
    vcpu->phase = phase;
    vcpu->phase_since = rdtsc();
}

/* From now on it does `phase`, one of REC_COUNT_TICKS_*. Returns what it did until now. */
static inline enum rec_counter phase_enter(struct vcpu *vcpu, enum rec_counter phase)
{
    enum rec_counter before = (enum rec_counter)vcpu->phase;
    uint64_t now = rdtsc();

    vcpu->counters[before] += now - vcpu->phase_since;
    vcpu->phase_since = now;
    vcpu->phase = phase;
    return before;
}

#endif
