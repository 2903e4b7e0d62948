/*
 * Numbers from explicit seeds, and the hash in which guests report what they saw.
 */
#ifndef RV_GUEST_RANDOM_H
#define RV_GUEST_RANDOM_H

#include <stdint.h>

#define HASH_START UINT64_C(0xCBF29CE484222325)
#define HASH_PRIME UINT64_C(0x00000100000001B3)

/* FNV-1a by whole words, folded so that the upper bits of a word reach all of the hash: order counts. */
static inline uint64_t hash_add(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * HASH_PRIME;
    return hash ^ hash >> 32;
}

/* Marsaglia's xorshift64. The state is the seed, which must not be 0. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* A seed of its own for each stream: well mixed, and never 0. */
static inline uint64_t random_seed(uint64_t base, uint64_t stream)
{
    return hash_add(hash_add(HASH_START, base), stream) | 1;
}

#endif
