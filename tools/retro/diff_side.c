/* Two logs side by side: reading them in step, and what their commits differ in. */
#include "tools/retro/diff.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void next_block(struct diff_side *s)
{
    s->status = log_reader_next(&s->reader, s->map.bytes, s->map.size, &s->block);
    if (s->status != LOG_BLOCK)
        return;
    if (s->block.type == LOG_TYPE_COMMITS) {
        log_commits_begin(&s->it, &s->reader, &s->block);
        s->in_block = true;
    } else if (s->block.type == LOG_TYPE_CONSOLE) {
        buffer_add(&s->console, s->block.payload, s->block.length);
    }
}

static void remember_position(struct diff_side *s)
{
    const struct rec_chunk *c = &s->commit.chunk;

    if (!s->seq || s->commit.kind != REC_CHUNK || c->end != REC_END_POSITION)
        return;
    s->last_rip[c->vcpu] = c->position.rip;
    s->last_seq[c->vcpu] = s->seq;
}

bool diff_next(struct diff_side *s)
{
    enum log_step step;

    remember_position(s);
    s->seq = 0;
    while (s->status == LOG_BLOCK && !s->bad_record) {
        if (!s->in_block) {
            next_block(s);
            continue;
        }
        s->commit = (struct rec_commit){0};
        step = log_commits_next(&s->it, &s->commit);
        if (step == LOG_COMMIT) {
            s->seq = s->it.seq;
            return true;
        }
        s->in_block = false;
        if (step == LOG_COMMITS_ERROR) {
            s->bad_record = true;
            return false;
        }
    }
    return false;
}

int diff_open(struct diff_side *s, const char *path)
{
    *s = (struct diff_side){.path = path, .status = LOG_BLOCK};
    int code = logmap_open(&s->map, path);
    if (code == RETRO_OK)
        code = logmap_header(&s->map, path, &s->whole, &s->whole_status);
    s->header = s->whole.header;
    log_reader_init(&s->reader);
    return code;
}

void diff_close(struct diff_side *s)
{
    logmap_close(&s->map);
    buffer_free(&s->console);
}

static bool events_differ(const struct rec_chunk *a, const struct rec_chunk *b)
{
    return a->event_count != b->event_count ||
           memcmp(a->events, b->events, a->event_count * sizeof a->events[0]) != 0;
}

static bool times_differ(const struct rec_chunk *a, const struct rec_chunk *b)
{
    return (a->flags ^ b->flags) & REC_F_TIME || ((a->flags & REC_F_TIME) && a->time_base != b->time_base);
}

static enum diff_kind diff_positions(const struct rec_chunk *a, const struct rec_chunk *b)
{
    const struct rec_position *p = &a->position, *q = &b->position;

    if (p->rip != q->rip)
        return DIFF_POSITION;
    if (p->rflags != q->rflags || p->regs_check != q->regs_check || (a->flags ^ b->flags) & REC_F_REP ||
        ((a->flags & REC_F_REP) && p->rcx != q->rcx) ||
        ((a->flags & b->flags & REC_F_BRANCHES) && p->branches != q->branches))
        return DIFF_ROUND;
    return p->state_check != q->state_check ? DIFF_STATE : DIFF_NONE;
}

static enum diff_kind diff_chunks(const struct rec_chunk *a, const struct rec_chunk *b)
{
    enum diff_kind kind = DIFF_NONE;

    if (a->vcpu != b->vcpu)
        return DIFF_VCPU;
    if (events_differ(a, b))
        return DIFF_EVENTS;
    if (times_differ(a, b))
        return DIFF_TIME;
    if (a->end != b->end)
        return DIFF_END;
    if (a->end == REC_END_POSITION)
        kind = diff_positions(a, b);
    return kind == DIFF_NONE && a->digest != b->digest ? DIFF_STATE : kind;
}

enum diff_kind diff_commits(const struct diff_side *a, const struct diff_side *b)
{
    const struct rec_input *i = &a->commit.input, *j = &b->commit.input;

    if (!a->seq || !b->seq)
        return a->seq || b->seq ? DIFF_SHORT : DIFF_NONE;
    if (a->commit.kind != b->commit.kind)
        return DIFF_KIND;
    if (a->commit.kind == REC_CHUNK)
        return diff_chunks(&a->commit.chunk, &b->commit.chunk);
    if (i->device != j->device || i->length != j->length || memcmp(i->data, j->data, i->length) != 0)
        return DIFF_INPUT;
    return i->digest != j->digest ? DIFF_STATE : DIFF_NONE;
}

static const struct {
    const char *name, *text;
} kinds[DIFF_KIND_COUNT] = {
    [DIFF_NONE] = {"none", "nothing differs"},
    [DIFF_KIND] = {"kind", "in one log a vCPU commits here, in the other input comes in"},
    [DIFF_INPUT] = {"input", "other input comes in"},
    [DIFF_VCPU] = {"vcpu", "another vCPU is the next to commit"},
    [DIFF_EVENTS] = {"events", "the chunk begins with other interrupts"},
    [DIFF_TIME] = {"time", "the guest reads another time"},
    [DIFF_END] = {"end", "the chunk ends in another way"},
    [DIFF_POSITION] = {"position", "the chunk is cut at another place"},
    [DIFF_ROUND] = {"registers", "the chunk is cut at the same place, but with other registers"},
    [DIFF_STATE] = {"state", "the records are alike, but not the state or memory that they lead to"},
    [DIFF_SHORT] = {"short", "one log has no commit more"},
};

const char *diff_kind_text(enum diff_kind kind)
{
    return kinds[kind].text;
}

const char *diff_kind_name(enum diff_kind kind)
{
    return kinds[kind].name;
}

static void print_place(FILE *f, uint64_t rip, const struct symbols *symbols)
{
    char name[SYMBOL_TEXT_MAX];

    fprintf(f, "%" PRIx64, rip);
    if (*symbols_find(symbols, rip, name))
        fprintf(f, " (%s)", name);
}

static void describe_chunk(FILE *f, const struct rec_chunk *c, const struct symbols *symbols)
{
    static const char *const ends[REC_END_COUNT] = {
        [REC_END_POSITION] = "is cut at",
        [REC_END_PAUSE] = "ends at a PAUSE",
        [REC_END_HLT] = "ends before a HLT",
        [REC_END_IO] = "ends before a port access",
        [REC_END_MMIO] = "ends before an access to device memory",
        [REC_END_APIC] = "ends before an APIC access",
        [REC_END_SHUTDOWN] = "ends with a triple fault",
        [REC_END_REFUSED] = "ends before what is refused",
    };

    fprintf(f, "a chunk of vCPU %u", c->vcpu);
    for (unsigned i = 0; i < c->event_count; i++)
        fprintf(f, "%s %s %02x", i ? "," : " takes", event_name(c->events[i].kind), c->events[i].vector);
    if (c->flags & REC_F_TIME)
        fprintf(f, "%s from time base %" PRIu64, c->event_count ? "," : "", c->time_base);
    fprintf(f, "%s %s", c->event_count || c->flags & REC_F_TIME ? " and" : "", ends[c->end]);
    if (c->end != REC_END_POSITION)
        return;
    fputc(' ', f);
    print_place(f, c->position.rip, symbols);
    if (c->flags & REC_F_REP)
        fprintf(f, " in a REP with RCX %" PRIx64, c->position.rcx);
    fprintf(f, " after %" PRIu64 " ticks, registers %08" PRIx32, c->position.duration,
            c->position.regs_check);
}

char *diff_describe(const struct diff_side *s, const struct symbols *symbols)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    if (!s->seq) {
        fprintf(f, "nothing more%s",
                s->reader.complete                        ? ", the guest has ended"
                : s->reader.aborted                       ? ", the recorder died"
                : s->bad_record || s->status == LOG_ERROR ? ", the log is damaged"
                                                          : ", the log was cut off");
    } else if (s->commit.kind == REC_CHUNK) {
        describe_chunk(f, &s->commit.chunk, symbols);
    } else {
        fprintf(f, "%u bytes of input \"", s->commit.input.length);
        for (unsigned i = 0; i < s->commit.input.length; i++) {
            uint8_t byte = s->commit.input.data[i];
            fprintf(f, byte >= ' ' && byte < 0x7f && byte != '"' ? "%c" : "\\x%02x", byte);
        }
        fputc('"', f);
    }
    fclose(f);
    return text;
}

char *diff_describe_last(const struct diff_side *s, unsigned vcpu, const struct symbols *symbols)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    if (s->last_seq[vcpu]) {
        fprintf(f, "last seen at ");
        print_place(f, s->last_rip[vcpu], symbols);
        fprintf(f, " (commit %" PRIu64 ")", s->last_seq[vcpu]);
    } else {
        fputs("none of its chunks before was cut, so its place is not known", f);
    }
    fclose(f);
    return text;
}
