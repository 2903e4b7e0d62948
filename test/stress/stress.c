/*
 * Threads that record random chunks on the real commit order and views, for a given time; then the log
 * is executed serially in commit order, and replayed by the same threads, each chunk from any snapshot
 * that the log allows. Built with the thread sanitizer.
 *
 * usage: stress [seconds [seed]]
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "replay/view.h"

#define ACTORS      3u
#define PAGES       12u
#define WORDS       3u
#define CHUNK_PAGES 8u
#define RING        128u
#define FRAMES      (PAGES + ACTORS * CHUNK_PAGES * 2 + 12u)
#define MAX_LOG     400000u
#define MAX_OPS     12u
#define TOKEN_AFTER 4u

struct record {
    uint32_t actor, ops;
    uint64_t newest, acc, digest;
};

struct mapping {
    uint32_t frame;
    bool writable, accessed, dirty;
};

struct machine {
    uint64_t acc, random; /* both are restored by a squash */
};

struct actor {
    pthread_t thread;
    uint32_t index;
    struct view view;
    struct view_page page[PAGES];
    uint32_t copies[CHUNK_PAGES], writes[CHUNK_PAGES];
    struct mapping map[PAGES];
    struct machine now, saved;
    uint64_t squashes, room_squashes, cut;
};

static struct frame_pool pool;
static struct commit_order order;
static struct page_entry table[PAGES];
static struct commit_entry ring[RING];
static uint32_t stack[FRAMES];
static uint8_t memory[FRAMES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static struct actor actors[ACTORS];
static struct record *records; /* of commit seq: records[seq - 1] */
static uint64_t commits, seed = 1, deadline;

_Noreturn void hv_check_failed(const char *expression, const char *file, int line)
{
    printf("FAILED: HV_CHECK %s at %s:%d\n", expression, file, line);
    exit(1);
}

static void fail(const char *what, uint64_t seq)
{
    printf("FAILED: %s (commit %llu, seed %llu)\n", what, (unsigned long long)seq, (unsigned long long)seed);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t draw(struct machine *machine, uint64_t below)
{
    machine->random = machine->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (machine->random >> 33) % below;
}

/* ---- What a chunk does: the same through a view and serially ---- */

struct access {
    bool (*prepare)(void *ctx, uint32_t page);
    uint64_t *(*word)(void *ctx, uint32_t page, uint32_t word, bool write);
    void *ctx;
};

/* False: no private copy to be had; nothing has happened then. */
static bool operate(struct machine *machine, const struct access *access)
{
    struct machine before = *machine;
    uint64_t kind = draw(machine, 8);
    uint32_t page = (uint32_t)draw(machine, draw(machine, 2) ? PAGES : 3),
             word = (uint32_t)draw(machine, WORDS);

    if (kind < 4) {
        machine->acc =
            (machine->acc ^ *access->word(access->ctx, page, word, false)) * 0x9e3779b97f4a7c15u + 1;
        return true;
    }
    if (!access->prepare(access->ctx, page)) {
        *machine = before;
        return false;
    }
    uint64_t *at = access->word(access->ctx, page, word, true);
    if (kind == 4)
        *at = machine->acc;
    else if (kind == 5)
        *at = draw(machine, 2); /* values that return */
    else if (kind == 6)
        machine->acc ^= ++*at;
    return true; /* 7: stores what is there */
}

static bool view_prepare(void *ctx, uint32_t page)
{
    struct actor *actor = ctx;

    return actor->map[page].writable || view_write_fault(&actor->view, page) == VIEW_FAULT_COPIED;
}

static uint64_t *view_word(void *ctx, uint32_t page, uint32_t word, bool write)
{
    struct actor *actor = ctx;

    actor->map[page].accessed = true;
    actor->map[page].dirty = actor->map[page].dirty || write;
    return (uint64_t *)frame_data(&pool, actor->map[page].frame) + word * (PAGE_SIZE / 8 / WORDS);
}

static const struct access *view_access(struct actor *actor, struct access *access)
{
    *access = (struct access){.prepare = view_prepare, .word = view_word, .ctx = actor};
    return access;
}

static uint64_t serial_memory[PAGES][WORDS];

static bool serial_prepare(void *ctx, uint32_t page)
{
    (void)ctx;
    (void)page;
    return true;
}

static uint64_t *serial_word(void *ctx, uint32_t page, uint32_t word, bool write)
{
    (void)ctx;
    (void)write;
    return &serial_memory[page][word];
}

/* ---- Common ---- */

static void map(void *ctx, uint32_t gpn, uint32_t frame, bool writable)
{
    ((struct actor *)ctx)->map[gpn] = (struct mapping){.frame = frame, .writable = writable};
}

static void make_private(void *ctx, uint32_t gpn, uint32_t frame)
{
    ((struct actor *)ctx)->map[gpn].frame = frame;
    ((struct actor *)ctx)->map[gpn].writable = true;
}

static void set_up(bool replay)
{
    struct order_config config = {.pool = &pool,
                                  .table = table,
                                  .pages = PAGES,
                                  .ring = ring,
                                  .ring_size = RING,
                                  .chunk_pages = CHUNK_PAGES,
                                  .vcpus = ACTORS,
                                  .frames_low = replay ? ACTORS * CHUNK_PAGES : 2};

    memset(memory, 0, sizeof(memory));
    frames_init(&pool, memory[0], stack, FRAMES, 0);
    if (!order_init(&order, &config))
        fail("the pool is too small", 0);
    for (uint32_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &actors[i];
        struct view_ops ops = {.ctx = actor, .map = map, .make_private = make_private};
        memset(actor, 0, sizeof(*actor));
        actor->index = i;
        view_init(&actor->view, &order, i, &ops, actor->page, actor->copies, actor->writes);
        actor->view.from_reserve = replay;
        actor->now = actor->saved = (struct machine){.acc = i, .random = seed * 77 + i};
    }
}

static uint64_t collect(struct actor *actor)
{
    uint32_t accessed[PAGES], count = 0;

    for (uint32_t gpn = 0; gpn < PAGES; gpn++) {
        struct mapping *m = &actor->map[gpn];
        if (m->accessed)
            accessed[count++] = gpn | (m->dirty ? VIEW_DIRTY : 0);
        m->accessed = m->dirty = false;
    }
    view_collect(&actor->view, accessed, count);
    return digest_word(digest_word(view_write_digest(&actor->view), actor->now.acc), actor->now.random);
}

static void squash(struct actor *actor)
{
    view_squash(&actor->view);
    actor->now = actor->saved;
}

static void wait_for_room(struct actor *actor)
{
    order_rest(&order, actor->index);
    while (!order_has_room(&order))
        sched_yield();
}

/* ---- Recording ---- */

static uint32_t run_chunk(struct actor *actor)
{
    struct access access;
    uint32_t ops = 0, length = 1 + (uint32_t)draw(&actor->now, MAX_OPS);

    while (ops < length && operate(&actor->now, view_access(actor, &access)))
        if (++ops % 4 == 0)
            sched_yield(); /* so that others commit meanwhile, on few processors too */
    actor->cut += ops < length;
    return ops;
}

/* False: squash. */
static bool commit(struct actor *actor, uint32_t ops, uint64_t digest)
{
    uint64_t seq = 0;

    for (;;) {
        if (view_validate(&actor->view) == VIEW_CONFLICT)
            return false;
        enum view_enter result = view_commit_enter(&actor->view, &seq);
        if (result == VIEW_ENTERED)
            break;
        if (result == VIEW_BARRED && order_room_wanted(&order)) {
            actor->room_squashes++;
            return false;
        }
        sched_yield();
    }
    if (seq <= MAX_LOG)
        records[seq - 1] = (struct record){.actor = actor->index,
                                           .ops = ops,
                                           .newest = actor->view.newest,
                                           .acc = actor->now.acc,
                                           .digest = digest};
    view_commit_leave(&actor->view, seq, digest);
    actor->saved = actor->now;
    return true;
}

static void *record_thread(void *argument)
{
    struct actor *actor = argument;

    while (now_ms() < deadline && order_seq(&order) + ACTORS < MAX_LOG) {
        wait_for_room(actor);
        for (uint32_t tries = 0;; tries++) {
            if (tries >= TOKEN_AFTER)
                order_take_token(&order, actor->index);
            view_begin(&actor->view);
            uint32_t ops = run_chunk(actor);
            if (commit(actor, ops, collect(actor)))
                break;
            squash(actor);
            actor->squashes++;
        }
        order_drop_token(&order, actor->index);
    }
    order_rest(&order, actor->index);
    return NULL;
}

static void check_serially(void)
{
    const struct access access = {.prepare = serial_prepare, .word = serial_word};
    struct machine machine[ACTORS];

    for (uint32_t i = 0; i < ACTORS; i++)
        machine[i] = (struct machine){.acc = i, .random = seed * 77 + i};
    for (uint64_t seq = 1; seq <= commits; seq++) {
        const struct record *record = &records[seq - 1];
        draw(&machine[record->actor], MAX_OPS); /* the length */
        for (uint32_t i = 0; i < record->ops; i++)
            operate(&machine[record->actor], &access);
        if (machine[record->actor].acc != record->acc)
            fail("a chunk is not what a serial execution gives", seq);
    }
    for (uint32_t gpn = 0; gpn < PAGES; gpn++)
        for (uint32_t i = 0; i < WORDS; i++)
            if (((uint64_t *)frame_data(&pool, table[gpn].frame))[i * (PAGE_SIZE / 8 / WORDS)] !=
                serial_memory[gpn][i])
                fail("memory is not what a serial execution gives", commits);
}

/* With all at rest, frames are free, or in the table, or kept as copies. */
static void check_frames(void)
{
    uint32_t used = PAGES;

    for (uint32_t i = 0; i < ACTORS; i++)
        for (uint32_t gpn = 0; gpn < PAGES; gpn++)
            used += actors[i].page[gpn].copy != FRAME_NONE;
    used += (uint32_t)(order.head - order.tail);
    if (used + frames_free(&pool) != FRAMES)
        fail("frames are lost", commits);
}

/* ---- Replay ---- */

/* False: it makes way for those before it. */
static bool replay_chunk(struct actor *actor, uint64_t seq)
{
    const struct record *record = &records[seq - 1];
    struct access access;

    view_begin(&actor->view);
    if (actor->view.snapshot < record->newest || actor->view.snapshot >= seq)
        fail("a replayed chunk begins too early or too late", seq);
    draw(&actor->now, MAX_OPS);
    for (uint32_t i = 0; i < record->ops; i++)
        if (!operate(&actor->now, view_access(actor, &access)))
            fail("a replayed chunk lacks room for a copy", seq);
    uint64_t digest = collect(actor);
    while (order_seq(&order) != seq - 1) {
        if (order_room_wanted(&order)) {
            actor->room_squashes++;
            squash(actor);
            return false;
        }
        sched_yield();
    }
    if (digest != record->digest)
        fail("a replayed chunk has another digest", seq);
    view_commit_enter_at(&actor->view, seq);
    view_commit_leave(&actor->view, seq, digest);
    actor->saved = actor->now;
    return true;
}

static void *replay_thread(void *argument)
{
    struct actor *actor = argument;

    for (uint64_t seq = 1; seq <= commits; seq++) {
        if (records[seq - 1].actor != actor->index)
            continue;
        do {
            order_rest(&order, actor->index);
            while (order_seq(&order) < records[seq - 1].newest)
                sched_yield();
            wait_for_room(actor);
        } while (!replay_chunk(actor, seq));
    }
    order_rest(&order, actor->index);
    return NULL;
}

static void run_threads(void *(*body)(void *), const char *what)
{
    uint64_t squashes = 0, room = 0, cut = 0, rebuilds = 0, start = now_ms();

    for (uint32_t i = 0; i < ACTORS; i++)
        pthread_create(&actors[i].thread, NULL, body, &actors[i]);
    for (uint32_t i = 0; i < ACTORS; i++)
        pthread_join(actors[i].thread, NULL);
    for (uint32_t i = 0; i < ACTORS; i++) {
        squashes += actors[i].squashes;
        room += actors[i].room_squashes;
        cut += actors[i].cut;
        rebuilds += actors[i].view.counters.rebuilds;
    }
    printf("%s: %llu commits in %llu ms, %llu squashes, %llu to make room, %llu cut short, %llu rebuilds\n",
           what, (unsigned long long)order.seq, (unsigned long long)(now_ms() - start),
           (unsigned long long)squashes, (unsigned long long)room, (unsigned long long)cut,
           (unsigned long long)rebuilds);
    check_frames();
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 4, digest, running;

    seed = argc > 2 ? strtoull(argv[2], NULL, 0) : now_ms();
    printf("seed %llu\n", (unsigned long long)seed);
    records = calloc(MAX_LOG, sizeof(*records));
    set_up(false);
    deadline = now_ms() + seconds * 1000;
    run_threads(record_thread, "recorded");
    commits = order.seq;
    running = order.digest;
    digest = order_memory_digest(&order);
    check_serially();

    set_up(true);
    run_threads(replay_thread, "replayed");
    if (order.seq != commits || order.digest != running || order_memory_digest(&order) != digest)
        fail("the replay ended in another state", order.seq);
    free(records);
    return 0;
}
