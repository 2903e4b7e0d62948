#include "hv/replay.h"

#include "hv/acts.h"
#include "hv/base/check.h"
#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/divergence.h"
#include "hv/phase.h"
#include "hv/position.h"
#include "replay/log_format.h"

#include <string.h>

#define REPLAY_TRIES 6u  /* of one chunk whose digest differs, before it counts as a divergence */
#define REPLAY_AHEAD 64u /* how many commits ahead of its turn a chunk may start: it holds frames back */

/* ---- Begin ---- */

/* The snapshot from which the chunk may start: E, but not too far ahead of the others. */
static uint64_t start_seq(const struct vcpu *vcpu)
{
    uint64_t lag = vcpu->vm->serial ? 0 : MIN((uint64_t)vcpu->expected->lag, (uint64_t)REPLAY_AHEAD);

    return vcpu->seq - 1 - MIN(lag, vcpu->seq - 1);
}

static bool wait_for_start(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    bool rests = false;

    phase_enter(vcpu, REC_COUNT_TICKS_TURN);
    while (order_seq(&vm->order) < start_seq(vcpu) || !order_has_room(&vm->order) ||
           !act_console_has_room(vm)) {
        if (!rests)
            order_rest(&vm->order, vcpu->index);
        rests = true;
        if (vm_stopping(vm))
            return false;
        cpu_pause();
    }
    return !vm_stopping(vm);
}

/* What the log says of the chunk's begin, time and events, and of its accessed bits. */
static void take_inputs(struct vcpu *vcpu)
{
    const struct rec_chunk *expected = vcpu->expected;

    vcpu->time_base = expected->time_base * VM_TIME_QUANTUM;
    vcpu->event_count = expected->event_count;
    memcpy(vcpu->events, expected->events, expected->event_count * sizeof(vcpu->events[0]));
    view_expect_accessed(&vcpu->view, expected->accessed, expected->accessed_bytes);
}

/* ---- Run ---- */

/*
 * An end by an exit of its own comes by itself. The ticks only bound a replay that went astray: PAUSE loops
 * and long stretches without a cut were bounded by the recording's chunk length as well.
 */
static enum position_result run_to_exit(struct vcpu *vcpu)
{
    while (chunk_spent(vcpu) < vcpu->vm->astray_ticks) {
        /* Stopped where it is unclear how to go on, the next guess stops elsewhere. */
        enum chunk_stop stop = chunk_run(vcpu, POSITION_SLACK + vcpu->guesses * POSITION_STAGGER);
        if (stop == CHUNK_UNCLEAR)
            return POSITION_MISSED;
        if (stop == CHUNK_STOPPED)
            return POSITION_STOPPED;
        if (stop == CHUNK_ENDED)
            return vcpu->end == vcpu->expected->end ? POSITION_FOUND : POSITION_MISSED;
        if (stop == CHUNK_NO_PAGE)
            return POSITION_NO_PAGE;
    }
    return POSITION_MISSED;
}

static enum position_result run(struct vcpu *vcpu)
{
    if (!chunk_start(vcpu))
        return vcpu->expected->end == REC_END_HLT ? POSITION_FOUND : POSITION_MISSED;
    if (vcpu->expected->end == REC_END_POSITION)
        return position_find(vcpu);
    return run_to_exit(vcpu);
}

/* ---- Commit ---- */

enum turn {
    TURN_HERE,
    TURN_YIELD, /* the chunk holds back frames that those before it need */
    TURN_STOPPED,
};

static enum turn wait_for_turn(struct vcpu *vcpu, bool may_yield)
{
    struct vm *vm = vcpu->vm;

    phase_enter(vcpu, REC_COUNT_TICKS_TURN);
    while (order_seq(&vm->order) != vcpu->seq - 1) {
        if (vm_stopping(vm))
            return TURN_STOPPED;
        if (may_yield && order_room_wanted(&vm->order))
            return TURN_YIELD;
        cpu_pause();
    }
    return TURN_HERE;
}

/*
 * Enters the commit where the running digest comes out as recorded. That tells only what the chunk changed: a
 * snapshot older than E, which a forged log can ask for, would bring back what others changed in the same
 * pages.
 */
static bool commit(struct vcpu *vcpu, uint64_t digest)
{
    struct vm *vm = vcpu->vm;
    uint16_t found;

    phase_enter(vcpu, REC_COUNT_TICKS_COMMIT);
    view_commit_enter_at(&vcpu->view, vcpu->seq);
    found = log_digest_slice(order_next_digest(&vm->order, vcpu->seq, digest));
    if (!view_writes_newest(&vcpu->view) || (vm->verify && found != vcpu->expected->digest)) {
        view_commit_abandon(&vcpu->view);
        return false;
    }
    act_perform(vcpu, vcpu->seq);
    view_commit_leave(&vcpu->view, vcpu->seq, digest);
    return true;
}

static void next_chunk(struct vcpu *vcpu)
{
    struct vm_replay *replay = &vcpu->vm->replay;

    vcpu->seq = replay->next_of_vcpu[vcpu->seq - 1];
    vcpu->expected = vcpu->seq ? &replay->commits[vcpu->seq - 1].chunk : NULL;
}

enum attempt {
    ATTEMPT_COMMITTED,
    ATTEMPT_AGAIN, /* the guess was wrong, or the digest differs: thrown away */
    ATTEMPT_YIELD, /* no frame: others must commit first */
    ATTEMPT_STOPPED,
};

static enum attempt attempt(struct vcpu *vcpu)
{
    bool first_in_line = order_seq(&vcpu->vm->order) == vcpu->seq - 1;
    enum position_result result;
    enum turn turn;
    uint64_t digest;

    chunk_snapshot(vcpu);
    take_inputs(vcpu);
    result = run(vcpu);
    if (result == POSITION_FOUND && !chunk_write_accessed(vcpu))
        result = POSITION_NO_PAGE;
    if (result != POSITION_FOUND) {
        chunk_squash(vcpu);
        if (result == POSITION_STOPPED)
            return ATTEMPT_STOPPED;
        /* With nobody to wait for, it ran wild: a wrong guess, or a replay that differs. */
        return result == POSITION_NO_PAGE && !first_in_line ? ATTEMPT_YIELD : ATTEMPT_AGAIN;
    }
    digest = chunk_finish(vcpu);
    if (!position_count_agrees(vcpu)) {
        divergence_note_state(vcpu);
        chunk_squash_collected(vcpu);
        return ATTEMPT_AGAIN;
    }
    turn = wait_for_turn(vcpu, true);
    if (turn != TURN_HERE) {
        chunk_squash_collected(vcpu);
        return turn == TURN_STOPPED ? ATTEMPT_STOPPED : ATTEMPT_YIELD;
    }
    if (commit(vcpu, digest)) {
        chunk_keep(vcpu);
        return ATTEMPT_COMMITTED;
    }
    divergence_note_state(vcpu);
    chunk_squash_collected(vcpu);
    return ATTEMPT_AGAIN;
}

/*
 * A chunk whose digest differs is thrown away and tried again before it counts: each try arms the breakpoint
 * earlier, the last one from the chunk's begin.
 */
static bool replay_chunk(struct vcpu *vcpu)
{
    uint32_t tries = 0;

    position_first_guess(vcpu);
    vcpu->flush = false;
    vcpu->found.valid = false;
    while (wait_for_start(vcpu)) {
        switch (attempt(vcpu)) {
        case ATTEMPT_COMMITTED:
            vcpu->counters[REC_COUNT_CHUNKS]++;
            vcpu->counters[REC_COUNT_CUTS] += vcpu->expected->end == REC_END_POSITION;
            position_learn(vcpu, tries);
            return true;
        case ATTEMPT_STOPPED:
            return false;
        case ATTEMPT_YIELD:
            vcpu->counters[REC_COUNT_STALLS]++;
            order_rest(&vcpu->vm->order, vcpu->index);
            if (wait_for_turn(vcpu, false) != TURN_HERE)
                return false;
            break;
        case ATTEMPT_AGAIN:
            vcpu->counters[REC_COUNT_TRIES]++;
            if (++tries >= REPLAY_TRIES) {
                /* In its turn, since only the first difference in the order of commits tells anything. */
                order_rest(&vcpu->vm->order, vcpu->index);
                if (wait_for_turn(vcpu, false) == TURN_HERE)
                    divergence_report(vcpu);
                return false;
            }
            position_next_guess(vcpu);
            vcpu->flush = !vcpu->flush;
            break;
        }
    }
    return false;
}

void replay_vcpu(struct vcpu *vcpu)
{
    struct vm_replay *replay = &vcpu->vm->replay;

    phase_begin(vcpu, REC_COUNT_TICKS_TURN);
    vcpu->seq = replay->first[vcpu->index];
    vcpu->expected = vcpu->seq ? &replay->commits[vcpu->seq - 1].chunk : NULL;
    while (vcpu->seq && replay_chunk(vcpu))
        next_chunk(vcpu);
    order_rest(&vcpu->vm->order, vcpu->index);
    phase_enter(vcpu, REC_COUNT_TICKS_SLEEP);
}

void replay_take_outcome(struct vm *vm)
{
    const struct rec_trailer *trailer = &vm->replay.trailer;
    bool by_commit = trailer->outcome == REC_OUTCOME_EXIT || trailer->outcome == REC_OUTCOME_SHUTDOWN ||
                     trailer->outcome == REC_OUTCOME_POWER_OFF || trailer->outcome == REC_OUTCOME_RESET;

    if (!by_commit && vm->replay.complete && vm->order.seq == vm->replay.count)
        act_end_guest(vm, trailer->vcpu, (enum rec_outcome)trailer->outcome, trailer->status,
                      trailer->reason);
}
