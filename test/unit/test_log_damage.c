/* The log reader on logs that are cut, damaged or forged: each is refused by the right name, where it is
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/log_codec.h"
#include "test/unit/log_forge.h"
#include "test/unit/log_random.h"

/* The result of reading a whole log, records included. */
struct result {
    enum log_status status;
    enum log_error error;
    uint64_t offset, commits;
    uint16_t bad_type;
    bool complete;
};

static struct result read_all(const uint8_t *bytes, size_t size)
{
    struct log_reader r;
    struct log_block block;
    struct log_commits it;
    struct rec_commit commit;
    struct result result = {0};
    /* A copy of exactly the size, so that the sanitizer sees any step beyond. */
    uint8_t *copy = malloc(size ? size : 1);
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    struct rec_pages pages;
    enum log_step step = LOG_COMMITS_END;
    unsigned vcpus;

    memcpy(copy, bytes, size);
    log_reader_init(&r);
    while (!result.error && (result.status = log_reader_next(&r, copy, size, &block)) == LOG_BLOCK) {
        if (block.type == LOG_TYPE_COUNTERS)
            result.error = log_decode_counters(&block, counters, &vcpus);
        if (block.type == LOG_TYPE_PAGES)
            result.error = log_decode_pages(&block, &pages);
        if (block.type != LOG_TYPE_COMMITS)
            continue;
        log_commits_begin(&it, &r, &block);
        while ((step = log_commits_next(&it, &commit)) == LOG_COMMIT)
            result.commits++;
        if (step == LOG_COMMITS_ERROR) {
            assert_true(it.error != LOG_OK && log_commits_next(&it, &commit) == LOG_COMMITS_ERROR);
            result.error = it.error;
        }
    }
    if (!result.error)
        result.error = r.error;
    if (result.status == LOG_ERROR)
        assert_int_equal(log_reader_next(&r, copy, size, &block), LOG_ERROR);
    result.offset = r.offset;
    result.bad_type = r.bad_type;
    result.complete = r.complete;
    free(copy);
    return result;
}

static void refused(const struct forge *f, enum log_error error)
{
    struct result r = read_all(f->bytes, f->size);

    if (r.error != error)
        print_error("expected: %s; found: %s\n", log_error_text(error), log_error_text(r.error));
    assert_int_equal(r.error, error);
}

/* A small log with every block type, and the ends of its blocks. */
static size_t small_log(uint8_t *buffer, size_t size, size_t *ends, unsigned *blocks)
{
    struct rec_header header = plain_header(2);
    struct rec_trailer trailer = {.commits = 12, .reason = "done"};
    uint64_t counters[2][REC_COUNT_MAX] = {{1, 2, 3}};
    struct rec_pages pages = {.vcpus = 2, .count = 1, .page = {{.gpn = 7, .row = {{.cause = {300}}}}}};
    struct log_writer w;
    struct rec_commit c;
    uint64_t seed = 3;

    log_writer_init(&w, buffer, size, 0);
    *blocks = 0;
    assert_true(log_writer_header(&w, &header));
    ends[(*blocks)++] = w.ready;
    for (uint64_t seq = 1; seq <= 12; seq++) {
        random_commit(&c, &seed, 2, seq);
        assert_true(log_writer_commit(&w, &c, seq));
        if (seq == 6 || seq == 12) {
            log_writer_flush(&w);
            ends[(*blocks)++] = w.ready;
        }
    }
    assert_true(log_writer_console(&w, "text\n", 5));
    ends[(*blocks)++] = w.ready;
    assert_true(log_writer_counters(&w, (const uint64_t(*)[REC_COUNT_MAX])counters));
    ends[(*blocks)++] = w.ready;
    assert_true(log_writer_pages(&w, &pages));
    ends[(*blocks)++] = w.ready;
    assert_true(log_writer_trailer(&w, &trailer));
    ends[(*blocks)++] = w.ready;
    return w.ready;
}

static void cut_anywhere_it_is_good_to_its_last_whole_block(void **state)
{
    static uint8_t buffer[16384];
    size_t ends[8], size;
    unsigned blocks;

    (void)state;
    size = small_log(buffer, sizeof buffer, ends, &blocks);
    for (size_t n = 0; n < size; n++) {
        struct result r = read_all(buffer, n);
        size_t good = 0;

        for (unsigned i = 0; i < blocks; i++)
            good = ends[i] <= n ? ends[i] : good;
        assert_int_equal(r.status, LOG_NEED_MORE);
        assert_int_equal(r.offset, good);
        assert_int_equal(r.commits, good >= ends[2] ? 12 : good >= ends[1] ? 6 : 0);
        assert_false(r.complete);
    }
    assert_int_equal(read_all(buffer, size).status, LOG_END);
    assert_true(read_all(buffer, size).complete);
}

static void every_flipped_bit_is_found(void **state)
{
    static uint8_t buffer[16384];
    size_t ends[8], size;
    unsigned blocks;

    (void)state;
    size = small_log(buffer, sizeof buffer, ends, &blocks);
    for (size_t bit = 0; bit < size * 8; bit++) {
        struct result r;
        size_t begin = 0;

        buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = read_all(buffer, size);
        buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
        for (unsigned i = 0; i < blocks; i++)
            begin = ends[i] <= bit / 8 ? ends[i] : begin;
        assert_int_equal(r.status, LOG_ERROR);
        assert_int_equal(r.offset, begin);
        assert_int_equal(r.bad_type, 0);
    }
}

static void blocks_in_wrong_order_are_refused(void **state)
{
    struct forge f = {.size = 0};
    const uint8_t record[] = {0x08, 0, 0};

    (void)state;
    forge_commits(&f, 1, 1, record, 3);
    refused(&f, LOG_ERROR_NO_HEADER);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_header(&f, 2);
    refused(&f, LOG_ERROR_SECOND_HEADER);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    f.number++;
    forge_commits(&f, 1, 1, record, 3);
    refused(&f, LOG_ERROR_BLOCK_GAP);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_commits(&f, 1, 1, record, 3);
    f.number--;
    forge_commits(&f, 2, 1, record, 3);
    refused(&f, LOG_ERROR_BLOCK_REPEATED);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_commits(&f, 2, 1, record, 3);
    refused(&f, LOG_ERROR_COMMIT_GAP);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_commits(&f, 1, 1, record, 3);
    forge_commits(&f, 1, 1, record, 3);
    refused(&f, LOG_ERROR_COMMIT_REPEATED);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_trailer(&f, 2, 0);
    assert_int_equal(read_all(f.bytes, f.size).status, LOG_END);
    f.bytes[f.size++] = 0;
    refused(&f, LOG_ERROR_AFTER_END);
}

static void unknown_blocks_are_skipped_or_refused(void **state)
{
    struct forge f = {.size = 0};
    size_t good;

    (void)state;
    forge_header(&f, 2);
    forge_block(&f, 0x8abc, 0x1234, "whatever", 8);
    forge_trailer(&f, 2, 0);
    assert_int_equal(read_all(f.bytes, f.size).status, LOG_END);

    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    good = f.size;
    forge_block(&f, 0x0abc, 0, "whatever", 8);
    refused(&f, LOG_ERROR_UNKNOWN_TYPE);
    assert_int_equal(read_all(f.bytes, f.size).bad_type, 0x0abc);
    assert_int_equal(read_all(f.bytes, f.size).offset, good);

    for (unsigned type = LOG_TYPE_OUTPUT_COMMIT; type <= LOG_TYPE_CHECKPOINT; type++) {
        f = (struct forge){.size = 0};
        forge_header(&f, 2);
        forge_block(&f, type, 0, "", 0);
        refused(&f, LOG_ERROR_RESERVED_TYPE);
    }
    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_block(&f, 0x8001, 1, "x", 1);
    refused(&f, LOG_ERROR_FLAGS);
}

/* Corrects the CRC of the head at `at` after a change. */
static void fix_head(struct forge *f, size_t at)
{
    uint32_t crc = forge_crc(f->bytes + at, 16);

    memcpy(f->bytes + at + 16, &crc, 4);
}

static void forged_lengths_are_refused(void **state)
{
    struct forge f = {.size = 0};
    uint32_t length = LOG_PAYLOAD_MAX + 1;
    size_t at;

    (void)state;
    forge_header(&f, 2);
    at = f.size;
    forge_block(&f, 0x8001, 0, "hello", 5);
    memcpy(f.bytes + at + LOG_HEAD_LENGTH, &length, 4);
    refused(&f, LOG_ERROR_HEAD_CRC);
    fix_head(&f, at);
    refused(&f, LOG_ERROR_LENGTH);
    length = 4;
    memcpy(f.bytes + at + LOG_HEAD_LENGTH, &length, 4);
    fix_head(&f, at);
    refused(&f, LOG_ERROR_CRC);
    length = LOG_PAYLOAD_MAX;
    memcpy(f.bytes + at + LOG_HEAD_LENGTH, &length, 4);
    fix_head(&f, at);
    assert_int_equal(read_all(f.bytes, f.size).status, LOG_NEED_MORE);

    f.size = at;
    f.number = 1;
    forge_block(&f, 0x8001, 0, "hello", 5);
    f.bytes[f.size - 4]++;
    refused(&f, LOG_ERROR_LENGTH_AGAIN);
    memcpy(f.bytes + at, "RVBL", 4);
    refused(&f, LOG_ERROR_MAGIC);
}

static void bad_headers_are_refused(void **state)
{
    static const struct {
        size_t offset, length;
        uint8_t value;
        enum log_error error;
    } cases[] = {
        {0, 64, 2, LOG_ERROR_MAJOR},         {0, 4, 2, LOG_ERROR_MAJOR},
        {8, 64, 0, LOG_ERROR_VCPUS},         {8, 64, 9, LOG_ERROR_VCPUS},
        {41, 64, 3, LOG_ERROR_TIME_QUANTUM}, {41, 64, 0, LOG_ERROR_TIME_QUANTUM},
        {44, 64, 1, LOG_ERROR_HEADER_SHORT}, {46, 64, 1, LOG_ERROR_HEADER_SHORT},
        {60, 3, 0, LOG_ERROR_HEADER_SHORT},  {60, 63, 0, LOG_ERROR_HEADER_SHORT},
        {60, 65, 0, LOG_ERROR_HEADER_LONG},  {45, 64 + 256, 1, LOG_ERROR_TEXT},
        {46, 64 + 64, 64, LOG_ERROR_TEXT},   {44, 64 + 1, 1, LOG_ERROR_TEXT},
    };
    struct forge plain = {.size = 0}, f;

    (void)state;
    forge_header(&plain, 2);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t payload[512] = {0};

        memcpy(payload, plain.bytes + LOG_HEAD_SIZE, 64);
        payload[cases[i].offset] = cases[i].value;
        f = (struct forge){.size = 0};
        forge_block(&f, 0x0001, 0, payload, (uint32_t)cases[i].length);
        refused(&f, cases[i].error);
    }
}

/* Version 1.1 added the host traits, 1.2 the event that positions count; one newer than ours may append more.
 */
static void headers_of_other_minor_versions(void **state)
{
    static const struct {
        uint8_t minor;
        uint32_t length;
        enum log_error error;
        uint64_t traits;
        uint8_t event;
    } cases[] = {
        {0, 64, LOG_OK, REC_TRAITS_UNKNOWN, 0},
        {0, 72, LOG_ERROR_HEADER_LONG, 0, 0},
        {1, 64, LOG_ERROR_HEADER_SHORT, 0, 0},
        {1, 71, LOG_ERROR_HEADER_SHORT, 0, 0},
        {1, 72, LOG_OK, UINT64_C(0x0807060504030201), 0},
        {1, 73, LOG_ERROR_HEADER_LONG, 0, 0},
        {2, 72, LOG_ERROR_HEADER_SHORT, 0, 0},
        {2, 73, LOG_OK, UINT64_C(0x0807060504030201), 9},
        {2, 74, LOG_ERROR_HEADER_LONG, 0, 0},
        {3, 72, LOG_ERROR_HEADER_SHORT, 0, 0},
        {3, 73, LOG_OK, UINT64_C(0x0807060504030201), 9},
        {3, 74, LOG_ERROR_HEADER_LONG, 0, 0},
        {4, 72, LOG_ERROR_HEADER_SHORT, 0, 0},
        {4, 80, LOG_OK, UINT64_C(0x0807060504030201), 9},
    };
    struct forge plain = {.size = 0};

    (void)state;
    forge_header(&plain, 2);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t payload[128] = {0};
        struct forge f = {.size = 0};
        struct log_reader r;
        struct log_block block;

        memcpy(payload, plain.bytes + LOG_HEAD_SIZE, 64);
        payload[2] = cases[i].minor;
        for (uint8_t at = 0; at < 9; at++)
            payload[64 + at] = (uint8_t)(at + 1);
        forge_block(&f, 0x0001, 0, payload, cases[i].length);
        if (cases[i].error) {
            refused(&f, cases[i].error);
            continue;
        }
        log_reader_init(&r);
        assert_int_equal(log_reader_next(&r, f.bytes, f.size, &block), LOG_BLOCK);
        assert_true(r.header.host_traits == cases[i].traits);
        assert_int_equal(r.header.branch_event, cases[i].event);
    }
}

/* The flag of COMMITS is there if the HEADER names an event, known or not, and no other flag ever is. */
static void flags_of_commits(void **state)
{
    static const uint16_t flags[] = {0, 1, 2, 3, 4, 5, 6, 7, 0x8000, 0x8001};
    /* vCPU 0, POSITION: rip 0, rflags 2, duration 0, two checks, branches 150, no accessed bits */
    static const uint8_t record[] = {0x00, 0, 0, 0, 2, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0xac, 0x02, 0};

    (void)state;
    for (unsigned event = 0; event < 3; event++) {
        for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
            struct forge f = {.size = 0};
            struct log_reader r;
            struct log_block block;
            struct log_commits it;
            struct rec_commit commit;
            uint8_t bytes[sizeof record] = {0};
            size_t length = sizeof record - (event ? 1 : 3);

            memcpy(bytes, record, length);
            forge_counting_header(&f, 1, (uint8_t)event);
            forge_flagged_commits(&f, flags[i], 1, 1, bytes, length + (flags[i] >> 1 & 1));
            if (flags[i] != (event != 0) && flags[i] != 2 + (event != 0)) {
                refused(&f, LOG_ERROR_FLAGS);
                continue;
            }
            log_reader_init(&r);
            assert_int_equal(log_reader_next(&r, f.bytes, f.size, &block), LOG_BLOCK);
            assert_int_equal(log_reader_next(&r, f.bytes, f.size, &block), LOG_BLOCK);
            log_commits_begin(&it, &r, &block);
            assert_int_equal(log_commits_next(&it, &commit), LOG_COMMIT);
            assert_int_equal(commit.chunk.flags, event ? REC_F_BRANCHES : 0);
            assert_int_equal(commit.chunk.position.branches, event ? 150 : 0);
            assert_int_equal(log_commits_next(&it, &commit), LOG_COMMITS_END);
        }
    }
}

static void bad_records_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[24];
        uint8_t length, count;
        enum log_error error;
    } cases[] = {
        {{0x08, 1, 2}, 3, 1, LOG_OK},
        {{0x08, 1, 2}, 3, 2, LOG_ERROR_RECORD_SHORT},
        {{0x08, 1, 2, 0}, 4, 1, LOG_ERROR_COMMITS_LONG},
        {{0x08, 1}, 2, 1, LOG_ERROR_RECORD_SHORT},
        {{0x08, 1, 2}, 3, 0, LOG_ERROR_COMMITS_EMPTY},
        {{0x08, 1, 2}, 3, 200, LOG_ERROR_COMMITS_SHORT},
        {{0x0a, 1, 2}, 3, 1, LOG_ERROR_VCPU_RANGE},
        {{0x88, 0x08, 1, 2}, 4, 1, LOG_ERROR_LAG},
        {{0x88, 0xf8, 1, 2, 0x81, 0x80, 0x80, 0x80, 0x10}, 9, 1, LOG_ERROR_VARINT},
        {{0x88, 0xf8, 1, 2, 0x81, 0x00}, 6, 1, LOG_ERROR_VARINT},
        {{0x88, 0x04, 1, 2}, 4, 1, LOG_ERROR_REP},
        {{0x88, 0x02, 1, 2, 0x07, 0x20}, 6, 1, LOG_ERROR_EVENT_KIND},
        {{0x88, 0x02, 1, 2, 0x11, 0x20}, 6, 1, LOG_ERROR_RESERVED_BITS},
        {{0x88, 0x02, 1, 2, 0x81, 0x20}, 6, 1, LOG_ERROR_RECORD_SHORT},
        {{0x48, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 13, 1, LOG_OK},
        {{0x48, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, 13, 1, LOG_ERROR_VARINT},
        {{0x48, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0},
         14,
         1,
         LOG_ERROR_VARINT},
        {{0x00, 1, 2, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 14, 1, LOG_OK},
        {{0x00, 1, 2, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7}, 13, 1, LOG_ERROR_RECORD_SHORT},
        {{0x80, 0x01, 1, 2, 1, 'x'}, 6, 1, LOG_OK},
        {{0x84, 0x01, 1, 2, 1, 'x'}, 6, 1, LOG_ERROR_DEVICE},
        {{0x88, 0x01, 1, 2, 1, 'x'}, 6, 1, LOG_ERROR_RESERVED_BITS},
        {{0xc0, 0x01, 1, 2, 1, 'x'}, 6, 1, LOG_ERROR_RESERVED_BITS},
        {{0x80, 0x03, 1, 2, 1, 'x'}, 6, 1, LOG_ERROR_RESERVED_BITS},
        {{0x80, 0x01, 1, 2, 0}, 5, 1, LOG_ERROR_INPUT_LENGTH},
        {{0x80, 0x01, 1, 2, 0x81, 0x02, 'x'}, 7, 1, LOG_ERROR_INPUT_LENGTH},
        {{0x80, 0x01, 1, 2, 2, 'x'}, 6, 1, LOG_ERROR_RECORD_SHORT},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct forge f = {.size = 0};

        forge_header(&f, 2);
        forge_commits(&f, 1, cases[i].count, cases[i].bytes, cases[i].length);
        refused(&f, cases[i].error);
    }
}

static void too_many_events_are_refused(void **state)
{
    uint8_t record[4 + 2 * (REC_MAX_EVENTS + 1)] = {0x88, 0x02, 1, 2};
    struct forge f;

    (void)state;
    for (unsigned events = REC_MAX_EVENTS; events <= REC_MAX_EVENTS + 1; events++) {
        for (unsigned i = 0; i < events; i++) {
            record[4 + 2 * i] = i + 1 < events ? 0x80 : 0;
            record[5 + 2 * i] = (uint8_t)i;
        }
        f = (struct forge){.size = 0};
        forge_header(&f, 1);
        forge_commits(&f, 1, 1, record, 4 + 2 * events);
        refused(&f, events > REC_MAX_EVENTS ? LOG_ERROR_EVENT_COUNT : LOG_OK);
    }
}

/* The TRAILER's payload from offset `at` on is replaced, and its length changed by `more`. */
static void trailer_case(size_t at, uint8_t value, int more, enum log_error error)
{
    struct forge plain = {.size = 0}, f = {.size = 0};
    uint8_t payload[128] = {0};
    uint32_t length = LOG_BLOCK_EXTRA;

    forge_trailer(&plain, 2, 0);
    length = (uint32_t)plain.size - length;
    memcpy(payload, plain.bytes + LOG_HEAD_SIZE, length);
    payload[at] = value;
    forge_header(&f, 2);
    forge_block(&f, 0x0003, 0, payload, (uint32_t)((int)length + more));
    refused(&f, error);
}

static void bad_trailers_are_refused(void **state)
{
    (void)state;
    trailer_case(0, 4, 0, LOG_OK);
    trailer_case(0, 7, 0, LOG_ERROR_OUTCOME);
    trailer_case(1, 2, 0, LOG_ERROR_VCPU_RANGE);
    trailer_case(2, 3, 0, LOG_ERROR_TRAILER_VCPUS);
    trailer_case(3, 1, 0, LOG_ERROR_TRAILER_LENGTH);
    trailer_case(3, 1, 1, LOG_ERROR_TEXT);
    trailer_case(4, 1, -40, LOG_ERROR_TRAILER_LENGTH);
    trailer_case(4, 1, 1, LOG_ERROR_TRAILER_LENGTH);
    trailer_case(8, 1, 0, LOG_ERROR_TRAILER_COMMITS);
}

static void bad_pages_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[16];
        uint8_t length;
        enum log_error error;
    } cases[] = {
        {{1, 0, 0, 0}, 4, LOG_OK},
        {{1, 2, 0, 1, 5, 9, 0, 3, 0x80, 4, 1, 1}, 12, LOG_OK},
        {{1, 2, 0, 1, 5, 9, 0, 0xff, 3, 0, 1, 1}, 12, LOG_OK},          /* by: all bits */
        {{1, 2, 0, 1, 5, 9, 0, 0x80, 4, 0, 1, 1}, 12, LOG_ERROR_PAGES}, /* by: one more */
        {{1, 2, 0, 1, 5, 9, 0, 3, 0x81, 4, 1, 1}, 12, LOG_ERROR_PAGES}, /* word 513 */
        {{1, 2, 0, 1, 5, 9, 0, 3, 0, 1}, 10, LOG_ERROR_PAGES},          /* a cause is missing */
        {{1, 2, 0, 1, 5, 9, 0, 3, 0, 1, 1, 1}, 12, LOG_ERROR_PAGES},    /* one too many */
        {{1, 2, 0, 33}, 4, LOG_ERROR_PAGES},
        {{1, 2, 0, 2, 5, 9, 0, 3, 0, 1, 1}, 11, LOG_ERROR_PAGES},
        {{1, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0}, 13, LOG_OK},
        {{1, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0}, 13, LOG_ERROR_PAGES},
        {{9, 0, 0, 0}, 4, LOG_ERROR_PAGES},
        {{0}, 0, LOG_ERROR_PAGES},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct forge f = {.size = 0};

        forge_header(&f, 2);
        forge_block(&f, 0x8005, 0, cases[i].bytes, cases[i].length);
        refused(&f, cases[i].error);
    }
}

static void bad_counters_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[8];
        uint8_t length;
        enum log_error error;
    } cases[] = {
        {{0, 0}, 2, LOG_OK},
        {{1, 2, 5, 0x80, 1}, 5, LOG_OK},
        {{1, 2, 5}, 3, LOG_ERROR_COUNTERS},
        {{1, 1, 5, 6}, 4, LOG_ERROR_COUNTERS},
        {{255, 255, 5, 6}, 4, LOG_ERROR_COUNTERS},
        {{1}, 1, LOG_ERROR_COUNTERS},
        {{0}, 0, LOG_ERROR_COUNTERS},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct forge f = {.size = 0};

        forge_header(&f, 2);
        forge_block(&f, 0x8003, 0, cases[i].bytes, cases[i].length);
        refused(&f, cases[i].error);
    }
}

static void bad_aborts_are_refused(void **state)
{
    char reason[LOG_REASON_MAX + 1];
    struct forge f = {.size = 0};

    (void)state;
    memset(reason, 'x', sizeof reason);
    forge_header(&f, 2);
    forge_block(&f, 0x0004, 0, reason, LOG_REASON_MAX);
    assert_int_equal(read_all(f.bytes, f.size).status, LOG_END);
    assert_false(read_all(f.bytes, f.size).complete);
    f = (struct forge){.size = 0};
    forge_header(&f, 2);
    forge_block(&f, 0x0004, 0, reason, LOG_REASON_MAX + 1);
    refused(&f, LOG_ERROR_TEXT);
}

/* Random payloads in sound blocks: any answer will do, but there must be one, within bounds. */
static void random_payloads_do_no_harm(void **state)
{
    uint64_t seed = 17;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct forge f = {.size = 0};
        uint8_t bytes[100];
        size_t length = random_below(&seed, sizeof bytes);

        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)(random_next(&seed) >> random_below(&seed, 8));
        forge_header(&f, 8);
        if (round % 4)
            forge_commits(&f, 1, 1 + (uint32_t)random_below(&seed, 20), bytes, length);
        else
            forge_block(&f, (uint16_t)(1 + random_below(&seed, 4)), 0, bytes, (uint32_t)length);
        read_all(f.bytes, f.size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere_it_is_good_to_its_last_whole_block),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(blocks_in_wrong_order_are_refused),
        cmocka_unit_test(unknown_blocks_are_skipped_or_refused),
        cmocka_unit_test(forged_lengths_are_refused),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(headers_of_other_minor_versions),
        cmocka_unit_test(flags_of_commits),
        cmocka_unit_test(bad_records_are_refused),
        cmocka_unit_test(too_many_events_are_refused),
        cmocka_unit_test(bad_trailers_are_refused),
        cmocka_unit_test(bad_counters_are_refused),
        cmocka_unit_test(bad_pages_are_refused),
        cmocka_unit_test(bad_aborts_are_refused),
        cmocka_unit_test(random_payloads_do_no_harm),
    };

    return cmocka_run_group_tests_name("log_damage", tests, NULL, NULL);
}
