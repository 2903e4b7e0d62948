/* The steps of an actor that records, as the run loop of a vCPU takes them. */
#include <string.h>

#include "hv/base/digest.h"
#include "test/model/model.h"

/* Right after the begin: each page maps the newest version of the snapshot, or a copy equal to it. */
void check_begun_view(uint32_t index)
{
    const struct actor *actor = &world.actor[index];
    const struct moment *moment = &world.moment[actor->view.snapshot];

    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++) {
        const struct view_page *page = &actor->page[gpn];
        const struct mapping *m = &actor->map[gpn];
        bool copy = page->copy != FRAME_NONE;

        if (page->seq != moment->version[gpn])
            model_fail("actor %u begins with version %u of page %u, not %u", index, (unsigned)page->seq, gpn,
                       (unsigned)moment->version[gpn]);
        if (!m->present || m->frame != (copy ? page->copy : page->frame) || m->writable != copy)
            model_fail("actor %u: page %u is not mapped to what the view has", index, gpn);
        if (memcmp(frame_data(&world.pool, m->frame), moment->word[gpn], M_WORDS * 8) != 0)
            model_fail("actor %u: page %u is not as of the snapshot", index, gpn);
    }
}

uint64_t chunk_digest(const struct actor *actor)
{
    uint64_t d = digest_word(0, actor->now.pc);

    return digest_word(digest_word(d, actor->now.acc), view_write_digest(&actor->view));
}

static bool rest(uint32_t index)
{
    struct actor *actor = &world.actor[index];

    if (world.scenario->script[index][actor->now.pc].kind == OP_END)
        actor->phase = PHASE_DONE;
    else if (order_has_room(&world.order))
        actor->phase = PHASE_BEGIN;
    return true;
}

static bool begin(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    struct rec_event events[REC_MAX_EVENTS];
    uint64_t rebuilds = actor->view.counters.rebuilds;
    uint64_t seq = view_begin(&actor->view);

    actor->phase = PHASE_RUN;
    counts.rebuilds += actor->view.counters.rebuilds - rebuilds;
    check_begun_view(index);
    actor->events = inbound_peek(&model_inbound[index], seq, events, REC_MAX_EVENTS);
    for (uint32_t i = 0; i < actor->events; i++)
        machine_event(&actor->now, events[i].vector);
    actor->acts = false;
    return true;
}

static bool run(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    enum op_result result;

    do
        result = actor_step(actor);
    while (world.scenario->whole_chunks && result == OP_ON);
    counts.no_frame += result == OP_REFUSED;
    if (result != OP_ON)
        actor->phase = PHASE_COLLECT;
    return true;
}

/* The actor's commit before the one that enters now. */
static uint64_t own_commit(uint32_t index)
{
    uint64_t own = world.log_count - 1;

    while (own > 0 && world.log[own - 1].actor != index)
        own--;
    return own;
}

/* Under the lock: the log's record, and the acts of the chunk. */
static void entered(uint32_t index, uint64_t seq)
{
    struct actor *actor = &world.actor[index];
    struct chunk_record *record = &world.log[world.log_count];

    if (world.log_count == M_LOG || seq != ++world.log_count)
        model_fail("commit %u is out of order, or too many", (unsigned)seq);
    *record = (struct chunk_record){.actor = index,
                                    .end_pc = actor->now.pc,
                                    .events = actor->events,
                                    .snapshot = actor->view.snapshot,
                                    .newest = actor->view.newest,
                                    .own = own_commit(index),
                                    .digest = chunk_digest(actor),
                                    .after = actor->now};
    for (uint32_t i = 0; i < actor->events; i++)
        record->event[i] =
            model_inbound[index].ring[(model_inbound[index].tail + i) & (INBOUND_SIZE - 1)].event.vector;
    record->running = order_next_digest(&world.order, seq, record->digest);
    inbound_consume(&model_inbound[index], actor->events);
    serial_commit(seq, record);
    actor->seq = seq;
    if (!actor->acts)
        return;
    uint32_t to = actor->target, k = world.posted_count[to]++;
    if (k >= M_EVENTS)
        model_fail("too many events for the model");
    world.posted[to][k] = (struct posted){.seq = seq, .vector = (uint8_t)(index * 16 + k)};
    inbound_push(&model_inbound[to], seq,
                 (struct rec_event){.kind = REC_EVENT_FIXED, .vector = world.posted[to][k].vector});
}

static bool enter(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    uint64_t seq;

    switch (view_commit_enter(&actor->view, &seq)) {
    case VIEW_ENTERED:
        entered(index, seq);
        actor->phase = PHASE_LEAVE;
        break;
    case VIEW_AGAIN:
        actor->phase = PHASE_VALIDATE;
        break;
    case VIEW_BARRED:
        counts.barred++;
        if (order_room_wanted(&world.order)) {
            counts.room_squashes++;
            actor->phase = PHASE_SQUASH;
            actor->seq = 1; /* and rest */
        }
        break;
    }
    return true;
}

static bool leave(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    const struct chunk_record *record = &world.log[actor->seq - 1];

    view_commit_leave(&actor->view, actor->seq, record->digest);
    if (MODEL_STEPS && world.order.digest != record->running)
        model_fail("commit %u has another running digest than foretold", (unsigned)actor->seq);
    order_drop_token(&world.order, index);
    if (MODEL_STEPS)
        serial_memory_check(actor->seq);
    actor->saved = actor->now;
    actor->seq = 0;
    actor->squashes = 0;
    actor->phase = PHASE_COMMITTED;
    return true;
}

static bool squash(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    bool to_rest = actor->seq != 0;

    view_squash(&actor->view);
    actor->now = actor->saved;
    actor->events = 0;
    actor->seq = 0;
    counts.squashes++;
    if (to_rest)
        actor->phase = PHASE_COMMITTED;
    else if (world.scenario->token_after && ++actor->squashes >= world.scenario->token_after)
        actor->phase = PHASE_TOKEN;
    else
        actor->phase = PHASE_BEGIN;
    return true;
}

bool record_step(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    enum phase phase = actor->phase;
    bool needs_lock = phase != PHASE_RUN && phase != PHASE_COLLECT && phase != PHASE_VALIDATE &&
                      phase != PHASE_SQUASH && phase != PHASE_LEAVE;

    if (phase == PHASE_DONE || (needs_lock && world_locked()))
        return false;
    switch (phase) {
    case PHASE_REST:
        return rest(index);
    case PHASE_BEGIN:
        return begin(index);
    case PHASE_RUN:
        return run(index);
    case PHASE_COLLECT:
        actor_collect(actor);
        actor->phase = PHASE_VALIDATE;
        return true;
    case PHASE_VALIDATE:
        counts.value_saves -= actor->view.counters.value_saves;
        actor->phase = view_validate(&actor->view) == VIEW_VALID ? PHASE_ENTER : PHASE_SQUASH;
        counts.value_saves += actor->view.counters.value_saves;
        return true;
    case PHASE_ENTER:
        return enter(index);
    case PHASE_LEAVE:
        return leave(index);
    case PHASE_SQUASH:
        return squash(index);
    case PHASE_TOKEN:
        counts.tokens += order_take_token(&world.order, index);
        actor->phase = PHASE_BEGIN;
        return true;
    case PHASE_COMMITTED:
        order_rest(&world.order, index);
        actor->phase = PHASE_REST;
        return true;
    case PHASE_DONE:
        break;
    }
    return false;
}
