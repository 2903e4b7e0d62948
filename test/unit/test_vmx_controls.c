/* Capabilities and control words, with the MSRs of a Skylake server and of machines that lack something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu/cpu.h"
#include "vmx/caps.h"
#include "vmx/controls.h"

/* As a real server reports them. */
static const struct vmx_raw_caps server = {
    .vmx = true,
    .rdtscp = true,
    .rdrand = true,
    .rdseed = true,
    .feature_control = 5,
    .basic = UINT64_C(0x00DA040000000004),
    .pin = UINT64_C(0x0000007F00000016),
    .primary = UINT64_C(0xFFF9FFFE0401E172),
    .exit = UINT64_C(0x01FFFFFF00036DFF),
    .entry = UINT64_C(0x0003FFFF000011FF),
    .true_pin = UINT64_C(0x0000007F00000016),
    .true_primary = UINT64_C(0xFFF9FFFE04006172),
    .true_exit = UINT64_C(0x01FFFFFF00036DFB),
    .true_entry = UINT64_C(0x0003FFFF000011FB),
    .secondary = UINT64_C(0x005FBCFF00000000),
    .misc = UINT64_C(0x000000007004C1E5),
    .cr0_fixed0 = UINT64_C(0x80000021),
    .cr0_fixed1 = UINT64_C(0xFFFFFFFF),
    .cr4_fixed0 = UINT64_C(0x2000),
    .cr4_fixed1 = UINT64_C(0x3767FF),
    .ept_vpid = UINT64_C(0x00000F0106734141),
};

static bool compute(const struct vmx_raw_caps *raw, const struct vmx_policy *policy,
                    struct vmx_controls *controls, struct vmx_refusal *refusal)
{
    struct vmx_caps caps;

    vmx_caps_fill(&caps, raw);
    return vmx_controls_compute(&caps, policy, controls, refusal);
}

static void capabilities(void **state)
{
    struct vmx_caps caps;

    (void)state;
    vmx_caps_fill(&caps, &server);
    assert_int_equal(caps.revision, 4);
    assert_int_equal(caps.region_bytes, 1024);
    assert_int_equal(caps.timer_shift, 5);
    for (unsigned i = 0; i < VMX_FEATURE_COUNT; i++) {
        assert_true(vmx_has(&caps, (enum vmx_feature)i));
        assert_non_null(vmx_feature_info((enum vmx_feature)i)->name);
    }
    assert_int_equal(caps.must_be_1[VMX_WORD_PRIMARY], 0x04006172);
    assert_int_equal(caps.must_be_1[VMX_WORD_ENTRY], 0x11FB);
}

/* Each feature follows exactly the bit that it is said to follow. */
static void feature_bits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VMX_FEATURE_COUNT; i++) {
        const struct vmx_feature_info *info = vmx_feature_info((enum vmx_feature)i);
        struct vmx_raw_caps raw = server;
        struct vmx_caps caps;
        const struct {
            const char *msr;
            uint64_t *value;
        } msrs[] = {
            {"IA32_VMX_BASIC", &raw.basic},
            {"IA32_VMX_PINBASED_CTLS", &raw.pin},
            {"IA32_VMX_PROCBASED_CTLS", &raw.primary},
            {"IA32_VMX_PROCBASED_CTLS2", &raw.secondary},
            {"IA32_VMX_EXIT_CTLS", &raw.exit},
            {"IA32_VMX_ENTRY_CTLS", &raw.entry},
            {"IA32_VMX_MISC", &raw.misc},
            {"IA32_VMX_EPT_VPID_CAP", &raw.ept_vpid},
        };
        unsigned found = 0;

        for (size_t j = 0; j < ARRAY_LEN(msrs); j++) {
            if (strcmp(msrs[j].msr, info->msr) == 0) {
                *msrs[j].value &= ~BIT(info->bit);
                found++;
            }
        }
        assert_int_equal(found, 1);
        vmx_caps_fill(&caps, &raw);
        assert_false(vmx_has(&caps, (enum vmx_feature)i));
    }
}

/* Both controls or none: else the host would be counted, too. */
static void counting_words(void **state)
{
    struct vmx_raw_caps raw = server;
    struct vmx_policy policy;
    struct vmx_controls c;
    struct vmx_refusal refusal;

    (void)state;
    vmx_policy_chunks(&policy);
    policy.count_branches = true;
    assert_true(compute(&server, &policy, &c, &refusal));
    assert_true(c.word[VMX_WORD_ENTRY] & ENTRY_LOAD_PERF_GLOBAL_CTRL);
    assert_true(c.word[VMX_WORD_EXIT] & EXIT_LOAD_PERF_GLOBAL_CTRL);
    raw.true_entry &= ~BIT(32 + 13);
    assert_false(compute(&raw, &policy, &c, &refusal));
    assert_string_equal(refusal.name, "load IA32_PERF_GLOBAL_CTRL");
    raw = server;
    raw.true_exit &= ~BIT(32 + 12);
    assert_false(compute(&raw, &policy, &c, &refusal));
    assert_string_equal(refusal.name, "load IA32_PERF_GLOBAL_CTRL");
}

static void chunk_words(void **state)
{
    struct vmx_policy policy;
    struct vmx_controls c;
    struct vmx_refusal refusal;

    (void)state;
    vmx_policy_chunks(&policy);
    assert_true(compute(&server, &policy, &c, &refusal));
    assert_int_equal(c.word[VMX_WORD_PIN], 0x16 | 0x69);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & PRIMARY_RDTSC_EXITING, PRIMARY_RDTSC_EXITING);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & PRIMARY_PAUSE_EXITING, PRIMARY_PAUSE_EXITING);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & (PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING), 0);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & PRIMARY_INVLPG_EXITING, 0);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & (PRIMARY_IO_BITMAPS | PRIMARY_UNCONDITIONAL_IO),
                     PRIMARY_UNCONDITIONAL_IO);
    assert_int_equal(c.word[VMX_WORD_SECONDARY], SECONDARY_EPT | SECONDARY_RDTSCP | SECONDARY_WBINVD_EXITING |
                                                     SECONDARY_UNRESTRICTED_GUEST | SECONDARY_RDRAND_EXITING |
                                                     SECONDARY_ENCLS_EXITING | SECONDARY_RDSEED_EXITING);
    assert_int_equal(c.word[VMX_WORD_EXIT] & EXIT_ACKNOWLEDGE_INTERRUPT, 0);
    assert_int_equal(c.word[VMX_WORD_ENTRY] & ENTRY_IA32E_GUEST, 0);
    assert_int_equal(c.word[VMX_WORD_ENTRY] & ENTRY_LOAD_PERF_GLOBAL_CTRL, 0);
    assert_int_equal(c.word[VMX_WORD_EXIT] & EXIT_LOAD_PERF_GLOBAL_CTRL, 0);
    assert_int_equal(c.exception_bitmap, (1u << 1) | (1u << 17) | (1u << 18));
    for (unsigned word = 0; word < VMX_WORD_COUNT; word++) {
        struct vmx_caps caps;

        vmx_caps_fill(&caps, &server);
        assert_int_equal(caps.must_be_1[word] & ~c.word[word], 0);
        assert_int_equal(c.word[word] & ~caps.may_be_1[word], 0);
    }
}

static void run_words(void **state)
{
    struct vmx_policy policy;
    struct vmx_controls c;
    struct vmx_refusal refusal;

    (void)state;
    vmx_policy_run(&policy);
    assert_true(compute(&server, &policy, &c, &refusal));
    assert_int_equal(c.word[VMX_WORD_PRIMARY] &
                         (PRIMARY_RDTSC_EXITING | PRIMARY_PAUSE_EXITING | PRIMARY_TSC_OFFSETTING),
                     0);
    assert_int_equal(c.word[VMX_WORD_SECONDARY] & (SECONDARY_RDRAND_EXITING | SECONDARY_RDSEED_EXITING), 0);
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & PRIMARY_HLT_EXITING, PRIMARY_HLT_EXITING);
}

static void optional_words(void **state)
{
    struct vmx_raw_caps raw = server;
    struct vmx_policy policy;
    struct vmx_controls c;
    struct vmx_refusal refusal;

    (void)state;
    vmx_policy_chunks(&policy);
    policy.vpid = true;
    policy.pml = true;
    assert_true(compute(&raw, &policy, &c, &refusal));
    assert_int_equal(c.word[VMX_WORD_SECONDARY] & (SECONDARY_VPID | SECONDARY_PML),
                     SECONDARY_VPID | SECONDARY_PML);
    raw.secondary &= ~(BIT(32 + 17) | BIT(32 + 15));
    raw.secondary |= BIT(32 + 28);
    raw.ept_vpid &= ~BIT(41);
    assert_false(compute(&raw, &policy, &c, &refusal)); /* asked for, PML has to be there */
    assert_string_equal(refusal.name, "enable PML");
    assert_int_equal(refusal.bit, 32 + 17);
    policy.pml = false;
    assert_true(compute(&raw, &policy, &c, &refusal));
    assert_int_equal(c.word[VMX_WORD_SECONDARY] & (SECONDARY_VPID | SECONDARY_PML | SECONDARY_ENCLS_EXITING),
                     0);
    assert_int_equal(c.word[VMX_WORD_SECONDARY] & SECONDARY_ENCLV_EXITING, SECONDARY_ENCLV_EXITING);
    /* Without the TRUE MSRs, CR3 accesses exit whether wanted or not. */
    raw.basic &= ~BIT(55);
    assert_true(compute(&raw, &policy, &c, &refusal));
    assert_int_equal(c.word[VMX_WORD_PRIMARY] & PRIMARY_CR3_LOAD_EXITING, PRIMARY_CR3_LOAD_EXITING);
    /* No RDSEED instruction, no control over it: no refusal. */
    raw.secondary &= ~BIT(32 + 16);
    assert_false(compute(&raw, &policy, &c, &refusal));
    assert_string_equal(refusal.name, "RDSEED exiting");
    raw.rdseed = false;
    assert_true(compute(&raw, &policy, &c, &refusal));
}

struct refused_case {
    size_t offset; /* in struct vmx_raw_caps */
    uint64_t clear, set;
    const char *control, *name, *msr;
    uint8_t bit;
    bool wanted;
};

#define RAW(member) offsetof(struct vmx_raw_caps, member)

static const struct refused_case refused_cases[] = {
    {RAW(true_pin), BIT(38), 0, "pin-based VM-execution controls", "activate VMX-preemption timer",
     "IA32_VMX_TRUE_PINBASED_CTLS", 38, true},
    {RAW(true_pin), BIT(37), 0, "pin-based VM-execution controls", "virtual NMIs",
     "IA32_VMX_TRUE_PINBASED_CTLS", 37, true},
    {RAW(true_primary), BIT(62), 0, "primary processor-based VM-execution controls", "PAUSE exiting",
     "IA32_VMX_TRUE_PROCBASED_CTLS", 62, true},
    {RAW(true_primary), 0, BIT(21), "primary processor-based VM-execution controls", "use TPR shadow",
     "IA32_VMX_TRUE_PROCBASED_CTLS", 21, false},
    {RAW(primary), BIT(63), 0, "VMX capability", "activate secondary controls", "IA32_VMX_PROCBASED_CTLS", 63,
     true},
    {RAW(secondary), BIT(33), 0, "VMX capability", "enable EPT", "IA32_VMX_PROCBASED_CTLS2", 33, true},
    {RAW(secondary), BIT(39), 0, "secondary processor-based VM-execution controls", "unrestricted guest",
     "IA32_VMX_PROCBASED_CTLS2", 39, true},
    {RAW(secondary), BIT(35), 0, "secondary processor-based VM-execution controls", "enable RDTSCP",
     "IA32_VMX_PROCBASED_CTLS2", 35, true},
    {RAW(secondary), 0, BIT(12), "secondary processor-based VM-execution controls", "enable INVPCID",
     "IA32_VMX_PROCBASED_CTLS2", 12, false},
    {RAW(ept_vpid), BIT(21), 0, "VMX capability", "EPT accessed and dirty flags", "IA32_VMX_EPT_VPID_CAP", 21,
     true},
    {RAW(ept_vpid), BIT(6), 0, "VMX capability", "EPT 4-level page walk", "IA32_VMX_EPT_VPID_CAP", 6, true},
    {RAW(ept_vpid), BIT(25) | BIT(26), 0, "VMX capability", "all-context INVEPT", "IA32_VMX_EPT_VPID_CAP", 26,
     true},
    {RAW(true_exit), BIT(54), 0, "VM-exit controls", "save VMX-preemption timer value",
     "IA32_VMX_TRUE_EXIT_CTLS", 54, true},
    {RAW(true_exit), 0, BIT(15), "VM-exit controls", "acknowledge interrupt on exit",
     "IA32_VMX_TRUE_EXIT_CTLS", 15, false},
    {RAW(true_entry), BIT(47), 0, "VM-entry controls", "load IA32_EFER", "IA32_VMX_TRUE_ENTRY_CTLS", 47,
     true},
};

static void refusals(void **state)
{
    struct vmx_policy policy;

    (void)state;
    vmx_policy_chunks(&policy);
    for (size_t i = 0; i < ARRAY_LEN(refused_cases); i++) {
        const struct refused_case *c = &refused_cases[i];
        struct vmx_raw_caps raw = server;
        struct vmx_controls controls;
        struct vmx_refusal refusal;
        uint64_t msr;

        memcpy(&msr, (char *)&raw + c->offset, sizeof(msr));
        msr = (msr & ~c->clear) | c->set;
        memcpy((char *)&raw + c->offset, &msr, sizeof(msr));
        assert_false(compute(&raw, &policy, &controls, &refusal));
        assert_string_equal(refusal.control, c->control);
        assert_string_equal(refusal.name, c->name);
        assert_string_equal(refusal.msr, c->msr);
        assert_int_equal(refusal.bit, c->bit);
        assert_int_equal(refusal.wanted, c->wanted);
    }
}

static void no_vmx(void **state)
{
    struct vmx_raw_caps raw = {.vmx = false};
    struct vmx_policy policy;
    struct vmx_controls controls;
    struct vmx_refusal refusal;

    (void)state;
    vmx_policy_run(&policy);
    assert_false(compute(&raw, &policy, &controls, &refusal));
    assert_string_equal(refusal.msr, "CPUID.1:ECX");
}

/* A/D bits are asked for by policy alone. */
static void no_accessed_dirty(void **state)
{
    struct vmx_raw_caps raw = server;
    struct vmx_policy policy;
    struct vmx_controls controls;
    struct vmx_refusal refusal;

    (void)state;
    raw.ept_vpid &= ~BIT(21);
    vmx_policy_run(&policy);
    assert_true(compute(&raw, &policy, &controls, &refusal));
}

static void control_registers(void **state)
{
    struct vmx_policy policy;
    struct vmx_controls c;
    struct vmx_refusal refusal;
    uint64_t reset = CR0_CD | CR0_NW | CR0_ET;
    uint64_t real;

    (void)state;
    vmx_policy_chunks(&policy);
    assert_true(compute(&server, &policy, &c, &refusal));
    real = vmx_cr_real(reset, c.cr0_mask, c.cr0_real);
    assert_int_equal(real, CR0_ET | CR0_NE);
    assert_int_equal(vmx_cr_visible(real, c.cr0_mask, reset), reset);
    /* The guest sets PE and WP without an exit: they are seen although the shadow has them clear. */
    assert_int_equal(vmx_cr_visible(real | CR0_PE | CR0_WP, c.cr0_mask, reset), reset | CR0_PE | CR0_WP);
    assert_int_equal(c.cr0_mask & (CR0_PE | CR0_PG | CR0_TS | CR0_WP | CR0_AM | CR0_MP | CR0_EM), 0);

    real = vmx_cr_real(CR4_PAE, c.cr4_mask, c.cr4_real);
    assert_int_equal(real, CR4_PAE | CR4_VMXE | CR4_MCE);
    assert_int_equal(vmx_cr_visible(real, c.cr4_mask, CR4_PAE), CR4_PAE);
    assert_int_equal(c.cr4_mask & (CR4_PAE | CR4_PGE | CR4_OSXSAVE), 0);
    assert_true(c.cr4_mask & CR4_LA57);
}

static void feature_control(void **state)
{
    uint64_t value;

    (void)state;
    assert_int_equal(vmx_feature_control(5, &value), VMX_CONTROL_READY);
    assert_int_equal(vmx_feature_control(1, &value), VMX_CONTROL_CLOSED);
    assert_int_equal(vmx_feature_control(3, &value), VMX_CONTROL_CLOSED);
    assert_int_equal(vmx_feature_control(0x100000, &value), VMX_CONTROL_OPEN);
    assert_int_equal(value, 0x100005);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(vmx_control_name(VMX_WORD_SECONDARY, 1), "enable EPT");
    assert_string_equal(vmx_control_name(VMX_WORD_PIN, 31), "reserved");
    assert_string_equal(vmx_control_name(VMX_WORD_PIN, 32), "reserved");
    for (unsigned word = 0; word < VMX_WORD_COUNT; word++) {
        assert_non_null(vmx_word_name((enum vmx_word)word));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capabilities),      cmocka_unit_test(feature_bits),
        cmocka_unit_test(chunk_words),       cmocka_unit_test(counting_words),
        cmocka_unit_test(run_words),         cmocka_unit_test(optional_words),
        cmocka_unit_test(refusals),          cmocka_unit_test(no_vmx),
        cmocka_unit_test(no_accessed_dirty), cmocka_unit_test(control_registers),
        cmocka_unit_test(feature_control),   cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
