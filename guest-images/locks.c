/*
 * Three spin locks (test-and-set, ticket, MCS), each guarding a plain counter. The counter tells whether the
 * lock excludes; the order in which CPUs got it depends on the interleaving. `n` is the number of
 * acquisitions by each CPU and lock.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N     1500
#define MAX_THINKING  256
#define LOCKED_STORES 8

struct mcs_node {
    struct mcs_node *_Atomic next;
    atomic_uint waiting;
} __attribute__((aligned(PAGE_BYTES)));

struct spin {
    atomic_uint taken;           /* test-and-set */
    atomic_uint ticket, serving; /* ticket */
    struct mcs_node *_Atomic tail;
} __attribute__((aligned(PAGE_BYTES)));

struct guarded {
    uint64_t counter, order, switches;
    uint64_t cells[LOCKED_STORES];
    unsigned last;
} __attribute__((aligned(PAGE_BYTES)));

struct kind {
    const char *name;
    void (*take)(struct spin *spin);
    void (*drop)(struct spin *spin);
};

static struct spin spin;
static struct guarded guarded;
static struct mcs_node mcs_nodes[GUEST_MAX_CPUS];
static uint64_t acquisitions, seed;

static void tas_take(struct spin *s)
{
    while (atomic_exchange_explicit(&s->taken, 1, memory_order_acquire)) {
        while (atomic_load_explicit(&s->taken, memory_order_relaxed))
            cpu_relax();
    }
}

static void tas_drop(struct spin *s)
{
    atomic_store_explicit(&s->taken, 0, memory_order_release);
}

static void ticket_take(struct spin *s)
{
    unsigned mine = atomic_fetch_add_explicit(&s->ticket, 1, memory_order_relaxed);

    while (atomic_load_explicit(&s->serving, memory_order_acquire) != mine)
        cpu_relax();
}

static void ticket_drop(struct spin *s)
{
    unsigned next = atomic_load_explicit(&s->serving, memory_order_relaxed) + 1;

    atomic_store_explicit(&s->serving, next, memory_order_release);
}

/* Mellor-Crummey and Scott: every CPU waits on its own node. */
static void mcs_take(struct spin *s)
{
    struct mcs_node *self = &mcs_nodes[cpu_id()], *before;

    atomic_store_explicit(&self->next, NULL, memory_order_relaxed);
    atomic_store_explicit(&self->waiting, 1, memory_order_relaxed);
    before = atomic_exchange(&s->tail, self);
    if (before == NULL)
        return;
    atomic_store_explicit(&before->next, self, memory_order_release);
    while (atomic_load_explicit(&self->waiting, memory_order_acquire))
        cpu_relax();
}

static void mcs_drop(struct spin *s)
{
    struct mcs_node *self = &mcs_nodes[cpu_id()], *expected = self, *next;

    if (atomic_load(&self->next) == NULL && atomic_compare_exchange_strong(&s->tail, &expected, NULL))
        return;
    while ((next = atomic_load_explicit(&self->next, memory_order_acquire)) == NULL)
        cpu_relax();
    atomic_store_explicit(&next->waiting, 0, memory_order_release);
}

static const struct kind kinds[] = {
    {"tas", tas_take, tas_drop},
    {"ticket", ticket_take, ticket_drop},
    {"mcs", mcs_take, mcs_drop},
};

static void critical_section(void)
{
    guarded.order = hash_add(guarded.order, cpu_id());
    guarded.switches += guarded.last != cpu_id();
    guarded.last = cpu_id();
    for (unsigned i = 0; i < LOCKED_STORES; i++)
        guarded.cells[i] += i;
    guarded.counter++;
}

static void contend(void *arg)
{
    const struct kind *kind = arg;
    uint64_t state = random_seed(seed, cpu_id());

    for (uint64_t i = 0; i < acquisitions; i++) {
        kind->take(&spin);
        critical_section();
        kind->drop(&spin);
        for (uint64_t k = random_next(&state) % MAX_THINKING; k > 0; k--)
            __asm__ volatile("");
    }
}

int main(void)
{
    bool good = true;

    acquisitions = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        guarded = (struct guarded){.order = HASH_START};
        run_on_all(contend, (void *)&kinds[i]);
        say("result: %s lock counter %llu of %llu\n", kinds[i].name, (ull)guarded.counter,
            (ull)acquisitions * cpu_count());
        say("race: %s lock switches %llu order %016llx\n", kinds[i].name, (ull)guarded.switches,
            (ull)guarded.order);
        good = good && guarded.counter == acquisitions * cpu_count();
    }
    return !good;
}
