/* The block device (virtio 5.2). See virtio.h. */
#include "drivers/vdev/virtio_plan.h"

#include <string.h>

#define HEADER_BYTES 16u /* type, reserved, sector */

enum request_type { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8 };

enum request_status { STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };

static uint64_t get(const uint8_t *b, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)b[i] << 8 * i;
    return value;
}

/* Whether `bytes` from `sector` on are whole sectors of the disk, and no more than a request may have. */
static bool on_disk(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
    return bytes % VIRTIO_SECTOR == 0 && bytes <= VIRTIO_PLAN_DISK && sector <= blk->sectors &&
           bytes / VIRTIO_SECTOR <= blk->sectors - sector;
}

/* Gives the request back with its status, the last byte of the writable part, `data` bytes before it done. */
static enum virtio_step finish(const struct virtio_planner *p, enum request_status status, uint32_t data)
{
    uint64_t last = p->plan->chain.writable - 1;
    enum virtio_step step;
    uint32_t at;

    if (!virtio_reserve(p->plan, 1, &at))
        return VIRTIO_LATER;
    p->plan->data[at] = (uint8_t)status;
    step = virtio_scatter(p, last, at, 1);
    if (step != VIRTIO_DONE)
        return step;
    /* Where bytes before the status stay as they were, only those from the begin on count (virtio 2.7.8.2).
     */
    return virtio_give(p, 0, data == last ? data + 1 : data);
}

static enum virtio_step do_in(const struct virtio_planner *p, uint64_t sector)
{
    uint64_t bytes = p->plan->chain.writable - 1;
    enum virtio_step step;
    uint32_t at;

    if (!on_disk(&p->plan->after.blk, sector, bytes))
        return finish(p, STATUS_IOERR, 0);
    if (bytes == 0)
        return finish(p, STATUS_OK, 0);
    /* The image does not have yet what this plan writes. */
    if (p->plan->disk_count || !virtio_reserve(p->plan, (uint32_t)bytes, &at))
        return VIRTIO_LATER;
    p->disk->read(p->disk->ctx, sector, (uint32_t)bytes / VIRTIO_SECTOR, p->plan->data + at);
    step = virtio_scatter(p, 0, at, (uint32_t)bytes);
    return step == VIRTIO_DONE ? finish(p, STATUS_OK, (uint32_t)bytes) : step;
}

static enum virtio_step do_out(const struct virtio_planner *p, uint64_t sector)
{
    struct virtio_plan *plan = p->plan;
    uint64_t bytes = plan->chain.readable - HEADER_BYTES;
    uint32_t at;

    if ((plan->after.offered & VIRTIO_BLK_F_RO) || !on_disk(&plan->after.blk, sector, bytes))
        return finish(p, STATUS_IOERR, 0);
    if (bytes == 0)
        return finish(p, STATUS_OK, 0);
    if (plan->disk_count == ARRAY_LEN(plan->disk) || !virtio_reserve(plan, (uint32_t)bytes, &at))
        return VIRTIO_LATER;
    if (!virtio_gather(p, HEADER_BYTES, plan->data + at, (uint32_t)bytes))
        return VIRTIO_BROKEN;
    plan->disk[plan->disk_count++] =
        (struct virtio_disk_write){.sector = sector, .offset = at, .count = (uint32_t)bytes / VIRTIO_SECTOR};
    return finish(p, STATUS_OK, 0);
}

static enum virtio_step do_get_id(const struct virtio_planner *p)
{
    uint32_t bytes = (uint32_t)MIN(p->plan->chain.writable - 1, VIRTIO_BLK_ID);
    enum virtio_step step;
    uint32_t at;

    if (bytes == 0)
        return finish(p, STATUS_OK, 0);
    if (!virtio_reserve(p->plan, bytes, &at))
        return VIRTIO_LATER;
    memcpy(p->plan->data + at, p->plan->after.blk.id, bytes);
    step = virtio_scatter(p, 0, at, bytes);
    return step == VIRTIO_DONE ? finish(p, STATUS_OK, bytes) : step;
}

enum virtio_step virtio_blk_request(const struct virtio_planner *p)
{
    const struct virtio_chain *chain = &p->plan->chain;
    enum virtio_step step = virtio_take(p, 0);
    uint8_t header[HEADER_BYTES];

    if (step != VIRTIO_DONE)
        return step;
    if (chain->readable < HEADER_BYTES || chain->writable == 0)
        return VIRTIO_BROKEN;
    if (!virtio_gather(p, 0, header, HEADER_BYTES))
        return VIRTIO_BROKEN;
    switch (get(header, 4)) {
    case TYPE_IN:
        return do_in(p, get(header + 8, 8));
    case TYPE_OUT:
        return do_out(p, get(header + 8, 8));
    case TYPE_FLUSH: /* what was written is on the image already */
        return finish(p, STATUS_OK, 0);
    case TYPE_GET_ID:
        return do_get_id(p);
    default:
        return finish(p, STATUS_UNSUPP, 0);
    }
}
