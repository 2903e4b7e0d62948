/*
 * The local APIC (SDM 3A chapter 10), by x2APIC MSRs where CPUID offers them and the command line does not
 * say `apic=x`, by the xAPIC page otherwise. Every function acts on the CPU that calls it.
 */
#ifndef RV_GUEST_APIC_H
#define RV_GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Vectors. A guest is free to use any other from 0x30 to 0xEF. */
#define VECTOR_WAKE     0xF0
#define VECTOR_SPURIOUS 0xFF

/* Chooses the mode; CPU 0, once. */
void apic_choose(void);

/* Enables this CPU's APIC: nothing masked by priority, timer and LINT pins off. */
void apic_init(void);

/* Whether the 8259 pair's interrupts come to this CPU, by LINT0. */
void apic_extint(bool on);

bool apic_is_x2apic(void);
uint32_t apic_id(void);
void apic_eoi(void);

/* Sends a fixed interrupt to the CPU with this number (cpu_id()), the sender itself included. */
void ipi_send(unsigned cpu, uint8_t vector);

/* Sends a fixed interrupt to every CPU but the sender, by the shorthand. */
void ipi_send_others(uint8_t vector);

/* Sends an NMI, to the sender itself too. */
void ipi_send_nmi(unsigned cpu);

/* INIT, and start at the page address >> 12 (SDM 3A 8.4.4), by APIC ID. */
void ipi_init(uint32_t apic_id);
void ipi_startup(uint32_t apic_id, uint8_t page);

/* The timer. Ticks are the APIC timer's own, undivided; whatever they last, nothing here needs to know. */
void timer_oneshot(uint8_t vector, uint32_t ticks);
void timer_periodic(uint8_t vector, uint32_t ticks);
void timer_stop(void);
uint32_t timer_left(void);

/* TSC-deadline mode: only where timer_has_deadline(). timer_deadline() arms it `ticks` of the TSC from now.
 */
bool timer_has_deadline(void);
void timer_deadline_mode(uint8_t vector);
void timer_deadline(uint64_t ticks);

#endif
