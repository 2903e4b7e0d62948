/*
 * CPUs that sleep in HLT: woken by their own timer, by a neighbour's IPI (a token goes round), and by a
 * broadcast that a timer's owner sends. What woke them how often is exact; how long it took is not. `n` is
 * the number of wake-ups of each kind, `period` the timer's ticks.
 */
#include "guest-images/lib/guest.h"

#define VECTOR_TIMER     0x40
#define VECTOR_TOKEN     0x50
#define VECTOR_BROADCAST 0x60
#define DEFAULT_N        100
#define DEFAULT_PERIOD   5000

/* Counted by the CPU's own handlers. */
struct state {
    volatile uint64_t timers, tokens, broadcasts;
    uint64_t sleeps;
} __attribute__((aligned(PAGE_BYTES)));

static struct state states[GUEST_MAX_CPUS];
static uint64_t wanted;
static uint32_t period;
static atomic_uint woken;

static void on_timer(void)
{
    states[cpu_id()].timers++;
}

static void on_token(void)
{
    states[cpu_id()].tokens++;
}

static void on_broadcast(void)
{
    states[cpu_id()].broadcasts++;
}

/* Interrupts are off between the look and HLT, so that the one waited for is not missed. */
static void sleep_until(struct state *self, const volatile uint64_t *counter, uint64_t value)
{
    while (*counter < value) {
        self->sleeps++;
        sleep_with_interrupts();
    }
}

static void sleep_by_timer(void *arg)
{
    struct state *self = &states[cpu_id()];

    (void)arg;
    for (uint64_t i = 1; i <= wanted; i++) {
        timer_oneshot(VECTOR_TIMER, period + period / 8 * cpu_id());
        sleep_until(self, &self->timers, i);
    }
}

/* The token is the IPI: whoever gets it sends it on. CPU 0 starts it and takes the last one. */
static void pass_token(void *arg)
{
    struct state *self = &states[cpu_id()];
    unsigned next = (cpu_id() + 1) % cpu_count();

    (void)arg;
    for (uint64_t i = 1; i <= wanted; i++) {
        if (cpu_id() == 0)
            ipi_send(next, VECTOR_TOKEN);
        sleep_until(self, &self->tokens, i);
        if (cpu_id() != 0)
            ipi_send(next, VECTOR_TOKEN);
    }
}

static void broadcast(void *arg)
{
    struct state *self = &states[cpu_id()];

    (void)arg;
    for (uint64_t i = 1; i <= wanted; i++) {
        if (cpu_id() != 0) {
            sleep_until(self, &self->broadcasts, i);
            atomic_fetch_add(&woken, 1);
            continue;
        }
        timer_oneshot(VECTOR_TIMER, period);
        sleep_until(self, &self->timers, wanted + i);
        if (cpu_count() > 1)
            ipi_send_others(VECTOR_BROADCAST);
        while (atomic_load(&woken) < i * (cpu_count() - 1))
            cpu_relax();
    }
}

int main(void)
{
    uint64_t timers = 0, tokens = 0, broadcasts = 0, sleeps = 0, begin = rdtsc();

    wanted = arg_number("n", DEFAULT_N);
    period = (uint32_t)arg_number("period", DEFAULT_PERIOD);
    interrupt_set(VECTOR_TIMER, on_timer);
    interrupt_set(VECTOR_TOKEN, on_token);
    interrupt_set(VECTOR_BROADCAST, on_broadcast);
    run_on_all(sleep_by_timer, NULL);
    run_on_all(pass_token, NULL);
    run_on_all(broadcast, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        timers += states[i].timers;
        tokens += states[i].tokens;
        broadcasts += states[i].broadcasts;
        sleeps += states[i].sleeps;
    }
    say("result: idle cpus %u timers %llu tokens %llu broadcasts %llu\n", cpu_count(), (ull)timers,
        (ull)tokens, (ull)broadcasts);
    say("race: idle sleeps %llu tsc %llu\n", (ull)sleeps, (ull)(rdtsc() - begin));
    return timers != wanted * (cpu_count() + 1) || tokens != wanted * cpu_count();
}
