/*
 * The way of commit records from the vCPUs to the control plane. Producers hold the order's lock and
 * put records in seq order; the control plane takes them out. A producer never waits here: a chunk
 * begins only when there is room for every chunk that may be running.
 */
#ifndef RV_REPLAY_COMMIT_RING_H
#define RV_REPLAY_COMMIT_RING_H

#include "replay/record.h"

struct commit_slot {
    uint64_t digest; /* the whole running digest after the commit */
    struct rec_commit commit;
};

struct commit_ring {
    struct commit_slot *slot;
    uint32_t size; /* a power of two */
    uint64_t head; /* records put in */
    uint64_t tail; /* records taken out */
};

/* `slot`: room for `size` records, a power of two. */
void commit_ring_init(struct commit_ring *ring, struct commit_slot *slot, uint32_t size);
/* Whether `count` more records fit for sure. */
bool commit_ring_has_room(const struct commit_ring *ring, uint32_t count);
/* The slot for the next record, and its hand-over. Under the order's lock. */
struct commit_slot *commit_ring_slot(struct commit_ring *ring);
void commit_ring_put(struct commit_ring *ring);
/* The oldest record or NULL; and its return. One consumer. */
const struct commit_slot *commit_ring_peek(const struct commit_ring *ring);
void commit_ring_drop(struct commit_ring *ring);

#endif
