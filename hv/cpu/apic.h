/*
 * The local APIC of the host (SDM 3A chapter 11), as xAPIC or x2APIC. CPUs are named by index.
 *
 * Every function works on the running CPU's APIC. None may be called from an NMI handler: the xAPIC's ICR
 * is two registers, and an NMI between them would be seen.
 */
#ifndef RV_HV_CPU_APIC_H
#define RV_HV_CPU_APIC_H

#include "hv/base/types.h"

struct cpu_system;

/* Chooses the mode, for all CPUs: x2APIC where the CPU has it, unless `xapic_only` and the firmware left it
 * off. */
void apic_choose_mode(struct cpu_system *system, uint64_t lapic_address, bool xapic_only);

/* Enables this CPU's APIC in the chosen mode, with all local interrupts masked but NMI (LINT1). */
void apic_enable(const struct cpu_system *system);

/* The id of this CPU; needs apic_enable. */
uint32_t apic_read_id(const struct cpu_system *system);

/* Ends the interrupt in service. */
void apic_eoi(void);

/* Interrupts another CPU (or the running one) by its index. Returns once the APIC has taken the request. */
void apic_send_fixed(uint32_t cpu_index, uint8_t vector);
void apic_send_nmi(uint32_t cpu_index);
void apic_send_init(uint32_t cpu_index);
/* page: number of the 4 KiB page below 1 MiB where the CPU starts in real mode. */
void apic_send_startup(uint32_t cpu_index, uint8_t page);

/*
 * Measures the TSC's and the local timer's rates against the PIT; where there is no PIT, by CPUID.15H and
 * 16H. Takes about 10 ms. False: no rate could be found. Boot processor, interrupts masked.
 */
bool apic_calibrate(struct cpu_system *system);

/*
 * Arms this CPU's one-shot timer: VECTOR_TIMER comes once the TSC is `tsc` or a little later. In counting
 * mode it may come early when the time is too far for the counter; whoever waits checks the TSC.
 */
void apic_timer_arm(uint64_t tsc);
void apic_timer_stop(void);

/*
 * Lets the next overflow of a performance counter interrupt this CPU, with VECTOR_COUNTER; just that one,
 * since the APIC masks the entry as it delivers (SDM 3B 20.6.3). The CPU must have a PMU.
 */
void apic_counter_open(void);

/* Spins; microseconds of TSC time. Needs tsc_khz. */
void cpu_delay_us(const struct cpu_system *system, uint64_t us);

#endif
