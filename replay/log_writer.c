#include "replay/log_writer.h"

#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "replay/log_layout.h"
#include "replay/log_pages.h"
#include "replay/log_record.h"

/* What an ABORT takes, the end of an open block before it included, ... */
#define ABORT_NEED (LOG_TAIL_SIZE + LOG_BLOCK_EXTRA + LOG_REASON_MAX)
/* ... and what all else leaves free: a flush may come between. */
#define RESERVE (LOG_TAIL_SIZE + ABORT_NEED)
/* What a commit may need: the end of an open block, and another one. */
#define COMMIT_NEED (LOG_TAIL_SIZE + LOG_HEAD_SIZE + LOG_COMMITS_SIZE + LOG_RECORD_MAX + RESERVE)

_Static_assert(LOG_HEADER_SIZE + REC_COMMAND_LINE_MAX + REC_BUILD_ID_MAX + LOG_HEADER_TRAITS_SIZE +
                       LOG_HEADER_BRANCH_SIZE + LOG_BLOCK_EXTRA + COMMIT_NEED <
                   LOG_WRITER_BUFFER_MIN,
               "smallest buffer");

void log_writer_init(struct log_writer *w, uint8_t *buffer, size_t size, size_t target)
{
    HV_CHECK(size >= LOG_WRITER_BUFFER_MIN);
    memset(w, 0, sizeof *w);
    w->buffer = buffer;
    w->size = size;
    w->target = target ? target : LOG_BLOCK_TARGET_DEFAULT;
    w->target = MIN(w->target, MIN(size / 4, LOG_PAYLOAD_MAX / 2));
    w->next = 1;
}

/* Makes `need` bytes contiguous after `used`, if the buffer has as many free at all. */
static bool make_room(struct log_writer *w, size_t need)
{
    if (w->size - w->used >= need)
        return true;
    if (w->size - (w->used - w->start) < need)
        return false;
    memmove(w->buffer, w->buffer + w->start, w->used - w->start);
    w->used -= w->start;
    w->ready -= w->start;
    w->start = 0;
    return true;
}

/* Finishes the block that began at `ready` and whose payload ends at `used`. */
static void finish_block(struct log_writer *w, enum log_type type, unsigned flags)
{
    uint8_t *head = w->buffer + w->ready;
    uint32_t length = (uint32_t)(w->used - w->ready - LOG_HEAD_SIZE);
    uint8_t *tail = w->buffer + w->used;

    put32(head + LOG_HEAD_MAGIC, LOG_MAGIC);
    put16(head + LOG_HEAD_TYPE, (uint16_t)type);
    put16(head + LOG_HEAD_FLAGS, (uint16_t)flags);
    put32(head + LOG_HEAD_LENGTH, length);
    put32(head + LOG_HEAD_SEQ, w->block++);
    put32(head + LOG_HEAD_CRC, crc32c(0, head, LOG_HEAD_CRC));
    tail = put32(tail, crc32c(0, head, LOG_HEAD_SIZE + length));
    tail = put32(tail, length);
    w->used = (size_t)(tail - w->buffer);
    w->total += w->used - w->ready;
    w->ready = w->used;
}

/* Payload of a new block of up to `length` bytes, after finishing an open one; NULL without room. */
static uint8_t *begin_block(struct log_writer *w, size_t length, size_t reserve)
{
    if (w->ended || !make_room(w, LOG_TAIL_SIZE + LOG_BLOCK_EXTRA + length + reserve))
        return NULL;
    log_writer_flush(w);
    return w->buffer + w->used + LOG_HEAD_SIZE;
}

static void end_block(struct log_writer *w, enum log_type type, const uint8_t *end)
{
    w->used = (size_t)(end - w->buffer);
    finish_block(w, type, 0);
}

bool log_writer_header(struct log_writer *w, const struct rec_header *header)
{
    size_t command = strnlen(header->guest_command_line, REC_COMMAND_LINE_MAX);
    size_t build = strnlen(header->build_id, REC_BUILD_ID_MAX);
    uint8_t *p;

    HV_CHECK(!w->vcpus && !w->block);
    HV_CHECK(header->vcpus >= 1 && header->vcpus <= MAX_VCPUS);
    HV_CHECK(command < REC_COMMAND_LINE_MAX && build < REC_BUILD_ID_MAX);
    HV_CHECK(header->time_quantum && !(header->time_quantum & (header->time_quantum - 1)));
    p = begin_block(w, LOG_HEADER_SIZE + command + build + LOG_HEADER_TRAITS_SIZE + LOG_HEADER_BRANCH_SIZE,
                    RESERVE);
    if (!p)
        return false;
    p = put16(p, LOG_VERSION_MAJOR);
    p = put16(p, LOG_VERSION_MINOR);
    p = put32(p, header->semantics);
    p = put32(p, header->vcpus);
    p = put32(p, header->cpuid_model);
    p = put64(p, header->memory_bytes);
    p = put64(p, header->image_digest);
    p = put32(p, header->pause_limit);
    p = put32(p, header->time_stride);
    p = put32(p, header->time_quantum);
    p = put16(p, (uint16_t)command);
    p = put16(p, (uint16_t)build);
    p = put64(p, header->tsc_hz);
    p = put64(p, header->seed);
    p = put_bytes(p, header->guest_command_line, command);
    p = put_bytes(p, header->build_id, build);
    p = put64(p, header->host_traits);
    p = put8(p, header->branch_event);
    end_block(w, LOG_TYPE_HEADER, p);
    w->vcpus = header->vcpus;
    w->counts = header->branch_event != REC_BRANCHES_NONE;
    return true;
}

bool log_writer_can_commit(const struct log_writer *w)
{
    return !w->ended && w->size - (w->used - w->start) >= COMMIT_NEED;
}

static void check_chunk(const struct log_writer *w, const struct rec_chunk *chunk)
{
    HV_CHECK(chunk->vcpu < w->vcpus && chunk->end < REC_END_COUNT && chunk->lag < w->next);
    HV_CHECK(!(chunk->flags & ~(REC_F_TIME | REC_F_REP | REC_F_BRANCHES)));
    HV_CHECK(((chunk->flags & REC_F_BRANCHES) != 0) == (w->counts && chunk->end == REC_END_POSITION));
    HV_CHECK(!(chunk->flags & REC_F_REP) || chunk->end == REC_END_POSITION);
    HV_CHECK(chunk->event_count <= REC_MAX_EVENTS && chunk->accessed_bytes <= REC_ACCESSED_MAX);
    for (unsigned i = 0; i < chunk->event_count; i++)
        HV_CHECK(chunk->events[i].kind < REC_EVENT_COUNT);
}

/* The first chunk with accessed bits begins a block in which all chunks have them, most of them none. */
static void begin_commits(struct log_writer *w, bool accessed)
{
    if (w->count && accessed && !w->state.accessed)
        log_writer_flush(w);
    if (w->count)
        return;
    memset(&w->state, 0, sizeof w->state);
    w->state.counts = w->counts;
    w->state.accessed = accessed;
    put64(w->buffer + w->ready + LOG_HEAD_SIZE + LOG_COMMITS_FIRST, w->next);
    w->used += LOG_HEAD_SIZE + LOG_COMMITS_SIZE;
}

bool log_writer_commit(struct log_writer *w, const struct rec_commit *commit, uint64_t digest)
{
    uint8_t *p;

    HV_CHECK(w->vcpus);
    if (commit->kind == REC_CHUNK)
        check_chunk(w, &commit->chunk);
    else
        HV_CHECK(commit->input.device < REC_DEVICE_COUNT && commit->input.length >= 1 &&
                 commit->input.length <= REC_MAX_INPUT);
    if (w->ended || !make_room(w, COMMIT_NEED))
        return false;
    begin_commits(w, commit->kind == REC_CHUNK && commit->chunk.accessed_bytes);
    p = log_record_encode(w->buffer + w->used, commit, w->count, &w->state);
    w->used = (size_t)(p - w->buffer);
    w->count++;
    w->next++;
    w->digest = digest;
    if (w->used - w->ready - LOG_HEAD_SIZE >= w->target)
        log_writer_flush(w);
    return true;
}

void log_writer_flush(struct log_writer *w)
{
    uint8_t *payload;

    if (!w->count)
        return;
    /* Commits leave LOG_TAIL_SIZE free, but perhaps not behind them. */
    HV_CHECK(make_room(w, LOG_TAIL_SIZE));
    payload = w->buffer + w->ready + LOG_HEAD_SIZE;
    put64(payload + LOG_COMMITS_DIGEST, w->digest);
    put32(payload + LOG_COMMITS_COUNT, w->count);
    w->count = 0;
    finish_block(w, LOG_TYPE_COMMITS,
                 (w->counts ? LOG_COMMITS_BRANCHES : 0) | (w->state.accessed ? LOG_COMMITS_ACCESSED : 0));
}

static bool put_block(struct log_writer *w, enum log_type type, const void *bytes, size_t length)
{
    uint8_t *p;

    HV_CHECK(w->vcpus && length <= LOG_PAYLOAD_MAX);
    if (!length)
        return true;
    p = begin_block(w, length, RESERVE);
    if (!p)
        return false;
    end_block(w, type, put_bytes(p, bytes, length));
    return true;
}

bool log_writer_console(struct log_writer *w, const void *bytes, size_t length)
{
    return put_block(w, LOG_TYPE_CONSOLE, bytes, length);
}

bool log_writer_message(struct log_writer *w, const char *text, size_t length)
{
    return put_block(w, LOG_TYPE_MESSAGE, text, length);
}

bool log_writer_detail(struct log_writer *w, const void *entries, size_t length)
{
    return put_block(w, LOG_TYPE_DETAIL, entries, length);
}

bool log_writer_counters(struct log_writer *w, const uint64_t counters[][REC_COUNT_MAX])
{
    uint8_t *p;

    HV_CHECK(w->vcpus);
    p = begin_block(w, 2 + (size_t)w->vcpus * REC_COUNT_MAX * LOG_VARINT_MAX, RESERVE);
    if (!p)
        return false;
    p = put8(p, (uint8_t)w->vcpus);
    p = put8(p, REC_COUNT_MAX);
    for (unsigned vcpu = 0; vcpu < w->vcpus; vcpu++)
        for (unsigned i = 0; i < REC_COUNT_MAX; i++)
            p = put_varint(p, counters[vcpu][i]);
    end_block(w, LOG_TYPE_COUNTERS, p);
    return true;
}

bool log_writer_pages(struct log_writer *w, const struct rec_pages *pages)
{
    uint8_t *p;

    HV_CHECK(w->vcpus && pages->vcpus == w->vcpus && pages->count <= REC_PAGES_MAX);
    if (!pages->count)
        return true;
    p = begin_block(w, log_pages_need(pages), RESERVE);
    if (!p)
        return false;
    end_block(w, LOG_TYPE_PAGES, log_pages_encode(p, pages));
    return true;
}

bool log_writer_trailer(struct log_writer *w, const struct rec_trailer *trailer)
{
    size_t reason = strnlen(trailer->reason, sizeof trailer->reason);
    uint8_t *p;

    HV_CHECK(w->vcpus && trailer->vcpu < w->vcpus && trailer->outcome < REC_OUTCOME_COUNT);
    HV_CHECK(reason < sizeof trailer->reason && trailer->commits == w->next - 1);
    p = begin_block(w, LOG_TRAILER_SIZE + w->vcpus * 8 + reason, RESERVE);
    if (!p)
        return false;
    p = put8(p, trailer->outcome);
    p = put8(p, trailer->vcpu);
    p = put8(p, (uint8_t)w->vcpus);
    p = put8(p, (uint8_t)reason);
    p = put32(p, trailer->status);
    p = put64(p, trailer->commits);
    p = put64(p, trailer->memory_digest);
    p = put64(p, trailer->console_digest);
    p = put64(p, trailer->console_bytes);
    for (unsigned vcpu = 0; vcpu < w->vcpus; vcpu++)
        p = put64(p, trailer->vcpu_digest[vcpu]);
    p = put_bytes(p, trailer->reason, reason);
    end_block(w, LOG_TYPE_TRAILER, p);
    w->ended = true;
    return true;
}

bool log_writer_abort(struct log_writer *w, const char *reason)
{
    size_t length = strnlen(reason, LOG_REASON_MAX);
    uint8_t *p = begin_block(w, length, 0);

    if (!p)
        return false;
    end_block(w, LOG_TYPE_ABORT, put_bytes(p, reason, length));
    w->ended = true;
    return true;
}

const uint8_t *log_writer_peek(const struct log_writer *w, size_t *length)
{
    *length = w->ready - w->start;
    return w->buffer + w->start;
}

void log_writer_consume(struct log_writer *w, size_t length)
{
    HV_CHECK(length <= w->ready - w->start);
    w->start += length;
    if (w->start == w->used)
        w->start = w->ready = w->used = 0;
}
