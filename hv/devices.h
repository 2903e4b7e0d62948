/*
 * The guest's devices (drivers/vdev/ports.h) between the vCPUs: their time, and the way of their interrupts.
 * The I/O APIC's messages go into inbound queues with the seq of their cause, as interprocessor interrupts
 * do.
 *
 * The 8259 pair is different, as the processor fetches the vector when it can take it, and that changes the
 * pair for all to see. So the fetch belongs to a chunk of vCPU 0: it takes the vector at its begin, where it
 * can take an interrupt; the acknowledge cycle happens when it commits, as an act. If the pair offers another
 * vector by then, or none, the chunk is squashed. The record lists what was taken; a replay acknowledges at
 * the same seq.
 */
#ifndef RV_HV_DEVICES_H
#define RV_HV_DEVICES_H

#include "hv/vm.h"

/* State at power-up. The devices are not shared yet. */
void devices_reset(struct vm *vm);

/* Under order.lock: the time of the act that ends vcpu's chunk, which no later act comes before. */
uint64_t devices_act_time(struct vcpu *vcpu);
/* Under order.lock: tells the vCPUs what the devices have to say after commit `seq` changed them. */
void devices_settle(struct vm *vm, uint64_t seq);

/* Under order.lock: IPIs and other messages, caused by commit `seq`, go to their targets. */
void devices_send(struct vm *vm, const struct vlapic_targets *route, bool level, uint64_t seq);

/*
 * Recording, before a chunk begins: whether it takes an interrupt of the 8259 pair; *event is it. What waits
 * but cannot be taken yet sets vcpu->wants_intr: the chunk shall end where it can.
 */
bool devices_offer(struct vcpu *vcpu, uint64_t snapshot, struct rec_event *event);
/* Under order.lock: what the chunk took is still what the pair offers. */
bool devices_agree(const struct vcpu *vcpu);
/* Under order.lock, with the commit: the acknowledge cycle for each interrupt that the chunk took. */
void devices_acknowledge(struct vcpu *vcpu, uint64_t seq);
/* mode=run, under order.lock: both at once. */
bool devices_take(struct vcpu *vcpu, struct rec_event *event);
/* Whether vcpu would take an interrupt of the 8259 pair now; and whether there is one that so wakes it. On
 * its own CPU. */
bool devices_listen(struct vcpu *vcpu);
bool devices_wake(struct vcpu *vcpu);

/* Guest time that the next chunk's base would at least be. */
uint64_t devices_now(const struct vm *vm);

#endif
