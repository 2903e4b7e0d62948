#include "hv/position.h"

#include "hv/access.h"
#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/divergence.h"
#include "hv/exits.h"
#include "hv/phase.h"

#define MARGIN_FIRST     500u /* preemption timer ticks */
#define MARGIN_MIN       50u
#define MARGIN_FACTOR    8u
#define SLOWER           16u /* how many times a replaying machine may be slower than the recording one */
#define ARITHMETIC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

void position_first_guess(struct vcpu *vcpu)
{
    if (vcpu->margin_learned == 0)
        vcpu->margin_learned = MARGIN_FIRST;
    vcpu->guesses = 0;
    vcpu->skid = vcpu->vm->skid;
    vcpu->margin = vcpu->vm->guess ? vcpu->margin_learned : UINT64_MAX;
}

void position_next_guess(struct vcpu *vcpu)
{
    vcpu->guesses++;
    vcpu->skid *= POSITION_SKID_FACTOR;
    if (vcpu->vm->guess)
        vcpu->margin *= MARGIN_FACTOR;
}

/* A miss costs a whole run of the chunk, an early breakpoint some hits: be quick to widen, slow to narrow. */
void position_learn(struct vcpu *vcpu, uint32_t tries)
{
    if (vcpu->vm->counts_branches)
        return; /* it has not been tried */
    if (tries)
        vcpu->margin_learned = MIN(vcpu->margin_learned * 2, vcpu->vm->chunk_ticks);
    else if (vcpu->margin_learned > MARGIN_MIN)
        vcpu->margin_learned -= vcpu->margin_learned / 64 + 1;
}

void position_choose_way(struct vm *vm, const struct vmx_pmu *pmu)
{
    bool wanted = vm->mode == VM_RECORD ||
                  (vm->mode == VM_REPLAY && vm->replay.header.branch_event == REC_BRANCHES_CONDITIONAL);

    vm->pmu = *pmu;
    vm->counts_branches = wanted && pmu->lack == VMX_PMU_LACKS_NOTHING;
    vm->header.branch_event = vm->counts_branches ? REC_BRANCHES_CONDITIONAL : REC_BRANCHES_NONE;
}

static bool by_count(const struct vcpu *vcpu)
{
    return vcpu->vm->counts_branches && vcpu->guesses < POSITION_COUNT_GUESSES;
}

bool position_count_agrees(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;

    return !vm->counts_branches || !vm->verify || vcpu->expected->end != REC_END_POSITION ||
           vmx_pmu_count(&vcpu->vmx) == vcpu->expected->position.branches;
}

static uint32_t fold(uint64_t digest)
{
    return (uint32_t)(digest ^ digest >> 32);
}

/* Registers and place agree; now the whole state and the changed pages. */
static bool whole_state_agrees(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_SEARCH);
    if (fold(chunk_peek_digest(vcpu, vcpu->guesses >= POSITION_SIMD_GUESSES)) ==
        vcpu->expected->position.state_check)
        return true;
    divergence_note_place(vcpu);
    return false;
}

static bool registers_agree(struct vcpu *vcpu, const uint64_t gpr[GPR_COUNT])
{
    const struct rec_chunk *expected = vcpu->expected;

    return chunk_regs_check(vmx_get_linear_rip(&vcpu->vmx), vmx_get_rflags(&vcpu->vmx), gpr,
                            expected->flags & REC_F_REP) == expected->position.regs_check;
}

/* RF is part of the place: the recorded one, not the one that passed the breakpoint. */
static void settle_flags(struct vcpu *vcpu)
{
    uint64_t recorded = vcpu->expected->position.rflags;
    uint64_t from_log = RFLAGS_RF | (vcpu->expected->flags & REC_F_REP ? ARITHMETIC_FLAGS : 0);

    vmx_set_rflags(&vcpu->vmx, (vmx_get_rflags(&vcpu->vmx) & ~from_log) | (recorded & from_log));
}

/* ---- REP: a cut after some iterations ---- */

static uint64_t width_mask(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : (UINT64_C(1) << bytes * 8) - 1;
}

static uint64_t moved(uint64_t reg, uint64_t by, uint64_t mask, bool down)
{
    uint64_t value = down ? reg - by : reg + by;

    /* A 32-bit result clears the upper half of the register, a 16-bit one leaves the rest. */
    return mask == UINT64_C(0xffff) ? (reg & ~mask) | (value & mask) : value & mask;
}

static bool uses_source(const struct insn_rep *rep)
{
    return rep->string == INSN_MOVS || rep->string == INSN_CMPS || rep->string == INSN_LODS ||
           rep->string == INSN_OUTS;
}

static bool uses_destination(const struct insn_rep *rep)
{
    return rep->string != INSN_LODS && rep->string != INSN_OUTS;
}

/*
 * Whether `rest` more iterations from here would make the registers the recorded ones. LODS changes RAX,
 * too, which only running it can tell.
 */
static bool rep_may_lead_there(struct vcpu *vcpu, const struct insn_rep *rep, uint64_t count)
{
    uint64_t gpr[GPR_COUNT], mask = width_mask(rep->addr_size);
    bool down = vmx_get_rflags(&vcpu->vmx) & RFLAGS_DF;

    if (rep->string == INSN_LODS)
        return true;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        gpr[i] = vcpu->vmx.gpr[i];
    if (count && uses_source(rep))
        gpr[GPR_RSI] = moved(gpr[GPR_RSI], count * rep->size, mask, down);
    if (count && uses_destination(rep))
        gpr[GPR_RDI] = moved(gpr[GPR_RDI], count * rep->size, mask, down);
    return registers_agree(vcpu, gpr);
}

/* RCX with `count` iterations to go, as the REP itself would leave it. */
static uint64_t rep_counter(uint64_t rcx, uint64_t count, uint64_t mask)
{
    return mask == UINT64_C(0xffff) ? (rcx & ~mask) | count : count;
}

/*
 * Runs `count` iterations of the REP at RIP: with RCX = count the processor stops by itself at the next
 * instruction, where the breakpoint waits. Then the place is as if the REP had been cut: RIP back at the REP,
 * RCX what was left; or behind it, where CMPS or SCAS came to their end. Either way the guest can go on from
 * there. MISSED means just that.
 */
static enum position_result rep_run(struct vcpu *vcpu, const struct insn_rep *rep, uint64_t count)
{
    uint64_t rip = vmx_get_rip(&vcpu->vmx), linear = vmx_get_linear_rip(&vcpu->vmx);
    uint64_t mask = width_mask(rep->addr_size), rcx = vcpu->vmx.gpr[GPR_RCX], rest;
    enum chunk_stop stop;

    vmx_set_gpr(&vcpu->vmx, GPR_RCX, rep_counter(rcx, count, mask));
    vmx_breakpoint_arm(&vcpu->vmx, linear + rep->length, false);
    vmx_resume_flag(&vcpu->vmx, false);
    stop = chunk_run(vcpu, POSITION_SLACK);
    vmx_breakpoint_disarm(&vcpu->vmx);
    if (stop == CHUNK_STOPPED)
        return POSITION_STOPPED;
    if (stop == CHUNK_NO_PAGE)
        return POSITION_NO_PAGE;
    /* A window that the first iteration opened exits before the breakpoint does (SDM 3C 26.2). */
    if (stop != CHUNK_BREAKPOINT && stop != CHUNK_INJECT)
        return POSITION_LOST;
    rest = vcpu->vmx.gpr[GPR_RCX] & mask;
    if (rest == 0)
        vmx_set_rip(&vcpu->vmx, rip);
    vmx_set_gpr(&vcpu->vmx, GPR_RCX, rep_counter(rcx, (rcx & mask) - count + rest, mask));
    return POSITION_MISSED;
}

/* At the REP, with the recorded count: what the log tells of the flags is put in, and taken back if it is
 * another place. */
static enum position_result compare_here(struct vcpu *vcpu)
{
    uint64_t rflags = vmx_get_rflags(&vcpu->vmx), rcx = vcpu->vmx.gpr[GPR_RCX];

    if (!registers_agree(vcpu, vcpu->vmx.gpr))
        return POSITION_MISSED;
    vmx_set_gpr(&vcpu->vmx, GPR_RCX, vcpu->expected->position.rcx);
    settle_flags(vcpu);
    if (whole_state_agrees(vcpu))
        return POSITION_FOUND;
    vmx_set_gpr(&vcpu->vmx, GPR_RCX, rcx);
    vmx_set_rflags(&vcpu->vmx, rflags);
    return POSITION_MISSED;
}

/*
 * While the guest has breakpoints of its own: a REP whose accesses may match one must run with its own RCX,
 * and the timer must not stop in a REP that has one. Then the place is looked for in single steps.
 */
static bool steps_through_rep(const struct vcpu *vcpu)
{
    return (vcpu->expected->flags & REC_F_REP) && vmx_debug_any_used(&vcpu->vmx);
}

static enum position_result compare_rep(struct vcpu *vcpu)
{
    uint64_t here = vmx_get_linear_rip(&vcpu->vmx), mask, left, count;
    uint8_t bytes[INSN_MAX_BYTES];
    enum position_result result;
    struct insn_rep rep;

    /* It is never cut at a REP with a breakpoint of the guest's own. */
    if (vmx_debug_here(&vcpu->vmx) ||
        !insn_rep_string(bytes, access_fetch(vcpu, bytes), access_insn_mode(vcpu), &rep))
        return POSITION_MISSED;
    mask = width_mask(rep.addr_size);
    left = vcpu->expected->position.rcx & mask;
    while (vmx_get_linear_rip(&vcpu->vmx) == here && (vcpu->vmx.gpr[GPR_RCX] & mask) >= left) {
        count = (vcpu->vmx.gpr[GPR_RCX] & mask) - left;
        if (count == 0)
            return compare_here(vcpu);
        /* Each iteration of these ends a chunk. */
        if (rep.string == INSN_INS || rep.string == INSN_OUTS)
            return POSITION_MISSED;
        /* An event that is due here comes before the next iteration; a debug trap after it. */
        if (vcpu_would_inject(vcpu) || (vmx_get_rflags(&vcpu->vmx) & RFLAGS_TF) || steps_through_rep(vcpu) ||
            !rep_may_lead_there(vcpu, &rep, count))
            return POSITION_MISSED;
        /* After the first iteration a shadow ends, and an event may be due then. */
        if (vmx_get_interruptibility(&vcpu->vmx) & VMX_SHADOWS)
            count = 1;
        result = rep_run(vcpu, &rep, count);
        if (result != POSITION_MISSED)
            return result;
    }
    return POSITION_MISSED;
}

/* ---- The search ---- */

/* Compares the present place with the recorded one; after MISSED the guest can go on. */
static enum position_result compare(struct vcpu *vcpu)
{
    if (vmx_get_linear_rip(&vcpu->vmx) != vcpu->expected->position.rip)
        return POSITION_MISSED;
    if (by_count(vcpu) && vmx_pmu_count(&vcpu->vmx) != vcpu->expected->position.branches)
        return POSITION_MISSED;
    if (vcpu->expected->flags & REC_F_REP)
        return compare_rep(vcpu);
    if (!registers_agree(vcpu, vcpu->vmx.gpr)) {
        divergence_note_near(vcpu);
        return POSITION_MISSED;
    }
    if (!whole_state_agrees(vcpu))
        return POSITION_MISSED;
    settle_flags(vcpu);
    return POSITION_FOUND;
}

/* An injection at the place looked for is compared when it comes up: before the search it is too early. */
static bool pass_injection(struct vcpu *vcpu)
{
    if (compare(vcpu) != POSITION_MISSED)
        return false; /* found, or spoilt: the search's own look says which */
    vcpu->passed = true;
    return true;
}

/* As the log says, within what a chunk can have taken. */
static uint64_t recorded_duration(const struct vcpu *vcpu)
{
    return MIN(vcpu->expected->position.duration, vcpu->vm->astray_ticks);
}

/* Runs without a breakpoint to `margin` ticks before the recorded duration's end. */
static enum chunk_stop approach_by_time(struct vcpu *vcpu)
{
    uint64_t duration = recorded_duration(vcpu);
    enum chunk_stop stop;

    if (duration <= vcpu->margin)
        return CHUNK_TIMER;
    do {
        stop = chunk_run(vcpu, (uint32_t)MIN(duration - vcpu->margin - chunk_spent(vcpu), UINT32_MAX));
        if (stop == CHUNK_INJECT && !pass_injection(vcpu))
            return stop;
    } while (stop == CHUNK_INJECT && chunk_spent(vcpu) < duration - vcpu->margin);
    return stop;
}

/* Runs without a breakpoint to about `skid` branches before the recorded count. */
static enum chunk_stop approach_by_count(struct vcpu *vcpu)
{
    const struct rec_position *position = &vcpu->expected->position;
    uint64_t goal = position->branches - vcpu->skid;
    uint64_t bound = recorded_duration(vcpu) * SLOWER + POSITION_SLACK;
    enum chunk_stop stop = CHUNK_COUNTED;

    /* Where no branch comes for long, or no interrupt, the timer stops now and then. */
    while (vmx_pmu_count(&vcpu->vmx) < goal && chunk_spent(vcpu) < bound) {
        vmx_pmu_arm(&vcpu->vmx, goal);
        stop = chunk_run(vcpu, POSITION_SLACK);
        if (stop != CHUNK_COUNTED && stop != CHUNK_TIMER && (stop != CHUNK_INJECT || !pass_injection(vcpu)))
            break;
    }
    vmx_pmu_disarm(&vcpu->vmx);
    return stop;
}

static enum chunk_stop approach(struct vcpu *vcpu)
{
    if (by_count(vcpu) && vcpu->expected->position.branches > vcpu->skid)
        return approach_by_count(vcpu);
    return approach_by_time(vcpu);
}

/*
 * How long to run on: in a REP, where no breakpoint may fire, the timer has to stop now and then. Not at the
 * same places in each guess, as they may be such where it is unclear how to go on.
 */
static uint32_t stretch(const struct vcpu *vcpu, uint64_t bound)
{
    uint64_t left = MIN(bound - chunk_spent(vcpu), UINT32_MAX);

    if (!(vcpu->expected->flags & REC_F_REP) || steps_through_rep(vcpu))
        return (uint32_t)left;
    return (uint32_t)MIN(left, 2 * (uint64_t)vcpu->vm->rep_step + vcpu->guesses);
}

/*
 * Goes on from the breakpoint. Where the guest has one of its own on the same instruction, that is due now;
 * RF says whether it has fired.
 */
static void pass_breakpoint(struct vcpu *vcpu)
{
    uint64_t guests = vmx_debug_here(&vcpu->vmx);

    if (vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF)
        return;
    if (guests)
        vmx_debug_raise(&vcpu->vmx, guests);
    else
        vmx_resume_flag(&vcpu->vmx, true);
}

static enum position_result search(struct vcpu *vcpu)
{
    const struct rec_position *position = &vcpu->expected->position;
    uint64_t bound = MAX(recorded_duration(vcpu), chunk_spent(vcpu)) * 2 + POSITION_SLACK;
    enum chunk_stop stop = CHUNK_BREAKPOINT;

    for (;;) {
        enum position_result result = compare(vcpu);
        if (result != POSITION_MISSED)
            return result;
        vcpu->passed = true;
        if (vmx_get_linear_rip(&vcpu->vmx) == position->rip && stop == CHUNK_BREAKPOINT)
            pass_breakpoint(vcpu);
        if (chunk_spent(vcpu) >= bound || (by_count(vcpu) && vmx_pmu_count(&vcpu->vmx) > position->branches))
            return POSITION_MISSED;
        vmx_breakpoint_arm(&vcpu->vmx, position->rip, steps_through_rep(vcpu));
        stop = chunk_run(vcpu, stretch(vcpu, bound));
        vmx_breakpoint_disarm(&vcpu->vmx);
        if (stop == CHUNK_BREAKPOINT)
            vcpu->counters[REC_COUNT_HITS]++;
        else if (stop == CHUNK_STOPPED)
            return POSITION_STOPPED;
        else if (stop == CHUNK_NO_PAGE)
            return POSITION_NO_PAGE;
        else if (stop != CHUNK_INJECT && stop != CHUNK_TIMER)
            return POSITION_MISSED;
    }
}

enum position_result position_find(struct vcpu *vcpu)
{
    /* The recorded chunk may have ended because there was no page for what INS found. */
    if (vcpu->state->completion.memory_bytes[0]) {
        if (compare(vcpu) == POSITION_FOUND) {
            vcpu->completion = vcpu->state->completion; /* it is still to be stored */
            return POSITION_FOUND;
        }
        if (!chunk_store_input(vcpu))
            return POSITION_NO_PAGE;
    }
    switch (approach(vcpu)) {
    case CHUNK_TIMER:
    case CHUNK_COUNTED:
    case CHUNK_INJECT:
        return search(vcpu);
    case CHUNK_STOPPED:
        return POSITION_STOPPED;
    case CHUNK_NO_PAGE:
        return POSITION_NO_PAGE;
    default:
        return POSITION_MISSED;
    }
}
