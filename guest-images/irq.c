/*
 * Interrupts at a high rate. Three kinds of timer interrupt a computing loop that sends IPIs to the next CPU
 * meanwhile; then every CPU sends IPIs of which each must arrive. How far the loops came and how many of the
 * first IPIs were merged depends on when interrupts came. `n` is the number of timer interrupts of each kind
 * and of acknowledged IPIs, `period` the timer's ticks.
 */
#include "guest-images/lib/guest.h"

#define VECTOR_TIMER     0x40
#define VECTOR_NEIGHBOUR 0x50
#define VECTOR_COUNTED   0x60
#define DEFAULT_N        120
#define DEFAULT_PERIOD   10000
#define IPI_EVERY        64

enum timer_kind {
    TIMER_PERIODIC,
    TIMER_ONESHOT,
    TIMER_DEADLINE,
    TIMER_KINDS,
};

/* Written by the CPU itself, in its handlers; `counted` is read by the sender. */
struct state {
    volatile uint64_t timers, neighbours, counted;
    uint64_t loops, history;
    enum timer_kind kind;
} __attribute__((aligned(PAGE_BYTES)));

static struct state states[GUEST_MAX_CPUS];
static const char *const kind_names[TIMER_KINDS] = {"periodic", "oneshot", "deadline"};
static uint64_t wanted;
static uint32_t period;

static void on_timer(void)
{
    struct state *self = &states[cpu_id()];

    self->timers++;
    self->history = hash_add(self->history, self->loops);
    if (self->timers >= wanted)
        return;
    if (self->kind == TIMER_ONESHOT)
        timer_oneshot(VECTOR_TIMER, period);
    else if (self->kind == TIMER_DEADLINE)
        timer_deadline(period);
}

static void on_neighbour(void)
{
    states[cpu_id()].neighbours++;
}

static void on_counted(void)
{
    states[cpu_id()].counted++;
}

static void timer_start(enum timer_kind kind)
{
    if (kind == TIMER_PERIODIC) {
        timer_periodic(VECTOR_TIMER, period);
    } else if (kind == TIMER_ONESHOT) {
        timer_oneshot(VECTOR_TIMER, period);
    } else {
        timer_deadline_mode(VECTOR_TIMER);
        timer_deadline(period);
    }
}

static void timer_storm(void *arg)
{
    struct state *self = &states[cpu_id()];
    unsigned next = (cpu_id() + 1) % cpu_count();

    *self = (struct state){.history = HASH_START, .kind = *(const enum timer_kind *)arg};
    wait_for_all();
    timer_start(self->kind);
    interrupts_on();
    while (self->timers < wanted) {
        if (++self->loops % IPI_EVERY == 0)
            ipi_send(next, VECTOR_NEIGHBOUR);
    }
    interrupts_off();
    timer_stop();
    wait_for_all();
    /* What was still on its way must not meet the next test's counts. */
    interrupts_on();
    wait_for_all();
    interrupts_off();
}

/* The next IPI goes out when the last one was counted, so none is merged with another. */
static void counted_ipis(void *arg)
{
    unsigned next = (cpu_id() + 1) % cpu_count();

    (void)arg;
    interrupts_on();
    for (uint64_t i = 0; i < wanted; i++) {
        ipi_send(next, VECTOR_COUNTED);
        while (states[next].counted == i)
            cpu_relax();
    }
    wait_for_all();
    interrupts_off();
}

static void report_storm(enum timer_kind kind)
{
    uint64_t loops = 0, neighbours = 0, history = HASH_START, least = UINT64_MAX;

    for (unsigned i = 0; i < cpu_count(); i++) {
        loops += states[i].loops;
        neighbours += states[i].neighbours;
        history = hash_add(history, states[i].history);
        least = states[i].timers < least ? states[i].timers : least;
    }
    say("result: %s timers, at least %llu on each of %u cpus: %s\n", kind_names[kind], (ull)wanted,
        cpu_count(), least >= wanted ? "yes" : "no");
    say("race: %s timers loops %llu ipis %llu history %016llx\n", kind_names[kind], (ull)loops,
        (ull)neighbours, (ull)history);
}

int main(void)
{
    uint64_t counted = 0;

    wanted = arg_number("n", DEFAULT_N);
    period = (uint32_t)arg_number("period", DEFAULT_PERIOD);
    interrupt_set(VECTOR_TIMER, on_timer);
    interrupt_set(VECTOR_NEIGHBOUR, on_neighbour);
    interrupt_set(VECTOR_COUNTED, on_counted);
    for (enum timer_kind kind = TIMER_PERIODIC; kind < TIMER_KINDS; kind++) {
        if (kind == TIMER_DEADLINE && !timer_has_deadline())
            continue;
        run_on_all(timer_storm, &kind);
        report_storm(kind);
    }
    run_on_all(counted_ipis, NULL);
    for (unsigned i = 0; i < cpu_count(); i++)
        counted += states[i].counted;
    say("result: irq counted ipis %llu of %llu\n", (ull)counted, (ull)wanted * cpu_count());
    return counted != wanted * cpu_count();
}
