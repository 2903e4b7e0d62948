/*
 * The whole state of a vCPU: what a chunk starts from, what a squash puts back, what is digested and
 * compared. One table describes it, so that nothing can be saved but not compared, or the reverse.
 *
 * The struct has no padding: two states are the same exactly when their bytes are.
 */
#ifndef RV_HV_VCPU_STATE_H
#define RV_HV_VCPU_STATE_H

#include "drivers/vdev/cpuid.h"
#include "drivers/vdev/lapic.h"
#include "drivers/vdev/msrs.h"
#include "drivers/vdev/random.h"
#include "hv/base/types.h"
#include "vmx/guest_state.h"

/* What the vCPU does between chunks. */
enum vcpu_activity {
    VCPU_RUNNING = 0,
    VCPU_HALTED,    /* HLT: until an interrupt that it takes */
    VCPU_WAIT_SIPI, /* after INIT: until a startup IPI */
};

/*
 * What an act left to be done when the vCPU goes on: the instruction retires with this effect. It is
 * state, applied at each start of the next chunk, so that a squash never acts twice.
 */
struct vcpu_completion {
    uint32_t length;     /* bytes of the instruction to step over; 0: it goes on, or nothing is pending */
    uint32_t gpr;        /* enum vmx_gpr, changed where gpr_mask has bits */
    uint64_t gpr_mask;   /* bits of the register that change */
    uint64_t gpr_value;  /* what they become */
    uint64_t flags_mask; /* the same for RFLAGS */
    uint64_t flags_value;
    /* INS: gpr_value goes to guest memory, so many bytes to each of two places, before the vCPU goes on. */
    uint64_t memory[2];
    uint32_t memory_bytes[2];
};

struct vcpu_state {
    uint8_t xsave[CPUID_MODEL_XSAVE_BYTES] __attribute__((aligned(64))); /* standard form, all components */
    struct vmx_guest_state cpu;
    struct vlapic lapic;
    struct vmsrs msrs;
    struct vrandom random;
    struct vcpu_completion completion;
    uint64_t xcr0;
    uint64_t time_reads; /* reads of guest time, ever: each costs the header's stride */
    uint32_t activity;   /* enum vcpu_activity */
    uint32_t nmi_pending;
    uint32_t extint; /* vector that the 8259 pair gave, or'd with VCPU_EXTINT; 0: none waits */
    uint32_t reserved32;
    uint64_t reserved[4]; /* up to the alignment of the XSAVE area */
};

#define VCPU_EXTINT UINT32_C(0x100)

struct vcpu_field {
    const char *name;
    uint32_t offset;
    uint32_t size; /* bytes */
};

/* Every byte of struct vcpu_state belongs to exactly one entry, in ascending order. */
extern const struct vcpu_field vcpu_fields[];
extern const size_t vcpu_field_count;

/* The state of vCPU `id` at power-up: the BSP runs, others wait for a startup IPI (SDM 3A 9.4). */
void vcpu_state_reset(struct vcpu_state *state, uint32_t id, uint64_t seed);
/* INIT (SDM 3A 10.1, table 10-1): what a reset changes, except x87/SSE/AVX, MSRs and APIC id. */
void vcpu_state_init(struct vcpu_state *state);

/*
 * Clears what the processor leaves undefined or what has no meaning for the guest, so that equal states
 * are equal bytes: XSAVE header, pending debug exceptions of breakpoints that are not enabled.
 */
void vcpu_state_canonicalize(struct vcpu_state *state);

/* Digest of a canonical state. RFLAGS.RF does not count: only at an interrupted REP is it more than a trace.
 */
uint64_t vcpu_state_digest(const struct vcpu_state *state);

/* Digest of what differs from an earlier canonical state, which is known to be right: 0 if nothing does. RF
 * does not count. */
uint64_t vcpu_state_change_digest(const struct vcpu_state *before, const struct vcpu_state *state);

/* The first field that differs, or NULL; *word gets the index of the first differing 64-bit word in it. */
const struct vcpu_field *vcpu_state_difference(const struct vcpu_state *a, const struct vcpu_state *b,
                                               uint32_t *word);

#endif
