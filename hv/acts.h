/*
 * What acts beyond the vCPU, performed in commit order: ports, interprocessor interrupts, halting, the
 * guest's end. The same code records and replays, since all of it is a function of what was committed.
 */
#ifndef RV_HV_ACTS_H
#define RV_HV_ACTS_H

#include "hv/vm.h"

/*
 * Performs vcpu->act for commit `seq`; what the instruction finds when it retires goes to the state's
 * completion. Under order.lock, in mode=run too.
 */
void act_perform(struct vcpu *vcpu, uint64_t seq);

/* The guest's end, if nobody else ended it before. Under the same lock. */
void act_end_guest(struct vm *vm, uint32_t vcpu, enum rec_outcome outcome, uint32_t status,
                   const char *reason);

/* Whether the console has room for what the running chunks can still send. */
bool act_console_has_room(const struct vm *vm);

#endif
