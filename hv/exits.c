#include "hv/exits.h"

#include "drivers/vdev/cpuid.h"
#include "hv/base/check.h"
#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/exit_cr.h"
#include "hv/exit_dr.h"
#include "hv/exit_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum exit_step exit_end(struct vcpu *vcpu, enum rec_end end, enum vcpu_act_kind act, uint32_t length)
{
    vcpu->end = (uint8_t)end;
    vcpu->act.kind = (uint8_t)act;
    vcpu->completion = (struct vcpu_completion){.length = length};
    return EXIT_ENDED;
}

enum exit_step exit_refuse(struct vcpu *vcpu, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(vcpu->act.reason, sizeof(vcpu->act.reason), format, args);
    va_end(args);
    vcpu->act.outcome = REC_OUTCOME_REFUSED;
    return exit_end(vcpu, REC_END_REFUSED, ACT_END, 0);
}

static enum exit_step skip(struct vcpu *vcpu)
{
    vmx_skip_instruction(&vcpu->vmx);
    return EXIT_RESUME;
}

static enum exit_step general_protection(struct vcpu *vcpu)
{
    vmx_inject_exception(&vcpu->vmx, VECTOR_GP, 0);
    return EXIT_RESUME;
}

static enum exit_step undefined(struct vcpu *vcpu)
{
    vmx_inject_exception(&vcpu->vmx, VECTOR_UD, 0);
    return EXIT_RESUME;
}

/* ---- Interrupts ---- */

/* What the 8259 pair gave comes first: it is no business of the local APIC. */
static int pending_vector(struct vcpu *vcpu)
{
    int vector;

    if (vcpu->state->extint)
        return (int)(vcpu->state->extint & ~VCPU_EXTINT);
    if (!vcpu->irq_check)
        return -1;
    vector = vlapic_pending(&vcpu->state->lapic);
    if (vector < 0)
        vcpu->irq_check = false;
    return vector;
}

static bool event_set(struct vcpu *vcpu)
{
    struct vmx_event event;

    vmx_get_event(&vcpu->vmx, &event);
    return (event.info & VMX_INFO_VALID) != 0;
}

/*
 * An event between two iterations of a REP pushes RF = 1 (SDM 3B 18.3.1.1), and the handler's IRET would then
 * carry the guest past the breakpoint that looks for a place in the rest of the REP. RF that was set to pass
 * a breakpoint must not be pushed either. To the guest RF means something only where a breakpoint of its own
 * is, and there it is the guest's: anywhere else no event that is injected pushes it.
 */
static void clear_resume_flag(struct vcpu *vcpu)
{
    if ((vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF) && !vmx_debug_here(&vcpu->vmx))
        vmx_resume_flag(&vcpu->vmx, false);
}

bool vcpu_would_inject(struct vcpu *vcpu)
{
    if (!vcpu->state->nmi_pending && pending_vector(vcpu) < 0)
        return false;
    if (event_set(vcpu))
        return false;
    if (vcpu->state->nmi_pending && vmx_can_take_nmi(&vcpu->vmx))
        return true;
    return pending_vector(vcpu) >= 0 && vmx_can_take_interrupt(&vcpu->vmx);
}

static void deliver_interrupt(struct vcpu *vcpu, uint8_t vector)
{
    if (vcpu->state->extint)
        vcpu->state->extint = 0;
    else
        vlapic_deliver(&vcpu->state->lapic, vector);
    clear_resume_flag(vcpu);
    vmx_inject_interrupt(&vcpu->vmx, vector);
}

void vcpu_deliver(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;
    bool nmi_waits = state->nmi_pending != 0;
    int vector = pending_vector(vcpu);

    if (!nmi_waits && vector < 0) {
        vmx_interrupt_window(&vcpu->vmx, vcpu->wants_intr);
        vmx_nmi_window(&vcpu->vmx, false);
        return;
    }
    if (!event_set(vcpu)) {
        if (nmi_waits && vmx_can_take_nmi(&vcpu->vmx)) {
            state->nmi_pending--;
            nmi_waits = state->nmi_pending != 0;
            clear_resume_flag(vcpu);
            vmx_inject_nmi(&vcpu->vmx);
        } else if (vector >= 0 && vmx_can_take_interrupt(&vcpu->vmx)) {
            deliver_interrupt(vcpu, (uint8_t)vector);
            vector = pending_vector(vcpu);
        }
    }
    vmx_nmi_window(&vcpu->vmx, nmi_waits);
    vmx_interrupt_window(&vcpu->vmx, vector >= 0 || vcpu->wants_intr);
}

/* ---- Instructions that only the vCPU sees ---- */

static enum exit_step handle_cpuid(struct vcpu *vcpu)
{
    uint64_t *gpr = vcpu->vmx.gpr;
    struct cpuid_context context = {.cr4 = vmx_get_cr4(&vcpu->vmx),
                                    .xcr0 = vcpu->state->xcr0,
                                    .tsc_hz = vcpu->vm->tsc_hz,
                                    .vcpu = vcpu->index,
                                    .n_vcpus = vcpu->vm->vcpu_count,
                                    .apic_enabled = vlapic_enabled(&vcpu->state->lapic)};
    struct cpuid_answer answer = cpuid_model((uint32_t)gpr[GPR_RAX], (uint32_t)gpr[GPR_RCX], &context);

    gpr[GPR_RAX] = answer.eax;
    gpr[GPR_RBX] = answer.ebx;
    gpr[GPR_RCX] = answer.ecx;
    gpr[GPR_RDX] = answer.edx;
    return skip(vcpu);
}

static enum exit_step handle_rdtsc(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t now = vcpu_read_time(vcpu);

    vcpu->vmx.gpr[GPR_RAX] = (uint32_t)now;
    vcpu->vmx.gpr[GPR_RDX] = now >> 32;
    if (exit->reason == VMX_EXIT_RDTSCP) {
        uint64_t aux = 0;
        vmx_get_msr(&vcpu->vmx, VMSR_TSC_AUX, &aux);
        vcpu->vmx.gpr[GPR_RCX] = (uint32_t)aux;
    }
    return skip(vcpu);
}

/* RDRAND and RDSEED (SDM 2B): the value, CF set, the other arithmetic flags clear. */
static enum exit_step handle_random(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t value = vrandom_next(&vcpu->state->random);
    uint64_t old = vcpu->vmx.gpr[exit->random.gpr];
    uint64_t arithmetic = RFLAGS_OF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;

    if (exit->random.size == 2)
        value = (old & ~UINT64_C(0xffff)) | (value & 0xffff);
    else if (exit->random.size == 4)
        value = (uint32_t)value;
    vmx_set_gpr(&vcpu->vmx, exit->random.gpr, value);
    vmx_set_rflags(&vcpu->vmx, (vmx_get_rflags(&vcpu->vmx) & ~arithmetic) | RFLAGS_CF);
    return skip(vcpu);
}

static enum exit_step handle_xsetbv(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    if (exit->msr.index != 0 || vmx_get_cpl(&vcpu->vmx) != 0 || !cpuid_xcr0_valid(exit->msr.value))
        return general_protection(vcpu);
    vcpu->state->xcr0 = exit->msr.value;
    xsetbv(0, exit->msr.value);
    return skip(vcpu);
}

/* ---- MSRs ---- */

static void return_msr(struct vcpu *vcpu, uint64_t value)
{
    vcpu->vmx.gpr[GPR_RAX] = (uint32_t)value;
    vcpu->vmx.gpr[GPR_RDX] = value >> 32;
}

static enum exit_step handle_rdmsr(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint32_t msr = exit->msr.index, reg;
    uint64_t value = 0;

    switch (msr_classify(msr, false)) {
    case MSR_CLASS_PASS:
    case MSR_CLASS_CONTEXT:
        if (!vmx_get_msr(&vcpu->vmx, msr, &value))
            return general_protection(vcpu);
        break;
    case MSR_CLASS_STORED:
        value = vmsrs_read(&vcpu->state->msrs, msr);
        break;
    case MSR_CLASS_TIME:
        value = vcpu_read_time(vcpu);
        break;
    case MSR_CLASS_APIC:
        reg = vlapic_msr_reg(&vcpu->state->lapic, msr);
        if (vlapic_read_class(&vcpu->state->lapic, reg) != VLAPIC_CLASS_LOCAL)
            return general_protection(vcpu);
        value = vlapic_read(&vcpu->state->lapic, reg,
                            vlapic_uses_time(&vcpu->state->lapic, reg, false) ? vcpu_read_time(vcpu) : 0);
        break;
    default:
        return general_protection(vcpu);
    }
    return_msr(vcpu, value);
    return skip(vcpu);
}

enum exit_step exit_apic_write(struct vcpu *vcpu, uint32_t reg, uint64_t value, uint32_t length)
{
    struct vlapic *lapic = &vcpu->state->lapic;

    switch (vlapic_write_class(lapic, reg, value)) {
    case VLAPIC_CLASS_LOCAL:
        vlapic_write(lapic, reg, value, vlapic_uses_time(lapic, reg, true) ? vcpu_read_time(vcpu) : 0);
        vcpu->irq_check = true;
        chunk_shorten(vcpu);
        return EXIT_RESUME;
    case VLAPIC_CLASS_ACT:
        vcpu->act.reg = reg;
        vcpu->act.value = value;
        return exit_end(vcpu, REC_END_APIC, ACT_APIC_WRITE, length);
    default: /* the caller has taken care of MSRs; a register of the page ignores what it cannot take */
        return EXIT_RESUME;
    }
}

static enum exit_step write_apic_msr(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    struct vlapic *lapic = &vcpu->state->lapic;
    uint32_t reg = vlapic_msr_reg(lapic, exit->msr.index);
    enum exit_step step;

    if (vlapic_write_class(lapic, reg, exit->msr.value) == VLAPIC_CLASS_FAULT)
        return general_protection(vcpu);
    step = exit_apic_write(vcpu, reg, exit->msr.value, exit->instruction_length);
    return step == EXIT_RESUME ? skip(vcpu) : step;
}

static enum exit_step write_context_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    if (!msr_value_valid(msr, value))
        return general_protection(vcpu);
    if (msr == VMSR_EFER) {
        uint64_t old = vmx_get_efer(&vcpu->vmx);
        if (!msr_efer_valid(old, value, vmx_get_cr0(&vcpu->vmx)))
            return general_protection(vcpu);
        value = msr_efer_merge(old, value);
    }
    return vmx_set_msr(&vcpu->vmx, msr, value) ? skip(vcpu) : general_protection(vcpu);
}

static enum exit_step handle_wrmsr(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint32_t msr = exit->msr.index;

    switch (msr_classify(msr, true)) {
    case MSR_CLASS_PASS:
    case MSR_CLASS_CONTEXT:
        return write_context_msr(vcpu, msr, exit->msr.value);
    case MSR_CLASS_STORED:
        if (!msr_value_valid(msr, exit->msr.value))
            return general_protection(vcpu);
        vmsrs_write(&vcpu->state->msrs, msr, exit->msr.value);
        return skip(vcpu);
    case MSR_CLASS_APIC:
        return write_apic_msr(vcpu, exit);
    default:
        return general_protection(vcpu);
    }
}

/* ---- Exits that end chunks, and memory ---- */

/*
 * Interrupts can be taken. If none is there but one of the 8259 pair was waiting when the chunk began, the
 * chunk ends here and the next one takes it; or, where a recorded chunk could not be cut, an instruction
 * later.
 */
static enum exit_step handle_window(struct vcpu *vcpu)
{
    if (!vcpu->wants_intr || pending_vector(vcpu) >= 0 || !vmx_can_take_interrupt(&vcpu->vmx))
        return EXIT_RESUME;
    vcpu->wants_intr =
        false; /* the window has done its work, and would hold up steps to where a cut can be */
    if (vcpu->vm->mode == VM_RUN || !(vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF))
        return EXIT_TIMER;
    chunk_end_soon(vcpu);
    return EXIT_RESUME;
}

static enum exit_step handle_io(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    static const uint64_t masks[] = {0, 0xff, 0xffff, 0, 0xffffffff};

    if (exit->io.string)
        return exit_string_io(vcpu, exit);
    vcpu->act.port = exit->io.port;
    vcpu->act.size = exit->io.size;
    vcpu->act.value = vcpu->vmx.gpr[GPR_RAX] & masks[exit->io.size & 7];
    vcpu->time_used = vcpu->time_used || vports_uses_time(exit->io.port, exit->io.size);
    exit_end(vcpu, REC_END_IO, exit->io.in ? ACT_IN : ACT_OUT, exit->instruction_length);
    if (exit->io.in) {
        vcpu->completion.gpr = GPR_RAX;
        vcpu->completion.gpr_mask = exit->io.size == 4 ? UINT64_MAX : masks[exit->io.size & 7];
    }
    vmx_debug_port(&vcpu->vmx, exit->io.port, exit->io.size);
    return EXIT_ENDED;
}

static enum exit_step handle_pause(struct vcpu *vcpu)
{
    vmx_skip_instruction(&vcpu->vmx);
    if (++vcpu->pauses < vcpu->vm->pause_limit)
        return EXIT_RESUME;
    return exit_end(vcpu, REC_END_PAUSE, ACT_NONE, 0);
}

static enum exit_step handle_ept_violation(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t gpn = exit->ept.gpa.raw >> PAGE_SHIFT;

    if (exit->ept.gpa.raw >= vcpu->vm->memory_bytes) {
        if (exit->ept.page_walk || exit->ept.fetch || vmx_reinject(&vcpu->vmx))
            return exit_refuse(vcpu, "%s at %#llx, outside memory",
                               exit->ept.page_walk ? "page table"
                               : exit->ept.fetch   ? "code"
                                                   : "stack or descriptor table",
                               (unsigned long long)exit->ept.gpa.raw);
        return mmio_access(vcpu, exit);
    }
    HV_CHECK(vcpu->vm->mode != VM_RUN);
    /* A breakpoint on the instruction has fired before the access. The exit saves RF = 1 (SDM 3C 28.3.3), but
     * not in all emulators. */
    if (!vmx_reinject(&vcpu->vmx) && vmx_debug_here(&vcpu->vmx))
        vmx_resume_flag(&vcpu->vmx, true);
    if (exit->ept.page_walk)
        view_note_table(&vcpu->view, (uint32_t)gpn);
    /* A translation older than the copy can still be cached; the violation has dropped it. */
    if (view_has_copy(&vcpu->view, (uint32_t)gpn))
        return EXIT_RESUME;
    if (view_write_fault(&vcpu->view, (uint32_t)gpn) != VIEW_FAULT_COPIED)
        return EXIT_NO_PAGE;
    /* On real CPUs the violation saves RF = 1, where no chunk is cut: so it ends soon, at another
     * instruction. */
    if (view_nearly_full(&vcpu->view))
        chunk_end_soon(vcpu);
    return EXIT_RESUME;
}

/*
 * A benign exception: one that an event's delivery raises is delivered in place of the event (SDM 3A 6.15).
 * But where the delivery of #AC itself raises #AC, a processor would never come to an end, nor take an
 * interrupt meanwhile.
 */
static enum exit_step handle_alignment_check(struct vcpu *vcpu)
{
    uint32_t vectoring = vcpu->vmx.raw.idt_vectoring_info;
    uint32_t exception = VMX_INFO_VALID | VMX_EVENT_HARDWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT | VECTOR_AC;

    if ((vectoring & (VMX_INFO_VALID | VMX_INFO_TYPE | VMX_INFO_VECTOR)) == exception)
        return exit_refuse(vcpu, "an alignment check whose delivery raises an alignment check, at %#llx",
                           (unsigned long long)vmx_get_linear_rip(&vcpu->vmx));
    vmx_inject_exception(&vcpu->vmx, VECTOR_AC, 0);
    return EXIT_RESUME;
}

static enum exit_step handle_exception(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    if (exit->host_nmi) {
        vmx_reinject(&vcpu->vmx);
        return EXIT_RESUME;
    }
    if (vmx_breakpoint_hit(&vcpu->vmx, exit))
        return EXIT_BREAKPOINT;
    if (exit->exception.vector == VECTOR_AC)
        return handle_alignment_check(vcpu);
    HV_CHECK(exit->exception.vector == VECTOR_DB);
    clear_resume_flag(vcpu);
    vmx_deliver_debug(&vcpu->vmx, &exit->exception);
    return EXIT_RESUME;
}

/* The interrupt is still pending in the local APIC: opening interrupts for a moment takes it. */
static enum exit_step handle_host_interrupt(struct vcpu *vcpu)
{
    cpu_sti();
    cpu_pause();
    cpu_cli();
    vmx_reinject(&vcpu->vmx);
    return EXIT_RESUME;
}

/*
 * The log of written pages is full, which the access that led here was not let into (SDM 3C 29.3.6): it
 * comes again.
 */
static enum exit_step handle_pml_full(struct vcpu *vcpu)
{
    HV_CHECK(vcpu->vm->pml);
    vmx_reinject(&vcpu->vmx);
    chunk_take_written(vcpu);
    return EXIT_RESUME;
}

static enum exit_step handle_triple_fault(struct vcpu *vcpu)
{
    vcpu->act.outcome = REC_OUTCOME_SHUTDOWN;
    snprintf(vcpu->act.reason, sizeof(vcpu->act.reason), "triple fault at %#llx",
             (unsigned long long)vmx_get_linear_rip(&vcpu->vmx));
    return exit_end(vcpu, REC_END_SHUTDOWN, ACT_END, 0);
}

static enum exit_step handle_unknown(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    struct exit_rule rule = exit_rule(exit->reason);

    HV_CHECK(rule.class != EXIT_CLASS_IMPOSSIBLE);
    return exit_refuse(vcpu, "VM exit %u (%s) at %#llx", exit->reason, vmx_exit_name(exit->reason),
                       (unsigned long long)exit->rip);
}

static void count_exit(struct vcpu *vcpu, uint32_t handler)
{
    static const uint8_t counters[EXIT_HANDLE_COUNT] = {
        [EXIT_HANDLE_TIMER] = REC_COUNT_EXIT_TIMER,
        [EXIT_HANDLE_EPT_VIOLATION] = REC_COUNT_EXIT_EPT,
        [EXIT_HANDLE_PAUSE] = REC_COUNT_EXIT_PAUSE,
        [EXIT_HANDLE_IO] = REC_COUNT_EXIT_IO,
        [EXIT_HANDLE_HLT] = REC_COUNT_EXIT_HLT,
        [EXIT_HANDLE_RDMSR] = REC_COUNT_EXIT_MSR,
        [EXIT_HANDLE_WRMSR] = REC_COUNT_EXIT_MSR,
        [EXIT_HANDLE_RDTSC] = REC_COUNT_EXIT_TIME,
        [EXIT_HANDLE_CPUID] = REC_COUNT_EXIT_CPUID,
        [EXIT_HANDLE_CR] = REC_COUNT_EXIT_REGISTERS,
        [EXIT_HANDLE_DR] = REC_COUNT_EXIT_REGISTERS,
        [EXIT_HANDLE_XSETBV] = REC_COUNT_EXIT_REGISTERS,
        [EXIT_HANDLE_WINDOW] = REC_COUNT_EXIT_WINDOW,
        [EXIT_HANDLE_EXCEPTION] = REC_COUNT_EXIT_EXCEPTION,
        [EXIT_HANDLE_HOST_INTERRUPT] = REC_COUNT_EXIT_INTERRUPT,
        [EXIT_HANDLE_PML_FULL] = REC_COUNT_EXIT_PML,
    };

    vcpu->counters[REC_COUNT_EXITS]++;
    vcpu->counters[counters[handler] ? counters[handler] : REC_COUNT_EXIT_OTHER]++;
}

enum exit_step exit_handle(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    count_exit(vcpu, exit_rule(exit->reason).handler);
    if (exit->entry_failed)
        return exit_refuse(vcpu, "VM entry refused the guest's state (reason %u, qualification %llu)",
                           exit->reason, (unsigned long long)vcpu->vmx.raw.qualification);
    switch (exit_rule(exit->reason).handler) {
    case EXIT_HANDLE_EXCEPTION:
        return handle_exception(vcpu, exit);
    case EXIT_HANDLE_HOST_INTERRUPT:
        return handle_host_interrupt(vcpu);
    case EXIT_HANDLE_TRIPLE_FAULT:
        return handle_triple_fault(vcpu);
    case EXIT_HANDLE_WINDOW:
        return handle_window(vcpu);
    case EXIT_HANDLE_CPUID:
        return handle_cpuid(vcpu);
    case EXIT_HANDLE_HLT:
        return exit_end(vcpu, REC_END_HLT, ACT_HALT, exit->instruction_length);
    case EXIT_HANDLE_SKIP:
    case EXIT_HANDLE_INVLPG:
        return skip(vcpu);
    case EXIT_HANDLE_UNDEFINED:
        return undefined(vcpu);
    case EXIT_HANDLE_GP:
        return general_protection(vcpu);
    case EXIT_HANDLE_RDTSC:
        return handle_rdtsc(vcpu, exit);
    case EXIT_HANDLE_RANDOM:
        return handle_random(vcpu, exit);
    case EXIT_HANDLE_CR:
        return exit_cr_access(vcpu, exit);
    case EXIT_HANDLE_DR:
        return exit_dr_access(vcpu, exit);
    case EXIT_HANDLE_IO:
        return handle_io(vcpu, exit);
    case EXIT_HANDLE_RDMSR:
        return handle_rdmsr(vcpu, exit);
    case EXIT_HANDLE_WRMSR:
        return handle_wrmsr(vcpu, exit);
    case EXIT_HANDLE_PAUSE:
        return handle_pause(vcpu);
    case EXIT_HANDLE_EPT_VIOLATION:
        return handle_ept_violation(vcpu, exit);
    case EXIT_HANDLE_TIMER:
        return EXIT_TIMER;
    case EXIT_HANDLE_PML_FULL:
        return handle_pml_full(vcpu);
    case EXIT_HANDLE_XSETBV:
        return handle_xsetbv(vcpu, exit);
    default:
        return handle_unknown(vcpu, exit);
    }
}
