/*
 * The devices of a PC: the 8254 ticks by the 8259 pair and ExtINT, its interrupts and those of UART and RTC
 * go by the I/O APIC to each CPU in turn, the ACPI timer's is a level that comes again until its cause is
 * gone. All clocks go forward, seen from all CPUs at once. `n` is the number of ticks of each kind. With the
 * word `end=off` the guest switches itself off by ACPI in place of the exit port, with `end=reset` it resets
 * itself.
 */
#include "guest-images/lib/guest.h"

#define VECTOR_PIC  0x60 /* 16 of them */
#define VECTOR_PIT  0x80
#define VECTOR_UART 0x81
#define VECTOR_RTC  0x82
#define VECTOR_SCI  0x83
#define DEFAULT_N   10
#define TIMER_LOOKS 100

/* 8259 */
#define PIC_MASTER 0x20
#define PIC_SLAVE  0xA0
#define PIC_EOI    0x20
#define PIC_ICW1   0x11

/* 8254 */
#define PIT_COUNTER_0 0x40
#define PIT_COUNTER_2 0x42
#define PIT_CONTROL   0x43
#define PORT_B        0x61
#define PIT_HZ        1193182u
#define TICK_HZ       100u

/* UART */
#define UART_IER 0x3F9
#define UART_IIR 0x3FA
#define UART_MCR 0x3FC
#define IER_THRE 0x02
#define IIR_ID   0x0F
#define IIR_THRE 0x02
#define MCR_OUT2 0x08

/* RTC */
#define RTC_INDEX 0x70
#define RTC_DATA  0x71
#define RTC_A     10
#define RTC_B     11
#define RTC_C     12
#define RTC_RATE  0x29 /* 32768 Hz base, 128 Hz */
#define RTC_PIE   0x40
#define RTC_24H   0x02
#define RTC_UIP   0x80
#define RTC_PF    0xC0

/* ACPI */
#define PM1_STATUS  0x600
#define PM1_ENABLE  0x602
#define PM1_CONTROL 0x604
#define PM_TIMER    0x608
#define PM_MASK     0xFFFFFFu
#define PM_HZ       3579545u
#define S5          (0x2000 | 5 << 10)

/* I/O APIC */
#define IOAPIC        0xFEC00000u
#define IOAPIC_MASKED 0x10000u
#define IOAPIC_LEVEL  0x8000u
#define PIN_PIT       2u
#define PIN_UART      4u
#define PIN_RTC       8u
#define PIN_SCI       9u

#define RESET_CONTROL 0xCF9

static volatile unsigned pic_ticks, spurious, sci_count, wrong_cpu;
static volatile unsigned ticks[GUEST_MAX_CPUS];
static volatile unsigned target; /* CPU that interrupts are sent to */
static struct lock clock_lock;
static uint32_t clock_last;
static unsigned clock_errors;
static uint64_t wanted;

static uint16_t inw(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
    *(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10) = value;
}

static uint32_t ioapic_read(uint32_t reg)
{
    *(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
    return *(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10);
}

static void route(uint32_t pin, uint32_t low, unsigned cpu)
{
    ioapic_write(0x10 + 2 * pin, IOAPIC_MASKED);
    ioapic_write(0x11 + 2 * pin, cpu_apic_id(cpu) << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

static uint8_t rtc_read(uint8_t index)
{
    outb(RTC_INDEX, index);
    return inb(RTC_DATA);
}

static void rtc_write(uint8_t index, uint8_t value)
{
    outb(RTC_INDEX, index);
    outb(RTC_DATA, value);
}

static void sleep_until(const volatile unsigned *count, uint64_t value)
{
    while (*count < value)
        sleep_with_interrupts();
}

/* ---- 8259 and 8254 ---- */

static void on_pic_tick(void)
{
    pic_ticks++;
    outb(PIC_MASTER, PIC_EOI);
}

static void on_pic_other(void)
{
    spurious++;
}

static void pic_init(uint8_t master_mask)
{
    outb(PIC_MASTER, PIC_ICW1);
    outb(PIC_MASTER + 1, VECTOR_PIC);
    outb(PIC_MASTER + 1, 4);
    outb(PIC_MASTER + 1, 1);
    outb(PIC_SLAVE, PIC_ICW1);
    outb(PIC_SLAVE + 1, VECTOR_PIC + 8);
    outb(PIC_SLAVE + 1, 2);
    outb(PIC_SLAVE + 1, 1);
    outb(PIC_MASTER + 1, master_mask);
    outb(PIC_SLAVE + 1, 0xFF);
}

static void pit_start(uint8_t mode)
{
    uint32_t count = (PIT_HZ + TICK_HZ / 2) / TICK_HZ;

    outb(PIT_CONTROL, 0x30 | mode << 1);
    outb(PIT_COUNTER_0, (uint8_t)count);
    outb(PIT_COUNTER_0, (uint8_t)(count >> 8));
}

/* A count that nobody waits for any more. */
static void pit_stop(void)
{
    outb(PIT_CONTROL, 0x30);
}

/* The least that `count` periods last on the ACPI timer. */
static bool long_enough(uint32_t begin, uint32_t end, uint64_t count)
{
    return ((end - begin) & PM_MASK) >= (count - 1) * (PM_HZ / TICK_HZ);
}

static void test_pic(void)
{
    uint32_t begin, middle, end;
    uint64_t loops = 0;

    interrupt_set(VECTOR_PIC, on_pic_tick);
    for (uint8_t i = 1; i < 16; i++)
        interrupt_set(VECTOR_PIC + i, on_pic_other);
    pic_init(0xFE);
    apic_extint(true);
    begin = inl(PM_TIMER);
    pit_start(2);
    sleep_until(&pic_ticks, wanted); /* halted */
    middle = inl(PM_TIMER);
    interrupts_on(); /* and computing */
    while (pic_ticks < 2 * wanted)
        loops++;
    interrupts_off();
    end = inl(PM_TIMER);
    outb(PIC_MASTER + 1, 0xFF);
    pit_stop();
    apic_extint(false);
    say("result: 8259 ticks %llu and %llu, not too early: %s\n", (ull)wanted, (ull)wanted,
        long_enough(begin, middle, wanted) && long_enough(middle, end, wanted) ? "yes" : "no");
    say("result: 8259 mask %02x, others %u\n", inb(PIC_MASTER + 1), spurious);
    say("race: loops between ticks %llu\n", (ull)(loops / wanted));
}

/* Interrupts are only let in for an instruction at a time: none is lost. */
static void test_pic_windows(void)
{
    unsigned before = pic_ticks;

    pic_init(0xFE);
    apic_extint(true);
    pit_start(3);
    while (pic_ticks < before + wanted) {
        for (volatile unsigned i = 0; i < 100; i++)
            ;
        __asm__ volatile("sti; nop; cli" : : : "memory");
    }
    outb(PIC_MASTER + 1, 0xFF);
    pit_stop();
    apic_extint(false);
    say("result: 8259 in windows of one instruction: good\n");
}

/* Counter 2 at its gate, as operating systems measure with it. */
static void test_counter_2(void)
{
    uint32_t begin, count = PIT_HZ / 200, passed;

    outb(PORT_B, (inb(PORT_B) & 0xFC) | 1);
    outb(PIT_CONTROL, 0xB0);
    outb(PIT_COUNTER_2, (uint8_t)count);
    begin = inl(PM_TIMER);
    outb(PIT_COUNTER_2, (uint8_t)(count >> 8));
    while (!(inb(PORT_B) & 0x20))
        ;
    passed = (inl(PM_TIMER) - begin) & PM_MASK;
    say("result: counter 2 not too early: %s\n", passed >= PM_HZ / 200 - 4 ? "yes" : "no");
    say("race: counter 2 took %u\n", (unsigned)passed);
}

/* ---- I/O APIC ---- */

static void count_here(void)
{
    if (cpu_id() != target)
        wrong_cpu++;
    ticks[cpu_id()]++;
}

static void on_uart(void)
{
    if ((inb(UART_IIR) & IIR_ID) == IIR_THRE)
        count_here();
}

static void on_rtc(void)
{
    if ((rtc_read(RTC_C) & RTC_PF) == RTC_PF)
        count_here();
}

/* The CPU that is the target sleeps until all have come. */
static void await(void *arg)
{
    (void)arg;
    if (cpu_id() == target)
        sleep_until(&ticks[cpu_id()], wanted);
}

static void one_target(uint32_t pin, uint8_t vector, unsigned cpu)
{
    target = cpu;
    ticks[cpu] = 0;
    route(pin, vector, cpu);
    if (pin == PIN_PIT)
        pit_start(2);
    rtc_read(RTC_C);
    run_on_all(await, NULL);
    route(pin, IOAPIC_MASKED, cpu);
}

static void test_ioapic(void)
{
    interrupt_set(VECTOR_PIT, count_here);
    interrupt_set(VECTOR_RTC, on_rtc);
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        one_target(PIN_PIT, VECTOR_PIT, cpu);
    pit_stop();
    say("result: 8254 by the I/O APIC on %u cpus, at a wrong one %u\n", cpu_count(), wrong_cpu);
    rtc_write(RTC_A, RTC_RATE);
    rtc_write(RTC_B, RTC_PIE | RTC_24H);
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        one_target(PIN_RTC, VECTOR_RTC, cpu);
    rtc_write(RTC_B, RTC_24H);
    rtc_read(RTC_C);
    say("result: RTC by the I/O APIC on %u cpus, at a wrong one %u\n", cpu_count(), wrong_cpu);
    say("result: I/O APIC has %u pins\n", (unsigned)(ioapic_read(1) >> 16 & 0xFF) + 1);
}

/* Each time the interrupt is enabled, the empty transmitter raises it. */
static void test_uart(void)
{
    uint8_t mcr = inb(UART_MCR);
    unsigned seen = 0;

    interrupt_set(VECTOR_UART, on_uart);
    target = 0;
    ticks[0] = 0;
    while (!(inb(UART_IER + 4) & 0x40)) /* LSR: all is sent */
        ;
    outb(UART_MCR, mcr | MCR_OUT2);
    route(PIN_UART, VECTOR_UART, 0);
    for (uint64_t i = 0; i < wanted; i++) {
        outb(UART_IER, IER_THRE);
        sleep_until(&ticks[0], i + 1);
        outb(UART_IER, 0);
        seen++;
    }
    route(PIN_UART, IOAPIC_MASKED, 0);
    outb(UART_MCR, mcr);
    say("result: UART interrupts %u\n", seen);
}

/* The first end comes while the line is still up, so the interrupt comes again; then its cause is gone. */
static void on_sci(void)
{
    if (++sci_count == 2) {
        outw(PM1_ENABLE, 0);
        outw(PM1_STATUS, 1);
    }
}

/* A third one would come at once. */
static void await_sci(void *arg)
{
    (void)arg;
    if (cpu_id() != target)
        return;
    sleep_until(&sci_count, 2);
    interrupts_on();
    inw(PM1_CONTROL);
    interrupts_off();
}

static void test_sci(void)
{
    interrupt_set(VECTOR_SCI, on_sci);
    target = cpu_count() - 1;
    outw(PM1_STATUS, 1);
    route(PIN_SCI, IOAPIC_LEVEL | VECTOR_SCI, target);
    outw(PM1_ENABLE, 1);
    run_on_all(await_sci, NULL);
    route(PIN_SCI, IOAPIC_LEVEL | IOAPIC_MASKED, 0);
    say("result: SCI level taken %u times, status %u\n", sci_count, inw(PM1_STATUS) & 1);
}

/* ---- Clocks ---- */

/* Whoever has the lock sees the others' time: neither clock may be behind it. */
static void look_at_clocks(void *arg)
{
    static uint64_t tsc_last;

    (void)arg;
    for (unsigned i = 0; i < TIMER_LOOKS; i++) {
        uint64_t tsc;
        uint32_t now;

        lock_take(&clock_lock);
        tsc = rdtsc();
        now = inl(PM_TIMER);
        if (tsc < tsc_last || ((now - clock_last) & PM_MASK) > PM_MASK / 2)
            clock_errors++;
        tsc_last = rdtsc();
        clock_last = now;
        lock_drop(&clock_lock);
        cpu_relax();
    }
}

static unsigned seconds(void)
{
    uint8_t bcd;

    while (rtc_read(RTC_A) & RTC_UIP)
        ;
    bcd = rtc_read(0);
    return (bcd >> 4) * 10u + (bcd & 15);
}

static void test_clocks(void)
{
    uint32_t begin, passed;
    unsigned second;
    uint64_t tsc;

    clock_last = inl(PM_TIMER);
    run_on_all(look_at_clocks, NULL);
    say("result: clocks gone back %u times\n", clock_errors);
    second = seconds();
    while (seconds() == second)
        ;
    begin = inl(PM_TIMER);
    tsc = rdtsc();
    second = seconds();
    while (seconds() == second)
        ;
    passed = (inl(PM_TIMER) - begin) & PM_MASK;
    tsc = rdtsc() - tsc;
    say("result: a second of the RTC is one of the ACPI timer: %s\n",
        passed > PM_HZ - PM_HZ / 50 && passed < PM_HZ + PM_HZ / 50 ? "yes" : "no");
    say("race: date %02x%02x-%02x-%02x %02x:%02x, TSC a second %llu\n", rtc_read(0x32), rtc_read(9),
        rtc_read(8), rtc_read(7), rtc_read(4), rtc_read(2), (ull)tsc);
}

int main(void)
{
    wanted = arg_number("n", DEFAULT_N);
    test_pic();
    test_pic_windows();
    test_counter_2();
    test_ioapic();
    test_uart();
    test_sci();
    test_clocks();
    if (arg_word("end", "off"))
        outw(PM1_CONTROL, S5);
    if (arg_word("end", "reset"))
        outb(RESET_CONTROL, 6);
    return wrong_cpu || clock_errors || spurious;
}
