/*
 * Pure. The control words of a VMCS, from what the CPU can do and what the run needs (SDM 3C 25.6-25.8,
 * SDM 3D A.2-A.5: the algorithm for reserved control settings, 3C 32.5.1 of older editions).
 */
#ifndef RV_VMX_CONTROLS_H
#define RV_VMX_CONTROLS_H

#include "hv/base/types.h"
#include "vmx/caps.h"
#include "vmx/defs.h"

/* What a run needs. What a field does not mention is fixed: see vmx_controls_compute. */
struct vmx_policy {
    bool exit_tsc;            /* RDTSC and RDTSCP exit */
    bool exit_pause;          /* PAUSE exits */
    bool exit_random;         /* RDRAND and RDSEED exit */
    bool timer;               /* preemption timer, saved on exit; vmx_timer_off may still stop it */
    bool ept_accessed_dirty;  /* EPT A and D bits are required */
    bool pml;                 /* page-modification logging is required */
    bool vpid;                /* VPIDs, if the CPU has them with INVVPID */
    bool count_branches;      /* IA32_PERF_GLOBAL_CTRL switches at entry and exit (vmx/pmu.h) */
    uint64_t cr4_guest_owned; /* CR4 bits that the guest may change without an exit */
};

/* For chunks: recording and replaying. */
void vmx_policy_chunks(struct vmx_policy *policy);
/* For mode=run: no chunks, native time stamps, PAUSE and random numbers. */
void vmx_policy_run(struct vmx_policy *policy);

struct vmx_controls {
    uint32_t word[VMX_WORD_COUNT];
    uint32_t exception_bitmap;
    uint64_t cr0_mask; /* bits that the host owns: a guest's change exits, reads see the shadow */
    uint64_t cr0_real; /* what the owned bits are in the real register */
    uint64_t cr4_mask;
    uint64_t cr4_real;
};

/*
 * Always: external interrupts and NMIs exit, virtual NMIs; HLT, RDPMC, MONITOR, MWAIT, MOV DR, all I/O,
 * CR8 and WBINVD exit, ENCLS and ENCLV where the CPU has them; MSR bitmaps; EPT with write-back 4-level
 * tables, unrestricted guest; RDTSCP works if the CPU has it, INVPCID, XSAVES, UMWAIT and the like do not;
 * PAT, EFER and debug controls switch at entry and exit; INVLPG and CR3 do not exit where the CPU allows
 * that. #DB and #MC exit, no other exception does.
 *
 * False: *refusal names the first thing that the CPU refuses, and *controls is not to be used.
 */
bool vmx_controls_compute(const struct vmx_caps *caps, const struct vmx_policy *policy,
                          struct vmx_controls *controls, struct vmx_refusal *refusal);

/* The real register's value for a guest that reads `value`, and back. */
static inline uint64_t vmx_cr_real(uint64_t value, uint64_t mask, uint64_t real)
{
    return (value & ~mask) | (real & mask);
}

static inline uint64_t vmx_cr_visible(uint64_t real, uint64_t mask, uint64_t shadow)
{
    return (real & ~mask) | (shadow & mask);
}

#endif
