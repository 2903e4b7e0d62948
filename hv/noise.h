/*
 * What a recording does that it need not do, by a seed: other lengths, squashes, delays, interrupts, so that
 * orders come about that are rare otherwise. Pure: here it is only decided. Nothing of it is in the log, and
 * nothing of it may show in a replay.
 */
#ifndef RV_HV_NOISE_H
#define RV_HV_NOISE_H

#include "drivers/vdev/random.h"
#include "hv/base/types.h"

/* Kinds that the command line's word `noise` turns on; `chaos` is a number of its own. */
#define NOISE_SQUASH    UINT32_C(0x01) /* chunks that would commit are thrown away */
#define NOISE_DELAY     UINT32_C(0x02) /* finished chunks wait before they commit */
#define NOISE_INTERRUPT UINT32_C(0x04) /* host interrupts in the middle of chunks */
#define NOISE_TOKEN     UINT32_C(0x08) /* the commit token is taken without need */
#define NOISE_WALK      UINT32_C(0x10) /* page walks for nothing, as on mispredicted paths */
#define NOISE_ALL       UINT32_C(0x1f)

/* Of one vCPU. What is not turned on draws no numbers. */
struct noise {
    struct vrandom random;
    uint32_t kinds; /* NOISE_* */
    uint32_t chaos; /* percent by which lengths vary, 0 to 90 */
};

/* Other vCPUs and other seeds draw unrelated numbers. */
void noise_init(struct noise *noise, uint64_t seed, uint32_t vcpu, uint32_t kinds, uint32_t chaos);

/* How many PAUSEs a chunk begins late. */
uint64_t noise_late(struct noise *noise);
/* The length of a chunk in place of `ticks`: up to chaos percent less or more. */
uint64_t noise_length(struct noise *noise, uint64_t ticks);
/* Whether the processor is to walk once more when the chunk has run, and which path. */
bool noise_walk(struct noise *noise, uint64_t *path);
/* Whether to throw the finished chunk away. */
bool noise_squash(struct noise *noise);
/* How many PAUSEs a finished chunk waits before it commits. */
uint64_t noise_delay(struct noise *noise);
/* Whether to take the token for the next chunk. */
bool noise_token(struct noise *noise);

#define NOISE_NO_INTERRUPT UINT64_MAX
/* After how many of the chunk's `ticks` the host is to be interrupted, 0 for at once; or none. */
uint64_t noise_interrupt(struct noise *noise, uint64_t ticks);

#endif
