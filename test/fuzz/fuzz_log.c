/*
 * Any bytes as a log, and any bytes as a payload of a sound block: the reader stays inside them, comes to an
 * end, and what it takes for good writes back to a log that reads the same.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "replay/log_codec.h"
#include "test/unit/log_forge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REWRITTEN_MAX (64u << 10)

/* Writes the records of a block anew, as far as they are good, and compares what comes back. */
static void rewrite(const struct log_reader *r, const struct log_block *block)
{
    static uint8_t buffer[REWRITTEN_MAX];
    struct log_commits it, again;
    struct log_writer w;
    struct log_reader r2;
    struct log_block b2;
    struct rec_commit commit, found;

    if (block->first != 1)
        return;
    log_writer_init(&w, buffer, sizeof buffer, REWRITTEN_MAX / 4);
    HV_CHECK(log_writer_header(&w, &r->header));
    log_commits_begin(&it, r, block);
    while (log_writer_can_commit(&w) && w.block == 1 && log_commits_next(&it, &commit) == LOG_COMMIT)
        HV_CHECK(log_writer_commit(&w, &commit, block->digest));
    log_writer_flush(&w);
    log_reader_init(&r2);
    HV_CHECK(log_reader_next(&r2, buffer, w.ready, &b2) == LOG_BLOCK);
    if (log_reader_next(&r2, buffer, w.ready, &b2) != LOG_BLOCK)
        return;
    log_commits_begin(&it, r, block);
    log_commits_begin(&again, &r2, &b2);
    memset(&commit, 0, sizeof commit);
    memset(&found, 0, sizeof found);
    while (log_commits_next(&again, &found) == LOG_COMMIT) {
        HV_CHECK(log_commits_next(&it, &commit) == LOG_COMMIT);
        /* Both were zeroed: NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        HV_CHECK(!memcmp(&commit, &found, sizeof commit));
    }
    HV_CHECK(again.error == LOG_OK);
}

static void read_log(const uint8_t *data, size_t size)
{
    struct log_reader r;
    struct log_block block;
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    struct rec_pages pages;
    unsigned vcpus, blocks = 0;
    enum log_status status;

    log_reader_init(&r);
    while ((status = log_reader_next(&r, data, size, &block)) == LOG_BLOCK) {
        HV_CHECK(++blocks <= size / LOG_BLOCK_EXTRA);
        HV_CHECK(block.payload >= data && block.payload + block.length <= data + size);
        if (block.type == LOG_TYPE_COMMITS)
            rewrite(&r, &block);
        if (block.type == LOG_TYPE_COUNTERS)
            log_decode_counters(&block, counters, &vcpus);
        if (block.type == LOG_TYPE_PAGES && log_decode_pages(&block, &pages) == LOG_OK)
            HV_CHECK(pages.vcpus <= MAX_VCPUS && pages.count <= REC_PAGES_MAX);
    }
    HV_CHECK((status == LOG_ERROR) == (r.error != LOG_OK) && r.error < LOG_ERROR_COUNT);
    HV_CHECK(r.offset <= size && (status != LOG_END || r.offset == size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {LOG_TYPE_HEADER, LOG_TYPE_COMMITS,  LOG_TYPE_TRAILER,
                                     LOG_TYPE_ABORT,  LOG_TYPE_COUNTERS, LOG_TYPE_PAGES};
    static struct forge f;

    read_log(data, size);
    if (size < 2 || size > FORGE_SIZE / 2)
        return 0;
    f.size = f.number = 0;
    if (data[0] % ARRAY_LEN(types))
        forge_counting_header(&f, MAX_VCPUS, data[0] >> 7);
    if (types[data[0] % ARRAY_LEN(types)] == LOG_TYPE_COMMITS)
        forge_flagged_commits(&f, data[0] >> 7, 1, data[1], data + 2, size - 2);
    else
        forge_block(&f, types[data[0] % ARRAY_LEN(types)], 0, data + 1, (uint32_t)size - 1);
    read_log(f.bytes, f.size);
    return 0;
}
