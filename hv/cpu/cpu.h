/*
 * Privileged and other instructions that C has no name for, one inline function each.
 *
 * All of them need CPL 0 unless said otherwise. Functions ending in _safe report a #GP instead of dying
 * of it: their instruction is listed in the fix-up table that the trap handler consults.
 */
#ifndef RV_HV_CPU_CPU_H
#define RV_HV_CPU_CPU_H

#include "hv/base/types.h"

/* SDM 3A 2.5: control registers. */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define CR4_CET        BIT(23)

/* SDM 1 3.4.3: the bits of RFLAGS. */
#define RFLAGS_CF   BIT(0)
#define RFLAGS_ONE  BIT(1) /* always set */
#define RFLAGS_PF   BIT(2)
#define RFLAGS_AF   BIT(4)
#define RFLAGS_ZF   BIT(6)
#define RFLAGS_SF   BIT(7)
#define RFLAGS_TF   BIT(8)
#define RFLAGS_IF   BIT(9)
#define RFLAGS_DF   BIT(10)
#define RFLAGS_OF   BIT(11)
#define RFLAGS_IOPL (UINT64_C(3) << 12)
#define RFLAGS_NT   BIT(14)
#define RFLAGS_RF   BIT(16)
#define RFLAGS_VM   BIT(17)
#define RFLAGS_AC   BIT(18)
#define RFLAGS_VIF  BIT(19)
#define RFLAGS_VIP  BIT(20)
#define RFLAGS_ID   BIT(21)

/* XCR0 and XSTATE_BV bits, SDM 1 13.1. */
#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)

struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};

/* The operand of LGDT, LIDT, SGDT and SIDT in 64-bit mode. */
struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));
_Static_assert(sizeof(struct table_register) == 10, "SDM 3A 3.5.1");

#ifdef RV_HOST
#include "hv/cpu/cpu_host.h"
#else
/* Lists the instruction at label 1 in the fix-up table: a fault there goes on at label 2. */
#define CPU_FIXUP ".pushsection .fixup_table, \"a\"\n\t.balign 8\n\t.quad 1b, 2b\n\t.popsection\n\t"

static inline struct cpuid_regs cpuid_count(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs r;

    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline struct cpuid_regs cpuid(uint32_t leaf)
{
    return cpuid_count(leaf, 0);
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return ((uint64_t)high << 32) | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* False when the CPU has no such MSR; *value is then 0. */
static inline bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
    uint32_t low = 0, high = 0, fault = 1;

    __asm__ volatile("1: rdmsr\n\txorl %2, %2\n\t2:\n\t" CPU_FIXUP
                     : "+a"(low), "+d"(high), "+r"(fault)
                     : "c"(msr)
                     : "cc");
    *value = ((uint64_t)high << 32) | low;
    return fault == 0;
}

/* False when the CPU refused the write. */
static inline bool wrmsr_safe(uint32_t msr, uint64_t value)
{
    uint32_t fault = 1;

    __asm__ volatile("1: wrmsr\n\txorl %0, %0\n\t2:\n\t" CPU_FIXUP
                     : "+r"(fault)
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory", "cc");
    return fault == 0;
}

/* Needs CR4.OSXSAVE, as does xsetbv. */
static inline uint64_t xgetbv(uint32_t xcr)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(xcr));
    return ((uint64_t)high << 32) | low;
}

static inline void xsetbv(uint32_t xcr, uint64_t value)
{
    __asm__ volatile("xsetbv" ::"c"(xcr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* XSAVE and XRSTOR (SDM 1 13.7, 13.8), 64-bit format; `area` is 64-byte aligned, `components` within XCR0. */
static inline void xsave(void *area, uint64_t components)
{
    __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
}

static inline void xrstor(const void *area, uint64_t components)
{
    __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
}

/* Any CPL; not ordered against the instructions around it. */
static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32) | low;
}

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

#define CPU_REGISTER(name)                                                                                   \
    static inline uint64_t read_##name(void)                                                                 \
    {                                                                                                        \
        uint64_t value;                                                                                      \
                                                                                                             \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value)::"memory");                                     \
        return value;                                                                                        \
    }                                                                                                        \
    static inline void write_##name(uint64_t value)                                                          \
    {                                                                                                        \
        __asm__ volatile("mov %0, %%" #name ::"r"(value) : "memory");                                        \
    }

CPU_REGISTER(cr0)
CPU_REGISTER(cr2)
CPU_REGISTER(cr3)
CPU_REGISTER(cr4)
CPU_REGISTER(cr8)
CPU_REGISTER(dr0)
CPU_REGISTER(dr1)
CPU_REGISTER(dr2)
CPU_REGISTER(dr3)
CPU_REGISTER(dr6)
CPU_REGISTER(dr7)

#undef CPU_REGISTER

static inline uint64_t read_rflags(void)
{
    uint64_t value;

    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(value)::"memory");
    return value;
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}

static inline void cpu_hlt(void)
{
    __asm__ volatile("hlt" ::: "memory");
}

static inline void cpu_cli(void)
{
    __asm__ volatile("cli" ::: "memory", "cc");
}

static inline void cpu_sti(void)
{
    __asm__ volatile("sti" ::: "memory", "cc");
}

/* Waits for an interrupt. The STI shadow covers the HLT, so an interrupt that came before is not lost. */
static inline void cpu_sti_hlt(void)
{
    __asm__ volatile("sti\n\thlt" ::: "memory", "cc");
}

/* Runs the handler that a host NMI would have found, which ends in an IRET and so opens NMIs again. */
static inline void cpu_int_nmi(void)
{
    __asm__ volatile("int $2" ::: "memory", "cc");
}

static inline void invlpg(const void *address)
{
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

static inline void cpu_wbinvd(void)
{
    __asm__ volatile("wbinvd" ::: "memory");
}

/* All earlier loads and stores are done before any later one (orders an x2APIC MSR write, SDM 3A 11.12.3). */
static inline void cpu_mfence(void)
{
    __asm__ volatile("mfence\n\tlfence" ::: "memory");
}

static inline void lgdt(const struct table_register *r)
{
    __asm__ volatile("lgdt %0" ::"m"(*r) : "memory");
}

static inline void lidt(const struct table_register *r)
{
    __asm__ volatile("lidt %0" ::"m"(*r) : "memory");
}

static inline void sgdt(struct table_register *r)
{
    __asm__ volatile("sgdt %0" : "=m"(*r));
}

static inline void sidt(struct table_register *r)
{
    __asm__ volatile("sidt %0" : "=m"(*r));
}

static inline void ltr(uint16_t selector)
{
    __asm__ volatile("ltr %0" ::"r"(selector) : "memory");
}

#endif /* RV_HOST */

/* Masks interrupts and returns the flags to hand to irq_restore. */
static inline uint64_t irq_save(void)
{
    uint64_t flags = read_rflags();

    cpu_cli();
    return flags;
}

static inline void irq_restore(uint64_t flags)
{
    if (flags & RFLAGS_IF) {
        cpu_sti();
    }
}

#endif
