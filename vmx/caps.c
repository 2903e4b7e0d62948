#include "vmx/caps.h"

#include "hv/cpu/msr.h"

#include <string.h>

/* Fields of IA32_VMX_BASIC (SDM 3D A.1). */
#define BASIC_REVISION     UINT64_C(0x7FFFFFFF)
#define BASIC_REGION_SHIFT 32
#define BASIC_REGION_MASK  UINT64_C(0x1FFF)

#define SECONDARY_ALLOWED BIT(63) /* IA32_VMX_PROCBASED_CTLS: "activate secondary controls" may be 1 */

/* What a feature's bit is looked up in. */
enum source { IN_PIN, IN_PRIMARY, IN_SECONDARY, IN_EXIT, IN_ENTRY, IN_EPT_VPID, IN_MISC, IN_BASIC };

/* SDM 3D A.2-A.10; for controls, the bit of the allowed-1 setting. The order within a line: source, bit,
 * name. */
struct feature {
    uint8_t source; /* enum source */
    struct vmx_feature_info info;
};

#define PIN(bit, name)                                                                                       \
    {                                                                                                        \
        IN_PIN,                                                                                              \
        {                                                                                                    \
            name, "IA32_VMX_PINBASED_CTLS", 32 + (bit)                                                       \
        }                                                                                                    \
    }
#define PRIMARY(bit, name)                                                                                   \
    {                                                                                                        \
        IN_PRIMARY,                                                                                          \
        {                                                                                                    \
            name, "IA32_VMX_PROCBASED_CTLS", 32 + (bit)                                                      \
        }                                                                                                    \
    }
#define SECONDARY(bit, name)                                                                                 \
    {                                                                                                        \
        IN_SECONDARY,                                                                                        \
        {                                                                                                    \
            name, "IA32_VMX_PROCBASED_CTLS2", 32 + (bit)                                                     \
        }                                                                                                    \
    }
#define EXIT(bit, name)                                                                                      \
    {                                                                                                        \
        IN_EXIT,                                                                                             \
        {                                                                                                    \
            name, "IA32_VMX_EXIT_CTLS", 32 + (bit)                                                           \
        }                                                                                                    \
    }
#define ENTRY(bit, name)                                                                                     \
    {                                                                                                        \
        IN_ENTRY,                                                                                            \
        {                                                                                                    \
            name, "IA32_VMX_ENTRY_CTLS", 32 + (bit)                                                          \
        }                                                                                                    \
    }
#define EPT_VPID(bit, name)                                                                                  \
    {                                                                                                        \
        IN_EPT_VPID,                                                                                         \
        {                                                                                                    \
            name, "IA32_VMX_EPT_VPID_CAP", (bit)                                                             \
        }                                                                                                    \
    }
#define MISC(bit, name)                                                                                      \
    {                                                                                                        \
        IN_MISC,                                                                                             \
        {                                                                                                    \
            name, "IA32_VMX_MISC", (bit)                                                                     \
        }                                                                                                    \
    }
#define BASIC(bit, name)                                                                                     \
    {                                                                                                        \
        IN_BASIC,                                                                                            \
        {                                                                                                    \
            name, "IA32_VMX_BASIC", (bit)                                                                    \
        }                                                                                                    \
    }

static const struct feature features[VMX_FEATURE_COUNT] = {
    [VMX_HAS_SECONDARY_CONTROLS] = PRIMARY(31, "activate secondary controls"),
    [VMX_HAS_EPT] = SECONDARY(1, "enable EPT"),
    [VMX_HAS_EPT_4LEVEL] = EPT_VPID(6, "EPT 4-level page walk"),
    [VMX_HAS_EPT_WRITE_BACK] = EPT_VPID(14, "EPT write-back memory type"),
    [VMX_HAS_EPT_2M] = EPT_VPID(16, "EPT 2-MByte pages"),
    [VMX_HAS_EPT_1G] = EPT_VPID(17, "EPT 1-GByte pages"),
    [VMX_HAS_EPT_AD] = EPT_VPID(21, "EPT accessed and dirty flags"),
    [VMX_HAS_INVEPT] = EPT_VPID(20, "INVEPT"),
    [VMX_HAS_INVEPT_SINGLE] = EPT_VPID(25, "single-context INVEPT"),
    [VMX_HAS_INVEPT_ALL] = EPT_VPID(26, "all-context INVEPT"),
    [VMX_HAS_UNRESTRICTED_GUEST] = SECONDARY(7, "unrestricted guest"),
    [VMX_HAS_PREEMPTION_TIMER] = PIN(6, "activate VMX-preemption timer"),
    [VMX_HAS_SAVE_TIMER] = EXIT(22, "save VMX-preemption timer value"),
    [VMX_HAS_VIRTUAL_NMIS] = PIN(5, "virtual NMIs"),
    [VMX_HAS_PML] = SECONDARY(17, "enable PML"),
    [VMX_HAS_VPID] = SECONDARY(5, "enable VPID"),
    [VMX_HAS_INVVPID_SINGLE] = EPT_VPID(41, "single-context INVVPID"),
    [VMX_HAS_INVVPID_ALL] = EPT_VPID(42, "all-context INVVPID"),
    [VMX_HAS_MTF] = PRIMARY(27, "monitor trap flag"),
    [VMX_HAS_RDRAND_EXITING] = SECONDARY(11, "RDRAND exiting"),
    [VMX_HAS_RDSEED_EXITING] = SECONDARY(16, "RDSEED exiting"),
    [VMX_HAS_RDTSCP] = SECONDARY(3, "enable RDTSCP"),
    [VMX_HAS_INVPCID] = SECONDARY(12, "enable INVPCID"),
    [VMX_HAS_HLT_ACTIVITY] = MISC(6, "HLT activity state"),
    [VMX_HAS_SIPI_ACTIVITY] = MISC(8, "wait-for-SIPI activity state"),
    [VMX_HAS_ENTRY_PERF_CTRL] = ENTRY(13, "load IA32_PERF_GLOBAL_CTRL at entry"),
    [VMX_HAS_EXIT_PERF_CTRL] = EXIT(12, "load IA32_PERF_GLOBAL_CTRL at exit"),
    [VMX_HAS_TRUE_CONTROLS] = BASIC(55, "TRUE control capabilities"),
};

static const char *const word_names[VMX_WORD_COUNT] = {
    "pin-based VM-execution controls",
    "primary processor-based VM-execution controls",
    "secondary processor-based VM-execution controls",
    "VM-exit controls",
    "VM-entry controls",
};

/* The SDM's names of control bits (3C tables 25-5 to 25-7, 25-13, 25-16). */
static const char *const control_names[VMX_WORD_COUNT][32] = {
    [VMX_WORD_PIN] =
        {
            [0] = "external-interrupt exiting",
            [3] = "NMI exiting",
            [5] = "virtual NMIs",
            [6] = "activate VMX-preemption timer",
            [7] = "process posted interrupts",
        },
    [VMX_WORD_PRIMARY] =
        {
            [2] = "interrupt-window exiting",
            [3] = "use TSC offsetting",
            [7] = "HLT exiting",
            [9] = "INVLPG exiting",
            [10] = "MWAIT exiting",
            [11] = "RDPMC exiting",
            [12] = "RDTSC exiting",
            [15] = "CR3-load exiting",
            [16] = "CR3-store exiting",
            [17] = "activate tertiary controls",
            [19] = "CR8-load exiting",
            [20] = "CR8-store exiting",
            [21] = "use TPR shadow",
            [22] = "NMI-window exiting",
            [23] = "MOV-DR exiting",
            [24] = "unconditional I/O exiting",
            [25] = "use I/O bitmaps",
            [27] = "monitor trap flag",
            [28] = "use MSR bitmaps",
            [29] = "MONITOR exiting",
            [30] = "PAUSE exiting",
            [31] = "activate secondary controls",
        },
    [VMX_WORD_SECONDARY] =
        {
            [0] = "virtualize APIC accesses",
            [1] = "enable EPT",
            [2] = "descriptor-table exiting",
            [3] = "enable RDTSCP",
            [4] = "virtualize x2APIC mode",
            [5] = "enable VPID",
            [6] = "WBINVD exiting",
            [7] = "unrestricted guest",
            [8] = "APIC-register virtualization",
            [9] = "virtual-interrupt delivery",
            [10] = "PAUSE-loop exiting",
            [11] = "RDRAND exiting",
            [12] = "enable INVPCID",
            [13] = "enable VM functions",
            [14] = "VMCS shadowing",
            [15] = "enable ENCLS exiting",
            [16] = "RDSEED exiting",
            [17] = "enable PML",
            [18] = "EPT-violation #VE",
            [19] = "conceal VMX from PT",
            [20] = "enable XSAVES/XRSTORS",
            [21] = "PASID translation",
            [22] = "mode-based execute control for EPT",
            [23] = "sub-page write permissions for EPT",
            [24] = "Intel PT uses guest physical addresses",
            [25] = "use TSC scaling",
            [26] = "enable user wait and pause",
            [27] = "enable PCONFIG",
            [28] = "enable ENCLV exiting",
            [30] = "VMM bus-lock detection",
            [31] = "instruction timeout",
        },
    [VMX_WORD_EXIT] =
        {
            [2] = "save debug controls",
            [9] = "host address-space size",
            [12] = "load IA32_PERF_GLOBAL_CTRL",
            [15] = "acknowledge interrupt on exit",
            [18] = "save IA32_PAT",
            [19] = "load IA32_PAT",
            [20] = "save IA32_EFER",
            [21] = "load IA32_EFER",
            [22] = "save VMX-preemption timer value",
            [23] = "clear IA32_BNDCFGS",
            [24] = "conceal VMX from PT",
            [25] = "clear IA32_RTIT_CTL",
            [26] = "clear IA32_LBR_CTL",
            [27] = "clear UINV",
            [28] = "load CET state",
            [29] = "load PKRS",
            [30] = "save IA32_PERF_GLOBAL_CTRL",
            [31] = "activate secondary controls",
        },
    [VMX_WORD_ENTRY] =
        {
            [2] = "load debug controls",
            [9] = "IA-32e mode guest",
            [10] = "entry to SMM",
            [11] = "deactivate dual-monitor treatment",
            [13] = "load IA32_PERF_GLOBAL_CTRL",
            [14] = "load IA32_PAT",
            [15] = "load IA32_EFER",
            [16] = "load IA32_BNDCFGS",
            [17] = "conceal VMX from PT",
            [18] = "load IA32_RTIT_CTL",
            [19] = "load UINV",
            [20] = "load CET state",
            [21] = "load guest IA32_LBR_CTL",
            [22] = "load PKRS",
        },
};

const char *vmx_word_name(enum vmx_word word)
{
    return word_names[word];
}

const char *vmx_word_msr(const struct vmx_caps *caps, enum vmx_word word)
{
    static const char *const plain[VMX_WORD_COUNT] = {
        "IA32_VMX_PINBASED_CTLS", "IA32_VMX_PROCBASED_CTLS", "IA32_VMX_PROCBASED_CTLS2",
        "IA32_VMX_EXIT_CTLS",     "IA32_VMX_ENTRY_CTLS",
    };
    static const char *const exact[VMX_WORD_COUNT] = {
        "IA32_VMX_TRUE_PINBASED_CTLS", "IA32_VMX_TRUE_PROCBASED_CTLS", "IA32_VMX_PROCBASED_CTLS2",
        "IA32_VMX_TRUE_EXIT_CTLS",     "IA32_VMX_TRUE_ENTRY_CTLS",
    };
    return vmx_has(caps, VMX_HAS_TRUE_CONTROLS) ? exact[word] : plain[word];
}

const char *vmx_control_name(enum vmx_word word, unsigned bit)
{
    const char *name = bit < 32 ? control_names[word][bit] : NULL;

    return name ? name : "reserved";
}

const struct vmx_feature_info *vmx_feature_info(enum vmx_feature feature)
{
    return &features[feature].info;
}

static void set_word(struct vmx_caps *caps, enum vmx_word word, uint64_t msr)
{
    caps->must_be_1[word] = (uint32_t)msr;
    caps->may_be_1[word] = (uint32_t)(msr >> 32);
}

/* SDM 3D A.2-A.5: the TRUE MSRs, where they exist, say more. */
static void fill_words(struct vmx_caps *caps, const struct vmx_raw_caps *raw)
{
    bool exact = (raw->basic & VMX_BASIC_TRUE_CTLS) != 0;

    set_word(caps, VMX_WORD_PIN, exact ? raw->true_pin : raw->pin);
    set_word(caps, VMX_WORD_PRIMARY, exact ? raw->true_primary : raw->primary);
    set_word(caps, VMX_WORD_EXIT, exact ? raw->true_exit : raw->exit);
    set_word(caps, VMX_WORD_ENTRY, exact ? raw->true_entry : raw->entry);
    if (raw->primary & SECONDARY_ALLOWED) {
        set_word(caps, VMX_WORD_SECONDARY, raw->secondary);
    }
}

void vmx_caps_fill(struct vmx_caps *caps, const struct vmx_raw_caps *raw)
{
    uint64_t sources[] = {
        [IN_PIN] = raw->pin,     [IN_PRIMARY] = raw->primary, [IN_SECONDARY] = 0,    [IN_EXIT] = raw->exit,
        [IN_ENTRY] = raw->entry, [IN_EPT_VPID] = 0,           [IN_MISC] = raw->misc, [IN_BASIC] = raw->basic,
    };

    memset(caps, 0, sizeof(*caps));
    caps->raw = *raw;
    if (!raw->vmx) {
        return;
    }
    caps->revision = (uint32_t)(raw->basic & BASIC_REVISION);
    caps->region_bytes = (uint32_t)((raw->basic >> BASIC_REGION_SHIFT) & BASIC_REGION_MASK);
    caps->timer_shift = (uint32_t)(raw->misc & VMX_MISC_TIMER_RATE_MASK);
    fill_words(caps, raw);
    if (raw->primary & SECONDARY_ALLOWED) {
        sources[IN_SECONDARY] = raw->secondary;
        sources[IN_EPT_VPID] = raw->ept_vpid;
    }
    for (size_t i = 0; i < VMX_FEATURE_COUNT; i++) {
        caps->features |= ((sources[features[i].source] >> features[i].info.bit) & 1) << i;
    }
}

enum vmx_feature_control vmx_feature_control(uint64_t msr, uint64_t *value)
{
    *value = msr;
    if (!(msr & FEATURE_CONTROL_LOCK)) {
        *value = msr | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_SMX;
        return VMX_CONTROL_OPEN;
    }
    return (msr & FEATURE_CONTROL_VMX_OUT_SMX) ? VMX_CONTROL_READY : VMX_CONTROL_CLOSED;
}
