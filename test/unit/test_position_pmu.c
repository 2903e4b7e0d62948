/*
 * Chunk ends found by counts of branches, on fake processors with a PMU whose interrupts come late; logs that
 * cross between machines with and without one; counts that are not true.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/position.h"
#include "test/fake/machine.h"

#define SEEDS 40u

/* All there is, or no more than loops that compute, whose chunks are cut. */
static struct fake_guest guest_of(uint64_t seed)
{
    static const char *const loops[] = {NULL, "work", "same", "tight"};

    return (struct fake_guest){.pieces = PIECES_ALL,
                               .only = loops[seed % 4],
                               .calls = 18,
                               .rounds = 8,
                               .seed = seed,
                               .vcpus = 1 + (uint32_t)(seed % 3)};
}

static struct fake_machine_config machine_of(const struct fake_guest *guest, uint64_t seed, bool pmu)
{
    struct fake_machine_config c = fake_machine_defaults(guest, seed);

    c.model.pmu = pmu;
    c.model.skid = 4;
    /* Short chunks and long ones. */
    c.chunk_ticks = seed % 2 ? 300 : 1000;
    return c;
}

static struct fake_result *record(struct fake_machine_config *c)
{
    struct fake_result *recorded = fake_record(c);

    c->log = recorded->log;
    c->log_bytes = recorded->log_bytes;
    c->seed = c->seed * 3 + 1;
    c->model.seed = c->seed;
    return recorded;
}

/* Replays, compares, and hands the counters on. */
static struct fake_result *replay_equal(const struct fake_machine_config *c,
                                        const struct fake_result *recorded)
{
    struct fake_result *replayed = fake_replay(c);
    char text[600];

    if (fake_results_differ(recorded, replayed, text, sizeof(text)))
        fail_msg("guest seed %llu: %s", (unsigned long long)c->guest->seed, text);
    return replayed;
}

static uint8_t event_of(const struct fake_result *recorded)
{
    struct log_reader reader;
    struct log_block block;

    log_reader_init(&reader);
    assert_int_equal(log_reader_next(&reader, recorded->log, recorded->log_bytes, &block), LOG_BLOCK);
    return reader.header.branch_event;
}

/* What a run of replays came to. */
struct sum {
    uint64_t tries, hits, interrupts;
};

/* Records guests on machines like `from`, replays them on such as `to`. */
static struct sum cross(bool from_pmu, void (*change)(struct fake_machine_config *to))
{
    struct sum sum = {0};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config c = machine_of(&guest, seed, from_pmu);
        struct fake_result *recorded = record(&c), *replayed;

        assert_int_equal(event_of(recorded), from_pmu ? REC_BRANCHES_CONDITIONAL : REC_BRANCHES_NONE);
        assert_int_equal(recorded->pmu_interrupts, 0);
        change(&c);
        replayed = replay_equal(&c, recorded);
        sum.tries += replayed->counters[REC_COUNT_TRIES];
        sum.hits += replayed->counters[REC_COUNT_HITS];
        sum.interrupts += replayed->pmu_interrupts;
        fake_result_delete(replayed);
        fake_result_delete(recorded);
    }
    return sum;
}

static void same(struct fake_machine_config *to)
{
    (void)to;
}

/* A machine that takes much longer for the same: recorded durations tell nothing. */
static void slower(struct fake_machine_config *to)
{
    to->model.slow = 400;
    to->model.slow_ticks = 30;
    to->model.host_events = 10;
}

static void without(struct fake_machine_config *to)
{
    to->model.pmu = false;
}

static void slower_without(struct fake_machine_config *to)
{
    slower(to);
    without(to);
}

static void with(struct fake_machine_config *to)
{
    to->model.pmu = true;
}

static void late(struct fake_machine_config *to)
{
    to->model.skid = 200;
    to->skid = 1;
}

static void deaf(struct fake_machine_config *to)
{
    to->model.deaf = true;
}

static void by_counts(void **state)
{
    struct sum sum = cross(true, same);

    (void)state;
    assert_true(sum.interrupts > 1000);
    /* Interrupts come within the first guess: only short chunks, which go by time, are ever overshot. */
    assert_true(sum.tries < sum.interrupts / 20);
}

/* The count means the same on a slow machine, the duration does not. */
static void on_another_machine(void **state)
{
    struct sum counts = cross(true, slower), time = cross(true, slower_without);

    (void)state;
    assert_true(counts.hits < time.hits / 8);
}

static void without_a_pmu_here(void **state)
{
    (void)state;
    assert_int_equal(cross(true, without).interrupts, 0);
}

static void without_counts_in_the_log(void **state)
{
    (void)state;
    assert_int_equal(cross(false, with).interrupts, 0);
}

static void overshoot(void **state)
{
    struct sum sum = cross(true, late);

    (void)state;
    assert_true(sum.interrupts > 500 && sum.tries > 100);
}

static void interrupts_that_never_come(void **state)
{
    (void)state;
    assert_int_equal(cross(true, deaf).interrupts, 0);
}

static void in_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 104; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config c = machine_of(&guest, seed, true);
        struct fake_result *recorded;

        c.threads = true;
        recorded = record(&c);
        fake_result_delete(replay_equal(&c, recorded));
        fake_result_delete(recorded);
    }
}

/* ---- Counts that are not true ---- */

struct forgery {
    int64_t by;
    uint64_t seq; /* of the forged commit, once done */
    bool verify;
};

static void forge(struct vm *vm, void *context)
{
    struct forgery *forgery = context;

    vm->verify = forgery->verify;
    for (uint64_t i = vm->replay.count / 2; i < vm->replay.count; i++) {
        struct rec_commit *commit = &vm->replay.commits[i];
        if (commit->kind == REC_CHUNK && commit->chunk.end == REC_END_POSITION) {
            commit->chunk.position.branches += (uint64_t)forgery->by;
            forgery->seq = i + 1;
            return;
        }
    }
}

static void forged_counts(void **state)
{
    static const int64_t changes[] = {1, -1, 1000, -1000, INT64_MIN, INT64_C(1) << 40};
    struct fake_guest guest = guest_of(2);
    struct fake_machine_config c = machine_of(&guest, 2, true);
    struct fake_result *recorded = record(&c), *replayed;
    char text[600], seq[40];

    (void)state;
    c.prepare = forge;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct forgery forgery = {.by = changes[i], .verify = true};

        c.context = &forgery;
        c.model.pmu = true;
        replayed = fake_replay(&c);
        assert_true(replayed->diverged);
        snprintf(seq, sizeof(seq), "seq %llu:", (unsigned long long)forgery.seq);
        assert_non_null(strstr(replayed->divergence, seq));
        assert_non_null(strstr(replayed->divergence, " conditional branches, digest"));
        assert_non_null(strstr(replayed->divergence, " conditional branches, "));
        assert_int_equal(replayed->commits, forgery.seq - 1);
        fake_result_delete(replayed);
        /* Nobody who does not count sees it; and not who does not verify. */
        forgery.verify = false;
        fake_result_delete(replay_equal(&c, recorded));
        forgery.verify = true;
        c.model.pmu = false;
        replayed = fake_replay(&c);
        if (fake_results_differ(recorded, replayed, text, sizeof(text)))
            fail_msg("%s", text);
        fake_result_delete(replayed);
    }
    fake_result_delete(recorded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_counts),          cmocka_unit_test(on_another_machine),
        cmocka_unit_test(without_a_pmu_here), cmocka_unit_test(without_counts_in_the_log),
        cmocka_unit_test(overshoot),          cmocka_unit_test(interrupts_that_never_come),
        cmocka_unit_test(in_threads),         cmocka_unit_test(forged_counts),
    };

    return cmocka_run_group_tests_name("position_pmu", tests, NULL, NULL);
}
