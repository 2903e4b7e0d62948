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
 * Starts all other CPUs of the system, one after the other, by INIT-SIPI-SIPI. Each runs fn(cpu), unless
 * NULL, on its own stack with interrupts masked, then waits in HLT for smp_run. low_page: a free page below 1
 * MiB that is mapped executable; it is overwritten, and free again afterwards. Boot processor only. Returns
 * how many CPUs run, with the boot processor: those that stay silent for 200 ms keep online == 0.
 */
uint32_t smp_start(struct cpu_system *system, uint64_t low_page, void (*fn)(struct percpu *cpu));

/*
 * Gives a waiting CPU a function to run, as smp_start does. Not for the running CPU. The caller's stores are
 * seen by fn.
 */
void smp_run(struct cpu_system *system, uint32_t cpu_index, void (*fn)(struct percpu *cpu));

/* True when the CPU is online and waits for a function: fn has returned, and its stores are seen. */
bool smp_is_idle(const struct cpu_system *system, uint32_t cpu_index);

/* Halts the running CPU for good; interrupts and NMIs are counted. */
_Noreturn void smp_park(void);

#endif
