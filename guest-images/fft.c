/*
 * The two-dimensional Fourier transform of 1024 x 512 complex numbers: 8 MiB, and 8 MiB to transpose into.
 * CPUs take strips of columns as they come, transform them and write them as rows; then again, reading what
 * all others wrote. The spectrum is always the same, who made which strip is not. `n` is the number of
 * columns (a power of two, 32 to 512); rows are twice as many.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N 512
#define MIN_N     32
#define MAX_ROWS  (2 * DEFAULT_N)
#define LANES     2
#define STRIP     8 /* columns taken at a time: a cache line */
#define GROUPS    (STRIP / LANES)
#define TERMS     24 /* of the Taylor series: enough for doubles up to pi */
#define PI        3.14159265358979323846

typedef double lanes __attribute__((vector_size(16)));

/* Real and imaginary parts lie apart, row by row. */
struct plane {
    double *re, *im;
    uint64_t rows, columns;
};

struct root {
    double re, im;
};

/* A strip of columns while it is transformed; one for each CPU. */
struct strip {
    lanes re[MAX_ROWS][GROUPS], im[MAX_ROWS][GROUPS];
};

static struct plane input, turned;
static struct root roots[MAX_ROWS / 2]; /* exp(-2 pi i k / MAX_ROWS) */
static struct strip *strips;
static uint64_t seed;
static uint8_t owners[2][MAX_ROWS / STRIP];
static atomic_uint_least64_t next_row, next_strip[2];

/* exp(-2 pi i turn), 0 <= turn < 0.5: by additions and multiplications alone, the same on every processor. */
static struct root root_of_unity(double turn)
{
    double x = -2 * PI * turn, term = 1;
    struct root r = {1, 0};

    for (unsigned k = 1; k < TERMS; k++) {
        term *= x / k;
        if (k % 2)
            r.im += k % 4 == 1 ? term : -term;
        else
            r.re += k % 4 == 0 ? term : -term;
    }
    return r;
}

/* Butterflies in the columns of one group: a + w b and a - w b. */
static inline void butterfly(lanes *are, lanes *aim, lanes *bre, lanes *bim, lanes wre, lanes wim)
{
    lanes re = wre * *bre - wim * *bim, im = wre * *bim + wim * *bre, old_re = *are, old_im = *aim;

    *are = old_re + re;
    *aim = old_im + im;
    *bre = old_re - re;
    *bim = old_im - im;
}

/* All columns, in a row: there are four groups. */
static inline void butterflies(lanes *are, lanes *aim, lanes *bre, lanes *bim, lanes wre, lanes wim)
{
    _Static_assert(GROUPS == 4, "one line each");
    butterfly(are + 0, aim + 0, bre + 0, bim + 0, wre, wim);
    butterfly(are + 1, aim + 1, bre + 1, bim + 1, wre, wim);
    butterfly(are + 2, aim + 2, bre + 2, bim + 2, wre, wim);
    butterfly(are + 3, aim + 3, bre + 3, bim + 3, wre, wim);
}

/* Decimation in time over a strip whose rows have come in bit-reversed order. */
static void transform(struct strip *s, uint64_t rows)
{
    for (uint64_t half = 1; half < rows; half *= 2) {
        for (uint64_t k = 0; k < half; k++) {
            struct root w = roots[k * (MAX_ROWS / 2 / half)];
            lanes wre = (lanes){w.re, w.re}, wim = (lanes){w.im, w.im};

            for (uint64_t a = k; a < rows; a += 2 * half)
                butterflies(s->re[a], s->im[a], s->re[a + half], s->im[a + half], wre, wim);
        }
    }
}

/* `to` counts up in bit-reversed order: a carry runs from the top bit down. */
static void load_strip(struct strip *s, const struct plane *from, uint64_t column)
{
    uint64_t to = 0;

    for (uint64_t row = 0; row < from->rows; row++) {
        uint64_t bit = from->rows / 2;

        memcpy(s->re[to], from->re + row * from->columns + column, sizeof(s->re[to]));
        memcpy(s->im[to], from->im + row * from->columns + column, sizeof(s->im[to]));
        for (; to & bit; bit /= 2)
            to ^= bit;
        to |= bit;
    }
}

/* Columns become rows of `to`. */
static void store_strip(const struct strip *s, const struct plane *to, uint64_t column)
{
    for (unsigned c = 0; c < STRIP; c++) {
        double *re = to->re + (column + c) * to->columns, *im = to->im + (column + c) * to->columns;

        for (uint64_t row = 0; row < to->columns; row++) {
            re[row] = s->re[row][c / LANES][c % LANES];
            im[row] = s->im[row][c / LANES][c % LANES];
        }
    }
}

static void pass(unsigned number, const struct plane *from, const struct plane *to)
{
    struct strip *s = &strips[cpu_id()];
    uint64_t taken;

    while ((taken = atomic_fetch_add(&next_strip[number], 1)) * STRIP < from->columns) {
        owners[number][taken] = (uint8_t)cpu_id();
        load_strip(s, from, taken * STRIP);
        transform(s, from->rows);
        store_strip(s, to, taken * STRIP);
    }
}

/* Noise in [-1, 1). */
static void fill_row(uint64_t row)
{
    uint64_t state = random_seed(seed, row);

    for (uint64_t i = row * input.columns; i < (row + 1) * input.columns; i++) {
        uint64_t noise = random_next(&state);

        input.re[i] = (double)(int32_t)noise * 0x1p-31;
        input.im[i] = (double)(int32_t)(noise >> 32) * 0x1p-31;
    }
}

static double energy(const struct plane *p)
{
    const lanes *re = (const lanes *)p->re, *im = (const lanes *)p->im;
    lanes sum = {0};

    for (uint64_t i = 0; i < p->rows * p->columns / LANES; i++)
        sum += re[i] * re[i] + im[i] * im[i];
    return sum[0] + sum[1];
}

static void work(void *arg)
{
    uint64_t row;

    while ((row = atomic_fetch_add(&next_row, 1)) < input.rows)
        fill_row(row);
    wait_for_all();
    if (cpu_id() == 0)
        *(double *)arg = energy(&input);
    pass(0, &input, &turned);
    wait_for_all();
    pass(1, &turned, &input);
}

static struct plane new_plane(uint64_t rows, uint64_t columns)
{
    size_t bytes = rows * columns * sizeof(double);

    return (struct plane){memory_pages(bytes), memory_pages(bytes), rows, columns};
}

static uint64_t hash_plane(const struct plane *p)
{
    uint64_t hash = HASH_START, bits[2];

    for (uint64_t i = 0; i < p->rows * p->columns; i++) {
        memcpy(&bits[0], &p->re[i], sizeof(bits[0]));
        memcpy(&bits[1], &p->im[i], sizeof(bits[1]));
        hash = hash_add(hash, bits[0] ^ (bits[1] << 1 | bits[1] >> 63));
    }
    return hash;
}

int main(void)
{
    uint64_t columns = arg_number("n", DEFAULT_N), points = 2 * columns * columns, who = HASH_START;
    double before, ratio;
    bool good;

    seed = arg_number("seed", 1);
    if (columns < MIN_N || columns > DEFAULT_N || (columns & (columns - 1)) != 0)
        panic("n must be a power of two from %u to %u", MIN_N, DEFAULT_N);
    for (unsigned k = 0; k < MAX_ROWS / 2; k++)
        roots[k] = root_of_unity((double)k / MAX_ROWS);
    input = new_plane(2 * columns, columns);
    turned = new_plane(columns, 2 * columns);
    strips = memory_pages(cpu_count() * sizeof(*strips));
    run_on_all(work, &before);
    /* Parseval: the spectrum has `points` times the energy. */
    ratio = energy(&input) / before / (double)points;
    good = ratio > 1 - 1e-9 && ratio < 1 + 1e-9;
    for (uint64_t i = 0; i < MAX_ROWS / STRIP; i++)
        who = hash_add(hash_add(who, owners[0][i]), owners[1][i]);
    say("result: fft points %llu energy %s spectrum %016llx\n", (ull)points, good ? "kept" : "lost",
        (ull)hash_plane(&input));
    say("race: fft strip owners %016llx\n", (ull)who);
    return !good;
}
