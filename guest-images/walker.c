/*
 * What the machine says of itself: every CPUID leaf of the basic, the hypervisor's and the extended range
 * with its subleaves, and every MSR of the two architectural ranges; those that may not be read give #GP.
 * Each CPU walks alone, and all must see the same but for what names the CPU or tells the time. CPU 0 prints
 * what it sees. `n` is the number of MSRs tried in each range.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N     8192
#define SUBLEAVES     8
#define MAX_LEAVES    64 /* of a range; a machine that says more is not believed */
#define CPUID_RANGES  3
#define MSR_HIGH      0xC0000000u
#define MSR_TSC       0x10
#define APIC_BASE_BSP (1u << 8)
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define VECTOR_GP     13

struct walk {
    uint64_t leaves, readable, faults, others; /* others: exceptions that are not #GP */
    uint64_t cpuid_hash, msr_hash, first_time, last_time;
} __attribute__((aligned(PAGE_BYTES)));

struct msr_range {
    uint32_t first, last;
};

/* A CPU's own: the count of SMIs, memory types (firmware sets them on one CPU), APIC IDs, last command, GS.
 */
static const struct msr_range own_msrs[] = {{0x34, 0x34},   {0x200, 0x2FF}, {0x802, 0x802},
                                            {0x80D, 0x80D}, {0x830, 0x830}, {MSR_GS_BASE, MSR_GS_BASE}};
/* Time: TSC, MPERF and APERF, the deadline, the APIC timer's current count. No two reads agree. */
static const struct msr_range time_msrs[] = {
    {MSR_TSC, MSR_TSC}, {0xE7, 0xE8}, {MSR_TSC_DEADLINE, MSR_TSC_DEADLINE}, {0x839, 0x839}};

static struct walk walks[GUEST_MAX_CPUS];
static const uint32_t cpuid_ranges[CPUID_RANGES] = {0, 0x40000000, 0x80000000};
static uint64_t msrs_tried;

/* Clears what differs from CPU to CPU: the APIC ID. */
static struct cpuid without_id(uint32_t leaf, struct cpuid r)
{
    if (leaf == 1)
        r.ebx &= 0x00FFFFFF;
    else if (leaf == 0xB || leaf == 0x1F)
        r.edx = 0;
    else if (leaf == 0x8000001E)
        r = (struct cpuid){0};
    return r;
}

static bool same_answer(struct cpuid a, struct cpuid b)
{
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

/* A subleaf that repeats the one before it is not printed; most leaves know no subleaves. */
static void walk_leaf(struct walk *self, uint32_t leaf, bool print)
{
    struct cpuid last = {0};

    for (uint32_t subleaf = 0; subleaf < SUBLEAVES; subleaf++) {
        struct cpuid r = without_id(leaf, cpuid(leaf, subleaf));

        self->leaves++;
        self->cpuid_hash = hash_add(self->cpuid_hash, (uint64_t)r.eax << 32 | r.ebx);
        self->cpuid_hash = hash_add(self->cpuid_hash, (uint64_t)r.ecx << 32 | r.edx);
        if (print && !same_answer(r, last))
            say("cpuid: %08x.%u %08x %08x %08x %08x\n", (unsigned)leaf, (unsigned)subleaf, (unsigned)r.eax,
                (unsigned)r.ebx, (unsigned)r.ecx, (unsigned)r.edx);
        last = r;
    }
}

/* The first leaf of a range says which is the last; without such an answer only the first is looked at. */
static void walk_cpuid(struct walk *self, bool print)
{
    for (unsigned i = 0; i < CPUID_RANGES; i++) {
        uint32_t first = cpuid_ranges[i], last = cpuid(first, 0).eax;

        if (last < first || last - first >= MAX_LEAVES)
            last = first;
        for (uint32_t leaf = first; leaf <= last; leaf++)
            walk_leaf(self, leaf, print);
    }
}

/* Returns the vector of the exception, or NO_TRAP. */
static uint64_t try_rdmsr(uint32_t msr, uint64_t *value)
{
    register uint64_t vector __asm__("r11");
    uint32_t lo = 0, hi = 0;

    __asm__ volatile(NO_TRAP_IN_R11 "1: rdmsr; 2:" TRAP_FIXUP(1b, 2b)
                     : "+a"(lo), "+d"(hi), "=r"(vector)
                     : "c"(msr));
    *value = (uint64_t)hi << 32 | lo;
    return vector;
}

static bool listed(uint32_t msr, const struct msr_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (msr >= ranges[i].first && msr <= ranges[i].last)
            return true;
    }
    return false;
}

/* What of a value goes into the hash and must be equal on all CPUs. */
static uint64_t comparable(uint32_t msr, uint64_t value)
{
    if (listed(msr, own_msrs, COUNT(own_msrs)) || listed(msr, time_msrs, COUNT(time_msrs)))
        return 0;
    return msr == MSR_APIC_BASE ? value & ~(uint64_t)APIC_BASE_BSP : value;
}

static void walk_msrs(struct walk *self, uint32_t first, bool print)
{
    for (uint32_t msr = first; msr < first + msrs_tried; msr++) {
        uint64_t value, vector = try_rdmsr(msr, &value);

        self->readable += vector == NO_TRAP;
        self->faults += vector == VECTOR_GP;
        self->others += vector != NO_TRAP && vector != VECTOR_GP;
        self->msr_hash = hash_add(hash_add(self->msr_hash, vector), comparable(msr, value));
        if (print && vector == NO_TRAP && value != 0 && !listed(msr, time_msrs, COUNT(time_msrs)))
            say("msr: %08x %016llx\n", (unsigned)msr, (ull)value);
    }
}

static void walk(void *arg)
{
    struct walk *self = &walks[cpu_id()];
    bool print = cpu_id() == 0;

    (void)arg;
    *self = (struct walk){.cpuid_hash = HASH_START, .msr_hash = HASH_START, .first_time = rdmsr(MSR_TSC)};
    walk_cpuid(self, print);
    walk_msrs(self, 0, print);
    walk_msrs(self, MSR_HIGH, print);
    self->last_time = rdmsr(MSR_TSC);
}

int main(void)
{
    uint64_t differing = 0, others = 0, times = HASH_START;

    msrs_tried = arg_number("n", DEFAULT_N);
    run_on_all(walk, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        differing += walks[i].cpuid_hash != walks[0].cpuid_hash || walks[i].msr_hash != walks[0].msr_hash;
        others += walks[i].others + (walks[i].last_time < walks[i].first_time);
        times = hash_add(hash_add(times, walks[i].first_time), walks[i].last_time);
    }
    say("cpuid: %llu subleaves, hash %016llx\n", (ull)walks[0].leaves, (ull)walks[0].cpuid_hash);
    say("msr: %llu can be read, %llu give #GP, hash %016llx\n", (ull)walks[0].readable, (ull)walks[0].faults,
        (ull)walks[0].msr_hash);
    say("result: walker cpus %u differing %llu wrong %llu\n", cpu_count(), (ull)differing, (ull)others);
    say("race: walker times %016llx\n", (ull)times);
    return differing + others != 0;
}
