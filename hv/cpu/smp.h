/* Starting the application processors (SDM 3A 9.4.4). */
#ifndef RV_HV_CPU_SMP_H
#define RV_HV_CPU_SMP_H

#include "hv/base/types.h"

struct percpu;
struct cpu_system;

/*
 * Makes the running CPU cpus[0]: descriptors, GS, control registers, APIC enabled. system->cpus, count and
 * the CPUs' apic_id must be set, the mode chosen. Interrupts stay masked.
 */
void smp_init_boot_cpu(struct cpu_system *system);

/*
 * Starts all other CPUs of the system, one after the other, by INIT-SIPI-SIPI; each runs fn(cpu) on its own
 * stack with interrupts masked, and parks when fn returns or is NULL. low_page: a free page below 1 MiB, that
 * is overwritten; free again afterwards. Boot processor only. Returns how many CPUs run, with the boot
 * processor: those that stay silent for 200 ms keep online == 0.
 */
uint32_t smp_start(struct cpu_system *system, uint64_t low_page, void (*fn)(struct percpu *cpu));

/* Halts the running CPU for good, but for NMIs and kicks, which are counted. */
_Noreturn void smp_park(void);

#endif
