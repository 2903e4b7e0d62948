/*
 * A processor with VMX for host tests: it runs guest code (a small part of x86: 32-bit protected and 16-bit
 * real mode without paging) under the VMCS that vmx/ writes, with memory reached through the vCPU's EPT and a
 * TLB that remembers.
 *
 * It behaves as the manual says where emulators do not: translations stay until INVEPT; timer, windows and
 * breakpoints come in the order of their priorities (SDM 3C 26.2, 27.7; 3A 6.9); exits save RF by the rules
 * of SDM 3C 28.3.3; entries are checked (27.2, 27.3). Where the manual leaves it open, struct fakecpu_model
 * says.
 */
#ifndef RV_TEST_FAKE_PROCESSOR_H
#define RV_TEST_FAKE_PROCESSOR_H

#include <setjmp.h>

#include "hv/base/types.h"
#include "test/fake/tlb.h"
#include "vmx/pmu.h"

/* How one processor differs from another. Rates are out of 1000. */
struct fakecpu_model {
    uint64_t seed;
    uint32_t evict;       /* per memory access: a translation leaves the TLB */
    uint32_t speculate;   /* per instruction: some other page is read as well */
    uint32_t walks;       /* per instruction: a page walk sets an A bit at GUEST_TABLES, wanted or not */
    uint32_t host_events; /* per instruction: the host gets an interrupt or an NMI */
    uint32_t slow;        /* per instruction: it takes up to slow_ticks more */
    uint32_t slow_ticks;
    uint32_t log_room;          /* entries of the page-modification log before it is full */
    bool accessed_on_violation; /* an EPT violation may leave A bits behind */
    bool pmu;                   /* it has one, see vmx/pmu.h */
    bool deaf;                  /* its overflows do not interrupt */
    uint32_t skid;              /* an overflow interrupts up to so many instructions later */
    bool strange_code;          /* what it does not know is a triple fault, and does not stop the test */
    bool rep_cut_sets_rf;       /* RF as saved by a timer or window exit between two iterations */
};

#define FAKECPU_XSTATE_BYTES 832u
#define FAKECPU_MSRS         8u
#define FAKECPU_VMCS_FIELDS  0x7000u

#define FAKEPMU_WIDTH 48u
#define FAKEPMU_EVENT 0x11c4u /* BR_INST_RETIRED.COND */

/* Counter 0 of the PMU and what it needs of the local APIC. */
struct fakepmu {
    uint64_t select, counter, global;
    bool open;     /* the LVT entry is not masked */
    uint32_t late; /* instructions until the interrupt comes, 0: none is on its way */
    bool waits;    /* it has come, and no one has taken it */
    uint64_t interrupts;
};

struct fakecpu {
    jmp_buf unknown; /* where it goes on after what it does not know */
    uint32_t index;
    struct fakecpu_model model;
    uint64_t random;
    uint64_t *clock; /* the TSC, shared by all processors */
    struct faketlb tlb;
    uint64_t *vmcs; /* by field encoding */
    uint64_t msr[FAKECPU_MSRS];
    uint64_t cr2, dr[4], xcr0;
    uint8_t xstate[FAKECPU_XSTATE_BYTES];
    struct fakepmu pmu;
    bool interrupts_open; /* the host's RFLAGS.IF */
    uint32_t kick;        /* atomic: an interrupt from another processor waits */
    uint64_t timer;       /* TSC when the local APIC's timer fires, 0: off */
    uint64_t instructions;
    uint64_t entries;
};

/* The processor that the calling code runs on. */
extern _Thread_local struct fakecpu *fakecpu_this;
/* All processors, by index: where apic_send_fixed() finds them. */
#define FAKECPU_MAX 16u
extern struct fakecpu *fakecpu_all[FAKECPU_MAX];
/* Called wherever code may wait, and at places where it is good to let others run. */
extern void (*fakecpu_yield)(void);

/* A processor for a guest of `pages` pages. */
struct fakecpu *fakecpu_new(uint32_t index, uint32_t pages, const struct fakecpu_model *model,
                            uint64_t *clock);
void fakecpu_delete(struct fakecpu *cpu);

/* What the hypervisor finds on such a processor. */
void fakepmu_find(const struct fakecpu_model *model, const struct vmx_caps *caps, struct vmx_pmu *pmu);

/* The next number of a splitmix64 generator. */
uint64_t fake_random(uint64_t *state);
/* True `rate` times out of 1000. */
bool fakecpu_chance(struct fakecpu *cpu, uint32_t rate);

#endif
