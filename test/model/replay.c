/* The steps of an actor that replays a log: no validation, any allowed snapshot, commits in turn. */
#include <string.h>

#include "test/model/model.h"

const struct finished *replayed;

static uint32_t next_of(uint32_t actor, uint32_t from)
{
    while (from < replayed->count && replayed->log[from].actor != actor)
        from++;
    return from;
}

/* What replay is told, and whether values returned (for the negative control). */
uint64_t log_identity(void)
{
    uint64_t h = world.log_count;

    for (uint32_t i = 0; i < world.log_count; i++) {
        const struct chunk_record *r = &world.log[i];
        uint64_t word = r->actor | (uint64_t)r->end_pc << 8 | (uint64_t)r->events << 16 | r->newest << 24 |
                        (uint64_t)(r->newest > r->snapshot) << 32;
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h = (h ^ h >> 29 ^ r->running) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return h;
}

/* The log in `world`, whose recording has ended. */
void finished_take(struct finished *to)
{
    memcpy(to->log, world.log, sizeof(to->log));
    memcpy(to->moment, world.moment, sizeof(to->moment));
    to->count = world.log_count;
}

void replay_start(const struct scenario *scenario, const struct finished *log)
{
    world_init(scenario, true);
    memcpy(world.moment, log->moment, sizeof(world.moment));
    replayed = log;
    for (uint32_t i = 0; i < scenario->actors; i++)
        world.actor[i].index = next_of(i, 0);
}

static const struct chunk_record *record_of(const struct actor *actor)
{
    return &replayed->log[actor->index];
}

/* Waits for E. Which of the snapshots from then on it gets is up to the other actors' steps. */
static bool rest(uint32_t index)
{
    struct actor *actor = &world.actor[index];

    if (actor->index == replayed->count)
        actor->phase = PHASE_DONE;
    else if (order_seq(&world.order) < record_of(actor)->newest)
        return false;
    else if (order_has_room(&world.order))
        actor->phase = PHASE_BEGIN;
    return true;
}

/* The chunk as recorded: its events, and up to its end. */
static bool run_to_end(struct actor *actor)
{
    const struct chunk_record *record = record_of(actor);
    enum op_result result = OP_ON;

    actor->phase = PHASE_RUN;
    for (uint32_t i = 0; i < record->events; i++)
        machine_event(&actor->now, record->event[i]);
    while (actor->now.pc < record->end_pc && result == OP_ON)
        result = actor_step(actor);
    actor->phase = PHASE_COLLECT;
    actor_collect(actor);
    return result != OP_REFUSED;
}

static bool begin(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    uint64_t snapshot = view_begin(&actor->view);

    check_begun_view(index);
    if (snapshot < record_of(actor)->newest || snapshot > actor->index)
        model_fail("a replayed chunk begins at %u", (unsigned)snapshot);
    if (!run_to_end(actor))
        model_fail("a replayed chunk lacks room for a copy");
    actor->phase = PHASE_ENTER;
    return true;
}

/* Its turn is after commit `index`. Until then it makes way where its frames or entries are wanted. */
static bool enter(uint32_t index)
{
    struct actor *actor = &world.actor[index];

    if (order_seq(&world.order) == actor->index) {
        view_commit_enter_at(&actor->view, actor->index + 1);
        actor->phase = PHASE_LEAVE;
        return true;
    }
    if (!order_room_wanted(&world.order))
        return false;
    counts.room_squashes++;
    view_squash(&actor->view);
    actor->now = actor->saved;
    actor->phase = PHASE_COMMITTED;
    return true;
}

static bool leave(uint32_t index)
{
    struct actor *actor = &world.actor[index];
    const struct chunk_record *record = record_of(actor);
    uint64_t seq = actor->index + 1, digest = chunk_digest(actor);

    if (digest != record->digest || order_next_digest(&world.order, seq, digest) != record->running)
        model_fail("replay of commit %u (E %u, begun at %u) has another digest", (unsigned)seq,
                   (unsigned)record->newest, (unsigned)actor->view.snapshot);
    view_commit_leave(&actor->view, seq, digest);
    if (MODEL_STEPS)
        serial_memory_check(seq);
    actor->saved = actor->now;
    actor->index = next_of(index, actor->index + 1);
    actor->phase = PHASE_COMMITTED;
    return true;
}

bool replay_step(uint32_t index)
{
    struct actor *actor = &world.actor[index];

    if (actor->phase != PHASE_LEAVE && world_locked())
        return false;
    switch (actor->phase) {
    case PHASE_REST:
        return rest(index);
    case PHASE_BEGIN:
        return begin(index);
    case PHASE_ENTER:
        return enter(index);
    case PHASE_LEAVE:
        return leave(index);
    case PHASE_COMMITTED:
        order_rest(&world.order, index);
        actor->phase = PHASE_REST;
        return true;
    default:
        return false;
    }
}

/* Takes steps of one actor until it has committed, or is done. */
static void commit_in_turn(uint32_t index)
{
    uint32_t before = world.actor[index].index;

    while (world.actor[index].index == before || world.actor[index].phase != PHASE_REST)
        if (!replay_step(index))
            model_fail("the chunk whose turn it is cannot go on");
}

/* Replays the log in turn up to seq `stop`. */
static void replay_to(uint64_t stop)
{
    while (order_seq(&world.order) < stop)
        commit_in_turn(replayed->log[order_seq(&world.order)].actor);
}

/*
 * The negative control: begins each chunk one snapshot before E, where its actor's previous commit
 * allows it. E must not be needlessly late, so some of them come out different.
 */
void replay_early(const struct scenario *scenario, const struct finished *log)
{
    for (uint32_t i = 0; i < log->count; i++) {
        const struct chunk_record *record = &log->log[i];
        if (record->newest == record->own)
            continue;
        replay_start(scenario, log);
        replay_to(record->newest - 1);
        struct actor *actor = &world.actor[record->actor];
        view_begin(&actor->view);
        bool differs = !run_to_end(actor) || chunk_digest(actor) != record->digest;
        counts.early_runs++;
        counts.early_differ += differs;
        /* E came from a value that went away and came back while the chunk ran. */
        counts.early_returned += differs && record->newest > record->snapshot;
    }
}
