/*
 * A tree of 16 MiB made and summed up by work stealing. Each CPU has a deque of tasks (Chase and Lev's): it
 * pushes and pops at the bottom, the others steal at the top. A task makes the children of a node; when the
 * last child of a node is done, whoever did it sums the node up, and so on to the root. The tree and its hash
 * are always the same; who made which node, and where it lies in memory, is not. `n` is the number of nodes.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N    (UINT64_C(1) << 18)
#define MAX_CHILDREN 4
#define DEQUE_SLOTS  4096u /* far more than tasks ever wait: a path's length times MAX_CHILDREN */
#define POOL_NODES   64    /* taken at a time, a page of them */

/* A cache line. The shape of the tree below a node follows from its key and size alone. */
struct node {
    struct node *parent, *children; /* children lie side by side */
    uint64_t key, size;             /* size: nodes from here down */
    uint64_t hash;
    atomic_uint pending; /* children that are not yet done */
    uint32_t count, owner;
    uint32_t unused[3];
};
_Static_assert(sizeof(struct node) == 64, "a cache line");

/* SPAA 2005, Chase and Lev: top only grows, bottom is the owner's. Sequentially consistent where they race.
 */
struct deque {
    atomic_int_least64_t top __attribute__((aligned(64)));
    atomic_int_least64_t bottom __attribute__((aligned(64)));
    _Atomic(struct node *) slots[DEQUE_SLOTS];
    uint64_t steals, misses, made;
    struct node *pool;
    unsigned pool_left;
} __attribute__((aligned(PAGE_BYTES)));

static struct deque deques[GUEST_MAX_CPUS];
static struct node *nodes, *root;
static uint64_t node_room;
static atomic_uint_least64_t next_pool;
static atomic_bool finished;

static void push(struct deque *d, struct node *task)
{
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);

    if (bottom - atomic_load_explicit(&d->top, memory_order_acquire) >= (int64_t)DEQUE_SLOTS)
        panic("a deque is full");
    atomic_store_explicit(&d->slots[bottom % DEQUE_SLOTS], task, memory_order_relaxed);
    atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
}

/* The owner's end. The last task may be a thief's already: both try to move the top. */
static struct node *pop(struct deque *d)
{
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1, top;
    struct node *task = NULL;

    atomic_store(&d->bottom, bottom);
    top = atomic_load(&d->top);
    if (top <= bottom) {
        task = atomic_load_explicit(&d->slots[bottom % DEQUE_SLOTS], memory_order_relaxed);
        if (top < bottom)
            return task;
        if (!atomic_compare_exchange_strong(&d->top, &top, top + 1))
            task = NULL;
    }
    atomic_store_explicit(&d->bottom, bottom + 1, memory_order_relaxed);
    return task;
}

static struct node *steal(struct deque *d)
{
    int64_t top = atomic_load(&d->top);
    struct node *task;

    if (top >= atomic_load(&d->bottom))
        return NULL;
    task = atomic_load_explicit(&d->slots[top % DEQUE_SLOTS], memory_order_relaxed);
    return atomic_compare_exchange_strong(&d->top, &top, top + 1) ? task : NULL;
}

/* `count` nodes side by side; what is left of a pool when it is too small stays unused. */
static struct node *take_nodes(struct deque *self, unsigned count)
{
    struct node *taken;

    if (self->pool_left < count) {
        uint64_t pool = atomic_fetch_add(&next_pool, 1);

        if ((pool + 1) * POOL_NODES > node_room)
            panic("no room for another node");
        self->pool = nodes + pool * POOL_NODES;
        self->pool_left = POOL_NODES;
    }
    taken = self->pool;
    self->pool += count;
    self->pool_left -= count;
    self->made += count;
    return taken;
}

/* Splits what is below the node among one to four children, unevenly. */
static void make_children(struct deque *self, struct node *node)
{
    uint64_t state = random_seed(node->key, node->size), left = node->size - 1;
    unsigned count = 1 + random_next(&state) % MAX_CHILDREN;

    count = left < count ? (unsigned)left : count;
    node->children = take_nodes(self, count);
    node->count = count;
    atomic_store_explicit(&node->pending, count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        struct node *child = &node->children[i];
        uint64_t spare = left - (count - i); /* each of the others needs one at least */
        uint64_t size = i + 1 == count ? left : 1 + (spare == 0 ? 0 : random_next(&state) % (spare + 1));

        *child = (struct node){.parent = node, .key = random_next(&state), .size = size, .owner = cpu_id()};
        left -= size;
    }
    for (unsigned i = 0; i < count; i++)
        push(self, &node->children[i]);
}

/* A node is done: its hash holds those of its children, in their order. Goes up while it was the last one. */
static void finish(struct node *node)
{
    for (; node != NULL; node = node->parent) {
        node->hash = hash_add(hash_add(HASH_START, node->key), node->size);
        for (uint32_t i = 0; i < node->count; i++)
            node->hash = hash_add(node->hash, node->children[i].hash);
        if (node == root)
            atomic_store(&finished, true);
        else if (atomic_fetch_sub(&node->parent->pending, 1) > 1)
            return;
    }
}

static struct node *find_task(struct deque *self, uint64_t *state)
{
    struct node *task = pop(self);

    if (task == NULL) {
        task = steal(&deques[random_next(state) % cpu_count()]);
        self->steals += task != NULL;
        self->misses += task == NULL;
    }
    return task;
}

static void work(void *arg)
{
    struct deque *self = &deques[cpu_id()];
    uint64_t state = random_seed(*(const uint64_t *)arg, cpu_id());

    while (!atomic_load(&finished)) {
        struct node *task = find_task(self, &state);

        if (task == NULL)
            cpu_relax();
        else if (task->size > 1)
            make_children(self, task);
        else
            finish(task);
    }
}

/* Everything in memory as it lies: who made what, and where. */
static uint64_t hash_owners(void)
{
    uint64_t hash = HASH_START, end = atomic_load(&next_pool) * POOL_NODES;

    for (uint64_t i = 0; i < end; i++)
        hash = hash_add(hash, nodes[i].size << 8 | nodes[i].owner);
    return hash;
}

int main(void)
{
    uint64_t size = arg_number("n", DEFAULT_N), seed = arg_number("seed", 1);
    uint64_t made = 0, steals = 0, misses = 0;

    size = size > 0 ? size : 1;
    /* Up to three nodes of a pool stay unused, and each CPU's last pool. */
    node_room = (size / (POOL_NODES - MAX_CHILDREN + 1) + GUEST_MAX_CPUS + 1) * POOL_NODES;
    nodes = memory_pages(node_room * sizeof(*nodes));
    root = take_nodes(&deques[0], 1);
    *root = (struct node){.key = seed, .size = size};
    push(&deques[0], root);
    run_on_all(work, &seed);
    for (unsigned i = 0; i < cpu_count(); i++) {
        made += deques[i].made;
        steals += deques[i].steals;
        misses += deques[i].misses;
    }
    say("result: steal nodes %llu of %llu hash %016llx\n", (ull)made, (ull)size, (ull)root->hash);
    say("race: steal thefts %llu misses %llu owners %016llx\n", (ull)steals, (ull)misses, (ull)hash_owners());
    return made != size;
}
