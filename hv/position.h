/*
 * Replay: finding again the place where a chunk was cut. The chunk can be thrown away, so we may guess: it
 * is run to a little before the place, then an execute breakpoint is armed at its RIP, and each hit is
 * compared with the record. Equal state and equal changed pages are the same place for everything that
 * follows.
 *
 * How far a little before is, a count of retired conditional branches says, where recorder and replayer have
 * a PMU: the counter's overflow interrupts the guest. Otherwise, and in the last tries, it is the preemption
 * timer, with the recorded duration as a hint.
 */
#ifndef RV_HV_POSITION_H
#define RV_HV_POSITION_H

#include "hv/vm.h"

/* Preemption timer ticks that a chunk may run past its recorded duration while it is looked for. */
#define POSITION_SLACK 200000u
/* How far apart the stops of different guesses are, where only the timer stops the chunk. */
#define POSITION_STAGGER 7919u

/*
 * A REP that a fault's handler returned to begins with RF set, so no breakpoint fires on it: a place in its
 * rest is only found where the timer happens to stop there. So a recording is cut in a REP only after
 * POSITION_REP_STEPS steps of vm->rep_step ticks have all ended in it, and the search stops twice as rarely.
 */
#define POSITION_REP_STEP  128u /* less than an exception and its handler take */
#define POSITION_REP_STEPS 8u

enum position_result {
    POSITION_FOUND,
    POSITION_MISSED, /* not found: the guess was too late, or the replay differs */
    POSITION_LOST,   /* likewise: the run was spoilt while it was looked at */
    POSITION_NO_PAGE,
    POSITION_STOPPED,
};

/*
 * How much late the interrupt of a counter's overflow comes, in branches that retire meanwhile: 100 on cores
 * up to Rocket Lake, 125 on later ones, as rr found for its own use of the same counters. The first guess;
 * what comes later still is a miss, and the next guess takes FACTOR times as many.
 */
#define POSITION_SKID        125u
#define POSITION_SKID_FACTOR 8u
/* So many guesses go by the count; the last ones do without. */
#define POSITION_COUNT_GUESSES 4u
/* Looks at the state may destroy and restore the SIMD registers in so many guesses; the last ones leave them.
 */
#define POSITION_SIMD_GUESSES 4u

/*
 * Before the vCPUs run, with the log read: whether branches are counted, by `pmu`. A recording then has the
 * counts and its header says so; a replay takes them where its log has them.
 */
void position_choose_way(struct vm *vm, const struct vmx_pmu *pmu);

/* How early the breakpoint is armed: first what worked last, then ever earlier, at last from the begin. */
void position_first_guess(struct vcpu *vcpu);
void position_next_guess(struct vcpu *vcpu);
/* The chunk committed after `tries` failed ones. */
void position_learn(struct vcpu *vcpu, uint32_t tries);

/* Runs the started chunk to vcpu->expected->position. Leaves the processor in exactly the recorded state. */
enum position_result position_find(struct vcpu *vcpu);

/* Whether the chunk, found to end at the recorded place, has also had the recorded count of branches there.
 */
bool position_count_agrees(struct vcpu *vcpu);

#endif
