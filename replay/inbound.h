/*
 * What waits for a vCPU from outside: interprocessor interrupts and the like, each tagged with the seq
 * of the commit that caused it. A chunk takes what its snapshot may know of; a squash puts it back by
 * forgetting how much was taken; a commit removes it. No checkpoint of the vCPU holds the queue.
 *
 * Producers hold the order's lock; the vCPU itself is the only consumer.
 */
#ifndef RV_REPLAY_INBOUND_H
#define RV_REPLAY_INBOUND_H

#include "replay/record.h"

#define INBOUND_SIZE 2048u /* a power of two, far above the number of distinct events */

struct inbound_event {
    uint64_t seq;
    struct rec_event event;
};

struct inbound {
    uint64_t head; /* produced */
    uint64_t tail; /* consumed by commits */
    struct inbound_event ring[INBOUND_SIZE];
};

/* Caused by commit `seq`. An event that waits already, untaken, is not queued twice when space is short. */
void inbound_push(struct inbound *queue, uint64_t seq, struct rec_event event);

/* Copies the events that snapshot `seq` knows of, `limit` at most; returns how many. Takes none away. */
uint32_t inbound_peek(const struct inbound *queue, uint64_t seq, struct rec_event *events, uint32_t limit);
/* The chunk that took the first `count` events is committed. */
void inbound_consume(struct inbound *queue, uint32_t count);

static inline bool inbound_empty(const struct inbound *queue)
{
    return __atomic_load_n(&queue->head, __ATOMIC_ACQUIRE) == queue->tail;
}

#endif
