/*
 * How recordings and replays end on the fake processors: every outcome a guest can have, vCPUs that are
 * started anew, logs that were cut off, and logs that are not true.
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

static struct fake_result *record(struct fake_machine_config *c)
{
    struct fake_result *recorded = fake_record(c);

    c->log = recorded->log;
    c->log_bytes = recorded->log_bytes;
    c->seed = c->seed * 3 + 1;
    c->model.seed++;
    return recorded;
}

static void check_equal(const struct fake_machine_config *c, const struct fake_result *recorded)
{
    struct fake_result *replayed = fake_replay(c);
    char text[600];

    if (fake_results_differ(recorded, replayed, text, sizeof(text)))
        fail_msg("seed %llu: %s", (unsigned long long)c->seed, text);
    fake_result_delete(replayed);
}

static void all_halted(void **state)
{
    struct fake_guest guest = {.only = "stop", .calls = 1, .rounds = 1, .vcpus = 3};
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);
    struct fake_result *recorded = record(&config);

    (void)state;
    assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_HALTED);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(recorded->state[i].activity, VCPU_HALTED);
    check_equal(&config, recorded);
    fake_result_delete(recorded);
}

static void refused(void **state)
{
    struct fake_guest guest = {.only = "refused", .calls = 1, .rounds = 1, .vcpus = 2};
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);
    struct fake_result *recorded = record(&config);

    (void)state;
    assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_REFUSED);
    assert_non_null(strstr(recorded->outcome.reason, "device memory at 0xfee00080"));
    check_equal(&config, recorded);
    fake_result_delete(recorded);
}

/* A REP whose every stretch has more accessed bits than a record lists is cut into short ones, and goes on.
 */
static void real_steps(struct vm *vm, void *context)
{
    (void)context;
    vm->rep_step = POSITION_REP_STEP;
}

static void rep_of_entries(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct fake_guest guest = {.only = "rep_entries", .calls = 1, .rounds = 2, .seed = seed, .vcpus = 1};
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *recorded;

        config.prepare = real_steps;
        recorded = record(&config);
        assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_EXIT);
        check_equal(&config, recorded);
        fake_result_delete(recorded);
    }
}

/* The limit is exact; one that the guest does not come to changes nothing. */
static void limited(void **state)
{
    struct fake_guest guest = {.pieces = PIECES_ALL, .calls = 18, .rounds = 3, .seed = 4, .vcpus = 3};

    (void)state;
    for (uint64_t limit = 1; limit < 400; limit += 133) {
        struct fake_machine_config config = fake_machine_defaults(&guest, limit);
        struct fake_result *recorded;
        config.limit = limit;
        recorded = record(&config);
        assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_LIMIT);
        assert_int_equal(recorded->commits, limit);
        check_equal(&config, recorded);
        fake_result_delete(recorded);
    }
    struct fake_machine_config config = fake_machine_defaults(&guest, 4);
    config.limit = UINT64_MAX;
    struct fake_result *recorded = record(&config);
    assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_EXIT);
    check_equal(&config, recorded);
    fake_result_delete(recorded);
}

/* Only vCPU 0 is waited for at the end. */
static void one_ends(struct vm *vm, void *context)
{
    (void)context;
    vm->pool.base[GUEST_VCPUS] = 1;
    vm->header.image_digest = order_memory_digest(&vm->order);
}

static void other_waits(struct vm *vm, void *context)
{
    struct vcpu *vcpu = vm->vcpus[1];

    one_ends(vm, context);
    vcpu_state_reset(vcpu->state, 1, vm->seed);
    memcpy(vcpu->saved, vcpu->state, sizeof(*vcpu->saved));
}

static void check_startup(uint64_t seed, void (*prepare)(struct vm *vm, void *context))
{
    struct fake_guest guest = {.only = "startup", .calls = 3, .rounds = 2, .seed = seed, .vcpus = 2};
    struct fake_machine_config config = fake_machine_defaults(&guest, seed);
    struct fake_result *recorded;

    config.prepare = prepare;
    recorded = record(&config);
    assert_int_equal(recorded->outcome.outcome, REC_OUTCOME_EXIT);
    /* Real mode counts up and notes its CS. */
    assert_int_equal(fake_guest_word(recorded->memory, GUEST_SIPI_DATA) & 0xff, 6);
    assert_int_equal(fake_guest_word(recorded->memory, GUEST_SIPI_DATA + 4), GUEST_SIPI_PAGE << 8);
    assert_int_equal(recorded->state[1].cpu.cr0 & 1, 0);
    check_equal(&config, recorded);
    config.serial = true;
    check_equal(&config, recorded);
    fake_result_delete(recorded);
}

static void startup(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 12; seed++)
        check_startup(seed, other_waits);
}

/* ---- Logs ---- */

static struct fake_guest racing(uint64_t seed)
{
    return (struct fake_guest){.pieces = PIECES_ALL, .calls = 18, .rounds = 3, .seed = seed, .vcpus = 3};
}

/* However much of a log there is, its whole blocks are replayed. */
static void cut_off(void **state)
{
    struct fake_guest guest = racing(5);
    struct fake_machine_config config = fake_machine_defaults(&guest, 5);
    struct fake_result *recorded = record(&config), *replayed;
    uint64_t before = 0;

    (void)state;
    for (size_t bytes = recorded->log_bytes / 2; bytes < recorded->log_bytes; bytes += 211) {
        config.log_bytes = bytes;
        replayed = fake_replay(&config);
        assert_false(replayed->diverged);
        assert_true(replayed->commits >= before && replayed->commits <= recorded->commits);
        before = replayed->commits;
        fake_result_delete(replayed);
    }
    assert_true(before > recorded->commits / 2);
    fake_result_delete(recorded);
}

/* What is changed in one commit of the log that is read. */
struct change {
    uint64_t seq;
    void (*apply)(struct rec_chunk *chunk);
};

static void change_log(struct vm *vm, void *context)
{
    struct change *change = context;

    if (vm->mode == VM_REPLAY)
        change->apply(&vm->replay.commits[change->seq - 1].chunk);
}

static void change_digest(struct rec_chunk *chunk)
{
    chunk->digest ^= 1;
}

static void change_registers(struct rec_chunk *chunk)
{
    chunk->position.regs_check ^= 1;
}

static void change_state(struct rec_chunk *chunk)
{
    chunk->position.state_check ^= 1;
}

static void change_place(struct rec_chunk *chunk)
{
    chunk->position.rip++;
}

static void change_end(struct rec_chunk *chunk)
{
    chunk->end = REC_END_HLT;
}

static void add_event(struct rec_chunk *chunk)
{
    chunk->events[chunk->event_count++] = (struct rec_event){.kind = REC_EVENT_FIXED, .vector = 0x41};
}

static void lose_events(struct rec_chunk *chunk)
{
    chunk->event_count = 0;
}

static void change_time(struct rec_chunk *chunk)
{
    chunk->time_base += 3;
}

/* Of every eighth chunk that has one. */
static void change_durations(struct vm *vm, void *context)
{
    for (uint64_t i = 0; i < vm->replay.count; i += 8) {
        struct rec_commit *commit = &vm->replay.commits[i];
        if (commit->kind == REC_CHUNK && commit->chunk.end == REC_END_POSITION)
            commit->chunk.position.duration = *(const uint64_t *)context;
    }
}

/* Whether a change of the commit is one that must show. */
static bool shows(const struct rec_chunk *chunk, void (*apply)(struct rec_chunk *chunk))
{
    if (apply == change_registers || apply == change_state || apply == change_place)
        return chunk->end == REC_END_POSITION;
    if (apply == change_end)
        return chunk->end == REC_END_PAUSE || chunk->end == REC_END_IO || chunk->end == REC_END_POSITION;
    if (apply == lose_events)
        return chunk->event_count != 0;
    if (apply == change_time)
        return (chunk->flags & REC_F_TIME) && chunk->event_count == 0;
    return true;
}

static struct rec_chunk seen[4096];
static uint64_t seen_count;

static void look(struct vm *vm, void *context)
{
    (void)context;
    seen_count = vm->replay.count;
    assert_true(seen_count < sizeof(seen) / sizeof(seen[0]));
    for (uint64_t i = 0; i < seen_count; i++)
        seen[i] = vm->replay.commits[i].chunk;
}

/* Nothing after the change was committed, and the report names it. */
static void check_report(const struct fake_result *replayed, uint64_t seq)
{
    char where[32];

    snprintf(where, sizeof(where), "seq %llu:", (unsigned long long)seq);
    assert_int_equal(replayed->commits, seq - 1);
    assert_non_null(strstr(replayed->divergence, where));
}

/* Three changes of a kind. Inputs can be lost on the guest; then everything must come out as it was. */
static void check_change(struct fake_machine_config *config, const struct fake_result *recorded,
                         void (*apply)(struct rec_chunk *chunk))
{
    struct change change = {.apply = apply};
    bool is_input = apply == add_event || apply == lose_events || apply == change_time;
    uint32_t tried = 0;
    char text[600];

    config->prepare = change_log;
    config->context = &change;
    for (uint64_t seq = 1 + seen_count / 3; seq <= seen_count && tried < 3; seq++) {
        struct fake_result *replayed;
        if (!shows(&seen[seq - 1], apply))
            continue;
        change.seq = seq;
        replayed = fake_replay(config);
        if (replayed->diverged) {
            check_report(replayed, seq);
            tried++;
        } else {
            assert_true(is_input);
            assert_false(fake_results_differ(recorded, replayed, text, sizeof(text)));
        }
        fake_result_delete(replayed);
    }
    config->prepare = NULL;
    config->context = NULL;
    assert_true(tried > 0);
}

/* A duration is a hint: whatever it says, the place is found. */
static void untrue_durations(void **state)
{
    static const uint64_t durations[] = {
        0, 1, UINT64_C(1) << 32, UINT64_C(3) << 32, UINT64_C(1) << 63, UINT64_MAX};
    struct fake_guest guest = racing(8);
    struct fake_machine_config config = fake_machine_defaults(&guest, 8);
    struct fake_result *recorded = record(&config);

    (void)state;
    config.prepare = change_durations;
    for (uint32_t i = 0; i < ARRAY_LEN(durations); i++) {
        uint64_t duration = durations[i];
        config.context = &duration;
        check_equal(&config, recorded);
    }
    fake_result_delete(recorded);
}

static void untrue(void **state)
{
    static void (*const changes[])(struct rec_chunk * chunk) = {change_digest, change_registers, change_state,
                                                                change_place,  change_end,       add_event,
                                                                lose_events,   change_time};
    struct fake_guest guest = racing(8);
    struct fake_machine_config config = fake_machine_defaults(&guest, 8);
    struct fake_result *recorded = record(&config);

    (void)state;
    config.prepare = look;
    check_equal(&config, recorded);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        check_change(&config, recorded, changes[i]);
    fake_result_delete(recorded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_halted), cmocka_unit_test(refused),          cmocka_unit_test(rep_of_entries),
        cmocka_unit_test(limited),    cmocka_unit_test(startup),          cmocka_unit_test(cut_off),
        cmocka_unit_test(untrue),     cmocka_unit_test(untrue_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
