/*
 * A small machine for tests of the commit order and the views: a pool, a few guest pages, and actors
 * whose mappings are recorded the way an EPT would hold them.
 */
#ifndef RV_TEST_UNIT_REPLAY_RIG_H
#define RV_TEST_UNIT_REPLAY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "replay/view.h"

#define RIG_PAGES       12u
#define RIG_ACTORS      3u
#define RIG_CHUNK_PAGES 8u
#define RIG_RING        64u
#define RIG_FRAMES      64u

struct rig_mapping {
    uint32_t frame;
    bool writable, accessed, dirty;
};

struct rig_actor {
    struct view view;
    struct view_page page[RIG_PAGES];
    uint32_t copies[RIG_CHUNK_PAGES], writes[RIG_CHUNK_PAGES];
    struct rig_mapping map[RIG_PAGES];
};

struct rig {
    struct frame_pool pool;
    struct commit_order order;
    uint8_t *memory;
    uint32_t stack[RIG_FRAMES];
    struct page_entry table[RIG_PAGES];
    struct commit_entry ring[RIG_RING];
    struct rig_actor actor[RIG_ACTORS];
};

static inline void rig_map(void *ctx, uint32_t gpn, uint32_t frame, bool writable)
{
    struct rig_actor *actor = ctx;

    actor->map[gpn] = (struct rig_mapping){.frame = frame, .writable = writable};
}

static inline void rig_make_private(void *ctx, uint32_t gpn, uint32_t frame)
{
    struct rig_actor *actor = ctx;

    actor->map[gpn].frame = frame;
    actor->map[gpn].writable = true;
}

static inline struct order_config rig_config(struct rig *rig)
{
    return (struct order_config){.pool = &rig->pool,
                                 .table = rig->table,
                                 .pages = RIG_PAGES,
                                 .ring = rig->ring,
                                 .ring_size = RIG_RING,
                                 .chunk_pages = RIG_CHUNK_PAGES,
                                 .vcpus = RIG_ACTORS,
                                 .frames_low = 4};
}

/* A rig with `frames` frames, `reserve` of them kept back. All guest memory is zero. */
static inline struct rig *rig_new(uint32_t frames, uint32_t reserve)
{
    static const struct view_ops ops = {.map = rig_map, .make_private = rig_make_private};
    struct rig *rig = calloc(1, sizeof(*rig));
    struct order_config config = rig_config(rig);

    rig->memory = aligned_alloc(PAGE_SIZE, (size_t)frames * PAGE_SIZE);
    memset(rig->memory, 0, (size_t)RIG_PAGES * PAGE_SIZE);
    memset(rig->memory + (size_t)RIG_PAGES * PAGE_SIZE, 0xa5, (size_t)(frames - RIG_PAGES) * PAGE_SIZE);
    frames_init(&rig->pool, rig->memory, rig->stack, frames, reserve);
    assert_true(order_init(&rig->order, &config));
    for (uint32_t i = 0; i < RIG_ACTORS; i++) {
        struct rig_actor *actor = &rig->actor[i];
        struct view_ops own = ops;
        own.ctx = actor;
        view_init(&actor->view, &rig->order, i, &own, actor->page, actor->copies, actor->writes);
    }
    return rig;
}

static inline void rig_delete(struct rig *rig)
{
    free(rig->memory);
    free(rig);
}

static inline uint64_t *rig_word(struct rig *rig, uint32_t actor, uint32_t gpn)
{
    return frame_data(&rig->pool, rig->actor[actor].map[gpn].frame);
}

static inline uint64_t rig_read(struct rig *rig, uint32_t actor, uint32_t gpn)
{
    rig->actor[actor].map[gpn].accessed = true;
    return *rig_word(rig, actor, gpn);
}

static inline enum view_fault rig_write(struct rig *rig, uint32_t actor, uint32_t gpn, uint64_t value)
{
    struct rig_mapping *map = &rig->actor[actor].map[gpn];

    if (!map->writable) {
        enum view_fault fault = view_write_fault(&rig->actor[actor].view, gpn);
        if (fault != VIEW_FAULT_COPIED)
            return fault;
    }
    assert_true(map->writable);
    map->accessed = map->dirty = true;
    *rig_word(rig, actor, gpn) = value;
    return VIEW_FAULT_COPIED;
}

/* The walk at the chunk's end. */
static inline void rig_collect(struct rig *rig, uint32_t actor)
{
    uint32_t accessed[RIG_PAGES], count = 0;

    for (uint32_t gpn = 0; gpn < RIG_PAGES; gpn++) {
        struct rig_mapping *map = &rig->actor[actor].map[gpn];
        if (map->accessed)
            accessed[count++] = gpn | (map->dirty ? VIEW_DIRTY : 0);
        map->accessed = map->dirty = false;
    }
    view_collect(&rig->actor[actor].view, accessed, count);
}

/* Collects and commits a chunk that must be valid; returns its seq. */
static inline uint64_t rig_commit(struct rig *rig, uint32_t actor)
{
    struct view *view = &rig->actor[actor].view;
    uint64_t seq = 0;

    rig_collect(rig, actor);
    assert_int_equal(view_validate(view), VIEW_VALID);
    assert_int_equal(view_commit_enter(view, &seq), VIEW_ENTERED);
    view_commit_leave(view, seq, view_write_digest(view));
    return seq;
}

/* A whole chunk that stores one value. */
static inline uint64_t rig_store(struct rig *rig, uint32_t actor, uint32_t gpn, uint64_t value)
{
    view_begin(&rig->actor[actor].view);
    assert_int_equal(rig_write(rig, actor, gpn, value), VIEW_FAULT_COPIED);
    return rig_commit(rig, actor);
}

#endif
