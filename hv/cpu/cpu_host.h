/*
 * Host tests have no privileged instructions: what hv/cpu/cpu.h defines as inline assembly are here
 * functions, for test/fake/ to define. Included by hv/cpu/cpu.h alone.
 */
#ifndef RV_HV_CPU_CPU_HOST_H
#define RV_HV_CPU_CPU_HOST_H

#include "hv/base/types.h"

struct cpuid_regs;
struct table_register;

uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
bool rdmsr_safe(uint32_t msr, uint64_t *value);
bool wrmsr_safe(uint32_t msr, uint64_t value);
uint64_t xgetbv(uint32_t xcr);
void xsetbv(uint32_t xcr, uint64_t value);
void xsave(void *area, uint64_t components);
void xrstor(const void *area, uint64_t components);
uint64_t rdtsc(void);

void out8(uint16_t port, uint8_t value);
void out16(uint16_t port, uint16_t value);
void out32(uint16_t port, uint32_t value);
uint8_t in8(uint16_t port);
uint16_t in16(uint16_t port);
uint32_t in32(uint16_t port);

uint64_t read_cr0(void);
uint64_t read_cr2(void);
uint64_t read_cr3(void);
uint64_t read_cr4(void);
void write_cr2(uint64_t value);
void write_dr0(uint64_t value);
void write_dr1(uint64_t value);
void write_dr2(uint64_t value);
void write_dr3(uint64_t value);
uint64_t read_rflags(void);

void cpu_pause(void);
void cpu_hlt(void);
void cpu_cli(void);
void cpu_sti(void);
void cpu_sti_hlt(void);
void cpu_int_nmi(void);

#endif
