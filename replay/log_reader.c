#include "replay/log_reader.h"

#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "replay/log_layout.h"
#include "replay/log_record.h"

void log_reader_init(struct log_reader *r)
{
    memset(r, 0, sizeof *r);
    r->next = 1;
}

/* A text of `length` bytes, NUL-terminated into `out` of `size` bytes. */
static enum log_error copy_text(char *out, size_t size, const uint8_t *text, size_t length)
{
    if (length >= size || memchr(text, 0, length))
        return LOG_ERROR_TEXT;
    memcpy(out, text, length);
    out[length] = 0;
    return LOG_OK;
}

/* What follows the fixed part: the two texts, and what later minor versions have added. */
static enum log_error read_header_rest(struct rec_header *h, const uint8_t *p, uint32_t length,
                                       uint16_t minor)
{
    uint32_t command = load16(p + LOG_HEADER_COMMAND), build = load16(p + LOG_HEADER_BUILD);
    uint32_t texts = LOG_HEADER_SIZE + command + build;
    uint32_t branch = texts + (minor >= LOG_HEADER_TRAITS_MINOR ? LOG_HEADER_TRAITS_SIZE : 0);
    uint32_t needed = branch + (minor >= LOG_HEADER_BRANCH_MINOR ? LOG_HEADER_BRANCH_SIZE : 0);
    const uint8_t *text = p + LOG_HEADER_SIZE;
    enum log_error error;

    if (length < needed)
        return LOG_ERROR_HEADER_SHORT;
    if (length > needed && minor <= LOG_VERSION_MINOR)
        return LOG_ERROR_HEADER_LONG;
    h->host_traits = branch > texts ? load64(p + texts) : REC_TRAITS_UNKNOWN;
    h->branch_event = needed > branch ? p[branch] : REC_BRANCHES_NONE;
    error = copy_text(h->guest_command_line, sizeof h->guest_command_line, text, command);
    return error ? error : copy_text(h->build_id, sizeof h->build_id, text + command, build);
}

static enum log_error read_header(struct log_reader *r, const struct log_block *block)
{
    const uint8_t *p = block->payload;
    struct rec_header *h = &r->header;

    /* The version comes first and is judged first: another major may have another layout. */
    if (block->length < LOG_HEADER_SEMANTICS)
        return LOG_ERROR_HEADER_SHORT;
    if (load16(p + LOG_HEADER_MAJOR) != LOG_VERSION_MAJOR)
        return LOG_ERROR_MAJOR;
    if (block->length < LOG_HEADER_SIZE)
        return LOG_ERROR_HEADER_SHORT;
    r->minor = load16(p + LOG_HEADER_MINOR);
    h->semantics = load32(p + LOG_HEADER_SEMANTICS);
    h->vcpus = load32(p + LOG_HEADER_VCPUS);
    h->cpuid_model = load32(p + LOG_HEADER_CPUID_MODEL);
    h->memory_bytes = load64(p + LOG_HEADER_MEMORY);
    h->image_digest = load64(p + LOG_HEADER_IMAGE_DIGEST);
    h->pause_limit = load32(p + LOG_HEADER_PAUSE_LIMIT);
    h->time_stride = load32(p + LOG_HEADER_TIME_STRIDE);
    h->time_quantum = load32(p + LOG_HEADER_TIME_QUANTUM);
    h->tsc_hz = load64(p + LOG_HEADER_TSC_HZ);
    h->seed = load64(p + LOG_HEADER_SEED);
    if (!h->vcpus || h->vcpus > MAX_VCPUS)
        return LOG_ERROR_VCPUS;
    if (!h->time_quantum || h->time_quantum & (h->time_quantum - 1))
        return LOG_ERROR_TIME_QUANTUM;
    return read_header_rest(h, p, block->length, r->minor);
}

static enum log_error read_trailer(struct log_reader *r, const struct log_block *block)
{
    const uint8_t *p = block->payload;
    struct rec_trailer *t = &r->trailer;
    uint32_t fixed = LOG_TRAILER_SIZE + r->header.vcpus * 8;

    if (block->length < LOG_TRAILER_SIZE)
        return LOG_ERROR_TRAILER_LENGTH;
    if (p[LOG_TRAILER_VCPUS] != r->header.vcpus)
        return LOG_ERROR_TRAILER_VCPUS;
    if (block->length != fixed + p[LOG_TRAILER_REASON])
        return LOG_ERROR_TRAILER_LENGTH;
    if (p[LOG_TRAILER_OUTCOME] >= REC_OUTCOME_COUNT)
        return LOG_ERROR_OUTCOME;
    if (p[LOG_TRAILER_VCPU] >= r->header.vcpus)
        return LOG_ERROR_VCPU_RANGE;
    t->outcome = p[LOG_TRAILER_OUTCOME];
    t->vcpu = p[LOG_TRAILER_VCPU];
    t->status = load32(p + LOG_TRAILER_STATUS);
    t->commits = load64(p + LOG_TRAILER_COMMITS);
    t->memory_digest = load64(p + LOG_TRAILER_MEMORY);
    t->console_digest = load64(p + LOG_TRAILER_CONSOLE_DIGEST);
    t->console_bytes = load64(p + LOG_TRAILER_CONSOLE_BYTES);
    for (unsigned vcpu = 0; vcpu < r->header.vcpus; vcpu++)
        t->vcpu_digest[vcpu] = load64(p + LOG_TRAILER_SIZE + vcpu * 8);
    if (t->commits != r->next - 1)
        return LOG_ERROR_TRAILER_COMMITS;
    return copy_text(t->reason, sizeof t->reason, p + fixed, p[LOG_TRAILER_REASON]);
}

static enum log_error read_commits(struct log_reader *r, struct log_block *block)
{
    unsigned counts = r->header.branch_event == REC_BRANCHES_NONE ? 0 : LOG_COMMITS_BRANCHES;

    if ((block->flags & ~LOG_COMMITS_ACCESSED) != counts)
        return LOG_ERROR_FLAGS;
    if (block->length < LOG_COMMITS_SIZE)
        return LOG_ERROR_COMMITS_SHORT;
    block->first = load64(block->payload + LOG_COMMITS_FIRST);
    block->digest = load64(block->payload + LOG_COMMITS_DIGEST);
    block->count = load32(block->payload + LOG_COMMITS_COUNT);
    if (!block->count)
        return LOG_ERROR_COMMITS_EMPTY;
    if (block->count > block->length - LOG_COMMITS_SIZE)
        return LOG_ERROR_COMMITS_SHORT;
    if (block->first != r->next)
        return block->first > r->next ? LOG_ERROR_COMMIT_GAP : LOG_ERROR_COMMIT_REPEATED;
    r->next += block->count;
    return LOG_OK;
}

/* What a block of its type means to the reader. */
static enum log_error read_block(struct log_reader *r, struct log_block *block)
{
    enum log_error error;

    if (!r->have_header && block->type != LOG_TYPE_HEADER)
        return LOG_ERROR_NO_HEADER;
    switch (block->type) {
    case LOG_TYPE_HEADER:
        if (r->have_header)
            return LOG_ERROR_SECOND_HEADER;
        error = read_header(r, block);
        r->have_header = !error;
        return error;
    case LOG_TYPE_COMMITS:
        return read_commits(r, block);
    case LOG_TYPE_TRAILER:
        error = read_trailer(r, block);
        r->complete = !error;
        return error;
    case LOG_TYPE_ABORT:
        error = copy_text(r->reason, sizeof r->reason, block->payload, block->length);
        r->aborted = !error;
        return error;
    case LOG_TYPE_OUTPUT_COMMIT:
    case LOG_TYPE_CHECKPOINT:
        r->bad_type = block->type;
        return LOG_ERROR_RESERVED_TYPE;
    default:
        if (block->type & LOG_TYPE_OPTIONAL)
            return LOG_OK;
        r->bad_type = block->type;
        return LOG_ERROR_UNKNOWN_TYPE;
    }
}

static bool is_known(uint16_t type)
{
    return type == LOG_TYPE_CONSOLE || type == LOG_TYPE_MESSAGE || type == LOG_TYPE_COUNTERS ||
           type == LOG_TYPE_DETAIL || type == LOG_TYPE_PAGES || !(type & LOG_TYPE_OPTIONAL);
}

/* Checks a whole block at `p`, whose head is sound, and fills *block. */
static enum log_error check_block(const struct log_reader *r, const uint8_t *p, struct log_block *block)
{
    const uint8_t *tail = p + LOG_HEAD_SIZE + block->length;

    if (load32(tail) != crc32c(0, p, LOG_HEAD_SIZE + block->length))
        return LOG_ERROR_CRC;
    if (load32(tail + 4) != block->length)
        return LOG_ERROR_LENGTH_AGAIN;
    block->type = load16(p + LOG_HEAD_TYPE);
    block->flags = load16(p + LOG_HEAD_FLAGS);
    block->number = load32(p + LOG_HEAD_SEQ);
    block->offset = r->offset;
    block->payload = p + LOG_HEAD_SIZE;
    if (block->number != r->block)
        return block->number > r->block ? LOG_ERROR_BLOCK_GAP : LOG_ERROR_BLOCK_REPEATED;
    if (block->flags && is_known(block->type) && block->type != LOG_TYPE_COMMITS)
        return LOG_ERROR_FLAGS;
    return LOG_OK;
}

static enum log_error check_head(const uint8_t *p, size_t left, uint32_t *length)
{
    *length = 0;
    if (left >= 4 && load32(p + LOG_HEAD_MAGIC) != LOG_MAGIC)
        return LOG_ERROR_MAGIC;
    if (left < LOG_HEAD_SIZE)
        return LOG_OK;
    if (load32(p + LOG_HEAD_CRC) != crc32c(0, p, LOG_HEAD_CRC))
        return LOG_ERROR_HEAD_CRC;
    *length = load32(p + LOG_HEAD_LENGTH);
    return *length > LOG_PAYLOAD_MAX ? LOG_ERROR_LENGTH : LOG_OK;
}

enum log_status log_reader_next(struct log_reader *r, const uint8_t *bytes, size_t size,
                                struct log_block *block)
{
    bool ended = r->complete || r->aborted;
    const uint8_t *p;
    size_t left;

    memset(block, 0, sizeof *block);
    if (r->error)
        return LOG_ERROR;
    if (size <= r->offset)
        return ended ? LOG_END : LOG_NEED_MORE;
    p = bytes + r->offset;
    left = size - (size_t)r->offset;
    r->error = ended ? LOG_ERROR_AFTER_END : check_head(p, left, &block->length);
    if (!r->error && left < LOG_BLOCK_EXTRA + block->length)
        return LOG_NEED_MORE;
    if (!r->error)
        r->error = check_block(r, p, block);
    if (!r->error)
        r->error = read_block(r, block);
    if (r->error)
        return LOG_ERROR;
    r->offset += LOG_BLOCK_EXTRA + block->length;
    r->block++;
    return LOG_BLOCK;
}

void log_commits_begin(struct log_commits *it, const struct log_reader *r, const struct log_block *block)
{
    HV_CHECK(block->type == LOG_TYPE_COMMITS && r->have_header);
    memset(it, 0, sizeof *it);
    it->payload = block->payload;
    it->length = block->length;
    it->at = LOG_COMMITS_SIZE;
    it->count = block->count;
    it->first = block->first;
    it->base = block->offset + LOG_HEAD_SIZE;
    it->vcpus = r->header.vcpus;
    it->state.counts = block->flags & LOG_COMMITS_BRANCHES;
    it->state.accessed = block->flags & LOG_COMMITS_ACCESSED;
}

enum log_step log_commits_next(struct log_commits *it, struct rec_commit *commit)
{
    struct log_cursor c = {it->payload + it->at, it->payload + it->length, LOG_OK};

    if (it->error)
        return LOG_COMMITS_ERROR;
    if (it->done == it->count && it->at == it->length)
        return LOG_COMMITS_END;
    it->offset = it->base + it->at;
    if (it->done == it->count) {
        it->error = LOG_ERROR_COMMITS_LONG;
        return LOG_COMMITS_ERROR;
    }
    it->seq = it->first + it->done;
    it->error = log_record_decode(&c, commit, it->done, it->seq, it->vcpus, &it->state);
    if (it->error)
        return LOG_COMMITS_ERROR;
    it->at = (uint32_t)(c.at - it->payload);
    it->done++;
    return LOG_COMMIT;
}

enum log_error log_decode_counters(const struct log_block *block, uint64_t counters[MAX_VCPUS][REC_COUNT_MAX],
                                   unsigned *vcpus)
{
    struct log_cursor c = {block->payload, block->payload + block->length, LOG_OK};
    unsigned rows = get8(&c), columns = get8(&c);

    memset(counters, 0, sizeof(uint64_t) * MAX_VCPUS * REC_COUNT_MAX);
    *vcpus = MIN(rows, MAX_VCPUS);
    for (unsigned row = 0; row < rows; row++)
        for (unsigned column = 0; column < columns; column++) {
            uint64_t value = get_varint(&c, UINT64_MAX);

            if (row < MAX_VCPUS && column < REC_COUNT_MAX)
                counters[row][column] = value;
        }
    return c.error || c.at != c.end ? LOG_ERROR_COUNTERS : LOG_OK;
}
