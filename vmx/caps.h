/*
 * Pure. What this CPU's VMX can do, out of its capability MSRs (SDM 3D appendix A). The MSRs are read by
 * vmx_read_raw_caps (vmx/vmx.h); everything that follows from them is decided here and tested on the host.
 */
#ifndef RV_VMX_CAPS_H
#define RV_VMX_CAPS_H

#include "hv/base/types.h"

/* Capability MSRs as read; 0 for one that the CPU does not have. */
struct vmx_raw_caps {
    bool vmx;        /* CPUID.1:ECX.VMX */
    bool rdtscp;     /* CPUID.80000001H:EDX.RDTSCP: IA32_TSC_AUX exists */
    bool rdrand;     /* CPUID.1:ECX.RDRAND; without the instruction there is no control over it */
    bool rdseed;     /* CPUID.7:EBX.RDSEED */
    uint32_t unused; /* 0; leaves no padding, so that two can be compared as bytes */
    uint64_t feature_control;
    uint64_t basic;
    uint64_t pin, primary, exit, entry;
    uint64_t true_pin, true_primary, true_exit, true_entry;
    uint64_t secondary;
    uint64_t misc;
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    uint64_t ept_vpid;
};

_Static_assert(sizeof(struct vmx_raw_caps) == 8 + 17 * 8, "no hidden padding");

/* The five control words. */
enum vmx_word {
    VMX_WORD_PIN,
    VMX_WORD_PRIMARY,
    VMX_WORD_SECONDARY,
    VMX_WORD_EXIT,
    VMX_WORD_ENTRY,
    VMX_WORD_COUNT
};

/* Things worth asking for or printing. Order: that of the start-up report. */
enum vmx_feature {
    VMX_HAS_SECONDARY_CONTROLS,
    VMX_HAS_EPT,
    VMX_HAS_EPT_4LEVEL,
    VMX_HAS_EPT_WRITE_BACK,
    VMX_HAS_EPT_2M,
    VMX_HAS_EPT_1G,
    VMX_HAS_EPT_AD,
    VMX_HAS_INVEPT,
    VMX_HAS_INVEPT_SINGLE,
    VMX_HAS_INVEPT_ALL,
    VMX_HAS_UNRESTRICTED_GUEST,
    VMX_HAS_PREEMPTION_TIMER,
    VMX_HAS_SAVE_TIMER,
    VMX_HAS_VIRTUAL_NMIS,
    VMX_HAS_PML,
    VMX_HAS_VPID,
    VMX_HAS_INVVPID_SINGLE,
    VMX_HAS_INVVPID_ALL,
    VMX_HAS_MTF, /* the control may be set; whether it works is for a probe to say */
    VMX_HAS_RDRAND_EXITING,
    VMX_HAS_RDSEED_EXITING,
    VMX_HAS_RDTSCP,
    VMX_HAS_INVPCID,
    VMX_HAS_HLT_ACTIVITY,
    VMX_HAS_SIPI_ACTIVITY,
    VMX_HAS_ENTRY_PERF_CTRL,
    VMX_HAS_EXIT_PERF_CTRL,
    VMX_HAS_TRUE_CONTROLS,
    VMX_FEATURE_COUNT
};

struct vmx_caps {
    struct vmx_raw_caps raw;
    uint32_t revision;                  /* VMCS revision identifier, 31 bits */
    uint32_t region_bytes;              /* size of VMXON and VMCS regions, at most 4096 */
    uint32_t timer_shift;               /* one preemption timer tick is 2^timer_shift TSC ticks */
    uint32_t must_be_1[VMX_WORD_COUNT]; /* control bits that the CPU wants set */
    uint32_t may_be_1[VMX_WORD_COUNT];  /* control bits that it allows */
    uint64_t features;                  /* bit set of enum vmx_feature */
};

/* Where a feature shows, for messages. */
struct vmx_feature_info {
    const char *name;
    const char *msr; /* "IA32_VMX_EPT_VPID_CAP" */
    uint8_t bit;     /* 0..63 */
};

/* A thing that the CPU refuses, or lacks. All strings are static. */
struct vmx_refusal {
    const char *control; /* the control word or the capability asked for */
    const char *name;    /* the bit's or feature's name */
    const char *msr;     /* the MSR that says no */
    uint8_t bit;         /* in the MSR: 63:32 allowed-1 and 31:0 allowed-0 settings */
    bool wanted;         /* the value that was wanted: set (true) or clear */
};

/* Fills *caps from *raw. A CPU without VMX gives all-zero capabilities but for `raw`. */
void vmx_caps_fill(struct vmx_caps *caps, const struct vmx_raw_caps *raw);

static inline bool vmx_has(const struct vmx_caps *caps, enum vmx_feature feature)
{
    return (caps->features >> feature) & 1;
}

/* Name and place of a feature (< VMX_FEATURE_COUNT). */
const struct vmx_feature_info *vmx_feature_info(enum vmx_feature feature);

/* What IA32_FEATURE_CONTROL (SDM 3C 24.7) lets happen. */
enum vmx_feature_control {
    VMX_CONTROL_READY,  /* locked with VMX outside SMX allowed */
    VMX_CONTROL_OPEN,   /* not locked: write *value to it, then it is ready */
    VMX_CONTROL_CLOSED, /* locked with VMX disabled: the firmware must be set up to allow it */
};

/* Decides from the MSR's value; *value is what to write for VMX_CONTROL_OPEN. */
enum vmx_feature_control vmx_feature_control(uint64_t msr, uint64_t *value);

/* The name of a control word and of the capability MSR that rules it (the TRUE one where `caps` has it). */
const char *vmx_word_name(enum vmx_word word);
const char *vmx_word_msr(const struct vmx_caps *caps, enum vmx_word word);
/* The SDM's name of bit `bit` (0..31) of a control word; "reserved" where there is none. */
const char *vmx_control_name(enum vmx_word word, unsigned bit);

#endif
