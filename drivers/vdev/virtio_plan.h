/*
 * How devices make their plans: chains of a split virtqueue in, writes out. Inside of drivers/vdev/virtio*.c.
 *
 * All work is on plan->after, a copy of the device. A device takes a chain, plans its request, and gives the
 * chain back as used; a request that does not fit goes back as it was, and waits for the next plan.
 */
#ifndef RV_DRIVERS_VDEV_VIRTIO_PLAN_H
#define RV_DRIVERS_VDEV_VIRTIO_PLAN_H

#include "drivers/vdev/virtio.h"

/* What a plan is made from and into. */
struct virtio_planner {
    const struct virtio_memory *memory;
    const struct virtio_disk *disk;
    struct virtio_plan *plan;
};

enum virtio_step {
    VIRTIO_DONE,   /* a request is planned */
    VIRTIO_EMPTY,  /* the queue has nothing to do */
    VIRTIO_LATER,  /* not in this plan: it is full (never an empty one), or there is nothing to put in the
                      queue */
    VIRTIO_BROKEN, /* the driver has broken a rule */
};

/* Takes the next chain of queue `queue` into plan->chain: DONE, EMPTY or BROKEN. */
enum virtio_step virtio_take(const struct virtio_planner *p, uint32_t queue);
/* Gives plan->chain back, with `written` bytes of its writable part filled from its begin on. */
enum virtio_step virtio_give(const struct virtio_planner *p, uint32_t queue, uint32_t written);

/* Copies bytes [offset, offset + bytes) of the chain's readable part, which has them. False: BROKEN. */
bool virtio_gather(const struct virtio_planner *p, uint64_t offset, uint8_t *to, uint32_t bytes);
/* Room for `bytes` (not 0) of data in the plan, at *offset. False: LATER. */
bool virtio_reserve(struct virtio_plan *plan, uint32_t bytes, uint32_t *offset);
/* Plans that bytes [offset, offset + bytes) of the writable part, which has them, become those at `data`. */
enum virtio_step virtio_scatter(const struct virtio_planner *p, uint64_t offset, uint32_t data,
                                uint32_t bytes);

/* One request of each kind of device: takes, plans, gives back. */
enum virtio_step virtio_blk_request(const struct virtio_planner *p);
enum virtio_step virtio_net_send(const struct virtio_planner *p);
enum virtio_step virtio_net_deliver(const struct virtio_planner *p);
enum virtio_step virtio_rng_request(const struct virtio_planner *p);

#endif
