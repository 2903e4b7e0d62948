/*
 * A digest of what differs between two versions of up to CHANGES_WORDS words: of the changed words' new
 * values and of their places; words that are equal add nothing. So it is enough to digest changes where the
 * old version is known to be the same. The words may be given in any order and in several calls.
 *
 * With y = the new word xor the key of its place, each of four lanes (place modulo 4) sums up y, and the
 * product of y's halves: the first sees every change of one word, the second tells changes that go together
 * from each other. Made for finding accidents, as hv/base/digest.h.
 */
#ifndef RV_HV_BASE_CHANGES_H
#define RV_HV_BASE_CHANGES_H

#include "hv/base/types.h"

#define CHANGES_LANES 4u
#define CHANGES_WORDS 512u /* a page */
/* Bit 5 of each 4-byte half: in a paging structure, the accessed bits (SDM 3A 4.8). */
#define CHANGES_SOFT UINT64_C(0x0000002000000020)

/* Zeroed to start with. */
struct changes {
    uint64_t product[CHANGES_LANES];
    uint64_t sum[CHANGES_LANES];
    bool any;
    bool soft; /* some word differs in nothing but CHANGES_SOFT: to be known without another pass */
};

extern const uint64_t changes_keys[CHANGES_WORDS];

/* The place of the first word from `from` on that differs, or `end`. */
uint32_t changes_next(const uint64_t *old, const uint64_t *new, uint32_t from, uint32_t end);
/* Adds what differs at the places `from` to `end` - 1 (`end` <= CHANGES_WORDS). */
void changes_add(struct changes *changes, const uint64_t *old, const uint64_t *new, uint32_t from,
                 uint32_t end);
/* Adds one word that differs at its place, or whose new value stands for one. */
void changes_add_word(struct changes *changes, uint64_t word, uint32_t place);
/* 0 where nothing was added, never 0 else. May be added to other digests. */
uint64_t changes_digest(const struct changes *changes, uint64_t seed);

/*
 * The same over whole pages (32-byte aligned) by AVX2, with the same results. They destroy the SIMD
 * registers: only where these hold nothing of a guest, and XCR0 allows SSE and AVX.
 */
void changes_add_page_wide(struct changes *changes, const uint64_t *old, const uint64_t *new);
void changes_page_copy_wide(uint64_t *to, const uint64_t *from);
/* Whether one of CHANGES_BLOCK words (32-byte aligned) has one of `bits` set. */
#define CHANGES_BLOCK 64u
bool changes_block_has_wide(const uint64_t *words, uint64_t bits);

#endif
