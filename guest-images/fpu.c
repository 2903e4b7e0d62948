/*
 * x87 and SSE exceptions, masked and unmasked (#MF, #XM), rounding and precision control, denormals with and
 * without FTZ and DAZ, FXSAVE images that are changed and loaded, CR0.TS and CR0.EM; while a timer
 * interrupts. Nothing depends on how CPUs interleave. `n` is the number of rounds, `period` the timer's
 * ticks.
 */
#include <float.h>
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N      1500
#define DEFAULT_PERIOD 20000
#define VECTOR_TIMER   0x40
#define VECTOR_UD      6
#define VECTOR_NM      7
#define VECTOR_GP      13
#define VECTOR_MF      16
#define VECTOR_XM      19
#define FLAG_IE        0x01
#define FLAG_DE        0x02
#define FLAG_ZE        0x04
#define FLAG_OE        0x08
#define FLAG_UE        0x10
#define FLAG_PE        0x20
#define FLAGS          0x3F
#define FCW_DEFAULT    0x037F
#define FCW_PRECISION  8  /* shift */
#define FCW_ROUNDING   10 /* shift */
#define MXCSR_DEFAULT  0x1F80u
#define MXCSR_MASKS    7 /* shift */
#define MXCSR_ROUNDING 13
#define MXCSR_DAZ      0x0040u
#define MXCSR_FTZ      0x8000u
#define CR0_EM         0x00000004u
#define CR0_TS         0x00000008u
#define IMAGE_FSW      2 /* offsets in the FXSAVE image, SDM 1 table 10-2 */
#define IMAGE_MXCSR    24
#define IMAGE_ST0      32
#define IMAGE_XMM0     160
#define FSW_BUSY_ES    0x8080 /* B and ES: an unmasked exception waits */

/* FNINIT empties the whole x87 stack, and the compiler may have put something there. */
#define ALL_ST "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

struct operation {
    double a, b;
    bool divide;
    uint8_t flag;  /* what is unmasked, and must be raised */
    uint8_t flags; /* all that is raised while everything is masked */
};

/* The same in doubles and, by SCALE, in the x87's own range. */
static const struct operation operations[] = {
    {0, 0, true, FLAG_IE, FLAG_IE},
    {1, 0, true, FLAG_ZE, FLAG_ZE},
    {1, 3, true, FLAG_PE, FLAG_PE},
    {DBL_MAX, 3, false, FLAG_OE, FLAG_OE | FLAG_PE},
    {DBL_MIN, 1.0 / 3, false, FLAG_UE, FLAG_UE | FLAG_PE},
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

struct cpu_result {
    uint8_t image[FXSAVE_SIZE] __attribute__((aligned(16)));
    uint64_t hash, errors, faults;
    uint64_t allowed; /* what should have been an SSE exception or #GP, and was not */
    uint64_t trapped; /* the flags that the last #MF or #XM found */
    volatile uint64_t timers;
} __attribute__((aligned(PAGE_BYTES)));

static struct cpu_result results[GUEST_MAX_CPUS];
static uint64_t rounds;
static uint32_t period;

static void on_timer(void)
{
    results[cpu_id()].timers++;
}

/* Clears the exceptions, so that the waiting instruction goes through when it is run again. */
static void on_mf(struct trap_frame *frame)
{
    struct cpu_result *self = &results[cpu_id()];
    uint8_t *image = trap_fxsave(frame);
    uint16_t fsw;

    memcpy(&fsw, image + IMAGE_FSW, sizeof(fsw));
    self->faults++;
    self->trapped = fsw & FLAGS;
    fsw &= (uint16_t) ~(FLAGS | FSW_BUSY_ES);
    memcpy(image + IMAGE_FSW, &fsw, sizeof(fsw));
}

/* Masks all, and the instruction is run again. */
static void on_xm(struct trap_frame *frame)
{
    struct cpu_result *self = &results[cpu_id()];
    uint8_t *image = trap_fxsave(frame);
    uint32_t mxcsr;

    memcpy(&mxcsr, image + IMAGE_MXCSR, sizeof(mxcsr));
    self->faults++;
    self->trapped = mxcsr & FLAGS;
    mxcsr |= MXCSR_DEFAULT;
    memcpy(image + IMAGE_MXCSR, &mxcsr, sizeof(mxcsr));
}

static void hash_extended(struct cpu_result *self, const long double *value)
{
    uint64_t mantissa;
    uint16_t exponent;

    memcpy(&mantissa, value, sizeof(mantissa));
    memcpy(&exponent, (const char *)value + sizeof(mantissa), sizeof(exponent));
    self->hash = hash_add(hash_add(self->hash, mantissa), exponent);
}

/* Returns the status word after the operation; *result is not to be looked at where something was unmasked.
 */
static uint16_t x87_run(const long double *a, const long double *b, bool divide, uint16_t fcw,
                        long double *result)
{
    uint16_t fsw;

    if (divide)
        __asm__ volatile("fninit; fldcw %4; fldt %2; fldt %3; fdivrp; fnstsw %0; fwait; fstpt %1; fninit"
                         : "=m"(fsw), "=m"(*result)
                         : "m"(*a), "m"(*b), "m"(fcw)
                         : "memory", ALL_ST);
    else
        __asm__ volatile("fninit; fldcw %4; fldt %2; fldt %3; fmulp; fnstsw %0; fwait; fstpt %1; fninit"
                         : "=m"(fsw), "=m"(*result)
                         : "m"(*a), "m"(*b), "m"(fcw)
                         : "memory", ALL_ST);
    return fsw;
}

static void check_x87(struct cpu_result *self, const struct operation *op)
{
    long double a = op->a, b = op->b, result = 0;
    uint64_t faults = self->faults;
    uint16_t fsw;

    if (op->flag == FLAG_OE)
        a = LDBL_MAX;
    if (op->flag == FLAG_UE) {
        a = LDBL_MIN;
        b = 1.0L / 3; /* a double has too few bits to be cut off */
    }
    fsw = x87_run(&a, &b, op->divide, FCW_DEFAULT, &result);
    self->errors += (fsw & (FLAGS | FSW_BUSY_ES)) != op->flags || self->faults != faults;
    hash_extended(self, &result);
    fsw = x87_run(&a, &b, op->divide, (uint16_t)(FCW_DEFAULT & ~op->flag), &result);
    self->errors += (fsw & FSW_BUSY_ES) != FSW_BUSY_ES || self->faults != faults + 1;
    self->errors += (self->trapped & op->flag) == 0;
}

static uint32_t sse_run(double a, double b, bool divide, uint32_t mxcsr, double *result)
{
    uint32_t after, normal = MXCSR_DEFAULT;

    if (divide)
        __asm__ volatile("ldmxcsr %3; divsd %2, %0; stmxcsr %1; ldmxcsr %4"
                         : "+x"(a), "=m"(after)
                         : "x"(b), "m"(mxcsr), "m"(normal)
                         : "memory");
    else
        __asm__ volatile("ldmxcsr %3; mulsd %2, %0; stmxcsr %1; ldmxcsr %4"
                         : "+x"(a), "=m"(after)
                         : "x"(b), "m"(mxcsr), "m"(normal)
                         : "memory");
    *result = a;
    return after;
}

static void hash_double(struct cpu_result *self, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    self->hash = hash_add(self->hash, bits);
}

static void check_sse_masked(struct cpu_result *self, const struct operation *op)
{
    double result;
    uint64_t faults = self->faults;
    uint32_t mxcsr = sse_run(op->a, op->b, op->divide, MXCSR_DEFAULT, &result);

    self->errors += (mxcsr & FLAGS) != op->flags || self->faults != faults;
    hash_double(self, result);
}

static void check_sse_unmasked(struct cpu_result *self, const struct operation *op)
{
    double result;
    uint64_t faults = self->faults;

    (void)sse_run(op->a, op->b, op->divide, MXCSR_DEFAULT & ~((uint32_t)op->flag << MXCSR_MASKS), &result);
    hash_double(self, result);
    self->allowed += self->faults != faults + 1 || (self->trapped & op->flag) == 0;
}

/* Thirds and sums in all roundings and precisions; denormals kept, flushed, and taken as zeros. */
static void check_controls(struct cpu_result *self, uint64_t round)
{
    long double one = 1, three = (long double)(2 * round + 3), extended;
    double result, denormal = DBL_MIN / (double)(round + 2);
    static const uint32_t flushing[] = {0, MXCSR_FTZ, MXCSR_DAZ, MXCSR_FTZ | MXCSR_DAZ};

    for (unsigned rounding = 0; rounding < 4; rounding++) {
        for (unsigned precision = 0; precision < 4; precision++) {
            if (precision == 1) /* reserved */
                continue;
            (void)x87_run(&one, &three, true,
                          (uint16_t)(0x007F | precision << FCW_PRECISION | rounding << FCW_ROUNDING),
                          &extended);
            hash_extended(self, &extended);
        }
        (void)sse_run(1, (double)(2 * round + 3), true, MXCSR_DEFAULT | rounding << MXCSR_ROUNDING, &result);
        hash_double(self, result);
    }
    for (unsigned i = 0; i < sizeof(flushing) / sizeof(flushing[0]); i++) {
        (void)sse_run(denormal, 0.75, false, MXCSR_DEFAULT | flushing[i], &result);
        hash_double(self, result);
        (void)sse_run(denormal, 0x1p60, false, MXCSR_DEFAULT | flushing[i], &result);
        hash_double(self, result);
    }
}

/* Values go in by an image and out by another; reserved bits of MXCSR are refused. Interrupts are off. */
static void check_image(struct cpu_result *self, uint64_t value)
{
    register uint64_t vector __asm__("r11");
    uint64_t st0 = value | 1ull << 63, low, seen_st0;
    uint32_t bad = 0x80000000u | MXCSR_DEFAULT;

    memset(self->image, 0, sizeof(self->image));
    __asm__ volatile("fninit; fld1; fxsave64 %0" : "=m"(self->image) : : ALL_ST);
    memcpy(self->image + IMAGE_ST0, &st0, sizeof(st0));
    memcpy(self->image + IMAGE_XMM0, &value, sizeof(value));
    __asm__ volatile("fxrstor64 %2; movq %%xmm0, %0; fxsave64 %1; fninit"
                     : "=r"(low), "=m"(self->image)
                     : "m"(self->image)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", ALL_ST);
    memcpy(&seen_st0, self->image + IMAGE_ST0, sizeof(seen_st0));
    self->errors += low != value || seen_st0 != st0;
    self->hash = hash_add(hash_add(self->hash, low), seen_st0);
    memcpy(self->image + IMAGE_MXCSR, &bad, sizeof(bad));
    __asm__ volatile(NO_TRAP_IN_R11 "1: fxrstor64 %1; 2:" TRAP_FIXUP(1b, 2b)
                     : "=&r"(vector)
                     : "m"(self->image));
    self->allowed += vector != VECTOR_GP;
    __asm__ volatile(NO_TRAP_IN_R11 "1: ldmxcsr %1; 2:" TRAP_FIXUP(1b, 2b) : "=&r"(vector) : "m"(bad));
    self->allowed += vector != VECTOR_GP;
}

/*
 * #NM and #UD from CR0.TS and CR0.EM need entries of their own, since the library's use SSE: they clear both
 * bits, say in R11 which they are, and let the instruction run again.
 */
__asm__(".text; .balign 16; fpu_no_math: movl $7, %r11d; jmp 1f; fpu_no_opcode: movl $6, %r11d;"
        "1: pushq %rax; movq %cr0, %rax; andq $-13, %rax; movq %rax, %cr0; popq %rax; iretq");
extern const char fpu_no_math[], fpu_no_opcode[];

struct idt_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* A 64-bit interrupt gate, SDM 3A 6.14.1. */
static void set_gate(uint64_t *gate, const char *entry)
{
    uint64_t at = (uintptr_t)entry;

    gate[0] = (at & 0xFFFF) | (uint64_t)SEL_CODE64 << 16 | 0x8Eull << 40 | (at >> 16 & 0xFFFF) << 48;
    gate[1] = at >> 32;
}

/* Runs an instruction with bits of CR0 set. Evaluates to the vector of its exception. */
#define WITH_CR0(bits, instruction)                                                                          \
    ({                                                                                                       \
        uint64_t cr0_, vector_;                                                                              \
        __asm__ volatile("movq %%cr0, %0; orq %2, %0; movq %0, %%cr0; movl $-1, %%r11d;" instruction         \
                         "; movq %%r11, %1; clts; movq %%cr0, %0; andq $-5, %0; movq %0, %%cr0"              \
                         : "=&r"(cr0_), "=r"(vector_)                                                        \
                         : "r"((uint64_t)(bits))                                                             \
                         : "r11", "memory", "cc", "xmm0", ALL_ST);                                           \
        vector_;                                                                                             \
    })

static void check_cr0(struct cpu_result *self)
{
    uint64_t idt[2 * (VECTOR_NM + 1)] = {0};
    struct idt_pointer ours = {sizeof(idt) - 1, (uintptr_t)idt}, before;

    set_gate(&idt[2 * VECTOR_NM], fpu_no_math);
    set_gate(&idt[2 * VECTOR_UD], fpu_no_opcode);
    __asm__ volatile("sidt %0; lidt %1" : "=m"(before) : "m"(ours), "m"(idt));
    self->errors += WITH_CR0(CR0_TS, "fninit") != VECTOR_NM;
    self->errors += WITH_CR0(CR0_TS, "xorps %%xmm0, %%xmm0") != VECTOR_NM;
    self->errors += WITH_CR0(CR0_TS, "fwait") != VECTOR_NM;
    self->errors += WITH_CR0(CR0_TS, "clts; xorps %%xmm0, %%xmm0") != NO_TRAP;
    self->errors += WITH_CR0(CR0_EM, "fninit") != VECTOR_NM;
    self->errors += WITH_CR0(CR0_EM, "xorps %%xmm0, %%xmm0") != VECTOR_UD;
    self->errors += WITH_CR0(0, "fninit; xorps %%xmm0, %%xmm0") != NO_TRAP;
    __asm__ volatile("lidt %0" : : "m"(before));
}

static void compute(void *arg)
{
    struct cpu_result *self = &results[cpu_id()];

    (void)arg;
    self->hash = HASH_START;
    timer_periodic(VECTOR_TIMER, period);
    for (uint64_t round = 0; round < rounds; round++) {
        interrupts_on();
        for (unsigned i = 0; i < OPERATIONS; i++) {
            check_x87(self, &operations[i]);
            check_sse_masked(self, &operations[i]);
            check_sse_unmasked(self, &operations[i]);
        }
        check_controls(self, round);
        interrupts_off();
        check_image(self, hash_add(HASH_START, round));
        check_cr0(self);
    }
    timer_stop();
}

int main(void)
{
    uint64_t hash = HASH_START, errors = 0, allowed = 0, timers = 0;

    rounds = arg_number("n", DEFAULT_N);
    period = (uint32_t)arg_number("period", DEFAULT_PERIOD);
    interrupt_set(VECTOR_TIMER, on_timer);
    exception_set(VECTOR_MF, on_mf);
    exception_set(VECTOR_XM, on_xm);
    run_on_all(compute, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        hash = hash_add(hash, results[i].hash);
        errors += results[i].errors;
        allowed += results[i].allowed;
        timers += results[i].timers;
    }
    say("result: fpu cpus %u errors %llu hash %016llx\n", cpu_count(), (ull)errors, (ull)hash);
    /* An emulator that knows neither unmasked SSE exceptions nor reserved bits of MXCSR lacks this line. */
    if (allowed == 0)
        say("result: fpu SSE exceptions came\n");
    say("race: fpu timers %llu allowed %llu\n", (ull)timers, (ull)allowed);
    return errors != 0;
}
