#include "hv/guest.h"

#include "hv/acts.h"
#include "hv/base/check.h"
#include "hv/control.h"
#include "hv/cpu/smp.h"
#include "hv/input.h"
#include "hv/record.h"
#include "hv/replay.h"
#include "hv/run.h"
#include "hv/sleep.h"
#include "hv/state.h"
#include "hv/vm_create.h"

#define RETIRED_CHECKS 64u /* polls between two looks at whether all vCPUs sleep for good */

/* A vCPU's life on its own CPU: VMX on, VMCS, the loop of the mode, VMX off. */
static void vcpu_main(struct percpu *cpu)
{
    struct vcpu *vcpu = cpu->pub.vcpu;
    struct vm *vm = vcpu->vm;
    struct vmx_vcpu_pages pages = {
        .vmcs = vcpu->pages[1], .msr_bitmap = vcpu->pages[2], .pml = vcpu->pages[3]};
    enum vmx_on_result on = vmx_cpu_on(vm->caps, vcpu->pages[0]);

    HV_CHECK(on == VMX_ON_OK);
    vmx_vcpu_init(&vcpu->vmx, vm->caps, &vm->controls, &pages, (uint16_t)(vcpu->index + 1));
    vmx_set_eptp(&vcpu->vmx, vcpu->eptp);
    /* Another guest's translations may be left from before the machine was last reset. */
    vmx_invept_all();
    if (vm->mode == VM_RECORD)
        record_vcpu(vcpu);
    else if (vm->mode == VM_REPLAY)
        replay_vcpu(vcpu);
    else
        run_vcpu(vcpu);
    vmx_vcpu_clear(&vcpu->vmx);
    vmx_cpu_off();
    __atomic_sub_fetch(&vm->running, 1, __ATOMIC_ACQ_REL);
}

static bool compute_controls(struct vm *vm, const struct vmx_caps *caps)
{
    struct vmx_policy policy;
    struct vmx_refusal refusal;

    if (vm->mode == VM_RUN)
        vmx_policy_run(&policy);
    else
        vmx_policy_chunks(&policy);
    vm->caps = caps;
    vm->rep_step = MAX(vm->rep_step >> caps->timer_shift, 2u);
    if (vmx_controls_compute(caps, &policy, &vm->controls, &refusal))
        return true;
    hv_msg(MSG_ERROR, "the CPU refuses a VMX control that mode=%s needs",
           vm->mode == VM_RUN ? "run" : "record");
    return false;
}

static void start(struct hv_state *hv, struct vm *vm)
{
    vm->running = vm->vcpu_count;
    vm->tsc_begin = rdtsc();
    vm->tsc_start = vm->mode == VM_RUN ? 0 : vm->tsc_begin;
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpus[i];
        hv->cpus.cpus[vcpu->cpu].pub.vcpu = vcpu;
        smp_run(&hv->cpus, vcpu->cpu, vcpu_main);
    }
}

/* A guest that halts everywhere with nothing to wake it has ended, too. */
static void notice_halt(struct vm *vm)
{
    if (vm->mode == VM_REPLAY || !sleep_for_good(vm))
        return;
    spin_lock(&vm->order.lock);
    act_end_guest(vm, 0, REC_OUTCOME_HALTED, 0, "every vCPU is halted, and nothing can wake one");
    spin_unlock(&vm->order.lock);
}

/* The user's limit of time, which stands for guests that would go on for ever. */
static void notice_limit(struct vm *vm)
{
    if (vm->mode == VM_REPLAY || !vm->limit_ticks || rdtsc() - vm->tsc_begin < vm->limit_ticks)
        return;
    spin_lock(&vm->order.lock);
    act_end_guest(vm, 0, REC_OUTCOME_LIMIT, 0, "the time that was given is over");
    spin_unlock(&vm->order.lock);
}

static bool vcpus_run(const struct vm *vm)
{
    return __atomic_load_n(&vm->running, __ATOMIC_ACQUIRE) != 0;
}

/* In a replay of a log without an end, the vCPUs return by themselves. */
static void watch(struct vm *vm, struct control *control)
{
    uint32_t turns = 0;

    while (vcpus_run(vm)) {
        control_poll(control);
        if (vm->mode == VM_REPLAY)
            input_replay(vm);
        else
            control_input(control);
        if (vm_stopping(vm)) {
            sleep_wake_all(vm);
        } else if (++turns % RETIRED_CHECKS == 0) {
            notice_halt(vm);
            notice_limit(vm);
        }
    }
    /* What came in after the last chunk. */
    if (vm->mode == VM_REPLAY)
        input_replay(vm);
    vm->tsc_end = rdtsc();
}

enum machine_status guest_run(struct hv_state *hv)
{
    struct vm_config config = {.options = &hv->options,
                               .boot = &hv->boot,
                               .mem = &hv->mem,
                               .vcpus = hv->report.vcpus,
                               .tsc_hz = hv->cpus.tsc_khz * 1000,
                               .entropy = rdtsc()};
    struct vm *vm;
    struct control *control;
    enum machine_status status = vm_create(&config, &vm);

    if (status != MACHINE_OK)
        return status;
    if (!compute_controls(vm, &hv->report.caps))
        return MACHINE_REFUSED;
    control = control_create(vm, &hv->com1, config.tsc_hz, hv->options.log == LOG_SERIAL, &hv->mem);
    if (!control) {
        hv_msg(MSG_ERROR, "not enough memory for the log");
        return MACHINE_REFUSED;
    }
    start(hv, vm);
    watch(vm, control);
    if (vm->mode == VM_REPLAY)
        replay_take_outcome(vm);
    return control_finish(control);
}
