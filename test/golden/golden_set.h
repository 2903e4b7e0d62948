/*
 * The golden logs: small ones with every part of the format, and ones that must be refused. make_golden
 * writes them to files; test_golden checks that the codec still writes the same and reads them as before.
 */
#ifndef RV_TEST_GOLDEN_GOLDEN_SET_H
#define RV_TEST_GOLDEN_GOLDEN_SET_H

#include "replay/log_codec.h"
#include "test/unit/log_forge.h"
#include "test/unit/log_random.h"

#define GOLDEN_FOLDER "test/golden/"
#define GOLDEN_DAMAGE 200u /* inside the payload of the first COMMITS block of make_complete() */

struct golden {
    const char *name; /* of the file, without .golden */
    void (*make)(struct forge *f);
    enum log_status status; /* how reading ends: LOG_END, LOG_NEED_MORE (cut off) or LOG_ERROR */
    enum log_error error;
    uint64_t commits; /* read before that */
};

static const struct rec_commit golden_commits[] = {
    {.chunk = {.vcpu = 0, .end = REC_END_PAUSE, .digest = 0x1111}},
    {.chunk = {.vcpu = 1, .end = REC_END_IO, .digest = 0x2222, .lag = 1}},
    {.chunk = {.vcpu = 2,
               .end = REC_END_MMIO,
               .digest = 0x3333,
               .lag = 0,
               .flags = REC_F_TIME,
               .time_base = 70000}},
    {.chunk = {.vcpu = 1,
               .end = REC_END_POSITION,
               .flags = REC_F_TIME,
               .digest = 0x4444,
               .lag = 1,
               .time_base = 69990,
               .position = {.rip = UINT64_C(0xffffffff80001234),
                            .rflags = 0x10246,
                            .duration = 123456,
                            .regs_check = 0xdeadbeef,
                            .state_check = 0x00c0ffee}}},
    {.kind = REC_INPUT,
     .input = {.device = REC_DEVICE_CONSOLE, .length = 3, .digest = 0x5555, .data = "ls\n"}},
    {.chunk = {.vcpu = 1,
               .end = REC_END_POSITION,
               .flags = REC_F_REP,
               .digest = 0x6666,
               .lag = 1,
               .position = {.rip = UINT64_C(0xffffffff80001000),
                            .rflags = 0x202,
                            .duration = 120000,
                            .rcx = UINT64_C(0x123456789),
                            .regs_check = 1,
                            .state_check = 2}}},
    {.chunk = {.vcpu = 0,
               .end = REC_END_HLT,
               .digest = 0x7777,
               .lag = 3,
               .event_count = 6,
               .events = {{REC_EVENT_FIXED, 0x31},
                          {REC_EVENT_TIMER, 0xec},
                          {REC_EVENT_NMI, 2},
                          {REC_EVENT_INIT, 0},
                          {REC_EVENT_SIPI, 0x9a},
                          {REC_EVENT_EXTINT, 0x08}}}},
    {.chunk = {.vcpu = 2, .end = REC_END_APIC, .digest = 0x8888, .lag = 4}},
    {.chunk = {.vcpu = 2, .end = REC_END_SHUTDOWN, .digest = 0x9999, .lag = 0}},
    {.kind = REC_INPUT,
     .input = {.device = REC_DEVICE_TIME, .length = 3, .digest = 0xbbbb, .data = {0x40, 0x42, 0x0f}}},
    {.chunk = {.vcpu = 1,
               .end = REC_END_IO,
               .digest = 0xcccc,
               .lag = 1,
               .event_count = 1,
               .events = {{REC_EVENT_LEVEL, 0x41}}}},
    {.kind = REC_INPUT,
     .input = {.device = REC_DEVICE_DATE, .length = 4, .digest = 0xdddd, .data = {0x80, 0xb8, 0x24, 0x69}}},
    {.kind = REC_INPUT, .input = {.device = REC_DEVICE_VIRTIO, .length = 1, .digest = 0xeeee, .data = {3}}},
    {.chunk = {.vcpu = 0, .end = REC_END_REFUSED, .digest = 0xaaaa, .lag = 1}},
};
#define GOLDEN_COMMITS ARRAY_LEN(golden_commits)

static inline void golden_begin(struct log_writer *w, struct forge *f)
{
    struct rec_header header = plain_header(3);

    log_writer_init(w, f->bytes, sizeof f->bytes, 0);
    log_writer_header(w, &header);
}

static inline void golden_finish(struct log_writer *w, struct forge *f)
{
    f->size = w->ready;
    f->number = w->block;
}

/* A running digest that fits the record's 16 bits of it. */
static inline uint64_t golden_digest(const struct rec_commit *commit)
{
    uint16_t slice = commit->kind == REC_CHUNK ? commit->chunk.digest : commit->input.digest;

    return UINT64_C(0xfeedfacecafe0000) | slice;
}

static inline void golden_write_commits(struct log_writer *w, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        log_writer_commit(w, &golden_commits[i], golden_digest(&golden_commits[i]));
    log_writer_flush(w);
}

static inline void make_complete(struct forge *f)
{
    static const uint64_t counters[3][REC_COUNT_MAX] = {{1000000, 4}, {0, 3, 1}, {UINT64_MAX, 2}};
    struct rec_trailer trailer = {.outcome = REC_OUTCOME_REFUSED,
                                  .vcpu = 0,
                                  .status = 7,
                                  .commits = GOLDEN_COMMITS,
                                  .memory_digest = 0x11,
                                  .vcpu_digest = {1, 2, 3},
                                  .console_digest = 0x22,
                                  .console_bytes = 6,
                                  .reason = "RDPMC"};
    struct log_writer w;

    golden_begin(&w, f);
    log_writer_message(&w, "recording", 9);
    golden_write_commits(&w, 0, 6);
    log_writer_console(&w, "hello\n", 6);
    golden_write_commits(&w, 6, GOLDEN_COMMITS);
    log_writer_counters(&w, counters);
    log_writer_trailer(&w, &trailer);
    golden_finish(&w, f);
}

static inline void make_empty(struct forge *f)
{
    struct rec_trailer trailer = {.outcome = REC_OUTCOME_LIMIT};
    struct log_writer w;

    golden_begin(&w, f);
    log_writer_trailer(&w, &trailer);
    golden_finish(&w, f);
}

static inline void make_aborted(struct forge *f)
{
    struct log_writer w;

    golden_begin(&w, f);
    golden_write_commits(&w, 0, 3);
    log_writer_abort(&w, "unexpected page fault");
    golden_finish(&w, f);
}

/* Cut inside the second COMMITS block. */
static inline void make_cut(struct forge *f)
{
    struct log_writer w;

    golden_begin(&w, f);
    golden_write_commits(&w, 0, 6);
    golden_write_commits(&w, 6, GOLDEN_COMMITS);
    golden_finish(&w, f);
    f->size -= 9;
}

/* Positions with counts of branches: the same commits, some of them by a vCPU that counts backwards. */
static inline void make_branches(struct forge *f)
{
    struct rec_header header = plain_header(3);
    struct rec_commit commit;
    struct log_writer w;

    header.branch_event = REC_BRANCHES_CONDITIONAL;
    log_writer_init(&w, f->bytes, sizeof f->bytes, 0);
    log_writer_header(&w, &header);
    for (unsigned i = 0; i < GOLDEN_COMMITS; i++) {
        commit = golden_commits[i];
        if (commit.kind == REC_CHUNK && commit.chunk.end == REC_END_POSITION) {
            commit.chunk.flags |= REC_F_BRANCHES;
            commit.chunk.position.branches = 20000 - 300 * i;
        }
        log_writer_commit(&w, &commit, golden_digest(&commit));
        if (i == 6)
            log_writer_flush(&w);
    }
    log_writer_flush(&w);
    golden_finish(&w, f);
}

static const struct rec_pages golden_pages = {
    .vcpus = 3,
    .count = 2,
    .unlisted = 300,
    .page = {{.gpn = 0x105,
              .row = {{.writes = 70000, .missed = 1, .cause = {5, 0, 1}, .by = 6, .word = 17},
                      {.writes = 2, .cause = {0, 900}, .by = 1, .word = 511},
                      {.cause = {0, 0, 0, 0, UINT64_MAX}, .by = REC_BY_DEVICE, .word = REC_WORD_NONE}}},
             {.gpn = 0xfedcb,
              .row = {{.word = REC_WORD_NONE, .missed = 130},
                      {.writes = UINT64_MAX, .cause = {0, 0, 0, 4}, .by = 5},
                      {.word = REC_WORD_NONE}}}}};

/* The pages that vCPUs fought over, and how a later version with a sixth cause would tell it. */
static inline void make_pages(struct forge *f)
{
    const uint8_t later[] = {2,  6,  9, 1, 0x80, 2,    1, 0, 2, 3, 11, 12, 13, 14,
                             15, 16, 4, 5, 1,    0x80, 4, 0, 0, 0, 0,  0,  7};
    struct log_writer w;

    golden_begin(&w, f);
    golden_write_commits(&w, 0, 3);
    log_writer_pages(&w, &golden_pages);
    golden_finish(&w, f);
    forge_block(f, 0x8005, 0, later, sizeof later);
    forge_trailer(f, 3, 3);
}

static inline void make_bad_pages(struct forge *f)
{
    const uint8_t word[] = {1, 1, 0, 1, 5, 0, 0, 0, 0x81, 4, 0};

    forge_header(f, 1);
    forge_block(f, 0x8005, 0, word, sizeof word);
}

/* Chunks with lists of accessed bits: of both kinds of entries, without bits, and none at all. */
static inline void make_accessed(struct forge *f)
{
    static const uint8_t lists[3][20] = {
        {0x85, 0x02, 2, 3, 0, 0xc8, 0x01, 15, /* page 130, 8 bytes: entry 3, and 16 from 205 on */
         0, 1, 0xff, 0x07, 0,                 /* page 131, 4 bytes: the last one */
         0x85, 0x80, 0x04, 0},                /* page 32902, 8 bytes: as expected */
        {1, 1, 0, 0xff, 0x03},                /* page 0: all entries of 8 bytes */
        {0xfe, 0xff, 0x7f, 0},                /* page 1048575 */
    };
    static const uint8_t lengths[3] = {17, 5, 4};
    struct rec_commit commit;
    struct log_writer w;

    golden_begin(&w, f);
    for (unsigned i = 0; i < GOLDEN_COMMITS; i++) {
        commit = golden_commits[i];
        if (commit.kind == REC_CHUNK && i % 3 == 2 && i < 9) {
            commit.chunk.accessed_bytes = lengths[i / 3];
            memcpy(commit.chunk.accessed, lists[i / 3], lengths[i / 3]);
        }
        log_writer_commit(&w, &commit, golden_digest(&commit));
    }
    log_writer_flush(&w);
    golden_finish(&w, f);
}

/* A run that goes past its page's end. */
static inline void make_bad_accessed(struct forge *f)
{
    forge_header(f, 1);
    forge_flagged_commits(f, 2, 1, 2, "\x08\0\0\0\x08\0\0\5\1\1\xff\3\1", 13);
}

/* A COMMITS block without the flag, in a log whose positions have counts. */
static inline void make_no_flag(struct forge *f)
{
    struct rec_header header = plain_header(1);
    struct log_writer w;

    header.branch_event = REC_BRANCHES_CONDITIONAL;
    log_writer_init(&w, f->bytes, sizeof f->bytes, 0);
    log_writer_header(&w, &header);
    golden_finish(&w, f);
    forge_commits(f, 1, 1, "\x08\0\0", 3);
}

static inline void make_long_lag(struct forge *f)
{
    const uint8_t record[] = {0x88, 0xf8, 0x34, 0x12, 0x23};
    struct forge records = {.size = 0};
    const uint8_t plain[] = {0x08, 0, 0};

    forge_header(f, 1);
    for (unsigned i = 0; i < 40; i++) {
        memcpy(records.bytes + records.size, plain, sizeof plain);
        records.size += sizeof plain;
    }
    memcpy(records.bytes + records.size, record, sizeof record);
    forge_commits(f, 1, 41, records.bytes, records.size + sizeof record);
}

static inline void make_optional(struct forge *f)
{
    forge_header(f, 2);
    forge_block(f, 0xbeef, 0x0101, "from a later version", 20);
    forge_trailer(f, 2, 0);
}

static inline void make_unknown_mandatory(struct forge *f)
{
    forge_header(f, 2);
    forge_block(f, 0x0123, 0, "from a later version", 20);
}

static inline void make_reserved(struct forge *f)
{
    forge_header(f, 2);
    forge_block(f, 0x0006, 0, "", 0);
}

static inline void make_other_major(struct forge *f)
{
    forge_block(f, 0x0001, 0, "\2\0\0\0", 4);
}

static inline void make_no_header(struct forge *f)
{
    forge_trailer(f, 1, 0);
}

static inline void make_damaged(struct forge *f)
{
    make_complete(f);
    f->bytes[GOLDEN_DAMAGE] ^= 0x10;
}

static inline void make_repeated(struct forge *f)
{
    forge_header(f, 2);
    forge_block(f, 0x8002, 0, "once", 4);
    f->number--;
    forge_block(f, 0x8002, 0, "once", 4);
}

static inline void make_missing(struct forge *f)
{
    forge_header(f, 2);
    f->number++;
    forge_block(f, 0x8002, 0, "second", 6);
}

static inline void make_commit_gap(struct forge *f)
{
    forge_header(f, 2);
    forge_commits(f, 1, 1, "\x08\0\0", 3);
    forge_commits(f, 3, 1, "\x08\0\0", 3);
}

static inline void make_vcpu_range(struct forge *f)
{
    forge_header(f, 2);
    forge_commits(f, 1, 2, "\x08\0\0\x0a\0\0", 6);
}

static inline void make_events(struct forge *f)
{
    uint8_t record[4 + 2 * 33] = {0x88, 0x02};

    for (unsigned i = 0; i < 33; i++)
        record[4 + 2 * i] = i < 32 ? 0x80 : 0;
    forge_header(f, 2);
    forge_commits(f, 1, 1, record, sizeof record);
}

static inline void make_varint(struct forge *f)
{
    forge_header(f, 2);
    forge_commits(f, 1, 1, "\x48\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 13);
}

static inline void make_after_end(struct forge *f)
{
    make_empty(f);
    forge_block(f, 0x8002, 0, "late", 4);
}

static const struct golden golden_set[] = {
    {"complete", make_complete, LOG_END, LOG_OK, GOLDEN_COMMITS},
    {"empty", make_empty, LOG_END, LOG_OK, 0},
    {"aborted", make_aborted, LOG_END, LOG_OK, 3},
    {"cut", make_cut, LOG_NEED_MORE, LOG_OK, 6},
    {"long-lag", make_long_lag, LOG_NEED_MORE, LOG_OK, 41},
    {"branches", make_branches, LOG_NEED_MORE, LOG_OK, GOLDEN_COMMITS},
    {"pages", make_pages, LOG_END, LOG_OK, 3},
    {"bad-pages", make_bad_pages, LOG_ERROR, LOG_ERROR_PAGES, 0},
    {"accessed", make_accessed, LOG_NEED_MORE, LOG_OK, GOLDEN_COMMITS},
    {"bad-accessed", make_bad_accessed, LOG_ERROR, LOG_ERROR_ACCESSED, 1},
    {"bad-no-flag", make_no_flag, LOG_ERROR, LOG_ERROR_FLAGS, 0},
    {"optional", make_optional, LOG_END, LOG_OK, 0},
    {"bad-unknown-mandatory", make_unknown_mandatory, LOG_ERROR, LOG_ERROR_UNKNOWN_TYPE, 0},
    {"bad-reserved", make_reserved, LOG_ERROR, LOG_ERROR_RESERVED_TYPE, 0},
    {"bad-other-major", make_other_major, LOG_ERROR, LOG_ERROR_MAJOR, 0},
    {"bad-no-header", make_no_header, LOG_ERROR, LOG_ERROR_NO_HEADER, 0},
    {"bad-damaged", make_damaged, LOG_ERROR, LOG_ERROR_CRC, 0},
    {"bad-repeated", make_repeated, LOG_ERROR, LOG_ERROR_BLOCK_REPEATED, 0},
    {"bad-missing", make_missing, LOG_ERROR, LOG_ERROR_BLOCK_GAP, 0},
    {"bad-commit-gap", make_commit_gap, LOG_ERROR, LOG_ERROR_COMMIT_GAP, 1},
    {"bad-vcpu-range", make_vcpu_range, LOG_ERROR, LOG_ERROR_VCPU_RANGE, 1},
    {"bad-events", make_events, LOG_ERROR, LOG_ERROR_EVENT_COUNT, 0},
    {"bad-varint", make_varint, LOG_ERROR, LOG_ERROR_VARINT, 0},
    {"bad-after-end", make_after_end, LOG_ERROR, LOG_ERROR_AFTER_END, 0},
};

#endif
