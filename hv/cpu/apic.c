#include "hv/cpu/apic.h"

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/percpu.h"
#include "hv/cpu/trap.h"

/* Register offsets of the xAPIC page, SDM 3A table 11-1. */
enum apic_register {
    APIC_ID = 0x20,
    APIC_TPR = 0x80,
    APIC_EOI = 0xB0,
    APIC_SVR = 0xF0,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_COUNTER = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3E0,
};

#define SVR_ENABLE        0x100u
#define LVT_MASKED        0x10000u
#define LVT_TSC_DEADLINE  0x40000u
#define TIMER_DIVIDE_BY_1 0xBu
#define ICR_FIXED         0x0u
#define ICR_NMI           0x400u
#define ICR_INIT          0x500u
#define ICR_STARTUP       0x600u
#define ICR_PENDING       0x1000u
#define ICR_ASSERT        0x4000u
#define XAPIC_ID_SHIFT    24

/* The PIT's channel 2, whose output can be read at port 0x61 (no interrupt is needed). */
#define PIT_HZ          1193182u
#define PIT_CHANNEL_2   0x42
#define PIT_COMMAND     0x43
#define PIT_MODE_0      0xB0 /* channel 2, low then high byte, interrupt on terminal count */
#define PORT_61         0x61
#define PORT_61_GATE    0x01
#define PORT_61_SPEAKER 0x02
#define PORT_61_OUT     0x20
#define CALIBRATE_MS    10u
/* Reads of port 0x61 take about 1 us on real machines, 1 tick in an emulator: far more than 10 ms in both. */
#define CALIBRATE_MAX_READS 10000000u

static uint32_t apic_read(const struct cpu_system *system, enum apic_register reg)
{
    if (system->x2apic) {
        return (uint32_t)rdmsr(IA32_X2APIC_FIRST + reg / 16);
    }
    return system->lapic[reg / sizeof(uint32_t)];
}

static void apic_write(const struct cpu_system *system, enum apic_register reg, uint32_t value)
{
    if (system->x2apic) {
        wrmsr(IA32_X2APIC_FIRST + reg / 16, value);
    } else {
        system->lapic[reg / sizeof(uint32_t)] = value;
    }
}

void apic_choose_mode(struct cpu_system *system, uint64_t lapic_address, bool xapic_only)
{
    uint64_t base = rdmsr(IA32_APIC_BASE);
    uint32_t features = cpuid(CPUID_VERSION).ecx;

    system->lapic = (volatile uint32_t *)lapic_address;
    /* Leaving x2APIC mode needs a detour through the disabled state; firmware that set it wants it. */
    system->x2apic = (base & APIC_BASE_X2APIC) || ((features & CPUID_1_ECX_X2APIC) && !xapic_only);
    system->tsc_deadline = features & CPUID_1_ECX_TSC_DEADLINE;
}

void apic_enable(const struct cpu_system *system)
{
    static const enum apic_register masked[] = {APIC_LVT_TIMER, APIC_LVT_LINT0, APIC_LVT_ERROR};
    uint64_t base = rdmsr(IA32_APIC_BASE) | APIC_BASE_ENABLE;

    wrmsr(IA32_APIC_BASE, base);
    if (system->x2apic) {
        wrmsr(IA32_APIC_BASE, base | APIC_BASE_X2APIC);
    }
    for (size_t i = 0; i < ARRAY_LEN(masked); i++) {
        apic_write(system, masked[i], LVT_MASKED | VECTOR_SPURIOUS);
    }
    apic_write(system, APIC_TPR, 0);
    apic_write(system, APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
}

uint32_t apic_read_id(const struct cpu_system *system)
{
    uint32_t id = apic_read(system, APIC_ID);

    return system->x2apic ? id : id >> XAPIC_ID_SHIFT;
}

void apic_eoi(void)
{
    apic_write(this_cpu()->pub.system, APIC_EOI, 0);
}

static void send(uint32_t cpu_index, uint32_t command)
{
    const struct cpu_system *system = this_cpu()->pub.system;
    uint32_t id;
    uint64_t flags;

    HV_CHECK(cpu_index < system->count);
    id = system->cpus[cpu_index].pub.apic_id;
    if (system->x2apic) {
        cpu_mfence(); /* the MSR write is not ordered after earlier stores, SDM 3A 11.12.3 */
        wrmsr(IA32_X2APIC_FIRST + APIC_ICR_LOW / 16, ((uint64_t)id << 32) | command);
        return;
    }
    flags = irq_save();
    while (apic_read(system, APIC_ICR_LOW) & ICR_PENDING) {
        cpu_pause();
    }
    apic_write(system, APIC_ICR_HIGH, id << XAPIC_ID_SHIFT);
    apic_write(system, APIC_ICR_LOW, command);
    while (apic_read(system, APIC_ICR_LOW) & ICR_PENDING) {
        cpu_pause();
    }
    irq_restore(flags);
}

void apic_send_fixed(uint32_t cpu_index, uint8_t vector)
{
    send(cpu_index, ICR_FIXED | ICR_ASSERT | vector);
}

void apic_send_nmi(uint32_t cpu_index)
{
    send(cpu_index, ICR_NMI | ICR_ASSERT);
}

void apic_send_init(uint32_t cpu_index)
{
    send(cpu_index, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(uint32_t cpu_index, uint8_t page)
{
    send(cpu_index, ICR_STARTUP | ICR_ASSERT | page);
}

/* Starts the PIT's channel 2 and waits CALIBRATE_MS; false when it never ends. */
static bool pit_wait(void)
{
    uint32_t count = PIT_HZ * CALIBRATE_MS / 1000;
    uint8_t port = in8(PORT_61);

    out8(PORT_61, (uint8_t)((port & ~PORT_61_SPEAKER) | PORT_61_GATE));
    out8(PIT_COMMAND, PIT_MODE_0);
    out8(PIT_CHANNEL_2, (uint8_t)count);
    out8(PIT_CHANNEL_2, (uint8_t)(count >> 8));
    for (uint32_t reads = 0; reads < CALIBRATE_MAX_READS; reads++) {
        if (in8(PORT_61) & PORT_61_OUT) {
            return reads > 0; /* at once means: no PIT */
        }
    }
    return false;
}

/* The rates that newer CPUs state, SDM 2A CPUID.15H and 16H; 0 where unknown. */
static uint64_t stated_tsc_khz(void)
{
    uint32_t max_leaf = cpuid(CPUID_VENDOR).eax;

    if (max_leaf >= CPUID_TSC) {
        struct cpuid_regs r = cpuid(CPUID_TSC);

        if (r.eax && r.ebx && r.ecx) {
            return (uint64_t)r.ecx * r.ebx / r.eax / 1000;
        }
    }
    return max_leaf >= CPUID_FREQUENCY ? (uint64_t)cpuid(CPUID_FREQUENCY).eax * 1000 : 0;
}

bool apic_calibrate(struct cpu_system *system)
{
    uint64_t tsc;
    uint32_t counted;

    apic_write(system, APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
    apic_write(system, APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(system, APIC_TIMER_INITIAL, UINT32_MAX);
    tsc = rdtsc();
    if (pit_wait()) {
        tsc = rdtsc() - tsc;
        counted = UINT32_MAX - apic_read(system, APIC_TIMER_CURRENT);
        system->tsc_khz = tsc / CALIBRATE_MS;
        system->apic_timer_khz = counted / CALIBRATE_MS;
    } else {
        uint64_t start = rdtsc();

        system->tsc_khz = stated_tsc_khz();
        if (system->tsc_khz) {
            apic_write(system, APIC_TIMER_INITIAL, UINT32_MAX);
            cpu_delay_us(system, CALIBRATE_MS * 1000);
            counted = UINT32_MAX - apic_read(system, APIC_TIMER_CURRENT);
            system->apic_timer_khz = counted * system->tsc_khz / (rdtsc() - start + 1);
        }
    }
    apic_write(system, APIC_TIMER_INITIAL, 0);
    return system->tsc_khz != 0;
}

void apic_timer_arm(uint64_t tsc)
{
    const struct cpu_system *system = this_cpu()->pub.system;
    uint64_t now, ticks, count;

    if (system->tsc_deadline) {
        apic_write(system, APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
        cpu_mfence(); /* the mode must be in force before the deadline is written, SDM 3A 11.5.4.1 */
        wrmsr(IA32_TSC_DEADLINE, tsc ? tsc : 1);
        return;
    }
    now = rdtsc();
    ticks = tsc > now ? tsc - now : 0;
    /* Whole milliseconds first: the product of two rates may not fit. */
    count = ticks / system->tsc_khz * system->apic_timer_khz +
            ticks % system->tsc_khz * system->apic_timer_khz / system->tsc_khz;
    apic_write(system, APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
    apic_write(system, APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(system, APIC_TIMER_INITIAL, (uint32_t)MAX(MIN(count, (uint64_t)UINT32_MAX), (uint64_t)1));
}

void apic_timer_stop(void)
{
    const struct cpu_system *system = this_cpu()->pub.system;

    if (system->tsc_deadline) {
        wrmsr(IA32_TSC_DEADLINE, 0);
    } else {
        apic_write(system, APIC_TIMER_INITIAL, 0);
    }
    apic_write(system, APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
}

void apic_counter_open(void)
{
    apic_write(this_cpu()->pub.system, APIC_LVT_COUNTER, VECTOR_COUNTER);
}

void cpu_delay_us(const struct cpu_system *system, uint64_t us)
{
    uint64_t end = rdtsc() + us * system->tsc_khz / 1000;

    while (rdtsc() < end) {
        cpu_pause();
    }
}
