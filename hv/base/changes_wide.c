/*
 * The one file that uses SIMD registers: the build compiles it apart, and lets these functions alone pass its
 * search for them. No other function may be here.
 */
#include "hv/base/changes.h"

#include <immintrin.h>

#define WIDE    __attribute__((target("avx2")))
#define VECTORS (CHANGES_WORDS / 4)
#define GROUP   8u /* vectors that are looked at together */

WIDE static inline bool group_equal(const __m256i *a, const __m256i *b)
{
    __m256i difference = _mm256_setzero_si256();

    for (uint32_t i = 0; i < GROUP; i++)
        difference = _mm256_or_si256(difference, _mm256_xor_si256(a[i], b[i]));
    return _mm256_testz_si256(difference, difference);
}

/* Sums so far: in registers from the first group to the last. */
struct wide_sums {
    __m256i product, sum;
    __m256i soft; /* ones where a word differs in nothing but CHANGES_SOFT */
};

/* Adds the changed words of a group; whether there was one. */
WIDE static inline bool add_group(struct wide_sums *sums, const __m256i *old, const __m256i *new,
                                  const __m256i *keys)
{
    const __m256i soft = _mm256_set1_epi64x((long long)CHANGES_SOFT);
    __m256i equal = _mm256_set1_epi32(-1);

    for (uint32_t i = 0; i < GROUP; i++) {
        __m256i differs = _mm256_xor_si256(new[i], old[i]);
        __m256i same = _mm256_cmpeq_epi64(differs, _mm256_setzero_si256());
        __m256i hard_same = _mm256_cmpeq_epi64(_mm256_andnot_si256(soft, differs), _mm256_setzero_si256());
        __m256i y = _mm256_andnot_si256(same, _mm256_xor_si256(new[i], keys[i]));
        equal = _mm256_and_si256(equal, same);
        sums->soft = _mm256_or_si256(sums->soft, _mm256_andnot_si256(same, hard_same));
        sums->sum = _mm256_add_epi64(sums->sum, y);
        sums->product = _mm256_add_epi64(sums->product, _mm256_mul_epu32(y, _mm256_srli_epi64(y, 32)));
    }
    return !_mm256_testc_si256(equal, _mm256_set1_epi32(-1));
}

WIDE void changes_add_page_wide(struct changes *changes, const uint64_t *old, const uint64_t *new)
{
    const __m256i *x = (const __m256i *)old, *y = (const __m256i *)new, *keys = (const __m256i *)changes_keys;
    __m256i *product = (__m256i *)(void *)changes->product, *sum = (__m256i *)(void *)changes->sum;
    struct wide_sums sums = {_mm256_loadu_si256(product), _mm256_loadu_si256(sum), _mm256_setzero_si256()};
    bool busy = false, any = false;

    /* Where one group differs, the next one most likely does, and needs no look of its own before. */
    for (uint32_t i = 0; i < VECTORS; i += GROUP) {
        if (!busy && group_equal(x + i, y + i))
            continue;
        busy = add_group(&sums, x + i, y + i, keys + i);
        any |= busy;
    }
    changes->any |= any;
    changes->soft |= !_mm256_testz_si256(sums.soft, sums.soft);
    _mm256_storeu_si256(product, sums.product);
    _mm256_storeu_si256(sum, sums.sum);
}

WIDE void changes_page_copy_wide(uint64_t *to, const uint64_t *from)
{
    __m256i *t = (__m256i *)to;
    const __m256i *f = (const __m256i *)from;

    for (uint32_t i = 0; i < VECTORS; i += GROUP) {
        for (uint32_t j = 0; j < GROUP; j++)
            t[i + j] = f[i + j];
    }
}

WIDE bool changes_block_has_wide(const uint64_t *words, uint64_t bits)
{
    const __m256i *w = (const __m256i *)words;
    __m256i all = w[0];

    for (uint32_t i = 1; i < CHANGES_BLOCK / 4; i++)
        all = _mm256_or_si256(all, w[i]);
    return !_mm256_testz_si256(all, _mm256_set1_epi64x((long long)bits));
}
