#include "hv/devices.h"

#include "drivers/vdev/ticks.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"

#define NET_MAC                                                                                              \
    {                                                                                                        \
        0x52, 0x56, 0x00, 0x00, 0x02, 0x0F                                                                   \
    } /* a locally administered address */
#define INTR_VALID  UINT32_C(0x100)
#define INTR_VECTOR UINT32_C(0xFF)

void devices_reset(struct vm *vm)
{
    struct vports_config config = {.tsc_hz = vm->tsc_hz,
                                   .memory_bytes = vm->memory_bytes,
                                   .vcpus = vm->vcpu_count,
                                   .virtio = {.net = true, .mac = NET_MAC, .seed = vm->seed}};

    vports_reset(&vm->ports, &config);
    vm->device_deadline = TICKS_NEVER;
}

uint64_t devices_now(const struct vm *vm)
{
    uint64_t tsc = rdtsc();

    return MAX(tsc - MIN(tsc, vm->tsc_start), __atomic_load_n(&vm->time_given, __ATOMIC_ACQUIRE));
}

uint64_t devices_act_time(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t now;

    if (vm->mode == VM_RUN)
        return rdtsc();
    now = MAX(vcpu->time_base + (vcpu->time_reads + 1) * vm->time_stride, vm->ports.now);
    /* What is said of this time is a value given, too: no chunk that knows of it begins before. */
    vm->time_given = MAX(vm->time_given, now);
    return now;
}

/* A sleeping vCPU is woken by an interrupt to its CPU; a running one looks when its next chunk begins. */
static void wake(struct vcpu *target)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&target->waiting, __ATOMIC_RELAXED))
        apic_send_fixed(target->cpu, VECTOR_KICK);
}

void devices_send(struct vm *vm, const struct vlapic_targets *route, bool level, uint64_t seq)
{
    static const uint8_t kinds[] = {
        [VLAPIC_FIXED] = REC_EVENT_FIXED,
        [VLAPIC_NMI] = REC_EVENT_NMI,
        [VLAPIC_INIT] = REC_EVENT_INIT,
        [VLAPIC_SIPI] = REC_EVENT_SIPI,
    };
    struct rec_event event = {.kind = kinds[route->mode], .vector = route->vector};

    if (level && route->mode == VLAPIC_FIXED)
        event.kind = REC_EVENT_LEVEL;
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

/* In the form of an ICR that knows 8-bit destinations. */
static uint64_t icr_of(const struct vioapic_message *message)
{
    return message->vector | (uint64_t)message->mode << VLAPIC_ICR_MODE_SHIFT |
           (message->logical ? VLAPIC_ICR_LOGICAL : 0) | VLAPIC_ICR_ASSERT | (uint64_t)message->dest << 56;
}

void devices_settle(struct vm *vm, uint64_t seq)
{
    struct vioapic_message message;
    struct vlapic_targets route;
    uint32_t intr = vports_intr(&vm->ports) ? INTR_VALID | vports_intr_vector(&vm->ports) : 0;

    while (vports_next_message(&vm->ports, &message)) {
        route = vlapic_route_bus(vm->dests, vm->vcpu_count, icr_of(&message));
        if (route.targets)
            devices_send(vm, &route, message.level, seq);
    }
    if (intr != vm->intr) {
        vm->intr_seq = seq;
        __atomic_store_n(&vm->intr, intr, __ATOMIC_RELEASE);
        if (intr && vm->mode != VM_REPLAY)
            wake(vm->vcpus[0]);
    }
    __atomic_store_n(&vm->device_deadline, vports_next_deadline(&vm->ports), __ATOMIC_RELEASE);
    __atomic_store_n(&vm->device_work, vports_busy_function(&vm->ports) < VIRTIO_SLOTS, __ATOMIC_RELEASE);
}

/* ---- The 8259 pair's INTR ---- */

/* Whether vcpu, once its pending completion is applied, can take an interrupt at its next instruction. */
static bool can_take(struct vcpu *vcpu)
{
    const struct vcpu_state *state = vcpu->state;
    uint64_t rflags = vcpu->loaded ? vmx_get_rflags(&vcpu->vmx) : state->cpu.rflags;
    uint32_t shadows = vcpu->loaded ? vmx_get_interruptibility(&vcpu->vmx) : state->cpu.interruptibility;

    if (!(rflags & RFLAGS_IF) || state->completion.memory_bytes[0] || state->activity == VCPU_WAIT_SIPI)
        return false;
    return state->completion.length ||
           !(shadows & VMX_SHADOWS); /* an instruction that retires ends shadows */
}

/* One that has been fetched goes first. */
static bool is_wired(const struct vcpu *vcpu)
{
    return vcpu->index == 0 && !vcpu->state->extint && vlapic_takes_extint(&vcpu->state->lapic);
}

static bool listens(const struct vcpu *vcpu)
{
    return is_wired(vcpu) && __atomic_load_n(&vcpu->vm->intr, __ATOMIC_ACQUIRE);
}

bool devices_listen(struct vcpu *vcpu)
{
    return is_wired(vcpu) && can_take(vcpu);
}

bool devices_wake(struct vcpu *vcpu)
{
    return listens(vcpu) && can_take(vcpu);
}

bool devices_offer(struct vcpu *vcpu, uint64_t snapshot, struct rec_event *event)
{
    struct vm *vm = vcpu->vm;
    uint32_t intr;
    uint64_t since;

    vcpu->wants_intr = false;
    if (!listens(vcpu))
        return false;
    spin_lock(&vm->order.lock);
    intr = vm->intr;
    since = vm->intr_seq;
    spin_unlock(&vm->order.lock);
    if (!intr || since > snapshot)
        return false;
    if (!can_take(vcpu)) {
        vcpu->wants_intr = true;
        return false;
    }
    *event = (struct rec_event){.kind = REC_EVENT_EXTINT, .vector = (uint8_t)(intr & INTR_VECTOR)};
    return true;
}

bool devices_agree(const struct vcpu *vcpu)
{
    for (uint32_t i = 0; i < vcpu->event_count; i++) {
        if (vcpu->events[i].kind == REC_EVENT_EXTINT &&
            vcpu->vm->intr != (INTR_VALID | vcpu->events[i].vector))
            return false;
    }
    return true;
}

void devices_acknowledge(struct vcpu *vcpu, uint64_t seq)
{
    struct vm *vm = vcpu->vm;

    for (uint32_t i = 0; i < vcpu->event_count; i++) {
        if (vcpu->events[i].kind != REC_EVENT_EXTINT)
            continue;
        vports_acknowledge(&vm->ports);
        devices_settle(vm, seq);
    }
}

bool devices_take(struct vcpu *vcpu, struct rec_event *event)
{
    vcpu->wants_intr = false;
    if (!listens(vcpu))
        return false;
    if (!can_take(vcpu)) {
        vcpu->wants_intr = true;
        return false;
    }
    *event = (struct rec_event){.kind = REC_EVENT_EXTINT, .vector = vports_acknowledge(&vcpu->vm->ports)};
    devices_settle(vcpu->vm, 0);
    return true;
}
