/* The guest's CPUID model and what it asks of the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/cpuid.h"

static const struct cpuid_context plain = {.vcpu = 2, .n_vcpus = 3, .apic_enabled = 1, .xcr0 = 1};

static struct cpuid_answer ask(uint32_t leaf, uint32_t subleaf)
{
    return cpuid_model(leaf, subleaf, &plain);
}

static uint32_t word(struct cpuid_answer a, uint32_t reg)
{
    const uint32_t words[] = {a.eax, a.ebx, a.ecx, a.edx};

    return words[reg];
}

static void test_strings(void **state)
{
    struct cpuid_answer a = ask(0, 0), h = ask(0x40000000, 0);
    char text[49] = "";

    (void)state;
    memcpy(text, &a.ebx, 4);
    memcpy(text + 4, &a.edx, 4);
    memcpy(text + 8, &a.ecx, 4);
    assert_string_equal(text, "GenuineIntel");
    assert_int_equal(a.eax, 0x17);
    memcpy(text, &h.ebx, 12);
    assert_string_equal(text, "Retrovisor!!");
    assert_int_equal(h.eax, 0x40000001);
    assert_int_equal(ask(0x40000001, 0).eax, CPUID_MODEL_VERSION);
    for (uint32_t i = 0; i < 3; i++) {
        a = ask(0x80000002 + i, 0);
        memcpy(text + 16 * i, &a, 16);
    }
    assert_string_equal(text, "Retrovisor vCPU model 2");
}

static void test_context_bits(void **state)
{
    struct cpuid_context c = plain;

    (void)state;
    assert_int_equal(cpuid_model(1, 0, &c).ecx >> 27 & 1, 0);
    c.cr4 = BIT(18);
    assert_int_equal(cpuid_model(1, 0, &c).ecx >> 27 & 1, 1);
    assert_int_equal(cpuid_model(1, 0, &c).edx >> 9 & 1, 1);
    c.apic_enabled = 0;
    assert_int_equal(cpuid_model(1, 0, &c).edx >> 9 & 1, 0);
    assert_int_equal(cpuid_model(1, 0, &c).ebx >> 24, 2);
    assert_int_equal(cpuid_model(1, 0, &c).edx >> 28 & 1, 1);
    c.n_vcpus = 1;
    assert_int_equal(cpuid_model(1, 0, &c).edx >> 28 & 1, 0);
    assert_int_equal(cpuid_model(1, 0, &c).ebx >> 16 & 0xFF, 1);
}

/* The shifts of leaves 4 and 0BH must both cover all APIC IDs, for every number of vCPUs. */
static void test_topology(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= MAX_VCPUS; n++) {
        struct cpuid_context c = {.n_vcpus = n, .vcpu = n - 1};
        struct cpuid_answer thread = cpuid_model(0xB, 0, &c), core = cpuid_model(0xB, 1, &c);

        assert_int_equal(thread.eax, 0);
        assert_int_equal(thread.ebx, 1);
        assert_int_equal(thread.ecx, 0x100);
        assert_int_equal(core.ebx, n);
        assert_int_equal(core.ecx, 0x201);
        assert_int_equal(core.edx, n - 1);
        assert_int_equal((n - 1) >> core.eax, 0);
        assert_true(n == 1 || (n - 1) >> (core.eax - 1) != 0);
        assert_int_equal(cpuid_model(4, 0, &c).eax >> 26, (1u << core.eax) - 1);
        assert_int_equal(cpuid_model(4, 3, &c).eax >> 14 & 0xFFF, (1u << core.eax) - 1);
        assert_int_equal(cpuid_model(1, 0, &c).ebx >> 16 & 0xFF, 1u << core.eax);
        assert_int_equal(cpuid_model(0xB, 2, &c).ebx, 0);
        assert_int_equal(cpuid_model(0xB, 2, &c).ecx, 2);
    }
}

static void test_caches(void **state)
{
    static const uint32_t kib[] = {32, 32, 256, 4096};

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct cpuid_answer a = ask(4, i);

        assert_int_equal(((a.ebx >> 22) + 1) * ((a.ebx & 0xFFF) + 1) * (a.ecx + 1), kib[i] * 1024);
    }
    assert_int_equal(ask(4, 4).eax, 0);
}

static void test_xsave(void **state)
{
    struct cpuid_context c = plain;

    (void)state;
    assert_int_equal(ask(0xD, 0).eax, 7);
    assert_int_equal(ask(0xD, 0).ebx, 576);
    assert_int_equal(ask(0xD, 0).ecx, 832);
    c.xcr0 = 7;
    assert_int_equal(cpuid_model(0xD, 0, &c).ebx, 832);
    assert_int_equal(ask(0xD, 1).eax, 0);
    assert_int_equal(ask(0xD, 2).eax, 256);
    assert_int_equal(ask(0xD, 2).ebx, 576);
    assert_int_equal(ask(0xD, 3).eax, 0);
}

static void test_tsc_leaf(void **state)
{
    struct cpuid_context c = plain;

    (void)state;
    assert_int_equal(ask(0x15, 0).eax, 0);
    assert_int_equal(ask(0x16, 0).eax, 0);
    c.tsc_hz = 2400000000;
    assert_int_equal(cpuid_model(0x15, 0, &c).eax, 1);
    assert_int_equal(cpuid_model(0x15, 0, &c).ebx, 1);
    assert_int_equal(cpuid_model(0x15, 0, &c).ecx, 2400000000);
    assert_int_equal(cpuid_model(0x16, 0, &c).eax, 2400);
    assert_int_equal(cpuid_model(0x16, 0, &c).ebx, 2400);
    c.tsc_hz = UINT64_C(5000000000);
    assert_int_equal(cpuid_model(0x15, 0, &c).ecx, 0);
    assert_int_equal(cpuid_model(0x16, 0, &c).eax, 0);
}

/* What would let nondeterminism or the host through. */
static void test_hidden_features(void **state)
{
    (void)state;
    /* MONITOR, VMX, SMX, PDCM, PCID, DCA, F16C, FMA, DTES64, DS-CPL, SDBG */
    assert_int_equal(ask(1, 0).ecx & (BIT(3) | BIT(5) | BIT(6) | BIT(15) | BIT(17) | BIT(18) | BIT(29) |
                                      BIT(12) | BIT(2) | BIT(4) | BIT(11)),
                     0);
    assert_int_equal(ask(1, 0).edx & (BIT(21) | BIT(22)), 0); /* DS, ACPI clock control */
    /* SGX, HLE, AVX2, INVPCID, RTM, PQM, MPX, PQE, AVX-512, PT */
    assert_int_equal(ask(7, 0).ebx & (BIT(2) | BIT(4) | BIT(5) | BIT(10) | BIT(11) | BIT(12) | BIT(14) |
                                      BIT(15) | BIT(16) | BIT(25)),
                     0);
    assert_int_equal(ask(7, 0).ecx, 0); /* PKU, WAITPKG, RDPID ... */
    assert_int_equal(ask(7, 0).edx, 0); /* IBRS, ARCH_CAPABILITIES, UINTR ... */
    assert_int_equal(ask(5, 0).eax | ask(5, 0).ecx, 0);
    assert_int_equal(ask(0xA, 0).eax, 0);
    assert_int_equal(ask(0x80000001, 0).edx & BIT(26), 0);
    assert_int_equal(ask(0x80000007, 0).edx, BIT(8));
    assert_int_equal(ask(0x80000008, 0).eax, 0x3024);
}

/* Past each maximum a processor answers with leaf 17H: here, zeros. */
static void test_unknown_leaves(void **state)
{
    static const uint32_t leaves[] = {3,          5,          8,          9,          0x16,
                                      0x17,       0x20,       0x3FFFFFFF, 0x40000002, 0x4FFFFFFF,
                                      0x7FFFFFFF, 0x80000009, 0xC0000000, 0xFFFFFFFF};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        struct cpuid_answer a = ask(leaves[i], 0);

        assert_int_equal(a.eax | a.ebx | a.ecx | a.edx, 0);
    }
}

/* A host whose CPUID is the model's own: it lacks nothing by definition. */
struct fake_host {
    uint32_t max_basic;
    uint32_t leaf, subleaf, reg, clear; /* bits cleared in one word */
    uint32_t set;                       /* and set there */
};

static struct cpuid_answer fake(void *context, uint32_t leaf, uint32_t subleaf)
{
    const struct fake_host *h = context;
    struct cpuid_answer a = ask(leaf, subleaf);

    if (leaf == 0)
        a.eax = h->max_basic;
    if (leaf == h->leaf && subleaf == h->subleaf) {
        uint32_t *words[] = {&a.eax, &a.ebx, &a.ecx, &a.edx};

        *words[h->reg] &= ~h->clear;
        *words[h->reg] |= h->set;
    }
    return a;
}

static void test_missing_is_named(void **state)
{
    struct fake_host h = {.max_basic = 0x16};
    size_t n;
    const struct cpuid_feature *f = cpuid_required(&n);

    (void)state;
    assert_null(cpuid_missing(fake, &h, 0));
    for (size_t i = 0; i < n; i++) {
        struct fake_host lacking = {
            .max_basic = 0x16, .leaf = f[i].leaf, .reg = f[i].reg, .clear = 1u << f[i].bit};

        assert_ptr_equal(cpuid_missing(fake, &lacking, 0), &f[i]);
        assert_null(cpuid_missing(fake, &lacking, i + 1));
    }
    h.max_basic = 6; /* leaf 7 exists no more */
    assert_string_equal(cpuid_missing(fake, &h, 0)->name, "FSGSBASE");
}

/* Each promised feature bit is either required of the host or one that the hypervisor makes itself. */
static void test_required_is_complete(void **state)
{
    static const struct cpuid_feature made[] = {
        {"x2APIC", 1, 0, 21, CPUID_REG_ECX},    {"TSC_DEADLINE", 1, 0, 24, CPUID_REG_ECX},
        {"HV", 1, 0, 31, CPUID_REG_ECX},        {"APIC", 1, 0, 9, CPUID_REG_EDX},
        {"TSC_ADJUST", 7, 0, 1, CPUID_REG_EBX}, {"MTRR", 1, 0, 12, CPUID_REG_EDX},
        {"MCA", 1, 0, 14, CPUID_REG_EDX},       {"SS", 1, 0, 27, CPUID_REG_EDX},
        {"HTT", 1, 0, 28, CPUID_REG_EDX},
    };
    static const uint32_t words[][2] = {{1, CPUID_REG_ECX},
                                        {1, CPUID_REG_EDX},
                                        {7, CPUID_REG_EBX},
                                        {0x80000001, CPUID_REG_ECX},
                                        {0x80000001, CPUID_REG_EDX}};
    size_t n;
    const struct cpuid_feature *f = cpuid_required(&n);

    (void)state;
    for (size_t w = 0; w < ARRAY_LEN(words); w++) {
        uint32_t expected = 0;

        for (size_t i = 0; i < n; i++)
            expected |= f[i].leaf == words[w][0] && f[i].reg == words[w][1] ? 1u << f[i].bit : 0;
        for (size_t i = 0; i < ARRAY_LEN(made); i++)
            expected |= made[i].leaf == words[w][0] && made[i].reg == words[w][1] ? 1u << made[i].bit : 0;
        assert_int_equal(word(ask(words[w][0], 0), words[w][1]), expected);
    }
}

static void test_traits(void **state)
{
    struct fake_host h = {.max_basic = 0x16};
    size_t n;
    const struct cpuid_feature *f = cpuid_traits(&n);

    (void)state;
    assert_true(n <= 64);
    assert_int_equal(cpuid_host_traits(fake, &h), 0); /* the model hides every trait */
    for (size_t i = 0; i < n; i++) {
        struct fake_host one = {.max_basic = 0x16,
                                .leaf = f[i].leaf,
                                .subleaf = f[i].subleaf,
                                .reg = f[i].reg,
                                .set = 1u << f[i].bit};

        if (f[i].leaf == 7 && f[i].subleaf == 1)
            continue; /* not believed where leaf 7 says it has no subleaf 1 */
        assert_true(cpuid_host_traits(fake, &one) == BIT(i));
    }
    h = (struct fake_host){.max_basic = 0x16, .leaf = 7, .subleaf = 1, .set = UINT32_MAX};
    assert_int_equal(cpuid_host_traits(fake, &h), 0);
}

static void test_control_registers(void **state)
{
    static const uint64_t good_xcr0[] = {1, 3, 7};

    (void)state;
    for (uint64_t v = 0; v < 1024; v++) {
        bool good = v == good_xcr0[0] || v == good_xcr0[1] || v == good_xcr0[2];

        assert_int_equal(cpuid_xcr0_valid(v), good);
    }
    assert_false(cpuid_xcr0_valid(BIT(63) | 1));
    assert_true(cpuid_cr4_valid(0x3507FF));
    assert_false(cpuid_cr4_valid(BIT(13))); /* VMXE */
    assert_false(cpuid_cr4_valid(BIT(14))); /* SMXE */
    assert_false(cpuid_cr4_valid(BIT(11))); /* UMIP */
    assert_false(cpuid_cr4_valid(BIT(12))); /* LA57 */
    assert_false(cpuid_cr4_valid(BIT(17))); /* PCIDE */
    assert_false(cpuid_cr4_valid(BIT(22))); /* PKE */
    assert_false(cpuid_cr4_valid(BIT(23))); /* CET */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_context_bits),
        cmocka_unit_test(test_topology),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_xsave),
        cmocka_unit_test(test_tsc_leaf),
        cmocka_unit_test(test_hidden_features),
        cmocka_unit_test(test_unknown_leaves),
        cmocka_unit_test(test_missing_is_named),
        cmocka_unit_test(test_required_is_complete),
        cmocka_unit_test(test_traits),
        cmocka_unit_test(test_control_registers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
