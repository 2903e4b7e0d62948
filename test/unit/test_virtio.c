/* Virtqueues, the block and the entropy device. */
#include "test/unit/virtio_rig.h"

#define HEADER (RIG_DATA)
#define STATUS (RIG_DATA + 0x20)
#define DATA   (RIG_DATA + 0x1000)

static struct rig rig;

static struct rig *blk(void)
{
    rig_start(&rig, VIRTIO_SLOT_BLK, RIG_SIZE);
    return &rig;
}

/* Descriptors 0..2: a request with one segment of data; `flags` of that. Nothing is offered. */
static void request(struct rig *r, uint32_t type, uint64_t sector, uint32_t bytes, uint32_t flags)
{
    put(r->memory + HEADER, type, 8);
    put(r->memory + HEADER + 8, sector, 8);
    r->memory[STATUS] = 0xEE;
    desc(r, 0, 0, HEADER, 16, DESC_NEXT, 1);
    desc(r, 0, 1, DATA, bytes, flags | DESC_NEXT, 2);
    desc(r, 0, 2, STATUS, 1, DESC_WRITE, 0);
}

static uint32_t go(struct rig *r)
{
    offer(r, 0, 0);
    notify(r, 0);
    run(r);
    return r->memory[STATUS];
}

static void assert_broken(struct rig *r)
{
    assert_int_equal(reg(r, 0x14, 1), 15 | VIRTIO_S_NEEDS_RESET);
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1) & 2, 2);
    assert_false(virtio_has_work(r->v));
    notify(r, 0);
    assert_false(virtio_has_work(r->v));
}

/* ---- The block device ---- */

static void test_read(void **state)
{
    struct rig *r = blk();

    (void)state;
    request(r, 0, 3, 1024, DESC_WRITE);
    assert_int_equal(go(r), 0);
    assert_memory_equal(r->memory + DATA, r->disk + 3 * 512, 1024);
    assert_int_equal(r->memory[DATA + 1024], 0);
    assert_int_equal(used_index(r, 0), 1);
    assert_int_equal(used_head(r, 0, 0), 0);
    assert_int_equal(used_length(r, 0, 0), 1025);
    assert_true(virtio_intx(r->v));
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1), 1);
    assert_false(virtio_intx(r->v));
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1), 0);
}

static void test_write_and_flush(void **state)
{
    struct rig *r = blk();

    (void)state;
    memset(r->memory + DATA, 0x5A, 512);
    request(r, 1, RIG_SECTORS - 1, 512, 0);
    assert_int_equal(go(r), 0);
    assert_memory_equal(r->disk + (RIG_SECTORS - 1) * 512, r->memory + DATA, 512);
    assert_int_equal(used_length(r, 0, 0), 1);
    put(r->memory + HEADER, 4, 4);
    desc(r, 0, 0, HEADER, 16, DESC_NEXT, 2);
    assert_int_equal(go(r), 0);
    assert_int_equal(used_index(r, 0), 2);
}

static void test_get_id(void **state)
{
    struct rig *r = blk();

    (void)state;
    request(r, 8, 0, VIRTIO_BLK_ID, DESC_WRITE);
    assert_int_equal(go(r), 0);
    assert_memory_equal(r->memory + DATA, "a disk of the tests\0\0", 21);
}

static void test_errors(void **state)
{
    static const struct {
        uint32_t type, bytes, flags, status;
        uint64_t sector;
    } rows[] = {
        {0, 512, DESC_WRITE, 1, RIG_SECTORS},
        {0, 512, DESC_WRITE, 1, UINT64_MAX},
        {0, 1024, DESC_WRITE, 1, RIG_SECTORS - 1},
        {0, 511, DESC_WRITE, 1, 0},
        {0, 0, DESC_WRITE, 0, 0},
        {0, VIRTIO_PLAN_DISK + 512, DESC_WRITE, 1, 0},
        {0, UINT32_C(0xFFFFFE00), DESC_WRITE, 1, 0},
        {1, 512, 0, 1, RIG_SECTORS},
        {1, UINT32_C(0xFFFFFE00), 0, 1, 0},
        {1, 513, 0, 1, 0},
        {1, 0, 0, 0, RIG_SECTORS},
        {2, 512, DESC_WRITE, 2, 0},
        {0x80000000, 512, DESC_WRITE, 2, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig *r = blk();
        request(r, rows[i].type, rows[i].sector, rows[i].bytes, rows[i].flags);
        assert_int_equal(go(r), rows[i].status);
        assert_int_equal(r->memory[DATA], 0);
        assert_int_equal(used_index(r, 0), 1);
        assert_true(used_length(r, 0, 0) <= 1);
        assert_int_equal(reg(r, 0x14, 1), 15);
    }
}

static void test_read_only(void **state)
{
    struct virtio_config config = {.disk_sectors = RIG_SECTORS, .disk_read_only = true};
    struct rig *r = blk();
    uint8_t before = r->disk[0];

    (void)state;
    virtio_bus_reset(&r->bus, &config);
    virtio_config_write(&r->bus, VIRTIO_SLOT_BLK, 4, 2, 6);
    rig_features(r, r->v->offered);
    rig_queue(r, 0, RIG_SIZE);
    set_reg(r, 0x14, 1, 15);
    assert_int_equal(r->v->offered & VIRTIO_BLK_F_RO, VIRTIO_BLK_F_RO);
    request(r, 1, 0, 512, 0);
    assert_int_equal(go(r), 1);
    assert_int_equal(r->disk[0], before);
}

/* A read sees what was written before it, though the image has it only when the plan is done. */
static void test_read_after_write(void **state)
{
    struct rig *r = blk();

    (void)state;
    memset(r->memory + DATA, 0x77, 512);
    request(r, 1, 5, 512, 0);
    put(r->memory + HEADER + 16, 0, 8);
    put(r->memory + HEADER + 24, 5, 8);
    desc(r, 0, 3, HEADER + 16, 16, DESC_NEXT, 4);
    desc(r, 0, 4, DATA + 0x1000, 513, DESC_WRITE, 0);
    offer(r, 0, 0);
    offer(r, 0, 3);
    notify(r, 0);
    assert_int_equal(run(r), 2);
    assert_int_equal(used_index(r, 0), 2);
    assert_memory_equal(r->memory + DATA + 0x1000, r->memory + DATA, 512);
    assert_int_equal(r->memory[DATA + 0x1000 + 512], 0);
}

/* The largest request in the smallest pieces that a queue can have. */
static void test_largest_request(void **state)
{
    struct rig *r = &rig;
    uint32_t pieces = VIRTIO_QUEUE_SIZE - 2, left = VIRTIO_PLAN_DISK, part;
    uint64_t address = DATA + 0x1000 - 1;

    (void)state;
    rig_start(r, VIRTIO_SLOT_BLK, VIRTIO_QUEUE_SIZE);
    put(r->memory + HEADER, 0, 8);
    put(r->memory + HEADER + 8, 0, 8);
    desc(r, 0, 0, HEADER, 16, DESC_NEXT, 1);
    for (uint32_t i = 0; i < pieces; i++) {
        part = i < pieces - 16 ? 2 : MIN(4098, left); /* all of them cross a page, the long ones two */
        desc(r, 0, 1 + i, address, part, DESC_NEXT | DESC_WRITE, 2 + i);
        left -= part;
        address = part == 2 ? address : address + 0x1000 > RIG_BYTES - 0x3000 ? address : address + 0x1000;
    }
    assert_int_equal(left, 0);
    desc(r, 0, 1 + pieces, STATUS, 1, DESC_WRITE, 0);
    offer(r, 0, 0);
    notify(r, 0);
    assert_int_equal(run(r), 1);
    assert_int_equal(r->memory[STATUS], 0);
    assert_int_equal(used_length(r, 0, 0), VIRTIO_PLAN_DISK + 1);
    assert_true(r->plan.write_count > 2 * pieces);
}

/* More requests than a plan can hold are done in several, in order. */
static void test_many_requests(void **state)
{
    struct rig *r = blk();

    (void)state;
    put(r->memory + HEADER, 0, 8);
    put(r->memory + HEADER + 8, 1, 8);
    for (uint32_t i = 0; i < RIG_SIZE; i += 2) {
        desc(r, 0, i, HEADER, 16, DESC_NEXT, i + 1);
        desc(r, 0, i + 1, DATA + 0x8000 * (i / 2), 40 * 512 + 1, DESC_WRITE, 0);
        offer(r, 0, i);
    }
    notify(r, 0);
    assert_int_equal(run(r), 2);
    assert_int_equal(used_index(r, 0), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(used_head(r, 0, i), 2 * i);
        assert_memory_equal(r->memory + DATA + 0x8000 * i, r->disk + 512, 40 * 512);
    }
}

/* ---- Queues ---- */

/* Indices run on past the ring's size, and past 65535. */
static void test_indices_wrap(void **state)
{
    struct rig *r = blk();

    (void)state;
    for (uint32_t i = 0; i < 70000; i++) {
        desc(r, 0, 0, HEADER, 16, DESC_NEXT, 2);
        put(r->memory + HEADER, 4, 4);
        desc(r, 0, 2, STATUS, 1, DESC_WRITE, 0);
        offer(r, 0, 0);
        notify(r, 0);
        virtio_prepare(r->v, &r->mem, &r->image, &r->plan);
        apply(r);
    }
    assert_int_equal(used_index(r, 0), 70000 % 65536);
    assert_int_equal(reg(r, 0x14, 1), 15);
}

static void test_conflict_leaves_no_trace(void **state)
{
    struct rig *r = blk();

    (void)state;
    request(r, 0, 0, 512, DESC_WRITE);
    offer(r, 0, 0);
    notify(r, 0);
    prepare(r);
    assert_true(virtio_plan_holds(&r->plan, r->v));
    set_reg(r, 0x14, 1, 0); /* the driver resets the device meanwhile */
    assert_false(virtio_plan_holds(&r->plan, r->v));
    assert_false(virtio_has_work(r->v));
    assert_int_equal(used_index(r, 0), 0);
    assert_int_equal(reg(r, 0x1C, 2), 0);
}

static void test_no_interrupt_wanted(void **state)
{
    struct rig *r = blk();

    (void)state;
    put(r->memory + RIG_DRIVER(0), 1, 2);
    request(r, 0, 0, 512, DESC_WRITE);
    assert_int_equal(go(r), 0);
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1), 0);
}

/* Without leave to master the bus the device waits. */
static void test_bus_master(void **state)
{
    struct rig *r = blk();

    (void)state;
    virtio_config_write(&r->bus, VIRTIO_SLOT_BLK, 4, 2, 2);
    request(r, 0, 0, 512, DESC_WRITE);
    assert_int_equal(go(r), 0xEE);
    prepare(r);
    assert_int_equal(r->plan.write_count, 0);
    virtio_config_write(&r->bus, VIRTIO_SLOT_BLK, 4, 2, 6);
    run(r);
    assert_int_equal(r->memory[STATUS], 0);
}

static void loop(struct rig *r)
{
    desc(r, 0, 2, STATUS, 1, DESC_WRITE | DESC_NEXT, 2);
}

static void indirect(struct rig *r)
{
    desc(r, 0, 0, DATA, 32, DESC_INDIRECT, 0);
}

static void next_too_large(struct rig *r)
{
    desc(r, 0, 1, DATA, 512, DESC_WRITE | DESC_NEXT, RIG_SIZE);
}

static void readable_after_writable(struct rig *r)
{
    desc(r, 0, 2, STATUS, 1, 0, 0);
}

static void no_status(struct rig *r)
{
    desc(r, 0, 0, HEADER, 16, 0, 0);
}

static void short_header(struct rig *r)
{
    desc(r, 0, 0, HEADER, 15, DESC_NEXT, 1);
}

static void header_nowhere(struct rig *r)
{
    desc(r, 0, 0, UINT64_MAX - 7, 16, DESC_NEXT, 1);
}

static void data_nowhere(struct rig *r)
{
    desc(r, 0, 1, RIG_BYTES - 256, 512, DESC_WRITE | DESC_NEXT, 2);
}

static void data_read_only(struct rig *r)
{
    r->read_only_page = DATA / PAGE_SIZE;
}

static void used_read_only(struct rig *r)
{
    r->read_only_page = RIG_DEVICE(0) / PAGE_SIZE;
}

static void longer_than_memory(struct rig *r)
{
    desc(r, 0, 1, 0, UINT32_MAX, DESC_WRITE | DESC_NEXT, 2);
    desc(r, 0, 2, 0, UINT32_MAX, DESC_WRITE, 0);
}

static void too_much_available(struct rig *r)
{
    put(r->memory + RIG_DRIVER(0) + 2, RIG_SIZE + 1, 2);
}

static void bad_head(struct rig *r)
{
    put(r->memory + RIG_DRIVER(0) + 4, 0xFFFF, 2);
}

static void out_data_nowhere(struct rig *r)
{
    put(r->memory + HEADER, 1, 4);
    desc(r, 0, 1, UINT64_C(1) << 63, 512, DESC_NEXT, 2);
}

static void test_broken_rules(void **state)
{
    static void (*const harm[])(struct rig *) = {
        loop,           indirect,     next_too_large,     readable_after_writable, no_status,
        short_header,   data_nowhere, data_read_only,     used_read_only,          longer_than_memory,
        header_nowhere, bad_head,     too_much_available, out_data_nowhere,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(harm); i++) {
        struct rig *r = blk();
        request(r, 0, 0, 512, DESC_WRITE);
        offer(r, 0, 0);
        harm[i](r);
        notify(r, 0);
        assert_int_equal(run(r), 1);
        assert_int_equal(used_index(r, 0), 0);
        assert_int_equal(r->memory[STATUS], 0xEE);
        assert_int_equal(r->plan.write_count, 0);
        assert_broken(r);
        set_reg(r, 0x14, 1, 0);
        assert_int_equal(reg(r, 0x14, 1), 0);
    }
}

/* What was done before the bad chain stays done, and the driver hears of both. */
static void test_good_then_bad(void **state)
{
    struct rig *r = blk();

    (void)state;
    request(r, 0, 0, 512, DESC_WRITE);
    offer(r, 0, 0);
    offer(r, 0, 700);
    notify(r, 0);
    assert_int_equal(run(r), 1);
    assert_int_equal(used_index(r, 0), 1);
    assert_int_equal(r->memory[STATUS], 0);
    assert_int_equal(reg(r, 0x14, 1), 15 | VIRTIO_S_NEEDS_RESET);
    assert_int_equal(reg(r, VIRTIO_BAR_ISR, 1), 3);
}

static void test_queue_without_memory(void **state)
{
    struct rig *r = blk();

    (void)state;
    set_reg(r, 0x14, 1, 0);
    rig_features(r, VIRTIO_F_VERSION_1);
    set_reg(r, 0x20, 8, BIT(63));
    set_reg(r, 0x28, 8, BIT(63));
    set_reg(r, 0x30, 8, BIT(63));
    set_reg(r, 0x1C, 2, 1);
    assert_int_equal(reg(r, 0x1C, 2), 1);
    set_reg(r, 0x14, 1, 15);
    notify(r, 0);
    run(r);
    assert_broken(r);
}

/* ---- The entropy device ---- */

static void test_rng(void **state)
{
    struct rig *r = &rig;
    struct vrandom twin;
    uint64_t word;

    (void)state;
    rig_start(r, VIRTIO_SLOT_RNG, RIG_SIZE);
    twin = r->v->rng;
    desc(r, 0, 0, DATA, 20, DESC_WRITE, 0);
    desc(r, 0, 1, DATA + 0x100, UINT32_MAX, DESC_WRITE, 0);
    desc(r, 0, 2, DATA, 8, 0, 0);
    for (uint32_t i = 0; i < 3; i++)
        offer(r, 0, i);
    notify(r, 0);
    assert_int_equal(run(r), 1);
    assert_int_equal(used_index(r, 0), 3);
    assert_int_equal(used_length(r, 0, 0), 20);
    assert_int_equal(used_length(r, 0, 1), 256);
    assert_int_equal(used_length(r, 0, 2), 0);
    word = vrandom_next(&twin);
    assert_memory_equal(r->memory + DATA, &word, 8);
    vrandom_next(&twin);
    word = vrandom_next(&twin);
    assert_memory_equal(r->memory + DATA + 16, &word, 4);
    assert_int_equal(r->memory[DATA + 20], 0);
    word = vrandom_next(&twin);
    assert_memory_equal(r->memory + DATA + 0x100, &word, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_write_and_flush),
        cmocka_unit_test(test_get_id),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_read_after_write),
        cmocka_unit_test(test_largest_request),
        cmocka_unit_test(test_many_requests),
        cmocka_unit_test(test_indices_wrap),
        cmocka_unit_test(test_conflict_leaves_no_trace),
        cmocka_unit_test(test_no_interrupt_wanted),
        cmocka_unit_test(test_bus_master),
        cmocka_unit_test(test_broken_rules),
        cmocka_unit_test(test_good_then_bad),
        cmocka_unit_test(test_queue_without_memory),
        cmocka_unit_test(test_rng),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
