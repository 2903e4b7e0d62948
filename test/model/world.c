/* The state of the model: making, saving, hashing and checking it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "test/model/model.h"

#define POISON UINT64_C(0xdeadbeefdeadbeef)

struct world world;
struct counts counts;
struct inbound model_inbound[M_ACTORS];
static uint8_t memory[M_FRAMES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static uint64_t *words(uint32_t frame)
{
    return (uint64_t *)(void *)memory[frame];
}

_Noreturn void model_fail(const char *format, ...)
{
    static const char *const names[] = {"rest",  "begin",  "run",   "collect",   "validate", "enter",
                                        "leave", "squash", "token", "committed", "done"};
    va_list args;

    printf("FAILED in \"%s\": ", world.scenario->name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n  steps (actor:phase):");
    for (uint32_t i = 0; i < model_depth; i++)
        printf(" %d:%s", model_trace[i][0], names[(int)model_trace[i][1]]);
    printf("\n  commits %u, seq %llu, head %llu, tail %llu\n", world.log_count,
           (unsigned long long)world.order.seq, (unsigned long long)world.order.head,
           (unsigned long long)world.order.tail);
    exit(1);
}

_Noreturn void hv_check_failed(const char *expression, const char *file, int line)
{
    model_fail("HV_CHECK %s at %s:%d", expression, file, line);
}

static void map(void *ctx, uint32_t gpn, uint32_t frame, bool writable)
{
    struct actor *actor = ctx;

    if (actor->phase == PHASE_RUN || actor->map[gpn].accessed)
        model_fail("page %u is mapped in mid-chunk", gpn);
    actor->map[gpn] = (struct mapping){.frame = frame, .present = true, .writable = writable};
}

static void make_private(void *ctx, uint32_t gpn, uint32_t frame)
{
    struct actor *actor = ctx;

    if (actor->phase != PHASE_RUN)
        model_fail("page %u is made private outside a chunk", gpn);
    actor->map[gpn].frame = frame;
    actor->map[gpn].writable = true;
}

static void order_make(const struct scenario *scenario, bool replay)
{
    uint32_t chunk_pages = scenario->chunk_pages ? scenario->chunk_pages : M_CHUNK_PAGES;
    uint32_t low = scenario->frames_low ? scenario->frames_low : 1, ring = 1;
    /* Replay is promised that it never lacks a frame. */
    uint32_t frames_low = replay ? MAX(low, scenario->actors * chunk_pages) : low;
    uint32_t frames;

    while (ring < 2 * (scenario->actors + 1) * chunk_pages)
        ring *= 2;
    struct order_config config = {.pool = &world.pool,
                                  .table = world.table,
                                  .pages = M_PAGES,
                                  .ring = world.ring,
                                  .ring_size = scenario->ring ? ring : MAX(ring, M_RING),
                                  .chunk_pages = chunk_pages,
                                  .recording = !replay,
                                  .vcpus = scenario->actors,
                                  .frames_low = frames_low};
    frames = (uint32_t)order_least_frames(&config);
    if (scenario->frames != 1)
        frames = scenario->frames == 2 ? M_FRAMES : MIN(frames + 8, M_FRAMES);
    frames_init(&world.pool, memory[0], world.stack, frames, 0);
    if (config.ring_size > M_RING || frames > M_FRAMES || !order_init(&world.order, &config))
        model_fail("the scenario is too large for the model");
}

void world_init(const struct scenario *scenario, bool replay)
{
    struct view_ops ops = {.map = map, .make_private = make_private};

    memset(&world, 0, sizeof(world));
    for (uint32_t i = 0; i < M_FRAMES; i++)
        memset(memory[i], 0, M_WORDS * 8);
    world.scenario = scenario;
    order_make(scenario, replay);
    for (uint32_t i = 0; i < scenario->actors; i++) {
        struct actor *actor = &world.actor[i];
        memset(&model_inbound[i], 0, sizeof(model_inbound[i]));
        ops.ctx = actor;
        view_init(&actor->view, &world.order, i, &ops, actor->page, actor->copies, actor->writes);
        actor->view.from_reserve = replay;
        actor->now.acc = actor->saved.acc = world.serial[i].acc = i + 1;
    }
}

void world_save(struct world *to)
{
    for (uint32_t i = 0; i < world.pool.count; i++)
        memcpy(world.frame_word[i], words(i), sizeof(world.frame_word[i]));
    for (uint32_t i = 0; i < world.scenario->actors; i++) {
        world.inbound_head[i] = (uint32_t)model_inbound[i].head;
        world.inbound_tail[i] = (uint32_t)model_inbound[i].tail;
        memcpy(world.inbound[i], model_inbound[i].ring, sizeof(world.inbound[i]));
    }
    memcpy(to, &world, sizeof(world));
}

void world_restore(const struct world *from)
{
    memcpy(&world, from, sizeof(world));
    for (uint32_t i = 0; i < world.pool.count; i++)
        memcpy(words(i), world.frame_word[i], sizeof(world.frame_word[i]));
    for (uint32_t i = 0; i < world.scenario->actors; i++) {
        model_inbound[i].head = world.inbound_head[i];
        model_inbound[i].tail = world.inbound_tail[i];
        memcpy(model_inbound[i].ring, world.inbound[i], sizeof(world.inbound[i]));
    }
}

static uint64_t fold(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/*
 * Frames have no names in the hash: the checks below make sure that each is what its page and seq say,
 * so states that differ in frame numbers only behave alike.
 */
static uint64_t hash_page(uint64_t h, const struct actor *actor, uint32_t gpn)
{
    const struct view_page *page = &actor->page[gpn];
    const struct mapping *m = &actor->map[gpn];

    h = fold(h, page->seq);
    h = fold(h, (uint64_t)(page->frame == FRAME_NONE) << 16 | (uint64_t)(page->copy == FRAME_NONE) << 17 |
                    (uint64_t)(page->mark == actor->view.chunk) << 18 | page->heat);
    h = fold(h, (uint64_t)m->accessed << 2 | (uint64_t)m->dirty << 1 | m->writable);
    for (uint32_t i = 0; page->copy != FRAME_NONE && i < M_WORDS; i++)
        h = fold(h, words(page->copy)[i]);
    return h;
}

static uint64_t hash_actor(uint64_t h, uint32_t index)
{
    const struct actor *actor = &world.actor[index];
    const struct view *view = &actor->view;
    const struct view_place *place = &world.order.place[index];
    uint64_t fields[] = {actor->phase,
                         actor->now.pc,
                         actor->now.acc,
                         actor->squashes,
                         actor->events,
                         actor->index,
                         actor->seq,
                         view->position,
                         view->snapshot,
                         view->validated,
                         view->newest,
                         view->last_commit,
                         view->copy_count,
                         view->write_count,
                         view->stale_copies,
                         place->position,
                         place->resting,
                         place->parked,
                         world.posted_count[index],
                         model_inbound[index].tail};

    for (uint32_t i = 0; i < ARRAY_LEN(fields); i++)
        h = fold(h, fields[i]);
    for (uint32_t i = 0; i < view->copy_count; i++)
        h = fold(h, actor->copies[i]);
    for (uint32_t i = 0; i < view->write_count; i++)
        h = fold(h, actor->writes[i]);
    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++)
        h = hash_page(h, actor, gpn);
    return h;
}

uint64_t world_hash(void)
{
    const struct commit_order *order = &world.order;
    uint64_t h = fold(order->seq, order->head);

    h = fold(fold(fold(h, order->tail), order->token), order->room_wanted);
    h = fold(fold(h, world.pool.free_count), world_locked());
    for (uint32_t i = 0; i < world.log_count; i++) {
        const struct chunk_record *r = &world.log[i];
        h = fold(fold(fold(h, r->actor), r->end_pc), r->newest << 8 | r->events);
        h = fold(h, r->running);
    }
    for (uint32_t i = 0; i < world.scenario->actors; i++)
        h = hash_actor(h, i);
    return h;
}

bool world_locked(void)
{
    return MODEL_STEPS && world.order.lock.next != world.order.lock.owner;
}

static void own(uint8_t *owner, uint32_t frame, char who)
{
    if (frame >= world.pool.count)
        model_fail("frame %u does not exist (%c)", frame, who);
    if (owner[frame] != 0)
        model_fail("frame %u has two owners: %c and %c", frame, owner[frame], who);
    owner[frame] = (uint8_t)who;
}

/* Each frame is free, or in the table, or replaced and waiting, or some view's copy: one of them. */
static void check_frames(void)
{
    uint8_t owner[M_FRAMES] = {0};

    for (uint32_t i = 0; i < world.pool.free_count; i++)
        own(owner, world.stack[i], 'F');
    for (uint32_t i = 0; i < M_PAGES; i++)
        own(owner, world.table[i].frame, 'T');
    for (uint64_t i = world.order.tail; i < world.order.head; i++)
        own(owner, order_entry(&world.order, i)->old_frame, 'R');
    for (uint32_t i = 0; i < world.scenario->actors; i++)
        for (uint32_t gpn = 0; gpn < M_PAGES; gpn++)
            if (world.actor[i].page[gpn].copy != FRAME_NONE)
                own(owner, world.actor[i].page[gpn].copy, 'C');
    for (uint32_t i = 0; i < world.pool.count; i++)
        if (owner[i] == 0)
            model_fail("frame %u is lost", i);
}

/* Whoever still reads a free frame shall notice. */
void world_poison(void)
{
    for (uint32_t i = 0; i < world.pool.free_count; i++)
        for (uint32_t k = 0; k < M_WORDS; k++)
            words(world.stack[i])[k] = POISON;
}

static bool in_chunk(const struct actor *actor)
{
    return actor->phase >= PHASE_RUN && actor->phase <= PHASE_SQUASH;
}

/* What a view holds is the version that it says, and its copies are clean between chunks. */
static void check_view(uint32_t index)
{
    const struct actor *actor = &world.actor[index];

    for (uint32_t gpn = 0; gpn < M_PAGES && !world.order.place[index].parked; gpn++) {
        const struct view_page *page = &actor->page[gpn];
        if (page->frame == FRAME_NONE)
            continue;
        if (page->seq > world.order.seq || world.moment[page->seq].version[gpn] != page->seq)
            model_fail("actor %u: page %u has a version that never was", index, gpn);
        if (memcmp(words(page->frame), world.moment[page->seq].word[gpn], M_WORDS * 8) != 0)
            model_fail("actor %u: page %u changed under its view", index, gpn);
        if (page->copy != FRAME_NONE && !in_chunk(actor) &&
            memcmp(words(page->copy), words(page->frame), M_WORDS * 8) != 0)
            model_fail("actor %u: the copy of page %u is not clean", index, gpn);
    }
}

void world_check(void)
{
    check_frames();
    world_poison();
    for (uint32_t i = 0; i < world.scenario->actors; i++)
        check_view(i);
}
