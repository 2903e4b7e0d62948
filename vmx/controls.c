#include "vmx/controls.h"

#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"

#include <string.h>

/* What is asked of one control word. A bit in none of the sets is set only if the CPU insists. */
struct request {
    uint32_t set;     /* must be 1 */
    uint32_t try_set; /* 1 where the CPU allows */
    uint32_t clear;   /* must be 0 */
};

#define CR4_GUEST_OWNED                                                                                      \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)

void vmx_policy_chunks(struct vmx_policy *policy)
{
    memset(policy, 0, sizeof(*policy));
    policy->exit_tsc = true;
    policy->exit_pause = true;
    policy->exit_random = true;
    policy->timer = true;
    policy->ept_accessed_dirty = true;
    policy->cr4_guest_owned = CR4_GUEST_OWNED;
}

void vmx_policy_run(struct vmx_policy *policy)
{
    memset(policy, 0, sizeof(*policy));
    policy->timer = true;
    policy->cr4_guest_owned = CR4_GUEST_OWNED;
}

static struct request ask_pin(const struct vmx_policy *policy)
{
    return (struct request){
        .set = PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS |
               (policy->timer ? PIN_PREEMPTION_TIMER : 0),
        .clear = PIN_POSTED_INTERRUPTS,
    };
}

static struct request ask_primary(const struct vmx_policy *policy)
{
    return (struct request){
        .set = PRIMARY_HLT_EXITING | PRIMARY_MWAIT_EXITING | PRIMARY_RDPMC_EXITING |
               PRIMARY_CR8_LOAD_EXITING | PRIMARY_CR8_STORE_EXITING | PRIMARY_MOV_DR_EXITING |
               PRIMARY_UNCONDITIONAL_IO | PRIMARY_MSR_BITMAPS | PRIMARY_MONITOR_EXITING |
               PRIMARY_SECONDARY_CONTROLS | (policy->exit_tsc ? PRIMARY_RDTSC_EXITING : 0) |
               (policy->exit_pause ? PRIMARY_PAUSE_EXITING : 0),
        .clear = PRIMARY_INTERRUPT_WINDOW | PRIMARY_NMI_WINDOW | PRIMARY_TPR_SHADOW | PRIMARY_IO_BITMAPS |
                 PRIMARY_MONITOR_TRAP_FLAG | PRIMARY_TSC_OFFSETTING | PRIMARY_TERTIARY_CONTROLS,
    };
}

/* What would let the guest do, or see, what the CPUID model does not have, or would cause exits of no use. */
#define SECONDARY_UNWANTED                                                                                   \
    (SECONDARY_APIC_ACCESSES | SECONDARY_DESCRIPTOR_TABLE_EXITING | SECONDARY_X2APIC_MODE |                  \
     SECONDARY_APIC_REGISTERS | SECONDARY_VIRTUAL_INTERRUPT_DELIVERY | SECONDARY_PAUSE_LOOP_EXITING |        \
     SECONDARY_INVPCID | SECONDARY_VM_FUNCTIONS | SECONDARY_VMCS_SHADOWING | SECONDARY_EPT_VIOLATION_VE |    \
     SECONDARY_XSAVES | SECONDARY_PASID_TRANSLATION | SECONDARY_MODE_BASED_EXECUTE |                         \
     SECONDARY_SUB_PAGE_WRITE | SECONDARY_PT_GUEST_PHYSICAL | SECONDARY_TSC_SCALING |                        \
     SECONDARY_USER_WAIT_PAUSE | SECONDARY_PCONFIG | SECONDARY_BUS_LOCK_DETECTION |                          \
     SECONDARY_INSTRUCTION_TIMEOUT)

static struct request ask_secondary(const struct vmx_caps *caps, const struct vmx_policy *policy)
{
    bool vpid = policy->vpid && vmx_has(caps, VMX_HAS_INVVPID_SINGLE);

    return (struct request){
        .set = SECONDARY_EPT | SECONDARY_UNRESTRICTED_GUEST | SECONDARY_WBINVD_EXITING |
               (caps->raw.rdtscp ? SECONDARY_RDTSCP : 0) |
               (policy->exit_random && caps->raw.rdrand ? SECONDARY_RDRAND_EXITING : 0) |
               (policy->exit_random && caps->raw.rdseed ? SECONDARY_RDSEED_EXITING : 0) |
               (policy->pml ? SECONDARY_PML : 0),
        /* A CPU without SGX has no control over ENCLS and ENCLV, and no such instructions. */
        .try_set = SECONDARY_ENCLS_EXITING | SECONDARY_ENCLV_EXITING | (vpid ? SECONDARY_VPID : 0),
        .clear = SECONDARY_UNWANTED,
    };
}

static struct request ask_exit(const struct vmx_policy *policy)
{
    return (struct request){
        .set = EXIT_SAVE_DEBUG_CONTROLS | EXIT_HOST_64BIT | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER |
               EXIT_LOAD_EFER | (policy->timer ? EXIT_SAVE_PREEMPTION_TIMER : 0) |
               (policy->count_branches ? EXIT_LOAD_PERF_GLOBAL_CTRL : 0),
        .clear = EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SECONDARY_CONTROLS,
    };
}

/* "IA-32e mode guest" follows the guest's EFER.LMA and is not set here. */
static struct request ask_entry(const struct vmx_policy *policy)
{
    return (struct request){
        .set = ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER |
               (policy->count_branches ? ENTRY_LOAD_PERF_GLOBAL_CTRL : 0),
        .clear = ENTRY_IA32E_GUEST | ENTRY_SMM | ENTRY_DEACTIVATE_DUAL_MONITOR,
    };
}

static unsigned lowest_bit(uint32_t word)
{
    return (unsigned)__builtin_ctz(word);
}

/* SDM 3D A.2: a bit may be 0 if it is 0 in the low half of the MSR, 1 if it is 1 in the high half. */
static bool resolve(const struct vmx_caps *caps, enum vmx_word word, const struct request *request,
                    uint32_t *result, struct vmx_refusal *refusal)
{
    uint32_t not_settable = request->set & ~caps->may_be_1[word];
    uint32_t not_clearable = request->clear & caps->must_be_1[word];
    uint32_t refused = not_settable ? not_settable : not_clearable;

    if (refused) {
        unsigned bit = lowest_bit(refused);

        refusal->control = vmx_word_name(word);
        refusal->name = vmx_control_name(word, bit);
        refusal->msr = vmx_word_msr(caps, word);
        refusal->wanted = not_settable != 0;
        refusal->bit = (uint8_t)(not_settable ? bit + 32 : bit);
        return false;
    }
    *result = request->set | (request->try_set & caps->may_be_1[word]) | caps->must_be_1[word];
    return true;
}

static bool require(const struct vmx_caps *caps, enum vmx_feature feature, struct vmx_refusal *refusal)
{
    const struct vmx_feature_info *info = vmx_feature_info(feature);

    if (vmx_has(caps, feature)) {
        return true;
    }
    *refusal = (struct vmx_refusal){
        .control = "VMX capability", .name = info->name, .msr = info->msr, .bit = info->bit, .wanted = true};
    return false;
}

static bool require_ept(const struct vmx_caps *caps, const struct vmx_policy *policy,
                        struct vmx_refusal *refusal)
{
    return require(caps, VMX_HAS_SECONDARY_CONTROLS, refusal) && require(caps, VMX_HAS_EPT, refusal) &&
           require(caps, VMX_HAS_EPT_4LEVEL, refusal) && require(caps, VMX_HAS_EPT_WRITE_BACK, refusal) &&
           require(caps, VMX_HAS_INVEPT, refusal) &&
           (vmx_has(caps, VMX_HAS_INVEPT_SINGLE) || require(caps, VMX_HAS_INVEPT_ALL, refusal)) &&
           (!policy->ept_accessed_dirty || require(caps, VMX_HAS_EPT_AD, refusal));
}

/*
 * Which bits of CR0 and CR4 the host owns, and their real values.
 *
 * CR0: what VMX forces (PE and PG are free, the guest being unrestricted: SDM 3C 27.3.1.1), and CD and NW:
 * with CR0.CD really set the guest would run uncached, whatever EPT says (29.3.7.2). CR4: all but what the
 * policy gives to the guest. MCE stays set, or a machine check would shut the CPU down.
 */
static void own_cr_bits(const struct vmx_raw_caps *raw, const struct vmx_policy *policy,
                        struct vmx_controls *controls)
{
    uint64_t on0 = raw->cr0_fixed0 & ~(CR0_PE | CR0_PG);

    controls->cr0_mask = on0 | ~raw->cr0_fixed1 | CR0_CD | CR0_NW;
    controls->cr0_real = on0;
    controls->cr4_mask = ~policy->cr4_guest_owned | raw->cr4_fixed0 | ~raw->cr4_fixed1;
    controls->cr4_real = raw->cr4_fixed0 | (CR4_MCE & raw->cr4_fixed1 & controls->cr4_mask);
}

bool vmx_controls_compute(const struct vmx_caps *caps, const struct vmx_policy *policy,
                          struct vmx_controls *controls, struct vmx_refusal *refusal)
{
    struct request requests[VMX_WORD_COUNT] = {
        [VMX_WORD_PIN] = ask_pin(policy),     [VMX_WORD_PRIMARY] = ask_primary(policy),
        [VMX_WORD_EXIT] = ask_exit(policy),   [VMX_WORD_SECONDARY] = ask_secondary(caps, policy),
        [VMX_WORD_ENTRY] = ask_entry(policy),
    };

    memset(controls, 0, sizeof(*controls));
    memset(refusal, 0, sizeof(*refusal));
    if (!caps->raw.vmx) {
        *refusal = (struct vmx_refusal){
            .control = "VMX capability", .name = "VMX", .msr = "CPUID.1:ECX", .bit = 5, .wanted = true};
        return false;
    }
    if (!require_ept(caps, policy, refusal)) {
        return false;
    }
    for (unsigned word = 0; word < VMX_WORD_COUNT; word++) {
        if (!resolve(caps, (enum vmx_word)word, &requests[word], &controls->word[word], refusal)) {
            return false;
        }
    }
    controls->exception_bitmap = (uint32_t)(BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC));
    own_cr_bits(&caps->raw, policy, controls);
    return true;
}
