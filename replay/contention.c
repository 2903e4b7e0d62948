#include "replay/contention.h"

#include "hv/base/check.h"

#include <string.h>

static uint64_t upper(const struct contention_slot *slot)
{
    return slot->counted + slot->missed;
}

/* The place of the page's slot, or `used`. Pages that are met often are found first. */
static uint32_t find(const struct contention *c, uint32_t gpn)
{
    uint32_t i = 0;

    while (i < c->used && c->slot[i].gpn != gpn)
        i++;
    return i;
}

/* A slot for a page that has none: a free one, or that of the page met least. */
static uint32_t take_slot(struct contention *c, uint32_t gpn)
{
    uint64_t missed = contention_bound(c);
    uint32_t i = c->used < CONTENTION_SLOTS ? c->used++ : CONTENTION_SLOTS - 1;

    c->slot[i] = (struct contention_slot){.gpn = gpn, .missed = missed};
    return i;
}

/* Boyer and Moore's vote: a word that was named more than half of the time is the one that is left. */
static void vote(struct contention_slot *slot, uint16_t word)
{
    if (!slot->votes)
        slot->word = word;
    if (slot->word == word)
        slot->votes++;
    else
        slot->votes--;
}

/* The slot's count rose by one: it goes before those that it has overtaken. */
static void move_up(struct contention *c, uint32_t i)
{
    uint32_t to = i;
    struct contention_slot slot = c->slot[i];

    while (to > 0 && upper(&c->slot[to - 1]) < upper(&slot))
        to--;
    /* All it passes have the same count: one exchange keeps the order. */
    c->slot[i] = c->slot[to];
    c->slot[to] = slot;
}

void contention_note(struct contention *contention, const struct contention_conflict *conflict)
{
    uint32_t i = find(contention, conflict->gpn);
    struct contention_slot *slot;

    HV_CHECK(conflict->cause < REC_CAUSE_COUNT && conflict->word <= REC_WORD_NONE);
    if (i == contention->used)
        i = take_slot(contention, conflict->gpn);
    slot = &contention->slot[i];
    slot->counted++;
    slot->cause[conflict->cause]++;
    slot->by |= conflict->by;
    vote(slot, conflict->word);
    move_up(contention, i);
}

uint64_t contention_bound(const struct contention *contention)
{
    return contention->used < CONTENTION_SLOTS ? 0 : upper(&contention->slot[CONTENTION_SLOTS - 1]);
}

/* ---- All vCPUs together ---- */

struct candidate {
    uint32_t gpn;
    uint64_t counted, upper;
};

/* What all know of the page together. */
static struct candidate weigh(const struct contention *const *of, uint32_t vcpus, uint32_t gpn)
{
    struct candidate all = {.gpn = gpn};

    for (uint32_t v = 0; v < vcpus; v++) {
        uint32_t i = find(of[v], gpn);
        if (i == of[v]->used) {
            all.upper += contention_bound(of[v]);
            continue;
        }
        all.counted += of[v]->slot[i].counted;
        all.upper += upper(&of[v]->slot[i]);
    }
    return all;
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
    return a->counted != b->counted ? a->counted > b->counted : a->gpn < b->gpn;
}

/* Puts a candidate where it belongs among the `*count` best; returns what then is not among them, or 0. */
static uint64_t keep_best(struct candidate *best, uint32_t *count, struct candidate one)
{
    uint64_t lost = 0;
    uint32_t at;

    if (*count == REC_PAGES_MAX) {
        if (!is_before(&one, &best[*count - 1]))
            return one.upper;
        lost = best[--*count].upper;
    }
    for (at = (*count)++; at > 0 && is_before(&one, &best[at - 1]); at--)
        best[at] = best[at - 1];
    best[at] = one;
    return lost;
}

static bool is_known(const struct contention *const *of, uint32_t vcpus, uint32_t gpn)
{
    for (uint32_t v = 0; v < vcpus; v++) {
        if (find(of[v], gpn) < of[v]->used)
            return true;
    }
    return false;
}

static struct rec_page_row row_of(const struct contention *c, uint32_t gpn)
{
    struct rec_page_row row = {.word = REC_WORD_NONE};
    uint32_t i = find(c, gpn);

    if (i == c->used) {
        row.missed = contention_bound(c);
        return row;
    }
    row.missed = c->slot[i].missed;
    row.by = c->slot[i].by;
    row.word = c->slot[i].word;
    memcpy(row.cause, c->slot[i].cause, sizeof(row.cause));
    return row;
}

void contention_gather(const struct contention *const *contentions, uint32_t vcpus, struct rec_pages *pages)
{
    struct candidate best[REC_PAGES_MAX];
    uint32_t count = 0;
    uint64_t unlisted = 0;

    memset(pages, 0, sizeof(*pages));
    pages->vcpus = vcpus;
    for (uint32_t v = 0; v < vcpus; v++) {
        pages->unlisted += contention_bound(contentions[v]);
        for (uint32_t i = 0; i < contentions[v]->used; i++) {
            uint32_t gpn = contentions[v]->slot[i].gpn;
            uint64_t lost = 0;
            if (!is_known(contentions, v, gpn))
                lost = keep_best(best, &count, weigh(contentions, vcpus, gpn));
            unlisted = MAX(unlisted, lost);
        }
    }
    pages->unlisted = MAX(pages->unlisted, unlisted);
    pages->count = count;
    for (uint32_t i = 0; i < count; i++) {
        pages->page[i].gpn = best[i].gpn;
        for (uint32_t v = 0; v < vcpus; v++)
            pages->page[i].row[v] = row_of(contentions[v], best[i].gpn);
    }
}
