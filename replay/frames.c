#include "replay/frames.h"

#include "hv/base/check.h"
#include "hv/base/digest.h"

void frames_init(struct frame_pool *pool, uint8_t *base, uint32_t *stack, uint32_t count, uint32_t reserve)
{
    HV_CHECK(count < FRAME_NONE && reserve <= count);
    *pool = (struct frame_pool){.base = base,
                                .free = stack,
                                .free_count = count,
                                .count = count,
                                .reserve = reserve,
                                .low_mark = count};
    for (uint32_t i = 0; i < count; i++)
        stack[i] = count - 1 - i;
}

/* Others may look at the count without the lock, by frames_free(). */
static void set_free_count(struct frame_pool *pool, uint32_t count)
{
    __atomic_store_n(&pool->free_count, count, __ATOMIC_RELAXED);
}

uint32_t frame_alloc(struct frame_pool *pool, bool from_reserve)
{
    uint32_t keep = from_reserve ? 0 : pool->reserve;
    uint32_t frame = FRAME_NONE;

    spin_lock(&pool->lock);
    if (pool->free_count > keep) {
        frame = pool->free[pool->free_count - 1];
        set_free_count(pool, pool->free_count - 1);
        pool->low_mark = MIN(pool->low_mark, pool->free_count);
    }
    spin_unlock(&pool->lock);
    return frame;
}

void frame_free(struct frame_pool *pool, uint32_t frame)
{
    HV_CHECK(frame < pool->count);
    spin_lock(&pool->lock);
    HV_CHECK(pool->free_count < pool->count);
    pool->free[pool->free_count] = frame;
    set_free_count(pool, pool->free_count + 1);
    spin_unlock(&pool->lock);
}

/*
 * The string instructions are what the processor does fastest over a page without SIMD registers,
 * which hold the guest's values.
 */
void frame_copy(const struct frame_pool *pool, uint32_t to, uint32_t from)
{
    void *d = frame_data(pool, to);
    const void *s = frame_data(pool, from);
    uint64_t words = PAGE_SIZE / 8;

    __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(words)::"memory");
}

bool frame_equal(const struct frame_pool *pool, uint32_t a, uint32_t b)
{
    const void *x = frame_data(pool, a), *y = frame_data(pool, b);
    uint64_t words = PAGE_SIZE / 8;
    bool equal;

    __asm__ volatile("repe cmpsq" : "+D"(x), "+S"(y), "+c"(words), "=@cce"(equal)::"memory");
    return equal;
}

#define WORDS  (PAGE_SIZE / 8)
#define SPARSE 6u /* changed words that are digested one by one */

/* The first word from `from` on that differs, or WORDS. */
static uint32_t next_difference(const uint64_t *a, const uint64_t *b, uint32_t from)
{
    const uint64_t *x = a + from, *y = b + from;
    uint64_t left = WORDS - from;
    bool equal;

    if (!left)
        return WORDS;
    __asm__ volatile("repe cmpsq" : "+D"(x), "+S"(y), "+c"(left), "=@cce"(equal)::"memory");
    return equal ? WORDS : (uint32_t)(WORDS - left - 1);
}

bool frames_change_same(const struct frame_pool *pool, uint32_t base, uint32_t a, uint32_t b)
{
    const uint64_t *old = frame_data(pool, base), *x = frame_data(pool, a), *y = frame_data(pool, b);

    for (uint32_t i = next_difference(old, x, 0); i < WORDS; i = next_difference(old, x, i + 1)) {
        if (y[i] != old[i])
            return true;
    }
    return false;
}

uint64_t frame_change_digest(const struct frame_pool *pool, uint32_t base, uint32_t copy, uint64_t seed)
{
    const uint64_t *old = frame_data(pool, base), *new = frame_data(pool, copy);
    uint32_t at = next_difference(old, new, 0);
    uint64_t d = seed;

    if (at == WORDS)
        return 0;
    for (uint32_t n = 0; at < WORDS && n < SPARSE; n++) {
        d = digest_word(digest_word(d, at), new[at]);
        at = next_difference(old, new, at + 1);
    }
    if (at < WORDS)
        d = digest_words(digest_word(d, at), new + at, WORDS - at);
    d = digest_finish(d);
    return d ? d : 1; /* 0 means equal */
}
