/* The guest's CPUID model, version 2: the answers. See cpuid.h; cpuid_host.c holds what the host must have.
 */
#include "drivers/vdev/cpuid.h"

#define BASIC_MAX      UINT32_C(0x17)
#define HYPERVISOR_MAX UINT32_C(0x40000001)
#define EXTENDED_MAX   UINT32_C(0x80000008)

/* Family 6, model 3AH, stepping 9 (Ivy Bridge): the generation that the feature set below resembles. */
#define SIGNATURE      UINT32_C(0x000306A9)
#define CLFLUSH_QWORDS UINT32_C(8)
#define LINE_BYTES     64u

/* Leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 CMPXCHG16B SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE AVX
 * RDRAND, and the bit that says "a hypervisor is present". */
#define LEAF1_ECX                                                                                            \
    (BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(21) | BIT(22) | BIT(23) | BIT(24) |        \
     BIT(25) | BIT(26) | BIT(28) | BIT(30) | BIT(31))
#define LEAF1_ECX_OSXSAVE BIT(27)
/* Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE-36 CLFSH MMX FXSR SSE SSE2 SS.
 */
#define LEAF1_EDX                                                                                            \
    (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | BIT(12) |    \
     BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26) |     \
     BIT(27))
#define LEAF1_EDX_APIC BIT(9)
#define LEAF1_EDX_HTT  BIT(28)
/* Leaf 6 EAX: ARAT, the APIC timer never stops. */
#define LEAF6_EAX BIT(2)
/*
 * Leaf 7 EBX: FSGSBASE TSC_ADJUST BMI1 SMEP BMI2 RDSEED SMAP. TSC_ADJUST, which is always 0, tells operating
 * systems that nobody sets TSCs apart; without it they measure the TSC by clocks that lose ticks, and stop
 * using it. BMI1 and LZCNT are promised because their encodings run on every processor, as other instructions
 * where the feature is missing: so the model fixes what they do. FSGSBASE touches nothing but the FS and GS
 * bases, which are guest state of the VMCS.
 */
#define LEAF7_EBX (BIT(0) | BIT(1) | BIT(3) | BIT(7) | BIT(8) | BIT(18) | BIT(20))
/* Leaf 80000001H ECX: LAHF LZCNT; EDX: SYSCALL NX RDTSCP LM. */
#define EXT1_ECX (BIT(0) | BIT(5))
#define EXT1_EDX (BIT(11) | BIT(20) | BIT(27) | BIT(29))
/* Leaf 80000007H EDX: invariant TSC. */
#define EXT7_EDX BIT(8)

#define CR4_OSXSAVE BIT(18)

#define XCR0_X87           BIT(0)
#define XCR0_SSE           BIT(1)
#define XCR0_AVX           BIT(2)
#define XSAVE_LEGACY_BYTES 576u /* FXSAVE image and header */
#define XSAVE_AVX_BYTES    256u

_Static_assert(XSAVE_LEGACY_BYTES + XSAVE_AVX_BYTES == CPUID_MODEL_XSAVE_BYTES, "size of the XSAVE area");

/* Four characters as CPUID packs them. */
#define CHARS(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* The vCPUs as powers of two: width of the core number in an APIC ID, and the number of IDs that it gives. */
static uint32_t core_bits(const struct cpuid_context *c)
{
    uint32_t bits = 0;

    while (UINT32_C(1) << bits < c->n_vcpus && bits < 31)
        bits++;
    return bits;
}

static uint32_t core_ids(const struct cpuid_context *c)
{
    return UINT32_C(1) << core_bits(c);
}

static struct cpuid_answer leaf_version(const struct cpuid_context *c)
{
    struct cpuid_answer r = {.eax = SIGNATURE, .ecx = (uint32_t)LEAF1_ECX, .edx = (uint32_t)LEAF1_EDX};

    r.ebx = c->vcpu << 24 | (core_ids(c) & 0xFF) << 16 | CLFLUSH_QWORDS << 8;
    if (c->cr4 & CR4_OSXSAVE)
        r.ecx |= (uint32_t)LEAF1_ECX_OSXSAVE;
    if (c->apic_enabled)
        r.edx |= (uint32_t)LEAF1_EDX_APIC;
    if (c->n_vcpus > 1)
        r.edx |= (uint32_t)LEAF1_EDX_HTT;
    return r;
}

/* Deterministic cache parameters (leaf 4); invented, but of an ordinary shape. */
struct cache {
    uint32_t type; /* 1 data, 2 instruction, 3 unified */
    uint32_t level;
    uint32_t ways;
    uint32_t sets;
    bool shared; /* by the whole package */
};

static struct cpuid_answer leaf_cache(uint32_t subleaf, const struct cpuid_context *c)
{
    static const struct cache caches[] = {
        {1, 1, 8, 64, false}, {2, 1, 8, 64, false}, {3, 2, 8, 512, false}, {3, 3, 16, 4096, true}};
    const struct cache *k;
    struct cpuid_answer r = {0};

    if (subleaf >= ARRAY_LEN(caches))
        return r;
    k = &caches[subleaf];
    r.eax = k->type | k->level << 5 | 1u << 8; /* bit 8: self-initialising */
    r.eax |= (k->shared ? core_ids(c) - 1 : 0) << 14 | (core_ids(c) - 1) << 26;
    r.ebx = (k->ways - 1) << 22 | (LINE_BYTES - 1);
    r.ecx = k->sets - 1;
    r.edx = k->shared ? 2 : 0; /* bit 1: inclusive */
    return r;
}

/* Extended topology: one thread a core, all cores in one package. */
static struct cpuid_answer leaf_topology(uint32_t subleaf, const struct cpuid_context *c)
{
    struct cpuid_answer r = {.ecx = subleaf & 0xFF, .edx = c->vcpu};

    if (subleaf == 0) {
        r.ebx = 1;
        r.ecx |= 1u << 8; /* level type: thread */
    } else if (subleaf == 1) {
        r.eax = core_bits(c);
        r.ebx = c->n_vcpus;
        r.ecx |= 2u << 8; /* level type: core */
    }
    return r;
}

static struct cpuid_answer leaf_xsave(uint32_t subleaf, const struct cpuid_context *c)
{
    if (subleaf == 0)
        return (struct cpuid_answer){
            .eax = (uint32_t)CPUID_MODEL_XCR0,
            .ebx = c->xcr0 & XCR0_AVX ? CPUID_MODEL_XSAVE_BYTES : XSAVE_LEGACY_BYTES,
            .ecx = CPUID_MODEL_XSAVE_BYTES,
        };
    if (subleaf == 2)
        return (struct cpuid_answer){.eax = XSAVE_AVX_BYTES, .ebx = XSAVE_LEGACY_BYTES};
    return (struct cpuid_answer){0}; /* subleaf 1: no XSAVEOPT, XSAVEC, XGETBV(1), XSAVES */
}

/* The TSC runs at the rate of a "crystal", which is also the APIC timer's clock (SDM 3B 20.7.3). */
static struct cpuid_answer leaf_tsc(const struct cpuid_context *c)
{
    if (c->tsc_hz == 0 || c->tsc_hz > UINT32_MAX)
        return (struct cpuid_answer){0};
    return (struct cpuid_answer){.eax = 1, .ebx = 1, .ecx = (uint32_t)c->tsc_hz};
}

/*
 * The same rate as the processor's, in MHz, base and maximum: a guest that has both leaves need not measure
 * either rate by other timers. The bus has none.
 */
static struct cpuid_answer leaf_frequency(const struct cpuid_context *c)
{
    uint32_t mhz = (uint32_t)(c->tsc_hz / 1000000);

    if (c->tsc_hz > UINT32_MAX)
        return (struct cpuid_answer){0};
    return (struct cpuid_answer){.eax = mhz, .ebx = mhz};
}

static struct cpuid_answer basic(uint32_t leaf, uint32_t subleaf, const struct cpuid_context *c)
{
    switch (leaf) {
    case 0x0: /* GenuineIntel */
        return (struct cpuid_answer){BASIC_MAX, CHARS('G', 'e', 'n', 'u'), CHARS('n', 't', 'e', 'l'),
                                     CHARS('i', 'n', 'e', 'I')};
    case 0x1:
        return leaf_version(c);
    case 0x2: /* a 64-entry data TLB; caches: see leaf 4 */
        return (struct cpuid_answer){.eax = 0x00FF0301};
    case 0x4:
        return leaf_cache(subleaf, c);
    case 0x6:
        return (struct cpuid_answer){.eax = (uint32_t)LEAF6_EAX};
    case 0x7:
        return (struct cpuid_answer){.ebx = subleaf == 0 ? (uint32_t)LEAF7_EBX : 0};
    case 0xB:
        return leaf_topology(subleaf, c);
    case 0xD:
        return leaf_xsave(subleaf, c);
    case 0x15:
        return leaf_tsc(c);
    case 0x16:
        return leaf_frequency(c);
    default:
        return (struct cpuid_answer){0};
    }
}

static struct cpuid_answer hypervisor(uint32_t leaf)
{
    switch (leaf) {
    case CPUID_HYPERVISOR_LEAF: /* Retrovisor!! */
        return (struct cpuid_answer){HYPERVISOR_MAX, CHARS('R', 'e', 't', 'r'), CHARS('o', 'v', 'i', 's'),
                                     CHARS('o', 'r', '!', '!')};
    case CPUID_HYPERVISOR_LEAF + 1:
        return (struct cpuid_answer){.eax = CPUID_MODEL_VERSION};
    default:
        return (struct cpuid_answer){0};
    }
}

/* A quarter of the brand string: 16 of 48 bytes, padded with NUL. */
static struct cpuid_answer brand(uint32_t part)
{
    static const char text[48] = "Retrovisor vCPU model 2";
    const char *s = text + 16 * part;

    return (struct cpuid_answer){CHARS(s[0], s[1], s[2], s[3]), CHARS(s[4], s[5], s[6], s[7]),
                                 CHARS(s[8], s[9], s[10], s[11]), CHARS(s[12], s[13], s[14], s[15])};
}

static struct cpuid_answer extended(uint32_t leaf)
{
    switch (leaf) {
    case 0x80000000:
        return (struct cpuid_answer){.eax = EXTENDED_MAX};
    case 0x80000001:
        return (struct cpuid_answer){.ecx = (uint32_t)EXT1_ECX, .edx = (uint32_t)EXT1_EDX};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        return brand(leaf - 0x80000002);
    case 0x80000006: /* L2: 256 KiB, 8 ways (code 6), 64-byte lines */
        return (struct cpuid_answer){.ecx = 256u << 16 | 6u << 12 | LINE_BYTES};
    case 0x80000007:
        return (struct cpuid_answer){.edx = (uint32_t)EXT7_EDX};
    case 0x80000008:
        return (struct cpuid_answer){.eax = CPUID_MODEL_LINEAR_BITS << 8 | CPUID_MODEL_PHYS_BITS};
    default:
        return (struct cpuid_answer){0};
    }
}

/*
 * Past the maximum of a range a processor repeats the highest basic leaf (SDM 2A CPUID). Ours, 17H, is all
 * zeros (no vendor of a system on a chip), so that is the same as answering zeros.
 */
struct cpuid_answer cpuid_model(uint32_t leaf, uint32_t subleaf, const struct cpuid_context *c)
{
    if (leaf >= 0x80000000)
        return extended(leaf);
    if (leaf >= CPUID_HYPERVISOR_LEAF)
        return hypervisor(leaf);
    return basic(leaf, subleaf, c);
}

bool cpuid_xcr0_valid(uint64_t value)
{
    return (value & XCR0_X87) && !(value & ~CPUID_MODEL_XCR0) && (!(value & XCR0_AVX) || (value & XCR0_SSE));
}

bool cpuid_cr4_valid(uint64_t value)
{
    return (value & ~CPUID_MODEL_CR4) == 0;
}
