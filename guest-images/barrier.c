/*
 * Two barriers, a central one with a sense and one by dissemination. Every CPU writes the round's number into
 * its cell before the barrier and checks all cells after it. Who came last depends on the interleaving. `n`
 * is the number of rounds of each kind.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N    600
#define MAX_WORK     2000
#define MAX_EXCHANGE 4 /* log2 of GUEST_MAX_CPUS */

struct central {
    atomic_uint arrived;
    atomic_uint sense;
} __attribute__((aligned(PAGE_BYTES)));

/* What one CPU owns: signals[k] counts the signals of exchange k that were sent to it. */
struct member {
    atomic_uint signals[MAX_EXCHANGE];
    volatile uint64_t cell;
    uint64_t rounds, errors;
} __attribute__((aligned(PAGE_BYTES)));

struct order {
    atomic_uint arrivals;
    atomic_uint_least64_t hash;
} __attribute__((aligned(PAGE_BYTES)));

typedef void (*wait_fn)(struct member *self);

struct kind {
    const char *name;
    wait_fn wait;
};

static struct central central;
static struct member members[GUEST_MAX_CPUS];
static struct order order;
static uint64_t rounds, seed;

static void central_wait(struct member *self)
{
    unsigned sense = (unsigned)(self->rounds & 1);

    if (atomic_fetch_add(&central.arrived, 1) + 1 == cpu_count()) {
        atomic_store(&central.arrived, 0);
        atomic_store(&central.sense, sense);
    }
    while (atomic_load(&central.sense) != sense)
        cpu_relax();
}

/* In exchange k each CPU signals the one 2^k further and waits for the one 2^k before. */
static void dissemination_wait(struct member *self)
{
    unsigned total = cpu_count();

    for (unsigned k = 0; 1u << k < total; k++) {
        atomic_fetch_add(&members[(cpu_id() + (1u << k)) % total].signals[k], 1);
        while (atomic_load(&self->signals[k]) < self->rounds)
            cpu_relax();
    }
}

static const struct kind kinds[] = {
    {"central", central_wait},
    {"dissemination", dissemination_wait},
};

/* The CPU that completes a round's arrivals leaves its number; only one does, so nothing is lost. */
static void note_arrival(void)
{
    if (atomic_fetch_add(&order.arrivals, 1) % cpu_count() == cpu_count() - 1)
        atomic_store(&order.hash, hash_add(atomic_load(&order.hash), cpu_id()));
}

static void run_rounds(void *arg)
{
    const struct kind *kind = arg;
    struct member *self = &members[cpu_id()];
    uint64_t state = random_seed(seed, cpu_id());

    while (self->rounds < rounds) {
        for (uint64_t k = random_next(&state) % MAX_WORK; k > 0; k--)
            __asm__ volatile("");
        self->cell = ++self->rounds;
        note_arrival();
        kind->wait(self);
        for (unsigned i = 0; i < cpu_count(); i++)
            self->errors += members[i].cell < self->rounds || members[i].cell > self->rounds + 1;
    }
}

int main(void)
{
    uint64_t errors = 0;

    rounds = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint64_t before = errors;

        memset(&central, 0, sizeof(central));
        memset(members, 0, sizeof(members));
        memset(&order, 0, sizeof(order));
        run_on_all(run_rounds, (void *)&kinds[i]);
        for (unsigned c = 0; c < cpu_count(); c++)
            errors += members[c].errors;
        say("result: %s barrier rounds %llu errors %llu\n", kinds[i].name, (ull)rounds,
            (ull)(errors - before));
        say("race: %s barrier last-comers %016llx\n", kinds[i].name, (ull)atomic_load(&order.hash));
    }
    return errors != 0;
}
