#include "hv/exit_cr.h"

#include "drivers/vdev/cpuid.h"
#include "hv/access.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"

static enum exit_step fault(struct vcpu *vcpu)
{
    vmx_inject_exception(&vcpu->vmx, VECTOR_GP, 0);
    return EXIT_RESUME;
}

static enum exit_step done(struct vcpu *vcpu)
{
    vmx_skip_instruction(&vcpu->vmx);
    return EXIT_RESUME;
}

#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define PDPTE_P  BIT(0)
/* Reserved in a PDPTE of PAE paging (SDM 3A table 4-8): 2:1, 8:5, and above the address. */
#define PDPTE_RESERVED (UINT64_C(0x1e6) | ~((UINT64_C(1) << CPUID_MODEL_PHYS_BITS) - 1))

/* PAE paging loads the four PDPTEs where CR0 or CR4 turn it on or change it (SDM 3A 4.4.1). */
static bool load_pdptes(struct vcpu *vcpu)
{
    uint64_t table = vmx_get_cr3(&vcpu->vmx) & UINT64_C(0xffffffe0);
    uint64_t entry[4];

    if (!access_read_physical(vcpu, table, entry, sizeof(entry)))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        if ((entry[i] & PDPTE_P) && (entry[i] & PDPTE_RESERVED))
            return false;
    }
    for (unsigned i = 0; i < 4; i++)
        vmx_set_pdpte(&vcpu->vmx, i, entry[i]);
    return true;
}

static bool is_pae(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

#define ACCESS_TSS16    UINT32_C(0x1) /* type, busy or not (SDM 3A table 3-2) */
#define ACCESS_TYPE_TSS UINT32_C(0xd) /* without the busy bit */

/* IA-32e mode is not entered from code marked as 64-bit, nor with a 16-bit TSS (SDM 3A 10.8.5). */
static bool may_enter_long_mode(struct vcpu *vcpu)
{
    struct vmx_segment cs, tr;

    vmx_get_segment(&vcpu->vmx, SEGMENT_CS, &cs);
    vmx_get_segment(&vcpu->vmx, SEGMENT_TR, &tr);
    return !(cs.access & VMX_ACCESS_LONG) && (tr.access & ACCESS_TYPE_TSS) != ACCESS_TSS16;
}

static bool cr0_valid(struct vcpu *vcpu, uint64_t value)
{
    uint64_t efer = vmx_get_efer(&vcpu->vmx), cr4 = vmx_get_cr4(&vcpu->vmx);

    if (value >> 32)
        return false;
    if ((value & CR0_PG) && !(value & CR0_PE))
        return false;
    if ((value & CR0_NW) && !(value & CR0_CD))
        return false;
    if ((value & CR0_PG) && (efer & EFER_LME) && !(cr4 & CR4_PAE))
        return false;
    if ((value & CR0_PG) && (efer & (EFER_LME | EFER_LMA)) == EFER_LME && !may_enter_long_mode(vcpu))
        return false;
    return (value & CR0_PG) || !vmx_in_64bit_code(&vcpu->vmx);
}

static enum exit_step set_cr0(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmx_get_cr0(&vcpu->vmx), cr4 = vmx_get_cr4(&vcpu->vmx);
    uint64_t paging = CR0_PG | CR0_WP | CR0_CD | CR0_NW;

    if (!cr0_valid(vcpu, value))
        return fault(vcpu);
    value = (value & CPUID_MODEL_CR0) | CR0_ET;
    if (is_pae(value, cr4, vmx_get_efer(&vcpu->vmx)) && ((old ^ value) & paging) && !load_pdptes(vcpu))
        return fault(vcpu);
    vmx_set_cr0(&vcpu->vmx, value);
    if ((old ^ value) & paging)
        vmx_invvpid(&vcpu->vmx);
    return done(vcpu);
}

static enum exit_step set_cr4(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmx_get_cr4(&vcpu->vmx), cr0 = vmx_get_cr0(&vcpu->vmx), efer = vmx_get_efer(&vcpu->vmx);
    uint64_t paging = CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP;

    if (!cpuid_cr4_valid(value) || ((efer & EFER_LMA) && !(value & CR4_PAE)))
        return fault(vcpu);
    if (is_pae(cr0, value, efer) && ((old ^ value) & paging) && !load_pdptes(vcpu))
        return fault(vcpu);
    vmx_set_cr4(&vcpu->vmx, value);
    if ((old ^ value) & paging)
        vmx_invvpid(&vcpu->vmx);
    return done(vcpu);
}

/* CR3 exits only where the CPU cannot do without. */
static enum exit_step set_cr3(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmx_get_cr3(&vcpu->vmx);

    vmx_set_cr3(&vcpu->vmx, value);
    if (is_pae(vmx_get_cr0(&vcpu->vmx), vmx_get_cr4(&vcpu->vmx), vmx_get_efer(&vcpu->vmx)) &&
        !load_pdptes(vcpu)) {
        vmx_set_cr3(&vcpu->vmx, old);
        return fault(vcpu);
    }
    vmx_invvpid(&vcpu->vmx);
    return done(vcpu);
}

static enum exit_step set_cr8(struct vcpu *vcpu, uint64_t value)
{
    if (value > 15)
        return fault(vcpu);
    vlapic_set_cr8(&vcpu->state->lapic, value);
    vcpu->irq_check = true;
    return done(vcpu);
}

static enum exit_step move_to(struct vcpu *vcpu, const struct vmx_exit_cr *cr)
{
    uint64_t value = vcpu->vmx.gpr[cr->gpr];

    if (!vmx_in_64bit_code(&vcpu->vmx))
        value = (uint32_t)value;
    switch (cr->cr) {
    case 0:
        return set_cr0(vcpu, value);
    case 3:
        return set_cr3(vcpu, value);
    case 4:
        return set_cr4(vcpu, value);
    default:
        return set_cr8(vcpu, value);
    }
}

static enum exit_step move_from(struct vcpu *vcpu, const struct vmx_exit_cr *cr)
{
    uint64_t value = cr->cr == 8 ? vlapic_cr8(&vcpu->state->lapic) : vmx_get_cr3(&vcpu->vmx);

    vmx_set_gpr(&vcpu->vmx, cr->gpr, value);
    return done(vcpu);
}

enum exit_step exit_cr_access(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t cr0 = vmx_get_cr0(&vcpu->vmx);
    uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

    switch (exit->cr.kind) {
    case VMX_MOV_TO_CR:
        return move_to(vcpu, &exit->cr);
    case VMX_MOV_FROM_CR:
        return move_from(vcpu, &exit->cr);
    case VMX_CLTS:
        return set_cr0(vcpu, cr0 & ~CR0_TS);
    default: /* LMSW cannot clear PE */
        return set_cr0(vcpu, (cr0 & ~(low & ~CR0_PE)) | (exit->cr.source & low));
    }
}
