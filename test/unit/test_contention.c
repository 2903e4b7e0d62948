/* Which pages are fought over most: the sketch against exact counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/contention.h"
#include "test/unit/log_random.h"

#define PAGES 4096u

static void note(struct contention *c, uint32_t gpn, uint16_t word, enum rec_cause cause, uint16_t by)
{
    struct contention_conflict conflict = {.gpn = gpn, .word = word, .cause = cause, .by = by};

    contention_note(c, &conflict);
}

static void gather(const struct contention *c, struct rec_pages *pages)
{
    contention_gather(&c, 1, pages);
}

static void nothing_was_noted(void **state)
{
    static struct contention c;
    struct rec_pages pages;

    (void)state;
    assert_int_equal(contention_bound(&c), 0);
    gather(&c, &pages);
    assert_int_equal(pages.count, 0);
    assert_int_equal(pages.vcpus, 1);
    assert_int_equal(pages.unlisted, 0);
}

static void few_pages_are_counted_exactly(void **state)
{
    static struct contention c;
    struct rec_pages pages;

    (void)state;
    note(&c, 7, 1, REC_CAUSE_READ, 2);
    for (unsigned i = 0; i < 5; i++)
        note(&c, 9, 3, REC_CAUSE_WORDS, 4);
    note(&c, 9, 4, REC_CAUSE_DEVICE, REC_BY_DEVICE);
    note(&c, 3, REC_WORD_NONE, REC_CAUSE_TABLES, 2);
    gather(&c, &pages);
    assert_int_equal(pages.count, 3);
    assert_int_equal(pages.unlisted, 0);
    assert_int_equal(pages.page[0].gpn, 9);
    assert_int_equal(pages.page[0].row[0].cause[REC_CAUSE_WORDS], 5);
    assert_int_equal(pages.page[0].row[0].cause[REC_CAUSE_DEVICE], 1);
    assert_int_equal(pages.page[0].row[0].by, 4 | REC_BY_DEVICE);
    assert_int_equal(pages.page[0].row[0].word, 3);
    assert_int_equal(pages.page[0].row[0].missed, 0);
    assert_int_equal(pages.page[1].gpn, 3); /* of equals the lowest */
    assert_int_equal(pages.page[1].row[0].word, REC_WORD_NONE);
    assert_int_equal(pages.page[2].gpn, 7);
    assert_int_equal(pages.page[2].row[0].cause[REC_CAUSE_READ], 1);
}

/* The word that was named more than half of the time is known, in whatever order. */
static void the_majority_of_words_is_found(void **state)
{
    uint64_t seed = 4;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        static struct contention c;
        uint16_t words[41];

        memset(&c, 0, sizeof c);
        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
            words[i] = i < 21 ? 77 : (uint16_t)random_below(&seed, REC_WORD_NONE);
        for (unsigned i = ARRAY_LEN(words) - 1; i > 0; i--) {
            unsigned j = (unsigned)random_below(&seed, i + 1);
            uint16_t word = words[i];
            words[i] = words[j];
            words[j] = word;
        }
        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
            note(&c, 5, words[i], REC_CAUSE_PAGE, 1);
        assert_int_equal(c.slot[0].word, 77);
        assert_int_equal(c.slot[0].counted, ARRAY_LEN(words));
    }
}

/* A page: often the few hot ones, else any. */
static uint32_t some_page(uint64_t *seed, unsigned round)
{
    if (round % 3 == 0)
        return (uint32_t)random_below(seed, PAGES);
    return (uint32_t)random_below(seed, random_below(seed, 2) ? 8 : PAGES);
}

static void check_bounds(const struct contention *c, const uint64_t *exact, uint64_t noted)
{
    uint64_t together = 0;
    bool known[PAGES] = {false};

    for (uint32_t i = 0; i < c->used; i++) {
        const struct contention_slot *slot = &c->slot[i];
        uint64_t causes = 0;

        for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
            causes += slot->cause[k];
        assert_int_equal(causes, slot->counted);
        assert_true(slot->counted <= exact[slot->gpn] && exact[slot->gpn] <= slot->counted + slot->missed);
        assert_true(!i || slot[-1].counted + slot[-1].missed >= slot->counted + slot->missed);
        assert_false(known[slot->gpn]);
        known[slot->gpn] = true;
        together += slot->counted + slot->missed;
    }
    /* Each conflict raises one slot by one, whoever's it is. */
    assert_int_equal(together, noted);
    assert_true(contention_bound(c) <= noted / CONTENTION_SLOTS);
    for (uint32_t gpn = 0; gpn < PAGES; gpn++)
        assert_true(known[gpn] || exact[gpn] <= contention_bound(c));
}

static void many_pages_are_counted_within_the_bounds(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 30; round++) {
        static struct contention c;
        uint64_t exact[PAGES] = {0}, seed = round + 1;

        memset(&c, 0, sizeof c);
        for (uint64_t noted = 1; noted <= 6000; noted++) {
            uint32_t gpn = some_page(&seed, round);

            exact[gpn]++;
            note(&c, gpn, 0, (enum rec_cause)random_below(&seed, REC_CAUSE_COUNT), 1);
            if (noted % 500 == 0 || noted < 3 * CONTENTION_SLOTS)
                check_bounds(&c, exact, noted);
        }
    }
}

/* What is said of listed and of unlisted pages, over all vCPUs, holds for the exact counts. */
static void check_gathered(const struct rec_pages *pages, uint64_t exact[][PAGES], unsigned vcpus)
{
    bool listed[PAGES] = {false};
    uint64_t last = UINT64_MAX;

    for (uint32_t i = 0; i < pages->count; i++) {
        const struct rec_page *page = &pages->page[i];
        uint64_t sum = 0;

        for (unsigned v = 0; v < vcpus; v++) {
            uint64_t counted = 0;
            for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
                counted += page->row[v].cause[k];
            assert_true(counted <= exact[v][page->gpn]);
            assert_true(exact[v][page->gpn] <= counted + page->row[v].missed);
            sum += counted;
        }
        assert_true(sum <= last);
        last = sum;
        assert_false(listed[page->gpn]);
        listed[page->gpn] = true;
    }
    for (uint32_t gpn = 0; gpn < PAGES; gpn++) {
        uint64_t all = 0;
        for (unsigned v = 0; v < vcpus; v++)
            all += exact[v][gpn];
        assert_true(listed[gpn] || all <= pages->unlisted);
    }
}

static void all_vcpus_together_stay_within_the_bounds(void **state)
{
    (void)state;
    for (unsigned vcpus = 1; vcpus <= MAX_VCPUS; vcpus++) {
        static struct contention c[MAX_VCPUS];
        static uint64_t exact[MAX_VCPUS][PAGES];
        const struct contention *of[MAX_VCPUS];
        struct rec_pages pages;
        uint64_t seed = vcpus;

        memset(c, 0, sizeof c);
        memset(exact, 0, sizeof exact);
        for (unsigned v = 0; v < vcpus; v++) {
            of[v] = &c[v];
            for (unsigned i = 0; i < 300 * (v + 1); i++) {
                uint32_t gpn = some_page(&seed, v + 1);
                exact[v][gpn]++;
                note(&c[v], gpn, 0, REC_CAUSE_READ, 1);
            }
        }
        contention_gather(of, vcpus, &pages);
        assert_int_equal(pages.count, REC_PAGES_MAX);
        check_gathered(&pages, exact, vcpus);
    }
}

/* Pages that were met equally often by more vCPUs than there is room for: what is left out counts as
 * unlisted. */
static void what_finds_no_room_in_the_list_counts_as_unlisted(void **state)
{
    static struct contention c;
    struct rec_pages pages;

    (void)state;
    for (uint32_t gpn = 0; gpn < CONTENTION_SLOTS; gpn++) {
        for (unsigned i = 0; i <= gpn; i++)
            note(&c, gpn, 0, REC_CAUSE_READ, 1);
    }
    assert_int_equal(contention_bound(&c), 1); /* the smallest count: a 65th page would have it */
    gather(&c, &pages);
    assert_int_equal(pages.page[0].gpn, CONTENTION_SLOTS - 1);
    assert_int_equal(pages.page[REC_PAGES_MAX - 1].gpn, CONTENTION_SLOTS - REC_PAGES_MAX);
    assert_int_equal(pages.unlisted, CONTENTION_SLOTS - REC_PAGES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_was_noted),
        cmocka_unit_test(few_pages_are_counted_exactly),
        cmocka_unit_test(the_majority_of_words_is_found),
        cmocka_unit_test(many_pages_are_counted_within_the_bounds),
        cmocka_unit_test(all_vcpus_together_stay_within_the_bounds),
        cmocka_unit_test(what_finds_no_room_in_the_list_counts_as_unlisted),
    };

    return cmocka_run_group_tests_name("contention", tests, NULL, NULL);
}
