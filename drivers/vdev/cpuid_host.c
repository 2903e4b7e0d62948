/* What the guest's CPUID model asks of the host, and what it cannot hide. See cpuid.h. */
#include "drivers/vdev/cpuid.h"

#define ECX CPUID_REG_ECX
#define EDX CPUID_REG_EDX
#define EBX CPUID_REG_EBX
#define EAX CPUID_REG_EAX

#define EXTENDED UINT32_C(0x80000000)
#define EXT1     UINT32_C(0x80000001)

/* Not here, though in the model: what the hypervisor makes itself (x2APIC, TSC-deadline, MTRR, MCA, ARAT, HTT
 * ...). */
static const struct cpuid_feature required[] = {
    {"SSE3", 1, 0, 0, ECX},        {"PCLMULQDQ", 1, 0, 1, ECX},    {"SSSE3", 1, 0, 9, ECX},
    {"CMPXCHG16B", 1, 0, 13, ECX}, {"SSE4_1", 1, 0, 19, ECX},      {"SSE4_2", 1, 0, 20, ECX},
    {"MOVBE", 1, 0, 22, ECX},      {"POPCNT", 1, 0, 23, ECX},      {"AESNI", 1, 0, 25, ECX},
    {"XSAVE", 1, 0, 26, ECX},      {"AVX", 1, 0, 28, ECX},         {"RDRAND", 1, 0, 30, ECX},
    {"FPU", 1, 0, 0, EDX},         {"VME", 1, 0, 1, EDX},          {"DE", 1, 0, 2, EDX},
    {"PSE", 1, 0, 3, EDX},         {"TSC", 1, 0, 4, EDX},          {"MSR", 1, 0, 5, EDX},
    {"PAE", 1, 0, 6, EDX},         {"MCE", 1, 0, 7, EDX},          {"CX8", 1, 0, 8, EDX},
    {"SEP", 1, 0, 11, EDX},        {"PGE", 1, 0, 13, EDX},         {"CMOV", 1, 0, 15, EDX},
    {"PAT", 1, 0, 16, EDX},        {"PSE-36", 1, 0, 17, EDX},      {"CLFSH", 1, 0, 19, EDX},
    {"MMX", 1, 0, 23, EDX},        {"FXSR", 1, 0, 24, EDX},        {"SSE", 1, 0, 25, EDX},
    {"SSE2", 1, 0, 26, EDX},       {"FSGSBASE", 7, 0, 0, EBX},     {"BMI1", 7, 0, 3, EBX},
    {"SMEP", 7, 0, 7, EBX},        {"BMI2", 7, 0, 8, EBX},         {"RDSEED", 7, 0, 18, EBX},
    {"SMAP", 7, 0, 20, EBX},       {"LAHF-SAHF", EXT1, 0, 0, ECX}, {"LZCNT", EXT1, 0, 5, ECX},
    {"SYSCALL", EXT1, 0, 11, EDX}, {"NX", EXT1, 0, 20, EDX},       {"RDTSCP", EXT1, 0, 27, EDX},
    {"LM", EXT1, 0, 29, EDX},
};

/* Bits of the mask in log headers: append only. */
static const struct cpuid_feature traits[] = {
    {"FDP_EXCPTN_ONLY", 7, 0, 6, EBX},
    {"FCS_FDS_DEPRECATED", 7, 0, 13, EBX},
    {"FMA", 1, 0, 12, ECX},
    {"F16C", 1, 0, 29, ECX},
    {"AVX2", 7, 0, 5, EBX},
    {"HLE", 7, 0, 4, EBX},
    {"RTM", 7, 0, 11, EBX},
    {"ADX", 7, 0, 19, EBX},
    {"SHA", 7, 0, 29, EBX},
    {"CLFLUSHOPT", 7, 0, 23, EBX},
    {"CLWB", 7, 0, 24, EBX},
    {"PREFETCHW", EXT1, 0, 8, ECX},
    {"PDPE1GB", EXT1, 0, 26, EDX},
    {"XSAVEOPT", 0xD, 1, 0, EAX},
    {"XSAVEC", 0xD, 1, 1, EAX},
    {"XGETBV_1", 0xD, 1, 2, EAX},
    {"PTWRITE", 0x14, 0, 4, EBX},
    {"GFNI", 7, 0, 8, ECX},
    {"VAES", 7, 0, 9, ECX},
    {"VPCLMULQDQ", 7, 0, 10, ECX},
    {"RDPID", 7, 0, 22, ECX},
    {"CLDEMOTE", 7, 0, 25, ECX},
    {"MOVDIRI", 7, 0, 27, ECX},
    {"MOVDIR64B", 7, 0, 28, ECX},
    {"SERIALIZE", 7, 0, 14, EDX},
    {"TSXLDTRK", 7, 0, 16, EDX},
    {"HRESET", 7, 1, 22, EAX},
    {"SHA512", 7, 1, 0, EAX},
    {"SM3", 7, 1, 1, EAX},
    {"SM4", 7, 1, 2, EAX},
    {"RAO-INT", 7, 1, 3, EAX},
    {"AVX-VNNI", 7, 1, 4, EAX},
    {"CMPCCXADD", 7, 1, 7, EAX},
    {"AVX-IFMA", 7, 1, 23, EAX},
    {"AVX-VNNI-INT8", 7, 1, 4, EDX},
    {"AVX-NE-CONVERT", 7, 1, 5, EDX},
    {"AVX-VNNI-INT16", 7, 1, 10, EDX},
    {"PREFETCHI", 7, 1, 14, EDX},
    {"LA57", 7, 0, 16, ECX}, /* which addresses are canonical to WRMSR and WRFSBASE, whatever CR4 says */
    {"LAM", 7, 1, 26, EAX},  /* two bits of CR3, which is not intercepted */
    {"SGX", 7, 0, 2, EBX},
    {"WRMSRNS", 7, 1, 19, EAX},
};

_Static_assert(ARRAY_LEN(traits) < 64, "all ones in the log's header means: not known");

const struct cpuid_feature *cpuid_required(size_t *n)
{
    *n = ARRAY_LEN(required);
    return required;
}

const struct cpuid_feature *cpuid_traits(size_t *n)
{
    *n = ARRAY_LEN(traits);
    return traits;
}

static bool host_has(cpuid_host_fn host, void *context, const struct cpuid_feature *f)
{
    uint32_t base = f->leaf & EXTENDED;
    struct cpuid_answer a;
    uint32_t words[4];

    if (host(context, base, 0).eax < f->leaf)
        return false;
    /* Leaf 7 tells in EAX how many subleaves it has; past that its bits mean nothing. */
    if (f->leaf == 7 && host(context, 7, 0).eax < f->subleaf)
        return false;
    a = host(context, f->leaf, f->subleaf);
    words[EAX] = a.eax;
    words[EBX] = a.ebx;
    words[ECX] = a.ecx;
    words[EDX] = a.edx;
    return words[f->reg] >> f->bit & 1;
}

const struct cpuid_feature *cpuid_missing(cpuid_host_fn host, void *context, size_t from)
{
    for (size_t i = from; i < ARRAY_LEN(required); i++) {
        if (!host_has(host, context, &required[i]))
            return &required[i];
    }
    return NULL;
}

uint64_t cpuid_host_traits(cpuid_host_fn host, void *context)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < ARRAY_LEN(traits); i++)
        mask |= host_has(host, context, &traits[i]) ? BIT(i) : 0;
    return mask;
}
