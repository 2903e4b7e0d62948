/*
 * Two matrix products of 1024 x K by K x 1024, one of 64-bit integers and one of doubles (SSE2): 16 MiB of
 * results. K is small, so that the instructions stay few for so much memory. CPUs take blocks of rows as they
 * come: the products are always the same, who made which rows is not. `n` is the number of rows and columns
 * (a multiple of 4).
 */
#include <emmintrin.h>
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N  1024
#define INNER      4
#define STRIP      4 /* columns made at a time */
#define BLOCK_ROWS 8
#define SMALL      0xFF /* keeps every sum of doubles exact */

static uint64_t *int_left, *int_right, *int_product;
static double *double_left, *double_right, *double_product;
static uint64_t size, *block_owner;
static atomic_uint_least64_t next_block;

static void int_row(uint64_t row)
{
    const uint64_t *left = int_left + row * INNER;
    uint64_t *product = int_product + row * size;

    for (uint64_t column = 0; column < size; column += STRIP) {
        const uint64_t *right = int_right + column;
        uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;

        for (unsigned k = 0; k < INNER; k++, right += size) {
            s0 += left[k] * right[0];
            s1 += left[k] * right[1];
            s2 += left[k] * right[2];
            s3 += left[k] * right[3];
        }
        product[column] = s0;
        product[column + 1] = s1;
        product[column + 2] = s2;
        product[column + 3] = s3;
    }
}

static void double_row(uint64_t row)
{
    const double *left = double_left + row * INNER;
    double *product = double_product + row * size;

    for (uint64_t column = 0; column < size; column += STRIP) {
        const double *right = double_right + column;
        __m128d s0 = _mm_setzero_pd(), s1 = _mm_setzero_pd();

        for (unsigned k = 0; k < INNER; k++, right += size) {
            __m128d factor = _mm_set1_pd(left[k]);

            s0 = _mm_add_pd(s0, _mm_mul_pd(factor, _mm_load_pd(right)));
            s1 = _mm_add_pd(s1, _mm_mul_pd(factor, _mm_load_pd(right + 2)));
        }
        _mm_store_pd(&product[column], s0);
        _mm_store_pd(&product[column + 2], s1);
    }
}

static void multiply(void *arg)
{
    uint64_t block;

    (void)arg;
    while ((block = atomic_fetch_add(&next_block, 1)) * BLOCK_ROWS < size) {
        block_owner[block] = cpu_id();
        for (uint64_t row = block * BLOCK_ROWS; row < (block + 1) * BLOCK_ROWS && row < size; row++) {
            int_row(row);
            double_row(row);
        }
    }
}

static void fill(uint64_t seed)
{
    uint64_t state = random_seed(seed, 0), count = size * INNER;

    int_left = memory_pages(count * sizeof(*int_left));
    int_right = memory_pages(count * sizeof(*int_right));
    double_left = memory_pages(count * sizeof(*double_left));
    double_right = memory_pages(count * sizeof(*double_right));
    int_product = memory_pages(size * size * sizeof(*int_product));
    double_product = memory_pages(size * size * sizeof(*double_product));
    for (uint64_t i = 0; i < count; i++) {
        int_left[i] = random_next(&state);
        int_right[i] = random_next(&state);
        double_left[i] = (double)(random_next(&state) & SMALL) / 16;
        double_right[i] = (double)(random_next(&state) & SMALL) / 16;
    }
}

int main(void)
{
    uint64_t int_hash = HASH_START, double_hash = HASH_START, owners = HASH_START, bits;

    size = arg_number("n", DEFAULT_N) / STRIP * STRIP;
    fill(arg_number("seed", 1));
    block_owner = memory_pages((size / BLOCK_ROWS + 1) * sizeof(*block_owner));
    run_on_all(multiply, NULL);
    for (uint64_t i = 0; i < size * size; i++) {
        memcpy(&bits, &double_product[i], sizeof(bits));
        int_hash = hash_add(int_hash, int_product[i]);
        double_hash = hash_add(double_hash, bits);
    }
    for (uint64_t i = 0; i * BLOCK_ROWS < size; i++)
        owners = hash_add(owners, block_owner[i]);
    say("result: matmul size %llu integer %016llx double %016llx\n", (ull)size, (ull)int_hash,
        (ull)double_hash);
    say("race: matmul row owners %016llx\n", (ull)owners);
    return 0;
}
