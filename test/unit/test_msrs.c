/* The guest's MSR table and its values; and its random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/msrs.h"
#include "drivers/vdev/random.h"

static void test_table_is_ordered(void **state)
{
    size_t n;
    const struct msr_rule *r = msr_rules(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_true(r[i].first <= r[i].last);
        assert_true(i == 0 || r[i - 1].last < r[i].first);
        assert_true(r[i].read < MSR_CLASS_COUNT && r[i].write < MSR_CLASS_COUNT);
        assert_true(r[i].read != MSR_CLASS_FAULT); /* such a line would say nothing */
        assert_non_null(r[i].name);
    }
}

static void test_classes(void **state)
{
    static const struct {
        uint32_t msr;
        enum msr_class read, write;
    } rows[] = {
        {0x10, MSR_CLASS_TIME, MSR_CLASS_FAULT},            /* TSC */
        {0x3B, MSR_CLASS_STORED, MSR_CLASS_STORED},         /* TSC_ADJUST */
        {0x1B, MSR_CLASS_APIC, MSR_CLASS_APIC},             /* APIC_BASE */
        {0x6E0, MSR_CLASS_APIC, MSR_CLASS_APIC},            /* TSC_DEADLINE */
        {0x7FF, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* before x2APIC */
        {0x800, MSR_CLASS_APIC, MSR_CLASS_APIC},            /* x2APIC */
        {0x8FF, MSR_CLASS_APIC, MSR_CLASS_APIC},            /* its end */
        {0x900, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* after it */
        {0xC0000080, MSR_CLASS_CONTEXT, MSR_CLASS_CONTEXT}, /* EFER */
        {0x277, MSR_CLASS_CONTEXT, MSR_CLASS_CONTEXT},      /* PAT */
        {0xC0000100, MSR_CLASS_PASS, MSR_CLASS_PASS},       /* FS_BASE */
        {0xC0000103, MSR_CLASS_PASS, MSR_CLASS_PASS},       /* TSC_AUX */
        {0x3A, MSR_CLASS_STORED, MSR_CLASS_FAULT},          /* FEATURE_CONTROL */
        {0x1A0, MSR_CLASS_STORED, MSR_CLASS_STORED},        /* MISC_ENABLE */
        {0x48, MSR_CLASS_FAULT, MSR_CLASS_FAULT},           /* SPEC_CTRL */
        {0x10A, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* ARCH_CAPABILITIES */
        {0x122, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* TSX_CTRL */
        {0xE7, MSR_CLASS_FAULT, MSR_CLASS_FAULT},           /* MPERF */
        {0xC1, MSR_CLASS_FAULT, MSR_CLASS_FAULT},           /* PMC0 */
        {0x186, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* PERFEVTSEL0 */
        {0x309, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* FIXED_CTR0 */
        {0x345, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* PERF_CAPABILITIES */
        {0x38D, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* FIXED_CTR_CTRL */
        {0x38E, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* PERF_GLOBAL_STATUS */
        {0x38F, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* PERF_GLOBAL_CTRL */
        {0x390, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* PERF_GLOBAL_OVF_CTRL */
        {0x4C1, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* A_PMC0 */
        {0x1D9, MSR_CLASS_STORED, MSR_CLASS_STORED},        /* DEBUGCTL: not the real one */
        {0x480, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* VMX_BASIC */
        {0xDA0, MSR_CLASS_FAULT, MSR_CLASS_FAULT},          /* XSS */
        {0xFFFFFFFF, MSR_CLASS_FAULT, MSR_CLASS_FAULT},     /* none */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(msr_classify(rows[i].msr, false), rows[i].read);
        assert_int_equal(msr_classify(rows[i].msr, true), rows[i].write);
    }
}

static void test_constants(void **state)
{
    struct vmsrs m;

    (void)state;
    memset(&m, 0xAA, sizeof(m));
    vmsrs_reset(&m);
    assert_int_equal(vmsrs_read(&m, VMSR_FEATURE_CONTROL), 1);
    assert_int_equal(vmsrs_read(&m, VMSR_MTRRCAP), 0x508);
    assert_int_equal(vmsrs_read(&m, VMSR_MCG_CAP), 0);
    assert_int_equal(vmsrs_read(&m, VMSR_MISC_ENABLE), 0x1801);
    assert_true(vmsrs_read(&m, VMSR_BIOS_SIGN_ID) == UINT64_C(1) << 32);
    assert_int_equal(vmsrs_read(&m, VMSR_MTRR_DEF_TYPE), 0);
}

/* What a kernel makes of the MTRRs that firmware leaves (SDM 3A 12.11); and none has a value that could not
 * be written. */
static void test_firmware(void **state)
{
    struct vmsrs m, copy;

    (void)state;
    vmsrs_reset(&m);
    vmsrs_firmware(&m);
    assert_int_equal(vmsrs_read(&m, VMSR_MTRR_DEF_TYPE), 0xC06);
    assert_true(vmsrs_read(&m, VMSR_MTRR_FIX64K_00000) == UINT64_C(0x0606060606060606));
    assert_true(vmsrs_read(&m, VMSR_MTRR_FIX16K_80000) == UINT64_C(0x0606060606060606));
    assert_int_equal(vmsrs_read(&m, VMSR_MTRR_FIX16K_A0000), 0);
    assert_true(vmsrs_read(&m, VMSR_MTRR_FIX4K_C0000) == UINT64_C(0x0505050505050505));
    assert_true(vmsrs_read(&m, VMSR_MTRR_FIX4K_F8000) == UINT64_C(0x0505050505050505));
    /* An address is in the range where (address & mask) == (base & mask). */
    assert_true(vmsrs_read(&m, VMSR_MTRR_PHYSBASE0) == 0xC0000000);
    assert_true(vmsrs_read(&m, VMSR_MTRR_PHYSBASE0 + 1) == UINT64_C(0xFC0000800));
    vmsrs_reset(&copy);
    for (uint32_t msr = 0x200; msr <= 0x2FF; msr++) {
        if (msr_classify(msr, true) == MSR_CLASS_STORED)
            vmsrs_write(&copy, msr, vmsrs_read(&m, msr));
    }
    assert_memory_equal(&copy, &m, sizeof(m));
}

/* Every MSR of the table that can be written and stored keeps its own value. */
static void test_storage(void **state)
{
    struct vmsrs m;
    uint32_t stored = 0;

    (void)state;
    vmsrs_reset(&m);
    for (uint32_t msr = 0x200; msr <= 0x2FF; msr++) {
        if (msr_classify(msr, true) != MSR_CLASS_STORED)
            continue;
        vmsrs_write(&m, msr, msr & 1 && msr < 0x210 ? (uint64_t)msr << 12 : 6);
        stored++;
    }
    assert_int_equal(stored, 16 + 11 + 1);
    for (uint32_t msr = 0x200; msr <= 0x2FF; msr++) {
        if (msr_classify(msr, true) == MSR_CLASS_STORED)
            assert_true(vmsrs_read(&m, msr) == (msr & 1 && msr < 0x210 ? (uint64_t)msr << 12 : 6));
    }
    for (uint32_t i = 0; i < sizeof(m) / 8 - 1; i++)
        assert_int_not_equal(((uint64_t *)&m)[1 + i], 0); /* no slot is without its MSR */
    vmsrs_write(&m, VMSR_MTRR_DEF_TYPE, 2);               /* a reserved type changes nothing */
    assert_int_equal(vmsrs_read(&m, VMSR_MTRR_DEF_TYPE), 6);
}

static void test_values(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool valid;
    } rows[] = {
        {VMSR_LSTAR, 0x00007FFFFFFFFFFF, true},
        {VMSR_LSTAR, 0x0000800000000000, false},
        {VMSR_LSTAR, 0xFFFF800000000000, true},
        {VMSR_LSTAR, 0xFFFF7FFFFFFFFFFF, false},
        {VMSR_KERNEL_GS_BASE, 0x8000000000000000, false},
        {VMSR_STAR, UINT64_MAX, true},
        {VMSR_TSC_AUX, 0xFFFFFFFF, true},
        {VMSR_TSC_AUX, 0x100000000, false},
        {VMSR_EFER, 0xD01, true},
        {VMSR_EFER, 0x1000, false}, /* SVME */
        {VMSR_EFER, 0x2, false},
        {VMSR_PAT, VMSR_PAT_RESET, true},
        {VMSR_PAT, 0x0700000000000000, true},
        {VMSR_PAT, 0x0200000000000000, false},
        {VMSR_PAT, 0x0000000000000800, false},
        {VMSR_MTRR_DEF_TYPE, 0xC06, true},
        {VMSR_MTRR_DEF_TYPE, 0x1C06, false},
        {VMSR_MTRR_DEF_TYPE, 0x7, false},
        {VMSR_MTRR_PHYSBASE0, 0xFFFFFF006, true},
        {VMSR_MTRR_PHYSBASE0, 0x1000000006, false},
        {VMSR_MTRR_PHYSBASE0, 0x106, false},
        {VMSR_MTRR_PHYSMASK7, 0xFFFFFF800, true},
        {VMSR_MTRR_PHYSMASK7, 0x1, false},
        {VMSR_MTRR_FIX4K_F8000, 0x0605040100060504, true},
        {VMSR_MTRR_FIX4K_F8000, 0x0705040100060504, false},
        {VMSR_MISC_ENABLE, 0x1801, true},
        {VMSR_MISC_ENABLE, 0x1800, true},
        {VMSR_MISC_ENABLE, 0x41801, false}, /* MONITOR */
        {VMSR_TSC_ADJUST, 0, true},
        {VMSR_TSC_ADJUST, 1, false},
        {VMSR_DEBUGCTL, 0, true},
        {VMSR_DEBUGCTL, 1, false},
        {VMSR_BIOS_SIGN_ID, UINT64_MAX, true},
        {VMSR_FEATURE_CONTROL, 1, false},
        {VMSR_TSC, 0, false},
        {0x12345, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(msr_value_valid(rows[i].msr, rows[i].value), rows[i].valid);
}

static void test_efer_rules(void **state)
{
    const uint64_t paging = BIT(31);

    (void)state;
    assert_true(msr_efer_valid(0, VMSR_EFER_LME, 0));
    assert_false(msr_efer_valid(0, VMSR_EFER_LME, paging));
    assert_false(msr_efer_valid(VMSR_EFER_LME | VMSR_EFER_LMA, 0, paging));
    assert_true(msr_efer_valid(VMSR_EFER_LME | VMSR_EFER_LMA, VMSR_EFER_LME | VMSR_EFER_NXE, paging));
    assert_false(msr_efer_valid(0, BIT(12), 0));
    assert_int_equal(msr_efer_merge(VMSR_EFER_LMA, VMSR_EFER_SCE), VMSR_EFER_LMA | VMSR_EFER_SCE);
    assert_int_equal(msr_efer_merge(0, VMSR_EFER_LMA), 0);
}

/* Known values of SplitMix64 from state 0, as published with the algorithm's reference outputs. */
static void test_random_values(void **state)
{
    struct vrandom r = {0};

    (void)state;
    assert_true(vrandom_next(&r) == UINT64_C(0xE220A8397B1DCDAF));
    assert_true(vrandom_next(&r) == UINT64_C(0x6E789E6AA1B965F4));
    assert_true(vrandom_next(&r) == UINT64_C(0x06C45D188009454F));
}

static void test_random_seeds(void **state)
{
    struct vrandom a, b;

    (void)state;
    vrandom_seed(&a, 7, 0);
    vrandom_seed(&b, 7, 0);
    assert_true(vrandom_next(&a) == vrandom_next(&b));
    /* No vCPU starts within 100 draws of another's stream, nor of a neighbouring seed's. */
    for (uint32_t other = 1; other < MAX_VCPUS * 2; other++) {
        vrandom_seed(&a, 7, 0);
        vrandom_seed(&b, other < MAX_VCPUS ? 7 : other, other % MAX_VCPUS);
        for (int i = 0; i < 100; i++) {
            assert_true(a.state != b.state);
            vrandom_next(&a);
        }
    }
    assert_int_equal(vrandom_mix(5, 0), 5);
    assert_true(vrandom_mix(5, 1) != vrandom_mix(5, 2));
    assert_true(vrandom_mix(5, 1) != vrandom_mix(6, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_ordered), cmocka_unit_test(test_classes),
        cmocka_unit_test(test_constants),        cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_storage),          cmocka_unit_test(test_values),
        cmocka_unit_test(test_efer_rules),       cmocka_unit_test(test_random_values),
        cmocka_unit_test(test_random_seeds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
