/*
 * Shared counters that every CPU counts up without a lock: read, think, write back. Updates get lost, and
 * which ones depends on the interleaving alone. `n` is the number of increments by each CPU.
 */
#include "guest-images/lib/guest.h"

#define COUNTERS  4
#define THINKING  6
#define DEFAULT_N 150000

/* A page for each counter: CPUs meet in some pages and not in others. */
struct counter {
    volatile uint64_t value;
} __attribute__((aligned(PAGE_BYTES)));

struct history {
    uint64_t hash;
} __attribute__((aligned(PAGE_BYTES)));

static struct counter counters[COUNTERS];
static struct history histories[GUEST_MAX_CPUS];
static uint64_t increments, seed;

static void count(void *arg)
{
    uint64_t state = random_seed(seed, cpu_id());
    uint64_t hash = HASH_START;

    (void)arg;
    for (uint64_t i = 0; i < increments; i++) {
        struct counter *counter = &counters[random_next(&state) % COUNTERS];
        uint64_t seen = counter->value;

        hash = hash_add(hash, seen);
        for (unsigned k = 0; k < THINKING; k++)
            __asm__ volatile("");
        counter->value = seen + 1;
    }
    histories[cpu_id()].hash = hash;
}

int main(void)
{
    uint64_t sum = 0, hash = HASH_START;

    increments = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    run_on_all(count, NULL);
    for (unsigned i = 0; i < COUNTERS; i++) {
        sum += counters[i].value;
        say("race: counter %u is %llu\n", i, (ull)counters[i].value);
    }
    for (unsigned i = 0; i < cpu_count(); i++)
        hash = hash_add(hash, histories[i].hash);
    say("result: counters cpus %u increments %llu\n", cpu_count(), (ull)increments * cpu_count());
    say("race: counters lost %llu history %016llx\n", (ull)(increments * cpu_count() - sum), (ull)hash);
    return 0;
}
