/* The start-up report: each requirement is missed by name, each option is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "hv/report.h"

static struct report_input input;
static struct report report;
static char text[16384];   /* all lines */
static char errors[16384]; /* the important ones */
static char brief[16384];  /* all lines of the short form */

/* The CPUID of the machine: all ones but for one bit. */
static struct cpuid_feature hidden;

static struct cpuid_answer tell_cpuid(void *context, uint32_t leaf, uint32_t subleaf)
{
    uint32_t words[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

    (void)context;
    if (hidden.name && leaf == hidden.leaf && subleaf == hidden.subleaf) {
        words[hidden.reg] &= ~(1u << hidden.bit);
    }
    return (struct cpuid_answer){words[0], words[1], words[2], words[3]};
}

/* A machine that allows every control and demands none. */
static void make_good(void)
{
    uint64_t all = UINT64_C(0xFFFFFFFF) << 32;

    memset(&input, 0, sizeof(input));
    memset(&hidden, 0, sizeof(hidden));
    input.cpuid.version.ecx = (uint32_t)CPUID_1_ECX_VMX;
    input.host_cpuid = tell_cpuid;
    input.vmx = (struct vmx_raw_caps){
        .vmx = true,
        .feature_control = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_SMX,
        .basic = VMX_BASIC_TRUE_CTLS | UINT64_C(4096) << 32 | UINT64_C(6) << 50 | 1,
        .pin = all,
        .primary = all,
        .exit = all,
        .entry = all,
        .true_pin = all,
        .true_primary = all,
        .true_exit = all,
        .true_entry = all,
        .secondary = all,
        .misc = 5 | VMX_MISC_ACTIVITY_HLT | VMX_MISC_ACTIVITY_WAIT_SIPI,
        .cr0_fixed1 = UINT64_MAX,
        .cr4_fixed1 = UINT64_MAX,
        .ept_vpid = UINT64_MAX,
    };
    input.cpus_listed = 4;
    input.cpus_running = 4;
    input.cpu_closed = REPORT_NO_CPU;
    input.cpu_different = REPORT_NO_CPU;
    input.memory_free = 128 << 20;
    input.guest_memory = 64 << 20;
    input.tsc_khz = 1000000;
}

static void take_line(void *context, bool important, const char *line)
{
    (void)context;
    assert_true(strlen(line) < REPORT_LINE_SIZE - 1); /* nothing was cut */
    strcat(text, line);
    strcat(text, "\n");
    if (important) {
        strcat(errors, line);
        strcat(errors, "\n");
    }
}

static bool fill(void)
{
    char short_errors[sizeof(errors)];

    report_fill(&report, &input);
    text[0] = errors[0] = '\0';
    report_print(&report, false, take_line, NULL);
    strcpy(brief, text);
    strcpy(short_errors, errors);
    text[0] = errors[0] = '\0';
    report_print(&report, true, take_line, NULL);
    assert_string_equal(errors, short_errors); /* what is missing is named in both forms */
    return report_good(&report);
}

static void expect_error(const char *part)
{
    assert_false(fill());
    if (!strstr(errors, part)) {
        fail_msg("no \"%s\" in:\n%s", part, errors);
    }
    assert_non_null(strstr(errors, "verdict: refused"));
}

static void test_good(void **state)
{
    (void)state;
    make_good();
    if (!fill()) {
        fail_msg("refused:\n%s", errors);
    }
    assert_string_equal(errors, "");
    assert_int_equal(report.vcpus, 3);
    assert_non_null(strstr(text, "one tick is 32 TSC ticks"));
    assert_non_null(strstr(text, "verdict: this machine can record and replay, 3 vCPUs"));
    assert_non_null(strstr(text, "PMU: none"));
    assert_non_null(
        strstr(text, "yes EPT accessed and dirty flags (IA32_VMX_EPT_VPID_CAP bit 21, required)"));
    assert_non_null(strstr(text, "yes RDRAND (CPUID.1:ECX bit 30, required)"));
    assert_non_null(strstr(text, "no  invariant TSC (CPUID.80000007H:EDX bit 8)"));
}

/* The short form: one line of what there is, and the verdict. */
static void test_brief(void **state)
{
    (void)state;
    make_good();
    input.cpus_listed = 5;
    assert_true(fill());
    assert_string_equal(brief,
                        "machine: 4 of 5 CPUs, TSC 1000000 kHz, 128 MiB free, no PMU; VT-x: EPT, EPT A/D "
                        "flags, preemption timer, unrestricted guest, PML, VPID, MTF not tried\n"
                        "verdict: this machine can record and replay, 3 vCPUs\n");
    make_good();
    input.cpuid.version.ecx = 0;
    input.vmx = (struct vmx_raw_caps){0};
    assert_false(fill());
    assert_string_equal(brief, "machine: 4 of 4 CPUs, TSC 1000000 kHz, 128 MiB free, no PMU; VT-x: none\n"
                               "missing: VMX (CPUID.1:ECX bit 5)\n"
                               "verdict: refused: no VT-x\n");
}

static void test_mtf(void **state)
{
    static const char *const texts[] = {
        [PROBE_MTF_ABSENT] = "absent",
        [PROBE_MTF_DOES_NOTHING] = "advertised but does nothing",
        [PROBE_MTF_WORKS] = "works",
    };
    char line[64];

    (void)state;
    make_good();
    assert_true(fill());
    for (unsigned i = PROBE_MTF_ABSENT; i <= PROBE_MTF_WORKS; i++) {
        report.mtf = (enum probe_mtf)i;
        text[0] = '\0';
        report_print(&report, true, take_line, NULL);
        snprintf(line, sizeof(line), "\nmonitor trap flag: %s\n", texts[i]);
        assert_non_null(strstr(text, line));
    }
    input.vmx.primary &= ~BIT(32 + 27);
    input.vmx.true_primary &= ~BIT(32 + 27);
    assert_true(fill());
    assert_non_null(strstr(text, "monitor trap flag: absent"));
}

/* Each feature that the guest's CPUID model promises is a requirement. */
static void test_guest_features(void **state)
{
    size_t count;
    const struct cpuid_feature *required = cpuid_required(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        char part[64];

        make_good();
        hidden = required[i];
        snprintf(part, sizeof(part), "missing: %s (CPUID.", hidden.name);
        expect_error(part);
        assert_int_equal(report.missing, 1);
    }
    make_good();
    hidden = (struct cpuid_feature){"BMI2", 7, 0, 8, CPUID_REG_EBX};
    expect_error("missing: BMI2 (CPUID.7:EBX bit 8)");
    hidden = (struct cpuid_feature){"LZCNT", 0x80000001, 0, 5, CPUID_REG_ECX};
    expect_error("missing: LZCNT (CPUID.80000001H:ECX bit 5)");
}

static void test_no_vmx(void **state)
{
    (void)state;
    make_good();
    input.cpuid.version.ecx &= ~(uint32_t)CPUID_1_ECX_VMX;
    input.vmx = (struct vmx_raw_caps){0};
    expect_error("missing: VMX (CPUID.1:ECX bit 5)");
    assert_non_null(strstr(errors, "verdict: refused: no VT-x"));
    assert_null(strstr(text, "EPT"));
}

static void test_ept_bits(void **state)
{
    static const struct {
        unsigned bit;
        const char *error;
    } bits[] = {
        {6, "EPT 4-level page walk (IA32_VMX_EPT_VPID_CAP bit 6)"},
        {14, "EPT write-back memory type (IA32_VMX_EPT_VPID_CAP bit 14)"},
        {20, "INVEPT (IA32_VMX_EPT_VPID_CAP bit 20)"},
        {21, "EPT accessed and dirty flags (IA32_VMX_EPT_VPID_CAP bit 21)"},
        {25, "single-context INVEPT (IA32_VMX_EPT_VPID_CAP bit 25)"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        make_good();
        input.vmx.ept_vpid &= ~BIT(bits[i].bit);
        expect_error(bits[i].error);
        assert_int_equal(report.missing, 1);
    }
}

static void test_controls(void **state)
{
    (void)state;
    make_good();
    input.vmx.secondary &= ~BIT(32 + 7);
    expect_error("missing: unrestricted guest (IA32_VMX_PROCBASED_CTLS2 bit 39)");
    make_good();
    input.vmx.secondary &= ~BIT(32 + 1);
    expect_error("missing: enable EPT (IA32_VMX_PROCBASED_CTLS2 bit 33)");
    make_good();
    input.vmx.pin &= ~BIT(32 + 6);
    input.vmx.true_pin &= ~BIT(32 + 6);
    expect_error("missing: activate VMX-preemption timer (IA32_VMX_PINBASED_CTLS bit 38)");
    make_good();
    input.vmx.primary &= ~BIT(63);
    input.vmx.true_primary &= ~BIT(63);
    expect_error("missing: activate secondary controls (IA32_VMX_PROCBASED_CTLS bit 63)");
    /* Not in the list of items, but refused by the control words' own check. */
    make_good();
    input.vmx.true_primary &= ~BIT(32 + 7);
    expect_error("HLT exiting cannot be set (IA32_VMX_TRUE_PROCBASED_CTLS bit 39)");
}

static void test_optional(void **state)
{
    (void)state;
    make_good();
    input.vmx.secondary &= ~(BIT(32 + 17) | BIT(32 + 5)); /* PML, VPID */
    input.vmx.ept_vpid &= ~(BIT(26) | BIT(16));           /* all-context INVEPT, 2 MiB pages */
    input.vmx.primary &= ~BIT(32 + 27);                   /* MTF */
    input.vmx.true_primary &= ~BIT(32 + 27);
    if (!fill()) {
        fail_msg("refused:\n%s", errors);
    }
    assert_non_null(strstr(text, "no  enable PML"));
    assert_non_null(strstr(text, "no  monitor trap flag"));
}

static void test_feature_control(void **state)
{
    (void)state;
    make_good();
    input.vmx.feature_control = FEATURE_CONTROL_LOCK;
    input.cpu_closed = 0;
    expect_error("(IA32_FEATURE_CONTROL bit 2)");
    assert_non_null(strstr(errors, "IA32_FEATURE_CONTROL of CPU 0 is locked without VMX"));
    make_good();
    input.cpu_closed = 2;
    expect_error("IA32_FEATURE_CONTROL of CPU 2 is locked without VMX");
    make_good();
    input.cpu_different = 3;
    expect_error("CPU 3 has other VMX capabilities than CPU 0");
}

static void test_cpus(void **state)
{
    static const struct {
        uint32_t running, asked, vcpus;
    } good[] = {{2, 0, 1}, {2, 1, 1}, {9, 0, 8}, {64, 0, 8}, {64, 8, 8}, {4, 2, 2}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        make_good();
        input.cpus_running = good[i].running;
        input.vcpus_asked = good[i].asked;
        assert_true(fill());
        assert_int_equal(report.vcpus, good[i].vcpus);
    }
    make_good();
    input.cpus_running = 1;
    expect_error("1 vCPUs need 2 CPUs, the machine has 1");
    make_good();
    input.cpus_running = 2;
    input.vcpus_asked = 2;
    expect_error("2 vCPUs need 3 CPUs, the machine has 2");
}

static void test_memory_and_pmu(void **state)
{
    (void)state;
    make_good();
    input.guest_memory = 129 << 20;
    expect_error("the guest's memory of 129 MiB does not fit into 128 MiB");
    make_good();
    input.cpuid.perfmon.eax = 0x07300805;
    assert_true(fill());
    assert_non_null(
        strstr(text, "PMU: version 5, 8 counters of 48 bits (CPUID.0AH), but its MSRs do not exist"));
    assert_non_null(strstr(brief, "chunk ends: by time, without the PMU: not an Intel processor"));
    input.pmu_msrs = true;
    assert_true(fill());
    assert_null(strstr(text, "MSRs do not exist"));
    memcpy(&input.cpuid.vendor.ebx, "Genu", 4);
    memcpy(&input.cpuid.vendor.edx, "ineI", 4);
    memcpy(&input.cpuid.vendor.ecx, "ntel", 4);
    assert_true(fill());
    assert_non_null(strstr(text, "without the PMU: the event is not known for this model (CPUID.1:EAX)"));
    input.cpuid.version.eax = 0x806f8;
    assert_true(fill());
    assert_non_null(strstr(text, "without the PMU: no FREEZE_WHILE_SMM (IA32_PERF_CAPABILITIES bit 12)"));
    input.pmu_capabilities = PERF_CAPABILITIES_FREEZE_WHILE_SMM;
    assert_true(fill());
    assert_non_null(strstr(text, "chunk ends: by counts of branches (BR_INST_RETIRED.COND)"));
    assert_non_null(strstr(brief, "chunk ends: by counts of branches (BR_INST_RETIRED.COND)"));
    input.cpuid.features.edx = CPUID_7_EDX_HYBRID;
    assert_true(fill());
    assert_non_null(strstr(brief, "without the PMU: CPUs of several kinds (CPUID.7:EDX bit 15)"));
    input.no_pmu = true;
    assert_true(fill());
    assert_non_null(strstr(brief, "without the PMU: pmu=off"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brief),           cmocka_unit_test(test_mtf),
        cmocka_unit_test(test_guest_features),  cmocka_unit_test(test_good),
        cmocka_unit_test(test_no_vmx),          cmocka_unit_test(test_ept_bits),
        cmocka_unit_test(test_controls),        cmocka_unit_test(test_optional),
        cmocka_unit_test(test_feature_control), cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_memory_and_pmu),
    };

    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
