#include "replay/commit_ring.h"

#include "hv/base/check.h"

void commit_ring_init(struct commit_ring *ring, struct commit_slot *slot, uint32_t size)
{
    HV_CHECK((size & (size - 1)) == 0 && size != 0);
    *ring = (struct commit_ring){.slot = slot, .size = size};
}

bool commit_ring_has_room(const struct commit_ring *ring, uint32_t count)
{
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

    return head - tail + count <= ring->size;
}

struct commit_slot *commit_ring_slot(struct commit_ring *ring)
{
    HV_CHECK(commit_ring_has_room(ring, 1));
    return &ring->slot[ring->head & (ring->size - 1)];
}

void commit_ring_put(struct commit_ring *ring)
{
    __atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
}

const struct commit_slot *commit_ring_peek(const struct commit_ring *ring)
{
    if (__atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) == ring->tail)
        return NULL;
    return &ring->slot[ring->tail & (ring->size - 1)];
}

void commit_ring_drop(struct commit_ring *ring)
{
    __atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
}
