/*
 * AVX state. Fifteen YMM registers are kept live over long loops, while a timer's handler uses them too and
 * puts only their upper halves back. VZEROUPPER and VZEROALL, XSAVE and XRSTOR with all masks of x87, SSE and
 * AVX, XGETBV, and XCR0 without AVX. Nothing depends on how CPUs interleave. `n` is the number of steps,
 * `period` the timer's ticks.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N        200000
#define DEFAULT_PERIOD   20000
#define STEPS_PER_ROUND  100
#define VECTOR_TIMER     0x40
#define VECTOR_UD        6
#define VECTOR_GP        13
#define YMM_REGISTERS    16
#define AREA_BYTES       1024
#define XSTATE_X87       1u
#define XSTATE_SSE       2u
#define XSTATE_AVX       4u
#define XSTATE_ALL       7u
#define AREA_WITHOUT_AVX 576 /* SDM 1 13.4: the legacy region and the header */
#define ST0_EMPTY        (UINT64_C(1) << 63)
#define MASKS            (XSTATE_ALL + 1)

/* The registers' lower halves, upper halves, the number in ST0, and the x87 status from which TOP is taken.
 */
struct values {
    uint64_t low[YMM_REGISTERS][2], high[YMM_REGISTERS][2];
    uint64_t st0, status;
};

struct area {
    uint8_t bytes[AREA_BYTES];
} __attribute__((aligned(64)));

struct cpu_result {
    struct area area, handler_area;
    uint64_t live, masks, errors;
    volatile uint64_t timers;
} __attribute__((aligned(PAGE_BYTES)));

static struct cpu_result results[GUEST_MAX_CPUS];
static uint64_t steps, seed;
static uint32_t period;

#define ALL_XMM                                                                                              \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",        \
        "xmm12", "xmm13", "xmm14", "xmm15"
#define ALL_ST      "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"
#define EACH_YMM(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
/* One register from and to struct values, which RSI points at: low halves, then high ones. */
#define LOAD(i)                                                                                              \
    "vmovupd 16*" #i "(%%rsi), %%xmm" #i "; vinsertf128 $1, 256+16*" #i "(%%rsi), %%ymm" #i ", %%ymm" #i ";"
#define STORE(i)  "vmovupd %%xmm" #i ", 16*" #i "(%%rdi); vextractf128 $1, %%ymm" #i ", 256+16*" #i "(%%rdi);"
#define LOAD_ALL  EACH_YMM(LOAD) "fninit; fildll 512(%%rsi);"
#define STORE_ALL EACH_YMM(STORE) "fnstsw 520(%%rdi); fistpll 512(%%rdi); fninit; vzeroupper;"
_Static_assert(offsetof(struct values, high) == 256 && offsetof(struct values, st0) == 512, "LOAD, STORE");

static void random_values(struct values *v, uint64_t *state)
{
    for (unsigned i = 0; i < YMM_REGISTERS; i++) {
        for (unsigned k = 0; k < 2; k++) {
            v->low[i][k] = random_next(state) | 1; /* never the initial state, see area_masks() */
            v->high[i][k] = random_next(state) | 1;
        }
    }
    v->st0 = random_next(state) >> 1 | 1;
    v->status = 0;
}

static uint64_t hash_values(uint64_t hash, const struct values *v)
{
    uint64_t words[sizeof(*v) / sizeof(uint64_t)];

    memcpy(words, v, sizeof(words));
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        hash = hash_add(hash, words[i]);
    return hash;
}

/* After STORE_ALL. TOP is 7 where a number was loaded; else ST0 was empty, and is given the same value
 * always. */
static void settle(struct values *v)
{
    if ((v->status >> 11 & 7) != 7)
        v->st0 = ST0_EMPTY;
    v->status = 0;
}

/* Fills all YMM registers with ones. The entry stub puts back what FXRSTOR does: the lower halves. */
static void on_timer(void)
{
    struct cpu_result *self = &results[cpu_id()];

    self->timers++;
    __asm__ volatile(
        "xsave64 (%0); vxorps %%ymm0, %%ymm0, %%ymm0; vcmpps $0, %%ymm0, %%ymm0, %%ymm0;"
        "vmovaps %%ymm0, %%ymm1; vmovaps %%ymm0, %%ymm2; vmovaps %%ymm0, %%ymm3; vmovaps %%ymm0, %%ymm4;"
        "vmovaps %%ymm0, %%ymm5; vmovaps %%ymm0, %%ymm6; vmovaps %%ymm0, %%ymm7; vmovaps %%ymm0, %%ymm8;"
        "vmovaps %%ymm0, %%ymm9; vmovaps %%ymm0, %%ymm10; vmovaps %%ymm0, %%ymm11;"
        "vmovaps %%ymm0, %%ymm12; vmovaps %%ymm0, %%ymm13; vmovaps %%ymm0, %%ymm14;"
        "vmovaps %%ymm0, %%ymm15; xrstor64 (%0)"
        :
        : "r"(&self->handler_area), "a"(XSTATE_AVX), "d"(0)
        : "memory", ALL_XMM);
}

#define MIX(a, b) "vxorpd %%ymm" #b ", %%ymm" #a ", %%ymm" #a ";"

/* Each step is a permutation of all bits there are: nothing is ever lost, and a wrong bit stays. */
static void run_live(struct values *v, uint64_t count)
{
    __asm__ volatile(LOAD_ALL
                     "1:"
                     "vshufpd $5, %%ymm0, %%ymm0, %%ymm0; vperm2f128 $1, %%ymm14, %%ymm14, %%ymm14;" MIX(0, 1)
                         MIX(1, 2) MIX(2, 3) MIX(3, 4) MIX(4, 5) MIX(5, 6) MIX(6, 7) MIX(7, 8) MIX(8, 9)
                             MIX(9, 10) MIX(10, 11) MIX(11, 12) MIX(12, 13) MIX(13, 14) MIX(14, 15)
                                 MIX(15, 0) "decq %%rcx; jnz 1b;" STORE_ALL
                     : "+c"(count)
                     : "S"(v), "D"(v)
                     : "memory", "cc", ALL_ST, ALL_XMM);
    settle(v);
}

/* Some instructions between, so that a chunk can end and an interrupt come. */
#define SOME_TIME "movl $50, %%ecx; 1: decl %%ecx; jnz 1b;"

static void check_zeroing(struct cpu_result *self, const struct values *v)
{
    struct values seen = {0}, expected = *v;

    __asm__ volatile(LOAD_ALL "vzeroupper;" SOME_TIME STORE_ALL
                     :
                     : "S"(v), "D"(&seen)
                     : "memory", "cc", "ecx", ALL_ST, ALL_XMM);
    settle(&seen);
    memset(expected.high, 0, sizeof(expected.high));
    self->errors += memcmp(&seen, &expected, sizeof(seen)) != 0;
    __asm__ volatile(LOAD_ALL "vzeroall;" SOME_TIME STORE_ALL
                     :
                     : "S"(v), "D"(&seen)
                     : "memory", "cc", "ecx", ALL_ST, ALL_XMM);
    settle(&seen);
    memset(expected.low, 0, sizeof(expected.low));
    self->errors += memcmp(&seen, &expected, sizeof(seen)) != 0;
}

/* What the registers hold when `first` was saved by one mask and restored by another over `second`. A
 * component that was restored but not saved gets its initial values; ST0 is then empty, which stores the
 * indefinite. */
static struct values expect(const struct values *first, const struct values *second, unsigned save,
                            unsigned restore)
{
    struct values v = *second;

    if (restore & XSTATE_X87)
        v.st0 = save & XSTATE_X87 ? first->st0 : ST0_EMPTY;
    if (restore & XSTATE_SSE) {
        memset(v.low, 0, sizeof(v.low));
        if (save & XSTATE_SSE)
            memcpy(v.low, first->low, sizeof(v.low));
    }
    if (restore & XSTATE_AVX) {
        memset(v.high, 0, sizeof(v.high));
        if (save & XSTATE_AVX)
            memcpy(v.high, first->high, sizeof(v.high));
    }
    return v;
}

/* All components are in use (no value is the initial one), so XSTATE_BV is the mask of what was saved. */
static void area_masks(struct cpu_result *self, const struct values *first, const struct values *second)
{
    for (unsigned pair = 0; pair < MASKS * MASKS; pair++) {
        unsigned save = pair / MASKS, restore = pair % MASKS;
        struct values seen = {0}, expected = expect(first, second, save, restore);
        uint64_t in_use;

        memset(&self->area, 0, sizeof(self->area));
        __asm__ volatile(LOAD_ALL "xsave64 (%%rbx);"
                         :
                         : "S"(first), "b"(&self->area), "a"(save), "d"(0)
                         : "memory", ALL_ST, ALL_XMM);
        memcpy(&in_use, self->area.bytes + 512, sizeof(in_use));
        /* MXCSR comes from the area where SSE or AVX is restored, saved or not. */
        memcpy(self->area.bytes + 24, &(uint32_t){0x1F80}, sizeof(uint32_t));
        __asm__ volatile(LOAD_ALL "xrstor64 (%%rbx);" STORE_ALL
                         :
                         : "S"(second), "D"(&seen), "b"(&self->area), "a"(restore), "d"(0)
                         : "memory", ALL_ST, ALL_XMM);
        settle(&seen);
        self->errors += in_use != save || memcmp(&seen, &expected, sizeof(seen)) != 0;
        self->masks = hash_values(self->masks, &seen);
    }
}

static uint64_t xgetbv(uint32_t index, uint64_t *value)
{
    register uint64_t vector __asm__("r11");
    uint32_t lo = 0, hi = 0;

    __asm__ volatile(NO_TRAP_IN_R11 "1: xgetbv; 2:" TRAP_FIXUP(1b, 2b)
                     : "+a"(lo), "+d"(hi), "=r"(vector)
                     : "c"(index));
    *value = (uint64_t)hi << 32 | lo;
    return vector;
}

static uint64_t try_xsetbv(uint64_t value)
{
    register uint64_t vector __asm__("r11");

    __asm__ volatile(NO_TRAP_IN_R11 "1: xsetbv; 2:" TRAP_FIXUP(1b, 2b)
                     : "=r"(vector)
                     : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
    return vector;
}

static uint64_t try_avx(void)
{
    register uint64_t vector __asm__("r11");

    __asm__ volatile(NO_TRAP_IN_R11 "1: vxorps %%ymm0, %%ymm0, %%ymm0; 2:" TRAP_FIXUP(1b, 2b)
                     : "=r"(vector)
                     :
                     : "xmm0");
    return vector;
}

/* Without AVX in XCR0, AVX is #UD, and CPUID says that XSAVE's area is smaller. Interrupts are off. */
static void check_xcr0(struct cpu_result *self)
{
    uint64_t value;

    self->errors += xgetbv(0, &value) != NO_TRAP || value != XSTATE_ALL;
    self->errors += xgetbv(2, &value) != VECTOR_GP;
    self->errors += try_xsetbv(XSTATE_X87 | XSTATE_AVX) != VECTOR_GP;
    self->errors += try_xsetbv(XSTATE_SSE) != VECTOR_GP;
    self->errors += try_xsetbv(XSTATE_X87 | XSTATE_SSE) != NO_TRAP;
    self->errors += xgetbv(0, &value) != NO_TRAP || value != (XSTATE_X87 | XSTATE_SSE);
    self->errors += try_avx() != VECTOR_UD || cpuid(0xD, 0).ebx != AREA_WITHOUT_AVX;
    self->errors += try_xsetbv(XSTATE_ALL) != NO_TRAP || try_avx() != NO_TRAP;
}

static void compute(void *arg)
{
    struct cpu_result *self = &results[cpu_id()];
    uint64_t state = random_seed(seed, cpu_id());
    struct values first, second;

    (void)arg;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    xsetbv(0, XSTATE_ALL);
    self->live = self->masks = HASH_START;
    random_values(&first, &state);
    random_values(&second, &state);
    timer_periodic(VECTOR_TIMER, period);
    for (uint64_t step = 0; step < steps; step += STEPS_PER_ROUND) {
        interrupts_on();
        run_live(&first, STEPS_PER_ROUND);
        check_zeroing(self, &first);
        interrupts_off();
        check_xcr0(self);
    }
    interrupts_on();
    area_masks(self, &second, &first);
    interrupts_off();
    timer_stop();
    self->live = hash_values(self->live, &first);
}

int main(void)
{
    uint32_t features = cpuid(1, 0).ecx;
    uint64_t live = HASH_START, masks = HASH_START, errors = 0, timers = 0;

    if (!(features & CPUID1_ECX_XSAVE) || !(features & CPUID1_ECX_AVX))
        panic("no AVX here");
    steps = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    period = (uint32_t)arg_number("period", DEFAULT_PERIOD);
    interrupt_set(VECTOR_TIMER, on_timer);
    run_on_all(compute, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        live = hash_add(live, results[i].live);
        masks = hash_add(masks, results[i].masks);
        errors += results[i].errors;
        timers += results[i].timers;
    }
    say("result: avx cpus %u live %016llx masks %016llx errors %llu\n", cpu_count(), (ull)live, (ull)masks,
        (ull)errors);
    say("race: avx timers %llu\n", (ull)timers);
    return errors != 0;
}
