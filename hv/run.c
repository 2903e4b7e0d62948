#include "hv/run.h"

#include "hv/acts.h"
#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/devices.h"
#include "hv/phase.h"
#include "hv/sleep.h"

/* How often a vCPU looks for interrupts of others, in preemption timer ticks. */
#define RUN_SLICE 20000u

static void gather(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint32_t count;

    /* Under the lock, so that whoever asks whether all sleep for good sees the events or the vCPU awake. */
    spin_lock(&vm->order.lock);
    count = inbound_peek(&vcpu->inbound, UINT64_MAX, vcpu->events, REC_MAX_EVENTS - 2);
    inbound_consume(&vcpu->inbound, count);
    if (devices_take(vcpu, &vcpu->events[count]))
        count++;
    spin_unlock(&vm->order.lock);
    /* INIT keeps part of the state. */
    if (count && vcpu->loaded)
        vmx_guest_save(&vcpu->vmx, &vcpu->state->cpu);
    vcpu->time_base = rdtsc();
    if (vlapic_timer_due(&vcpu->state->lapic, vcpu->time_base))
        vcpu->events[count++] = (struct rec_event){.kind = REC_EVENT_TIMER};
    vcpu->event_count = count;
}

/* What acts happens at once, one vCPU after the other. */
static void act(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    spin_lock(&vm->order.lock);
    if (!vm->outcome.decided)
        act_perform(vcpu, 0);
    /* Whoever sleeps is judged by RFLAGS. */
    vmx_guest_save(&vcpu->vmx, &vcpu->state->cpu);
    spin_unlock(&vm->order.lock);
}

void run_vcpu(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    phase_begin(vcpu, REC_COUNT_TICKS_BEGIN);
    while (!vm_stopping(vm)) {
        phase_enter(vcpu, REC_COUNT_TICKS_BEGIN);
        while (!act_console_has_room(vm) && !vm_stopping(vm))
            cpu_pause();
        if (vcpu->state->activity != VCPU_RUNNING && !sleep_until_event(vcpu))
            return;
        gather(vcpu);
        vcpu->act.kind = ACT_NONE;
        vcpu->pauses = 0;
        if (chunk_start(vcpu) && chunk_run(vcpu, RUN_SLICE) == CHUNK_ENDED) {
            phase_enter(vcpu, REC_COUNT_TICKS_COMMIT);
            act(vcpu);
        }
    }
}
