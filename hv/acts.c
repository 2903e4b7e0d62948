#include "hv/acts.h"

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"

#include <stdio.h>
#include <string.h>

bool act_console_has_room(const struct vm *vm)
{
    const struct vm_console *console = &vm->console;
    uint64_t used =
        __atomic_load_n(&console->head, __ATOMIC_ACQUIRE) - __atomic_load_n(&console->tail, __ATOMIC_ACQUIRE);

    return used + MAX_VCPUS <= VM_CONSOLE_SIZE;
}

static void console_put(struct vm *vm, uint8_t byte)
{
    struct vm_console *console = &vm->console;

    HV_CHECK(console->head - __atomic_load_n(&console->tail, __ATOMIC_ACQUIRE) < VM_CONSOLE_SIZE);
    console->bytes[console->head % VM_CONSOLE_SIZE] = byte;
    __atomic_store_n(&console->head, console->head + 1, __ATOMIC_RELEASE);
}

void act_end_guest(struct vm *vm, uint32_t vcpu, enum rec_outcome outcome, uint32_t status,
                   const char *reason)
{
    struct vm_outcome *out = &vm->outcome;

    if (out->decided)
        return;
    out->outcome = outcome;
    out->vcpu = vcpu;
    out->status = status;
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
    __atomic_store_n(&out->decided, 1, __ATOMIC_RELEASE);
    vm_stop(vm);
}

static void port_out(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct vports_effect effect;

    vports_out(&vm->ports, vcpu->act.port, vcpu->act.size, (uint32_t)vcpu->act.value, &effect);
    if (effect.kind == VPORTS_CONSOLE)
        console_put(vm, (uint8_t)effect.value);
    else if (effect.kind == VPORTS_EXIT)
        act_end_guest(vm, vcpu->index, REC_OUTCOME_EXIT, effect.value, "the guest wrote its exit port");
}

/* A sleeping vCPU is woken by an interrupt to its CPU; a running one looks when its next chunk begins. */
static void wake(struct vcpu *target)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&target->waiting, __ATOMIC_RELAXED))
        apic_send_fixed(target->cpu, VECTOR_KICK);
}

static void send(struct vm *vm, const struct vlapic_targets *route, uint64_t seq)
{
    static const uint8_t kinds[] = {
        [VLAPIC_FIXED] = REC_EVENT_FIXED,
        [VLAPIC_NMI] = REC_EVENT_NMI,
        [VLAPIC_INIT] = REC_EVENT_INIT,
        [VLAPIC_SIPI] = REC_EVENT_SIPI,
    };
    struct rec_event event = {.kind = kinds[route->mode], .vector = route->vector};

    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        if (!(route->targets & BIT(i)))
            continue;
        /* Replay takes its events from the log. */
        if (vm->mode == VM_REPLAY)
            continue;
        inbound_push(&vm->vcpus[i]->inbound, seq, event);
        wake(vm->vcpus[i]);
    }
}

/* The registers that others see are known to the routing from now on. */
static void apic_write(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;
    struct vlapic *lapic = &vcpu->state->lapic;
    bool is_icr = vcpu->act.reg == VLAPIC_ICR;
    struct vlapic_targets route;

    vlapic_write(lapic, vcpu->act.reg, vcpu->act.value, vcpu->time_base);
    vcpu->irq_check = true;
    vm->dests[vcpu->index] = vlapic_dest(lapic);
    if (!is_icr)
        return;
    route = vlapic_route(vm->dests, vm->vcpu_count, vcpu->index, vlapic_icr(lapic));
    send(vm, &route, seq);
}

void act_perform(struct vcpu *vcpu, uint64_t seq)
{
    struct vcpu_act *act = &vcpu->act;
    struct vm *vm = vcpu->vm;

    vcpu->state->completion = vcpu->completion;
    /* An INIT that the chunk took has reset what others see of the APIC. */
    vm->dests[vcpu->index] = vlapic_dest(&vcpu->state->lapic);
    switch (act->kind) {
    case ACT_IN:
        vcpu->state->completion.gpr_value = vports_in(&vm->ports, act->port, act->size);
        break;
    case ACT_OUT:
        port_out(vcpu);
        break;
    case ACT_APIC_WRITE:
        apic_write(vcpu, seq);
        break;
    case ACT_HALT:
        /* The single-step trap of HLT itself wakes it at once (SDM 2A HLT). */
        if (!(vmx_get_rflags(&vcpu->vmx) & RFLAGS_TF))
            vcpu->state->activity = VCPU_HALTED;
        break;
    case ACT_END:
        act_end_guest(vm, vcpu->index, act->outcome, 0, act->reason);
        break;
    default:
        break;
    }
}
