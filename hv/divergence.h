/* A replay that differs from its log: what is said about the first difference. */
#ifndef RV_HV_DIVERGENCE_H
#define RV_HV_DIVERGENCE_H

#include "hv/vm.h"

/*
 * Remembers what the failed attempt of the vCPU's chunk came to, for the report: after chunk_finish(), or at
 * a place of the chunk that looked like the recorded end, but was not, after chunk_read_state().
 */
void divergence_note_state(struct vcpu *vcpu);
void divergence_note_place(struct vcpu *vcpu);
/* Where the place is the recorded one, but registers differ: remembers it if no nearer one was met. */
void divergence_note_near(struct vcpu *vcpu);
/* The vCPU's chunk differs for good: words the report, unless another vCPU was first, and stops the machine.
 */
void divergence_report(struct vcpu *vcpu);
/* The same for commit `seq`, which device `slot` makes in guest memory. */
void divergence_report_device(struct vm *vm, uint32_t slot, uint64_t seq);

#endif
