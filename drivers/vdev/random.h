/*
 * The generator behind the guest's RDRAND and RDSEED: both exit and are emulated, so no value needs the log.
 *
 * One generator per vCPU, part of its state, so a squashed chunk draws the same values again. All vCPUs are
 * seeded from one 64-bit seed in the log's header, which the recorder mixes from the user's seed and the
 * machine's entropy. Whoever has the log has every value: a recorded guest has no secrets from its log. The
 * output is well spread, but not made to withstand an attacker inside the guest.
 */
#ifndef RV_DRIVERS_VDEV_RANDOM_H
#define RV_DRIVERS_VDEV_RANDOM_H

#include "hv/base/types.h"

struct vrandom {
    uint64_t state;
};

_Static_assert(sizeof(struct vrandom) == 8, "struct vrandom has no padding");

/* Seeds the generator of vCPU `vcpu` from the log header's `seed`. Different vCPUs get unrelated streams. */
void vrandom_seed(struct vrandom *r, uint64_t seed, uint32_t vcpu);
/* The next value; RDRAND and RDSEED of any operand size take one and use its low bits (CF=1 always). */
uint64_t vrandom_next(struct vrandom *r);
/* The seed for a recording's header: the user's seed and the machine's entropy (0 for a repeatable one). */
uint64_t vrandom_mix(uint64_t user_seed, uint64_t entropy);

#endif
