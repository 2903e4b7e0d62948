#include "hv/record.h"

#include "hv/access.h"
#include "hv/acts.h"
#include "hv/base/check.h"
#include "hv/chunk.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/detail.h"
#include "hv/devices.h"
#include "hv/exits.h"
#include "hv/input.h"
#include "hv/phase.h"
#include "hv/position.h"
#include "hv/sleep.h"
#include "replay/log_format.h"

#include <string.h>

#define SQUASHES_BEFORE_TOKEN 4u
#define STEP_FIRST            2u /* preemption timer ticks: the least that lets an instruction run */
#define STEP_TRIES            256u
#define HURRIED_CHUNKS        32u /* that stay short where a longer one could not end */
#define UNCUT_BOUND           64u /* chunks in a row that find no place to end */

/* ---- Begin ---- */

/*
 * Waits until a chunk may begin: room for its records, its pages and its console bytes. The vCPU rests
 * meanwhile, so that others may free what its view holds.
 */
static bool wait_for_room(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    bool counted = false;

    phase_enter(vcpu, REC_COUNT_TICKS_ROOM);
    while (!order_has_room(&vm->order) || !commit_ring_has_room(&vm->commits, vm->vcpu_count + 1) ||
           !act_console_has_room(vm) || !detail_has_room(vm)) {
        if (!counted) {
            vcpu->counters[REC_COUNT_STALLS]++;
            order_rest(&vm->order, vcpu->index);
        }
        counted = true;
        if (vm_stopping(vm))
            return false;
        cpu_pause();
    }
    return !vm_stopping(vm);
}

static void wait(struct vcpu *vcpu, uint64_t pauses)
{
    while (pauses-- > 0 && !vm_stopping(vcpu->vm))
        cpu_pause();
}

static uint64_t quantum_up(uint64_t ticks)
{
    return ALIGN_UP(ticks, (uint64_t)VM_TIME_QUANTUM);
}

/*
 * The base is at least every value that a committed chunk was given: read after the snapshot, so that
 * whatever this chunk can know of was counted.
 */
static void set_time_base(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t given = __atomic_load_n(&vm->time_given, __ATOMIC_ACQUIRE);
    uint64_t tsc = rdtsc();
    uint64_t now = tsc - MIN(tsc, vm->tsc_start); /* another socket's TSC may be a little behind */

    vcpu->time_base = quantum_up(MAX(now, given));
}

/* The inbound events that the snapshot may know of, the vCPU's own timer, and the 8259 pair. */
static void gather_events(struct vcpu *vcpu)
{
    uint32_t count = inbound_peek(&vcpu->inbound, vcpu->view.snapshot, vcpu->events, REC_MAX_EVENTS - 2);

    vcpu->events_inbound = count;
    if (vlapic_timer_due(&vcpu->state->lapic, vcpu->time_base))
        vcpu->events[count++] = (struct rec_event){
            .kind = REC_EVENT_TIMER, .vector = (uint8_t)(vcpu->state->lapic.lvt_timer & VLAPIC_LVT_VECTOR)};
    if (devices_offer(vcpu, vcpu->view.snapshot, &vcpu->events[count]))
        count++;
    vcpu->event_count = count;
}

/* Chunk length in preemption timer ticks: adaptive, with the user's random variation. */
static uint32_t choose_length(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t length = noise_length(&vcpu->noise, vcpu->length);
    uint64_t deadline = MIN(vlapic_next_deadline(&vcpu->state->lapic),
                            __atomic_load_n(&vm->device_deadline, __ATOMIC_RELAXED));

    /* Not far past the APIC timer and the devices' clocks, which are looked at when a chunk begins. */
    if (deadline != VLAPIC_NEVER)
        length = MIN(length, deadline - MIN(vcpu->time_base, deadline));
    length = MAX(length, MIN(vm->chunk_min, vcpu->length));
    length = MAX(length >> vcpu->vmx.timer_shift, (uint64_t)STEP_FIRST);
    return (uint32_t)MIN(length, (uint64_t)UINT32_MAX);
}

/* ---- The cut ---- */

/* The chunk ends right here; what is needed to find the place again is noted before the sets are collected.
 */
static void note_position(struct vcpu *vcpu)
{
    struct rec_position *position = &vcpu->position;

    vcpu->at_rep = access_at_rep(vcpu);
    position->rip = vmx_get_linear_rip(&vcpu->vmx);
    position->rflags = vmx_get_rflags(&vcpu->vmx);
    position->rcx = vcpu->vmx.gpr[GPR_RCX];
    position->duration = chunk_spent(vcpu);
    position->branches = vmx_pmu_count(&vcpu->vmx);
    position->regs_check = chunk_regs_check(position->rip, position->rflags, vcpu->vmx.gpr, vcpu->at_rep);
    vcpu->end = REC_END_POSITION;
    vcpu->act.kind = ACT_NONE;
}

/*
 * A breakpoint cannot stop in a STI or MOV SS shadow, nor at an instruction that begins with RF set
 * (after the IRET of a fault handler), unless that is an interrupted REP, which must not have a breakpoint of
 * the guest's own. Where the guest has taken all registers, the search steps, and cannot where NMIs are
 * blocked.
 */
static bool may_cut(struct vcpu *vcpu)
{
    struct vmx_event event;

    vmx_get_event(&vcpu->vmx, &event);
    if (event.info & VMX_INFO_VALID)
        return false;
    if (vmx_get_interruptibility(&vcpu->vmx) & VMX_SHADOWS)
        return false;
    if ((vmx_get_interruptibility(&vcpu->vmx) & VMX_BLOCKING_BY_NMI) && vmx_debug_all_used(&vcpu->vmx))
        return false;
    if (!(vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF) && !vmx_debug_here(&vcpu->vmx))
        return true;
    return access_at_rep(vcpu) ? !vmx_debug_here(&vcpu->vmx) : !(vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF);
}

/* Single steps, or nearly so, to the next place where a chunk may be cut. */
static enum chunk_stop step_to_cut(struct vcpu *vcpu, enum chunk_stop stop)
{
    uint32_t step = STEP_FIRST;

    for (uint32_t tries = 0; stop == CHUNK_TIMER && !may_cut(vcpu) && tries < STEP_TRIES; tries++) {
        vcpu->counters[REC_COUNT_STEPS]++;
        stop = chunk_run(vcpu, step++);
    }
    return stop;
}

/*
 * Whether a chunk that is in a REP may end at once, though leave_rep() makes chunks longer than that. One
 * that began at the REP, and is too short to have been elsewhere, is found again from its begin. One that has
 * just come there may end, too, where no chunk has found a place to end many times in a row. (A replay finds
 * that place by its breakpoint, but for a REP that a fault's handler returned to within so few ticks; to
 * refuse the guest would be the only other way.)
 */
static bool short_in_rep(struct vcpu *vcpu)
{
    const struct vmx_guest_state *begin = &vcpu->saved->cpu;

    if (chunk_spent(vcpu) > vcpu->vm->rep_step || !access_at_rep(vcpu))
        return false;
    return vcpu->uncut >= UNCUT_BOUND / 2 ||
           vmx_get_linear_rip(&vcpu->vmx) == begin->segment[SEGMENT_CS].base + begin->rip;
}

/* A REP is left, unless it has lasted for a while: see position.h. */
static enum chunk_stop leave_rep(struct vcpu *vcpu, enum chunk_stop stop)
{
    uint32_t total = 0;
    uint64_t rep = 0;

    if (stop == CHUNK_TIMER && short_in_rep(vcpu))
        return stop;
    for (uint32_t steps = 0; stop == CHUNK_TIMER && steps < POSITION_REP_STEPS &&
                             total++ < 8 * POSITION_REP_STEPS && access_at_rep(vcpu);
         steps++) {
        if (vmx_get_linear_rip(&vcpu->vmx) != rep)
            steps = 0;
        rep = vmx_get_linear_rip(&vcpu->vmx);
        vcpu->counters[REC_COUNT_STEPS]++;
        stop = step_to_cut(vcpu, chunk_run(vcpu, vcpu->vm->rep_step));
    }
    return stop;
}

/* Runs the chunk's length; the host may be interrupted meanwhile, which must leave no trace. */
static enum chunk_stop run_length(struct vcpu *vcpu)
{
    uint32_t length = choose_length(vcpu);
    uint64_t interrupt = noise_interrupt(&vcpu->noise, (uint64_t)length << vcpu->vmx.timer_shift);
    enum chunk_stop stop;

    if (interrupt == 0)
        apic_send_fixed(vcpu->cpu, VECTOR_KICK);
    else if (interrupt != NOISE_NO_INTERRUPT)
        apic_timer_arm(rdtsc() + interrupt);
    stop = chunk_run(vcpu, length);
    if (interrupt != NOISE_NO_INTERRUPT && interrupt != 0)
        apic_timer_stop();
    return stop;
}

/* Runs the chunk to its end, CHUNK_ENDED. All else: it has to be squashed (no page to write to, at a place
 * that cannot be cut). */
static enum chunk_stop run_to_end(struct vcpu *vcpu)
{
    enum chunk_stop stop = run_length(vcpu);

    stop = leave_rep(vcpu, step_to_cut(vcpu, stop));
    if ((stop == CHUNK_TIMER || stop == CHUNK_NO_PAGE) && may_cut(vcpu)) {
        note_position(vcpu);
        return CHUNK_ENDED;
    }
    return stop;
}

/* ---- Commit ---- */

static void fill_record(struct vcpu *vcpu, struct commit_slot *slot, uint64_t seq, uint64_t running)
{
    struct rec_chunk *chunk = &slot->commit.chunk;

    slot->digest = running;
    slot->commit.kind = REC_CHUNK;
    chunk->vcpu = (uint8_t)vcpu->index;
    chunk->end = vcpu->end;
    chunk->flags = vcpu->time_used ? REC_F_TIME : 0;
    if (vcpu->end == REC_END_POSITION)
        chunk->flags |= (vcpu->at_rep ? REC_F_REP : 0) | (vcpu->vm->counts_branches ? REC_F_BRANCHES : 0);
    chunk->digest = log_digest_slice(running);
    chunk->pages = (uint16_t)MIN(vcpu->view.write_count, (uint32_t)UINT16_MAX);
    chunk->lag = (uint32_t)MIN(seq - 1 - vcpu->view.newest, (uint64_t)UINT32_MAX);
    chunk->time_base = vcpu->time_base / VM_TIME_QUANTUM;
    chunk->position = vcpu->position;
    chunk->accessed_bytes = (uint8_t)vcpu->view.accessed.used;
    memcpy(chunk->accessed, vcpu->view.accessed.bytes, vcpu->view.accessed.used);
    chunk->event_count = (uint8_t)vcpu->event_count;
    memcpy(chunk->events, vcpu->events, vcpu->event_count * sizeof(chunk->events[0]));
}

static bool enter_commit(struct vcpu *vcpu, uint64_t *seq)
{
    wait(vcpu, noise_delay(&vcpu->noise));
    while (!vm_stopping(vcpu->vm)) {
        phase_enter(vcpu, REC_COUNT_TICKS_VALIDATE);
        if (view_validate(&vcpu->view) == VIEW_CONFLICT)
            return false;
        phase_enter(vcpu, REC_COUNT_TICKS_COMMIT);
        switch (view_commit_enter(&vcpu->view, seq)) {
        case VIEW_ENTERED:
            if (!vcpu->vm->outcome.decided && devices_agree(vcpu))
                return true;
            view_commit_abandon(&vcpu->view);
            return false;
        case VIEW_AGAIN:
            break;
        case VIEW_BARRED:
            /* Whoever has the token may be waiting for what this chunk holds back. */
            if (order_room_wanted(&vcpu->vm->order))
                return false;
            phase_enter(vcpu, REC_COUNT_TICKS_TOKEN);
            cpu_pause();
            break;
        }
    }
    return false;
}

static bool commit(struct vcpu *vcpu, uint64_t digest)
{
    struct vm *vm = vcpu->vm;
    uint64_t seq;

    if (!enter_commit(vcpu, &seq))
        return false;
    if (vcpu->time_used)
        vm->time_given = MAX(vm->time_given, vcpu->time_base + vcpu->time_reads * vm->time_stride);
    inbound_consume(&vcpu->inbound, vcpu->events_inbound);
    fill_record(vcpu, commit_ring_slot(&vm->commits), seq, order_next_digest(&vm->order, seq, digest));
    commit_ring_put(&vm->commits);
    detail_put(vcpu, seq);
    act_perform(vcpu, seq);
    if (vm->limit && seq >= vm->limit)
        act_end_guest(vm, vcpu->index, REC_OUTCOME_LIMIT, 0, "the last commit that was asked for");
    view_commit_leave(&vcpu->view, seq, digest);
    return true;
}

/* Waits for the token, with which nobody else commits. False: the machine stops. */
static bool take_token(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    /* The view holds nothing back meanwhile, which whoever has the token might need. */
    order_rest(&vm->order, vcpu->index);
    phase_enter(vcpu, REC_COUNT_TICKS_TOKEN);
    while (!order_take_token(&vm->order, vcpu->index)) {
        if (vm_stopping(vm))
            return false;
        cpu_pause();
    }
    vcpu->token = true;
    return true;
}

static void drop_token(struct vcpu *vcpu)
{
    if (vcpu->token)
        order_drop_token(&vcpu->vm->order, vcpu->index);
    vcpu->token = false;
}

static void after_commit(struct vcpu *vcpu)
{
    chunk_keep(vcpu);
    vcpu->counters[REC_COUNT_CHUNKS]++;
    vcpu->counters[REC_COUNT_CUTS] += vcpu->end == REC_END_POSITION;
    drop_token(vcpu);
    vcpu->squashes = 0;
    vcpu->uncut = 0;
    if (vcpu->hurry) { /* it grows again when that place is passed */
        vcpu->hurry--;
        return;
    }
    vcpu->length =
        vcpu->vm->adapt ? MIN(vcpu->length + vcpu->length / 4, vcpu->vm->chunk_ticks) : vcpu->vm->chunk_ticks;
}

static enum rec_counter cause_counter(enum view_cause cause)
{
    switch (cause) {
    case VIEW_CAUSE_WORDS:
        return REC_COUNT_SQUASH_WORDS;
    case VIEW_CAUSE_PAGE:
        return REC_COUNT_SQUASH_PAGE;
    case VIEW_CAUSE_READ:
        return REC_COUNT_SQUASH_READ;
    case VIEW_CAUSE_TABLE:
        return REC_COUNT_SQUASH_TABLES;
    default:
        return REC_COUNT_SQUASH_OTHER;
    }
}

/* The page of the conflict, for the log's PAGES block. */
static void note_contention(struct vcpu *vcpu)
{
    static const uint8_t causes[] = {[VIEW_CAUSE_WORDS] = REC_CAUSE_WORDS,
                                     [VIEW_CAUSE_PAGE] = REC_CAUSE_PAGE,
                                     [VIEW_CAUSE_READ] = REC_CAUSE_READ,
                                     [VIEW_CAUSE_TABLE] = REC_CAUSE_TABLES};
    const struct view_conflict *met = &vcpu->view.conflict;
    bool device = met->actor >= vcpu->vm->vcpu_count;
    struct contention_conflict conflict = {.gpn = met->gpn, .word = (uint16_t)met->word};

    if (met->cause == VIEW_CAUSE_NONE)
        return;
    conflict.cause = device ? REC_CAUSE_DEVICE : causes[met->cause];
    conflict.by = (uint16_t)(device ? REC_BY_DEVICE : 1u << met->actor);
    contention_note(&vcpu->contention, &conflict);
}

/* A shorter chunk meets less; past a bound the others must wait. */
static bool after_squash(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    vcpu->counters[REC_COUNT_SQUASHES]++;
    vcpu->counters[cause_counter(vcpu->view.conflict.cause)]++;
    note_contention(vcpu);
    vcpu->squashes++;
    if (vm->adapt)
        vcpu->length = MAX(vcpu->length / 2, vm->chunk_min);
    if (vcpu->squashes < SQUASHES_BEFORE_TOKEN)
        return true;
    if (vcpu->squashes == SQUASHES_BEFORE_TOKEN)
        vcpu->counters[REC_COUNT_TOKENS]++;
    if (!take_token(vcpu))
        return false;
    /* No other vCPU can squash it now, so it may as well get far. */
    if (vcpu->squashes == SQUASHES_BEFORE_TOKEN)
        vcpu->length = vm->chunk_ticks;
    return true;
}

/*
 * The chunk came to a place where it cannot be cut, or set more accessed bits than a record can list: it has
 * to end before that, or, in a REP that the guest has a breakpoint on, after it. Where no length will do, the
 * guest runs in a circle that has nothing else, of IRETs that set RF say: then it ends here, as no chunk
 * could show that it went on.
 */
static bool end_elsewhere(struct vcpu *vcpu, enum chunk_stop stop, uint64_t spent)
{
    struct vm *vm = vcpu->vm;
    uint64_t meant = vcpu->length;

    if (++vcpu->uncut < UNCUT_BOUND) {
        bool goes_on = after_squash(vcpu);
        /* A longer one: than was meant, as a timer that is due soon may have cut it short. */
        vcpu->length = stop == CHUNK_UNCLEAR ? MIN(MAX(meant, spent) * 2, (uint64_t)UINT32_MAX)
                                             : MAX(MIN(meant, spent) / 2, 1u);
        vcpu->hurry = stop == CHUNK_UNCLEAR ? 0 : HURRIED_CHUNKS;
        return goes_on;
    }
    spin_lock(&vm->order.lock);
    act_end_guest(vm, vcpu->index, REC_OUTCOME_REFUSED, 0, "an endless loop without a place to end a chunk");
    spin_unlock(&vm->order.lock);
    return false;
}

static uint64_t ticks_spent(const struct vcpu *vcpu)
{
    return chunk_spent(vcpu) << vcpu->vmx.timer_shift;
}

static void walk_in_vain(struct vcpu *vcpu)
{
    uint64_t path;

    while (noise_walk(&vcpu->noise, &path))
        access_walk_in_vain(vcpu, path);
}

/* One chunk: recorded, or squashed. */
static bool record_chunk(struct vcpu *vcpu)
{
    uint64_t digest;

    chunk_snapshot(vcpu);
    set_time_base(vcpu);
    gather_events(vcpu);
    if (chunk_start(vcpu)) {
        enum chunk_stop stop = run_to_end(vcpu);
        if (stop != CHUNK_ENDED) {
            uint64_t spent = ticks_spent(vcpu);
            chunk_squash(vcpu);
            return end_elsewhere(vcpu, stop, spent);
        }
        walk_in_vain(vcpu);
    }
    digest = chunk_finish(vcpu);
    if (vcpu->view.accessed_full) {
        uint64_t spent = ticks_spent(vcpu);
        chunk_squash_collected(vcpu);
        return end_elsewhere(vcpu, CHUNK_NO_PAGE, spent);
    }
    if (vcpu->end == REC_END_POSITION)
        vcpu->position.state_check = (uint32_t)(digest ^ digest >> 32);
    detail_note(vcpu);
    if (!noise_squash(&vcpu->noise) && commit(vcpu, digest)) {
        after_commit(vcpu);
        return true;
    }
    chunk_squash_collected(vcpu);
    return after_squash(vcpu);
}

/* The last chunk ended by a PAUSE and was committed, and the next one would come to the same. */
static bool spins_in_vain(const struct vcpu *vcpu)
{
    return vcpu->counters[REC_COUNT_CHUNKS] && vcpu->squashes == 0 && vcpu->end == REC_END_PAUSE &&
           vcpu->view.write_count == 0;
}

void record_vcpu(struct vcpu *vcpu)
{
    phase_begin(vcpu, REC_COUNT_TICKS_ROOM);
    while (wait_for_room(vcpu)) {
        if (vcpu->state->activity != VCPU_RUNNING && !sleep_until_event(vcpu))
            break;
        if (spins_in_vain(vcpu))
            sleep_spinning(vcpu);
        wait(vcpu, noise_late(&vcpu->noise));
        if (noise_token(&vcpu->noise) && !take_token(vcpu))
            break;
        input_time(vcpu->vm);
        if (!record_chunk(vcpu))
            break;
    }
    drop_token(vcpu);
    order_rest(&vcpu->vm->order, vcpu->index);
    phase_enter(vcpu, REC_COUNT_TICKS_SLEEP);
}
