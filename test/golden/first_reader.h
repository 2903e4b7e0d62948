/* What the codec reads, printed in the words of second_reader.h. */
#ifndef RV_TEST_GOLDEN_FIRST_READER_H
#define RV_TEST_GOLDEN_FIRST_READER_H

#include <stdio.h>

#include "replay/accessed.h"
#include "replay/log_codec.h"

typedef unsigned long long first_u64;

static inline void first_header(const struct rec_header *h, FILE *out)
{
    fprintf(out, "HEADER semantics=%u vcpus=%u cpuid=%u memory=%llu image=%llx", h->semantics, h->vcpus,
            h->cpuid_model, (first_u64)h->memory_bytes, (first_u64)h->image_digest);
    fprintf(out, " pause=%u stride=%u quantum=%u tsc=%llu seed=%llu", h->pause_limit, h->time_stride,
            h->time_quantum, (first_u64)h->tsc_hz, (first_u64)h->seed);
    fprintf(out, " command=\"%s\" build=\"%s\"", h->guest_command_line, h->build_id);
    if (h->host_traits == REC_TRAITS_UNKNOWN)
        fprintf(out, " traits unknown");
    else
        fprintf(out, " traits=%llx", (first_u64)h->host_traits);
    fprintf(out, " event=%u\n", h->branch_event);
}

static inline void first_accessed(const struct rec_chunk *c, FILE *out)
{
    const uint8_t *at = c->accessed;
    struct accessed_page page = {0};

    while (accessed_next(&at, c->accessed + c->accessed_bytes, &page)) {
        struct accessed_page runs = page;
        uint32_t next = 0, from, count;
        fprintf(out, " accessed=%u/%u", page.gpn, page.entry_bytes);
        while (accessed_run(&runs, &next, &from, &count))
            fprintf(out, ":%u+%u", from, count);
    }
}

static inline void first_chunk(const struct rec_chunk *c, FILE *out)
{
    const struct rec_position *p = &c->position;

    fprintf(out, " chunk vcpu=%u end=%u digest=%04x lag=%u", c->vcpu, c->end, c->digest, c->lag);
    if (c->flags & REC_F_TIME)
        fprintf(out, " time=%llu", (first_u64)c->time_base);
    for (unsigned i = 0; i < c->event_count; i++)
        fprintf(out, " event=%u:%u", c->events[i].kind, c->events[i].vector);
    if (c->end == REC_END_POSITION)
        fprintf(out, " rip=%llx rflags=%llx duration=%llu regs=%08x state=%08x", (first_u64)p->rip,
                (first_u64)p->rflags, (first_u64)p->duration, p->regs_check, p->state_check);
    if (c->flags & REC_F_REP)
        fprintf(out, " rcx=%llx", (first_u64)p->rcx);
    if (c->flags & REC_F_BRANCHES)
        fprintf(out, " branches=%llu", (first_u64)p->branches);
    first_accessed(c, out);
    fprintf(out, "\n");
}

static inline void first_bytes(const char *name, const uint8_t *bytes, size_t length, FILE *out)
{
    fprintf(out, "%s", name);
    for (size_t i = 0; i < length; i++)
        fprintf(out, "%02x", bytes[i]);
    fprintf(out, "\n");
}

static inline enum log_error first_commits(const struct log_reader *r, const struct log_block *block,
                                           FILE *out)
{
    struct log_commits it;
    struct rec_commit commit;

    fprintf(out, "COMMITS first=%llu digest=%llx\n", (first_u64)block->first, (first_u64)block->digest);
    log_commits_begin(&it, r, block);
    while (log_commits_next(&it, &commit) == LOG_COMMIT) {
        fprintf(out, "%llu", (first_u64)it.seq);
        if (commit.kind == REC_CHUNK) {
            first_chunk(&commit.chunk, out);
            continue;
        }
        fprintf(out, " input %u digest=%04x", commit.input.device, commit.input.digest);
        first_bytes(" data=", commit.input.data, commit.input.length, out);
    }
    return it.error;
}

static inline enum log_error first_counters(const struct log_block *block, FILE *out)
{
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    unsigned vcpus;
    enum log_error error = log_decode_counters(block, counters, &vcpus);

    fprintf(out, "COUNTERS");
    for (unsigned i = 0; i < vcpus * REC_COUNT_MAX; i++)
        fprintf(out, "%s%llu", i % REC_COUNT_MAX ? " " : " | ",
                (first_u64)counters[i / REC_COUNT_MAX][i % REC_COUNT_MAX]);
    fprintf(out, "\n");
    return error;
}

static inline enum log_error first_pages(const struct log_block *block, FILE *out)
{
    struct rec_pages pages;
    enum log_error error = log_decode_pages(block, &pages);

    fprintf(out, "PAGES unlisted=%llu", (first_u64)pages.unlisted);
    for (unsigned i = 0; i < pages.count; i++) {
        fprintf(out, " page=%x", pages.page[i].gpn);
        for (unsigned v = 0; v < pages.vcpus; v++) {
            const struct rec_page_row *row = &pages.page[i].row[v];
            fprintf(out, " [writes=%llu missed=%llu by=%x word=%u", (first_u64)row->writes,
                    (first_u64)row->missed, row->by, row->word);
            for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
                fprintf(out, " %llu", (first_u64)row->cause[k]);
            fprintf(out, "]");
        }
    }
    fprintf(out, "\n");
    return error;
}

static inline void first_trailer(const struct rec_trailer *t, unsigned vcpus, FILE *out)
{
    fprintf(out, "TRAILER outcome=%u vcpu=%u status=%u commits=%llu memory=%llx console=%llx bytes=%llu",
            t->outcome, t->vcpu, t->status, (first_u64)t->commits, (first_u64)t->memory_digest,
            (first_u64)t->console_digest, (first_u64)t->console_bytes);
    for (unsigned i = 0; i < vcpus; i++)
        fprintf(out, " vcpu%u=%llx", i, (first_u64)t->vcpu_digest[i]);
    fprintf(out, " reason=\"%s\"\n", t->reason);
}

static inline enum log_error first_block(const struct log_reader *r, const struct log_block *block, FILE *out)
{
    switch (block->type) {
    case LOG_TYPE_HEADER:
        first_header(&r->header, out);
        return LOG_OK;
    case LOG_TYPE_COMMITS:
        return first_commits(r, block, out);
    case LOG_TYPE_TRAILER:
        first_trailer(&r->trailer, r->header.vcpus, out);
        return LOG_OK;
    case LOG_TYPE_ABORT:
        fprintf(out, "ABORT reason=\"%s\"\n", r->reason);
        return LOG_OK;
    case LOG_TYPE_CONSOLE:
        first_bytes("CONSOLE ", block->payload, block->length, out);
        return LOG_OK;
    case LOG_TYPE_MESSAGE:
        first_bytes("MESSAGE ", block->payload, block->length, out);
        return LOG_OK;
    case LOG_TYPE_COUNTERS:
        return first_counters(block, out);
    case LOG_TYPE_PAGES:
        return first_pages(block, out);
    default:
        return LOG_OK;
    }
}

/* Reads and prints a whole log. The last status is the result, LOG_ERROR also for a bad record; `*r` keeps
 * the error. */
static inline enum log_status first_reader(struct log_reader *r, const uint8_t *log, size_t size, FILE *out)
{
    struct log_block block;
    enum log_status status;

    log_reader_init(r);
    while ((status = log_reader_next(r, log, size, &block)) == LOG_BLOCK) {
        r->error = first_block(r, &block, out);
        if (r->error)
            return LOG_ERROR;
    }
    return status;
}

#endif
