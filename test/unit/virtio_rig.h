/*
 * A driver's side of a virtio device: guest memory, a disk, and rings that a driver would have set up.
 * Descriptors are numbered by the test.
 */
#ifndef RV_TEST_UNIT_VIRTIO_RIG_H
#define RV_TEST_UNIT_VIRTIO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/virtio_pci.h"

#define RIG_PAGES   64u
#define RIG_BYTES   (RIG_PAGES * PAGE_SIZE)
#define RIG_SECTORS 300u
#define RIG_SIZE    8u /* descriptors of a queue, unless a test says otherwise */

/* Where the parts of queue q are. */
#define RIG_DESC(q)   (0x1000u + 0x3000u * (q))
#define RIG_DRIVER(q) (0x2000u + 0x3000u * (q))
#define RIG_DEVICE(q) (0x3000u + 0x3000u * (q))
#define RIG_DATA      0x8000u /* from here on memory is free */

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

struct rig {
    struct virtio_bus bus;
    struct virtio *v;
    struct virtio_memory mem;
    struct virtio_disk image;
    uint8_t memory[RIG_BYTES];
    uint8_t disk[RIG_SECTORS * VIRTIO_SECTOR];
    uint64_t read_only_page; /* no device may write there */
    struct virtio_plan plan;
};

static inline bool rig_read(void *ctx, uint64_t address, void *to, uint32_t bytes)
{
    struct rig *r = ctx;

    assert_true(bytes && (address & PAGE_MASK) + bytes <= PAGE_SIZE);
    if (address >= RIG_BYTES)
        return false;
    memcpy(to, r->memory + address, bytes);
    return true;
}

static inline bool rig_writable(void *ctx, uint64_t address)
{
    struct rig *r = ctx;

    return address < RIG_BYTES && address / PAGE_SIZE != r->read_only_page;
}

static inline void rig_disk_read(void *ctx, uint64_t sector, uint32_t count, uint8_t *to)
{
    struct rig *r = ctx;

    assert_true(sector + count <= RIG_SECTORS);
    memcpy(to, r->disk + sector * VIRTIO_SECTOR, count * VIRTIO_SECTOR);
}

static inline void rig_disk_write(void *ctx, uint64_t sector, uint32_t count, const uint8_t *from)
{
    struct rig *r = ctx;

    assert_true(sector + count <= RIG_SECTORS);
    memcpy(r->disk + sector * VIRTIO_SECTOR, from, count * VIRTIO_SECTOR);
}

static inline void put(uint8_t *b, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t get(const uint8_t *b, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)b[i] << 8 * i;
    return value;
}

/* ---- Registers ---- */

static inline uint64_t reg(struct rig *r, uint32_t offset, uint32_t size)
{
    return virtio_bar_read(r->v, offset, size);
}

static inline void set_reg(struct rig *r, uint32_t offset, uint32_t size, uint64_t value)
{
    virtio_bar_write(r->v, offset, size, value);
}

static inline void rig_queue(struct rig *r, uint32_t q, uint32_t size)
{
    set_reg(r, 0x16, 2, q);
    set_reg(r, 0x18, 2, size);
    set_reg(r, 0x20, 8, RIG_DESC(q));
    set_reg(r, 0x28, 8, RIG_DRIVER(q));
    set_reg(r, 0x30, 8, RIG_DEVICE(q));
    set_reg(r, 0x1A, 2, q);
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x1C, 2), 1);
}

static inline void rig_features(struct rig *r, uint64_t features)
{
    set_reg(r, 0x08, 4, 0);
    set_reg(r, 0x0C, 4, (uint32_t)features);
    set_reg(r, 0x08, 4, 1);
    set_reg(r, 0x0C, 4, features >> 32);
    set_reg(r, 0x14, 1, 11);
}

/* The machine at power-up, the device of `slot` looked at. */
static inline void rig_power(struct rig *r, uint32_t slot)
{
    struct virtio_config config = {.disk_sectors = RIG_SECTORS,
                                   .disk_id = "a disk of the tests",
                                   .net = true,
                                   .mac = {0x52, 0x54, 0, 0, 0, 1},
                                   .seed = 7};

    memset(r, 0xAA, sizeof(*r));
    memset(r->memory, 0, sizeof(r->memory));
    virtio_bus_reset(&r->bus, &config);
    r->v = &r->bus.slot[slot];
    r->mem = (struct virtio_memory){.ctx = r, .read = rig_read, .writable = rig_writable};
    r->image = (struct virtio_disk){.ctx = r, .read = rig_disk_read, .write = rig_disk_write};
    r->read_only_page = UINT64_MAX;
    for (uint32_t i = 0; i < sizeof(r->disk); i++)
        r->disk[i] = (uint8_t)(i * 7 + i / VIRTIO_SECTOR);
}

/* As a driver brings the device up, all queues with `size` entries. */
static inline void rig_start(struct rig *r, uint32_t slot, uint32_t size)
{
    rig_power(r, slot);
    virtio_config_write(&r->bus, slot, 0x04, 2, 6);
    set_reg(r, 0x14, 1, 0);
    set_reg(r, 0x14, 1, 3);
    rig_features(r, r->v->offered);
    assert_int_equal(reg(r, 0x14, 1), 11);
    for (uint32_t q = 0; q < r->v->queue_count; q++)
        rig_queue(r, q, size);
    set_reg(r, 0x14, 1, 15);
    assert_int_equal(reg(r, 0x14, 1), 15);
}

/* ---- Rings ---- */

static inline void desc(struct rig *r, uint32_t q, uint32_t index, uint64_t address, uint32_t length,
                        uint32_t flags, uint32_t next)
{
    uint8_t *d = r->memory + RIG_DESC(q) + 16 * index;

    put(d, address, 8);
    put(d + 8, length, 4);
    put(d + 12, flags, 2);
    put(d + 14, next, 2);
}

/* Makes the chain at `head` available. */
static inline void offer(struct rig *r, uint32_t q, uint32_t head)
{
    uint8_t *driver = r->memory + RIG_DRIVER(q);
    uint32_t index = (uint32_t)get(driver + 2, 2);

    put(driver + 4 + 2 * (index % r->v->queue[q].size), head, 2);
    put(driver + 2, index + 1, 2);
}

static inline void notify(struct rig *r, uint32_t q)
{
    set_reg(r, VIRTIO_BAR_NOTIFY + 4 * q, 2, q);
}

static inline uint32_t used_index(const struct rig *r, uint32_t q)
{
    return (uint32_t)get(r->memory + RIG_DEVICE(q) + 2, 2);
}

/* Entry `index` of the used ring: the chain's head, and the bytes written. */
static inline uint32_t used_head(const struct rig *r, uint32_t q, uint32_t index)
{
    return (uint32_t)get(r->memory + RIG_DEVICE(q) + 4 + 8 * (index % r->v->queue[q].size), 4);
}

static inline uint32_t used_length(const struct rig *r, uint32_t q, uint32_t index)
{
    return (uint32_t)get(r->memory + RIG_DEVICE(q) + 8 + 8 * (index % r->v->queue[q].size), 4);
}

/* ---- Plans ---- */

/* Makes a plan: nothing but the plan changes, and a second one is the same. */
static inline void prepare(struct rig *r)
{
    static struct rig before;
    static struct virtio_plan again;

    memcpy(&before, r, offsetof(struct rig, plan));
    virtio_prepare(r->v, &r->mem, &r->image, &r->plan);
    assert_memory_equal(&before, r, offsetof(struct rig, plan));
    virtio_prepare(r->v, &r->mem, &r->image, &again);
    assert_int_equal(again.write_count, r->plan.write_count);
    assert_int_equal(again.data_bytes, r->plan.data_bytes);
    assert_memory_equal(&again.after, &r->plan.after, sizeof(again.after));
    assert_memory_equal(again.data, r->plan.data, again.data_bytes);
}

/* What a commit does with a plan. */
static inline void apply(struct rig *r)
{
    assert_true(virtio_plan_holds(&r->plan, r->v));
    for (uint32_t i = 0; i < r->plan.write_count; i++) {
        const struct virtio_write *w = &r->plan.write[i];
        assert_true(w->length && (w->address & PAGE_MASK) + w->length <= PAGE_SIZE);
        assert_true(rig_writable(r, w->address) && w->offset + w->length <= r->plan.data_bytes);
        memcpy(r->memory + w->address, r->plan.data + w->offset, w->length);
    }
    virtio_apply(r->v, &r->plan, &r->image);
}

/* All there is to do; the number of plans that it took. */
static inline uint32_t run(struct rig *r)
{
    uint32_t plans = 0;

    while (virtio_has_work(r->v)) {
        prepare(r);
        apply(r);
        assert_true(++plans < 1000);
    }
    return plans;
}

#endif
