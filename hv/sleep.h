/* A vCPU without anything to do puts its processor to sleep. */
#ifndef RV_HV_SLEEP_H
#define RV_HV_SLEEP_H

#include "hv/vm.h"

/*
 * Sleeps until an inbound event waits, or the vCPU's timer is due. The view rests meanwhile. False: the
 * machine stops.
 */
bool sleep_until_event(struct vcpu *vcpu);

/* After a chunk that spun in vain: waits, for a while at most, until a page that it read is committed, or an
 * event waits. */
void sleep_spinning(struct vcpu *vcpu);

/* Wakes every sleeping vCPU, so that it sees vm->stop. */
void sleep_wake_all(struct vm *vm);

/* Recording: whether every vCPU sleeps and nothing can wake any of them. */
bool sleep_for_good(struct vm *vm);

#endif
