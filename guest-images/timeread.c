/*
 * What the machine itself tells: CPUID leaves, the time-stamp counter by RDTSC and RDTSCP, random numbers by
 * RDRAND and RDSEED. Time must not run backwards on a CPU, nor from one CPU to another. `n` is the number of
 * reads of each kind by each CPU.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N   4000
#define MSR_TSC_AUX 0xC0000103
#define AUX_BASE    0x100

/* Leaves that say what the CPU can do; none of them changes from CPU to CPU. */
static const uint32_t leaves[][2] = {{0, 0},    {7, 0},          {0xD, 0},       {0xD, 1},
                                     {0x15, 0}, {0x80000001, 0}, {0x80000008, 0}};

#define CPUID1_EBX_FIXED 0x0000FFFFu /* without the CPU's own APIC ID and the number of IDs */

struct seen {
    uint64_t backwards, crossed, wrong_aux, random_missing, random_stuck;
    uint64_t time_hash, random_hash;
} __attribute__((aligned(PAGE_BYTES)));

struct shared_time {
    struct lock lock;
    uint64_t last;
} __attribute__((aligned(PAGE_BYTES)));

static struct seen seen[GUEST_MAX_CPUS];
static struct shared_time shared_time;
static uint64_t reads;
static bool has_rdtscp, has_rdrand, has_rdseed;

static void detect(void)
{
    has_rdtscp = cpuid(0x80000000, 0).eax >= 0x80000001 && (cpuid(0x80000001, 0).edx & CPUID_EXT1_EDX_RDTSCP);
    has_rdrand = cpuid(1, 0).ecx & CPUID1_ECX_RDRAND;
    has_rdseed = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & CPUID7_EBX_RDSEED);
}

static void print_leaf(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r = cpuid(leaf, subleaf);

    if (leaf > cpuid(leaf & 0x80000000, 0).eax)
        return;
    say("cpuid: %08x.%x %08x %08x %08x %08x\n", (unsigned)leaf, (unsigned)subleaf, (unsigned)r.eax,
        (unsigned)r.ebx, (unsigned)r.ecx, (unsigned)r.edx);
}

static void print_cpuid(void)
{
    struct cpuid one = cpuid(1, 0);

    say("cpuid: 00000001.0 %08x %08x %08x %08x\n", (unsigned)one.eax, (unsigned)(one.ebx & CPUID1_EBX_FIXED),
        (unsigned)one.ecx, (unsigned)one.edx);
    for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
        print_leaf(leaves[i][0], leaves[i][1]);
}

static void read_own_time(struct seen *self)
{
    uint32_t aux = 0;
    uint64_t last = 0;

    if (has_rdtscp)
        wrmsr(MSR_TSC_AUX, AUX_BASE + cpu_id());
    for (uint64_t i = 0; i < reads; i++) {
        uint64_t now = has_rdtscp && i % 2 ? rdtscp(&aux) : rdtsc();

        self->backwards += now < last;
        self->wrong_aux += has_rdtscp && i % 2 && aux != AUX_BASE + cpu_id();
        self->time_hash = hash_add(self->time_hash, now);
        last = now;
    }
}

static void read_shared_time(struct seen *self)
{
    for (uint64_t i = 0; i < reads / 8; i++) {
        lock_take(&shared_time.lock);
        uint64_t now = rdtsc();

        self->crossed += now < shared_time.last;
        shared_time.last = now;
        lock_drop(&shared_time.lock);
    }
}

/* Intel asks for ten tries before RDRAND counts as failed; RDSEED may well have nothing for a while. */
static void read_random(struct seen *self, bool (*source)(uint64_t *value))
{
    uint64_t value = 0, last = 0;

    for (uint64_t i = 0; i < reads / 8; i++) {
        bool got = false;

        for (unsigned tries = 0; tries < 10 && !got; tries++)
            got = source(&value);
        self->random_missing += !got;
        self->random_stuck += got && value == last;
        self->random_hash = hash_add(self->random_hash, value);
        last = value;
    }
}

static void read_all(void *arg)
{
    struct seen *self = &seen[cpu_id()];

    (void)arg;
    read_own_time(self);
    wait_for_all();
    read_shared_time(self);
    if (has_rdrand)
        read_random(self, rdrand);
    if (has_rdseed)
        read_random(self, rdseed);
}

int main(void)
{
    struct seen all = {0};

    reads = arg_number("n", DEFAULT_N);
    detect();
    print_cpuid();
    run_on_all(read_all, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        all.backwards += seen[i].backwards;
        all.crossed += seen[i].crossed;
        all.wrong_aux += seen[i].wrong_aux;
        all.random_missing += seen[i].random_missing;
        all.random_stuck += seen[i].random_stuck;
        all.time_hash = hash_add(all.time_hash, seen[i].time_hash);
        all.random_hash = hash_add(all.random_hash, seen[i].random_hash);
    }
    say("cpuid: rdtscp %d rdrand %d rdseed %d\n", has_rdtscp, has_rdrand, has_rdseed);
    say("result: timeread backwards %llu across %llu wrong aux %llu stuck %llu\n", (ull)all.backwards,
        (ull)all.crossed, (ull)all.wrong_aux, (ull)all.random_stuck);
    say("race: timeread time %016llx random %016llx missing %llu\n", (ull)all.time_hash, (ull)all.random_hash,
        (ull)all.random_missing);
    return (all.backwards | all.crossed | all.wrong_aux | all.random_stuck) != 0;
}
