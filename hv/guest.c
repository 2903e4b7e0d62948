#include "hv/guest.h"

#include "hv/acts.h"
#include "hv/base/check.h"
#include "hv/cpu/smp.h"
#include "hv/dma.h"
#include "hv/host_date.h"
#include "hv/input.h"
#include "hv/panic.h"
#include "hv/position.h"
#include "hv/record.h"
#include "hv/replay.h"
#include "hv/run.h"
#include "hv/sleep.h"
#include "hv/soak.h"
#include "hv/state.h"

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
    if (vm->counts_branches)
        vmx_pmu_begin(&vcpu->vmx, &vm->pmu);
    /* Another guest's translations may be left from before the machine was last reset. */
    vmx_invept_all();
    if (vm->mode == VM_RECORD)
        record_vcpu(vcpu);
    else if (vm->mode == VM_REPLAY)
        replay_vcpu(vcpu);
    else
        run_vcpu(vcpu);
    vmx_pmu_end(&vcpu->vmx);
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
    policy.count_branches = vm->counts_branches;
    policy.pml = vm->pml;
    policy.exit_pause = policy.exit_pause && vm->pause_limit != VM_NO_PAUSE_END;
    vm->caps = caps;
    vm->rep_step = MAX(vm->rep_step >> caps->timer_shift, 2u);
    if (vmx_controls_compute(caps, &policy, &vm->controls, &refusal))
        return true;
    hv_msg(MSG_ERROR, "missing: %s: %s cannot be %s (%s bit %u)", refusal.control, refusal.name,
           refusal.wanted ? "set" : "clear", refusal.msr, refusal.bit);
    return false;
}

static void start(struct hv_state *hv, struct vm *vm)
{
    /* The devices' view compares and copies pages here, with SIMD registers, as the vCPUs' do there. */
    xsetbv(0, CPUID_MODEL_XCR0);
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

static void take_inputs(struct vm *vm, struct control *control)
{
    input_time(vm);
    dma_poll(vm);
    control_input(control);
}

/* In a replay of a log without an end, the vCPUs return by themselves. */
static void watch(struct vm *vm, struct control *control, uint64_t deadline)
{
    uint32_t turns = 0;

    while (vcpus_run(vm)) {
        control_poll(control);
        if (vm->mode == VM_REPLAY)
            input_replay(vm);
        else
            take_inputs(vm, control);
        if (vm_stopping(vm)) {
            sleep_wake_all(vm);
        } else if (++turns % RETIRED_CHECKS == 0) {
            notice_halt(vm);
            notice_limit(vm);
        }
        if (deadline && rdtsc() > deadline)
            panic(NULL, "the guest does not end");
    }
    /* What came in after the last chunk. */
    if (vm->mode == VM_REPLAY)
        input_replay(vm);
    vm->tsc_end = rdtsc();
}

/* The vCPUs' CPUs are free for another guest. */
static void wait_until_idle(struct hv_state *hv, const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        while (!smp_is_idle(&hv->cpus, vm->vcpus[i]->cpu))
            cpu_pause();
    }
}

struct vm_config guest_config(struct hv_state *hv, enum vm_mode mode)
{
    return (struct vm_config){.options = &hv->options,
                              .mode = mode,
                              .seed = hv->options.seed,
                              .boot = &hv->boot,
                              .mem = &hv->mem,
                              .vcpus = hv->report.vcpus,
                              .tsc_hz = hv->cpus.tsc_khz * 1000,
                              .entropy = rdtsc()};
}

enum machine_status guest_make(struct hv_state *hv, const struct vm_config *config, struct vm **vm)
{
    enum machine_status status = vm_create(config, vm);

    if (status != MACHINE_OK)
        return status;
    position_choose_way(*vm, &hv->report.pmu);
    if (config->mode == VM_REPLAY && hv->report.pmu.lack == VMX_PMU_LACKS_NOTHING && !(*vm)->counts_branches)
        hv_msg(MSG_INFO, "chunk ends: by time, without the PMU: the log has no counts of branches");
    return compute_controls(*vm, &hv->report.caps) ? MACHINE_OK : MACHINE_REFUSED;
}

enum machine_status guest_execute(struct hv_state *hv, struct vm *vm, struct control *control,
                                  enum control_log log_to, uint64_t deadline)
{
    control_begin(control, vm, log_to);
    if (vm->mode != VM_REPLAY)
        input_date(vm, host_date());
    start(hv, vm);
    watch(vm, control, deadline);
    wait_until_idle(hv, vm);
    if (vm->mode == VM_REPLAY)
        replay_take_outcome(vm);
    return control_end(control);
}

static bool take_log_module(struct hv_state *hv, struct vm_config *config)
{
    const char *ignored;
    const struct boot_module *log = vm_find_module(&hv->boot, "log", &ignored);

    if (!log) {
        hv_msg(MSG_ERROR, "no log: mode=replay needs a module whose command line is the word log");
        return false;
    }
    config->log = (const uint8_t *)log->start;
    config->log_bytes = log->end - log->start;
    return true;
}

enum machine_status guest_run(struct hv_state *hv)
{
    static const enum vm_mode modes[] = {
        [MODE_RECORD] = VM_RECORD, [MODE_REPLAY] = VM_REPLAY, [MODE_RUN] = VM_RUN};
    struct vm_config config;
    struct vm *vm;
    struct control *control;
    enum machine_status status;
    bool serial = hv->options.log == LOG_SERIAL;

    if (hv->options.mode == MODE_SOAK)
        return soak_run(hv);
    config = guest_config(hv, modes[hv->options.mode]);
    if (config.mode == VM_REPLAY && !take_log_module(hv, &config))
        return MACHINE_BAD_LOG;
    status = guest_make(hv, &config, &vm);
    if (status != MACHINE_OK)
        return status;
    control = control_create(&hv->com1, &hv->options, config.tsc_hz, 0, &hv->mem);
    if (!control) {
        hv_msg(MSG_ERROR, "not enough memory for the log");
        return MACHINE_REFUSED;
    }
    status = guest_execute(hv, vm, control, serial ? CONTROL_LOG_WIRE : CONTROL_LOG_DROP, 0);
    return control_close(control, status);
}
