/* VMX operation of a physical CPU: capability MSRs, VMXON, VMXOFF (SDM 3C 24.6-24.8, 3D appendix A). */
#include "hv/cpu/cpu.h"
#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <string.h>

#define SECONDARY_ALLOWED     BIT(63) /* IA32_VMX_PROCBASED_CTLS */
#define SECONDARY_EPT_OR_VPID (BIT(32 + 1) | BIT(32 + 5))

static void read_cpuid(struct vmx_raw_caps *raw)
{
    uint32_t max = cpuid(CPUID_VENDOR).eax;
    uint32_t ecx = cpuid(CPUID_VERSION).ecx;

    raw->vmx = (ecx & CPUID_1_ECX_VMX) != 0;
    raw->rdrand = (ecx & CPUID_1_ECX_RDRAND) != 0;
    raw->rdseed = max >= CPUID_FEATURES && (cpuid(CPUID_FEATURES).ebx & CPUID_7_EBX_RDSEED) != 0;
    if (cpuid(CPUID_EXT_MAX).eax >= CPUID_EXT_VERSION) {
        raw->rdtscp = (cpuid(CPUID_EXT_VERSION).edx & CPUID_EXT_1_EDX_RDTSCP) != 0;
    }
}

void vmx_read_raw_caps(struct vmx_raw_caps *raw)
{
    memset(raw, 0, sizeof(*raw));
    read_cpuid(raw);
    if (!raw->vmx) {
        return;
    }
    raw->feature_control = rdmsr(IA32_FEATURE_CONTROL);
    raw->basic = rdmsr(IA32_VMX_BASIC);
    raw->pin = rdmsr(IA32_VMX_PINBASED_CTLS);
    raw->primary = rdmsr(IA32_VMX_PROCBASED_CTLS);
    raw->exit = rdmsr(IA32_VMX_EXIT_CTLS);
    raw->entry = rdmsr(IA32_VMX_ENTRY_CTLS);
    raw->misc = rdmsr(IA32_VMX_MISC);
    raw->cr0_fixed0 = rdmsr(IA32_VMX_CR0_FIXED0);
    raw->cr0_fixed1 = rdmsr(IA32_VMX_CR0_FIXED1);
    raw->cr4_fixed0 = rdmsr(IA32_VMX_CR4_FIXED0);
    raw->cr4_fixed1 = rdmsr(IA32_VMX_CR4_FIXED1);
    if (raw->basic & VMX_BASIC_TRUE_CTLS) {
        raw->true_pin = rdmsr(IA32_VMX_TRUE_PINBASED_CTLS);
        raw->true_primary = rdmsr(IA32_VMX_TRUE_PROCBASED_CTLS);
        raw->true_exit = rdmsr(IA32_VMX_TRUE_EXIT_CTLS);
        raw->true_entry = rdmsr(IA32_VMX_TRUE_ENTRY_CTLS);
    }
    if (raw->primary & SECONDARY_ALLOWED) {
        raw->secondary = rdmsr(IA32_VMX_PROCBASED_CTLS2);
    }
    if (raw->secondary & SECONDARY_EPT_OR_VPID) {
        raw->ept_vpid = rdmsr(IA32_VMX_EPT_VPID_CAP);
    }
}

const char *vmx_on_result_text(enum vmx_on_result result)
{
    static const char *const texts[] = {
        [VMX_ON_OK] = "VMX is on",
        [VMX_ON_NO_VMX] = "the CPU has no VMX (CPUID.1:ECX bit 5)",
        [VMX_ON_LOCKED] = "VMX is locked off by the firmware (IA32_FEATURE_CONTROL bits 0 and 2)",
        [VMX_ON_NOT_WRITABLE] = "IA32_FEATURE_CONTROL is open, but cannot be written",
        [VMX_ON_CR_FIXED] =
            "CR0 or CR4 cannot have the bits that VMX fixes (IA32_VMX_CR0_FIXED1, CR4_FIXED1)",
        [VMX_ON_DIFFERENT] = "the CPU's VMX capabilities differ from those of the boot processor",
    };
    return texts[result];
}

/* Two CPUs of one machine must agree in all but the lock, which each has for itself. */
static bool same_caps(const struct vmx_raw_caps *a, const struct vmx_raw_caps *b)
{
    struct vmx_raw_caps x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    x.feature_control = 0;
    y.feature_control = 0;
    return memcmp(&x, &y, sizeof(x)) == 0;
}

static enum vmx_on_result open_feature_control(uint64_t msr)
{
    uint64_t value;

    switch (vmx_feature_control(msr, &value)) {
    case VMX_CONTROL_READY:
        return VMX_ON_OK;
    case VMX_CONTROL_OPEN:
        if (!wrmsr_safe(IA32_FEATURE_CONTROL, value) || rdmsr(IA32_FEATURE_CONTROL) != value) {
            return VMX_ON_NOT_WRITABLE;
        }
        return VMX_ON_OK;
    default:
        return VMX_ON_LOCKED;
    }
}

enum vmx_on_result vmx_cpu_on(const struct vmx_caps *caps, struct vmx_page region)
{
    struct vmx_raw_caps raw;
    enum vmx_on_result result;
    uint64_t cr0 = read_cr0() | caps->raw.cr0_fixed0;
    uint64_t cr4 = read_cr4() | caps->raw.cr4_fixed0 | CR4_VMXE;

    vmx_read_raw_caps(&raw);
    if (!raw.vmx) {
        return VMX_ON_NO_VMX;
    }
    if (!same_caps(&raw, &caps->raw)) {
        return VMX_ON_DIFFERENT;
    }
    if ((cr0 & ~raw.cr0_fixed1) || (cr4 & ~raw.cr4_fixed1)) {
        return VMX_ON_CR_FIXED;
    }
    result = open_feature_control(raw.feature_control);
    if (result != VMX_ON_OK) {
        return result;
    }
    write_cr0(cr0);
    write_cr4(cr4);
    memset(region.va, 0, PAGE_SIZE);
    memcpy(region.va, &caps->revision, sizeof(caps->revision));
    vmcs_vmxon(region.pa);
    /* Translations of an earlier VMX operation may still be there (SDM 3C 29.4.3.4). */
    if (vmx_has(caps, VMX_HAS_INVEPT_ALL)) {
        vmcs_invept(VMCS_ALL_CONTEXTS, 0);
    }
    if (vmx_has(caps, VMX_HAS_VPID) && vmx_has(caps, VMX_HAS_INVVPID_ALL)) {
        vmcs_invvpid(VMCS_ALL_CONTEXTS, 0);
    }
    return VMX_ON_OK;
}

void vmx_cpu_off(void)
{
    vmcs_vmxoff();
    write_cr4(read_cr4() & ~CR4_VMXE);
}
