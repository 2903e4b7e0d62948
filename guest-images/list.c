/*
 * A shared list that every CPU pushes to without a lock: read the head, link to it, write the head. Nodes get
 * lost, and the order of those that stay depends on the interleaving. `n` is the number of pushes by each
 * CPU.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N    60000
#define MAX_THINKING 16

struct node {
    struct node *next;
    uint64_t payload;
};

static struct node *volatile head;
static struct node *pool;
static uint64_t pushes, seed;

/* A push may lose what others pushed since the head was read: the window is the point. */
static void push(void *arg)
{
    uint64_t state = random_seed(seed, cpu_id());
    struct node *node = pool + cpu_id() * pushes;

    (void)arg;
    for (uint64_t i = 0; i < pushes; i++, node++) {
        node->next = head;
        node->payload = random_next(&state);
        for (uint64_t k = node->payload % MAX_THINKING; k > 0; k--)
            __asm__ volatile("");
        head = node;
    }
}

int main(void)
{
    uint64_t length = 0, hash = HASH_START;

    pushes = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    pool = memory_pages(sizeof(*pool) * pushes * cpu_count());
    run_on_all(push, NULL);
    for (const struct node *node = head; node != NULL; node = node->next) {
        hash = hash_add(hash, node->payload);
        length++;
    }
    say("result: list cpus %u pushes %llu\n", cpu_count(), (ull)pushes * cpu_count());
    say("race: list lost %llu order %016llx\n", (ull)(pushes * cpu_count() - length), (ull)hash);
    return length > pushes * cpu_count();
}
