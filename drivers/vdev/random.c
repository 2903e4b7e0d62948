/* The guest's random numbers: the SplitMix64 generator (Steele, Lea, Flood: "Fast splittable ...", 2014). */
#include "drivers/vdev/random.h"

#define GOLDEN_GAMMA UINT64_C(0x9E3779B97F4A7C15) /* 2^64 / golden ratio, odd */

/* A bijection that spreads every input bit over the word. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t vrandom_next(struct vrandom *r)
{
    r->state += GOLDEN_GAMMA;
    return mix(r->state);
}

void vrandom_seed(struct vrandom *r, uint64_t seed, uint32_t vcpu)
{
    /* Mixed twice: neighbouring vCPUs must not run along the same orbit a few steps apart. */
    r->state = mix(mix(seed + GOLDEN_GAMMA) + mix(vcpu + UINT64_C(1)));
}

uint64_t vrandom_mix(uint64_t user_seed, uint64_t entropy)
{
    return entropy == 0 ? user_seed : mix(mix(user_seed + GOLDEN_GAMMA) ^ entropy);
}
