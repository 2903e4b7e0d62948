/*
 * Committed memory and the one total order of commits.
 *
 * Committed memory is a table, guest page -> (frame, seq of the commit that made it); committed frames
 * never change. The commit list is a ring of (seq, page, new frame, frame replaced); each view follows
 * it at a position of its own, and the replaced frame is freed when every view is past the entry. A
 * vCPU that rests may be parked: it then holds nothing and rebuilds its view when it returns.
 *
 * Lock order: order->lock, then pool->lock. order->seq and order->head may be read without the lock:
 * a commit publishes its entries, then head, then seq.
 */
#ifndef RV_REPLAY_ORDER_H
#define RV_REPLAY_ORDER_H

#include "hv/base/spinlock.h"
#include "hv/base/types.h"
#include "replay/frames.h"

struct page_entry {
    uint64_t seq; /* commit that made this version; 0: as loaded */
    uint32_t frame;
    uint32_t reserved;
};

struct commit_entry {
    uint64_t seq;
    uint32_t gpn;
    uint32_t frame;
    uint32_t old_frame;
    uint32_t vcpu;
};

#define ORDER_NO_VCPU    UINT32_MAX
#define ORDER_MAX_ACTORS (MAX_VCPUS + 1) /* the vCPUs, and one for the devices */

/* Where a view is in the commit list. */
struct view_place {
    uint64_t position; /* entries before it are applied */
    bool resting;      /* its vCPU runs no chunk: others may park it */
    bool parked;       /* it holds no entry back */
};

struct commit_order {
    struct spinlock lock;
    uint64_t seq;    /* last commit */
    uint64_t head;   /* entries appended so far */
    uint64_t tail;   /* entries whose replaced frame is freed */
    uint64_t digest; /* running digest over all commits */
    struct page_entry *table;
    uint32_t pages;
    struct commit_entry *ring;
    uint32_t ring_size;   /* a power of two */
    uint32_t chunk_pages; /* most pages that one chunk may change */
    uint32_t vcpus;
    uint32_t frames_low; /* with fewer free frames than this no chunk begins */
    uint32_t token;      /* vCPU that alone may commit, or ORDER_NO_VCPU */
    bool room_wanted;    /* the last order_has_room() said no */
    struct view_place place[ORDER_MAX_ACTORS];
    struct frame_pool *pool;
};

struct order_config {
    struct frame_pool *pool;
    struct page_entry *table; /* pages entries */
    uint32_t pages;
    struct commit_entry *ring; /* ring_size entries, a power of two >= 2 * (vcpus + 1) * chunk_pages */
    uint32_t ring_size;
    /*
     * Most pages that one chunk may change in replay; a recorded one changes half as many at most (see
     * copy_limit() in view.c). Far above what one instruction and the delivery of an event write.
     */
    uint32_t chunk_pages;
    bool recording; /* chunks change half as many */
    uint32_t vcpus; /* actors: vCPUs, and devices that write guest memory */
    /*
     * No chunk begins with fewer free frames. Recording: above the pool's reserve, or chunks would begin that
     * cannot make a single copy. Replay: with vcpus * chunk_pages no chunk ever lacks a frame.
     */
    uint32_t frames_low;
};

/*
 * Every guest page gets a frame of the pool, in order. False where the pool is smaller than
 * order_least_frames(): actors at rest keep private copies, and could then wait for frames for ever.
 */
uint64_t order_least_frames(const struct order_config *config);
bool order_init(struct commit_order *order, const struct order_config *config);

static inline uint64_t order_seq(const struct commit_order *order)
{
    return __atomic_load_n(&order->seq, __ATOMIC_ACQUIRE);
}

static inline const struct commit_entry *order_entry(const struct commit_order *order, uint64_t position)
{
    return &order->ring[position & (order->ring_size - 1)];
}

/*
 * True where the ring can take what every running chunk may still append, and frames are not short. Frees
 * what no view needs any more, and parks resting vCPUs that hold too much. Asked before a chunk begins, by a
 * vCPU at rest (its own place may be what is in the way); once per chunk: one that is run again after a
 * squash needs no new answer.
 */
bool order_has_room(struct commit_order *order);

/*
 * True after someone asked for room in vain. A chunk that is finished but may not commit yet (another vCPU
 * has the token; replay: it is not its turn) holds back frames and list entries that the one it waits for may
 * need: so while it waits it looks here, and if it is true it squashes and rests until there is room.
 */
static inline bool order_room_wanted(const struct commit_order *order)
{
    return __atomic_load_n(&order->room_wanted, __ATOMIC_RELAXED);
}

/* Marks vCPU's view as resting (its vCPU waits outside a chunk) or not; false: it was parked, rebuild it. */
void order_rest(struct commit_order *order, uint32_t vcpu);
bool order_wake(struct commit_order *order, uint32_t vcpu);
/* A view moved to `position`; called by its own vCPU. */
void order_advance(struct commit_order *order, uint32_t vcpu, uint64_t position);

/* A parked view joins again at the present head, before it reads the table with order_read_entries(). */
uint64_t order_rejoin(struct commit_order *order, uint32_t vcpu);
/* The table's entries of `count` pages from `first` on; a few dozen at a time, since it holds the lock. */
void order_read_entries(struct commit_order *order, uint32_t first, uint32_t count,
                        struct page_entry *entries);

/* Under order->lock: makes `frame` the content of page gpn as of commit `seq`. */
void order_append(struct commit_order *order, uint64_t seq, uint32_t vcpu, uint32_t gpn, uint32_t frame);
/* The running digest as it will be after commit `seq` (the next one) with this digest. Under order->lock. */
uint64_t order_next_digest(const struct commit_order *order, uint64_t seq, uint64_t commit_digest);
/* Under order->lock: commit `seq` (the next one) is complete; folds its digest in and publishes it. */
void order_publish(struct commit_order *order, uint64_t seq, uint64_t commit_digest);

/* The token: while a vCPU has it, only that vCPU may commit. False: someone else has it. */
bool order_take_token(struct commit_order *order, uint32_t vcpu);
void order_drop_token(struct commit_order *order, uint32_t vcpu);
bool order_may_commit(const struct commit_order *order, uint32_t vcpu);

/* Digest of all committed memory; nobody may commit meanwhile. */
uint64_t order_memory_digest(const struct commit_order *order);

#endif
