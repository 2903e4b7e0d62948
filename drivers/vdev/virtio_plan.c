/* Split virtqueues, and the plans of what devices do with them. See virtio.h and virtio_plan.h. */
#include "drivers/vdev/virtio_plan.h"

#include <string.h>

/* Descriptors (virtio 2.7.5). */
#define DESC_BYTES      16u
#define DESC_F_NEXT     UINT16_C(1)
#define DESC_F_WRITE    UINT16_C(2)
#define DESC_F_INDIRECT UINT16_C(4)

/* Rings (virtio 2.7.6, 2.7.8): flags, index, entries. */
#define RING_INDEX         2u
#define RING_ENTRIES       4u
#define USED_BYTES         8u
#define AVAIL_NO_INTERRUPT UINT16_C(1)

#define CHAIN_BYTES_MAX (UINT64_C(1) << 32) /* virtio 2.7.5 */

#define COMMAND_MASTER UINT16_C(0x0004) /* PCI 6.2.2: may write memory */

/* What a plan keeps free for the ends of queues: an index for each. */
#define END_WRITES VIRTIO_QUEUES
#define END_BYTES  (2u * VIRTIO_QUEUES)
/* Writes and bytes of a chain given back: a used entry, which may cross a page. */
#define GIVE_WRITES 2u

/* The largest request always fits in an empty plan: two bytes may lie in two pages, 4096 more in one more. */
_Static_assert(VIRTIO_PLAN_WRITES >=
                   2 * VIRTIO_QUEUE_SIZE + VIRTIO_PLAN_DISK / PAGE_SIZE + GIVE_WRITES + END_WRITES,
               "room for the pieces of the largest request");
_Static_assert(VIRTIO_PLAN_BYTES >= VIRTIO_PLAN_DISK + 1 + USED_BYTES + END_BYTES, "room for its data");
_Static_assert(VIRTIO_PLAN_BYTES >= 12 + VNET_FRAME + USED_BYTES + END_BYTES, "room for a frame");

static uint16_t get16(const uint8_t *b)
{
    return (uint16_t)(b[0] | b[1] << 8);
}

static uint32_t get32(const uint8_t *b)
{
    return get16(b) | (uint32_t)get16(b + 2) << 16;
}

static void put32(uint8_t *b, uint32_t value)
{
    for (uint32_t i = 0; i < 4; i++)
        b[i] = (uint8_t)(value >> 8 * i);
}

/* Bytes from `address` to the end of its page, at most `bytes`. */
static uint32_t in_page(uint64_t address, uint32_t bytes)
{
    return MIN(bytes, PAGE_SIZE - (uint32_t)(address & PAGE_MASK));
}

static bool read_memory(const struct virtio_planner *p, uint64_t address, uint8_t *to, uint32_t bytes)
{
    while (bytes) {
        uint32_t part = in_page(address, bytes);
        if (!p->memory->read(p->memory->ctx, address, to, part))
            return false;
        address += part;
        to += part;
        bytes -= part;
    }
    return true;
}

/* ---- Writes ---- */

bool virtio_reserve(struct virtio_plan *plan, uint32_t bytes, uint32_t *offset)
{
    if (bytes > VIRTIO_PLAN_BYTES - END_BYTES - plan->data_bytes)
        return false;
    *offset = plan->data_bytes;
    plan->data_bytes += bytes;
    return true;
}

/* Plans a write that may cross pages, with the list filled up to `limit` entries. */
static enum virtio_step write_memory(const struct virtio_planner *p, uint64_t address, uint32_t data,
                                     uint32_t bytes, uint32_t limit)
{
    struct virtio_plan *plan = p->plan;

    while (bytes) {
        uint32_t part = in_page(address, bytes);
        if (!p->memory->writable(p->memory->ctx, address))
            return VIRTIO_BROKEN;
        if (plan->write_count == limit)
            return VIRTIO_LATER;
        plan->write[plan->write_count++] =
            (struct virtio_write){.address = address, .offset = data, .length = part};
        address += part;
        data += part;
        bytes -= part;
    }
    return VIRTIO_DONE;
}

enum virtio_step virtio_scatter(const struct virtio_planner *p, uint64_t offset, uint32_t data,
                                uint32_t bytes)
{
    const struct virtio_chain *chain = &p->plan->chain;

    for (uint32_t i = chain->first_writable; i < chain->count && bytes; i++) {
        const struct virtio_segment *segment = &chain->segment[i];
        enum virtio_step step;
        uint32_t part;
        if (offset >= segment->length) {
            offset -= segment->length;
            continue;
        }
        part = MIN(bytes, segment->length - (uint32_t)offset);
        step = write_memory(p, segment->address + offset, data, part, VIRTIO_PLAN_WRITES - END_WRITES);
        if (step != VIRTIO_DONE)
            return step;
        offset = 0;
        data += part;
        bytes -= part;
    }
    return VIRTIO_DONE;
}

bool virtio_gather(const struct virtio_planner *p, uint64_t offset, uint8_t *to, uint32_t bytes)
{
    const struct virtio_chain *chain = &p->plan->chain;

    for (uint32_t i = 0; i < chain->first_writable && bytes; i++) {
        const struct virtio_segment *segment = &chain->segment[i];
        uint32_t part;
        if (offset >= segment->length) {
            offset -= segment->length;
            continue;
        }
        part = MIN(bytes, segment->length - (uint32_t)offset);
        if (!read_memory(p, segment->address + offset, to, part))
            return false;
        offset = 0;
        to += part;
        bytes -= part;
    }
    return true;
}

/* ---- Chains ---- */

/* One descriptor into the chain. False: the chain breaks a rule (virtio 2.7.4, 2.7.5). */
static bool add_descriptor(struct virtio_chain *chain, const uint8_t *desc)
{
    struct virtio_segment segment = {.address = get32(desc) | (uint64_t)get32(desc + 4) << 32,
                                     .length = get32(desc + 8)};
    uint16_t flags = get16(desc + 12);
    bool writable = flags & DESC_F_WRITE;

    if ((flags & DESC_F_INDIRECT) || (!writable && chain->writable_seen))
        return false;
    if (!writable) {
        chain->readable += segment.length;
        chain->first_writable++;
    } else {
        chain->writable += segment.length;
        chain->writable_seen = true;
    }
    chain->segment[chain->count++] = segment;
    return chain->readable + chain->writable <= CHAIN_BYTES_MAX;
}

static enum virtio_step walk_chain(const struct virtio_planner *p, const struct virtio_queue *q,
                                   uint16_t head)
{
    struct virtio_chain *chain = &p->plan->chain;
    uint8_t desc[DESC_BYTES];
    uint16_t index = head;

    chain->readable = chain->writable = 0;
    chain->count = chain->first_writable = 0;
    chain->writable_seen = false;
    chain->head = head;
    do {
        /* A chain with more descriptors than the table has is a loop. */
        if (index >= q->size || chain->count == q->size)
            return VIRTIO_BROKEN;
        if (!read_memory(p, q->desc + (uint64_t)index * DESC_BYTES, desc, DESC_BYTES))
            return VIRTIO_BROKEN;
        if (!add_descriptor(chain, desc))
            return VIRTIO_BROKEN;
        index = get16(desc + 14);
    } while (get16(desc + 12) & DESC_F_NEXT);
    return VIRTIO_DONE;
}

enum virtio_step virtio_take(const struct virtio_planner *p, uint32_t queue)
{
    struct virtio_queue *q = &p->plan->after.queue[queue];
    uint8_t word[2];
    uint16_t waiting;

    if (!q->enabled)
        return VIRTIO_EMPTY;
    if (!read_memory(p, q->driver + RING_INDEX, word, sizeof(word)))
        return VIRTIO_BROKEN;
    waiting = (uint16_t)(get16(word) - q->avail);
    if (waiting == 0)
        return VIRTIO_EMPTY;
    if (waiting > q->size)
        return VIRTIO_BROKEN;
    if (!read_memory(p, q->driver + RING_ENTRIES + 2u * (q->avail % q->size), word, sizeof(word)))
        return VIRTIO_BROKEN;
    q->avail++;
    return walk_chain(p, q, get16(word));
}

enum virtio_step virtio_give(const struct virtio_planner *p, uint32_t queue, uint32_t written)
{
    struct virtio_queue *q = &p->plan->after.queue[queue];
    uint64_t entry = q->device + RING_ENTRIES + (uint64_t)USED_BYTES * (q->used % q->size);
    uint32_t data;

    if (!virtio_reserve(p->plan, USED_BYTES, &data))
        return VIRTIO_LATER;
    put32(p->plan->data + data, p->plan->chain.head);
    put32(p->plan->data + data + 4, written);
    q->used++;
    return write_memory(p, entry, data, USED_BYTES, VIRTIO_PLAN_WRITES - END_WRITES);
}

/* ---- Plans ---- */

static enum virtio_step request(const struct virtio_planner *p, uint32_t queue)
{
    switch (p->plan->after.kind) {
    case VIRTIO_BLK:
        return virtio_blk_request(p);
    case VIRTIO_NET:
        return queue == VNET_QUEUE_TX ? virtio_net_send(p) : virtio_net_deliver(p);
    default:
        return virtio_rng_request(p);
    }
}

/* What of a plan a request that is given up must not leave behind. */
struct mark {
    struct virtio_queue queue;
    uint32_t write_count, disk_count, data_bytes;
};

/* Plans requests of one queue until it is empty, or the plan is full. True: something was done. */
static bool plan_queue(const struct virtio_planner *p, uint32_t queue)
{
    struct virtio_plan *plan = p->plan;
    struct virtio_queue *q = &plan->after.queue[queue];
    uint16_t used = q->used;
    enum virtio_step step;

    do {
        struct mark mark = {*q, plan->write_count, plan->disk_count, plan->data_bytes};
        step = request(p, queue);
        if (step == VIRTIO_DONE)
            continue;
        *q = mark.queue;
        plan->write_count = mark.write_count;
        plan->disk_count = mark.disk_count;
        plan->data_bytes = mark.data_bytes;
    } while (step == VIRTIO_DONE && (uint16_t)(q->used - used) < q->size);
    if (step == VIRTIO_EMPTY)
        q->pending = 0;
    plan->broken |= step == VIRTIO_BROKEN;
    return q->used != used;
}

/* The used ring's index, and the interrupt unless the driver wants none (virtio 2.7.7, 2.7.8). */
static void end_queue(const struct virtio_planner *p, uint32_t queue)
{
    struct virtio_plan *plan = p->plan;
    struct virtio_queue *q = &plan->after.queue[queue];
    uint32_t data = plan->data_bytes;
    uint8_t flags[2];

    /* END_WRITES and END_BYTES are kept free for this; the address is even, so that it crosses no page. */
    plan->data_bytes += 2;
    plan->data[data] = (uint8_t)q->used;
    plan->data[data + 1] = (uint8_t)(q->used >> 8);
    if (write_memory(p, q->device + RING_INDEX, data, 2, VIRTIO_PLAN_WRITES) != VIRTIO_DONE ||
        !read_memory(p, q->driver, flags, sizeof(flags))) {
        plan->broken = true;
        return;
    }
    if (!(get16(flags) & AVAIL_NO_INTERRUPT))
        virtio_raise(&plan->after, queue);
}

static bool may_work(const struct virtio *v)
{
    return (v->status & VIRTIO_S_DRIVER_OK) && !(v->status & VIRTIO_S_NEEDS_RESET) &&
           (v->pci.command & COMMAND_MASTER);
}

/* A network device's RX queue has work only if a frame waits. */
static bool queue_has_work(const struct virtio *v, uint32_t queue)
{
    if (v->kind == VIRTIO_NET && queue == VNET_QUEUE_RX && v->net.count == 0)
        return false;
    return v->queue[queue].enabled && v->queue[queue].pending;
}

bool virtio_has_work(const struct virtio *v)
{
    if (!may_work(v))
        return false;
    for (uint32_t i = 0; i < v->queue_count; i++) {
        if (queue_has_work(v, i))
            return true;
    }
    return false;
}

void virtio_prepare(const struct virtio *v, const struct virtio_memory *memory,
                    const struct virtio_disk *disk, struct virtio_plan *plan)
{
    const struct virtio_planner p = {.memory = memory, .disk = disk, .plan = plan};
    bool used[VIRTIO_QUEUES] = {false};

    plan->based_on = v->changes;
    plan->after = *v;
    plan->after.changes++;
    plan->write_count = plan->disk_count = plan->data_bytes = 0;
    plan->broken = false;
    if (!may_work(v))
        return;
    /* The last queue first: what a network device sends has its answer in the same plan. */
    for (uint32_t i = v->queue_count; i-- > 0 && !plan->broken;)
        used[i] = queue_has_work(&plan->after, i) && plan_queue(&p, i);
    for (uint32_t i = 0; i < v->queue_count; i++) {
        if (used[i])
            end_queue(&p, i);
    }
    if (plan->broken) {
        plan->after.status |= VIRTIO_S_NEEDS_RESET;
        virtio_raise(&plan->after, VIRTIO_QUEUES);
    }
}

void virtio_apply(struct virtio *v, const struct virtio_plan *plan, const struct virtio_disk *disk)
{
    for (uint32_t i = 0; i < plan->disk_count; i++) {
        const struct virtio_disk_write *w = &plan->disk[i];
        disk->write(disk->ctx, w->sector, w->count, plan->data + w->offset);
    }
    *v = plan->after;
}
