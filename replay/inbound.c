#include "replay/inbound.h"

#include "hv/base/check.h"

static struct inbound_event *at(struct inbound *queue, uint64_t index)
{
    return &queue->ring[index & (INBOUND_SIZE - 1)];
}

/*
 * Whether the same event waits already. The first REC_MAX_EVENTS may be in the hands of a running chunk
 * and don't count: an event after them is a new one.
 */
static bool waits_already(struct inbound *queue, struct rec_event event)
{
    uint64_t tail = __atomic_load_n(&queue->tail, __ATOMIC_ACQUIRE);

    for (uint64_t i = tail + REC_MAX_EVENTS; i < queue->head; i++) {
        const struct inbound_event *waiting = at(queue, i);
        if (waiting->event.kind == event.kind && waiting->event.vector == event.vector)
            return true;
    }
    return false;
}

void inbound_push(struct inbound *queue, uint64_t seq, struct rec_event event)
{
    uint64_t tail = __atomic_load_n(&queue->tail, __ATOMIC_ACQUIRE);

    if (queue->head - tail >= INBOUND_SIZE / 2 && waits_already(queue, event))
        return;
    /* At most 256 vectors of each kind are distinct, so half of the queue always holds all of them. */
    HV_CHECK(queue->head - tail < INBOUND_SIZE);
    *at(queue, queue->head) = (struct inbound_event){.seq = seq, .event = event};
    __atomic_store_n(&queue->head, queue->head + 1, __ATOMIC_RELEASE);
}

uint32_t inbound_peek(const struct inbound *queue, uint64_t seq, struct rec_event *events, uint32_t limit)
{
    uint64_t head = __atomic_load_n(&queue->head, __ATOMIC_ACQUIRE);
    uint32_t count = 0;

    for (uint64_t i = queue->tail; i < head && count < limit; i++) {
        const struct inbound_event *waiting = &queue->ring[i & (INBOUND_SIZE - 1)];
        if (waiting->seq > seq)
            break;
        events[count++] = waiting->event;
    }
    return count;
}

void inbound_consume(struct inbound *queue, uint32_t count)
{
    HV_CHECK(queue->head - queue->tail >= count);
    __atomic_store_n(&queue->tail, queue->tail + count, __ATOMIC_RELEASE);
}
