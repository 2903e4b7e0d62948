/*
 * The per-CPU block, reached through GS: everything that belongs to one physical CPU.
 *
 * The public part may be looked at by every CPU (and its counters changed by their owner only, read by
 * others at any time); the private part belongs to its CPU alone. Blocks are allocated once, zeroed, and
 * never freed.
 */
#ifndef RV_HV_CPU_PERCPU_H
#define RV_HV_CPU_PERCPU_H

#include "hv/base/types.h"
#include "hv/cpu/descriptor.h"

struct cpu_system;
struct trap_frame;

#define CPU_STACK_SIZE (64u << 10)
#define CPU_IST_SIZE   (8u << 10)

/* IST slots of the TSS, SDM 3A 6.14.5; slot numbers start at 1. */
enum cpu_ist {
    IST_NONE,
    IST_DOUBLE_FAULT,
    IST_NMI,
    IST_MACHINE_CHECK,
    IST_COUNT,
};

struct percpu_public {
    struct percpu *self; /* must be first: this_cpu() reads it at GS:0 */
    struct cpu_system *system;
    void *vcpu; /* for the run loop: what runs on this CPU */
    uint32_t index;
    uint32_t apic_id;
    uint32_t online;  /* 1 once the CPU runs its function; atomic */
    uint32_t stopped; /* 1 once the CPU has halted for a panic; atomic */
    uint64_t kicks;   /* interrupts of each kind that were taken */
    uint64_t timer_interrupts;
    uint64_t counter_interrupts;
    uint64_t spurious_interrupts;
    uint64_t nmis;
    uint64_t pat; /* IA32_PAT as it was found */
};

struct percpu_private {
    void (*function)(struct percpu *cpu); /* what the CPU is to run next, NULL: nothing; atomic */
    uint64_t gdt[GDT_ENTRIES];
    struct tss tss;
    uint32_t panicking; /* a second trap while this is set halts at once */
    uint8_t ist_stacks[IST_COUNT - 1][CPU_IST_SIZE] __attribute__((aligned(16)));
    uint8_t guard[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE))); /* not mapped: a stack overflow is a #DF */
    uint8_t stack[CPU_STACK_SIZE];                                /* not used by the boot processor */
};
_Static_assert(offsetof(struct percpu_private, stack) == offsetof(struct percpu_private, guard) + PAGE_SIZE,
               "the guard page lies below the stack");

struct percpu {
    struct percpu_public pub;
    struct percpu_private priv;
} __attribute__((aligned(PAGE_SIZE)));

/* What all CPUs share: who they are and how they reach each other. Constant once the CPUs run. */
struct cpu_system {
    struct percpu *cpus; /* cpus[0] is the boot processor */
    uint32_t count;
    bool x2apic;
    bool tsc_deadline;        /* the local timer compares with the TSC */
    volatile uint32_t *lapic; /* xAPIC registers; unused with x2APIC */
    uint64_t tsc_khz;
    uint64_t apic_timer_khz; /* rate of the counting timer, after division */
    uint32_t stopping;       /* 1: every CPU that takes an NMI halts for good; atomic */
    void (*unexpected_trap)(const struct trap_frame *frame); /* must not return */
    struct idt_gate idt[IDT_ENTRIES] __attribute__((aligned(16)));
};

static inline struct percpu *this_cpu(void)
{
    struct percpu *cpu;

    __asm__("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

#endif
