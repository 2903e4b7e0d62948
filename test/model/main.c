/*
 * usage: model [-s] [random scenarios [replays per scenario [first seed]]]
 *   -s: small schedules only (two actors), for runs under sanitizers
 * Prints a line for each scenario; stops at the first failure with the steps that lead there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/model/model.h"

#define MAX_LOGS 16384u

static struct finished *logs;
static uint32_t log_count;
static uint64_t log_hash[MAX_LOGS];

static void recorded(void)
{
    uint64_t hash = log_identity();

    counts.ends++;
    serial_memory_check(world.log_count);
    for (uint32_t i = 0; i < world.scenario->actors; i++)
        if (!inbound_empty(&model_inbound[i]) && world.posted_count[i] == world.taken_count[i])
            model_fail("actor %u has an event left that it took", i);
    for (uint32_t i = 0; i < log_count; i++)
        if (log_hash[i] == hash)
            return;
    if (log_count == MAX_LOGS)
        return;
    finished_take(&logs[log_count]);
    log_hash[log_count++] = hash;
}

static void replayed_all(void)
{
    counts.replay_ends++;
    if (order_seq(&world.order) != replayed->count)
        model_fail("the replay stopped at commit %u", (unsigned)order_seq(&world.order));
    serial_memory_check(replayed->count);
}

static void run(const struct scenario *scenario, uint32_t replays)
{
    struct counts before = counts;
    uint32_t stride;

    log_count = 0;
    world_init(scenario, false);
    explore(record_step, recorded, &counts.states);
    counts.logs += log_count;
    stride = log_count > replays ? log_count / replays : 1;
    for (uint32_t i = 0; i < log_count; i += stride) {
        replay_start(scenario, &logs[i]);
        explore(replay_step, replayed_all, &counts.replay_states);
        replay_early(scenario, &logs[i]);
    }
    if (strcmp(scenario->name, "random") == 0)
        return;
    printf("%-48s %8llu states %6u logs, every %u%s replayed: %8llu states\n", scenario->name,
           (unsigned long long)(counts.states - before.states), log_count, stride, stride == 1 ? "st" : "th",
           (unsigned long long)(counts.replay_states - before.replay_states));
}

static void report(void)
{
#define LINE(field) printf("  %-16s %llu\n", #field, (unsigned long long)counts.field)
    LINE(states);
    LINE(ends);
    LINE(logs);
    LINE(squashes);
    LINE(rebuilds);
    LINE(value_saves);
    LINE(barred);
    LINE(tokens);
    LINE(no_frame);
    LINE(room_squashes);
    LINE(replay_states);
    LINE(replay_ends);
    LINE(early_runs);
    LINE(early_differ);
    LINE(early_returned);
#undef LINE
}

/* A model that never meets what it is for proves nothing. */
static int verdict(void)
{
    if (counts.squashes && counts.rebuilds && counts.value_saves && counts.barred && counts.no_frame &&
        counts.early_differ && counts.early_returned)
        return 0;
    printf("FAILED: something above that should happen never did\n");
    return 1;
}

static uint32_t argument(int argc, char **argv, int index, uint32_t otherwise)
{
    return index < argc ? (uint32_t)atoi(argv[index]) : otherwise;
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "-s") == 0;
    uint32_t random = argument(argc, argv, 1 + small, 40);
    uint32_t replays = argument(argc, argv, 2 + small, 100);
    uint32_t seed = argument(argc, argv, 3 + small, 1);

    setvbuf(stdout, NULL, _IOLBF, 0);
    logs = calloc(MAX_LOGS, sizeof(*logs));
    for (uint32_t i = 0; i < scenario_count; i++)
        if (!small || scenarios[i].actors == 2)
            run(&scenarios[i], replays);
    for (uint32_t i = 0; i < random; i++) {
        struct scenario scenario;
        scenario_random(&scenario, seed + i);
        if (!small || scenario.actors == 2)
            run(&scenario, replays);
    }
    printf("%u random scenarios from seed %u\n", random, seed);
    report();
    free(logs);
    return verdict();
}
