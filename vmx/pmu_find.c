/* Pure. Whether a machine's PMU counts the guest's conditional branches, and by which event. */
#include "vmx/pmu.h"

#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"

#include <string.h>

/* CPUID.1:EAX without stepping and reserved bits: type, family, model with their extensions. */
#define MODEL_MASK UINT32_C(0x0FFF3FF0)

#define MIN_VERSION 2u  /* IA32_PERF_GLOBAL_CTRL exists (SDM 3B 20.2.2) */
#define WRITE_BITS  32u /* what a write to IA32_PMCx sets, bit 31 extended upwards (SDM 3B 20.2.8) */

/*
 * The event that counts conditional branches when they retire, taken or not: exact on these models, as
 * years of replaying with it have shown (rr's list of processors). Unit mask, then event number, as in
 * IA32_PERFEVTSELx. Older models lack what else Retrovisor needs.
 */
enum event { COND_01C4, COND_11C4 };

static const struct {
    uint32_t select;
    const char *name;
} events[] = {
    [COND_01C4] = {0x01C4, "BR_INST_RETIRED.CONDITIONAL"},
    [COND_11C4] = {0x11C4, "BR_INST_RETIRED.COND"},
};

static const struct {
    uint32_t version; /* CPUID.1:EAX & MODEL_MASK */
    enum event event;
} models[] = {
    /* Broadwell */
    {0x306D0, COND_01C4},
    {0x40670, COND_01C4},
    {0x406F0, COND_01C4},
    {0x50660, COND_01C4},
    /* Skylake, and what has its core: Cascade Lake, Kaby, Coffee, Whiskey and Comet Lake */
    {0x406E0, COND_01C4},
    {0x506E0, COND_01C4},
    {0x50650, COND_01C4},
    {0x806E0, COND_01C4},
    {0x906E0, COND_01C4},
    {0xA0650, COND_01C4},
    {0xA0660, COND_01C4},
    /* Ice Lake, Tiger Lake, Rocket Lake */
    {0x606A0, COND_11C4},
    {0x706E0, COND_11C4},
    {0x806C0, COND_11C4},
    {0x806D0, COND_11C4},
    {0xA0670, COND_11C4},
    /* Alder Lake and Raptor Lake without small cores, Sapphire Rapids, Emerald Rapids */
    {0x90670, COND_11C4},
    {0x906A0, COND_11C4},
    {0xB0670, COND_11C4},
    {0xB06A0, COND_11C4},
    {0xB06F0, COND_11C4},
    {0x806F0, COND_11C4},
    {0xC06F0, COND_11C4},
};

static bool find_event(uint32_t version, struct vmx_pmu *pmu)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        if (models[i].version == (version & MODEL_MASK)) {
            pmu->select = events[models[i].event].select;
            pmu->event = events[models[i].event].name;
            return true;
        }
    }
    return false;
}

static enum vmx_pmu_lack lack_of(const struct vmx_pmu_input *input, struct vmx_pmu *pmu)
{
    if (CPUID_A_EAX_VERSION(input->perfmon) < MIN_VERSION || CPUID_A_EAX_COUNTERS(input->perfmon) == 0 ||
        pmu->width <= WRITE_BITS || pmu->width > 64) {
        return VMX_PMU_LACKS_COUNTER;
    }
    if (strcmp(input->vendor, "GenuineIntel") != 0) {
        return VMX_PMU_LACKS_VENDOR;
    }
    if (!find_event(input->version, pmu)) {
        return VMX_PMU_LACKS_MODEL;
    }
    if (input->features & CPUID_7_EDX_HYBRID) {
        return VMX_PMU_LACKS_UNITY;
    }
    if (!input->msrs) {
        return VMX_PMU_LACKS_MSRS;
    }
    if (!(input->capabilities & PERF_CAPABILITIES_FREEZE_WHILE_SMM)) {
        return VMX_PMU_LACKS_FREEZE;
    }
    if (!vmx_has(input->caps, VMX_HAS_ENTRY_PERF_CTRL)) {
        return VMX_PMU_LACKS_ENTRY_LOAD;
    }
    return vmx_has(input->caps, VMX_HAS_EXIT_PERF_CTRL) ? VMX_PMU_LACKS_NOTHING : VMX_PMU_LACKS_EXIT_LOAD;
}

void vmx_pmu_find(const struct vmx_pmu_input *input, struct vmx_pmu *pmu)
{
    *pmu = (struct vmx_pmu){.width = CPUID_A_EAX_WIDTH(input->perfmon)};
    pmu->lack = lack_of(input, pmu);
}

const char *vmx_pmu_lack_text(enum vmx_pmu_lack lack)
{
    static const char *const texts[VMX_PMU_LACK_COUNT] = {
        [VMX_PMU_LACKS_NOTHING] = "nothing is missing",
        [VMX_PMU_LACKS_COUNTER] = "no PMU of version 2 or later (CPUID.0AH:EAX)",
        [VMX_PMU_LACKS_VENDOR] = "not an Intel processor",
        [VMX_PMU_LACKS_MODEL] = "the event is not known for this model (CPUID.1:EAX)",
        [VMX_PMU_LACKS_UNITY] = "CPUs of several kinds (CPUID.7:EDX bit 15)",
        [VMX_PMU_LACKS_MSRS] = "its MSRs do not exist (IA32_PERF_GLOBAL_CTRL)",
        [VMX_PMU_LACKS_FREEZE] = "no FREEZE_WHILE_SMM (IA32_PERF_CAPABILITIES bit 12)",
        [VMX_PMU_LACKS_ENTRY_LOAD] =
            "no \"load IA32_PERF_GLOBAL_CTRL\" at VM entry (IA32_VMX_ENTRY_CTLS bit 45)",
        [VMX_PMU_LACKS_EXIT_LOAD] =
            "no \"load IA32_PERF_GLOBAL_CTRL\" at VM exit (IA32_VMX_EXIT_CTLS bit 44)",
        [VMX_PMU_LACKS_RIGHT_COUNTS] = "a try counted other branches than there were",
        [VMX_PMU_LACKS_LEAVE] = "pmu=off",
    };
    return texts[lack];
}
