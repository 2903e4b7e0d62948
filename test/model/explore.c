/* Depth-first search through all interleavings; states met before are not entered again. */
#include <stdlib.h>
#include <string.h>

#include "test/model/model.h"

uint32_t model_depth;
char model_trace[M_DEPTH][2];

static uint64_t *seen;
static uint64_t seen_size, seen_count;

static bool insert(uint64_t hash)
{
    uint64_t i = hash & (seen_size - 1);

    for (; seen[i] != 0; i = (i + 1) & (seen_size - 1))
        if (seen[i] == hash)
            return false;
    seen[i] = hash;
    seen_count++;
    return true;
}

static void grow(void)
{
    uint64_t *old = seen, old_size = seen_size;

    if (seen != NULL && seen_count < seen_size / 2)
        return;
    seen_size = old_size ? old_size * 4 : 1u << 12;
    seen = calloc(seen_size, sizeof(*seen));
    seen_count = 0;
    for (uint64_t i = 0; old != NULL && i < old_size; i++)
        if (old[i] != 0)
            insert(old[i]);
    free(old);
}

/* True where the state, which is now in `world`, is new. */
static bool is_new(uint64_t hash)
{
    grow();
    return insert(hash ? hash : 1);
}

static bool all_done(void)
{
    for (uint32_t i = 0; i < world.scenario->actors; i++)
        if (world.actor[i].phase != PHASE_DONE)
            return false;
    return true;
}

static struct world saved[M_DEPTH];

static void visit(uint64_t hash, bool (*step)(uint32_t), void (*end)(void), uint64_t *states)
{
    struct world *here = &saved[model_depth];
    bool moved = false;

    ++*states;
    world_save(here);
    for (uint32_t i = 0; i < here->scenario->actors; i++) {
        model_trace[model_depth][0] = (char)i;
        model_trace[model_depth][1] = (char)here->actor[i].phase;
        if (++model_depth == M_DEPTH)
            model_fail("endless");
        if (step(i)) {
            world_check();
            uint64_t next = world_hash();
            moved = moved || next != hash;
            if (is_new(next))
                visit(next, step, end, states);
            world_restore(here);
        }
        model_depth--;
    }
    if (moved)
        return;
    if (!all_done())
        model_fail("deadlock");
    end();
}

/* From the state in `world`. `end` is called in each state in which all actors are done. */
void explore(bool (*step)(uint32_t actor), void (*end)(void), uint64_t *states)
{
    free(seen);
    seen = NULL;
    seen_size = seen_count = 0;
    model_depth = 0;
    visit(world_hash(), step, end, states);
}
