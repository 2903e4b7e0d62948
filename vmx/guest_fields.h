/*
 * Every field of struct vmx_guest_state, once: the table vmx_guest_fields and the code that loads and saves
 * the state are made from this list, so that none of them can forget what another knows.
 *
 * F(kind, name, id, member), in the order of the struct. Kinds, with what `id` means (see enum vmx_place):
 *
 *   VMCS      VMCS field
 *   PDPTE     VMCS field that counts under PAE paging alone; 0 in the state otherwise
 *   EVENT     VMCS field that counts for a valid event alone; 0 in the state otherwise
 *   GPR       enum vmx_gpr
 *   CR0, CR2, CR4
 *   MEMORY    enum vmx_debug_register
 *   MSR       enum vmx_guest_msr that the guest cannot change without an exit
 *   LIVE_MSR  enum vmx_guest_msr that it can
 */
#ifndef RV_VMX_GUEST_FIELDS_H
#define RV_VMX_GUEST_FIELDS_H

#define VMX_GUEST_GPR_FIELDS(F)                                                                              \
    F(GPR, "RAX", GPR_RAX, gpr[GPR_RAX])                                                                     \
    F(GPR, "RCX", GPR_RCX, gpr[GPR_RCX])                                                                     \
    F(GPR, "RDX", GPR_RDX, gpr[GPR_RDX])                                                                     \
    F(GPR, "RBX", GPR_RBX, gpr[GPR_RBX])                                                                     \
    F(VMCS, "RSP", VMCS_GUEST_RSP, gpr[GPR_RSP])                                                             \
    F(GPR, "RBP", GPR_RBP, gpr[GPR_RBP])                                                                     \
    F(GPR, "RSI", GPR_RSI, gpr[GPR_RSI])                                                                     \
    F(GPR, "RDI", GPR_RDI, gpr[GPR_RDI])                                                                     \
    F(GPR, "R8", GPR_R8, gpr[GPR_R8])                                                                        \
    F(GPR, "R9", GPR_R9, gpr[GPR_R9])                                                                        \
    F(GPR, "R10", GPR_R10, gpr[GPR_R10])                                                                     \
    F(GPR, "R11", GPR_R11, gpr[GPR_R11])                                                                     \
    F(GPR, "R12", GPR_R12, gpr[GPR_R12])                                                                     \
    F(GPR, "R13", GPR_R13, gpr[GPR_R13])                                                                     \
    F(GPR, "R14", GPR_R14, gpr[GPR_R14])                                                                     \
    F(GPR, "R15", GPR_R15, gpr[GPR_R15])

#define VMX_GUEST_REGISTER_FIELDS(F)                                                                         \
    F(VMCS, "RIP", VMCS_GUEST_RIP, rip)                                                                      \
    F(VMCS, "RFLAGS", VMCS_GUEST_RFLAGS, rflags)                                                             \
    F(CR0, "CR0", 0, cr0)                                                                                    \
    F(CR2, "CR2", 0, cr2)                                                                                    \
    F(VMCS, "CR3", VMCS_GUEST_CR3, cr3)                                                                      \
    F(CR4, "CR4", 0, cr4)                                                                                    \
    F(MEMORY, "DR0", GUEST_DR0, dr[0])                                                                       \
    F(MEMORY, "DR1", GUEST_DR1, dr[1])                                                                       \
    F(MEMORY, "DR2", GUEST_DR2, dr[2])                                                                       \
    F(MEMORY, "DR3", GUEST_DR3, dr[3])                                                                       \
    F(MEMORY, "DR6", GUEST_DR6, dr6)                                                                         \
    F(MEMORY, "DR7", GUEST_DR7, dr7)

#define VMX_GUEST_SEGMENT_FIELDS(F, upper)                                                                   \
    F(VMCS, #upper ".base", VMCS_GUEST_##upper##_BASE, segment[SEGMENT_##upper].base)                        \
    F(VMCS, #upper ".limit", VMCS_GUEST_##upper##_LIMIT, segment[SEGMENT_##upper].limit)                     \
    F(VMCS, #upper ".access", VMCS_GUEST_##upper##_ACCESS, segment[SEGMENT_##upper].access)                  \
    F(VMCS, #upper ".selector", VMCS_GUEST_##upper##_SELECTOR, segment[SEGMENT_##upper].selector)

#define VMX_GUEST_TABLE_FIELDS(F)                                                                            \
    VMX_GUEST_SEGMENT_FIELDS(F, ES)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, CS)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, SS)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, DS)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, FS)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, GS)                                                                          \
    VMX_GUEST_SEGMENT_FIELDS(F, LDTR)                                                                        \
    VMX_GUEST_SEGMENT_FIELDS(F, TR)                                                                          \
    F(VMCS, "GDTR.base", VMCS_GUEST_GDTR_BASE, gdtr.base)                                                    \
    F(VMCS, "GDTR.limit", VMCS_GUEST_GDTR_LIMIT, gdtr.limit)                                                 \
    F(VMCS, "IDTR.base", VMCS_GUEST_IDTR_BASE, idtr.base)                                                    \
    F(VMCS, "IDTR.limit", VMCS_GUEST_IDTR_LIMIT, idtr.limit)

#define VMX_GUEST_MSR_FIELDS(F)                                                                              \
    F(VMCS, "IA32_EFER", VMCS_GUEST_EFER, efer)                                                              \
    F(VMCS, "IA32_PAT", VMCS_GUEST_PAT, pat)                                                                 \
    F(VMCS, "IA32_SYSENTER_CS", VMCS_GUEST_SYSENTER_CS, sysenter_cs)                                         \
    F(VMCS, "IA32_SYSENTER_ESP", VMCS_GUEST_SYSENTER_ESP, sysenter_esp)                                      \
    F(VMCS, "IA32_SYSENTER_EIP", VMCS_GUEST_SYSENTER_EIP, sysenter_eip)                                      \
    F(MSR, "IA32_STAR", GUEST_MSR_STAR, star)                                                                \
    F(MSR, "IA32_LSTAR", GUEST_MSR_LSTAR, lstar)                                                             \
    F(MSR, "IA32_CSTAR", GUEST_MSR_CSTAR, cstar)                                                             \
    F(MSR, "IA32_FMASK", GUEST_MSR_FMASK, fmask)                                                             \
    F(LIVE_MSR, "IA32_KERNEL_GS_BASE", GUEST_MSR_KERNEL_GS_BASE, kernel_gs_base)                             \
    F(MSR, "IA32_TSC_AUX", GUEST_MSR_TSC_AUX, tsc_aux)

#define VMX_GUEST_EVENT_FIELDS(F)                                                                            \
    F(PDPTE, "PDPTE0", VMCS_GUEST_PDPTE0, pdpte[0])                                                          \
    F(PDPTE, "PDPTE1", VMCS_GUEST_PDPTE1, pdpte[1])                                                          \
    F(PDPTE, "PDPTE2", VMCS_GUEST_PDPTE2, pdpte[2])                                                          \
    F(PDPTE, "PDPTE3", VMCS_GUEST_PDPTE3, pdpte[3])                                                          \
    F(VMCS, "interruptibility", VMCS_GUEST_INTERRUPTIBILITY, interruptibility)                               \
    F(VMCS, "activity", VMCS_GUEST_ACTIVITY, activity)                                                       \
    F(VMCS, "pending debug exceptions", VMCS_GUEST_PENDING_DEBUG, pending_debug)                             \
    F(VMCS, "event", VMCS_ENTRY_INTERRUPTION_INFO, event.info)                                               \
    F(EVENT, "event error code", VMCS_ENTRY_EXCEPTION_ERROR, event.error)                                    \
    F(EVENT, "event instruction length", VMCS_ENTRY_INSTRUCTION_LENGTH, event.instruction_length)

#define VMX_GUEST_FIELDS(F)                                                                                  \
    VMX_GUEST_GPR_FIELDS(F)                                                                                  \
    VMX_GUEST_REGISTER_FIELDS(F)                                                                             \
    VMX_GUEST_TABLE_FIELDS(F)                                                                                \
    VMX_GUEST_MSR_FIELDS(F)                                                                                  \
    VMX_GUEST_EVENT_FIELDS(F)

#endif
