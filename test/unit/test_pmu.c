/* Which machines can count their guest's conditional branches, and the counter itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/chunk.h"
#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "hv/position.h"
#include "test/fake/machine.h"
#include "vmx/vmcs.h"

static struct vmx_caps caps;

static struct vmx_pmu_input good(void)
{
    caps = (struct vmx_caps){.features = ~UINT64_C(0)};
    return (struct vmx_pmu_input){.caps = &caps,
                                  .vendor = "GenuineIntel",
                                  .version = 0x50654, /* a Skylake server */
                                  .perfmon = 0x07300404,
                                  .msrs = true,
                                  .capabilities = PERF_CAPABILITIES_FREEZE_WHILE_SMM};
}

static enum vmx_pmu_lack lack(const struct vmx_pmu_input *input)
{
    struct vmx_pmu pmu;

    vmx_pmu_find(input, &pmu);
    return pmu.lack;
}

static void each_lack_is_named(void **state)
{
    struct vmx_pmu_input input;

    (void)state;
    input = good();
    assert_int_equal(lack(&input), VMX_PMU_LACKS_NOTHING);
    input.perfmon = 0;
    assert_int_equal(lack(&input), VMX_PMU_LACKS_COUNTER);
    input.perfmon = 0x07300401; /* version 1 */
    assert_int_equal(lack(&input), VMX_PMU_LACKS_COUNTER);
    input.perfmon = 0x07300004; /* no general counter */
    assert_int_equal(lack(&input), VMX_PMU_LACKS_COUNTER);
    input.perfmon = 0x07200404; /* of 32 bits: no overflow could be set */
    assert_int_equal(lack(&input), VMX_PMU_LACKS_COUNTER);
    input = good();
    memcpy(input.vendor, "AuthenticAMD", 12);
    assert_int_equal(lack(&input), VMX_PMU_LACKS_VENDOR);
    input = good();
    input.version = 0xa06d0;
    assert_int_equal(lack(&input), VMX_PMU_LACKS_MODEL);
    input.version = 0x150654; /* another family with the same model */
    assert_int_equal(lack(&input), VMX_PMU_LACKS_MODEL);
    input = good();
    input.features = CPUID_7_EDX_HYBRID;
    assert_int_equal(lack(&input), VMX_PMU_LACKS_UNITY);
    input = good();
    input.msrs = false;
    assert_int_equal(lack(&input), VMX_PMU_LACKS_MSRS);
    input = good();
    input.capabilities = ~PERF_CAPABILITIES_FREEZE_WHILE_SMM;
    assert_int_equal(lack(&input), VMX_PMU_LACKS_FREEZE);
    input = good();
    caps.features = ~BIT(VMX_HAS_ENTRY_PERF_CTRL);
    assert_int_equal(lack(&input), VMX_PMU_LACKS_ENTRY_LOAD);
    caps.features = ~BIT(VMX_HAS_EXIT_PERF_CTRL);
    assert_int_equal(lack(&input), VMX_PMU_LACKS_EXIT_LOAD);
    for (unsigned i = 0; i < VMX_PMU_LACK_COUNT; i++)
        assert_non_null(vmx_pmu_lack_text((enum vmx_pmu_lack)i));
}

/* Every stepping of a model, and no processor between the models. */
static void events_of_models(void **state)
{
    struct vmx_pmu_input input = good();
    struct vmx_pmu pmu;
    unsigned known = 0;

    (void)state;
    for (uint32_t model = 0; model < 256; model++) {
        input.version = (model >> 4) << 16 | 6 << 8 | (model & 15) << 4 | 5;
        vmx_pmu_find(&input, &pmu);
        known += pmu.lack == VMX_PMU_LACKS_NOTHING;
        assert_int_equal(pmu.event != NULL, pmu.lack == VMX_PMU_LACKS_NOTHING);
    }
    assert_int_equal(known, 23);
    input.version = 0x906ed; /* Coffee Lake */
    vmx_pmu_find(&input, &pmu);
    assert_string_equal(pmu.event, "BR_INST_RETIRED.CONDITIONAL");
    assert_int_equal(pmu.select, 0x01c4);
    assert_int_equal(pmu.width, 48);
    input.version = 0x606a6; /* Ice Lake server */
    vmx_pmu_find(&input, &pmu);
    assert_string_equal(pmu.event, "BR_INST_RETIRED.COND");
    assert_int_equal(pmu.select, 0x11c4);
}

#define LOOP_AT 0x3000u

/* A vCPU that counts, in front of a loop without end. */
static struct fake_bench *counting_bench(struct vcpu **vcpu)
{
    static struct fake_guest guest = {.only = "tight", .calls = 4, .rounds = 50, .vcpus = 1};
    static struct fake_machine_config config;
    /* MOV ECX, 1000; LOOP to itself; JMP to the begin */
    static const uint8_t code[] = {0xb9, 0xe8, 0x03, 0, 0, 0xe2, 0xfe, 0xeb, 0xf7};
    struct fake_bench *bench;

    config = fake_machine_defaults(&guest, 1);
    config.model = (struct fakecpu_model){.seed = 1, .pmu = true};
    bench = fake_bench_new(&config);
    *vcpu = fake_bench_vm(bench)->vcpus[0];
    memcpy(fake_bench_memory(bench, LOOP_AT), code, sizeof(code));
    vmx_set_rip(&(*vcpu)->vmx, LOOP_AT);
    return bench;
}

static void only_the_guest_is_counted(void **state)
{
    struct vcpu *vcpu;
    struct fake_bench *bench = counting_bench(&vcpu);
    uint64_t before;

    (void)state;
    assert_int_equal(vmcs_read(VMCS_GUEST_PERF_GLOBAL_CTRL), 1);
    assert_int_equal(vmcs_read(VMCS_HOST_PERF_GLOBAL_CTRL), 0);
    assert_int_equal(fakecpu_this->pmu.global, 0);
    assert_int_equal(fakecpu_this->pmu.select,
                     FAKEPMU_EVENT | PERFEVTSEL_USR | PERFEVTSEL_OS | PERFEVTSEL_INT | PERFEVTSEL_EN);
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0);
    assert_int_equal(chunk_run(vcpu, 1000), CHUNK_TIMER);
    before = vmx_pmu_count(&vcpu->vmx);
    assert_true(before > 100);
    /* A new chunk counts from 0, an old one on. */
    assert_int_equal(chunk_run(vcpu, 10), CHUNK_TIMER);
    assert_in_range(vmx_pmu_count(&vcpu->vmx), before, before + 10);
    vmx_pmu_reset(&vcpu->vmx);
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0);
    vmx_pmu_end(&vcpu->vmx);
    assert_int_equal(fakecpu_this->pmu.select, 0);
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0);
    fake_bench_delete(bench);
}

static void goals(void **state)
{
    struct vcpu *vcpu;
    struct fake_bench *bench = counting_bench(&vcpu);

    (void)state;
    for (uint64_t goal = 1; goal < 60; goal += 7) {
        vmx_pmu_arm(&vcpu->vmx, goal);
        assert_false(vmx_pmu_reached(&vcpu->vmx));
        assert_int_equal(chunk_run(vcpu, 1000), CHUNK_COUNTED);
        assert_int_equal(vmx_pmu_count(&vcpu->vmx), goal);
        assert_true(vmx_pmu_reached(&vcpu->vmx));
    }
    vmx_pmu_disarm(&vcpu->vmx);
    assert_false(vmx_pmu_reached(&vcpu->vmx));
    assert_int_equal(chunk_run(vcpu, 20), CHUNK_TIMER);
    fake_bench_delete(bench);
}

/* The counter takes 31 bits at once: a far goal is cut, and the count goes on over each new goal. */
static void far_goals(void **state)
{
    struct vcpu *vcpu;
    struct fake_bench *bench = counting_bench(&vcpu);
    struct fakepmu *pmu = &fakecpu_this->pmu;

    (void)state;
    vmx_pmu_arm(&vcpu->vmx, UINT64_MAX);
    assert_int_equal(vcpu->vmx.pmu.goal, 0x7fffffff);
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0);
    pmu->counter = 5; /* past the overflow */
    assert_true(vmx_pmu_reached(&vcpu->vmx));
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0x80000004);
    vmx_pmu_arm(&vcpu->vmx, UINT64_C(0x100000000));
    assert_int_equal(vcpu->vmx.pmu.goal, UINT64_C(0x100000000));
    assert_false(vmx_pmu_reached(&vcpu->vmx));
    assert_int_equal(vmx_pmu_count(&vcpu->vmx), 0x80000004);
    fake_bench_delete(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_lack_is_named),
        cmocka_unit_test(events_of_models),
        cmocka_unit_test(only_the_guest_is_counted),
        cmocka_unit_test(goals),
        cmocka_unit_test(far_goals),
    };

    return cmocka_run_group_tests_name("pmu", tests, NULL, NULL);
}
