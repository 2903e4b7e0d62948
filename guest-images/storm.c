/*
 * Storms: all CPUs write to all memory, or each to its own, interrupts, NMIs and INITs in floods, a timer of
 * one tick. The word `kind=NAME` says which; without it the kinds are listed. `n` counts.
 */
#include <string.h>

#include "guest-images/lib/guest.h"
#include "guest-images/lib/kind.h"

#define APIC_PAGE  UINT64_C(0xFEE00000)
#define VECTOR_NMI 2

static int done(const char *kind)
{
    say("result: %s\n", kind);
    return 0;
}

/* ---- Storms ---- */

static uint8_t *memory;
static size_t memory_bytes;

static void write_all(void *arg)
{
    uint64_t rounds = arg_number("n", 2);

    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        for (size_t at = 0; at < memory_bytes; at += PAGE_BYTES)
            memory[at + 8 * cpu_id()]++;
    }
}

/* Each CPU has a part of the memory to itself: nothing but the want of pages holds them up. */
static void write_own(void *arg)
{
    uint64_t rounds = arg_number("n", 2);
    size_t pages = memory_bytes / PAGE_BYTES / cpu_count();
    size_t first = pages * cpu_id() * PAGE_BYTES;

    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        for (size_t at = 0; at < pages * PAGE_BYTES; at += PAGE_BYTES)
            memory[first + at]++;
    }
}

static int write_storm(void (*write)(void *), const char *kind)
{
    uint64_t sum = 0;

    memory_bytes = arg_number("bytes", 1 << 20);
    memory = memory_pages(memory_bytes);
    run_on_all(write, NULL);
    for (size_t at = 0; at < memory_bytes; at += 8)
        sum += memory[at];
    say("result: sum %llu\n", (ull)sum);
    return done(kind);
}

static int storm(void)
{
    return write_storm(write_all, "storm");
}

static int storm_own(void)
{
    return write_storm(write_own, "own");
}

#define FLOOD_VECTOR 0x40

static atomic_uint taken;

static void count_interrupt(void)
{
    taken++;
}

static void count_exception(struct trap_frame *frame)
{
    (void)frame;
    taken++;
}

/* The command goes to the ICR as it is. */
static void send_raw(uint32_t destination, uint32_t command)
{
    if (apic_is_x2apic()) {
        wrmsr(MSR_X2APIC_BASE + 0x30, (uint64_t)destination << 32 | command);
        return;
    }
    *(volatile uint32_t *)(uintptr_t)(APIC_PAGE + 0x310) = destination << 24;
    *(volatile uint32_t *)(uintptr_t)(APIC_PAGE + 0x300) = command;
}

static void flood_by(void *arg)
{
    uint64_t count = arg_number("n", 200);

    interrupts_on();
    for (uint64_t i = 0; i < count; i++)
        send_raw(0, *(uint32_t *)arg);
    interrupts_off();
}

static int flood(uint32_t command, const char *kind)
{
    interrupt_set(FLOOD_VECTOR, count_interrupt);
    exception_set(VECTOR_NMI, count_exception);
    run_on_all(flood_by, &command);
    say("race: %u taken\n", atomic_load(&taken));
    return done(kind);
}

static int flood_ipi(void)
{
    return flood(0x84000 | FLOOD_VECTOR, "flood-ipi"); /* all, the sender too */
}

static int flood_self(void)
{
    return flood(0x44000 | FLOOD_VECTOR, "flood-self");
}

static int flood_nmi(void)
{
    return flood(0xC4400, "flood-nmi"); /* all others */
}

/* Real-mode code: one page halts, the other counts in memory. */
#define HALT_PAGE  6u
#define COUNT_PAGE 7u

static void put_code(unsigned page, const uint8_t *code, size_t size)
{
    memcpy((void *)(uintptr_t)(page * PAGE_BYTES), code, size);
}

/* CPU 0 starts the others over and over, some while they run, and leaves them waiting at the end. */
static int flood_init(void)
{
    static const uint8_t halt[] = {0xFA, 0xF4, 0xEB, 0xFD};              /* CLI; HLT; JMP */
    static const uint8_t count[] = {0xFF, 0x06, 0x00, 0x6F, 0xEB, 0xFA}; /* INC WORD [6F00H]; JMP */
    uint64_t rounds = arg_number("n", 100);

    put_code(HALT_PAGE, halt, sizeof(halt));
    put_code(COUNT_PAGE, count, sizeof(count));
    for (uint64_t i = 0; i < rounds; i++) {
        send_raw(0, 0xC4500);
        send_raw(0, 0xC4600 | (i & 1 ? HALT_PAGE : COUNT_PAGE));
        send_raw(0, 0xC4600 | HALT_PAGE);
    }
    send_raw(0, 0xC4500);
    say("race: counted %u\n", (unsigned)*(volatile uint16_t *)(uintptr_t)0x6F00);
    return done("flood-init");
}

static int flood_timer(void)
{
    uint64_t count = arg_number("n", 200);

    interrupt_set(FLOOD_VECTOR, count_interrupt);
    timer_periodic(FLOOD_VECTOR, 1);
    interrupts_on();
    while (atomic_load(&taken) < count)
        cpu_relax();
    interrupts_off();
    timer_stop();
    return done("flood-timer");
}

/* ---- */

static const struct kind kinds[] = {
    {"storm", storm},
    {"own", storm_own},
    {"flood-ipi", flood_ipi},
    {"flood-self", flood_self},
    {"flood-nmi", flood_nmi},
    {"flood-init", flood_init},
    {"flood-timer", flood_timer},
};

int main(void)
{
    return run_kind(kinds, sizeof(kinds) / sizeof(kinds[0]));
}
