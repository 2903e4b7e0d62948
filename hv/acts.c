#include "hv/acts.h"

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/devices.h"

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

/* Accesses that don't need the time must not use it: the record of the chunk may have none. */
static uint64_t port_time(struct vcpu *vcpu)
{
    return vports_uses_time(vcpu->act.port, vcpu->act.size) ? devices_act_time(vcpu) : 0;
}

static void port_in(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;

    vcpu->state->completion.gpr_value =
        vports_in(&vm->ports, vcpu->act.port, vcpu->act.size, port_time(vcpu));
    devices_settle(vm, seq);
}

static void port_out(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;
    struct vports_effect effect;

    vports_out(&vm->ports, vcpu->act.port, vcpu->act.size, (uint32_t)vcpu->act.value, port_time(vcpu),
               &effect);
    devices_settle(vm, seq);
    switch (effect.kind) {
    case VPORTS_CONSOLE:
        console_put(vm, (uint8_t)effect.value);
        break;
    case VPORTS_EXIT:
        act_end_guest(vm, vcpu->index, REC_OUTCOME_EXIT, effect.value, "the guest wrote its exit port");
        break;
    case VPORTS_POWER_OFF:
        act_end_guest(vm, vcpu->index, REC_OUTCOME_POWER_OFF, 0, "the guest switched itself off");
        break;
    case VPORTS_RESET:
        act_end_guest(vm, vcpu->index, REC_OUTCOME_RESET, 0, "the guest asked for a reset");
        break;
    default:
        break;
    }
}

/* The registers that others see are known to the routing from now on. */
static void apic_write(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;
    struct vlapic *lapic = &vcpu->state->lapic;
    bool is_icr = vcpu->act.reg == VLAPIC_ICR;
    int ended = vcpu->act.reg == VLAPIC_EOI ? vlapic_in_service(lapic) : -1;
    struct vlapic_targets route;

    vlapic_write(lapic, vcpu->act.reg, vcpu->act.value, vcpu->time_base);
    vcpu->irq_check = true;
    vm->dests[vcpu->index] = vlapic_dest(lapic);
    if (ended >= 0 && vlapic_is_level(lapic, (uint8_t)ended)) {
        vports_eoi(&vm->ports, (uint8_t)ended);
        devices_settle(vm, seq);
    }
    if (!is_icr)
        return;
    route = vlapic_route(vm->dests, vm->vcpu_count, vcpu->index, vlapic_icr(lapic));
    devices_send(vm, &route, false, seq);
}

/* Device memory: the I/O APIC's page, and the PCI functions' window. */
static void mmio(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;
    const struct vcpu_act *act = &vcpu->act;

    if (vports_in_window(act->reg)) {
        if (act->kind == ACT_MMIO_READ)
            vcpu->state->completion.gpr_value = vports_window_read(&vm->ports, act->reg, act->size);
        else
            vports_window_write(&vm->ports, act->reg, act->size, act->value);
    } else if (act->kind == ACT_MMIO_READ) {
        vcpu->state->completion.gpr_value = vports_ioapic_read(&vm->ports, act->reg & PAGE_MASK);
    } else {
        vports_ioapic_write(&vm->ports, act->reg & PAGE_MASK, (uint32_t)act->value, devices_act_time(vcpu));
    }
    devices_settle(vm, seq);
}

void act_perform(struct vcpu *vcpu, uint64_t seq)
{
    struct vcpu_act *act = &vcpu->act;
    struct vm *vm = vcpu->vm;

    vcpu->state->completion = vcpu->completion;
    /* An INIT that the chunk took has reset what others see of the APIC. */
    vm->dests[vcpu->index] = vlapic_dest(&vcpu->state->lapic);
    if (vm->mode != VM_RUN)
        devices_acknowledge(vcpu, seq);
    switch (act->kind) {
    case ACT_IN:
        port_in(vcpu, seq);
        break;
    case ACT_OUT:
        port_out(vcpu, seq);
        break;
    case ACT_MMIO_READ:
    case ACT_MMIO_WRITE:
        mmio(vcpu, seq);
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
