/*
 * Rings with one producer and one consumer each: CPU i fills ring i, CPU i+1 empties it. Every value arrives,
 * in order, whatever the interleaving; how often a ring was found full or empty depends on it. `n` is the
 * number of values in each ring.
 */
#include "guest-images/lib/guest.h"

#define SLOTS     256
#define DEFAULT_N 60000

/* Positions count up without end; each side writes only its own, on a page of its own. */
struct side {
    atomic_uint_least64_t position;
    uint64_t hash, blocked;
} __attribute__((aligned(PAGE_BYTES)));

struct ring {
    struct side producer, consumer;
    uint64_t slots[SLOTS];
} __attribute__((aligned(PAGE_BYTES)));

static struct ring rings[GUEST_MAX_CPUS];
static uint64_t values, seed;

static bool produce(struct ring *ring, uint64_t *state)
{
    uint64_t at = atomic_load_explicit(&ring->producer.position, memory_order_relaxed);

    if (at - atomic_load_explicit(&ring->consumer.position, memory_order_acquire) == SLOTS) {
        ring->producer.blocked++;
        return false;
    }
    ring->slots[at % SLOTS] = random_next(state);
    ring->producer.hash = hash_add(ring->producer.hash, ring->slots[at % SLOTS]);
    atomic_store_explicit(&ring->producer.position, at + 1, memory_order_release);
    return true;
}

static bool consume(struct ring *ring)
{
    uint64_t at = atomic_load_explicit(&ring->consumer.position, memory_order_relaxed);

    if (at == atomic_load_explicit(&ring->producer.position, memory_order_acquire)) {
        ring->consumer.blocked++;
        return false;
    }
    ring->consumer.hash = hash_add(ring->consumer.hash, ring->slots[at % SLOTS]);
    atomic_store_explicit(&ring->consumer.position, at + 1, memory_order_release);
    return true;
}

static void work(void *arg)
{
    struct ring *out = &rings[cpu_id()];
    struct ring *in = &rings[(cpu_id() + cpu_count() - 1) % cpu_count()];
    uint64_t state = random_seed(seed, cpu_id());
    uint64_t produced = 0, consumed = 0;

    (void)arg;
    while (produced < values || consumed < values) {
        bool moved = false;

        while (produced < values && produce(out, &state)) {
            produced++;
            moved = true;
        }
        while (consumed < values && consume(in)) {
            consumed++;
            moved = true;
        }
        if (!moved)
            cpu_relax();
    }
}

int main(void)
{
    uint64_t hash = HASH_START, blocked = HASH_START;
    unsigned wrong = 0;

    values = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        wrong += rings[i].producer.hash != rings[i].consumer.hash;
        hash = hash_add(hash, rings[i].consumer.hash);
        blocked = hash_add(hash_add(blocked, rings[i].producer.blocked), rings[i].consumer.blocked);
    }
    say("result: prodcons rings %u values %llu wrong %u hash %016llx\n", cpu_count(), (ull)values, wrong,
        (ull)hash);
    say("race: prodcons ring 0 full %llu empty %llu all %016llx\n", (ull)rings[0].producer.blocked,
        (ull)rings[0].consumer.blocked, (ull)blocked);
    return wrong != 0;
}
