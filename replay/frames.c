#include "replay/frames.h"

#include "hv/base/changes.h"
#include "hv/base/check.h"

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

/* Without SIMD registers the string instructions are what the processor does fastest over a page. */
void frame_copy(const struct frame_pool *pool, uint32_t to, uint32_t from, enum frame_simd simd)
{
    void *d = frame_data(pool, to);
    const void *s = frame_data(pool, from);
    uint64_t words = PAGE_SIZE / 8;

    if (pool->wide && simd == FRAME_SIMD_FREE)
        changes_page_copy_wide(d, s);
    else
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

_Static_assert(FRAME_WORDS == CHANGES_WORDS, "a page has a key for each word");

uint32_t frames_change_same(const struct frame_pool *pool, uint32_t base, uint32_t a, uint32_t b)
{
    const uint64_t *old = frame_data(pool, base), *x = frame_data(pool, a), *y = frame_data(pool, b);

    for (uint32_t i = changes_next(old, x, 0, FRAME_WORDS); i < FRAME_WORDS;
         i = changes_next(old, x, i + 1, FRAME_WORDS)) {
        if (y[i] != old[i])
            return i;
    }
    return FRAME_WORDS;
}

uint32_t frames_first_difference(const struct frame_pool *pool, uint32_t a, uint32_t b)
{
    return changes_next(frame_data(pool, a), frame_data(pool, b), 0, FRAME_WORDS);
}

uint64_t frame_change_digest(const struct frame_pool *pool, uint32_t base, uint32_t copy, uint64_t seed,
                             enum frame_simd simd, bool *soft)
{
    const uint64_t *old = frame_data(pool, base), *new = frame_data(pool, copy);
    struct changes changes = {0};

    if (pool->wide && simd == FRAME_SIMD_FREE)
        changes_add_page_wide(&changes, old, new);
    else
        changes_add(&changes, old, new, 0, FRAME_WORDS);
    *soft = changes.soft;
    return changes_digest(&changes, seed);
}
