/*
 * A second reader of the log, written from replay/FORMAT.md alone: it shares no code, no number and no type
 * with the codec. Tests hold the two against each other, by the text that both print.
 */
#ifndef RV_TEST_GOLDEN_SECOND_READER_H
#define RV_TEST_GOLDEN_SECOND_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum second_end { SECOND_COMPLETE, SECOND_ABORTED, SECOND_CUT, SECOND_BAD };

/* A stretch of bytes; reading past its end, or anything else that is wrong, sets `bad`. */
struct second {
    const uint8_t *bytes;
    size_t size, at;
    bool bad;
    FILE *out;
    unsigned vcpus;
    unsigned event; /* that positions count; 0: none */
    bool accessed;  /* the block's chunks have lists of accessed bits */
    uint64_t next_seq;
};

/* State of a COMMITS block. */
struct second_state {
    uint64_t time, rip[8], duration[8], branches[8], last[8];
};

static inline uint64_t second_number(struct second *s, unsigned bytes)
{
    uint64_t v = 0;

    if (s->size - s->at < bytes) {
        s->bad = true;
        s->at = s->size;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v += (uint64_t)s->bytes[s->at++] << (8 * i);
    return v;
}

static inline uint64_t second_varint(struct second *s, uint64_t max)
{
    unsigned __int128 v = 0;
    unsigned shift = 0;
    uint8_t byte;

    do {
        byte = (uint8_t)second_number(s, 1);
        v += (unsigned __int128)(byte % 128) << shift;
        shift += 7;
    } while (byte >= 128 && shift < 70);
    if (byte >= 128 || v > max || (byte == 0 && shift > 7))
        s->bad = true;
    return (uint64_t)v;
}

static inline uint64_t second_delta(struct second *s, uint64_t previous)
{
    uint64_t z = second_varint(s, UINT64_MAX);

    return z % 2 ? previous - (z / 2 + 1) : previous + z / 2;
}

static inline uint32_t second_crc(const uint8_t *bytes, size_t length)
{
    uint32_t crc = 0xffffffff;

    while (length--) {
        crc ^= *bytes++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
    }
    return crc ^ 0xffffffff;
}

static inline void second_text(struct second *s, const char *name, size_t length, size_t max)
{
    if (length > max || length > s->size - s->at || memchr(s->bytes + s->at, 0, length)) {
        s->bad = true;
        return;
    }
    fprintf(s->out, " %s=\"%.*s\"", name, (int)length, (const char *)s->bytes + s->at);
    s->at += length;
}

static inline void second_header(struct second *s)
{
    uint64_t minor, command, build, quantum, traits;

    if (second_number(s, 2) != 1) {
        s->bad = true;
        return;
    }
    minor = second_number(s, 2);
    fprintf(s->out, "HEADER semantics=%u", (unsigned)second_number(s, 4));
    s->vcpus = (unsigned)second_number(s, 4);
    fprintf(s->out, " vcpus=%u cpuid=%u", s->vcpus, (unsigned)second_number(s, 4));
    fprintf(s->out, " memory=%llu", (unsigned long long)second_number(s, 8));
    fprintf(s->out, " image=%llx", (unsigned long long)second_number(s, 8));
    fprintf(s->out, " pause=%u", (unsigned)second_number(s, 4));
    fprintf(s->out, " stride=%u", (unsigned)second_number(s, 4));
    quantum = second_number(s, 4);
    fprintf(s->out, " quantum=%u", (unsigned)quantum);
    command = second_number(s, 2);
    build = second_number(s, 2);
    fprintf(s->out, " tsc=%llu", (unsigned long long)second_number(s, 8));
    fprintf(s->out, " seed=%llu", (unsigned long long)second_number(s, 8));
    second_text(s, "command", command, 255);
    second_text(s, "build", build, 63);
    traits = minor >= 1 ? second_number(s, 8) : UINT64_MAX;
    if (traits == UINT64_MAX)
        fprintf(s->out, " traits unknown");
    else
        fprintf(s->out, " traits=%llx", (unsigned long long)traits);
    s->event = minor >= 2 ? (unsigned)second_number(s, 1) : 0;
    fprintf(s->out, " event=%u\n", s->event);
    if (s->vcpus < 1 || s->vcpus > 8 || !quantum || quantum & (quantum - 1) ||
        (s->at < s->size && minor <= 3))
        s->bad = true;
}

static inline void second_events(struct second *s)
{
    unsigned first, count = 0;

    do {
        first = (unsigned)second_number(s, 1);
        if (first & 0x78 || (first & 7) > 6 || ++count > 32)
            s->bad = true;
        fprintf(s->out, " event=%u:%u", first & 7, (unsigned)second_number(s, 1));
    } while (first & 0x80 && !s->bad);
}

static inline void second_position(struct second *s, struct second_state *state, unsigned v, bool rep)
{
    state->rip[v] = second_delta(s, state->rip[v]);
    fprintf(s->out, " rip=%llx", (unsigned long long)state->rip[v]);
    fprintf(s->out, " rflags=%llx", (unsigned long long)second_varint(s, UINT64_MAX));
    state->duration[v] = second_delta(s, state->duration[v]);
    fprintf(s->out, " duration=%llu", (unsigned long long)state->duration[v]);
    fprintf(s->out, " regs=%08x", (unsigned)second_number(s, 4));
    fprintf(s->out, " state=%08x", (unsigned)second_number(s, 4));
    if (rep)
        fprintf(s->out, " rcx=%llx", (unsigned long long)second_varint(s, UINT64_MAX));
    if (s->event) {
        state->branches[v] = second_delta(s, state->branches[v]);
        fprintf(s->out, " branches=%llu", (unsigned long long)state->branches[v]);
    }
}

/* One page of a list of accessed bits; pages are numbered from `next` on. The number behind it. */
static inline uint64_t second_page(struct second *s, uint64_t next)
{
    uint64_t key = second_varint(s, UINT32_MAX), runs = second_varint(s, UINT32_MAX);
    uint64_t entries = key % 2 ? 512 : 1024, page = next + key / 2, entry = 0;

    if (page > 0xfffff)
        s->bad = true;
    fprintf(s->out, " accessed=%llu/%u", (unsigned long long)page, key % 2 ? 8u : 4u);
    for (; runs && !s->bad; runs--) {
        uint64_t first = entry + second_varint(s, UINT32_MAX), count = 1 + second_varint(s, UINT32_MAX);
        if (first + count > entries)
            s->bad = true;
        fprintf(s->out, ":%llu+%llu", (unsigned long long)first, (unsigned long long)count);
        entry = first + count + 1;
    }
    return page + 1;
}

static inline void second_accessed(struct second *s)
{
    size_t length = (size_t)second_number(s, 1), size = s->size;
    uint64_t next = 0;

    if (length > 120 || length > s->size - s->at) {
        s->bad = true;
        return;
    }
    s->size = s->at + length;
    while (s->at < s->size && !s->bad)
        next = second_page(s, next);
    s->size = size;
}

static inline void second_input(struct second *s, unsigned tag, unsigned ext)
{
    uint64_t length;

    if (ext != 1 || tag & 0x78 || (tag & 7) > 3)
        s->bad = true;
    fprintf(s->out, " input %u digest=%04x", tag & 7, (unsigned)second_number(s, 2));
    length = second_varint(s, 256);
    if (!length)
        s->bad = true;
    fprintf(s->out, " data=");
    for (; length && !s->bad; length--)
        fprintf(s->out, "%02x", (unsigned)second_number(s, 1));
}

static inline void second_record(struct second *s, struct second_state *state, uint64_t i)
{
    unsigned tag = (unsigned)second_number(s, 1), ext = tag & 0x80 ? (unsigned)second_number(s, 1) : 0;
    unsigned v = tag & 7, end = tag >> 3 & 7;
    uint64_t lag = i - state->last[v];

    if (ext & 1) {
        second_input(s, tag, ext);
        return;
    }
    fprintf(s->out, " chunk vcpu=%u end=%u digest=%04x", v, end, (unsigned)second_number(s, 2));
    if (tag & 0x80)
        lag = ext >> 3 == 31 ? second_varint(s, 0xffffffff) : ext >> 3;
    fprintf(s->out, " lag=%llu", (unsigned long long)lag);
    if (tag & 0x40)
        fprintf(s->out, " time=%llu", (unsigned long long)(state->time = second_delta(s, state->time)));
    if (ext & 2)
        second_events(s);
    if (end == 0)
        second_position(s, state, v, ext & 4);
    if (s->accessed)
        second_accessed(s);
    state->last[v] = 1 + i;
    if (v >= s->vcpus || lag >= s->next_seq || (ext & 4 && end != 0))
        s->bad = true;
}

/* Prints a record's line only once all of it has proved good. */
static inline void second_commits(struct second *s)
{
    struct second_state state = {0};
    uint64_t first = second_number(s, 8), digest = second_number(s, 8), count = second_number(s, 4);
    FILE *out = s->out;
    char line[2048];

    if (first != s->next_seq || !count || s->bad || count > s->size - s->at)
        s->bad = true;
    if (!s->bad)
        fprintf(out, "COMMITS first=%llu digest=%llx\n", (unsigned long long)first,
                (unsigned long long)digest);
    for (uint64_t i = 0; i < count && !s->bad; i++) {
        memset(line, 0, sizeof line);
        s->out = fmemopen(line, sizeof line, "w");
        second_record(s, &state, i);
        fclose(s->out);
        if (!s->bad)
            fprintf(out, "%llu%s\n", (unsigned long long)s->next_seq++, line);
    }
    s->out = out;
}

static inline void second_counters(struct second *s)
{
    unsigned vcpus = (unsigned)second_number(s, 1), counters = (unsigned)second_number(s, 1);

    fprintf(s->out, "COUNTERS");
    for (unsigned i = 0; i < vcpus * counters && !s->bad; i++)
        fprintf(s->out, "%s%llu", i % counters ? " " : " | ",
                (unsigned long long)second_varint(s, UINT64_MAX));
    fprintf(s->out, "\n");
}

static inline void second_pages_row(struct second *s, unsigned causes)
{
    uint64_t number[4];

    number[0] = second_varint(s, UINT64_MAX);
    number[1] = second_varint(s, UINT64_MAX);
    number[2] = second_varint(s, 511);
    number[3] = second_varint(s, 512);
    fprintf(s->out, " [writes=%llu missed=%llu by=%llx word=%llu", (unsigned long long)number[0],
            (unsigned long long)number[1], (unsigned long long)number[2], (unsigned long long)number[3]);
    for (unsigned i = 0; i < (causes > 5 ? causes : 5) && !s->bad; i++) {
        uint64_t value = i < causes ? second_varint(s, UINT64_MAX) : 0;
        if (i < 5)
            fprintf(s->out, " %llu", (unsigned long long)value);
    }
    fprintf(s->out, "]");
}

static inline void second_pages(struct second *s)
{
    unsigned vcpus = (unsigned)second_number(s, 1), causes = (unsigned)second_number(s, 1);
    uint64_t count;

    if (vcpus < 1 || vcpus > 8)
        s->bad = true;
    fprintf(s->out, "PAGES unlisted=%llu", (unsigned long long)second_varint(s, UINT64_MAX));
    count = second_varint(s, 32);
    for (uint64_t i = 0; i < count && !s->bad; i++) {
        fprintf(s->out, " page=%llx", (unsigned long long)second_varint(s, UINT32_MAX));
        for (unsigned v = 0; v < vcpus && !s->bad; v++)
            second_pages_row(s, causes);
    }
    fprintf(s->out, "\n");
}

static inline void second_trailer(struct second *s)
{
    unsigned outcome = (unsigned)second_number(s, 1), vcpu = (unsigned)second_number(s, 1);
    unsigned vcpus = (unsigned)second_number(s, 1), reason = (unsigned)second_number(s, 1);
    uint64_t commits;

    fprintf(s->out, "TRAILER outcome=%u vcpu=%u status=%u", outcome, vcpu, (unsigned)second_number(s, 4));
    commits = second_number(s, 8);
    fprintf(s->out, " commits=%llu", (unsigned long long)commits);
    fprintf(s->out, " memory=%llx", (unsigned long long)second_number(s, 8));
    fprintf(s->out, " console=%llx", (unsigned long long)second_number(s, 8));
    fprintf(s->out, " bytes=%llu", (unsigned long long)second_number(s, 8));
    for (unsigned i = 0; i < vcpus && !s->bad; i++)
        fprintf(s->out, " vcpu%u=%llx", i, (unsigned long long)second_number(s, 8));
    second_text(s, "reason", reason, 127);
    fprintf(s->out, "\n");
    if (outcome > 6 || vcpus != s->vcpus || vcpu >= vcpus || commits + 1 != s->next_seq)
        s->bad = true;
}

static inline void second_bytes(struct second *s, const char *name)
{
    fprintf(s->out, "%s ", name);
    while (s->at < s->size)
        fprintf(s->out, "%02x", (unsigned)second_number(s, 1));
    fprintf(s->out, "\n");
}

/* The payload of a sound block. */
static inline void second_block(struct second *s, unsigned type, unsigned flags)
{
    unsigned known = type == 0x8001 || type == 0x8002 || type == 0x8003 || type == 0x8005 || !(type & 0x8000);

    if (type == 2) {
        s->accessed = flags & 2;
        flags &= ~2u;
    }
    if ((flags != (type == 2 && s->event) && known) || (type == 1) == (s->vcpus != 0)) {
        s->bad = true;
        return;
    }
    if (type == 1)
        second_header(s);
    else if (type == 2)
        second_commits(s);
    else if (type == 3)
        second_trailer(s);
    else if (type == 4) {
        fprintf(s->out, "ABORT");
        second_text(s, "reason", s->size, 200);
        fprintf(s->out, "\n");
    } else if (type == 0x8001)
        second_bytes(s, "CONSOLE");
    else if (type == 0x8002)
        second_bytes(s, "MESSAGE");
    else if (type == 0x8003)
        second_counters(s);
    else if (type == 0x8005)
        second_pages(s);
    else if (known)
        s->bad = true;
    else
        s->at = s->size;
    if (s->at != s->size && type != 1)
        s->bad = true;
}

/*
 * Reads the log of `size` bytes, prints a line to `out` for each record and each block, and says how it
 * ended. The lines of a block that turns out bad are worth nothing, but for the good records before a bad
 * one.
 */
static inline enum second_end second_reader(const uint8_t *log, size_t size, FILE *out)
{
    struct second s = {.out = out, .next_seq = 1};
    uint64_t at = 0;

    for (uint32_t number = 0; size - at >= 20; number++) {
        struct second head = {.bytes = log + at, .size = 20};
        uint64_t magic = second_number(&head, 4), type = second_number(&head, 2),
                 flags = second_number(&head, 2);
        uint64_t length = second_number(&head, 4), found = second_number(&head, 4),
                 crc = second_number(&head, 4);
        struct second tail = {.bytes = log + at + 20 + length, .size = 8};

        if (magic != 0x4b425652 || crc != second_crc(log + at, 16) || length > 65536)
            return SECOND_BAD;
        if (size - at < length + 28)
            return SECOND_CUT;
        if (second_number(&tail, 4) != second_crc(log + at, 20 + length) ||
            second_number(&tail, 4) != length || found != number)
            return SECOND_BAD;
        s.bytes = log + at + 20;
        s.size = length;
        s.at = 0;
        second_block(&s, (unsigned)type, (unsigned)flags);
        if (s.bad)
            return SECOND_BAD;
        at += length + 28;
        if (type == 3 || type == 4)
            return at < size ? SECOND_BAD : type == 3 ? SECOND_COMPLETE : SECOND_ABORTED;
    }
    if (size - at >= 4 && memcmp(log + at, "RVBK", 4))
        return SECOND_BAD;
    return SECOND_CUT;
}

#endif
