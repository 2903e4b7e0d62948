#include "replay/frames.h"

#include "hv/base/check.h"

void frames_init(struct frame_pool *pool, uint8_t *base, uint32_t *stack, uint64_t *digest, uint32_t count,
                 uint32_t reserve)
{
    HV_CHECK(count < FRAME_NONE && reserve <= count);
    *pool = (struct frame_pool){.base = base,
                                .free = stack,
                                .digest = digest,
                                .free_count = count,
                                .count = count,
                                .reserve = reserve,
                                .low_mark = count};
    for (uint32_t i = 0; i < count; i++) {
        stack[i] = count - 1 - i;
        digest[i] = 0;
    }
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
