#include "hv/base/changes.h"

#include "hv/base/digest.h"

/* The key of a place, as good as random, so that no simple pattern of places has a pattern of keys. */
#define SPREAD(x, by, times) (((x) ^ (x) >> (by)) * UINT64_C(times))
#define KEY_A(i)             SPREAD(((i) + 1) * UINT64_C(0x9e3779b97f4a7c15), 30, 0xbf58476d1ce4e5b9)
#define KEY_B(i)             SPREAD(KEY_A(i), 27, 0x94d049bb133111eb)
#define KEY(i)               (KEY_B(i) ^ KEY_B(i) >> 31)
#define KEYS_8(i)                                                                                            \
    KEY(i), KEY((i) + 1), KEY((i) + 2), KEY((i) + 3), KEY((i) + 4), KEY((i) + 5), KEY((i) + 6), KEY((i) + 7)
#define KEYS_64(i)                                                                                           \
    KEYS_8(i), KEYS_8((i) + 8), KEYS_8((i) + 16), KEYS_8((i) + 24), KEYS_8((i) + 32), KEYS_8((i) + 40),      \
        KEYS_8((i) + 48), KEYS_8((i) + 56)

const uint64_t changes_keys[CHANGES_WORDS] __attribute__((aligned(64))) = {
    KEYS_64(0),   KEYS_64(64),  KEYS_64(128), KEYS_64(192),
    KEYS_64(256), KEYS_64(320), KEYS_64(384), KEYS_64(448),
};

/* A string instruction is what the processor does fastest without SIMD registers. */
uint32_t changes_next(const uint64_t *old, const uint64_t *new, uint32_t from, uint32_t end)
{
    const uint64_t *x = old + from, *y = new + from;
    uint64_t left = end - from;
    bool equal;

    if (!left)
        return end;
    __asm__ volatile("repe cmpsq" : "+D"(x), "+S"(y), "+c"(left), "=@cce"(equal)::"memory");
    return equal ? end : end - (uint32_t)left - 1;
}

static inline void add_word(struct changes *changes, uint64_t word, uint32_t place)
{
    uint64_t y = word ^ changes_keys[place];

    changes->product[place % CHANGES_LANES] += (y & UINT32_MAX) * (y >> 32);
    changes->sum[place % CHANGES_LANES] += y;
}

void changes_add_word(struct changes *changes, uint64_t word, uint32_t place)
{
    add_word(changes, word, place);
    changes->any = true;
}

/* A word that differs is often followed by others, for which the string instruction is slow. */
void changes_add(struct changes *changes, const uint64_t *old, const uint64_t *new, uint32_t from,
                 uint32_t end)
{
    uint32_t at = changes_next(old, new, from, end);

    while (at < end) {
        changes->any = true;
        changes->soft |= !((old[at] ^ new[at]) & ~CHANGES_SOFT);
        add_word(changes, new[at], at);
        at++;
        if (at < end && old[at] == new[at])
            at = changes_next(old, new, at, end);
    }
}

uint64_t changes_digest(const struct changes *changes, uint64_t seed)
{
    uint64_t d = seed;

    if (!changes->any)
        return 0;
    for (uint32_t i = 0; i < CHANGES_LANES; i++)
        d = digest_word(digest_word(d, changes->product[i]), changes->sum[i]);
    d = digest_finish(d);
    return d ? d : 1;
}
