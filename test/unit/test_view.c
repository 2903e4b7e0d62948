#include "test/unit/replay_rig.h"

static struct view *view_of(struct rig *rig, uint32_t actor)
{
    return &rig->actor[actor].view;
}

static void a_chunk_sees_its_snapshot(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    assert_int_equal(view_begin(view_of(rig, 0)), 0);
    assert_int_equal(rig_store(rig, 1, 2, 77), 1);
    assert_int_equal(rig_read(rig, 0, 2), 0);
    rig_collect(rig, 0);
    view_squash(view_of(rig, 0));
    assert_int_equal(view_begin(view_of(rig, 0)), 1);
    assert_int_equal(rig_read(rig, 0, 2), 77);
    assert_int_equal(view_of(rig, 0)->page[2].seq, 1);
    assert_false(rig->actor[0].map[2].writable);
    rig_delete(rig);
}

static void a_view_that_joined_is_not_built_again(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_join(view_of(rig, 0));
    assert_false(rig->order.place[0].parked);
    assert_true(rig->order.place[0].resting);
    rig_store(rig, 1, 2, 77);
    assert_int_equal(view_begin(view_of(rig, 0)), 1);
    assert_int_equal(view_of(rig, 0)->counters.rebuilds, 1);
    assert_int_equal(rig_read(rig, 0, 2), 77);
    rig_delete(rig);
}

static void stores_are_private_until_the_commit(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_write(rig, 0, 3, 5);
    view_begin(view_of(rig, 1));
    assert_int_equal(rig_read(rig, 1, 3), 0);
    assert_int_equal(*(uint64_t *)view_data(view_of(rig, 0), 3), 5);
    rig_commit(rig, 0);
    assert_false(rig->actor[0].map[3].writable);
    assert_int_equal(rig->actor[0].map[3].frame, rig->table[3].frame);
    assert_int_equal(*(uint64_t *)frame_data(&rig->pool, rig->table[3].frame), 5);
    rig_delete(rig);
}

static void a_changed_page_of_the_read_set_is_a_conflict(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 1);
    rig_write(rig, 0, 2, 9);
    rig_store(rig, 1, 1, 4);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_CONFLICT);
    view_squash(view_of(rig, 0));
    view_begin(view_of(rig, 0));
    assert_int_equal(rig_read(rig, 0, 1), 4);
    assert_int_equal(rig_read(rig, 0, 2), 0);
    /* The squashed chunk's copy stays, with the base's content. */
    assert_true(view_has_copy(view_of(rig, 0), 2));
    rig_delete(rig);
}

/* The conflict of a chunk that read page 1, or stored to word `word` of it, with a store to its word 0. */
static enum view_cause cause_of_conflict(bool write, uint32_t word, bool table)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);
    enum view_cause cause;

    view_begin(view);
    assert_int_equal(view->conflict.cause, VIEW_CAUSE_NONE);
    rig_read(rig, 0, 1);
    if (table)
        view_note_table(view, 1);
    if (write) {
        rig_write(rig, 0, 1, 0);
        ((uint64_t *)view_data(view, 1))[word] = 5;
    }
    rig_store(rig, 1, 1, 4);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view), VIEW_CONFLICT);
    cause = view->conflict.cause;
    view_squash(view);
    rig_delete(rig);
    return cause;
}

static void a_conflict_has_a_cause(void **state)
{
    (void)state;
    assert_int_equal(cause_of_conflict(false, 0, false), VIEW_CAUSE_READ);
    assert_int_equal(cause_of_conflict(true, 0, false), VIEW_CAUSE_WORDS);
    assert_int_equal(cause_of_conflict(true, 1, false), VIEW_CAUSE_PAGE);
    assert_int_equal(cause_of_conflict(true, 0, true), VIEW_CAUSE_TABLE);
}

/* What the log tells of a conflict: which page, whose commit, which word; and who changed the page how often.
 */
static void a_conflict_has_a_place(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);

    (void)state;
    view_begin(view);
    rig_read(rig, 0, 2);
    rig_write(rig, 0, 1, 3);
    view_begin(view_of(rig, 1));
    rig_write(rig, 1, 1, 0);
    ((uint64_t *)view_data(view_of(rig, 1), 1))[40] = 4;
    rig_commit(rig, 1);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view), VIEW_CONFLICT);
    assert_int_equal(view->conflict.gpn, 1);
    assert_int_equal(view->conflict.actor, 1);
    assert_int_equal(view->conflict.word, 40);
    assert_int_equal(view->page[1].writes, 0);
    assert_int_equal(view_of(rig, 1)->page[1].writes, 1);
    view_squash(view);
    assert_int_equal(view->page[1].writes, 0);
    rig_delete(rig);
}

static void pages_not_read_do_not_conflict(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_write(rig, 0, 2, 9);
    rig_store(rig, 1, 1, 4);
    assert_int_equal(rig_commit(rig, 0), 2);
    assert_int_equal(view_of(rig, 0)->newest, 0);
    rig_delete(rig);
}

static void a_silent_store_is_no_write_but_a_read(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_write(rig, 0, 2, 8);
    rig_write(rig, 0, 2, 0);
    rig_commit(rig, 0);
    assert_int_equal(rig->order.head, 0);
    assert_int_equal(order_seq(&rig->order), 1);

    view_begin(view_of(rig, 0));
    assert_true(rig->actor[0].map[2].writable); /* the copy stayed: no exit, no copying */
    rig_write(rig, 0, 2, 0);
    assert_int_equal(view_of(rig, 0)->counters.copies, 1);
    rig_store(rig, 1, 2, 6);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_CONFLICT);
    rig_delete(rig);
}

/* A value that went and came back: valid, but E is the latest commit, as in between it was another. */
static void a_value_that_came_back_is_valid_from_its_return(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t seq;

    (void)state;
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 1);
    rig_store(rig, 1, 1, 4);
    rig_store(rig, 1, 1, 0);
    rig_store(rig, 1, 3, 1);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_VALID);
    assert_int_equal(view_commit_enter(view_of(rig, 0), &seq), VIEW_ENTERED);
    assert_int_equal(seq, 4);
    assert_int_equal(view_of(rig, 0)->newest, 2);
    assert_int_equal(view_of(rig, 0)->counters.value_saves, 1);
    view_commit_leave(view_of(rig, 0), seq, 0);
    rig_delete(rig);
}

/* What a spinner waits for: another's commit of a page that it read; not its own, nor of other pages. */
static void a_view_is_overtaken_by_commits_of_pages_it_read(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 1);
    rig_write(rig, 0, 3, 1);
    rig_store(rig, 1, 4, 1);
    rig_commit(rig, 0);
    assert_false(view_overtaken(view_of(rig, 0)));
    rig_store(rig, 1, 2, 1);
    assert_false(view_overtaken(view_of(rig, 0)));
    rig_store(rig, 1, 1, 1);
    assert_true(view_overtaken(view_of(rig, 0)));

    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 2);
    rig_commit(rig, 0);
    assert_false(view_overtaken(view_of(rig, 0)));
    order_rest(&rig->order, 0);
    assert_true(view_overtaken(view_of(rig, 0)));
    rig_delete(rig);
}

static void newest_counts_own_commits_and_read_versions(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    rig_store(rig, 0, 0, 1);
    rig_store(rig, 1, 1, 1);
    rig_store(rig, 1, 2, 1);
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 1);
    assert_int_equal(rig_commit(rig, 0), 4);
    assert_int_equal(view_of(rig, 0)->newest, 2);
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 2);
    rig_commit(rig, 0);
    assert_int_equal(view_of(rig, 0)->newest, 4);
    rig_delete(rig);
}

static void what_was_committed_after_validation_is_validated_again(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t seq = 0;

    (void)state;
    view_begin(view_of(rig, 0));
    rig_read(rig, 0, 1);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_VALID);
    rig_store(rig, 1, 4, 1); /* not read: no reason to look again */
    assert_int_equal(view_commit_enter(view_of(rig, 0), &seq), VIEW_ENTERED);
    spin_unlock(&rig->order.lock);
    rig_store(rig, 1, 1, 1);
    assert_int_equal(view_commit_enter(view_of(rig, 0), &seq), VIEW_AGAIN);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_CONFLICT);
    rig_delete(rig);
}

static void the_token_bars_others(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t seq = 0;

    (void)state;
    view_begin(view_of(rig, 0));
    rig_write(rig, 0, 1, 3);
    rig_collect(rig, 0);
    assert_int_equal(view_validate(view_of(rig, 0)), VIEW_VALID);
    assert_true(order_take_token(&rig->order, 1));
    assert_int_equal(view_commit_enter(view_of(rig, 0), &seq), VIEW_BARRED);
    rig_store(rig, 1, 2, 3);
    order_drop_token(&rig->order, 1);
    assert_int_equal(view_commit_enter(view_of(rig, 0), &seq), VIEW_ENTERED);
    assert_int_equal(seq, 2);
    view_commit_leave(view_of(rig, 0), seq, 0);
    rig_delete(rig);
}

static void a_recorded_chunk_has_half_of_the_copies(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    for (uint32_t gpn = 0; gpn < RIG_CHUNK_PAGES / 2; gpn++)
        assert_int_equal(rig_write(rig, 0, gpn, 1), VIEW_FAULT_COPIED);
    assert_int_equal(rig_write(rig, 0, RIG_CHUNK_PAGES / 2, 1), VIEW_FAULT_FULL);
    rig_commit(rig, 0);
    rig_delete(rig);
}

/*
 * Replay may hold copies that the recording did not: they must not end a chunk early. Here each page
 * was stored to without a change, so all copies stay.
 */
static void kept_copies_never_end_a_replayed_chunk(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);

    (void)state;
    view->from_reserve = true;
    view_begin(view);
    for (uint32_t gpn = 0; gpn < RIG_CHUNK_PAGES; gpn++) /* it ran too far, and is squashed */
        assert_int_equal(rig_write(rig, 0, gpn, 0), VIEW_FAULT_COPIED);
    rig_collect(rig, 0);
    view_squash(view);
    view_begin(view);
    assert_int_equal(view->copy_count, RIG_CHUNK_PAGES / 2);
    for (uint32_t gpn = 0; gpn < RIG_PAGES; gpn++) {
        assert_int_equal(rig->actor[0].map[gpn].writable, view_has_copy(view, gpn));
        assert_int_equal(rig_read(rig, 0, gpn), 0);
    }
    for (uint32_t i = 1; i <= RIG_CHUNK_PAGES / 2; i++)
        assert_int_equal(rig_write(rig, 0, RIG_PAGES - i, 1), VIEW_FAULT_COPIED);
    rig_commit(rig, 0);
    rig_delete(rig);
}

static void without_frames_nothing_is_copied(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint32_t frame = FRAME_NONE;

    (void)state;
    view_begin(view_of(rig, 0));
    while (rig->pool.free_count > 0)
        frame = frame_alloc(&rig->pool, false);
    assert_int_equal(rig_write(rig, 0, 1, 1), VIEW_FAULT_NO_FRAME);
    assert_false(view_has_copy(view_of(rig, 0), 1));
    assert_int_equal(view_of(rig, 0)->counters.no_frame, 1);
    frame_free(&rig->pool, frame);
    assert_int_equal(rig_write(rig, 0, 1, 1), VIEW_FAULT_COPIED);
    assert_int_equal(view_of(rig, 0)->counters.no_frame, 1);
    rig_commit(rig, 0);
    rig_delete(rig);
}

static void the_reserve_is_replays(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 3);

    (void)state;
    view_begin(view_of(rig, 0));
    while (frame_alloc(&rig->pool, false) != FRAME_NONE)
        ;
    assert_int_equal(rig_write(rig, 0, 1, 1), VIEW_FAULT_NO_FRAME);
    view_of(rig, 0)->from_reserve = true;
    assert_int_equal(rig_write(rig, 0, 1, 1), VIEW_FAULT_COPIED);
    rig_delete(rig);
}

static void pages_written_often_are_copied_ahead_and_given_back(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);
    uint32_t free_frames;

    (void)state;
    for (uint64_t i = 1; i <= VIEW_HEAT_AHEAD; i++)
        rig_store(rig, 0, 1, i);
    assert_int_equal(view->counters.copies_ahead, 0);
    view_begin(view);
    assert_int_equal(view->counters.copies_ahead, 1);
    assert_true(rig->actor[0].map[1].writable);
    assert_int_equal(rig_read(rig, 0, 1), VIEW_HEAT_AHEAD);
    rig_commit(rig, 0);
    order_rest(&rig->order, 0);
    order_has_room(&rig->order);
    free_frames = rig->pool.free_count;
    for (uint32_t i = 0; i < 2 * VIEW_HEAT_AHEAD; i++) {
        view_begin(view);
        rig_read(rig, 0, 0);
        rig_commit(rig, 0);
    }
    assert_false(view_has_copy(view, 1));
    assert_false(rig->actor[0].map[1].writable);
    order_has_room(&rig->order);
    assert_true(rig->pool.free_count > free_frames);
    assert_int_equal(rig->pool.free_count, RIG_FRAMES - RIG_PAGES);
    rig_delete(rig);
}

static void a_parked_view_keeps_only_what_is_still_true(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);

    (void)state;
    view_begin(view);
    rig_write(rig, 0, 1, 0);
    rig_write(rig, 0, 2, 0);
    rig_commit(rig, 0);
    order_rest(&rig->order, 0);
    rig->order.place[0].parked = true;
    rig_store(rig, 1, 2, 9);
    rig_store(rig, 1, 3, 9);
    order_rest(&rig->order, 1);
    rig->order.place[1].parked = true;
    order_has_room(&rig->order);
    assert_int_equal(rig->order.tail, rig->order.head);

    view_begin(view);
    assert_int_equal(view->counters.rebuilds, 2);
    assert_true(view_has_copy(view, 1));
    assert_false(view_has_copy(view, 2));
    for (uint32_t gpn = 0; gpn < RIG_PAGES; gpn++)
        assert_int_equal(rig_read(rig, 0, gpn), gpn == 2 || gpn == 3 ? 9 : 0);
    rig_write(rig, 0, 2, 10);
    rig_commit(rig, 0);
    assert_int_equal(view->newest, 3);
    rig_delete(rig);
}

static bool is_dirty(void *ctx, uint32_t gpn)
{
    return ((struct rig_actor *)ctx)->map[gpn].dirty;
}

/* A recorded chunk that sets an accessed bit alone lists it; a replayed one gets it, or loses one of its own.
 */
static void accessed_bits_are_listed_and_settled(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *recorded = view_of(rig, 0), *replayed = view_of(rig, 1);
    struct accessed_page page = {0};
    const uint8_t *at = NULL;

    (void)state;
    rig_store(rig, 1, 2, 0x3003);
    view_begin(recorded);
    rig_write(rig, 0, 2, 0x3023);
    rig_collect(rig, 0);
    assert_int_equal(recorded->write_count, 1);
    assert_int_equal(view_write_digest(recorded), 0);
    assert_false(recorded->accessed_full);

    view_begin(replayed);
    view_expect_accessed(replayed, recorded->accessed.bytes, recorded->accessed.used);
    assert_true(view_listed(replayed, &at, &page));
    assert_int_equal(page.gpn, 2);
    assert_false(view_listed(replayed, &at, &page));
    rig_write(rig, 1, 2, 0x3003); /* as chunk_write_accessed() does */
    rig_collect(rig, 1);
    assert_int_equal(*(uint64_t *)view_data(replayed, 2), 0x3023);
    assert_int_equal(replayed->write_count, 1);
    assert_int_equal(view_write_digest(replayed), 0);
    view_squash(replayed);

    view_begin(replayed);
    view_expect_accessed(replayed, recorded->accessed.bytes, 0);
    rig_write(rig, 1, 2, 0x3023);
    rig_collect(rig, 1);
    assert_int_equal(*(uint64_t *)view_data(replayed, 2), 0x3003);
    assert_int_equal(replayed->write_count, 0);
    rig_delete(rig);
}

/* An entry that the chunk stores is listed where its page is known as a paging structure. */
static void stored_entries_of_known_tables_are_listed(void **state)
{
    (void)state;
    for (unsigned known = 0; known < 2; known++) {
        struct rig *rig = rig_new(RIG_FRAMES, 0);
        struct view *view = view_of(rig, 0);
        uint64_t digest;

        view_begin(view);
        if (known)
            view_note_table(view, 2);
        rig_write(rig, 0, 2, 0x5003);
        rig_collect(rig, 0);
        assert_int_equal(view->accessed.used != 0, known);
        digest = view_write_digest(view);
        assert_int_not_equal(digest, 0);
        rig_write(rig, 0, 2, 0x5023);
        rig_collect(rig, 0);
        assert_int_equal(view_write_digest(view) == digest, known);
        rig_delete(rig);
    }
}

static void the_write_digest_is_of_pages_and_contents(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    uint64_t digest[2], peek;

    (void)state;
    for (uint32_t actor = 0; actor < 2; actor++) {
        view_begin(view_of(rig, actor));
        rig_write(rig, actor, 5, 0); /* silent */
        rig_write(rig, actor, actor ? 4 : 1, actor ? 7 : 8);
        rig_write(rig, actor, actor ? 1 : 4, actor ? 8 : 7);
        peek = view_peek_digest(view_of(rig, actor), is_dirty, &rig->actor[actor], FRAME_SIMD_GUEST);
        rig_collect(rig, actor);
        digest[actor] = view_write_digest(view_of(rig, actor));
        assert_int_equal(peek, digest[actor]);
    }
    assert_int_equal(digest[0], digest[1]);
    view_squash(view_of(rig, 1));
    view_begin(view_of(rig, 1));
    rig_write(rig, 1, 1, 7);
    rig_write(rig, 1, 4, 8);
    rig_collect(rig, 1);
    assert_int_not_equal(view_write_digest(view_of(rig, 1)), digest[0]);
    rig_delete(rig);
}

static void chunk_numbers_may_wrap(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);

    (void)state;
    view->chunk = 1;
    view_begin(view); /* chunk 2 */
    rig_read(rig, 0, 1);
    rig_commit(rig, 0);
    view->chunk = UINT32_MAX - 1;
    for (uint32_t i = 0; i < 4; i++) { /* the last of them is chunk 2 again: page 1 is not in its read set */
        view_begin(view);
        rig_read(rig, 0, 0);
        rig_store(rig, 1, 1, i + 1);
        rig_commit(rig, 0);
    }
    rig_delete(rig);
}

static void replay_enters_in_its_turn(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);

    (void)state;
    view_begin(view_of(rig, 0));
    rig_write(rig, 0, 1, 5);
    rig_collect(rig, 0);
    rig_store(rig, 1, 2, 6);
    view_commit_enter_at(view_of(rig, 0), 2);
    view_commit_leave(view_of(rig, 0), 2, 0);
    assert_int_equal(order_seq(&rig->order), 2);
    view_begin(view_of(rig, 0));
    assert_int_equal(rig_read(rig, 0, 1), 5);
    assert_int_equal(rig_read(rig, 0, 2), 6);
    rig_delete(rig);
}

static void replay_never_overwrites_a_later_version(void **state)
{
    struct rig *rig = rig_new(RIG_FRAMES, 0);
    struct view *view = view_of(rig, 0);

    (void)state;
    view_begin(view);
    rig_write(rig, 0, 1, 5);
    rig_write(rig, 0, 3, 5);
    rig_collect(rig, 0);
    rig_store(rig, 1, 2, 6);
    view_commit_enter_at(view, 2);
    assert_true(view_writes_newest(view));
    view_commit_abandon(view);
    rig_store(rig, 1, 3, 6);
    view_commit_enter_at(view, 3);
    assert_false(view_writes_newest(view));
    view_commit_abandon(view);
    view_squash(view);
    rig_delete(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_sees_its_snapshot),
        cmocka_unit_test(stores_are_private_until_the_commit),
        cmocka_unit_test(a_view_that_joined_is_not_built_again),
        cmocka_unit_test(a_changed_page_of_the_read_set_is_a_conflict),
        cmocka_unit_test(pages_not_read_do_not_conflict),
        cmocka_unit_test(a_conflict_has_a_cause),
        cmocka_unit_test(a_conflict_has_a_place),
        cmocka_unit_test(a_silent_store_is_no_write_but_a_read),
        cmocka_unit_test(a_value_that_came_back_is_valid_from_its_return),
        cmocka_unit_test(a_view_is_overtaken_by_commits_of_pages_it_read),
        cmocka_unit_test(newest_counts_own_commits_and_read_versions),
        cmocka_unit_test(what_was_committed_after_validation_is_validated_again),
        cmocka_unit_test(the_token_bars_others),
        cmocka_unit_test(a_recorded_chunk_has_half_of_the_copies),
        cmocka_unit_test(kept_copies_never_end_a_replayed_chunk),
        cmocka_unit_test(without_frames_nothing_is_copied),
        cmocka_unit_test(the_reserve_is_replays),
        cmocka_unit_test(pages_written_often_are_copied_ahead_and_given_back),
        cmocka_unit_test(a_parked_view_keeps_only_what_is_still_true),
        cmocka_unit_test(the_write_digest_is_of_pages_and_contents),
        cmocka_unit_test(accessed_bits_are_listed_and_settled),
        cmocka_unit_test(stored_entries_of_known_tables_are_listed),
        cmocka_unit_test(chunk_numbers_may_wrap),
        cmocka_unit_test(replay_enters_in_its_turn),
        cmocka_unit_test(replay_never_overwrites_a_later_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
