#include "hv/selftest.h"

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/trap.h"
#include "hv/machine.h"
#include "hv/msg.h"
#include "hv/state.h"

#define ROUNDS      10
#define WAIT_US     2000000 /* an emulator's CPU may not get its turn for long */
#define TIMER_US    500
#define MISSING_MSR 0x7FFFFFFFu /* in no CPU */

static void invalid_instruction(struct percpu *cpu)
{
    (void)cpu;
    __asm__ volatile("ud2");
}

/* Uses the stack up; the barrier keeps the compiler from making a loop of it. */
__attribute__((noinline)) static uint64_t use_stack(uint64_t depth)
{
    volatile uint64_t space[64];

    space[0] = depth;
    return depth == 0 ? 0 : use_stack(depth - 1) + space[0];
}

static void overflow_stack(struct percpu *cpu)
{
    (void)cpu;
    (void)use_stack(CPU_STACK_SIZE);
}

/* On each CPU: its own timer wakes it from HLT at the time asked for, not before. */
static void try_timer(struct percpu *cpu)
{
    uint64_t before = cpu->pub.timer_interrupts;
    uint64_t deadline = rdtsc() + TIMER_US * cpu->pub.system->tsc_khz / 1000;
    uint64_t end = deadline + WAIT_US * cpu->pub.system->tsc_khz / 1000;

    apic_timer_arm(deadline);
    cpu_sti();
    while (__atomic_load_n(&cpu->pub.timer_interrupts, __ATOMIC_RELAXED) == before && rdtsc() < end) {
        cpu_pause();
    }
    cpu_cli();
    apic_timer_stop();
    if (cpu->pub.timer_interrupts != before + 1 || rdtsc() < deadline) {
        hv_msg(MSG_ERROR, "selftest: the timer of CPU %u does not work", cpu->pub.index);
    }
}

static bool send_all(struct hv_state *hv, uint32_t index)
{
    const struct percpu_public *pub = &hv->cpus.cpus[index].pub;
    uint64_t end = rdtsc() + WAIT_US * hv->cpus.tsc_khz / 1000;

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t kicks = pub->kicks, nmis = pub->nmis;

        apic_send_fixed(index, VECTOR_KICK);
        apic_send_nmi(index);
        while (__atomic_load_n(&pub->kicks, __ATOMIC_ACQUIRE) != kicks + 1 ||
               __atomic_load_n(&pub->nmis, __ATOMIC_ACQUIRE) != nmis + 1) {
            if (rdtsc() > end) {
                return false;
            }
            cpu_pause();
        }
    }
    return true;
}

static void try_cpus(struct hv_state *hv)
{
    uint64_t value;
    uint32_t good = 0;
    bool faults;

    for (uint32_t i = 1; i < hv->cpus.count; i++) {
        if (!send_all(hv, i)) {
            hv_msg(MSG_ERROR, "selftest: CPU %u does not take interrupts", i);
            machine_end(MACHINE_PANIC);
        }
        smp_run(&hv->cpus, i, try_timer);
        while (!smp_is_idle(&hv->cpus, i)) {
            cpu_pause();
        }
        good++;
    }
    try_timer(&hv->cpus.cpus[0]);
    HV_CHECK(rdmsr_safe(IA32_APIC_BASE, &value) && value != 0);
    /* An emulator may let unknown MSRs pass: that is for the reader of the line to judge. */
    faults = !rdmsr_safe(MISSING_MSR, &value) && value == 0 && !wrmsr_safe(MISSING_MSR, 0);
    hv_msg(MSG_INFO, "selftest: %u CPUs good, %s, %s timer, unknown MSRs %s", good + 1,
           hv->cpus.x2apic ? "x2APIC" : "xAPIC", hv->cpus.tsc_deadline ? "TSC-deadline" : "counting",
           faults ? "fault" : "pass");
}

/* The other CPUs are in HLT or busy: what they do must not matter. */
static _Noreturn void wait_for_panic(void)
{
    for (;;) {
        cpu_pause();
    }
}

void selftest_run(struct hv_state *hv)
{
    uint32_t last = hv->cpus.count - 1;

    switch (hv->options.selftest) {
    case SELFTEST_NONE:
        return;
    case SELFTEST_CPUS:
        try_cpus(hv);
        return;
    case SELFTEST_TRAP:
        smp_run(&hv->cpus, last, invalid_instruction);
        wait_for_panic();
    case SELFTEST_STACK:
        smp_run(&hv->cpus, last, overflow_stack);
        wait_for_panic();
    case SELFTEST_CHECK:
        HV_CHECK(hv->options.selftest == SELFTEST_NONE);
        return;
    case SELFTEST_WRITE:
        *(volatile uint8_t *)(uint64_t)selftest_run = 0;
        return;
    }
}
