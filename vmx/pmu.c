/* The counter itself: MSRs, and the VMCS fields that confine it to the guest. */
#include "vmx/pmu.h"

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#define COUNTER_0 BIT(0) /* in IA32_PERF_GLOBAL_CTRL and its status registers */
/* A write to IA32_PMC0 takes 32 bits and extends the sign (SDM 3B 20.2.8): no further than this at once. */
#define STEP_MAX UINT64_C(0x7FFFFFFF)

void vmx_pmu_begin(struct vmx_vcpu *vcpu, const struct vmx_pmu *pmu)
{
    struct vmx_pmu_counter *counter = &vcpu->pmu;

    HV_CHECK(pmu->lack == VMX_PMU_LACKS_NOTHING);
    HV_CHECK(vcpu->controls.word[VMX_WORD_ENTRY] & ENTRY_LOAD_PERF_GLOBAL_CTRL);
    HV_CHECK(vcpu->controls.word[VMX_WORD_EXIT] & EXIT_LOAD_PERF_GLOBAL_CTRL);
    *counter = (struct vmx_pmu_counter){
        .on = true,
        .select = pmu->select | PERFEVTSEL_USR | PERFEVTSEL_OS | PERFEVTSEL_INT | PERFEVTSEL_EN,
        .mask = pmu->width == 64 ? UINT64_MAX : BIT(pmu->width) - 1,
    };
    wrmsr(IA32_PERF_GLOBAL_CTRL, 0);
    wrmsr(IA32_PERFEVTSEL0, counter->select);
    vmcs_write(VMCS_GUEST_PERF_GLOBAL_CTRL, COUNTER_0);
    vmcs_write(VMCS_HOST_PERF_GLOBAL_CTRL, 0);
    /* An exit clears the MSR, an entry loads it (SDM 3C 27.3.2.1, 28.5.1); the guest sees a virtual one. */
    vmcs_write(VMCS_GUEST_DEBUGCTL, DEBUGCTL_FREEZE_WHILE_SMM);
    vmx_pmu_reset(vcpu);
}

void vmx_pmu_end(struct vmx_vcpu *vcpu)
{
    if (vcpu->pmu.on) {
        wrmsr(IA32_PERFEVTSEL0, 0);
    }
    vcpu->pmu.on = false;
}

void vmx_pmu_reset(struct vmx_vcpu *vcpu)
{
    if (!vcpu->pmu.on) {
        return;
    }
    wrmsr(IA32_PMC0, 0);
    vcpu->pmu.zero = 0;
    vcpu->pmu.armed = false;
}

uint64_t vmx_pmu_count(struct vmx_vcpu *vcpu)
{
    return vcpu->pmu.on ? (rdmsr(IA32_PMC0) - vcpu->pmu.zero) & vcpu->pmu.mask : 0;
}

void vmx_pmu_arm(struct vmx_vcpu *vcpu, uint64_t goal)
{
    struct vmx_pmu_counter *counter = &vcpu->pmu;
    uint64_t now = vmx_pmu_count(vcpu);

    HV_CHECK(counter->on && goal > now);
    counter->goal = MIN(goal, now + STEP_MAX);
    counter->zero = (0 - counter->goal) & counter->mask;
    counter->armed = true;
    wrmsr(IA32_PMC0, (uint32_t)(now - counter->goal));
    wrmsr(IA32_PERF_GLOBAL_OVF_CTRL, COUNTER_0);
    apic_counter_open();
}

bool vmx_pmu_reached(struct vmx_vcpu *vcpu)
{
    return vcpu->pmu.armed && vmx_pmu_count(vcpu) >= vcpu->pmu.goal;
}

void vmx_pmu_disarm(struct vmx_vcpu *vcpu)
{
    vcpu->pmu.armed = false;
}
