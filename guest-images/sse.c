/*
 * Floating point with its state kept live in registers over long loops: SSE2, x87, and AVX with XSAVE and
 * XRSTOR where CPUID offers them. Sums are compared between CPUs only by their hash, the same however CPUs
 * interleave. `n` is the number of steps of each kind by each CPU.
 */
#include <emmintrin.h>
#include <immintrin.h>
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N     60000
#define LANES         8
#define XCR0_X87_AVX  7 /* x87, SSE, AVX: SDM 1 13.3 */
#define XSAVE_BYTES   4096
#define YMM_REGISTERS 8
#define SAVE_EVERY    256

struct cpu_result {
    uint64_t sse, x87, avx, errors;
    uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
} __attribute__((aligned(PAGE_BYTES)));

static struct cpu_result results[GUEST_MAX_CPUS];
static uint64_t steps, seed;
static bool has_avx;

/* A start value in [0.1, 0.9). */
static double start_value(uint64_t *state)
{
    return 0.1 + (double)(random_next(state) % 1000) * 0.0008;
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    uint64_t value;

    for (size_t i = 0; i + sizeof(value) <= bytes; i += sizeof(value)) {
        memcpy(&value, (const char *)data + i, sizeof(value));
        hash = hash_add(hash, value);
    }
    return hash;
}

/* Logistic maps: a wrong bit anywhere soon changes everything. The eight values stay in registers. */
static uint64_t run_sse(uint64_t *state)
{
    __m128d x[LANES], one = _mm_set1_pd(1.0), rate = _mm_set1_pd(3.99);

    for (unsigned i = 0; i < LANES; i++) {
        double low = start_value(state), high = start_value(state);

        x[i] = _mm_set_pd(high, low);
    }
    for (uint64_t step = 0; step < steps; step++) {
        for (unsigned i = 0; i < LANES; i++)
            x[i] = _mm_mul_pd(_mm_mul_pd(rate, x[i]), _mm_sub_pd(one, x[i]));
    }
    return hash_bytes(HASH_START, x, sizeof(x));
}

/* The same in x87 registers; only the 64 bits of the mantissa of a long double are sure to be defined. */
static uint64_t run_x87(uint64_t *state)
{
    long double x = start_value(state), y = start_value(state);
    uint64_t mantissa[2];

    for (uint64_t step = 0; step < steps; step++) {
        x = 3.99L * x * (1.0L - x);
        y = 3.97L * y * (1.0L - y);
    }
    memcpy(&mantissa[0], &x, sizeof(mantissa[0]));
    memcpy(&mantissa[1], &y, sizeof(mantissa[1]));
    return hash_bytes(HASH_START, mantissa, sizeof(mantissa));
}

/* Loads YMM0-7, saves all state, clears it, restores it, and stores YMM0-7 again. */
static void through_xsave(double (*values)[4], uint8_t *area)
{
    __asm__ volatile("vmovupd (%0), %%ymm0; vmovupd 32(%0), %%ymm1; vmovupd 64(%0), %%ymm2;"
                     "vmovupd 96(%0), %%ymm3; vmovupd 128(%0), %%ymm4; vmovupd 160(%0), %%ymm5;"
                     "vmovupd 192(%0), %%ymm6; vmovupd 224(%0), %%ymm7;"
                     "xsave64 (%1); vzeroall; fninit; xrstor64 (%1);"
                     "vmovupd %%ymm0, (%0); vmovupd %%ymm1, 32(%0); vmovupd %%ymm2, 64(%0);"
                     "vmovupd %%ymm3, 96(%0); vmovupd %%ymm4, 128(%0); vmovupd %%ymm5, 160(%0);"
                     "vmovupd %%ymm6, 192(%0); vmovupd %%ymm7, 224(%0); vzeroupper"
                     :
                     : "r"(values), "r"(area), "a"(XCR0_X87_AVX), "d"(0)
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

__attribute__((target("avx"))) static void avx_steps(double (*values)[4], unsigned count)
{
    __m256d x[YMM_REGISTERS], one = _mm256_set1_pd(1.0), rate = _mm256_set1_pd(3.98);

    for (unsigned i = 0; i < YMM_REGISTERS; i++)
        x[i] = _mm256_loadu_pd(values[i]);
    for (unsigned step = 0; step < count; step++) {
        for (unsigned i = 0; i < YMM_REGISTERS; i++)
            x[i] = _mm256_mul_pd(_mm256_mul_pd(rate, x[i]), _mm256_sub_pd(one, x[i]));
    }
    for (unsigned i = 0; i < YMM_REGISTERS; i++)
        _mm256_storeu_pd(values[i], x[i]);
}

static uint64_t run_avx(struct cpu_result *self, uint64_t *state)
{
    double values[YMM_REGISTERS][4], before[YMM_REGISTERS][4];

    write_cr4(read_cr4() | CR4_OSXSAVE);
    xsetbv(0, XCR0_X87_AVX);
    for (unsigned i = 0; i < YMM_REGISTERS; i++) {
        for (unsigned k = 0; k < 4; k++)
            values[i][k] = start_value(state);
    }
    for (uint64_t step = 0; step < steps; step += SAVE_EVERY) {
        avx_steps(values, SAVE_EVERY);
        memcpy(before, values, sizeof(before));
        through_xsave(values, self->xsave);
        /* Bits, not numbers: NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        self->errors += memcmp(before, values, sizeof(before)) != 0;
    }
    return hash_bytes(HASH_START, values, sizeof(values));
}

static void compute(void *arg)
{
    struct cpu_result *self = &results[cpu_id()];
    uint64_t state = random_seed(seed, cpu_id());

    (void)arg;
    self->sse = run_sse(&state);
    self->x87 = run_x87(&state);
    if (has_avx)
        self->avx = run_avx(self, &state);
}

int main(void)
{
    uint32_t features = cpuid(1, 0).ecx;
    uint64_t sse = HASH_START, x87 = HASH_START, avx = HASH_START, errors = 0;

    steps = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    has_avx = (features & CPUID1_ECX_XSAVE) && (features & CPUID1_ECX_AVX);
    run_on_all(compute, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        sse = hash_add(sse, results[i].sse);
        x87 = hash_add(x87, results[i].x87);
        avx = hash_add(avx, results[i].avx);
        errors += results[i].errors;
    }
    say("result: sse cpus %u sse2 %016llx x87 %016llx\n", cpu_count(), (ull)sse, (ull)x87);
    if (has_avx)
        say("result: avx %016llx xsave errors %llu\n", (ull)avx, (ull)errors);
    return errors != 0;
}
