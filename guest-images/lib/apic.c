#include "guest-images/lib/apic.h"

#include "guest-images/lib/args.h"
#include "guest-images/lib/console.h"
#include "guest-images/lib/smp.h"
#include "guest-images/lib/x86.h"

/* Register offsets in the xAPIC page; the x2APIC MSR is 0x800 + offset / 16. SDM 3A table 10-6. */
enum apic_register {
    APIC_ID = 0x20,
    APIC_TPR = 0x80,
    APIC_EOI = 0xB0,
    APIC_SVR = 0xF0,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3E0,
};

#define APIC_BASE_X2APIC  (1u << 10)
#define APIC_BASE_ENABLE  (1u << 11)
#define APIC_BASE_ADDRESS 0xFFFFF000u
#define APIC_PAGE         0xFEE00000u

#define SVR_ENABLE        0x100u
#define LVT_EXTINT        0x700u
#define LVT_MASKED        0x10000u
#define LVT_PERIODIC      0x20000u
#define LVT_TSC_DEADLINE  0x40000u
#define TIMER_DIVIDE_BY_1 0xBu

#define ICR_FIXED       0x000u
#define ICR_NMI         0x400u
#define ICR_INIT        0x500u
#define ICR_STARTUP     0x600u
#define ICR_PENDING     0x1000u
#define ICR_ASSERT      0x4000u
#define ICR_OTHERS      0xC0000u
#define XAPIC_DEST_BITS 24
#define XAPIC_ID_SHIFT  24

static bool x2apic;

static uint32_t apic_read(enum apic_register reg)
{
    if (x2apic)
        return (uint32_t)rdmsr(MSR_X2APIC_BASE + reg / 16);
    return *(volatile uint32_t *)(uintptr_t)(APIC_PAGE + reg);
}

static void apic_write(enum apic_register reg, uint32_t value)
{
    if (x2apic)
        wrmsr(MSR_X2APIC_BASE + reg / 16, value);
    else
        *(volatile uint32_t *)(uintptr_t)(APIC_PAGE + reg) = value;
}

void apic_choose(void)
{
    x2apic = (cpuid(1, 0).ecx & CPUID1_ECX_X2APIC) && !arg_word("apic", "x");
}

void apic_init(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if ((base & APIC_BASE_ADDRESS) != APIC_PAGE)
        panic("local APIC at %#llx", (unsigned long long)base);
    wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    if (x2apic)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
}

void apic_extint(bool on)
{
    apic_write(APIC_LVT_LINT0, on ? LVT_EXTINT : LVT_MASKED);
}

bool apic_is_x2apic(void)
{
    return x2apic;
}

uint32_t apic_id(void)
{
    uint32_t id = apic_read(APIC_ID);

    return x2apic ? id : id >> XAPIC_ID_SHIFT;
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

/* x2APIC takes the command in one write; xAPIC in two, between which no interrupt may send another. */
static void icr_write(uint32_t destination, uint32_t command)
{
    uint64_t flags;

    if (x2apic) {
        /* Unlike a store to the page, the MSR write does not wait for earlier stores (SDM 3A 10.12.3). */
        __asm__ volatile("mfence; lfence" : : : "memory");
        wrmsr(MSR_X2APIC_BASE + APIC_ICR / 16, (uint64_t)destination << 32 | command);
        return;
    }
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
    while (apic_read(APIC_ICR) & ICR_PENDING)
        cpu_relax();
    apic_write(APIC_ICR_HIGH, destination << XAPIC_DEST_BITS);
    apic_write(APIC_ICR, command);
    __asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}

void ipi_send(unsigned cpu, uint8_t vector)
{
    icr_write(cpu_apic_id(cpu), ICR_FIXED | ICR_ASSERT | vector);
}

void ipi_send_others(uint8_t vector)
{
    icr_write(0, ICR_OTHERS | ICR_FIXED | ICR_ASSERT | vector);
}

void ipi_send_nmi(unsigned cpu)
{
    icr_write(cpu_apic_id(cpu), ICR_NMI | ICR_ASSERT);
}

void ipi_init(uint32_t id)
{
    icr_write(id, ICR_INIT | ICR_ASSERT);
}

void ipi_startup(uint32_t id, uint8_t page)
{
    icr_write(id, ICR_STARTUP | ICR_ASSERT | page);
}

void timer_oneshot(uint8_t vector, uint32_t ticks)
{
    apic_write(APIC_LVT_TIMER, vector);
    apic_write(APIC_TIMER_INITIAL, ticks);
}

void timer_periodic(uint8_t vector, uint32_t ticks)
{
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | vector);
    apic_write(APIC_TIMER_INITIAL, ticks);
}

void timer_stop(void)
{
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
}

uint32_t timer_left(void)
{
    return apic_read(APIC_TIMER_CURRENT);
}

bool timer_has_deadline(void)
{
    return cpuid(1, 0).ecx & CPUID1_ECX_TSC_DEADLINE;
}

/* The fence orders the mode's store before a later WRMSR of the deadline (SDM 3A 10.5.4.1). */
void timer_deadline_mode(uint8_t vector)
{
    apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | vector);
    __asm__ volatile("mfence" : : : "memory");
}

void timer_deadline(uint64_t ticks)
{
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + ticks);
}
