#include "hv/sleep.h"

#include "drivers/vdev/ticks.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/devices.h"
#include "hv/phase.h"

#define SPIN_TICKS 20000u /* of the TSC */

/* An interrupt that the vCPU has already, and takes once its HLT is done: a self-IPI before STI and HLT, say.
 */
static bool pending_inside(const struct vcpu_state *state)
{
    if (state->activity != VCPU_HALTED)
        return false;
    if (state->nmi_pending && !(state->cpu.interruptibility & VMX_BLOCKING_BY_NMI))
        return true;
    return (state->cpu.rflags & RFLAGS_IF) && (state->extint || vlapic_pending(&state->lapic) >= 0);
}

static bool event_waits(struct vcpu *vcpu)
{
    if (pending_inside(vcpu->state) || devices_wake(vcpu))
        return true;
    return !inbound_empty(&vcpu->inbound) || vlapic_timer_due(&vcpu->state->lapic, devices_now(vcpu->vm));
}

/* One sleep. Whoever queues an event looks at `waiting` afterwards, we look at the queue after setting it. */
static void sleep_once(struct vcpu *vcpu)
{
    uint64_t deadline = vlapic_next_deadline(&vcpu->state->lapic);

    __atomic_store_n(&vcpu->waiting, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&vcpu->takes_intr, devices_listen(vcpu), __ATOMIC_RELAXED);
    __atomic_store_n(&vcpu->idle, deadline == VLAPIC_NEVER, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (deadline != VLAPIC_NEVER)
        apic_timer_arm(vcpu->vm->tsc_start + MIN(deadline, UINT64_MAX - vcpu->vm->tsc_start));
    if (!event_waits(vcpu) && !vm_stopping(vcpu->vm)) {
        cpu_sti_hlt();
        cpu_cli();
    }
    if (deadline != VLAPIC_NEVER)
        apic_timer_stop();
    __atomic_store_n(&vcpu->idle, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&vcpu->waiting, 0, __ATOMIC_RELAXED);
}

bool sleep_until_event(struct vcpu *vcpu)
{
    order_rest(&vcpu->vm->order, vcpu->index);
    phase_enter(vcpu, REC_COUNT_TICKS_SLEEP);
    while (!event_waits(vcpu)) {
        if (vm_stopping(vcpu->vm))
            return false;
        sleep_once(vcpu);
    }
    return true;
}

/*
 * The view stays in its place in the list, as what others commit is to be looked at: so it gives way where
 * they want room.
 */
void sleep_spinning(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t end = rdtsc() + SPIN_TICKS;

    phase_enter(vcpu, REC_COUNT_TICKS_SLEEP);
    while (!view_overtaken(&vcpu->view) && !event_waits(vcpu) && !order_room_wanted(&vm->order) &&
           !vm_stopping(vm) && rdtsc() < end)
        cpu_pause();
}

void sleep_wake_all(struct vm *vm)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        if (__atomic_load_n(&vm->vcpus[i]->waiting, __ATOMIC_RELAXED))
            apic_send_fixed(vm->vcpus[i]->cpu, VECTOR_KICK);
    }
}

bool sleep_for_good(struct vm *vm)
{
    bool all = true;

    spin_lock(&vm->order.lock);
    if (vm->device_deadline != TICKS_NEVER || vm->device_work ||
        (vm->intr && __atomic_load_n(&vm->vcpus[0]->takes_intr, __ATOMIC_ACQUIRE)))
        all = false;
    for (uint32_t i = 0; i < vm->vcpu_count && all; i++)
        all = __atomic_load_n(&vm->vcpus[i]->idle, __ATOMIC_ACQUIRE) && inbound_empty(&vm->vcpus[i]->inbound);
    spin_unlock(&vm->order.lock);
    return all;
}
