/* The recording loop of a vCPU. */
#ifndef RV_HV_RECORD_H
#define RV_HV_RECORD_H

#include "hv/vm.h"

/* Records until the guest ends or the machine stops. On the vCPU's CPU, interrupts off. */
void record_vcpu(struct vcpu *vcpu);

#endif
