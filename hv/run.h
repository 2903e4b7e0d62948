/* mode=run: the guest without chunks, for comparison: 2 MiB pages, native time, no log. */
#ifndef RV_HV_RUN_H
#define RV_HV_RUN_H

#include "hv/vm.h"

/* Runs until the guest ends or the machine stops. On the vCPU's CPU, interrupts off. */
void run_vcpu(struct vcpu *vcpu);

#endif
