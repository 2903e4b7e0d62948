/*
 * The guest's CPUs: number 0 is the one that booted, the others follow in the order of the MADT. Between jobs
 * the others sleep in HLT and are woken by an IPI (`park=spin` on the command line: they spin on PAUSE
 * instead).
 */
#ifndef RV_GUEST_SMP_H
#define RV_GUEST_SMP_H

#include <stdint.h>

#include "guest-images/lib/bootinfo.h"

typedef void (*job_fn)(void *arg);

/* Finds and starts the other CPUs by INIT-SIPI-SIPI (SDM 3A 8.4.4.1). CPU 0, once. */
void smp_start(const struct bootinfo *info);

unsigned cpu_count(void);

/* The calling CPU's number. */
unsigned cpu_id(void);

uint32_t cpu_apic_id(unsigned cpu);

/* Runs fn(arg) on every CPU at once and returns when all have finished. CPU 0 only, interrupts off. */
void run_on_all(job_fn fn, void *arg);

/* Waits in a run_on_all job until every CPU has come to its own wait_for_all(). */
void wait_for_all(void);

/* Sets this CPU's number (for cpu_id()); the start-up code's own. */
void cpu_set_id(unsigned cpu);

#endif
