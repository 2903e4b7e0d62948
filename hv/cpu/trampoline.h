/* The code that takes an application processor from real mode to 64-bit mode (hv/cpu/trampoline.S). */
#ifndef RV_HV_CPU_TRAMPOLINE_H
#define RV_HV_CPU_TRAMPOLINE_H

#include "hv/base/types.h"

struct percpu;

/*
 * Copies the code to a page below 1 MiB and fills in what the CPU gets: page tables (below 4 GiB, mapping
 * that page executable and everything else at its own address), stack, and the function that it calls.
 */
void trampoline_install(uint64_t low_page, uint64_t cr3, void *stack_top, struct percpu *cpu,
                        void (*entry)(struct percpu *cpu));

#endif
