/*
 * The parts of a chunk's life that recording and replay share: begin, run, look, end, squash. All on the
 * vCPU's own CPU with interrupts off.
 */
#ifndef RV_HV_CHUNK_H
#define RV_HV_CHUNK_H

#include "hv/vm.h"

/*
 * Brings the view to the present seq and makes the processor hold the state from which the chunk starts:
 * that of the last commit, with the pending completion and the vcpu->event_count events applied.
 * False: the vCPU still sleeps (halted, or waiting for a startup IPI): the chunk has no instruction.
 */
void chunk_snapshot(struct vcpu *vcpu);
bool chunk_start(struct vcpu *vcpu);

enum chunk_stop {
    CHUNK_ENDED,   /* by an exit of its own: vcpu->end and vcpu->act */
    CHUNK_TIMER,   /* the ticks given ran out */
    CHUNK_COUNTED, /* replay: the armed count of branches was reached */
    CHUNK_UNCLEAR, /* either, at a REP that may or may not have begun, with a breakpoint of the guest's on it
                    */
    CHUNK_BREAKPOINT, /* the armed breakpoint was reached */
    CHUNK_INJECT,     /* replay: an event would be injected at the armed breakpoint or the recorded end */
    CHUNK_NO_PAGE,    /* no private copy for a write: the chunk cannot go on */
    CHUNK_STOPPED,    /* the machine stops */
};

/*
 * What INS found goes to memory, before anything else runs. False: there is no page for it; the chunk ends,
 * and the next one does it. chunk_run() begins with it.
 */
bool chunk_store_input(struct vcpu *vcpu);

/* Runs the guest for at most `ticks` preemption timer ticks, or until something else stops it. */
enum chunk_stop chunk_run(struct vcpu *vcpu, uint32_t ticks);
/*
 * Recording: the chunk shall not run far past the vCPU's APIC timer, which is looked at when a chunk begins.
 * Called when the timer may have been armed; a replay ends where the recording did.
 */
void chunk_shorten(struct vcpu *vcpu);
/* Recording: the chunk shall end at the next instruction or two: it is running out of pages. */
void chunk_end_soon(struct vcpu *vcpu);
/* Preemption timer ticks that the chunk has run so far. */
uint64_t chunk_spent(const struct vcpu *vcpu);

/* Reads the processor's state into vcpu->state (the processor keeps it too). */
void chunk_read_state(struct vcpu *vcpu);
/*
 * Reads the state, too: digest of it and of the pages changed so far; the chunk may go on afterwards. Unless
 * SIMD is to stay as it is, its registers are loaded anew afterwards, with every component in use: a guest
 * that saves them later in the chunk could see that (XSTATE_BV, SDM 1 13.6).
 */
uint64_t chunk_peek_digest(struct vcpu *vcpu, bool simd_as_is);

/*
 * Replay, before chunk_finish(): the chunk writes the pages of its record's list of accessed bits, as the
 * recording's page walks did. False: there is no page for one.
 */
bool chunk_write_accessed(struct vcpu *vcpu);
/* Empties the processor's log of written pages into the view's. */
void chunk_take_written(struct vcpu *vcpu);

/* The chunk's end: reads the state, collects the read and write sets, and returns the chunk's digest. */
uint64_t chunk_finish(struct vcpu *vcpu);
/* Instead: throws the chunk away. The next chunk_start() starts from the last commit again. */
void chunk_squash(struct vcpu *vcpu);
/* The same after chunk_finish(). */
void chunk_squash_collected(struct vcpu *vcpu);
/* After the commit and its act: the state is what the next chunk starts from. */
void chunk_keep(struct vcpu *vcpu);

/* Digest of what a replay can compare cheaply: general registers, place and flags; see struct rec_position.
 */
uint32_t chunk_regs_check(uint64_t linear_rip, uint64_t rflags, const uint64_t gpr[GPR_COUNT], bool at_rep);

#endif
