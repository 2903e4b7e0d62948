/* retro stats: where a log's bytes go, how chunks end, how far they may start back, counters. */
#include "tools/retro/logmap.h"
#include "tools/retro/names.h"
#include "tools/retro/pages.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LAG_BUCKETS = 12, OPTION_PAGES = 256, OPTION_OFFSET };

struct stats_args {
    const char *path, *symbol_file;
    bool json, pages, have_offset;
    uint64_t offset;
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
    struct tally blocks[9]; /* by slot below; bytes are whole blocks */
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    bool have_counters;
    struct rec_pages pages;
    bool have_pages;
    struct symbols symbols; /* by guest-physical address, where a file of them is given */
};

static const uint16_t block_types[] = {
    LOG_TYPE_HEADER,  LOG_TYPE_COMMITS,  LOG_TYPE_TRAILER, LOG_TYPE_ABORT, LOG_TYPE_CONSOLE,
    LOG_TYPE_MESSAGE, LOG_TYPE_COUNTERS, LOG_TYPE_PAGES, /* the slot behind them: all others */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct stats_args *args = state->input;

    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    case 's':
        args->symbol_file = arg;
        return 0;
    case OPTION_PAGES:
        args->pages = true;
        return 0;
    case OPTION_OFFSET:
        args->have_offset = parse_number(*arg == '-' ? arg + 1 : arg, 0, UINT64_MAX, &args->offset);
        if (!args->have_offset)
            argp_error(state, "--offset: '%s' is not a number", arg);
        args->offset = *arg == '-' ? 0 - args->offset : args->offset;
        return 0;
    case ARGP_KEY_END:
        if (args->have_offset && !args->symbol_file)
            argp_error(state, "--offset moves the addresses of --symbols, which is not given");
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
    if (b->type == LOG_TYPE_PAGES)
        s->have_pages = log_decode_pages(b, &s->pages) == LOG_OK;
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

static void print_pages(const struct stats *s)
{
    uint64_t conflicts = 0;

    for (unsigned i = 0; i < MAX_VCPUS; i++) {
        for (unsigned k = REC_COUNT_SQUASH_WORDS; k < REC_COUNT_SQUASH_OTHER; k++)
            conflicts |= s->counters[i][k];
    }
    if (s->have_pages)
        pages_print(&s->pages, &s->symbols);
    else if (s->have_counters && !conflicts)
        puts("no chunk was squashed over a page");
    else
        puts("the log does not tell over which pages chunks were squashed");
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
    if (s->have_pages) {
        json_object_set_new(o, "pages_unlisted", json_u64(s->pages.unlisted));
        json_object_set_new(o, "pages", pages_json(&s->pages, &s->symbols));
    }
    json_print(o);
}

int command_stats(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "Print JSON, the pages included", 0},
        {"pages", OPTION_PAGES, NULL, 0, "Print the twenty pages over which most chunks were squashed", 0},
        {"symbols", 's', "FILE", 0, "Name what lies on pages: the guest's ELF image, vmlinux, or System.map",
         0},
        {"elf", 0, NULL, OPTION_ALIAS, NULL, 0},
        {"offset", OPTION_OFFSET, "N", 0,
         "Add N, which may be negative, to addresses of --symbols to get guest-physical ones", 0},
        {0},
    };
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .args_doc = "LOG",
                                     .doc = "Sizes, chunk ends, events and counters of a log."};
    struct stats_args args = {0};
    struct stats stats = {0};
    struct log_reader r;
    struct logmap m = {.fd = -1};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    int code = RETRO_OK;
    if (args.symbol_file)
        code =
            symbols_open_physical(&stats.symbols, args.symbol_file, args.have_offset ? &args.offset : NULL);
    if (code == RETRO_OK)
        code = logmap_open(&m, args.path);
    if (code == RETRO_OK) {
        enum log_status status = logmap_walk(&m, &r, add_block, &stats);
        if (r.have_header && args.json)
            print_stats_json(&stats, r.header.vcpus);
        else if (r.have_header && args.pages)
            print_pages(&stats);
        else if (r.have_header)
            print_stats(&stats, r.header.vcpus);
        fflush(stdout);
        code = logmap_report(&m, args.path, &r, status);
    }
    logmap_close(&m);
    symbols_close(&stats.symbols);
    return code;
}
