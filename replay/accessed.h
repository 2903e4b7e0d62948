/*
 * Accessed bits that page walks set in the guest's paging structures. A processor may set one for an access
 * on a mispredicted path, or leave one as it is because its TLB holds the translation: no replay does just
 * the same. So these bits are no part of a page's digest; a chunk's record lists those that replay cannot
 * know, and replay makes its own bits the recorded ones. Pure; pages are PAGE_WORDS words of 8 bytes.
 *
 * Nobody has to know which pages are paging structures: what looks like an entry, and differs from the
 * chunk's base in its A bit alone, counts as one on any page. On a listed page that is so for entries that
 * the chunk stored, too. An error costs some bytes of log: all bits come out as recorded in any case.
 */
#ifndef RV_REPLAY_ACCESSED_H
#define RV_REPLAY_ACCESSED_H

#include "hv/base/types.h"
#include "replay/record.h"

#define PAGE_WORDS (PAGE_SIZE / 8u)

/*
 * The A bits in `word` that a walk may set: of an 8-byte entry or of two 4-byte ones (SDM 3A 5.3 to 5.5) that
 * are present. Which bits, does not depend on them.
 */
uint64_t accessed_mask(uint64_t word);

/* What the digest is to see of a word that was `base` and is `word`, on a listed page or another one. */
uint64_t accessed_plain(uint64_t base, uint64_t word, bool listed);

/* What is on a page that was `base` and is `copy`. */
#define ACCESSED_ALONE 1u /* words that differ in A bits alone: the page must be listed */
#define ACCESSED_STORED                                                                                      \
    2u /* entries that differ in more than that: it must be if it is a paging structure                      \
        */
uint32_t accessed_look(const uint64_t *base, const uint64_t *copy);

/* The list of a chunk, as bytes of its record; see replay/FORMAT.md. Pages come in ascending order. */
struct accessed_list {
    uint8_t bytes[REC_ACCESSED_MAX];
    uint32_t used;
    uint32_t next; /* the lowest page number that may come */
};

/*
 * Appends page gpn, which was `base` and is `copy`, with its bits that are not as a replay would take them
 * to be. False: there is no room, and nothing is appended.
 */
bool accessed_append(struct accessed_list *list, uint32_t gpn, const uint64_t *base, const uint64_t *copy);

/* A list's page: its number and the bits that are not as expected, by entries of 4 or 8 bytes. */
struct accessed_page {
    uint32_t gpn;
    uint32_t entry_bytes;
    const uint8_t *runs, *end; /* the bytes that tell them */
};

/*
 * Reads the page at *at, which moves behind it; *page is the one before it, all zero at the list's begin.
 * False at `end`, or where the bytes are no list.
 */
bool accessed_next(const uint8_t **at, const uint8_t *end, struct accessed_page *page);
/* Whether the bytes are a list, or none at all. */
bool accessed_valid(const uint8_t *bytes, uint32_t length);
/* The next run of a page's bits, from entry *first on; page->runs moves, *next is 0 before. False: no more.
 */
bool accessed_run(struct accessed_page *page, uint32_t *next, uint32_t *first, uint32_t *count);

/*
 * Replay: gives `copy` the A bits that the recording had. `page`: the page as listed, or NULL where it is
 * not.
 */
void accessed_settle(const uint64_t *base, uint64_t *copy, const struct accessed_page *page);

#endif
