/* Exceptions and interrupts that the hypervisor itself takes (SDM 3A chapter 6). */
#ifndef RV_HV_CPU_TRAP_H
#define RV_HV_CPU_TRAP_H

#include "hv/base/types.h"

/* Exceptions, SDM 3A table 6-1. */
enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
    /* The hypervisor's own. */
    VECTOR_KICK = 0xF0,    /* does nothing: makes a CPU leave HLT or the guest */
    VECTOR_TIMER = 0xF1,   /* the local timer; does nothing either */
    VECTOR_COUNTER = 0xF2, /* a performance counter's overflow; makes a CPU leave the guest */
    VECTOR_SPURIOUS = 0xFF,
};

/* What the entry stubs push, lowest address first. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector;
    uint64_t error; /* 0 where the CPU pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "hv/cpu/trap_entry.S");

/* Entry stubs, one each TRAP_STUB_SIZE bytes, by vector. */
#define TRAP_STUB_SIZE 16
extern const char trap_stubs[];

/* Loads CS and the data segment registers; FS and GS become null selectors with base 0. */
void segments_reload(uint16_t code, uint16_t data);

/* The stubs call this. */
void trap_handle(struct trap_frame *frame);

/*
 * What the handlers do for an external interrupt and an NMI. Also for interrupts and NMIs that came as
 * VM exits (with "acknowledge interrupt on exit" the CPU has consumed the vector). Interrupts masked.
 */
void trap_interrupt(uint8_t vector);
void trap_nmi(void);

/* "#GP" and the like; "interrupt" for vectors that are no exceptions. */
const char *trap_name(uint64_t vector);

#endif
