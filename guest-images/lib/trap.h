/*
 * Interrupts and exceptions. An exception that nobody handles prints itself and ends the guest with
 * EXIT_PANIC.
 */
#ifndef RV_GUEST_TRAP_H
#define RV_GUEST_TRAP_H

#include <stdbool.h>
#include <stdint.h>

/* What an interrupted program had, in the order of memory; the handler's return loads it again. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Runs with interrupts off on the CPU that was interrupted; the APIC's EOI follows it. */
typedef void (*interrupt_fn)(void);

/*
 * In an asm statement: a fault of the instruction at label `at` that nobody handles goes on at `then`, with
 * the vector in R11. Labels are written 1b and 2b.
 */
#define TRAP_FIXUP(at, then) ".pushsection .fixups, \"a\"; .quad " #at ", " #then "; .popsection;"

/* What R11 holds where there was no fault, if the asm statement begins with NO_TRAP_IN_R11. */
#define NO_TRAP        UINT64_C(0xFFFFFFFF)
#define NO_TRAP_IN_R11 "movl $-1, %%r11d;"

/* Builds the IDT; CPU 0, once. */
void trap_init(void);

/* Loads GDT, IDT and a TSS of its own on the calling CPU, whose number is `cpu`. */
void trap_init_cpu(unsigned cpu);

/* Says what an interrupt does, for all CPUs; vectors 32 to 254. Without one it counts as an error. */
void interrupt_set(uint8_t vector, interrupt_fn fn);

/*
 * What an exception (vectors 0 to 31, NMI among them) does in place of ending the guest, for all CPUs; it may
 * change the frame. NULL takes it back. NMIs and double faults run on one emergency stack of 4 KiB per CPU.
 */
typedef void (*exception_fn)(struct trap_frame *frame);
void exception_set(uint8_t vector, exception_fn fn);

/* For handlers. Returns whether the instruction has a TRAP_FIXUP, which then is applied to the frame. */
bool trap_fix_up(struct trap_frame *frame);

/* For handlers: the FXSAVE image (SDM 1 10.5.1) that is loaded when the handler returns. */
void *trap_fxsave(struct trap_frame *frame);

#endif
