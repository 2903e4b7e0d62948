/* The entropy device (virtio 5.4): random numbers of a generator in its state. See virtio.h and random.h. */
#include "drivers/vdev/virtio_plan.h"

#include <string.h>

#define REQUEST_BYTES 256u /* what a request gets at most: a driver asks again */

enum virtio_step virtio_rng_request(const struct virtio_planner *p)
{
    struct virtio_plan *plan = p->plan;
    struct vrandom random = plan->after.rng;
    enum virtio_step step = virtio_take(p, 0);
    uint32_t bytes, at;

    if (step != VIRTIO_DONE)
        return step;
    bytes = (uint32_t)MIN(plan->chain.writable, REQUEST_BYTES);
    if (!virtio_reserve(plan, bytes, &at))
        return VIRTIO_LATER;
    for (uint32_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        uint64_t word = vrandom_next(&random);
        memcpy(plan->data + at + i, &word, MIN(bytes - i, sizeof(word)));
    }
    step = virtio_scatter(p, 0, at, bytes);
    if (step == VIRTIO_DONE)
        step = virtio_give(p, 0, bytes);
    if (step == VIRTIO_DONE)
        plan->after.rng = random;
    return step;
}
