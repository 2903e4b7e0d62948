/* The guest's state, where the machine keeps it. */
#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "vmx/guest_fields.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* By enum vmx_guest_msr. */
static const uint32_t guest_msrs[GUEST_MSR_COUNT] = {
    [GUEST_MSR_STAR] = IA32_STAR,
    [GUEST_MSR_LSTAR] = IA32_LSTAR,
    [GUEST_MSR_CSTAR] = IA32_CSTAR,
    [GUEST_MSR_FMASK] = IA32_FMASK,
    [GUEST_MSR_KERNEL_GS_BASE] = IA32_KERNEL_GS_BASE,
    [GUEST_MSR_TSC_AUX] = IA32_TSC_AUX,
};

/* MSRs that the VMCS has a field for. */
static const struct {
    uint32_t index;
    enum vmx_field field;
} vmcs_msrs[] = {
    {IA32_SYSENTER_CS, VMCS_GUEST_SYSENTER_CS},
    {IA32_SYSENTER_ESP, VMCS_GUEST_SYSENTER_ESP},
    {IA32_SYSENTER_EIP, VMCS_GUEST_SYSENTER_EIP},
    {IA32_PAT, VMCS_GUEST_PAT},
    {IA32_EFER, VMCS_GUEST_EFER},
    {IA32_FS_BASE, VMCS_GUEST_FS_BASE},
    {IA32_GS_BASE, VMCS_GUEST_GS_BASE},
};

/* KERNEL_GS_BASE changes without an exit, by SWAPGS; all others only through vmx_set_msr. */
static uint64_t read_live_msr(struct vmx_vcpu *vcpu, enum vmx_guest_msr msr)
{
    vcpu->msr[msr] = rdmsr(guest_msrs[msr]);
    return vcpu->msr[msr];
}

/* WRMSR is slow, and these values hardly ever change. */
static inline void write_guest_msr(struct vmx_vcpu *vcpu, enum vmx_guest_msr msr, uint64_t value)
{
    if (vcpu->msr[msr] == value) {
        return;
    }
    vcpu->msr[msr] = value;
    if (msr != GUEST_MSR_TSC_AUX || vcpu->has_tsc_aux) {
        wrmsr(guest_msrs[msr], value);
    }
}

void vmx_guest_take_msrs(struct vmx_vcpu *vcpu)
{
    for (unsigned i = 0; i < GUEST_MSR_COUNT; i++) {
        vcpu->msr[i] = i != GUEST_MSR_TSC_AUX || vcpu->has_tsc_aux ? rdmsr(guest_msrs[i]) : 0;
    }
}

/* The entry control "IA-32e mode guest" must equal EFER.LMA (SDM 3C 27.3.1.1). */
static void write_efer(struct vmx_vcpu *vcpu, uint64_t value)
{
    uint32_t entry = vcpu->controls.word[VMX_WORD_ENTRY];

    vmcs_write(VMCS_GUEST_EFER, value);
    vmcs_write(VMCS_ENTRY_CONTROLS, (value & EFER_LMA) ? entry | ENTRY_IA32E_GUEST : entry);
}

static void store_cr0(struct vmx_vcpu *vcpu, uint64_t value)
{
    const struct vmx_controls *controls = &vcpu->controls;

    vmcs_write(VMCS_GUEST_CR0, vmx_cr_real(value, controls->cr0_mask, controls->cr0_real));
    vmcs_write(VMCS_CR0_READ_SHADOW, value);
    vcpu->cr0_shadow = value;
}

static void store_cr4(struct vmx_vcpu *vcpu, uint64_t value)
{
    const struct vmx_controls *controls = &vcpu->controls;

    vmcs_write(VMCS_GUEST_CR4, vmx_cr_real(value, controls->cr4_mask, controls->cr4_real));
    vmcs_write(VMCS_CR4_READ_SHADOW, value);
    vcpu->cr4_shadow = value;
}

static inline uint64_t read_guest_cr0(const struct vmx_vcpu *vcpu)
{
    return vmx_cr_visible(vmcs_read(VMCS_GUEST_CR0), vcpu->controls.cr0_mask, vcpu->cr0_shadow);
}

static inline uint64_t read_guest_cr4(const struct vmx_vcpu *vcpu)
{
    return vmx_cr_visible(vmcs_read(VMCS_GUEST_CR4), vcpu->controls.cr4_mask, vcpu->cr4_shadow);
}

/*
 * Load and save run at each chunk: one instruction or two a field, no loop. By kind of field; `vcpu` and
 * `state` are the functions' own.
 */
#define LOAD_VMCS(id, value)     vmcs_write(id, value)
#define LOAD_PDPTE(id, value)    vmcs_write(id, value)
#define LOAD_EVENT(id, value)    vmcs_write(id, value)
#define LOAD_GPR(id, value)      vcpu->gpr[id] = (value)
#define LOAD_CR0(id, value)      store_cr0(vcpu, value)
#define LOAD_CR2(id, value)      vmx_set_cr2(vcpu, value)
#define LOAD_CR4(id, value)      store_cr4(vcpu, value)
#define LOAD_MEMORY(id, value)   vcpu->dr[id] = (value)
#define LOAD_MSR(id, value)      write_guest_msr(vcpu, id, value)
#define LOAD_LIVE_MSR(id, value) read_live_msr(vcpu, id), write_guest_msr(vcpu, id, value)

#define LOAD(kind, name, id, member) LOAD_##kind(id, state->member);

void vmx_guest_load(struct vmx_vcpu *vcpu, const struct vmx_guest_state *state)
{
    VMX_GUEST_FIELDS(LOAD)
    vcpu->gpr[GPR_RSP] = state->gpr[GPR_RSP];
    write_efer(vcpu, state->efer);
    vmx_debug_load(vcpu);
}

#define SAVE_VMCS(id)     vmcs_read(id)
#define SAVE_PDPTE(id)    pae_paging ? vmcs_read(id) : 0
#define SAVE_EVENT(id)    (state->event.info & VMX_INFO_VALID) ? vmcs_read(id) : 0
#define SAVE_GPR(id)      vcpu->gpr[id]
#define SAVE_CR0(id)      read_guest_cr0(vcpu)
#define SAVE_CR2(id)      read_cr2()
#define SAVE_CR4(id)      read_guest_cr4(vcpu)
#define SAVE_MEMORY(id)   vcpu->dr[id]
#define SAVE_MSR(id)      vcpu->msr[id]
#define SAVE_LIVE_MSR(id) read_live_msr(vcpu, id)

/* Narrow fields of the VMCS read as wide ones, zero-extended. */
#define SAVE(kind, name, id, member) state->member = (__typeof__(state->member))(SAVE_##kind(id));

void vmx_guest_save(struct vmx_vcpu *vcpu, struct vmx_guest_state *state)
{
    bool pae_paging;

    VMX_GUEST_GPR_FIELDS(SAVE)
    VMX_GUEST_REGISTER_FIELDS(SAVE)
    VMX_GUEST_TABLE_FIELDS(SAVE)
    VMX_GUEST_MSR_FIELDS(SAVE)
    pae_paging = vmx_guest_pae_paging(state);
    VMX_GUEST_EVENT_FIELDS(SAVE)
    vmx_guest_canonicalize(state);
}

#define VMCS_ACCESSORS(name, type, field)                                                                    \
    type vmx_get_##name(struct vmx_vcpu *vcpu)                                                               \
    {                                                                                                        \
        (void)vcpu;                                                                                          \
        return (type)vmcs_read(field);                                                                       \
    }                                                                                                        \
    void vmx_set_##name(struct vmx_vcpu *vcpu, type value)                                                   \
    {                                                                                                        \
        (void)vcpu;                                                                                          \
        vmcs_write(field, value);                                                                            \
    }

VMCS_ACCESSORS(rip, uint64_t, VMCS_GUEST_RIP)
VMCS_ACCESSORS(rflags, uint64_t, VMCS_GUEST_RFLAGS)
VMCS_ACCESSORS(cr3, uint64_t, VMCS_GUEST_CR3)
VMCS_ACCESSORS(interruptibility, uint32_t, VMCS_GUEST_INTERRUPTIBILITY)
VMCS_ACCESSORS(activity, enum vmx_activity, VMCS_GUEST_ACTIVITY)
VMCS_ACCESSORS(pending_debug, uint64_t, VMCS_GUEST_PENDING_DEBUG)

void vmx_resume_flag(struct vmx_vcpu *vcpu, bool set)
{
    uint64_t rflags = vmx_get_rflags(vcpu);

    vmx_set_rflags(vcpu, set ? rflags | RFLAGS_RF : rflags & ~RFLAGS_RF);
}

void vmx_set_gpr(struct vmx_vcpu *vcpu, enum vmx_gpr gpr, uint64_t value)
{
    vcpu->gpr[gpr] = value;
    if (gpr == GPR_RSP) {
        vmcs_write(VMCS_GUEST_RSP, value);
    }
}

void vmx_get_segment(struct vmx_vcpu *vcpu, enum vmx_segment_index index, struct vmx_segment *segment)
{
    uint32_t step = 2u * index; /* the encodings of one kind follow each other in the order of the index */

    (void)vcpu;
    segment->base = vmcs_read((enum vmx_field)(VMCS_GUEST_ES_BASE + step));
    segment->limit = vmcs_read32((enum vmx_field)(VMCS_GUEST_ES_LIMIT + step));
    segment->access = vmcs_read32((enum vmx_field)(VMCS_GUEST_ES_ACCESS + step));
    segment->selector = vmcs_read((enum vmx_field)(VMCS_GUEST_ES_SELECTOR + step));
}

uint64_t vmx_get_cs_base(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return vmcs_read(VMCS_GUEST_CS_BASE);
}

bool vmx_in_64bit_code(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return (vmcs_read32(VMCS_GUEST_CS_ACCESS) & VMX_ACCESS_LONG) && (vmcs_read(VMCS_GUEST_EFER) & EFER_LMA);
}

unsigned vmx_get_cpl(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return (vmcs_read32(VMCS_GUEST_SS_ACCESS) & VMX_ACCESS_DPL) >> VMX_ACCESS_DPL_SHIFT;
}

uint64_t vmx_get_linear_rip(struct vmx_vcpu *vcpu)
{
    uint64_t rip = vmx_get_rip(vcpu);

    return vmx_in_64bit_code(vcpu) ? rip : (uint32_t)(vmx_get_cs_base(vcpu) + rip);
}
uint64_t vmx_get_cr0(struct vmx_vcpu *vcpu)
{
    return read_guest_cr0(vcpu);
}

uint64_t vmx_get_cr4(struct vmx_vcpu *vcpu)
{
    return read_guest_cr4(vcpu);
}

uint64_t vmx_get_cr2(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return read_cr2();
}

void vmx_set_cr0(struct vmx_vcpu *vcpu, uint64_t value)
{
    uint64_t efer = vmx_get_efer(vcpu);
    bool active = (efer & EFER_LME) && (value & CR0_PG);

    store_cr0(vcpu, value);
    if (active != ((efer & EFER_LMA) != 0)) {
        write_efer(vcpu, efer ^ EFER_LMA);
    }
}

void vmx_set_cr2(struct vmx_vcpu *vcpu, uint64_t value)
{
    (void)vcpu;
    if (read_cr2() != value) {
        write_cr2(value);
    }
}

void vmx_set_cr4(struct vmx_vcpu *vcpu, uint64_t value)
{
    store_cr4(vcpu, value);
}

uint64_t vmx_get_efer(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return vmcs_read(VMCS_GUEST_EFER);
}

void vmx_set_efer(struct vmx_vcpu *vcpu, uint64_t value)
{
    write_efer(vcpu, value);
}

static enum vmx_field pdpte_field(unsigned index)
{
    return (enum vmx_field)(VMCS_GUEST_PDPTE0 + 2 * index);
}

uint64_t vmx_get_pdpte(struct vmx_vcpu *vcpu, unsigned index)
{
    (void)vcpu;
    return vmcs_read(pdpte_field(index));
}

void vmx_set_pdpte(struct vmx_vcpu *vcpu, unsigned index, uint64_t value)
{
    (void)vcpu;
    vmcs_write(pdpte_field(index), value);
}

bool vmx_get_msr(struct vmx_vcpu *vcpu, uint32_t index, uint64_t *value)
{
    for (size_t i = 0; i < ARRAY_LEN(vmcs_msrs); i++) {
        if (vmcs_msrs[i].index == index) {
            *value = vmcs_read(vmcs_msrs[i].field);
            return true;
        }
    }
    for (uint32_t i = 0; i < GUEST_MSR_COUNT; i++) {
        if (guest_msrs[i] == index) {
            *value = i == GUEST_MSR_KERNEL_GS_BASE ? read_live_msr(vcpu, i) : vcpu->msr[i];
            return true;
        }
    }
    return false;
}

bool vmx_set_msr(struct vmx_vcpu *vcpu, uint32_t index, uint64_t value)
{
    if (index == IA32_EFER) {
        write_efer(vcpu, value);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(vmcs_msrs); i++) {
        if (vmcs_msrs[i].index == index) {
            vmcs_write(vmcs_msrs[i].field, value);
            return true;
        }
    }
    for (uint32_t i = 0; i < GUEST_MSR_COUNT; i++) {
        if (guest_msrs[i] == index) {
            if (i == GUEST_MSR_KERNEL_GS_BASE) {
                (void)read_live_msr(vcpu, i);
            }
            write_guest_msr(vcpu, i, value);
            return true;
        }
    }
    return false;
}
