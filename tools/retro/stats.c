/* retro stats: where a log's bytes go, how chunks end, how far they may start back, counters. */
#include "tools/retro/logmap.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LAG_BUCKETS = 12 };

struct stats_args {
    const char *path;
    bool json;
};

/* Commits of one sort, and the bytes of their records. */
struct tally {
    uint64_t count, bytes;
};

struct stats {
    struct tally ends[MAX_VCPUS][REC_END_COUNT];
    struct tally inputs;
    uint64_t lag[LAG_BUCKETS]; /* 0, 1, 2-3, 4-7 ... the last holds all above */
    uint64_t events[REC_EVENT_COUNT];
    uint64_t rep, timed, duration;
    struct tally blocks[8]; /* by slot below; bytes are whole blocks */
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    bool have_counters;
};

static const uint16_t block_types[] = {
    LOG_TYPE_HEADER,  LOG_TYPE_COMMITS, LOG_TYPE_TRAILER,  LOG_TYPE_ABORT,
    LOG_TYPE_CONSOLE, LOG_TYPE_MESSAGE, LOG_TYPE_COUNTERS, /* the slot behind them: all others */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct stats_args *args = state->input;

    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    default:
        return parse_log_argument(key, arg, state, &args->path);
    }
}

static unsigned lag_bucket(uint32_t lag)
{
    unsigned bucket = lag ? 32 - (unsigned)__builtin_clz(lag) : 0;

    return MIN(bucket, (unsigned)LAG_BUCKETS - 1);
}

static void add_chunk(struct stats *s, const struct rec_chunk *c, uint64_t bytes)
{
    struct tally *t = &s->ends[c->vcpu][c->end];

    t->count++;
    t->bytes += bytes;
    s->lag[lag_bucket(c->lag)]++;
    for (unsigned i = 0; i < c->event_count; i++)
        s->events[c->events[i].kind]++;
    s->timed += (c->flags & REC_F_TIME) != 0;
    if (c->end == REC_END_POSITION) {
        s->rep += (c->flags & REC_F_REP) != 0;
        s->duration += c->position.duration;
    }
}

static void add_commits(struct stats *s, const struct log_reader *r, const struct log_block *b)
{
    struct rec_commit commit = {0};
    struct log_commits it;
    uint32_t from;

    log_commits_begin(&it, r, b);
    from = it.at;
    while (log_commits_next(&it, &commit) == LOG_COMMIT) {
        if (commit.kind == REC_CHUNK) {
            add_chunk(s, &commit.chunk, it.at - from);
        } else {
            s->inputs.count++;
            s->inputs.bytes += it.at - from;
        }
        from = it.at;
    }
}

static void add_block(void *context, const struct log_reader *r, const struct log_block *b)
{
    struct stats *s = context;
    unsigned slot = 0, vcpus;

    while (slot < ARRAY_LEN(block_types) && block_types[slot] != b->type)
        slot++;
    s->blocks[slot].count++;
    s->blocks[slot].bytes += b->length + LOG_BLOCK_EXTRA;
    if (b->type == LOG_TYPE_COMMITS)
        add_commits(s, r, b);
    if (b->type == LOG_TYPE_COUNTERS)
        s->have_counters = log_decode_counters(b, s->counters, &vcpus) == LOG_OK;
}

static const char *slot_name(unsigned slot)
{
    return slot < ARRAY_LEN(block_types) ? log_type_name(block_types[slot]) : "others";
}

static double ratio(uint64_t bytes, uint64_t count)
{
    return count ? (double)bytes / (double)count : 0;
}

static void print_tally(const char *name, const struct tally *t)
{
    if (t->count)
        printf("  %-12s %10" PRIu64 " %12" PRIu64 " %10.2f\n", name, t->count, t->bytes,
               ratio(t->bytes, t->count));
}

static void print_commits(const struct stats *s, unsigned vcpus)
{
    struct tally all = {0};

    printf("records           count        bytes  bytes each\n");
    for (unsigned e = 0; e < REC_END_COUNT; e++) {
        struct tally t = {0};
        for (unsigned i = 0; i < vcpus; i++) {
            t.count += s->ends[i][e].count;
            t.bytes += s->ends[i][e].bytes;
        }
        print_tally(end_name(e), &t);
        all.count += t.count;
        all.bytes += t.bytes;
    }
    print_tally("all chunks", &all);
    print_tally("inputs", &s->inputs);
    printf("chunks by vCPU and end\n");
    for (unsigned i = 0; i < vcpus; i++) {
        printf("  vCPU %u", i);
        for (unsigned e = 0; e < REC_END_COUNT; e++) {
            if (s->ends[i][e].count)
                printf("  %s %" PRIu64, end_name(e), s->ends[i][e].count);
        }
        putchar('\n');
    }
}

static void print_counters(const struct stats *s, unsigned vcpus)
{
    if (!s->have_counters)
        return;
    printf("counters      ");
    for (unsigned i = 0; i < vcpus; i++)
        printf("          vCPU %u", i);
    putchar('\n');
    for (unsigned k = 0; k < REC_COUNT_MAX; k++) {
        printf("  %-14s", log_counter_name(k));
        for (unsigned i = 0; i < vcpus; i++)
            printf("%16" PRIu64, s->counters[i][k]);
        putchar('\n');
    }
}

static void print_stats(const struct stats *s, unsigned vcpus)
{
    printf("blocks            count        bytes  bytes each\n");
    for (unsigned i = 0; i < ARRAY_LEN(s->blocks); i++)
        print_tally(slot_name(i), &s->blocks[i]);
    print_commits(s, vcpus);
    printf("lag (snapshots that a chunk may also start on)\n");
    for (unsigned i = 0; i < LAG_BUCKETS; i++) {
        unsigned low = i ? 1u << (i - 1) : 0;
        if (s->lag[i])
            printf("  %s%-8u %10" PRIu64 "\n", i < 2 ? "  " : ">=", low, s->lag[i]);
    }
    printf("events taken   ");
    for (unsigned k = 0; k < REC_EVENT_COUNT; k++)
        printf(" %s %" PRIu64, event_name(k), s->events[k]);
    printf("\ntime bases      %" PRIu64 "\npositions in REP %" PRIu64 "\nticks of position chunks %" PRIu64
           "\n",
           s->timed, s->rep, s->duration);
    print_counters(s, vcpus);
}

static json_t *json_of_tally(const struct tally *t)
{
    return json_pack("{s:I, s:I}", "count", (json_int_t)t->count, "bytes", (json_int_t)t->bytes);
}

static void print_stats_json(struct stats *s, unsigned vcpus)
{
    json_t *o = json_object(), *blocks = json_object(), *chunks = json_array(), *lag = json_array(),
           *events = json_object();

    for (unsigned i = 0; i < ARRAY_LEN(s->blocks); i++)
        json_object_set_new(blocks, slot_name(i), json_of_tally(&s->blocks[i]));
    for (unsigned i = 0; i < vcpus; i++) {
        json_t *ends = json_object();
        for (unsigned e = 0; e < REC_END_COUNT; e++)
            json_object_set_new(ends, end_name(e), json_of_tally(&s->ends[i][e]));
        json_array_append_new(chunks, ends);
    }
    for (unsigned i = 0; i < LAG_BUCKETS; i++)
        json_array_append_new(lag, json_integer((json_int_t)s->lag[i]));
    for (unsigned k = 0; k < REC_EVENT_COUNT; k++)
        json_object_set_new(events, event_name(k), json_integer((json_int_t)s->events[k]));
    json_object_set_new(o, "blocks", blocks);
    json_object_set_new(o, "chunks", chunks);
    json_object_set_new(o, "inputs", json_of_tally(&s->inputs));
    json_object_set_new(o, "lag_log2", lag);
    json_object_set_new(o, "events", events);
    json_object_set_new(o, "time_bases", json_integer((json_int_t)s->timed));
    json_object_set_new(o, "rep_positions", json_integer((json_int_t)s->rep));
    json_object_set_new(o, "position_ticks", json_integer((json_int_t)s->duration));
    if (s->have_counters)
        json_object_set_new(o, "counters", json_of_counters(s->counters, vcpus));
    json_print(o);
}

int command_stats(int argc, char **argv)
{
    static const struct argp_option options[] = {{"json", 'j', NULL, 0, "Print JSON", 0}, {0}};
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .args_doc = "LOG",
                                     .doc = "Sizes, chunk ends, events and counters of a log."};
    struct stats_args args = {0};
    struct stats stats = {0};
    struct log_reader r;
    struct logmap m;

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    int code = logmap_open(&m, args.path);
    if (code == RETRO_OK) {
        enum log_status status = logmap_walk(&m, &r, add_block, &stats);
        if (r.have_header && args.json)
            print_stats_json(&stats, r.header.vcpus);
        else if (r.have_header)
            print_stats(&stats, r.header.vcpus);
        fflush(stdout);
        code = logmap_report(&m, args.path, &r, status);
    }
    logmap_close(&m);
    return code;
}
