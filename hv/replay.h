/* The replaying loop of a vCPU. */
#ifndef RV_HV_REPLAY_H
#define RV_HV_REPLAY_H

#include "hv/vm.h"

/* Replays until the log's end, a divergence, or the machine stops. On the vCPU's CPU, interrupts off. */
void replay_vcpu(struct vcpu *vcpu);

#endif
