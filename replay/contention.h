/*
 * Which guest pages a vCPU's chunks were squashed over most often, in bounded memory: the space-saving sketch
 * of heavy hitters. It knows CONTENTION_SLOTS pages. A page that is not among them takes the place of the one
 * with the smallest count, and takes over its count as `missed`: so often at most it may have been met
 * before, while it was not known. With N conflicts noted:
 *   - a known page was met from `counted` to `counted + missed` times;
 *   - any other page was met at most contention_bound() <= N / CONTENTION_SLOTS times;
 *   - so every page that was met more often than that is known.
 * A contention belongs to one CPU. What is in it never decides anything: it is for statistics.
 */
#ifndef RV_REPLAY_CONTENTION_H
#define RV_REPLAY_CONTENTION_H

#include "replay/record.h"

#define CONTENTION_SLOTS 64u

struct contention_slot {
    uint32_t gpn;
    uint16_t by;    /* whose commits it was: a bit for each vCPU, REC_BY_DEVICE */
    uint16_t word;  /* of the page: that which most of the conflicts were about, if one was most */
    uint64_t votes; /* for `word`, less those against it */
    uint64_t missed;
    uint64_t counted; /* together: `cause` */
    uint64_t cause[REC_CAUSE_COUNT];
};

/* Zeroed to start with. */
struct contention {
    uint32_t used;
    struct contention_slot slot[CONTENTION_SLOTS]; /* counted + missed falls */
};

/* What a chunk was squashed over. */
struct contention_conflict {
    uint32_t gpn;
    uint16_t word;        /* of the page, or REC_WORD_NONE */
    enum rec_cause cause; /* REC_CAUSE_DEVICE where a device's commit was it */
    uint16_t by;          /* the bit of the vCPU whose commit it was, or REC_BY_DEVICE */
};

void contention_note(struct contention *contention, const struct contention_conflict *conflict);

/* A page that is not known was met at most so often. */
uint64_t contention_bound(const struct contention *contention);

/*
 * The pages that the `vcpus` contentions together counted most, the most first (of equals the lowest
 * address), at most REC_PAGES_MAX. `writes` is left 0: who has the views fills it in.
 */
void contention_gather(const struct contention *const *contentions, uint32_t vcpus, struct rec_pages *pages);

#endif
