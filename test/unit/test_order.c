#include "test/unit/replay_rig.h"

#include "hv/base/digest.h"

static void init_gives_each_page_a_frame(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    for (uint32_t gpn = 0; gpn < RIG_PAGES; gpn++) {
        assert_int_equal(rig->table[gpn].frame, gpn);
        assert_int_equal(rig->table[gpn].seq, 0);
    }
    assert_int_equal(order_seq(&rig->order), 0);
    assert_int_equal(rig->pool.free_count, RIG_FRAMES - RIG_PAGES);
    rig_delete(rig);
}

/*
 * With every actor at rest, frames are held by the table and by the copies that the actors keep: with a
 * smaller pool they could all wait for frames for ever.
 */
static void init_refuses_a_pool_that_could_run_dry(void **state)
{
    uint32_t least = RIG_PAGES + RIG_ACTORS * RIG_CHUNK_PAGES + 4;
    struct rig *rig = calloc(1, sizeof(*rig));
    struct order_config config = rig_config(rig);

    (void)state;
    rig->memory = aligned_alloc(PAGE_SIZE, (size_t)least * PAGE_SIZE);
    frames_init(&rig->pool, rig->memory, rig->stack, least - 1, 0);
    assert_false(order_init(&rig->order, &config));
    frames_init(&rig->pool, rig->memory, rig->stack, least, 0);
    assert_true(order_init(&rig->order, &config));
    config.recording = true;
    frames_init(&rig->pool, rig->memory, rig->stack, least - RIG_ACTORS * RIG_CHUNK_PAGES / 2 - 1, 0);
    assert_false(order_init(&rig->order, &config));
    frames_init(&rig->pool, rig->memory, rig->stack, least - RIG_ACTORS * RIG_CHUNK_PAGES / 2, 0);
    assert_true(order_init(&rig->order, &config));
    rig_delete(rig);
}

static void append(struct rig *rig, uint64_t seq, uint32_t gpn)
{
    spin_lock(&rig->order.lock);
    order_append(&rig->order, seq, 0, gpn, frame_alloc(&rig->pool, false));
    order_publish(&rig->order, seq, seq * 3);
    spin_unlock(&rig->order.lock);
}

static void replaced_frames_live_until_all_are_past(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint32_t free_frames = rig->pool.free_count;

    (void)state;
    order_rejoin(&rig->order, 0);
    order_rejoin(&rig->order, 1);
    append(rig, 1, 3);
    append(rig, 2, 3);
    assert_int_equal(rig->table[3].seq, 2);
    assert_int_equal(order_entry(&rig->order, 0)->old_frame, 3);
    assert_true(order_has_room(&rig->order));
    assert_int_equal(rig->pool.free_count, free_frames - 2);
    order_advance(&rig->order, 0, 2);
    order_advance(&rig->order, 1, 1);
    order_has_room(&rig->order);
    assert_int_equal(rig->order.tail, 1);
    assert_int_equal(rig->pool.free_count, free_frames - 1);
    order_advance(&rig->order, 1, 2);
    order_has_room(&rig->order);
    assert_int_equal(rig->pool.free_count, free_frames);
    rig_delete(rig);
}

/* A running view holds the list; at rest it is parked, loses its place and is told so. */
static void who_rests_is_parked_and_told(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t seq = 0;

    (void)state;
    order_rejoin(&rig->order, 0);
    for (; order_has_room(&rig->order); seq++)
        append(rig, seq + 1, (uint32_t)seq % RIG_PAGES);
    assert_int_equal(seq, RIG_RING - (RIG_ACTORS + 1) * RIG_CHUNK_PAGES + 1);
    assert_true(order_room_wanted(&rig->order));
    assert_int_equal(rig->order.tail, 0);
    order_rest(&rig->order, 0);
    assert_true(order_has_room(&rig->order));
    assert_false(order_room_wanted(&rig->order));
    assert_int_equal(rig->order.tail, seq);
    assert_false(order_wake(&rig->order, 0));
    assert_int_equal(order_rejoin(&rig->order, 0), seq);
    order_rest(&rig->order, 0);
    assert_true(order_wake(&rig->order, 0));
    rig_delete(rig);
}

static void short_frames_park_whoever_rests_behind(void **state)
{
    uint32_t least = RIG_PAGES + RIG_ACTORS * RIG_CHUNK_PAGES + 4;
    struct rig *rig = rig_new(least, 0);
    uint64_t seq = 0;

    (void)state;
    order_rejoin(&rig->order, 0);
    order_rejoin(&rig->order, 1);
    for (; rig->pool.free_count >= 4; seq++)
        append(rig, seq + 1, 0);
    order_advance(&rig->order, 1, seq);
    order_rest(&rig->order, 1);
    assert_false(order_has_room(&rig->order));
    order_rest(&rig->order, 0);
    assert_true(order_has_room(&rig->order));
    assert_int_equal(rig->pool.free_count, least - RIG_PAGES);
    assert_true(rig->order.place[0].parked);
    assert_false(rig->order.place[1].parked);
    rig_delete(rig);
}

/* Frames also come back without anyone's asking: then nobody shall make way any longer. */
static void room_that_came_back_is_not_wanted(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint32_t taken[RIG_FRAMES], count = 0;

    (void)state;
    for (; rig->pool.free_count >= 4; count++)
        taken[count] = frame_alloc(&rig->pool, false);
    assert_false(order_has_room(&rig->order));
    assert_true(order_room_wanted(&rig->order));
    while (count > 0)
        frame_free(&rig->pool, taken[--count]);
    assert_true(order_has_room(&rig->order));
    assert_false(order_room_wanted(&rig->order));
    rig_delete(rig);
}

static void token_is_one_actors_at_a_time(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct commit_order *order = &rig->order;

    (void)state;
    assert_true(order_may_commit(order, 0));
    assert_true(order_take_token(order, 1));
    assert_true(order_take_token(order, 1));
    assert_false(order_take_token(order, 0));
    assert_false(order_may_commit(order, 0));
    assert_true(order_may_commit(order, 1));
    order_drop_token(order, 0);
    assert_false(order_may_commit(order, 0));
    order_drop_token(order, 1);
    assert_true(order_may_commit(order, 0));
    rig_delete(rig);
}

/* Both halves of the running digest are worth their bits: each depends on the latest commit's digest. */
static void running_digest_uses_both_halves(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    for (uint32_t bit = 0; bit < 64; bit++) {
        uint64_t a = order_next_digest(&rig->order, 1, 0x1234567);
        uint64_t b = order_next_digest(&rig->order, 1, 0x1234567 ^ UINT64_C(1) << bit);
        assert_int_not_equal((uint32_t)a, (uint32_t)b);
        assert_int_not_equal(a >> 32, b >> 32);
        /* And not in the same way, or the halves would hold the same 32 bits twice. */
        assert_int_not_equal((uint32_t)(a ^ b), (a ^ b) >> 32);
    }
    assert_int_not_equal(order_next_digest(&rig->order, 1, 5), order_next_digest(&rig->order, 2, 5));
    rig_delete(rig);
}

static void running_digest_continues(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t first;

    (void)state;
    first = order_next_digest(&rig->order, 1, 99);
    order_publish(&rig->order, 1, 99);
    assert_int_equal(rig->order.digest, first);
    assert_int_equal(order_seq(&rig->order), 1);
    order_publish(&rig->order, 2, 99);
    assert_int_not_equal(rig->order.digest, first);
    rig_delete(rig);
}

/* Where pages lie in the pool is nobody's business. */
static void memory_digest_is_of_contents(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0), *other = rig_new(RIG_FRAMES, 0);
    uint64_t before = order_memory_digest(&rig->order);

    (void)state;
    rig_store(rig, 0, 1, 5);
    rig_store(rig, 1, 2, 6);
    rig_store(other, 1, 2, 6);
    rig_store(other, 0, 1, 5);
    assert_int_not_equal(rig->table[1].frame, other->table[1].frame);
    assert_int_equal(order_memory_digest(&rig->order), order_memory_digest(&other->order));
    assert_int_not_equal(order_memory_digest(&rig->order), before);
    rig_delete(rig);
    rig_delete(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_gives_each_page_a_frame),
        cmocka_unit_test(init_refuses_a_pool_that_could_run_dry),
        cmocka_unit_test(replaced_frames_live_until_all_are_past),
        cmocka_unit_test(who_rests_is_parked_and_told),
        cmocka_unit_test(short_frames_park_whoever_rests_behind),
        cmocka_unit_test(room_that_came_back_is_not_wanted),
        cmocka_unit_test(token_is_one_actors_at_a_time),
        cmocka_unit_test(running_digest_uses_both_halves),
        cmocka_unit_test(running_digest_continues),
        cmocka_unit_test(memory_digest_is_of_contents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
