#include "hv/cpu/smp.h"

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/percpu.h"
#include "hv/cpu/trampoline.h"
#include "hv/cpu/trap.h"

#define INIT_DELAY_US    10000 /* SDM 3A 9.4.4.1 */
#define STARTUP_DELAY_US 200
#define ONLINE_WAIT_US   200000
#define ONLINE_POLL_US   100

/* Control registers as the hypervisor wants them on every CPU, and what was found is noted. */
static void init_control_registers(struct percpu *cpu)
{
    uint64_t cr4 = CR4_PAE | CR4_MCE; /* without MCE a machine check is a silent shutdown */

    if (cpuid(CPUID_VERSION).ecx & CPUID_1_ECX_XSAVE) {
        cr4 |= CR4_OSXSAVE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    }
    write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
    write_cr4(cr4);
    if (!rdmsr_safe(IA32_PAT, &cpu->pub.pat)) {
        cpu->pub.pat = PAT_RESET_VALUE;
    }
}

static void init_this_cpu(struct percpu *cpu)
{
    descriptors_load(cpu);
    init_control_registers(cpu);
    apic_enable(cpu->pub.system);
}

void smp_init_boot_cpu(struct cpu_system *system)
{
    struct percpu *cpu = &system->cpus[0];

    descriptors_build_idt(system);
    for (uint32_t i = 0; i < system->count; i++) {
        system->cpus[i].pub.self = &system->cpus[i];
        system->cpus[i].pub.system = system;
        system->cpus[i].pub.index = i;
    }
    init_this_cpu(cpu);
    cpu->pub.online = 1;
}

typedef void cpu_function(struct percpu *cpu);

/* Waits for the next function. Interrupts are masked between the look and the HLT, so no kick is lost. */
static cpu_function *wait_for_work(struct percpu *cpu)
{
    cpu_function *fn;

    while (!(fn = __atomic_load_n(&cpu->priv.function, __ATOMIC_ACQUIRE))) {
        cpu_sti_hlt();
        cpu_cli();
    }
    return fn;
}

/* The trampoline calls this on the new CPU's own stack. */
static _Noreturn void ap_main(struct percpu *cpu)
{
    init_this_cpu(cpu);
    __atomic_store_n(&cpu->pub.online, 1, __ATOMIC_RELEASE);
    for (;;) {
        wait_for_work(cpu)(cpu);
        __atomic_store_n(&cpu->priv.function, NULL, __ATOMIC_RELEASE);
    }
}

static bool is_online(const struct percpu *cpu)
{
    return __atomic_load_n(&cpu->pub.online, __ATOMIC_ACQUIRE) == 1;
}

static void start_one(struct percpu *cpu, uint64_t low_page)
{
    const struct cpu_system *system = cpu->pub.system;
    uint8_t vector = (uint8_t)(low_page >> PAGE_SHIFT);

    trampoline_install(low_page, read_cr3(), cpu->priv.stack + CPU_STACK_SIZE, cpu, ap_main);
    apic_send_init(cpu->pub.index);
    cpu_delay_us(system, INIT_DELAY_US);
    for (int attempt = 0; attempt < 2 && !is_online(cpu); attempt++) {
        apic_send_startup(cpu->pub.index, vector);
        cpu_delay_us(system, STARTUP_DELAY_US);
    }
    for (uint32_t waited = 0; waited < ONLINE_WAIT_US && !is_online(cpu); waited += ONLINE_POLL_US) {
        cpu_delay_us(system, ONLINE_POLL_US);
    }
}

uint32_t smp_start(struct cpu_system *system, uint64_t low_page, void (*fn)(struct percpu *cpu))
{
    uint32_t running = 1;

    for (uint32_t i = 1; i < system->count; i++) {
        system->cpus[i].priv.function = fn;
        start_one(&system->cpus[i], low_page);
        if (is_online(&system->cpus[i])) {
            running++;
        }
    }
    return running;
}

void smp_run(struct cpu_system *system, uint32_t cpu_index, void (*fn)(struct percpu *cpu))
{
    HV_CHECK(fn != NULL && cpu_index < system->count && smp_is_idle(system, cpu_index));
    __atomic_store_n(&system->cpus[cpu_index].priv.function, fn, __ATOMIC_RELEASE);
    apic_send_fixed(cpu_index, VECTOR_KICK);
}

bool smp_is_idle(const struct cpu_system *system, uint32_t cpu_index)
{
    const struct percpu *cpu = &system->cpus[cpu_index];

    return is_online(cpu) && !__atomic_load_n(&cpu->priv.function, __ATOMIC_ACQUIRE);
}

_Noreturn void smp_park(void)
{
    for (;;) {
        cpu_sti_hlt();
        cpu_cli();
    }
}
