/*
 * The classic litmus tests with plain loads and stores, many times over, with a histogram of the outcomes.
 * What sequential consistency forbids is counted on lines of their own (`forbidden:`); x86 itself allows one
 * of these (SB), and a machine that runs the CPUs in atomic pieces shows none.
 *
 * Each test runs in batches (the CPUs walk over many cells, each at its own speed) and in steps (a barrier
 * before each cell). `n` is the number of batches, `steps` the number of cells walked in steps, both for each
 * test.
 */
#include <stdio.h>
#include <string.h>

#include "guest-images/lib/guest.h"

#define CELLS         1024
#define MAX_ROLES     4
#define MAX_GROUPS    (GUEST_MAX_CPUS / 2)
#define MAX_OUTCOMES  16
#define MAX_SKEW      512
#define DEFAULT_N     12
#define DEFAULT_STEPS 200

/* A variable or a result slot has a cache line of its own; the kinds lie in pages of their own. */
struct line {
    volatile uint64_t value;
} __attribute__((aligned(64)));

struct results {
    uint64_t first, second;
};

/* The CPUs that run one instance of a test together, and their cells. */
struct group {
    struct line x[CELLS], y[CELLS];
    struct results seen[MAX_ROLES][CELLS];
    struct barrier start;
} __attribute__((aligned(PAGE_BYTES)));

typedef void (*role_fn)(struct line *x, struct line *y, struct results *seen);

struct test {
    const char *name;
    unsigned roles, bits;
    role_fn role[MAX_ROLES];
    unsigned (*outcome)(const struct group *group, unsigned cell);
    unsigned forbidden; /* the outcome, of `bits` bits, that sequential consistency rules out */
};

struct run {
    const struct test *test;
    unsigned cells, groups, members;
    bool stepping;
    uint64_t seed;
};

static struct group *groups;
static uint64_t histogram[MAX_OUTCOMES];

static void write_x_read_y(struct line *x, struct line *y, struct results *seen)
{
    x->value = 1;
    seen->first = y->value;
}

static void write_y_read_x(struct line *x, struct line *y, struct results *seen)
{
    y->value = 1;
    seen->first = x->value;
}

static void write_x_write_y(struct line *x, struct line *y, struct results *seen)
{
    (void)seen;
    x->value = 1;
    y->value = 1;
}

static void read_x_write_y(struct line *x, struct line *y, struct results *seen)
{
    seen->first = x->value;
    y->value = 1;
}

static void read_y_write_x(struct line *x, struct line *y, struct results *seen)
{
    seen->first = y->value;
    x->value = 1;
}

static void write_x(struct line *x, struct line *y, struct results *seen)
{
    (void)y, (void)seen;
    x->value = 1;
}

static void write_y(struct line *x, struct line *y, struct results *seen)
{
    (void)x, (void)seen;
    y->value = 1;
}

static void read_x_read_y(struct line *x, struct line *y, struct results *seen)
{
    seen->first = x->value;
    seen->second = y->value;
}

static void read_y_read_x(struct line *x, struct line *y, struct results *seen)
{
    seen->first = y->value;
    seen->second = x->value;
}

static void write_x1_write_y2(struct line *x, struct line *y, struct results *seen)
{
    (void)seen;
    x->value = 1;
    y->value = 2;
}

static void write_y1_write_x2(struct line *x, struct line *y, struct results *seen)
{
    (void)seen;
    y->value = 1;
    x->value = 2;
}

/* SB and LB: what the first role saw, then what the second saw. */
static unsigned outcome_both(const struct group *g, unsigned cell)
{
    return (unsigned)(g->seen[0][cell].first << 1 | g->seen[1][cell].first);
}

/* MP: the reader's two loads. */
static unsigned outcome_reader(const struct group *g, unsigned cell)
{
    return (unsigned)(g->seen[1][cell].first << 1 | g->seen[1][cell].second);
}

static unsigned outcome_iriw(const struct group *g, unsigned cell)
{
    const struct results *a = &g->seen[2][cell], *b = &g->seen[3][cell];

    return (unsigned)(a->first << 3 | a->second << 2 | b->first << 1 | b->second);
}

/* 2+2W: whether x, and y, ended as 2. */
static unsigned outcome_memory(const struct group *g, unsigned cell)
{
    return (unsigned)((g->x[cell].value - 1) << 1 | (g->y[cell].value - 1));
}

static const struct test tests[] = {
    {"SB", 2, 2, {write_x_read_y, write_y_read_x}, outcome_both, 0x0},
    {"MP", 2, 2, {write_x_write_y, read_y_read_x}, outcome_reader, 0x2},
    {"LB", 2, 2, {read_x_write_y, read_y_write_x}, outcome_both, 0x3},
    {"IRIW", 4, 4, {write_x, write_y, read_x_read_y, read_y_read_x}, outcome_iriw, 0xA},
    {"2+2W", 2, 2, {write_x1_write_y2, write_y1_write_x2}, outcome_memory, 0x0},
};

/* One CPU's part: its role on each cell, or several roles where CPUs are fewer than roles. */
static void play(void *arg)
{
    const struct run *run = arg;
    const struct test *test = run->test;
    unsigned me = cpu_id() % run->members;
    uint64_t state = random_seed(run->seed, cpu_id());
    struct group *g = &groups[cpu_id() / run->members];

    if (cpu_id() / run->members >= run->groups)
        return;
    barrier_wait(&g->start, run->members);
    for (unsigned skew = (unsigned)(random_next(&state) % MAX_SKEW); skew > 0; skew--)
        __asm__ volatile("");
    for (unsigned cell = 0; cell < run->cells; cell++) {
        if (run->stepping)
            barrier_wait(&g->start, run->members);
        for (unsigned role = me; role < test->roles; role += run->members)
            test->role[role](&g->x[cell], &g->y[cell], &g->seen[role][cell]);
    }
}

/* Runs `cells` cells once in every group and adds the outcomes to the histogram; returns how many there were.
 */
static uint64_t run_once(struct run *run)
{
    const struct test *test = run->test;

    run->members = cpu_count() < test->roles ? cpu_count() : test->roles;
    run->groups = cpu_count() / run->members;
    for (unsigned i = 0; i < run->groups; i++)
        memset(&groups[i], 0, offsetof(struct group, start));
    run_on_all(play, run);
    for (unsigned i = 0; i < run->groups; i++) {
        for (unsigned cell = 0; cell < run->cells; cell++)
            histogram[test->outcome(&groups[i], cell) % MAX_OUTCOMES]++;
    }
    return (uint64_t)run->groups * run->cells;
}

/* An outcome in binary, the first value seen first. */
static const char *outcome_name(const struct test *test, unsigned outcome)
{
    static char name[MAX_ROLES + 1];

    for (unsigned i = 0; i < test->bits; i++)
        name[i] = (char)('0' + (outcome >> (test->bits - 1 - i) & 1));
    name[test->bits] = '\0';
    return name;
}

static void report(const struct run *run, uint64_t trials)
{
    const struct test *test = run->test;
    const char *mode = run->stepping ? "steps" : "batch";
    char text[512];
    int at = 0;

    for (unsigned o = 0; o < 1u << test->bits; o++) {
        if (histogram[o] != 0)
            at += snprintf(text + at, sizeof(text) - (size_t)at, " %s=%llu", outcome_name(test, o),
                           (ull)histogram[o]);
    }
    say("result: %s %s trials %llu\n", test->name, mode, (ull)trials);
    say("race: %s %s%s\n", test->name, mode, text);
    say("forbidden: %s %s %s = %llu\n", test->name, mode, outcome_name(test, test->forbidden),
        (ull)histogram[test->forbidden]);
}

static void run_test(const struct test *test, bool stepping, uint64_t seed)
{
    struct run run = {.test = test, .stepping = stepping};
    uint64_t todo = stepping ? arg_number("steps", DEFAULT_STEPS) : arg_number("n", DEFAULT_N) * CELLS;
    uint64_t trials = 0;

    memset(histogram, 0, sizeof(histogram));
    while (todo > 0) {
        run.cells = todo < CELLS ? (unsigned)todo : CELLS;
        run.seed = seed = random_next(&seed);
        trials += run_once(&run);
        todo -= run.cells;
    }
    report(&run, trials);
}

int main(void)
{
    uint64_t seed = random_seed(arg_number("seed", 1), 0);

    groups = memory_pages(sizeof(struct group) * (cpu_count() < 2 ? 1 : cpu_count() / 2));
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        run_test(&tests[i], false, random_next(&seed));
        run_test(&tests[i], true, random_next(&seed));
    }
    return 0;
}
