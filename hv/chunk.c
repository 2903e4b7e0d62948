#include "hv/chunk.h"

#include "hv/access.h"
#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "hv/cpu/cpu.h"
#include "hv/exits.h"
#include "hv/phase.h"

#include <string.h>

#define CHUNK_SOON       2u /* preemption timer ticks */
#define ARITHMETIC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

uint64_t vcpu_read_time(struct vcpu *vcpu)
{
    if (vcpu->vm->mode == VM_RUN)
        return rdtsc();
    vcpu->time_used = true;
    vcpu->state->time_reads++;
    vcpu->time_reads++;
    return vcpu->time_base + vcpu->time_reads * vcpu->vm->time_stride;
}

/* ---- The state in the processor ---- */

/*
 * The SIMD registers are the hypervisor's from here to load_xstate(), and hold nothing of the guest: its
 * state is saved, or will be put back. XCR0 may be the guest's still, also that of a squashed chunk.
 */
static void own_simd(void)
{
    if (xgetbv(0) != CPUID_MODEL_XCR0)
        xsetbv(0, CPUID_MODEL_XCR0);
}

/*
 * All components are restored, so that none is in its initial configuration by accident of what ran before
 * (XINUSE, SDM 1 13.6); XCR0 must have them all meanwhile.
 */
static void load_xstate(struct vcpu *vcpu)
{
    own_simd();
    xrstor(vcpu->state->xsave, CPUID_MODEL_XCR0);
    if (vcpu->state->xcr0 != CPUID_MODEL_XCR0)
        xsetbv(0, vcpu->state->xcr0);
}

static void save_xstate(struct vcpu *vcpu)
{
    if (vcpu->state->xcr0 != CPUID_MODEL_XCR0)
        xsetbv(0, CPUID_MODEL_XCR0);
    xsave(vcpu->state->xsave, CPUID_MODEL_XCR0);
    if (vcpu->state->xcr0 != CPUID_MODEL_XCR0)
        xsetbv(0, vcpu->state->xcr0);
}

void chunk_read_state(struct vcpu *vcpu)
{
    vmx_guest_save(&vcpu->vmx, &vcpu->state->cpu);
    save_xstate(vcpu);
    vcpu_state_canonicalize(vcpu->state);
}

/* The instruction that ended the last chunk retires, with what its act found. */
static void apply_completion(struct vcpu *vcpu)
{
    struct vcpu_completion *completion = &vcpu->state->completion;

    if (completion->memory_bytes[0] || !completion->length)
        return;
    if (completion->gpr_mask)
        vmx_set_gpr(&vcpu->vmx, completion->gpr,
                    (vcpu->vmx.gpr[completion->gpr] & ~completion->gpr_mask) |
                        (completion->gpr_value & completion->gpr_mask));
    if (completion->flags_mask)
        vmx_set_rflags(&vcpu->vmx, (vmx_get_rflags(&vcpu->vmx) & ~completion->flags_mask) |
                                       (completion->flags_value & completion->flags_mask));
    vcpu->vmx.raw.instruction_length = completion->length;
    vmx_skip_instruction(&vcpu->vmx);
    memset(completion, 0, sizeof(*completion));
}

static void put_in_processor(struct vcpu *vcpu)
{
    if (!vcpu->loaded)
        vmx_guest_load(&vcpu->vmx, &vcpu->state->cpu);
    vcpu->loaded = true;
    apply_completion(vcpu);
}

/* A startup IPI counts only for a vCPU that waits for one (SDM 3A 9.4.3). */
static void apply_startup(struct vcpu *vcpu, uint8_t page)
{
    if (vcpu->state->activity != VCPU_WAIT_SIPI)
        return;
    vmx_guest_sipi(&vcpu->state->cpu, page);
    vcpu->state->activity = VCPU_RUNNING;
    vcpu->loaded = false;
    put_in_processor(vcpu);
}

static void apply_event(struct vcpu *vcpu, const struct rec_event *event)
{
    struct vcpu_state *state = vcpu->state;

    switch (event->kind) {
    case REC_EVENT_FIXED:
        vlapic_accept(&state->lapic, event->vector);
        break;
    case REC_EVENT_TIMER:
        vlapic_timer_fire(&state->lapic, vcpu->time_base);
        vcpu->time_used = true;
        break;
    case REC_EVENT_NMI:
        state->nmi_pending = 1; /* at most one waits (SDM 3A 6.7.1) */
        break;
    case REC_EVENT_INIT:
        vcpu_state_init(state);
        vcpu->loaded = false;
        put_in_processor(vcpu);
        break;
    case REC_EVENT_SIPI:
        apply_startup(vcpu, event->vector);
        break;
    case REC_EVENT_LEVEL:
        vlapic_accept_level(&state->lapic, event->vector);
        break;
    case REC_EVENT_EXTINT:
        state->extint = VCPU_EXTINT | event->vector;
        break;
    default:
        break;
    }
    vcpu->irq_check = true;
}

/* HLT ends where the processor has something to take (SDM 2A HLT). */
static bool awake(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;

    if (state->activity == VCPU_HALTED &&
        ((state->nmi_pending && vmx_can_take_nmi(&vcpu->vmx)) ||
         ((state->extint || vlapic_pending(&state->lapic) >= 0) && vmx_can_take_interrupt(&vcpu->vmx))))
        state->activity = VCPU_RUNNING;
    return state->activity == VCPU_RUNNING;
}

void chunk_snapshot(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_BEGIN);
    own_simd();
    view_begin(&vcpu->view);
    vcpu->time_used = false;
    vcpu->time_reads = 0;
    vcpu->pauses = 0;
    vcpu->spent = 0;
    vcpu->timer_given = 0;
    vcpu->passed = false;
    vcpu->at_rep = false;
    vcpu->act.kind = ACT_NONE;
    memset(&vcpu->completion, 0, sizeof(vcpu->completion));
}

bool chunk_start(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_STATE);
    vcpu->irq_check = true;
    vmx_pmu_reset(&vcpu->vmx);
    put_in_processor(vcpu);
    for (uint32_t i = 0; i < vcpu->event_count; i++)
        apply_event(vcpu, &vcpu->events[i]);
    /* Without chunks nothing ever takes it out again. */
    if (vcpu->vm->mode != VM_RUN || !vcpu->xstate_loaded)
        load_xstate(vcpu);
    vcpu->xstate_loaded = true;
    if (awake(vcpu))
        return true;
    vcpu->end = REC_END_HLT;
    return false;
}

/* ---- Running ---- */

static void set_timer(struct vcpu *vcpu, uint32_t ticks)
{
    vcpu->spent = chunk_spent(vcpu);
    vcpu->timer_given = ticks;
    vmx_set_timer(&vcpu->vmx, ticks);
}

uint64_t chunk_spent(const struct vcpu *vcpu)
{
    uint32_t left = vcpu->timer_given ? vmx_timer_left((struct vmx_vcpu *)&vcpu->vmx) : 0;

    return vcpu->spent + (vcpu->timer_given - MIN(left, vcpu->timer_given));
}

void chunk_shorten(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;
    uint64_t deadline = vlapic_next_deadline(&vcpu->state->lapic);
    uint64_t now = vcpu->time_base + vcpu->time_reads * vm->time_stride;
    uint64_t ticks;

    if (vm->mode != VM_RECORD || deadline == VLAPIC_NEVER || !vcpu->timer_given)
        return;
    ticks = MAX(deadline > now ? deadline - now : 0, vm->chunk_min) >> vcpu->vmx.timer_shift;
    if (ticks < vmx_timer_left(&vcpu->vmx))
        set_timer(vcpu, (uint32_t)ticks);
}

void chunk_end_soon(struct vcpu *vcpu)
{
    if (vcpu->vm->mode == VM_RECORD && vmx_timer_left(&vcpu->vmx) > CHUNK_SOON)
        set_timer(vcpu, CHUNK_SOON);
}

/*
 * Views that changed a present mapping, or whose A and D bits were cleared, ask for it (SDM 3C 29.4.3.3). A
 * replay that differed is tried with flushes at each entry: a guest that relies on stale translations sees
 * them or not as evictions have it.
 */
static void invalidate(struct vcpu *vcpu)
{
    if (!vcpu->ept.needs_invept && !vcpu->flush)
        return;
    vmx_invept_single(&vcpu->vmx, vcpu->eptp);
    ept_invalidated(&vcpu->ept);
    vcpu->counters[REC_COUNT_INVEPT]++;
}

static bool resume_flag(struct vcpu *vcpu)
{
    return (vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF) != 0;
}

/*
 * Whether a breakpoint of the guest's on the instruction at RIP would fire again in the middle of a REP: what
 * is not delivered as an event does not show that some iterations are done (SDM 3C 28.3.3; 3B 18.3.1.1).
 */
static bool is_unclear(struct vcpu *vcpu)
{
    return vcpu->vm->mode != VM_RUN && vmx_debug_here(&vcpu->vmx) && !resume_flag(vcpu) &&
           access_at_rep(vcpu);
}

static enum chunk_stop stop_of(struct vcpu *vcpu, enum exit_step step)
{
    switch (step) {
    case EXIT_ENDED:
        return CHUNK_ENDED;
    case EXIT_TIMER:
        return is_unclear(vcpu) ? CHUNK_UNCLEAR : CHUNK_TIMER;
    case EXIT_BREAKPOINT:
        return CHUNK_BREAKPOINT;
    default:
        return CHUNK_NO_PAGE;
    }
}

/* Whether the search for the recorded end waits for this place: an injection here must be looked at first. */
static bool at_awaited_place(struct vcpu *vcpu)
{
    const struct rec_chunk *expected = vcpu->expected;
    const struct vmx_vcpu *vmx = &vcpu->vmx;

    return expected && expected->end == REC_END_POSITION &&
           vmx_get_linear_rip(&vcpu->vmx) ==
               (vmx->breakpoint_armed ? vmx->breakpoint : expected->position.rip);
}

/*
 * The counter's interrupt is over, so another exit must stop the guest where this one cannot: an event that
 * is half delivered must not meet a breakpoint's RF.
 */
static bool counted(struct vcpu *vcpu)
{
    struct vmx_event event;

    if (!vmx_pmu_reached(&vcpu->vmx))
        return false;
    vmx_get_event(&vcpu->vmx, &event);
    if (!(event.info & VMX_INFO_VALID))
        return true;
    set_timer(vcpu, CHUNK_SOON);
    return false;
}

bool chunk_store_input(struct vcpu *vcpu)
{
    struct vcpu_completion *completion = &vcpu->state->completion;
    struct access_span span;

    if (!completion->memory_bytes[0])
        return true;
    memcpy(span.gpa, completion->memory, sizeof(span.gpa));
    memcpy(span.bytes, completion->memory_bytes, sizeof(span.bytes));
    if (!access_write(vcpu, &span, &completion->gpr_value)) {
        vcpu->completion = *completion;
        return false;
    }
    memset(completion->memory_bytes, 0, sizeof(completion->memory_bytes));
    apply_completion(vcpu);
    memset(completion, 0, sizeof(*completion));
    return true;
}

/* After a step of one iteration, the REP's own breakpoint has fired. */
static bool stepped_to_breakpoint(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = &vcpu->vmx;

    if (!vmx->stepping)
        return false;
    if (vmx->stepped && vmx->step_forged && vmx->raw.rip == vmx->step_rip && vmx_debug_here(vmx) &&
        access_at_rep(vcpu))
        vmx_resume_flag(vmx, true);
    return vmx_breakpoint_stepped(vmx);
}

enum chunk_stop chunk_run(struct vcpu *vcpu, uint32_t ticks)
{
    struct vmx_exit exit;

    phase_enter(vcpu, REC_COUNT_TICKS_EXITS);
    set_timer(vcpu, ticks);
    if (!chunk_store_input(vcpu))
        return CHUNK_NO_PAGE;
    while (!vm_stopping(vcpu->vm)) {
        enum exit_step step;
        if (vcpu_would_inject(vcpu) && !vcpu->passed && at_awaited_place(vcpu))
            return CHUNK_INJECT;
        vcpu->passed = false;
        vcpu_deliver(vcpu);
        invalidate(vcpu);
        phase_enter(vcpu, REC_COUNT_TICKS_GUEST);
        vmx_enter(&vcpu->vmx, &exit);
        phase_enter(vcpu, REC_COUNT_TICKS_EXITS);
        step = exit_handle(vcpu, &exit);
        if (step != EXIT_RESUME)
            return stop_of(vcpu, step);
        if (counted(vcpu))
            return is_unclear(vcpu) ? CHUNK_UNCLEAR : CHUNK_COUNTED;
        if (stepped_to_breakpoint(vcpu))
            return CHUNK_BREAKPOINT;
    }
    return CHUNK_STOPPED;
}

/* ---- Ending ---- */

/*
 * The bits that the list tells are in no page's digest, but come out as the list says: so it has to be the
 * recorded one, which a replay has from the chunk's begin on.
 */
static uint64_t digest_of(const struct vcpu *vcpu, uint64_t writes)
{
    const struct accessed_list *list = &vcpu->view.accessed;
    uint64_t digest = digest_word(vcpu_state_change_digest(vcpu->saved, vcpu->state), writes);

    return list->used ? digest_bytes(digest, list->bytes, list->used) : digest;
}

static bool page_dirty(void *vcpu, uint32_t gpn)
{
    return ept_dirty(&((struct vcpu *)vcpu)->ept, gpn);
}

uint64_t chunk_peek_digest(struct vcpu *vcpu, bool simd_as_is)
{
    uint64_t writes;

    chunk_read_state(vcpu);
    if (simd_as_is) {
        writes = view_peek_digest(&vcpu->view, page_dirty, vcpu, FRAME_SIMD_GUEST);
    } else {
        own_simd();
        writes = view_peek_digest(&vcpu->view, page_dirty, vcpu, FRAME_SIMD_FREE);
        load_xstate(vcpu);
    }
    return digest_of(vcpu, writes);
}

_Static_assert(EPT_PAGE_DIRTY == VIEW_DIRTY, "the harvest's list is the view's");

void chunk_take_written(struct vcpu *vcpu)
{
    const uint64_t *gpas;
    unsigned count = vmx_pml_take(&vcpu->vmx, &gpas);

    while (count-- > 0)
        ept_note_written(&vcpu->ept, (uint32_t)(gpas[count] >> PAGE_SHIFT));
}

static void collect(struct vcpu *vcpu)
{
    struct ept_harvest harvest = {
        .page = vcpu->accessed, .capacity = vcpu->ept.pages, .wide = vcpu->vm->pool.wide};

    phase_enter(vcpu, REC_COUNT_TICKS_COLLECT);
    own_simd();
    if (vcpu->vm->pml)
        chunk_take_written(vcpu);
    ept_harvest(&vcpu->ept, &harvest);
    HV_CHECK(!harvest.full);
    vcpu->counters[REC_COUNT_TABLES] += harvest.tables;
    view_collect(&vcpu->view, vcpu->accessed, harvest.count);
}

bool chunk_write_accessed(struct vcpu *vcpu)
{
    struct accessed_page page = {0};
    const uint8_t *at = NULL;

    while (view_listed(&vcpu->view, &at, &page)) {
        if (!view_has_copy(&vcpu->view, page.gpn) &&
            view_write_fault(&vcpu->view, page.gpn) != VIEW_FAULT_COPIED)
            return false;
        ept_touch(&vcpu->ept, page.gpn, true);
    }
    return true;
}

uint64_t chunk_finish(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_STATE);
    chunk_read_state(vcpu);
    collect(vcpu);
    phase_enter(vcpu, REC_COUNT_TICKS_STATE);
    vcpu->counters[REC_COUNT_GUEST_TICKS] += chunk_spent(vcpu);
    return digest_of(vcpu, view_write_digest(&vcpu->view));
}

void chunk_squash(struct vcpu *vcpu)
{
    collect(vcpu);
    chunk_squash_collected(vcpu);
}

void chunk_squash_collected(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_SQUASH);
    view_squash(&vcpu->view);
    phase_enter(vcpu, REC_COUNT_TICKS_STATE);
    memcpy(vcpu->state, vcpu->saved, sizeof(*vcpu->state));
    vcpu->loaded = false;
    vcpu->irq_check = true;
}

void chunk_keep(struct vcpu *vcpu)
{
    phase_enter(vcpu, REC_COUNT_TICKS_STATE);
    memcpy(vcpu->saved, vcpu->state, sizeof(*vcpu->saved));
}

uint32_t chunk_regs_check(uint64_t linear_rip, uint64_t rflags, const uint64_t gpr[GPR_COUNT], bool at_rep)
{
    uint64_t d = digest_word(~UINT64_C(0), linear_rip);

    d = digest_word(d, rflags & ~(RFLAGS_RF | (at_rep ? ARITHMETIC_FLAGS : 0)));
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (!(at_rep && i == GPR_RCX))
            d = digest_word(d, gpr[i]);
    }
    return (uint32_t)(d ^ d >> 32);
}
