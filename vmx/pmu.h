/*
 * Counting the conditional branches that the guest retires, by the first general counter of the
 * architectural PMU (SDM 3B chapter 20). The count says where in a chunk a vCPU is, and unlike time it is
 * the same in every run.
 *
 * vmx_pmu_find() is pure. All else runs on the vCPU's CPU, like vmx/vmx.h, and does nothing for a vCPU whose
 * counting was not begun.
 */
#ifndef RV_VMX_PMU_H
#define RV_VMX_PMU_H

#include "hv/base/types.h"
#include "vmx/caps.h"

struct vmx_vcpu;

/* Why a machine's PMU cannot be used. */
enum vmx_pmu_lack {
    VMX_PMU_LACKS_NOTHING,
    VMX_PMU_LACKS_COUNTER,      /* no architectural PMU, or an old one (CPUID.0AH) */
    VMX_PMU_LACKS_VENDOR,       /* not an Intel processor */
    VMX_PMU_LACKS_MODEL,        /* a model whose event is not known here */
    VMX_PMU_LACKS_UNITY,        /* processors of several kinds (CPUID.7:EDX bit 15) */
    VMX_PMU_LACKS_MSRS,         /* CPUID has it, but its MSRs do not exist */
    VMX_PMU_LACKS_FREEZE,       /* system management mode would be counted (IA32_PERF_CAPABILITIES) */
    VMX_PMU_LACKS_ENTRY_LOAD,   /* VM-entry control "load IA32_PERF_GLOBAL_CTRL" */
    VMX_PMU_LACKS_EXIT_LOAD,    /* VM-exit control "load IA32_PERF_GLOBAL_CTRL" */
    VMX_PMU_LACKS_RIGHT_COUNTS, /* a try counted wrong */
    VMX_PMU_LACKS_LEAVE,        /* the user wants none of it */
    VMX_PMU_LACK_COUNT
};

/* What is looked at; zero for what the processor does not have. */
struct vmx_pmu_input {
    const struct vmx_caps *caps;
    char vendor[13];       /* CPUID.0 */
    uint32_t version;      /* CPUID.1:EAX */
    uint32_t features;     /* CPUID.(7,0):EDX */
    uint32_t perfmon;      /* CPUID.0AH:EAX */
    bool msrs;             /* IA32_PERF_GLOBAL_CTRL can be read */
    uint64_t capabilities; /* IA32_PERF_CAPABILITIES */
};

struct vmx_pmu {
    enum vmx_pmu_lack lack;
    uint32_t select;   /* event and unit mask, as in IA32_PERFEVTSELx */
    uint32_t width;    /* of a counter, bits */
    const char *event; /* its name in the manuals, static; NULL where the model is not known */
};

/* Decides; the first thing that is lacking counts. */
void vmx_pmu_find(const struct vmx_pmu_input *input, struct vmx_pmu *pmu);
/* For people: "CPUs of several kinds (CPUID.7:EDX bit 15)". */
const char *vmx_pmu_lack_text(enum vmx_pmu_lack lack);

/* ---- Counting ---- */

/* A vCPU's counter. */
struct vmx_pmu_counter {
    bool on;
    bool armed;
    uint64_t select; /* what IA32_PERFEVTSEL0 holds */
    uint64_t mask;   /* of the counter's bits */
    uint64_t zero;   /* the counter's value that stands for no branch */
    uint64_t goal;   /* armed: the count at which the guest is interrupted */
};

/*
 * Sets counter 0 of this CPU up, and the VMCS to let it count in the guest alone: the control words must
 * load IA32_PERF_GLOBAL_CTRL at entry and exit (struct vmx_policy, count_branches).
 */
void vmx_pmu_begin(struct vmx_vcpu *vcpu, const struct vmx_pmu *pmu);
void vmx_pmu_end(struct vmx_vcpu *vcpu);

/* The count is 0 from here on. Not armed. */
void vmx_pmu_reset(struct vmx_vcpu *vcpu);
/* Conditional branches retired since the reset, exactly. */
uint64_t vmx_pmu_count(struct vmx_vcpu *vcpu);

/*
 * The guest shall exit soon after the count has come to `goal`, which is more than it is now: by the
 * interrupt of the counter's overflow, some branches late. A goal too far for the counter is cut: whoever
 * comes there arms again.
 */
void vmx_pmu_arm(struct vmx_vcpu *vcpu, uint64_t goal);
/* True once the goal has been reached; the interrupt need not have come. */
bool vmx_pmu_reached(struct vmx_vcpu *vcpu);
/* An interrupt on its way still comes; it means nothing. */
void vmx_pmu_disarm(struct vmx_vcpu *vcpu);

#endif
