/* Accessed bits: what is one, what a list says, and that a replay's bits come out as the recording's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/changes.h"
#include "replay/accessed.h"
#include "replay/log_codec.h"
#include "test/unit/log_forge.h"
#include "test/unit/log_random.h"

#define A      UINT64_C(0x20)
#define A_HIGH (A << 32)

static void what_an_entry_is(void **state)
{
    (void)state;
    assert_int_equal(accessed_mask(0), 0);
    assert_int_equal(accessed_mask(0x1002), 0);                       /* not present */
    assert_int_equal(accessed_mask(0x1003), A);                       /* the bit is clear ... */
    assert_int_equal(accessed_mask(0x1023), A);                       /* ... or set */
    assert_int_equal(accessed_mask(0x00a3), A);                       /* a large page */
    assert_int_equal(accessed_mask(0x0023), 0);                       /* page 0 */
    assert_int_equal(accessed_mask(0xfee00027), A);                   /* a device */
    assert_int_equal(accessed_mask(UINT64_C(0x8000000000001063)), A); /* XD */
    assert_int_equal(accessed_mask(UINT64_C(0x0000100000001063)), A); /* as one of 4 bytes */
    assert_int_equal(accessed_mask(UINT64_C(0x0000300200001003)), A);
    assert_int_equal(accessed_mask(UINT64_C(0x0000300300001003)), A | A_HIGH);
    assert_int_equal(accessed_mask(UINT64_C(0x0000302300001002)), A_HIGH);
}

static void a_mask_does_not_depend_on_the_bits(void **state)
{
    uint64_t random = 1;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t word = random_next(&random) & (random_next(&random) | UINT64_C(0x00ff30030fff3003));
        assert_int_equal(accessed_mask(word), accessed_mask(word ^ A));
        assert_int_equal(accessed_mask(word), accessed_mask(word ^ A_HIGH));
    }
}

static void what_the_digest_sees(void **state)
{
    (void)state;
    for (unsigned listed = 0; listed < 2; listed++) {
        assert_int_equal(accessed_plain(7, 7, listed), 7);
        assert_int_equal(accessed_plain(7, 7 ^ A, listed), 7 ^ A); /* no entry */
        assert_int_equal(accessed_plain(0x1003, 0x1023, listed), 0x1003);
        assert_int_equal(accessed_plain(0x1023, 0x1003, listed), 0x1023);
        assert_int_equal(accessed_plain(0x1003, 0x1043, listed), 0x1043); /* D counts */
    }
    assert_int_equal(accessed_plain(0x1003, 0x2023, false), 0x2023);
    assert_int_equal(accessed_plain(0x1003, 0x2023, true), 0x2003);
    assert_int_equal(accessed_plain(0x1003, 0x2022, true), 0x2022);
}

/* One page of a guest's paging structures: entries of 4 or 8 bytes, others, and data. */
static uint64_t random_word(uint64_t *random)
{
    switch (random_below(random, 5)) {
    case 0:
        return 0;
    case 1:
        return random_next(random);
    case 2:
        return random_below(random, 0x800) << 12 | random_below(random, 256) |
               (random_below(random, 0x800) << 12 | random_below(random, 256)) << 32;
    default:
        return random_below(random, 0x800) << 12 | random_below(random, 256) | random_below(random, 2) << 63;
    }
}

static void random_page(uint64_t *page, uint64_t *random)
{
    for (uint32_t i = 0; i < PAGE_WORDS; i++)
        page[i] = random_word(random);
}

/* What a processor's walks do, wanted or not: in `stored` any entry of the page that is one now. */
static void random_walks(const uint64_t *base, uint64_t *copy, bool stored, uint64_t *random)
{
    uint64_t rate = 1 + random_below(random, 200);

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t mask = accessed_mask(copy[i]);
        if (random_below(random, rate) == 0 && (stored || !((base[i] ^ copy[i]) & ~mask)))
            copy[i] = (copy[i] & ~mask) | (random_next(random) & mask);
    }
}

static uint64_t digest(const uint64_t *base, const uint64_t *copy, bool listed)
{
    struct changes changes = {0};

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t plain = accessed_plain(base[i], copy[i], listed);
        if (plain != base[i])
            changes_add_word(&changes, plain, i);
    }
    return changes_digest(&changes, 5);
}

/*
 * A page of which some words were stored, with other accessed bits in the recording than in the replay: the
 * digests are the same, and the replay's page becomes the recorded one. One that differs otherwise has
 * another digest.
 */
static void check_page(uint64_t *random, bool stored)
{
    uint64_t base[PAGE_WORDS], recorded[PAGE_WORDS], replayed[PAGE_WORDS];
    struct accessed_list list = {0};
    struct accessed_page page = {0};
    const uint8_t *at = list.bytes;
    uint32_t gpn = (uint32_t)random_below(random, 0x800);
    bool listed;

    random_page(base, random);
    memcpy(recorded, base, sizeof base);
    for (uint64_t i = random_below(random, 30); i; i--)
        recorded[random_below(random, PAGE_WORDS)] = random_word(random);
    memcpy(replayed, recorded, sizeof base);
    random_walks(base, recorded, stored, random);
    random_walks(base, replayed, stored, random);
    listed = stored || accessed_look(base, recorded) & ACCESSED_ALONE;
    if (listed) {
        if (!accessed_append(&list, gpn, base, recorded)) {
            assert_int_equal(list.used, 0);
            return;
        }
        assert_true(accessed_valid(list.bytes, list.used));
        assert_true(accessed_next(&at, list.bytes + list.used, &page));
        assert_int_equal(page.gpn, gpn);
        assert_ptr_equal(at, list.bytes + list.used);
        assert_false(accessed_next(&at, list.bytes + list.used, &page));
    }
    assert_int_equal(digest(base, replayed, listed), digest(base, recorded, listed));
    replayed[7] ^= 0x40;
    assert_int_not_equal(digest(base, replayed, listed), digest(base, recorded, listed));
    replayed[7] ^= 0x40;
    accessed_settle(base, replayed, listed ? &page : NULL);
    assert_memory_equal(replayed, recorded, sizeof base);
    assert_int_equal(digest(base, replayed, listed), digest(base, recorded, listed));
}

static void bits_come_out_as_recorded(void **state)
{
    uint64_t random = 2;

    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        check_page(&random, i & 1);
}

/* Several pages, until there is no room: what is there stays as it was. */
static void lists_hold_many_pages(void **state)
{
    uint64_t base[PAGE_WORDS], copy[PAGE_WORDS];
    struct accessed_list list = {0}, before;
    struct accessed_page page = {0};
    const uint8_t *at = list.bytes;
    uint32_t count = 0, next, first, length;

    (void)state;
    for (uint32_t i = 0; i < PAGE_WORDS; i++)
        base[i] = 0x3003;
    do {
        memcpy(copy, base, sizeof base);
        copy[count] |= A;
        for (uint32_t i = 100; i < 300; i++)
            copy[i] |= A;
        before = list;
    } while (accessed_append(&list, 50 * count, base, copy) && ++count);
    assert_memory_equal(&before, &list, sizeof list);
    assert_in_range(count, 12, 20);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(accessed_next(&at, list.bytes + list.used, &page));
        assert_int_equal(page.gpn, 50 * i);
        assert_int_equal(page.entry_bytes, 8);
        next = 0;
        assert_true(accessed_run(&page, &next, &first, &length));
        assert_int_equal(first, i);
        assert_int_equal(length, 1);
        assert_true(accessed_run(&page, &next, &first, &length));
        assert_int_equal(first, 100);
        assert_int_equal(length, 200);
        assert_false(accessed_run(&page, &next, &first, &length));
    }
    /* A page with more runs than a record holds. */
    list = (struct accessed_list){0};
    for (uint32_t i = 0; i < PAGE_WORDS; i += 2)
        copy[i] ^= A;
    assert_false(accessed_append(&list, 1, base, copy));
    assert_int_equal(list.used, 0);
}

/* Any bytes are a list or none, and settling with a list of another page does no harm. */
static void random_bytes_do_no_harm(void **state)
{
    uint64_t random = 3, base[PAGE_WORDS], copy[PAGE_WORDS];
    unsigned good = 0;

    (void)state;
    random_page(base, &random);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[16];
        struct accessed_page page = {0};
        const uint8_t *at = bytes;
        uint32_t length = (uint32_t)random_below(&random, sizeof bytes + 1);

        for (uint32_t j = 0; j < length; j++)
            bytes[j] = (uint8_t)((random_next(&random) & 0xff) >> random_below(&random, 9));
        if (!accessed_valid(bytes, length))
            continue;
        while (accessed_next(&at, bytes + length, &page)) {
            random_page(copy, &random);
            accessed_settle(base, copy, &page);
            good++;
        }
        assert_ptr_equal(at, bytes + length);
    }
    assert_true(good > 500);
}

/* The list of a chunk that ends with a HLT, in a block whose chunks have lists. */
static void bad_lists_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[16];
        uint8_t length;
        enum log_error error;
    } cases[] = {
        {{0}, 1, LOG_OK},
        {{0}, 0, LOG_ERROR_RECORD_SHORT},
        {{4, 3, 1, 0, 0}, 5, LOG_OK},
        {{4, 3, 1, 0}, 4, LOG_ERROR_RECORD_SHORT},
        {{3, 3, 1, 0}, 4, LOG_ERROR_ACCESSED},
        {{1, 3}, 2, LOG_ERROR_ACCESSED},
        {{2, 3, 0}, 3, LOG_OK},
        {{3, 0x83, 0, 0}, 4, LOG_ERROR_ACCESSED}, /* not in its shortest form */
        {{6, 3, 1, 0, 0xff, 3}, 6, LOG_ERROR_RECORD_SHORT},
        {{5, 3, 1, 0, 0xff, 3}, 6, LOG_OK},                          /* all 512 entries */
        {{5, 3, 1, 1, 0xff, 3}, 6, LOG_ERROR_ACCESSED},              /* one past the page */
        {{5, 2, 1, 0, 0xff, 7}, 6, LOG_OK},                          /* all 1024 */
        {{5, 2, 1, 0, 0x80, 8}, 6, LOG_ERROR_ACCESSED},              /* and one more */
        {{7, 3, 2, 0, 0xfc, 3, 0, 0, 0}, 9, LOG_ERROR_COMMITS_LONG}, /* a byte behind it */
        {{7, 3, 2, 0, 0xfc, 3, 0, 2}, 8, LOG_ERROR_ACCESSED},        /* the second run is too long */
        {{4, 0xfe, 0xff, 0x7f, 0}, 5, LOG_OK},                       /* page 0xfffff */
        {{4, 0x80, 0x80, 0x80, 1}, 5, LOG_ERROR_ACCESSED},           /* a list that breaks off */
        {{5, 0x80, 0x80, 0x80, 1, 0}, 6, LOG_ERROR_ACCESSED},        /* page 0x100000 */
        {{6, 0xfe, 0xff, 0x7f, 0, 0, 0}, 7, LOG_ERROR_ACCESSED},     /* the page behind the last one */
        {{121}, 1, LOG_ERROR_ACCESSED},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t record[19] = {0x10, 1, 2};
        struct forge f = {.size = 0};
        struct log_reader r;
        struct log_block block;
        struct log_commits it;
        struct rec_commit commit;

        memcpy(record + 3, cases[i].bytes, sizeof cases[i].bytes);
        forge_header(&f, 1);
        forge_flagged_commits(&f, 2, 1, 1, record, 3u + cases[i].length);
        log_reader_init(&r);
        assert_int_equal(log_reader_next(&r, f.bytes, f.size, &block), LOG_BLOCK);
        assert_int_equal(log_reader_next(&r, f.bytes, f.size, &block), LOG_BLOCK);
        log_commits_begin(&it, &r, &block);
        while (log_commits_next(&it, &commit) == LOG_COMMIT)
            assert_int_equal(commit.chunk.accessed_bytes, cases[i].bytes[0]);
        if (it.error != cases[i].error)
            print_error("case %u: %s\n", i, log_error_text(it.error));
        assert_int_equal(it.error, cases[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_entry_is),      cmocka_unit_test(a_mask_does_not_depend_on_the_bits),
        cmocka_unit_test(what_the_digest_sees),  cmocka_unit_test(bits_come_out_as_recorded),
        cmocka_unit_test(lists_hold_many_pages), cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(bad_lists_are_refused),
    };

    return cmocka_run_group_tests_name("accessed", tests, NULL, NULL);
}
