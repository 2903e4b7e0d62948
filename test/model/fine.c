/*
 * The fine-grained model: actors are coroutines that can be interrupted inside the functions under
 * test, at each lock and atomic access (points.h). All runs with up to so many interruptions are tried;
 * otherwise an actor runs until it is blocked or done.
 *
 * usage: model-fine [random scenarios [interruptions [first seed]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "test/model/model.h"

#define STACK_SIZE    (64u << 10)
#define MAX_INTERRUPT 4u
#define MAX_BLOCKED   200u /* in a row, by all: nobody can go on */
#define MAX_POINTS    100000u
#define ACTOR_NONE    UINT32_MAX

struct interrupt {
    uint32_t point; /* after so many points, */
    uint32_t actor; /* this one goes on */
};

uint32_t model_depth;
char model_trace[M_DEPTH][2];

static ucontext_t scheduler, context[M_ACTORS];
static uint8_t stack[M_ACTORS][STACK_SIZE] __attribute__((aligned(64)));
static uint32_t running = ACTOR_NONE, next_actor, points, blocked_count;
static bool finished[M_ACTORS];
static bool (*step)(uint32_t actor);

static struct interrupt plan[MAX_INTERRUPT];
static uint32_t plan_count, plan_at;
static uint64_t runs;

static void show_plan(void)
{
    printf("interruptions (point:actor):");
    for (uint32_t i = 0; i < plan_count; i++)
        printf(" %u:%u", plan[i].point, plan[i].actor);
    printf("\n");
}

/* Whoever reads a freed frame shall notice. */
static void switch_to(uint32_t actor)
{
    uint32_t from = running;

    if (world.pool.lock.next == world.pool.lock.owner)
        world_poison();
    next_actor = actor;
    swapcontext(&context[from], &scheduler);
}

void model_point(void)
{
    if (running == ACTOR_NONE)
        return;
    if (++points == MAX_POINTS) {
        show_plan();
        model_fail("endless");
    }
    if (plan_at == plan_count || points <= plan[plan_at].point)
        return;
    uint32_t actor = plan[plan_at++].actor;
    if (actor != running && !finished[actor])
        switch_to(actor);
}

static uint32_t another(uint32_t actor)
{
    for (uint32_t i = 1; i <= world.scenario->actors; i++) {
        uint32_t next = (actor + i) % world.scenario->actors;
        if (!finished[next])
            return next;
    }
    return ACTOR_NONE;
}

void model_blocked(void)
{
    if (++blocked_count == MAX_BLOCKED) {
        show_plan();
        model_fail("deadlock");
    }
    switch_to(another(running));
}

static void body(void)
{
    uint32_t me = running;
    struct actor *actor = &world.actor[me];

    while (actor->phase != PHASE_DONE) {
        enum phase before = actor->phase;
        bool moved = step(me);
        if (!moved || (actor->phase == before && (before == PHASE_REST || before == PHASE_ENTER)))
            model_blocked();
        else
            blocked_count = 0;
        /* It would meet the same again where the other was stopped between appending and publishing. */
        if (before == PHASE_SQUASH)
            switch_to(another(me));
    }
    finished[me] = true;
    next_actor = another(me);
    running = ACTOR_NONE;
    setcontext(&scheduler);
}

/* One run, from the state in `world`, by `plan`; ends where all actors are done. Returns its points. */
static uint32_t run(bool (*actor_step_function)(uint32_t))
{
    step = actor_step_function;
    points = plan_at = blocked_count = 0;
    runs++;
    for (uint32_t i = 0; i < world.scenario->actors; i++) {
        finished[i] = false;
        getcontext(&context[i]);
        context[i].uc_stack.ss_sp = stack[i];
        context[i].uc_stack.ss_size = STACK_SIZE;
        makecontext(&context[i], body, 0);
    }
    next_actor = 0;
    while (next_actor != ACTOR_NONE) {
        running = next_actor;
        swapcontext(&scheduler, &context[running]);
    }
    running = ACTOR_NONE;
    world_check();
    serial_memory_check(world.order.seq);
    return points;
}

/* All plans that begin with the present one and have up to `bound` interruptions. */
static void each_plan(uint32_t bound, uint32_t (*once)(void))
{
    uint32_t end = once(), first = plan_count ? plan[plan_count - 1].point + 1 : 0;

    if (plan_count == bound)
        return;
    plan_count++;
    for (uint32_t point = first; point < end; point++) {
        for (uint32_t actor = 0; actor < world.scenario->actors; actor++) {
            plan[plan_count - 1] = (struct interrupt){.point = point, .actor = actor};
            each_plan(bound, once);
        }
    }
    plan_count--;
}

static const struct scenario *scenario;
static struct finished log_now;
static uint64_t logs_seen[4096], log_hash;
static uint32_t logs_count;

static uint32_t replay_once(void)
{
    replay_start(scenario, &log_now);
    return run(replay_step);
}

static bool log_is_new(uint64_t hash)
{
    for (uint32_t i = 0; i < logs_count; i++)
        if (logs_seen[i] == hash)
            return false;
    if (logs_count == ARRAY_LEN(logs_seen))
        return false;
    logs_seen[logs_count++] = hash;
    return true;
}

/* A recording; its log, if it is a new one, is replayed with up to one interruption. */
static uint32_t record_once(void)
{
    struct interrupt kept[MAX_INTERRUPT];
    uint32_t kept_count = plan_count, end;

    world_init(scenario, false);
    end = run(record_step);
    counts.ends++;
    log_hash = log_identity();
    if (!log_is_new(log_hash))
        return end;
    counts.logs++;
    finished_take(&log_now);
    memcpy(kept, plan, sizeof(kept));
    plan_count = 0;
    each_plan(1, replay_once);
    memcpy(plan, kept, sizeof(kept));
    plan_count = kept_count;
    return end;
}

static void explore_fine(const struct scenario *what, uint32_t bound)
{
    uint64_t before = runs;
    uint32_t logs_before = logs_count = 0;

    scenario = what;
    plan_count = 0;
    each_plan(bound, record_once);
    if (strcmp(what->name, "random") != 0)
        printf("%-48s %8llu runs %6u logs\n", what->name, (unsigned long long)(runs - before),
               logs_count - logs_before);
}

/* The number of runs grows with the power of the bound: large schedules get less. */
static uint32_t bound_for(const struct scenario *what, uint32_t bound)
{
    return what->actors > 2 || what->frames == 2 ? MIN(bound, 1u) : bound;
}

int main(int argc, char **argv)
{
    uint32_t random = argc > 1 ? (uint32_t)atoi(argv[1]) : 5;
    uint32_t bound = argc > 2 ? (uint32_t)atoi(argv[2]) : 2;
    uint32_t seed = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint32_t i = 0; i < scenario_count; i++)
        explore_fine(&scenarios[i], bound_for(&scenarios[i], bound));
    for (uint32_t i = 0; i < random; i++) {
        struct scenario drawn;
        scenario_random(&drawn, seed + i);
        explore_fine(&drawn, bound_for(&drawn, bound));
    }
    printf("%u random scenarios from seed %u: %llu runs in all, %llu squashes, %llu rebuilds\n", random, seed,
           (unsigned long long)runs, (unsigned long long)counts.squashes,
           (unsigned long long)counts.rebuilds);
    return counts.squashes && counts.rebuilds && counts.logs ? 0 : 1;
}
