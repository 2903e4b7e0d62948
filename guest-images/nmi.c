/*
 * NMIs sent between CPUs. Counted ones, each acknowledged before the next, come although interrupts are off.
 * Those sent while an NMI's handler runs wait for its IRET, and three of them are one (SDM 3A 6.7.1). Some
 * wake a CPU that sleeps with interrupts off. Last, a storm into computing loops: how many are merged and
 * where they come depends on time. `n` is the number of NMIs of each kind that a CPU sends.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N   200
#define VECTOR_NMI  2
#define RFLAGS_IF   (1u << 9)
#define NESTED      3   /* sent from inside the handler */
#define WAIT_LOOPS  200 /* long enough for an NMI to come, if it can */
#define STORM_EVERY 32

enum nmi_phase {
    PHASE_COUNTED,
    PHASE_BLOCKED,
    PHASE_WAKING,
    PHASE_STORM,
};

/* Written by the CPU itself, in its handler too; `taken` and `awake` are read by the sender. */
struct state {
    volatile uint64_t taken, awake, depth;
    uint64_t errors, loops, history, extra;
} __attribute__((aligned(PAGE_BYTES)));

static struct state states[GUEST_MAX_CPUS];
static enum nmi_phase phase;
static uint64_t wanted;

static void delay(void)
{
    for (unsigned i = 0; i < WAIT_LOOPS; i++)
        cpu_relax();
}

static void on_nmi(struct trap_frame *frame)
{
    struct state *self = &states[cpu_id()];
    uint64_t taken = self->taken + 1;

    self->errors += self->depth++ != 0 || (frame->rflags & RFLAGS_IF) != 0;
    self->taken = taken;
    if (phase == PHASE_BLOCKED && taken % 2 == 1) {
        for (unsigned i = 0; i < NESTED; i++)
            ipi_send_nmi(cpu_id());
        delay();
        self->errors += self->taken != taken;
    } else if (phase == PHASE_STORM) {
        self->history = hash_add(self->history, self->loops);
    }
    self->depth--;
}

/* The next goes out when the last one was counted. */
static void send_counted(struct state *self, unsigned next)
{
    (void)self;
    for (uint64_t i = 0; i < wanted; i++) {
        ipi_send_nmi(next);
        while (states[next].taken == i)
            cpu_relax();
    }
}

/* Each NMI to itself makes two: those that its handler sends come as one after the IRET. */
static void send_blocked(struct state *self)
{
    for (uint64_t i = 0; i < wanted; i++) {
        ipi_send_nmi(cpu_id());
        while (self->taken < 2 * i + 2)
            cpu_relax();
    }
    delay();
    self->errors += self->taken != 2 * wanted;
}

/* Pairs take turns: the even CPU sleeps, then the odd one. An NMI that comes too early is sent again. */
static void send_waking(struct state *self, unsigned me)
{
    unsigned partner = me ^ 1;

    if (partner >= cpu_count())
        return;
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint64_t i = 0; i < wanted; i++) {
            if (me % 2 == turn) {
                uint64_t before = self->taken;

                while (self->taken == before)
                    __asm__ volatile("hlt" : : : "memory");
                self->awake = i + 1;
            }
            while (me % 2 != turn && states[partner].awake == i) {
                ipi_send_nmi(partner);
                self->extra++;
                delay();
            }
        }
    }
}

static void send_storm(struct state *self, unsigned next)
{
    for (self->loops = 0; self->loops < wanted * STORM_EVERY; self->loops++) {
        if (self->loops % STORM_EVERY == 0)
            ipi_send_nmi(next);
    }
}

/* Phases do not overlap: what is still on its way comes while all wait. */
static void next_phase(struct state *self, enum nmi_phase next)
{
    delay();
    wait_for_all();
    self->taken = 0;
    if (cpu_id() == 0)
        phase = next;
    wait_for_all();
}

static void work(void *arg)
{
    struct state *self = &states[cpu_id()];
    unsigned next = (cpu_id() + 1) % cpu_count();
    uint64_t *counted = arg;

    self->history = HASH_START;
    next_phase(self, PHASE_COUNTED);
    send_counted(self, next);
    wait_for_all();
    counted[cpu_id()] = self->taken;
    next_phase(self, PHASE_BLOCKED);
    send_blocked(self);
    next_phase(self, PHASE_WAKING);
    send_waking(self, cpu_id());
    next_phase(self, PHASE_STORM);
    send_storm(self, next);
    next_phase(self, PHASE_COUNTED);
}

int main(void)
{
    uint64_t counted[GUEST_MAX_CPUS] = {0};
    uint64_t total = 0, errors = 0, woken = 0, sent = 0, history = HASH_START;

    wanted = arg_number("n", DEFAULT_N);
    exception_set(VECTOR_NMI, on_nmi);
    run_on_all(work, counted);
    for (unsigned i = 0; i < cpu_count(); i++) {
        total += counted[i];
        errors += states[i].errors;
        woken += states[i].awake;
        sent += states[i].extra;
        history = hash_add(history, states[i].history);
    }
    errors += total != wanted * cpu_count();
    say("result: nmi cpus %u counted %llu woken %llu errors %llu\n", cpu_count(), (ull)total, (ull)woken,
        (ull)errors);
    say("race: nmi sent to wake %llu storm history %016llx\n", (ull)sent, (ull)history);
    return errors != 0;
}
