/* The processor's VMX side: VMCS, entry with its checks, what comes between instructions, exit. */
#include "test/fake/processor.h"

#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "test/fake/processor_inside.h"
#include "vmx/entry.h"
#include "vmx/vmcs.h"

#define DR6_CAUSES     UINT64_C(0x400f)
#define VMX_EXIT_TICKS 40u

_Thread_local struct fakecpu *fakecpu_this;
struct fakecpu *fakecpu_all[FAKECPU_MAX];

static void yield_nothing(void)
{
}

void (*fakecpu_yield)(void) = yield_nothing;

uint64_t fake_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

bool fakecpu_chance(struct fakecpu *cpu, uint32_t rate)
{
    return rate && fake_random(&cpu->random) % 1000 < rate;
}

struct fakecpu *fakecpu_new(uint32_t index, uint32_t pages, const struct fakecpu_model *model,
                            uint64_t *clock)
{
    struct fakecpu *cpu = calloc(1, sizeof(*cpu));

    HV_CHECK(cpu && index < FAKECPU_MAX);
    cpu->index = index;
    cpu->model = *model;
    cpu->random = model->seed * 0x2545f4914f6cdd1du + index;
    cpu->clock = clock;
    cpu->xcr0 = 7;
    cpu->vmcs = calloc(FAKECPU_VMCS_FIELDS, sizeof(*cpu->vmcs));
    HV_CHECK(cpu->vmcs);
    faketlb_init(&cpu->tlb, pages, 0);
    cpu->tlb.accessed_on_violation = model->accessed_on_violation;
    fakecpu_all[index] = cpu;
    return cpu;
}

void fakecpu_delete(struct fakecpu *cpu)
{
    fakecpu_all[cpu->index] = NULL;
    faketlb_free(&cpu->tlb);
    free(cpu->vmcs);
    free(cpu);
}

/* ---- VMX instructions ---- */

uint64_t vmcs_read(enum vmx_field field)
{
    return fakecpu_this->vmcs[field];
}

void vmcs_write(enum vmx_field field, uint64_t value)
{
    unsigned bytes = vmx_field_bytes(field);

    HV_CHECK(vmx_field_kind(field) != VMX_KIND_EXIT_INFO); /* read-only (SDM 3C 25.11.2) */
    fakecpu_this->vmcs[field] = bytes == 8 ? value : value & (BIT(bytes * 8) - 1);
}

void vmcs_invept(enum vmcs_invalidate type, uint64_t eptp)
{
    if (type == VMCS_SINGLE_CONTEXT)
        faketlb_invept(&fakecpu_this->tlb, eptp);
    else
        faketlb_invept_all(&fakecpu_this->tlb);
}

/* Drops linear translations only: without guest paging there are none. */
void vmcs_invvpid(enum vmcs_invalidate type, uint16_t vpid)
{
    (void)type;
    (void)vpid;
}

/* ---- Entry ---- */

static bool event_fits(const struct fakerun *run, uint32_t info)
{
    uint32_t type = (info & VMX_INFO_TYPE) >> VMX_INFO_TYPE_SHIFT;

    if (!(info & VMX_INFO_VALID))
        return true;
    /* A control, so that the whole entry would fail (SDM 3C 27.2.1.3). */
    HV_CHECK(!(info & VMX_INFO_ERROR_VALID) || (run->cpu->vmcs[VMCS_GUEST_CR0] & CR0_PE));
    if (type == VMX_EVENT_EXTERNAL_INTERRUPT)
        return (run->rflags & RFLAGS_IF) && !(run->interruptibility & VMX_SHADOWS);
    if (type == VMX_EVENT_NMI)
        return !(run->interruptibility & (VMX_SHADOWS | VMX_BLOCKING_BY_NMI));
    return !(run->interruptibility & VMX_BLOCKING_BY_MOV_SS);
}

/* SDM 3C 27.3.1.4, 27.3.1.5, as far as this machine can get there. */
static bool state_fits(const struct fakerun *run, uint32_t info)
{
    uint32_t shadows = run->interruptibility & VMX_SHADOWS;
    bool step = (run->rflags & RFLAGS_TF) != 0, due = (run->pending_debug & VMX_PENDING_DEBUG_BS) != 0;

    if (!(run->rflags & RFLAGS_ONE) || (run->rflags & UINT64_C(0xffffffffffc08028)))
        return false;
    if (shadows == VMX_SHADOWS || ((shadows & VMX_BLOCKING_BY_STI) && !(run->rflags & RFLAGS_IF)))
        return false;
    if (shadows && step != due)
        return false;
    return event_fits(run, info);
}

static void check_controls(const uint64_t *vmcs)
{
    HV_CHECK(vmcs[VMCS_PIN_CONTROLS] & PIN_VIRTUAL_NMIS);
    HV_CHECK(!(vmcs[VMCS_EXIT_CONTROLS] & EXIT_SAVE_PREEMPTION_TIMER) ||
             (vmcs[VMCS_PIN_CONTROLS] & PIN_PREEMPTION_TIMER));
    HV_CHECK(!(vmcs[VMCS_ENTRY_CONTROLS] & ENTRY_IA32E_GUEST));
    HV_CHECK(!(vmcs[VMCS_GUEST_CR0] & CR0_PG) && vmcs[VMCS_GUEST_ACTIVITY] == VMX_ACTIVE);
}

static void load_run(struct fakerun *run, struct fakecpu *cpu, const struct vmx_vcpu *vcpu)
{
    uint64_t *vmcs = cpu->vmcs;

    *run = (struct fakerun){.cpu = cpu,
                            .rip = (uint32_t)vmcs[VMCS_GUEST_RIP],
                            .rflags = vmcs[VMCS_GUEST_RFLAGS],
                            .interruptibility = (uint32_t)vmcs[VMCS_GUEST_INTERRUPTIBILITY],
                            .pending_debug = vmcs[VMCS_GUEST_PENDING_DEBUG],
                            .eptp = vmcs[VMCS_EPTP],
                            .timer = vmcs[VMCS_GUEST_PREEMPTION_TIMER],
                            .timer_on = vmcs[VMCS_PIN_CONTROLS] & PIN_PREEMPTION_TIMER};
    for (unsigned i = 0; i < ARRAY_LEN(run->r); i++)
        run->r[i] = (uint32_t)vcpu->gpr[i];
    run->r[GPR_RSP] = (uint32_t)vmcs[VMCS_GUEST_RSP];
}

static void store_run(const struct fakerun *run, struct vmx_vcpu *vcpu)
{
    uint64_t *vmcs = run->cpu->vmcs;

    vmcs[VMCS_GUEST_RIP] = run->rip;
    vmcs[VMCS_GUEST_RFLAGS] = run->rflags;
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = run->interruptibility;
    vmcs[VMCS_GUEST_PENDING_DEBUG] = run->pending_debug;
    vmcs[VMCS_ENTRY_INTERRUPTION_INFO] &= ~(uint64_t)VMX_INFO_VALID;
    if (vmcs[VMCS_EXIT_CONTROLS] & EXIT_SAVE_PREEMPTION_TIMER)
        vmcs[VMCS_GUEST_PREEMPTION_TIMER] = run->timer;
    for (unsigned i = 0; i < ARRAY_LEN(run->r); i++)
        vcpu->gpr[i] = run->r[i];
    vcpu->gpr[GPR_RSP] = 0xbad; /* the real one is in the VMCS */
    vmcs[VMCS_GUEST_RSP] = run->r[GPR_RSP];
}

/* ---- Between instructions ---- */

enum fakestep fake_exit(struct fakerun *run, uint32_t reason, uint64_t qualification, uint32_t length)
{
    uint64_t *vmcs = run->cpu->vmcs;

    HV_CHECK(!run->exited);
    run->exited = true;
    vmcs[VMCS_EXIT_REASON] = reason;
    vmcs[VMCS_EXIT_QUALIFICATION] = qualification;
    vmcs[VMCS_EXIT_INSTRUCTION_LENGTH] = run->vectoring ? run->vectoring_length : length;
    vmcs[VMCS_IDT_VECTORING_INFO] = run->vectoring;
    vmcs[VMCS_IDT_VECTORING_ERROR] = run->vectoring_error;
    return FAKE_EXIT;
}

static void exit_exception(struct fakerun *run, uint32_t info, uint64_t qualification)
{
    run->cpu->vmcs[VMCS_EXIT_INTERRUPTION_INFO] = VMX_INFO_VALID | info;
    fake_exit(run, VMX_EXIT_EXCEPTION_OR_NMI, qualification, 0);
}

static void exit_debug(struct fakerun *run, uint64_t qualification)
{
    exit_exception(run, VMX_EVENT_HARDWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT | VECTOR_DB, qualification);
}

/* Exits for events that would have gone through the IDT save RF as it would have been pushed. */
static void set_rf(struct fakerun *run, bool set)
{
    run->rflags = set ? run->rflags | RFLAGS_RF : run->rflags & ~RFLAGS_RF;
}

/* Whether another processor, or the timer, interrupts the host. */
static bool host_interrupted(struct fakecpu *cpu)
{
    uint64_t now = __atomic_load_n(cpu->clock, __ATOMIC_RELAXED);
    bool timer = cpu->timer && now >= cpu->timer;

    if (timer)
        cpu->timer = 0;
    return __atomic_exchange_n(&cpu->kick, 0, __ATOMIC_ACQ_REL) || timer;
}

static void host_event(struct fakerun *run, bool interrupt)
{
    if (run->in_rep)
        set_rf(run, true);
    if (!interrupt && fake_random(&run->cpu->random) & 1)
        exit_exception(run, VMX_EVENT_NMI << VMX_INFO_TYPE_SHIFT | VECTOR_NMI, 0);
    else
        fake_exit(run, VMX_EXIT_EXTERNAL_INTERRUPT, 0, 0);
}

static bool breakpoint_here(const struct fakerun *run)
{
    return fake_any_enabled(run, fake_match_code(run)) && !run->in_rep && !(run->rflags & RFLAGS_RF) &&
           !(run->interruptibility & VMX_BLOCKING_BY_MOV_SS);
}

/* SDM 3C table 25-4: what matched counts only where one of it is enabled. */
static bool trap_due(const struct fakerun *run)
{
    return (run->pending_debug & (VMX_PENDING_DEBUG_BS | VMX_PENDING_DEBUG_ENABLED)) &&
           !(run->interruptibility & VMX_BLOCKING_BY_MOV_SS);
}

/* Between two iterations of CMPS or SCAS, a processor need not have set the flags yet. */
static void scramble_flags(struct fakerun *run)
{
    const uint64_t arithmetic = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;

    if (run->in_rep && run->in_compare)
        run->rflags = (run->rflags & ~arithmetic) | (fake_random(&run->cpu->random) & arithmetic);
}

static void counter_interrupt(struct fakerun *run)
{
    if (run->in_rep)
        set_rf(run, true);
    fake_exit(run, VMX_EXIT_EXTERNAL_INTERRUPT, 0, 0);
}

/* What comes before the instruction at RIP, in order of priority. True: an exit. */
static bool before_instruction(struct fakerun *run)
{
    struct fakecpu *cpu = run->cpu;
    uint64_t primary = cpu->vmcs[VMCS_PRIMARY_CONTROLS];
    uint32_t shadows = run->interruptibility & VMX_SHADOWS;
    bool interrupt = false;

    if (trap_due(run)) {
        uint64_t causes = run->pending_debug & DR6_CAUSES;
        run->pending_debug = 0;
        set_rf(run, run->in_rep || (run->rflags & RFLAGS_RF));
        exit_debug(run, causes);
        return true;
    }
    if (run->in_rep)
        set_rf(run, cpu->model.rep_cut_sets_rf);
    if (run->timer_on && run->timer == 0) {
        scramble_flags(run);
        fake_exit(run, VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    } else if ((primary & PRIMARY_NMI_WINDOW) && !shadows && !(run->interruptibility & VMX_BLOCKING_BY_NMI))
        fake_exit(run, VMX_EXIT_NMI_WINDOW, 0, 0);
    else if ((primary & PRIMARY_INTERRUPT_WINDOW) && !shadows && (run->rflags & RFLAGS_IF))
        fake_exit(run, VMX_EXIT_INTERRUPT_WINDOW, 0, 0);
    else if (cpu->pmu.waits)
        counter_interrupt(run);
    else if ((interrupt = host_interrupted(cpu)) || fakecpu_chance(cpu, cpu->model.host_events))
        host_event(run, interrupt);
    else if (breakpoint_here(run))
        exit_debug(run, fake_match_code(run));
    return run->exited;
}

static void spend(struct fakerun *run)
{
    struct fakecpu *cpu = run->cpu;
    uint64_t ticks = 1;

    if (fakecpu_chance(cpu, cpu->model.slow))
        ticks += fake_random(&cpu->random) % (cpu->model.slow_ticks + 1);
    run->timer -= MIN(run->timer, ticks);
    cpu->instructions++;
    fakepmu_move(&cpu->pmu);
    __atomic_fetch_add(cpu->clock, ticks, __ATOMIC_RELAXED);
}

void fake_unknown(const char *expression, const char *file, int line)
{
    if (!fakecpu_this->model.strange_code)
        hv_check_failed(expression, file, line);
    longjmp(fakecpu_this->unknown, 1);
}

static void run_guest(struct fakerun *run)
{
    uint64_t *vmcs = run->cpu->vmcs;
    uint32_t info = (uint32_t)vmcs[VMCS_ENTRY_INTERRUPTION_INFO];

    if ((info & VMX_INFO_VALID) && !fake_deliver(run, info, (uint32_t)vmcs[VMCS_ENTRY_EXCEPTION_ERROR],
                                                 (uint32_t)vmcs[VMCS_ENTRY_INSTRUCTION_LENGTH]))
        return;
    /* The timer runs while the processor enters. */
    if (fakecpu_chance(run->cpu, 5 * run->cpu->model.slow))
        run->timer -= MIN(run->timer, fake_random(&run->cpu->random) % 3);
    while (!before_instruction(run)) {
        fake_step(run);
        if (run->exited)
            return;
        spend(run);
        if (fakecpu_chance(run->cpu, run->cpu->model.speculate))
            fake_speculate(run);
        if (fakecpu_chance(run->cpu, run->cpu->model.walks) && !fake_walk(run))
            return;
    }
}

uint64_t vmx_run(struct vmx_vcpu *vcpu)
{
    struct fakecpu *cpu = fakecpu_this;
    struct fakerun run;

    fakecpu_yield();
    HV_CHECK(!cpu->interrupts_open);
    cpu->entries++;
    check_controls(cpu->vmcs);
    load_run(&run, cpu, vcpu);
    if (!state_fits(&run, (uint32_t)cpu->vmcs[VMCS_ENTRY_INTERRUPTION_INFO])) {
        cpu->vmcs[VMCS_EXIT_REASON] = VMX_REASON_ENTRY_FAILS | VMX_EXIT_INVALID_GUEST_STATE;
        cpu->vmcs[VMCS_EXIT_QUALIFICATION] = 0;
        return 0;
    }
    if (!setjmp(cpu->unknown))
        run_guest(&run);
    else
        fake_exit(&run, VMX_EXIT_TRIPLE_FAULT, 0, 0);
    store_run(&run, vcpu);
    __atomic_fetch_add(cpu->clock, VMX_EXIT_TICKS, __ATOMIC_RELAXED);
    return 0;
}
