/* One VM entry and the exit that ends it. */
#include "hv/cpu/cpu.h"
#include "vmx/entry.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

_Static_assert(offsetof(struct vmx_vcpu, gpr) == VCPU_GPR(0), "entry.h");
_Static_assert(offsetof(struct vmx_vcpu, host_rsp) == VCPU_HOST_RSP, "entry.h");
_Static_assert(offsetof(struct vmx_vcpu, launched) == VCPU_LAUNCHED, "entry.h");
_Static_assert(VMCS_HOST_RSP == VMCS_HOST_RSP_ENCODING, "entry.h");

/*
 * The Bochs emulator, after an exit in the middle of a REP instruction, matches no execute breakpoint until
 * some REP instruction completes. One REP of one byte here costs next to nothing on a real CPU.
 */
static void complete_a_rep(void)
{
    uint8_t byte;
    void *at = &byte;
    uint64_t count = 1;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(0) : "memory");
}

static void read_interruption(struct vmx_exit_raw *raw)
{
    raw->interruption_info = vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO);
    if (raw->interruption_info & VMX_INFO_ERROR_VALID) {
        raw->interruption_error = vmcs_read32(VMCS_EXIT_INTERRUPTION_ERROR);
    }
}

static void read_idt_vectoring(struct vmx_exit_raw *raw)
{
    if (raw->idt_vectoring_info & VMX_INFO_ERROR_VALID) {
        raw->idt_vectoring_error = vmcs_read32(VMCS_IDT_VECTORING_ERROR);
    }
    raw->idt_instruction_length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
}

/* What some reasons alone define. */
static void read_details(struct vmx_vcpu *vcpu, uint32_t needs)
{
    struct vmx_exit_raw *raw = &vcpu->raw;

    if (needs & VMX_NEED_OPERANDS) {
        raw->rax = vcpu->gpr[GPR_RAX];
        raw->rcx = vcpu->gpr[GPR_RCX];
        raw->rdx = vcpu->gpr[GPR_RDX];
    }
    if (needs & VMX_NEED_INFO) {
        raw->instruction_info = vmcs_read32(VMCS_EXIT_INSTRUCTION_INFO);
    }
    if (needs & VMX_NEED_GPA) {
        raw->gpa = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    }
    if (needs & VMX_NEED_GLA) {
        raw->gla = vmcs_read(VMCS_GUEST_LINEAR_ADDRESS);
    }
    if (needs & VMX_NEED_INTERRUPTION) {
        read_interruption(raw);
    }
}

/*
 * Reads what the exit reason defines, and no more: a VMREAD costs tens of cycles. Fields that are looked at
 * without regard to the reason are 0 where it does not define them; others keep what they had.
 */
static void read_exit(struct vmx_vcpu *vcpu)
{
    struct vmx_exit_raw *raw = &vcpu->raw;
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
    uint32_t needs = vmx_exit_needs(reason);

    raw->reason = reason;
    raw->rip = vmcs_read(VMCS_GUEST_RIP);
    vcpu->gpr[GPR_RSP] = vmcs_read(VMCS_GUEST_RSP);
    raw->qualification = (needs & VMX_NEED_QUALIFICATION) ? vmcs_read(VMCS_EXIT_QUALIFICATION) : 0;
    raw->instruction_length = 0;
    raw->idt_vectoring_info = 0;
    if (reason & VMX_REASON_ENTRY_FAILS) {
        return; /* the other fields still tell of the exit before (SDM 3C 27.8) */
    }
    if (needs & VMX_NEED_LENGTH) {
        raw->instruction_length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    }
    if (needs & ~(VMX_NEED_QUALIFICATION | VMX_NEED_LENGTH)) {
        read_details(vcpu, needs);
    }
    raw->idt_vectoring_info = vmcs_read32(VMCS_IDT_VECTORING_INFO);
    if (raw->idt_vectoring_info & VMX_INFO_VALID) {
        read_idt_vectoring(raw);
    }
}

void vmx_enter(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
    if (vcpu->executes) {
        complete_a_rep();
    }
    vmx_step_begin(vcpu);
    if (vmx_run(vcpu) != 0) {
        vmcs_report(vcpu->launched ? "VMRESUME" : "VMLAUNCH", VMCS_NO_FIELD, 0);
    }
    read_exit(vcpu);
    vmx_step_end(vcpu);
    vmx_exit_decode(&vcpu->raw, exit);
    if (!exit->entry_failed) {
        vcpu->launched = 1;
    }
    if (exit->host_nmi) {
        /* NMIs stay blocked until an IRET (SDM 3C 28.5.5). */
        cpu_int_nmi();
    }
}
