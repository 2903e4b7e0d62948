/*
 * Code that changes. Each CPU rewrites a routine of its own and runs it at once; then one CPU after the other
 * writes a routine that all run, by the manual's rules for both (SDM 3A 9.1.3); last, one CPU patches an
 * instruction that the others are running, behind a breakpoint, with an IPI that makes all of them serialise.
 * What routines compute is checked. `n` is the number of routines of each kind.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N        400
#define CODE_STEPS       48
#define CALLS            4
#define MAX_PATCHES      255
#define VECTOR_SERIALISE 0x40
#define VECTOR_BP        3
#define OPCODE_INT3      0xCC
#define OPCODE_RET       0xC3
#define OPCODE_MOV_EAX   0xB8 /* and 32 bits */

typedef uint64_t (*routine_fn)(uint64_t value);

enum step_kind {
    STEP_ADD,
    STEP_XOR,
    STEP_MULTIPLY,
    STEP_ROTATE,
    STEP_KINDS,
};

/* Takes RDI, computes in RAX. */
struct step {
    enum step_kind kind;
    uint32_t operand;
};

struct page {
    uint8_t bytes[PAGE_BYTES];
} __attribute__((aligned(PAGE_BYTES)));

struct state {
    uint64_t hash, errors;
    atomic_uint_least64_t traps; /* in on_breakpoint */
    uint64_t calls;
} __attribute__((aligned(PAGE_BYTES)));

static struct page own_code[GUEST_MAX_CPUS], shared_code, patched_code;
static struct state states[GUEST_MAX_CPUS];
static struct step shared_steps[CODE_STEPS];
static uint64_t routines, seed;
static atomic_bool ready; /* the manual's Memory_Flag */
static atomic_uint serialised;
static _Atomic uint32_t patch_old, patch_new;
static atomic_bool patching_done;

/* A serialising instruction: what was fetched before it is fetched again. */
static void serialise(void)
{
    (void)cpuid(0, 0);
}

static void random_steps(struct step *steps, uint64_t *state)
{
    for (unsigned i = 0; i < CODE_STEPS; i++)
        steps[i] = (struct step){random_next(state) % STEP_KINDS, (uint32_t)random_next(state) >> 1 | 1};
}

static uint8_t *emit(uint8_t *to, const char *bytes, size_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

static uint8_t *emit_step(uint8_t *to, const struct step *step)
{
    static const struct {
        const char *bytes;
        size_t length;
    } opcodes[] = {
        [STEP_ADD] = {"\x48\x05", 2},          /* add $operand, %rax */
        [STEP_XOR] = {"\x48\x35", 2},          /* xor $operand, %rax */
        [STEP_MULTIPLY] = {"\x48\x69\xC0", 3}, /* imul $operand, %rax, %rax */
        [STEP_ROTATE] = {"\x48\xC1\xC8", 3},   /* ror $operand, %rax */
    };
    size_t operand = step->kind == STEP_ROTATE ? 1 : sizeof(step->operand);

    to = emit(to, opcodes[step->kind].bytes, opcodes[step->kind].length);
    memcpy(to, &step->operand, operand);
    return to + operand;
}

static void write_routine(struct page *page, const struct step *steps)
{
    uint8_t *to = emit(page->bytes, "\x48\x89\xF8", 3); /* mov %rdi, %rax */

    for (unsigned i = 0; i < CODE_STEPS; i++)
        to = emit_step(to, &steps[i]);
    *to = OPCODE_RET;
}

/* What the routine should compute. */
static uint64_t interpret(const struct step *steps, uint64_t value)
{
    for (unsigned i = 0; i < CODE_STEPS; i++) {
        unsigned by = steps[i].operand % 64;

        if (steps[i].kind == STEP_ADD)
            value += steps[i].operand;
        else if (steps[i].kind == STEP_XOR)
            value ^= steps[i].operand;
        else if (steps[i].kind == STEP_MULTIPLY)
            value *= steps[i].operand;
        else if (by != 0)
            value = value >> by | value << (64 - by);
    }
    return value;
}

static uint64_t call(const struct page *page, uint64_t value)
{
    const void *code = page->bytes;
    routine_fn fn;

    /* The compiler learns that the bytes are used. A pointer to data becomes one to code: the same bits. */
    __asm__ volatile("" : "+r"(code) : : "memory");
    memcpy(&fn, &code, sizeof(fn));
    return fn(value);
}

static void run_and_check(struct state *self, const struct page *page, const struct step *steps,
                          uint64_t *random)
{
    for (unsigned i = 0; i < CALLS; i++) {
        uint64_t value = random_next(random), result = call(page, value);

        self->errors += result != interpret(steps, value);
        self->hash = hash_add(self->hash, result);
    }
}

/* Self-modifying: an indirect call lies between the store and the new code, which is what the manual asks
 * for; every other time it is a serialising instruction. */
static void modify_self(struct state *self, uint64_t *random)
{
    struct page *page = &own_code[cpu_id()];
    struct step steps[CODE_STEPS];

    for (uint64_t i = 0; i < routines; i++) {
        random_steps(steps, random);
        write_routine(page, steps);
        if (i % 2)
            serialise();
        run_and_check(self, page, steps, random);
    }
}

/* Cross-modifying: nobody runs the code while it is written; who waited serialises, then runs it. */
static void modify_others(struct state *self, uint64_t *random)
{
    uint64_t code_random = random_seed(seed, GUEST_MAX_CPUS);

    for (uint64_t i = 0; i < routines; i++) {
        if (i % cpu_count() == cpu_id()) {
            random_steps(shared_steps, &code_random);
            write_routine(&shared_code, shared_steps);
            atomic_store(&ready, true);
        } else {
            struct step skipped[CODE_STEPS];

            random_steps(skipped, &code_random);
            while (!atomic_load(&ready))
                cpu_relax();
        }
        serialise();
        run_and_check(self, &shared_code, shared_steps, random);
        wait_for_all();
        if (i % cpu_count() == cpu_id())
            atomic_store(&ready, false);
        wait_for_all();
    }
}

/* Whoever meets the breakpoint gets the old value, as if the instruction were still there. */
static void on_breakpoint(struct trap_frame *frame)
{
    atomic_fetch_add(&states[cpu_id()].traps, 1);
    frame->rax = atomic_load(&patch_old);
    frame->rip = (uintptr_t)patched_code.bytes + 1 + sizeof(uint32_t);
}

static void on_serialise(void)
{
    serialise();
    atomic_fetch_add(&serialised, 1);
}

static void serialise_others(void)
{
    atomic_store(&serialised, 0);
    if (cpu_count() > 1)
        ipi_send_others(VECTOR_SERIALISE);
    while (atomic_load(&serialised) != cpu_count() - 1)
        cpu_relax();
}

static void store_byte(uint8_t *at, uint8_t value)
{
    __atomic_store_n(at, value, __ATOMIC_SEQ_CST);
}

/* Breakpoint, operand, opcode: between two of these every CPU has serialised, so it runs the old instruction,
 * the breakpoint, or the new one, and never bytes of both. */
static void patch(uint32_t value)
{
    uint8_t *code = patched_code.bytes;

    atomic_store(&patch_new, value);
    store_byte(code, OPCODE_INT3);
    serialise_others();
    for (unsigned i = 0; i < sizeof(value); i++)
        store_byte(code + 1 + i, (uint8_t)(value >> 8 * i));
    serialise_others();
    store_byte(code, OPCODE_MOV_EAX);
    serialise_others();
    atomic_store(&patch_old, value);
    serialise();
}

static void run_patched(struct state *self)
{
    /* Old and new are read around the call: a patch may be made meanwhile, so both of before and after will
     * do. */
    uint32_t old = atomic_load(&patch_old), result = (uint32_t)call(&patched_code, 0);
    uint32_t new = atomic_load(&patch_new);

    /* Values count up, so that a torn operand falls out of the range. */
    self->errors += result < old || result > new;
    self->calls++;
}

static void patch_live(struct state *self)
{
    interrupts_on();
    if (cpu_id() == 0) {
        for (uint32_t i = 1; i <= MAX_PATCHES && i <= routines; i++) {
            patch(i * 0x01010101u); /* all bytes of the operand change */
            self->errors += (uint32_t)call(&patched_code, 0) != i * 0x01010101u;
        }
        atomic_store(&patching_done, true);
    }
    while (!atomic_load(&patching_done))
        run_patched(self);
    interrupts_off();
}

static void work(void *arg)
{
    struct state *self = &states[cpu_id()];
    uint64_t random = random_seed(seed, cpu_id());

    (void)arg;
    self->hash = HASH_START;
    modify_self(self, &random);
    wait_for_all();
    modify_others(self, &random);
    wait_for_all();
    patch_live(self);
}

int main(void)
{
    uint64_t hash = HASH_START, errors = 0, traps = 0, calls = 0;

    routines = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    interrupt_set(VECTOR_SERIALISE, on_serialise);
    exception_set(VECTOR_BP, on_breakpoint);
    patched_code.bytes[0] = OPCODE_MOV_EAX; /* mov $0, %eax; ret */
    patched_code.bytes[1 + sizeof(uint32_t)] = OPCODE_RET;
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        hash = hash_add(hash, states[i].hash);
        errors += states[i].errors;
        traps += states[i].traps;
        calls += states[i].calls;
    }
    say("result: smc cpus %u errors %llu hash %016llx\n", cpu_count(), (ull)errors, (ull)hash);
    say("race: smc calls %llu traps %llu\n", (ull)calls, (ull)traps);
    return errors != 0;
}
