/*
 * Interrupts and exceptions. An exception prints itself and ends the guest with EXIT_PANIC.
 */
#ifndef RV_GUEST_TRAP_H
#define RV_GUEST_TRAP_H

#include <stdint.h>

/* Runs with interrupts off on the CPU that was interrupted; the APIC's EOI follows it. */
typedef void (*interrupt_fn)(void);

/* Builds the IDT; CPU 0, once. */
void trap_init(void);

/* Loads GDT, IDT and a TSS of its own on the calling CPU, whose number is `cpu`. */
void trap_init_cpu(unsigned cpu);

/* Says what an interrupt does, for all CPUs; vectors 32 to 254. Without one it counts as an error. */
void interrupt_set(uint8_t vector, interrupt_fn fn);

#endif
