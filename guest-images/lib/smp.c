#include "guest-images/lib/smp.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "guest-images/lib/acpi.h"
#include "guest-images/lib/apic.h"
#include "guest-images/lib/args.h"
#include "guest-images/lib/console.h"
#include "guest-images/lib/lock.h"
#include "guest-images/lib/trap.h"
#include "guest-images/lib/x86.h"

#define PAGE_BYTES        4096
#define START_DELAY_LOOPS 10000u
#define START_PATIENCE    50000000u

/* A page for each, so that CPUs do not share what they need not. GS points at it: the number comes first. */
struct cpu {
    uint64_t id;
    uint32_t apic_id;
    atomic_uint online;
    _Atomic(job_fn) job;
    void *job_arg;
} __attribute__((aligned(PAGE_BYTES)));

/* What the next application processor picks up in entry.S: a stack and its number. */
struct ap_start {
    uint64_t stack_top;
    uint64_t cpu;
};
_Static_assert(offsetof(struct ap_start, cpu) == 8, "entry.S reads it there");

extern struct ap_start ap_start;
struct ap_start ap_start;
extern const char trampoline[], trampoline_end[];
_Noreturn void start_other_cpu(uint64_t cpu);

static struct cpu cpus[GUEST_MAX_CPUS];
static char stacks[GUEST_MAX_CPUS][GUEST_STACK_SIZE] __attribute__((aligned(PAGE_BYTES)));
static unsigned count = 1;
static bool park_spinning;
static atomic_uint jobs_left;
static struct barrier everyone;

unsigned cpu_count(void)
{
    return count;
}

unsigned cpu_id(void)
{
    uint64_t id;

    __asm__("movq %%gs:0, %0" : "=r"(id));
    return (unsigned)id;
}

uint32_t cpu_apic_id(unsigned cpu)
{
    return cpus[cpu].apic_id;
}

void cpu_set_id(unsigned cpu)
{
    cpus[cpu].id = cpu;
    wrmsr(MSR_GS_BASE, (uintptr_t)&cpus[cpu]);
}

/* The wake-up itself is all that is wanted of the interrupt. */
static void wake(void)
{
}

/* Interrupts stay off between the look at the mailbox and HLT: the IPI that follows a job is never lost. */
static job_fn wait_for_job(struct cpu *self)
{
    job_fn fn;

    while ((fn = atomic_load(&self->job)) == NULL) {
        if (park_spinning)
            cpu_relax();
        else
            sleep_with_interrupts();
    }
    return fn;
}

void start_other_cpu(uint64_t cpu)
{
    struct cpu *self = &cpus[cpu];

    trap_init_cpu((unsigned)cpu);
    cpu_set_id((unsigned)cpu);
    apic_init();
    atomic_store(&self->online, 1);
    for (;;) {
        job_fn fn = wait_for_job(self);

        fn(self->job_arg);
        interrupts_off();
        atomic_store(&self->job, NULL);
        atomic_fetch_sub(&jobs_left, 1);
    }
}

static void delay(void)
{
    for (unsigned i = 0; i < START_DELAY_LOOPS; i++)
        __asm__ volatile("");
}

static void start_cpu(unsigned cpu)
{
    unsigned patience = START_PATIENCE;

    ap_start = (struct ap_start){(uintptr_t)(stacks[cpu] + GUEST_STACK_SIZE), cpu};
    atomic_thread_fence(memory_order_seq_cst);
    ipi_init(cpus[cpu].apic_id);
    delay();
    ipi_startup(cpus[cpu].apic_id, TRAMPOLINE_ADDRESS / PAGE_BYTES);
    delay();
    if (!atomic_load(&cpus[cpu].online))
        ipi_startup(cpus[cpu].apic_id, TRAMPOLINE_ADDRESS / PAGE_BYTES);
    while (!atomic_load(&cpus[cpu].online)) {
        if (patience-- == 0)
            panic("cpu %u (APIC ID %u) does not start", cpu, (unsigned)cpus[cpu].apic_id);
        cpu_relax();
    }
}

void smp_start(const struct bootinfo *info)
{
    uint32_t ids[GUEST_MAX_CPUS];
    unsigned found = acpi_find_cpus(info, ids, GUEST_MAX_CPUS);

    park_spinning = arg_word("park", "spin");
    cpus[0].apic_id = apic_id();
    for (unsigned i = 0; i < found; i++) {
        if (ids[i] != cpus[0].apic_id && count < GUEST_MAX_CPUS)
            cpus[count++].apic_id = ids[i];
    }
    interrupt_set(VECTOR_WAKE, wake);
    memcpy((void *)(uintptr_t)TRAMPOLINE_ADDRESS, trampoline, (size_t)(trampoline_end - trampoline));
    for (unsigned cpu = 1; cpu < count; cpu++)
        start_cpu(cpu);
}

void run_on_all(job_fn fn, void *arg)
{
    atomic_store(&jobs_left, count - 1);
    for (unsigned cpu = 1; cpu < count; cpu++) {
        cpus[cpu].job_arg = arg;
        atomic_store(&cpus[cpu].job, fn);
    }
    if (count > 1 && !park_spinning)
        ipi_send_others(VECTOR_WAKE);
    fn(arg);
    interrupts_off();
    while (atomic_load(&jobs_left) != 0)
        cpu_relax();
}

void wait_for_all(void)
{
    barrier_wait(&everyone, count);
}
