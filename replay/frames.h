/*
 * The pool of host pages that hold the versions of guest pages. A frame is named by its number; the
 * pool knows where its bytes are. The last `reserve` frames go only to those who ask for them, so that
 * replay, which must never end a chunk for want of a frame, always finds one.
 */
#ifndef RV_REPLAY_FRAMES_H
#define RV_REPLAY_FRAMES_H

#include "hv/base/spinlock.h"
#include "hv/base/types.h"

#define FRAME_NONE UINT32_MAX

struct frame_pool {
    struct spinlock lock;
    uint8_t *base;  /* frame f is the PAGE_SIZE bytes at base + f * PAGE_SIZE */
    uint32_t *free; /* stack of free frames */
    uint32_t free_count;
    uint32_t count;
    uint32_t reserve;
    uint32_t low_mark; /* fewest free frames seen */
    bool wide;         /* the processor has AVX2: what FRAME_SIMD_FREE says is made use of */
};

/* `base`: count pages, page-aligned; `stack`: room for count numbers. All frames start free. */
void frames_init(struct frame_pool *pool, uint8_t *base, uint32_t *stack, uint32_t count, uint32_t reserve);
/* A free frame with undefined content, or FRAME_NONE where only the reserve is left and not asked for. */
uint32_t frame_alloc(struct frame_pool *pool, bool from_reserve);
void frame_free(struct frame_pool *pool, uint32_t frame);

/* Free frames at this moment, those of the reserve included. */
static inline uint32_t frames_free(const struct frame_pool *pool)
{
    return __atomic_load_n(&pool->free_count, __ATOMIC_RELAXED);
}

static inline void *frame_data(const struct frame_pool *pool, uint32_t frame)
{
    return pool->base + (uint64_t)frame * PAGE_SIZE;
}

/* Whose the SIMD registers are at a call. */
enum frame_simd {
    FRAME_SIMD_GUEST, /* a chunk is under way: they hold the guest's values */
    FRAME_SIMD_FREE,  /* between chunks: they may be destroyed, and XCR0 allows SSE and AVX */
};

/* Copies and compares whole frames; compare is true where they are equal. */
void frame_copy(const struct frame_pool *pool, uint32_t to, uint32_t from, enum frame_simd simd);
bool frame_equal(const struct frame_pool *pool, uint32_t a, uint32_t b);

#define FRAME_WORDS                                                                                          \
    ((uint32_t)(PAGE_SIZE / 8)) /* 64-bit words of a frame; as a word's number: there is none */

/* The first word in which frames `a` and `b`, both made from `base`, both differ from it, or FRAME_WORDS. */
uint32_t frames_change_same(const struct frame_pool *pool, uint32_t base, uint32_t a, uint32_t b);
/* The first word in which two frames differ, or FRAME_WORDS. */
uint32_t frames_first_difference(const struct frame_pool *pool, uint32_t a, uint32_t b);

/*
 * 0 where frame `copy` equals frame `base`, otherwise a digest of what differs, begun with `seed`: the
 * changed words and their places (hv/base/changes.h). One pass both ways. *soft: whether some word has
 * changed in accessed bits of paging structures alone, if it is an entry of one.
 */
uint64_t frame_change_digest(const struct frame_pool *pool, uint32_t base, uint32_t copy, uint64_t seed,
                             enum frame_simd simd, bool *soft);

#endif
