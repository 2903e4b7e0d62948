/* The log codec: what was written comes back, whatever the block sizes and however the bytes arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/log_codec.h"
#include "test/unit/log_random.h"

#define BUFFER_SIZE (1u << 20)

struct log_bytes {
    uint8_t *bytes;
    size_t size, capacity;
};

static void take(struct log_bytes *log, struct log_writer *w)
{
    size_t length;
    const uint8_t *bytes = log_writer_peek(w, &length);

    if (log->size + length > log->capacity) {
        log->capacity = (log->size + length) * 2;
        log->bytes = realloc(log->bytes, log->capacity);
        assert_non_null(log->bytes);
    }
    if (length)
        memcpy(log->bytes + log->size, bytes, length);
    log->size += length;
    log_writer_consume(w, length);
}

static void assert_commit_equal(const struct rec_commit *a, const struct rec_commit *b)
{
    assert_int_equal(a->kind, b->kind);
    if (a->kind == REC_INPUT) {
        assert_int_equal(a->input.device, b->input.device);
        assert_int_equal(a->input.length, b->input.length);
        assert_int_equal(a->input.digest, b->input.digest);
        assert_memory_equal(a->input.data, b->input.data, a->input.length);
        return;
    }
    assert_memory_equal(&a->chunk, &b->chunk, offsetof(struct rec_chunk, events));
    assert_memory_equal(a->chunk.events, b->chunk.events, a->chunk.event_count * sizeof(struct rec_event));
}

/* Logs of even seeds have counts of branches. */
static uint8_t event_of(uint64_t seed)
{
    return seed % 2 ? REC_BRANCHES_NONE : REC_BRANCHES_CONDITIONAL;
}

static void next_commit(struct rec_commit *c, uint64_t *state, unsigned vcpus, uint64_t seq, uint8_t event)
{
    random_commit(c, state, vcpus, seq);
    if (event && c->kind == REC_CHUNK && c->chunk.end == REC_END_POSITION) {
        c->chunk.flags |= REC_F_BRANCHES;
        c->chunk.position.branches = random_sized(state);
    }
}

/* Reads every commit of `log` and compares with what the seed gives. */
static void assert_log_is(const struct log_bytes *log, uint64_t seed, unsigned vcpus, uint64_t commits)
{
    struct log_reader r;
    struct log_block block;
    struct log_commits it;
    struct rec_commit expected, found;
    enum log_status status;
    uint64_t seen = 0;
    uint8_t event = event_of(seed);

    log_reader_init(&r);
    while ((status = log_reader_next(&r, log->bytes, log->size, &block)) == LOG_BLOCK) {
        assert_int_equal(r.header.branch_event, event);
        if (block.type != LOG_TYPE_COMMITS)
            continue;
        log_commits_begin(&it, &r, &block);
        while (log_commits_next(&it, &found) == LOG_COMMIT) {
            next_commit(&expected, &seed, vcpus, ++seen, event);
            assert_int_equal(it.seq, seen);
            assert_commit_equal(&expected, &found);
        }
        assert_int_equal(it.error, LOG_OK);
        assert_int_equal(block.digest, seen * 3);
    }
    assert_int_equal(status, LOG_END);
    assert_true(r.complete);
    assert_int_equal(seen, commits);
    assert_int_equal(r.next, commits + 1);
}

static void round_trip(uint64_t seed, size_t target, uint64_t commits, uint64_t flush_one_in)
{
    unsigned vcpus = 1 + (unsigned)(seed % MAX_VCPUS);
    struct rec_header header = plain_header(vcpus);
    struct rec_trailer trailer = {.outcome = REC_OUTCOME_EXIT, .commits = commits, .reason = "exit 0"};
    uint64_t records = seed, other = ~seed;
    struct log_bytes log = {0};
    struct log_writer w;
    struct rec_commit c;
    uint8_t *buffer = malloc(LOG_WRITER_BUFFER_MIN);

    header.branch_event = event_of(seed);
    log_writer_init(&w, buffer, LOG_WRITER_BUFFER_MIN, target);
    assert_true(log_writer_header(&w, &header));
    for (uint64_t seq = 1; seq <= commits; seq++) {
        next_commit(&c, &records, vcpus, seq, header.branch_event);
        if (!log_writer_can_commit(&w))
            take(&log, &w);
        assert_true(log_writer_commit(&w, &c, seq * 3));
        if (!random_below(&other, flush_one_in))
            log_writer_flush(&w);
        if (!random_below(&other, 50))
            take(&log, &w);
    }
    log_writer_flush(&w);
    take(&log, &w);
    assert_true(log_writer_trailer(&w, &trailer));
    take(&log, &w);
    assert_int_equal(log.size, w.total);
    assert_log_is(&log, seed, vcpus, commits);
    free(log.bytes);
    free(buffer);
}

static void random_records_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        round_trip(seed, 64 << seed % 6, 1500, 1 + seed % 300);
}

static void fought_over_pages_come_back(void **state)
{
    static uint8_t buffer[65536];
    static struct rec_pages pages, found;
    struct rec_header header = plain_header(MAX_VCPUS);
    uint64_t seed = 5;
    struct log_reader r;
    struct log_block block;
    struct log_writer w;
    size_t size;

    (void)state;
    log_writer_init(&w, buffer, sizeof buffer, 0);
    assert_true(log_writer_header(&w, &header));
    pages = (struct rec_pages){.vcpus = MAX_VCPUS};
    assert_true(log_writer_pages(&w, &pages)); /* nothing to write */
    pages.count = REC_PAGES_MAX;
    pages.unlisted = UINT64_MAX;
    for (unsigned i = 0; i < REC_PAGES_MAX; i++) {
        pages.page[i].gpn = (uint32_t)(UINT32_MAX >> random_below(&seed, 32));
        for (unsigned v = 0; v < MAX_VCPUS; v++) {
            struct rec_page_row *row = &pages.page[i].row[v];
            row->writes = random_sized(&seed);
            row->missed = random_sized(&seed);
            row->by = (uint16_t)random_below(&seed, 2 * REC_BY_DEVICE);
            row->word = (uint16_t)random_below(&seed, REC_WORD_NONE + 1);
            for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
                row->cause[k] = random_sized(&seed);
        }
    }
    assert_true(log_writer_pages(&w, &pages));
    log_writer_peek(&w, &size);

    log_reader_init(&r);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(block.type, LOG_TYPE_PAGES);
    assert_true(block.length <= log_pages_need(&pages));
    assert_int_equal(log_decode_pages(&block, &found), LOG_OK);
    assert_memory_equal(&found, &pages, sizeof pages);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_NEED_MORE);
}

static void whole_header_trailer_and_counters_come_back(void **state)
{
    static uint8_t buffer[LOG_WRITER_BUFFER_MIN];
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX], found[MAX_VCPUS][REC_COUNT_MAX];
    struct rec_header header = plain_header(MAX_VCPUS);
    struct rec_trailer trailer = {.outcome = REC_OUTCOME_REFUSED,
                                  .vcpu = 7,
                                  .status = 0xdeadbeef,
                                  .memory_digest = 1,
                                  .console_digest = 2,
                                  .console_bytes = 3};
    struct log_reader r;
    struct log_block block;
    struct log_writer w;
    unsigned vcpus;
    size_t size;

    (void)state;
    memset(header.guest_command_line, 'c', REC_COMMAND_LINE_MAX - 1);
    memset(header.build_id, 'b', REC_BUILD_ID_MAX - 1);
    memset(trailer.reason, 'r', sizeof trailer.reason - 1);
    for (unsigned i = 0; i < MAX_VCPUS; i++)
        trailer.vcpu_digest[i] = UINT64_MAX - i;
    for (unsigned i = 0; i < MAX_VCPUS * REC_COUNT_MAX; i++)
        counters[i / REC_COUNT_MAX][i % REC_COUNT_MAX] = UINT64_MAX >> i % 64;
    log_writer_init(&w, buffer, sizeof buffer, 0);
    assert_true(log_writer_header(&w, &header));
    assert_true(log_writer_counters(&w, (const uint64_t(*)[REC_COUNT_MAX])counters));
    assert_true(log_writer_console(&w, "hello", 5));
    assert_true(log_writer_console(&w, "", 0));
    assert_true(log_writer_message(&w, "a message", 9));
    assert_true(log_writer_trailer(&w, &trailer));
    assert_false(log_writer_message(&w, "late", 4));
    assert_false(log_writer_abort(&w, "late"));
    log_writer_peek(&w, &size);

    log_reader_init(&r);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_memory_equal(&r.header, &header, sizeof header);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(log_decode_counters(&block, found, &vcpus), LOG_OK);
    assert_int_equal(vcpus, MAX_VCPUS);
    assert_memory_equal(found, counters, sizeof counters);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(block.type, LOG_TYPE_CONSOLE);
    assert_memory_equal(block.payload, "hello", block.length);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(block.type, LOG_TYPE_MESSAGE);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_END);
    assert_true(r.complete);
    assert_memory_equal(&r.trailer, &trailer, sizeof trailer);
}

/* Fills a buffer until it takes nothing more, and then lets the writer die. */
static void fill_and_abort(size_t buffer_size, size_t target, bool flush, const char *reason)
{
    static const char text[64] = "some message";
    struct rec_header header = plain_header(2);
    struct rec_commit c = {.kind = REC_INPUT, .input = {.length = REC_MAX_INPUT}};
    uint8_t *buffer = malloc(buffer_size);
    struct log_reader r;
    struct log_block block;
    struct log_writer w;
    uint64_t commits;
    size_t size;

    log_writer_init(&w, buffer, buffer_size, target);
    assert_true(log_writer_header(&w, &header));
    for (commits = 0; log_writer_can_commit(&w); commits++)
        assert_true(log_writer_commit(&w, &c, 0));
    assert_false(log_writer_commit(&w, &c, 0));
    while (!flush && log_writer_message(&w, text, sizeof text))
        ;
    while (!flush && log_writer_message(&w, text, 1))
        ;
    log_writer_flush(&w);
    assert_true(log_writer_abort(&w, reason));
    assert_false(log_writer_can_commit(&w));
    log_writer_peek(&w, &size);
    assert_true(size <= buffer_size);
    log_reader_init(&r);
    while (log_reader_next(&r, buffer, size, &block) == LOG_BLOCK)
        ;
    assert_int_equal(r.error, LOG_OK);
    assert_true(r.aborted && !r.complete);
    assert_int_equal(strlen(r.reason), LOG_REASON_MAX);
    assert_int_equal(r.next, commits + 1);
    free(buffer);
}

/* A full buffer refuses commits and blocks without harm, and still has room for the reason it died of. */
static void full_buffer_still_takes_an_abort(void **state)
{
    char reason[LOG_REASON_MAX + 50];

    (void)state;
    memset(reason, 'x', sizeof reason);
    reason[sizeof reason - 1] = 0;
    for (size_t more = 0; more < 600; more++)
        for (unsigned flush = 0; flush < 2; flush++) {
            fill_and_abort(LOG_WRITER_BUFFER_MIN + more, 0, flush, reason);
            fill_and_abort(LOG_WRITER_BUFFER_MIN + more, 500, flush, reason);
        }
}

/* Only whole blocks are handed out, and a reader that follows a growing log sees each as it is done. */
static void growing_log_is_read_as_it_grows(void **state)
{
    static uint8_t buffer[BUFFER_SIZE];
    struct rec_header header = plain_header(2);
    struct log_reader r;
    struct log_block block;
    struct log_writer w;
    struct rec_commit c;
    uint64_t seed = 5, blocks = 0;
    size_t size;

    (void)state;
    log_writer_init(&w, buffer, sizeof buffer, 256);
    assert_true(log_writer_header(&w, &header));
    log_reader_init(&r);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        random_commit(&c, &seed, 2, seq);
        assert_true(log_writer_commit(&w, &c, 0));
    }
    log_writer_peek(&w, &size);
    for (size_t n = 0; n <= size; n++)
        while (log_reader_next(&r, buffer, n, &block) == LOG_BLOCK) {
            assert_int_equal(block.offset + LOG_BLOCK_EXTRA + block.length, n);
            blocks++;
        }
    assert_int_equal(r.error, LOG_OK);
    assert_int_equal(r.offset, size);
    assert_int_equal(blocks, w.block);
    assert_true(w.count > 0);
}

/* The target of FORMAT.md: chunks that end by an exit, with time and light sharing, in 4 bytes. */
static void typical_chunks_take_four_bytes(void **state)
{
    static uint8_t buffer[BUFFER_SIZE];
    struct rec_header header = plain_header(4);
    struct log_writer w;
    uint64_t seed = 11, last[4] = {0};
    const uint64_t chunks = 20000;

    (void)state;
    log_writer_init(&w, buffer, sizeof buffer, 0);
    assert_true(log_writer_header(&w, &header));
    for (uint64_t seq = 1; seq <= chunks; seq++) {
        struct rec_commit c = {.kind = REC_CHUNK};
        unsigned vcpu = (unsigned)random_below(&seed, 4);
        bool shared = !random_below(&seed, 3);

        c.chunk.vcpu = (uint8_t)vcpu;
        c.chunk.end = REC_END_PAUSE;
        c.chunk.digest = (uint16_t)random_next(&seed);
        c.chunk.lag = shared ? 0 : (uint32_t)(seq - 1 - last[vcpu]);
        if (random_below(&seed, 2)) {
            c.chunk.flags = REC_F_TIME;
            c.chunk.time_base = 1000000 + seq * 20 + random_below(&seed, 10);
        }
        last[vcpu] = seq;
        assert_true(log_writer_commit(&w, &c, 0));
    }
    log_writer_flush(&w);
    print_message("%.2f bytes a chunk\n", (double)w.total / (double)chunks);
    assert_true(w.total <= chunks * 4);
}

static void names_and_texts_are_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LOG_ERROR_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(log_error_text(i), log_error_text(j));
    assert_string_equal(log_error_text(LOG_ERROR_COUNT), "unknown error");
    for (unsigned i = 0; i < REC_COUNT_MAX; i++)
        assert_non_null(log_counter_name(i));
    assert_null(log_counter_name(REC_COUNT_MAX));
    assert_string_equal(log_type_name(LOG_TYPE_OUTPUT_COMMIT), "OUTPUT_COMMIT");
    assert_string_equal(log_type_name(0x7fff), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_records_come_back),
        cmocka_unit_test(whole_header_trailer_and_counters_come_back),
        cmocka_unit_test(fought_over_pages_come_back),
        cmocka_unit_test(full_buffer_still_takes_an_abort),
        cmocka_unit_test(growing_log_is_read_as_it_grows),
        cmocka_unit_test(typical_chunks_take_four_bytes),
        cmocka_unit_test(names_and_texts_are_whole),
    };

    return cmocka_run_group_tests_name("log_codec", tests, NULL, NULL);
}
