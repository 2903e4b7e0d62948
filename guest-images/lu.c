/*
 * LU factorisation without pivoting of a diagonally dominant matrix of doubles, in blocks of 32 x 32 that lie
 * on two pages each. In each step one CPU factors the diagonal block, then all take blocks of its row and
 * column, then blocks of what remains, as they come: the factors are always the same, who made which block is
 * not. Work grows with the cube of the size, so the matrix is smaller than other guests' (1.5 MiB). `n` is
 * the number of rows (a multiple of 32).
 */
#include <emmintrin.h>
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N 448
#define SIDE      32
#define DIAGONAL  (SIDE * 32) /* more than any row's sum: entries lie in [-1, 1) */

struct block {
    double at[SIDE][SIDE];
};

static struct block *matrix;
static double *row_sums; /* of the matrix before, to check the factors with */
static uint64_t blocks, seed, *block_owners;
/* Work of one step that is given out; counted anew in each. */
static atomic_uint_least64_t next_panel, next_inner, next_fill;

static struct block *block_at(uint64_t row, uint64_t column)
{
    return &matrix[row * blocks + column];
}

static void note_owner(uint64_t row, uint64_t column)
{
    uint64_t *owners = &block_owners[row * blocks + column];

    *owners = hash_add(*owners, cpu_id());
}

static void fill_row(uint64_t row)
{
    uint64_t state = random_seed(seed, row);

    for (uint64_t column = 0; column < blocks; column++) {
        struct block *b = block_at(row, column);

        for (unsigned i = 0; i < SIDE; i++) {
            for (unsigned k = 0; k < SIDE; k++) {
                b->at[i][k] = (double)(int64_t)random_next(&state) * 0x1p-63;
                if (row == column && i == k)
                    b->at[i][k] += DIAGONAL;
                row_sums[row * SIDE + i] += b->at[i][k];
            }
        }
    }
}

/* The block becomes L (below the diagonal, which is 1) and U. */
static void factor_diagonal(struct block *d)
{
    for (unsigned k = 0; k < SIDE; k++) {
        double inverse = 1 / d->at[k][k];

        for (unsigned i = k + 1; i < SIDE; i++) {
            d->at[i][k] *= inverse;
            for (unsigned j = k + 1; j < SIDE; j++)
                d->at[i][j] -= d->at[i][k] * d->at[k][j];
        }
    }
}

/* b := L^-1 b */
static void solve_row_block(const struct block *d, struct block *b)
{
    for (unsigned k = 0; k < SIDE; k++) {
        for (unsigned i = k + 1; i < SIDE; i++) {
            double factor = d->at[i][k];

            for (unsigned j = 0; j < SIDE; j++)
                b->at[i][j] -= factor * b->at[k][j];
        }
    }
}

/* b := b U^-1 */
static void solve_column_block(const struct block *d, struct block *b)
{
    for (unsigned i = 0; i < SIDE; i++) {
        for (unsigned k = 0; k < SIDE; k++) {
            double value = b->at[i][k] / d->at[k][k];

            b->at[i][k] = value;
            for (unsigned j = k + 1; j < SIDE; j++)
                b->at[i][j] -= value * d->at[k][j];
        }
    }
}

/* c := c - a b, eight columns of a row at a time, so that they stay in registers. */
static void subtract_product(struct block *c, const struct block *a, const struct block *b)
{
    for (unsigned j = 0; j < SIDE; j += 8) {
        for (unsigned i = 0; i < SIDE; i++) {
            __m128d s0 = _mm_load_pd(&c->at[i][j]), s1 = _mm_load_pd(&c->at[i][j + 2]);
            __m128d s2 = _mm_load_pd(&c->at[i][j + 4]), s3 = _mm_load_pd(&c->at[i][j + 6]);

            for (unsigned k = 0; k < SIDE; k++) {
                __m128d factor = _mm_set1_pd(a->at[i][k]);

                s0 = _mm_sub_pd(s0, _mm_mul_pd(factor, _mm_load_pd(&b->at[k][j])));
                s1 = _mm_sub_pd(s1, _mm_mul_pd(factor, _mm_load_pd(&b->at[k][j + 2])));
                s2 = _mm_sub_pd(s2, _mm_mul_pd(factor, _mm_load_pd(&b->at[k][j + 4])));
                s3 = _mm_sub_pd(s3, _mm_mul_pd(factor, _mm_load_pd(&b->at[k][j + 6])));
            }
            _mm_store_pd(&c->at[i][j], s0);
            _mm_store_pd(&c->at[i][j + 2], s1);
            _mm_store_pd(&c->at[i][j + 4], s2);
            _mm_store_pd(&c->at[i][j + 6], s3);
        }
    }
}

/* The blocks right of and below the diagonal block `step`: first those of its row, then those of its column.
 */
static void solve_panels(uint64_t step)
{
    uint64_t left = blocks - step - 1, task;

    while ((task = atomic_fetch_add(&next_panel, 1)) < 2 * left) {
        uint64_t other = step + 1 + task % left;
        bool in_row = task < left;

        if (in_row)
            solve_row_block(block_at(step, step), block_at(step, other));
        else
            solve_column_block(block_at(step, step), block_at(other, step));
        note_owner(in_row ? step : other, in_row ? other : step);
    }
}

static void update_inner(uint64_t step)
{
    uint64_t left = blocks - step - 1, task;

    while ((task = atomic_fetch_add(&next_inner, 1)) < left * left) {
        uint64_t row = step + 1 + task / left, column = step + 1 + task % left;

        subtract_product(block_at(row, column), block_at(row, step), block_at(step, column));
        note_owner(row, column);
    }
}

static void factor(void *arg)
{
    uint64_t row;

    (void)arg;
    while ((row = atomic_fetch_add(&next_fill, 1)) < blocks)
        fill_row(row);
    for (uint64_t step = 0; step < blocks; step++) {
        wait_for_all();
        if (cpu_id() == step % cpu_count()) {
            factor_diagonal(block_at(step, step));
            atomic_store(&next_panel, 0);
            atomic_store(&next_inner, 0);
        }
        wait_for_all();
        solve_panels(step);
        wait_for_all();
        update_inner(step);
    }
}

static double element(uint64_t row, uint64_t column)
{
    return block_at(row / SIDE, column / SIDE)->at[row % SIDE][column % SIDE];
}

/* L (U 1) must be the row sums of the matrix as it was. Returns how many rows are not. */
static uint64_t wrong_rows(double *u_sums)
{
    uint64_t size = blocks * SIDE, wrong = 0;

    for (uint64_t i = 0; i < size; i++) {
        for (uint64_t j = i; j < size; j++)
            u_sums[i] += element(i, j);
    }
    for (uint64_t i = 0; i < size; i++) {
        double sum = u_sums[i], error;

        for (uint64_t j = 0; j < i; j++)
            sum += element(i, j) * u_sums[j];
        error = sum - row_sums[i];
        wrong += !(error > -1e-6 && error < 1e-6);
    }
    return wrong;
}

int main(void)
{
    uint64_t hash = HASH_START, owners = HASH_START, wrong, bits;

    blocks = arg_number("n", DEFAULT_N) / SIDE;
    seed = arg_number("seed", 1);
    matrix = memory_pages(blocks * blocks * sizeof(*matrix));
    row_sums = memory_pages(blocks * SIDE * sizeof(*row_sums));
    block_owners = memory_pages(blocks * blocks * sizeof(*block_owners));
    run_on_all(factor, NULL);
    wrong = wrong_rows(memory_pages(blocks * SIDE * sizeof(*row_sums)));
    for (uint64_t i = 0; i < blocks * blocks; i++) {
        owners = hash_add(owners, block_owners[i]);
        for (unsigned k = 0; k < SIDE * SIDE; k++) {
            memcpy(&bits, &matrix[i].at[0][0] + k, sizeof(bits));
            hash = hash_add(hash, bits);
        }
    }
    say("result: lu size %llu wrong rows %llu hash %016llx\n", (ull)blocks * SIDE, (ull)wrong, (ull)hash);
    say("race: lu block owners %016llx\n", (ull)owners);
    return wrong != 0;
}
