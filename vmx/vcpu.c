/* Making a VMCS ready: control fields and host state (SDM 3C 25.5-25.8). */
#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/descriptor.h"
#include "hv/cpu/msr.h"
#include "vmx/entry.h"
#include "vmx/msr_bitmap.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <string.h>

#define NO_LINK         UINT64_MAX /* VMCS link pointer without VMCS shadowing (SDM 3C 25.4.2) */
#define PML_LAST        511u
#define EVERY_LEAF      UINT64_MAX
#define SELECTOR_RPL_TI 7u

/* Fields that exist only where their control may be set. */
static void write_optional_controls(struct vmx_vcpu *vcpu)
{
    uint32_t secondary = vcpu->controls.word[VMX_WORD_SECONDARY];

    if (secondary & SECONDARY_VPID) {
        HV_CHECK(vcpu->vpid != 0); /* VPID 0 is the host's (SDM 3C 29.1) */
        vmcs_write(VMCS_VPID, vcpu->vpid);
    }
    if (secondary & SECONDARY_PML) {
        vmcs_write(VMCS_PML_ADDRESS, vcpu->pages.pml.pa.raw);
        vmcs_write(VMCS_PML_INDEX, PML_LAST);
    }
    if (secondary & SECONDARY_ENCLS_EXITING) {
        vmcs_write(VMCS_ENCLS_EXITING_BITMAP, EVERY_LEAF);
    }
    if (secondary & SECONDARY_ENCLV_EXITING) {
        vmcs_write(VMCS_ENCLV_EXITING_BITMAP, EVERY_LEAF);
    }
}

static void write_controls(struct vmx_vcpu *vcpu)
{
    const struct vmx_controls *controls = &vcpu->controls;

    vmcs_write(VMCS_PIN_CONTROLS, controls->word[VMX_WORD_PIN]);
    vmcs_write(VMCS_PRIMARY_CONTROLS, controls->word[VMX_WORD_PRIMARY]);
    vmcs_write(VMCS_SECONDARY_CONTROLS, controls->word[VMX_WORD_SECONDARY]);
    vmcs_write(VMCS_EXIT_CONTROLS, controls->word[VMX_WORD_EXIT]);
    vmcs_write(VMCS_ENTRY_CONTROLS, controls->word[VMX_WORD_ENTRY]);
    vmcs_write(VMCS_EXCEPTION_BITMAP, controls->exception_bitmap);
    vmcs_write(VMCS_PAGE_FAULT_ERROR_MASK, 0);
    vmcs_write(VMCS_PAGE_FAULT_ERROR_MATCH, 0);
    vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_INTERRUPTION_INFO, 0);
    vmcs_write(VMCS_CR0_MASK, controls->cr0_mask);
    vmcs_write(VMCS_CR4_MASK, controls->cr4_mask);
    vmcs_write(VMCS_MSR_BITMAPS, vcpu->pages.msr_bitmap.pa.raw);
    vmcs_write(VMCS_TSC_OFFSET, 0);
    write_optional_controls(vcpu);
}

/* Guest fields that no guest state ever changes. */
static void write_fixed_guest(void)
{
    vmcs_write(VMCS_LINK_POINTER, NO_LINK);
    vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
}

static void open_msrs(uint8_t *bitmap)
{
    static const uint32_t open[] = {IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE};

    msr_bitmap_deny_all(bitmap);
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        (void)msr_bitmap_allow(bitmap, open[i], true, true);
    }
}

void vmx_vcpu_init(struct vmx_vcpu *vcpu, const struct vmx_caps *caps, const struct vmx_controls *controls,
                   const struct vmx_vcpu_pages *pages, uint16_t vpid)
{
    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->controls = *controls;
    vcpu->pages = *pages;
    vcpu->vpid = vpid;
    vcpu->timer_shift = caps->timer_shift;
    vcpu->has_tsc_aux = caps->raw.rdtscp;
    vcpu->invept_single = vmx_has(caps, VMX_HAS_INVEPT_SINGLE);
    memset(pages->vmcs.va, 0, PAGE_SIZE);
    memcpy(pages->vmcs.va, &caps->revision, sizeof(caps->revision));
    open_msrs(pages->msr_bitmap.va);
    vmcs_vmclear(pages->vmcs.pa);
    vmcs_vmptrld(pages->vmcs.pa);
    write_controls(vcpu);
    write_fixed_guest();
    vmx_vcpu_load_host(vcpu);
    vmx_guest_take_msrs(vcpu);
    vmx_debug_init(vcpu);
    vmx_invvpid(vcpu);
}

void vmx_vcpu_clear(struct vmx_vcpu *vcpu)
{
    vmcs_vmclear(vcpu->pages.vmcs.pa);
    vcpu->launched = 0;
}

#define READ_SELECTOR(name)                                                                                  \
    static uint16_t read_##name(void)                                                                        \
    {                                                                                                        \
        uint16_t selector;                                                                                   \
                                                                                                             \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(selector));                                            \
        return selector & (uint16_t)~SELECTOR_RPL_TI;                                                        \
    }

READ_SELECTOR(es)
READ_SELECTOR(cs)
READ_SELECTOR(ss)
READ_SELECTOR(ds)
READ_SELECTOR(fs)
READ_SELECTOR(gs)

static uint16_t read_tr(void)
{
    uint16_t selector;

    __asm__ volatile("str %0" : "=r"(selector));
    return selector;
}

/* The base in a 64-bit TSS descriptor (SDM 3A figure 8-4): bits 39:16, 63:56 and the low half of the second
 * word. */
static uint64_t tss_base(uint64_t gdt_base, uint16_t selector)
{
    uint64_t descriptor[2];

    memcpy(descriptor, (const char *)(uintptr_t)gdt_base + selector, sizeof(descriptor));
    return ((descriptor[0] >> 16) & 0xFFFFFF) | ((descriptor[0] >> 56) << 24) | (descriptor[1] << 32);
}

static void write_host_segments(void)
{
    struct table_register gdt, idt;
    uint16_t tr = read_tr();

    sgdt(&gdt);
    sidt(&idt);
    vmcs_write(VMCS_HOST_ES_SELECTOR, read_es());
    vmcs_write(VMCS_HOST_CS_SELECTOR, read_cs());
    vmcs_write(VMCS_HOST_SS_SELECTOR, read_ss());
    vmcs_write(VMCS_HOST_DS_SELECTOR, read_ds());
    vmcs_write(VMCS_HOST_FS_SELECTOR, read_fs());
    vmcs_write(VMCS_HOST_GS_SELECTOR, read_gs());
    vmcs_write(VMCS_HOST_TR_SELECTOR, tr);
    vmcs_write(VMCS_HOST_FS_BASE, rdmsr(IA32_FS_BASE));
    vmcs_write(VMCS_HOST_GS_BASE, rdmsr(IA32_GS_BASE));
    vmcs_write(VMCS_HOST_TR_BASE, tss_base(gdt.base, tr));
    vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
}

/* An exit leaves GDTR and IDTR with limit FFFFH (SDM 3C 28.5.2): larger than the tables, which does no harm.
 */
void vmx_vcpu_load_host(struct vmx_vcpu *vcpu)
{
    vmcs_write(VMCS_HOST_CR0, read_cr0());
    vmcs_write(VMCS_HOST_CR3, read_cr3());
    vmcs_write(VMCS_HOST_CR4, read_cr4());
    vmcs_write(VMCS_HOST_EFER, rdmsr(IA32_EFER));
    vmcs_write(VMCS_HOST_PAT, rdmsr(IA32_PAT));
    vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
    write_host_segments();
    vmcs_write(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_exit_stub);
    vcpu->host_rsp = 0; /* entry.S writes HOST_RSP when it sees a new one */
}
