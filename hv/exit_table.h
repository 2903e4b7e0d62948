/*
 * Pure. What becomes of every VM exit: the closed list behind replay/NONDETERMINISM.md. A reason that is
 * not here does not exist; one that is new to us is refused by name.
 */
#ifndef RV_HV_EXIT_TABLE_H
#define RV_HV_EXIT_TABLE_H

#include "hv/base/types.h"

/* Why an exit does no harm to replay. */
enum exit_class {
    EXIT_CLASS_DETERMINISTIC, /* its effect is a function of the vCPU's state and of memory */
    EXIT_CLASS_TIME,          /* its value comes from the chunk's logged time base */
    EXIT_CLASS_END,           /* it ends the chunk at a place that is found again by the same exit */
    EXIT_CLASS_CUT,           /* it ends the chunk anywhere: the position is logged */
    EXIT_CLASS_TRACELESS,     /* the host's own business: the same chunk goes on */
    EXIT_CLASS_REFUSED,       /* the guest ends, with the reason's name */
    EXIT_CLASS_IMPOSSIBLE,    /* our controls exclude it: a defect of ours or of the machine */
};

/* Who handles it. */
enum exit_handler {
    EXIT_HANDLE_NONE, /* class REFUSED or IMPOSSIBLE */
    EXIT_HANDLE_EXCEPTION,
    EXIT_HANDLE_HOST_INTERRUPT,
    EXIT_HANDLE_TRIPLE_FAULT,
    EXIT_HANDLE_WINDOW,
    EXIT_HANDLE_CPUID,
    EXIT_HANDLE_HLT,
    EXIT_HANDLE_SKIP,      /* INVD, WBINVD: caches are not modelled */
    EXIT_HANDLE_UNDEFINED, /* #UD: the CPUID model lacks the instruction */
    EXIT_HANDLE_GP,        /* #GP(0) */
    EXIT_HANDLE_RDTSC,
    EXIT_HANDLE_RANDOM,
    EXIT_HANDLE_CR,
    EXIT_HANDLE_DR,
    EXIT_HANDLE_IO,
    EXIT_HANDLE_RDMSR,
    EXIT_HANDLE_WRMSR,
    EXIT_HANDLE_PAUSE,
    EXIT_HANDLE_EPT_VIOLATION,
    EXIT_HANDLE_TIMER,
    EXIT_HANDLE_XSETBV,
    EXIT_HANDLE_INVLPG,
    EXIT_HANDLE_PML_FULL,
    EXIT_HANDLE_COUNT
};

struct exit_rule {
    uint8_t known;   /* 1 in every entry of a reason that the manual defines */
    uint8_t class;   /* enum exit_class */
    uint8_t handler; /* enum exit_handler */
};

/* The rule for a basic exit reason; any value is allowed. */
struct exit_rule exit_rule(uint32_t reason);

#endif
