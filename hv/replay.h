/* The replaying loop of a vCPU. */
#ifndef RV_HV_REPLAY_H
#define RV_HV_REPLAY_H

#include "hv/vm.h"

/* Replays until the log's end, a divergence, or the machine stops. On the vCPU's CPU, interrupts off. */
void replay_vcpu(struct vcpu *vcpu);

/*
 * A recording that halted everywhere, came to a limit or could not go on has no commit that says so: its
 * replay just ends there, as the log's trailer says. To be called when the vCPUs have returned.
 */
void replay_take_outcome(struct vm *vm);

#endif
