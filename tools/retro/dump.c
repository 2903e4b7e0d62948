/* retro dump: the records of a log, as text or as JSON lines. */
#include "replay/accessed.h"
#include "replay/log_detail.h"
#include "tools/retro/logmap.h"
#include "tools/retro/names.h"
#include "tools/retro/pages.h"
#include "tools/retro/retro.h"
#include "tools/retro/symbols.h"
#include "tools/retro/util.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_FROM = 256, OPTION_TO };

struct dump_args {
    const char *path, *guest;
    struct symbols symbols; /* of the guest, empty where it is not given */
    bool json;
    uint64_t from, to;
    int vcpu; /* -1: all */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct dump_args *args = state->input;
    uint64_t number;

    switch (key) {
    case 'g':
        args->guest = arg;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case OPTION_FROM:
    case OPTION_TO:
        if (!parse_number(arg, 0, UINT64_MAX, key == OPTION_FROM ? &args->from : &args->to))
            argp_error(state, "'%s' is not the seq of a commit", arg);
        return 0;
    case 'n':
        if (!parse_number(arg, 0, MAX_VCPUS - 1, &number))
            argp_error(state, "--vcpu: '%s' is not a number from 0 to %u", arg, MAX_VCPUS - 1);
        args->vcpu = (int)number;
        return 0;
    case ARGP_KEY_END:
        if (args->from > args->to)
            argp_error(state, "--from is behind --to");
        return 0;
    default:
        return parse_log_argument(key, arg, state, &args->path);
    }
}

static json_t *json_of_position(const struct rec_position *p, unsigned flags, const struct symbols *symbols)
{
    json_t *o = json_object();
    char name[SYMBOL_TEXT_MAX];

    json_object_set_new(o, "rip", json_hex(p->rip));
    if (*symbols_find(symbols, p->rip, name))
        json_object_set_new(o, "symbol", json_string(name));
    json_object_set_new(o, "rflags", json_hex(p->rflags));
    if (flags & REC_F_REP)
        json_object_set_new(o, "rcx", json_hex(p->rcx));
    json_object_set_new(o, "duration", json_u64(p->duration));
    if (flags & REC_F_BRANCHES)
        json_object_set_new(o, "branches", json_u64(p->branches));
    json_object_set_new(o, "regs_check", json_sprintf("%08" PRIx32, p->regs_check));
    json_object_set_new(o, "state_check", json_sprintf("%08" PRIx32, p->state_check));
    return o;
}

static json_t *json_of_accessed(const struct rec_chunk *c)
{
    const uint8_t *at = c->accessed;
    struct accessed_page page = {0};
    json_t *pages = json_array();

    while (accessed_next(&at, c->accessed + c->accessed_bytes, &page)) {
        struct accessed_page of_runs = page;
        json_t *runs = json_array();
        uint32_t next = 0, first, count;
        while (accessed_run(&of_runs, &next, &first, &count))
            json_array_append_new(runs, json_pack("[i, i]", (int)first, (int)count));
        json_array_append_new(pages, json_pack("{s:i, s:i, s:o}", "page", (int)page.gpn, "entry_bytes",
                                               (int)page.entry_bytes, "runs", runs));
    }
    return pages;
}

static void chunk_json(json_t *o, const struct rec_chunk *c, const struct symbols *symbols)
{
    json_object_set_new(o, "vcpu", json_integer(c->vcpu));
    json_object_set_new(o, "end", json_string(end_name(c->end)));
    json_object_set_new(o, "lag", json_integer(c->lag));
    json_object_set_new(o, "digest", json_sprintf("%04x", c->digest));
    if (c->flags & REC_F_TIME)
        json_object_set_new(o, "time_base", json_u64(c->time_base));
    if (c->event_count) {
        json_t *events = json_array();
        for (unsigned i = 0; i < c->event_count; i++)
            json_array_append_new(events, json_pack("{s:s, s:i}", "kind", event_name(c->events[i].kind),
                                                    "vector", (int)c->events[i].vector));
        json_object_set_new(o, "events", events);
    }
    if (c->end == REC_END_POSITION)
        json_object_set_new(o, "position", json_of_position(&c->position, c->flags, symbols));
    if (c->accessed_bytes)
        json_object_set_new(o, "accessed", json_of_accessed(c));
}

static void print_commit_json(uint64_t seq, uint64_t offset, const struct rec_commit *commit,
                              const struct symbols *symbols)
{
    json_t *o = json_object();

    json_object_set_new(o, "seq", json_u64(seq));
    json_object_set_new(o, "offset", json_integer((json_int_t)offset));
    json_object_set_new(o, "kind", json_string(commit->kind == REC_CHUNK ? "chunk" : "input"));
    if (commit->kind == REC_CHUNK) {
        chunk_json(o, &commit->chunk, symbols);
    } else {
        json_object_set_new(o, "device", json_string(device_name(commit->input.device)));
        json_object_set_new(o, "digest", json_sprintf("%04x", commit->input.digest));
        json_object_set_new(o, "data", json_bytes(commit->input.data, commit->input.length));
    }
    json_print(o);
}

static void print_position(const struct rec_chunk *c, const struct symbols *symbols)
{
    char name[SYMBOL_TEXT_MAX];
    const struct rec_position *p = &c->position;

    printf(" rip %" PRIx64, p->rip);
    if (*symbols_find(symbols, p->rip, name))
        printf(" <%s>", name);
    printf(" rflags %" PRIx64, p->rflags);
    if (c->flags & REC_F_REP)
        printf(" rcx %" PRIx64, p->rcx);
    if (c->flags & REC_F_BRANCHES)
        printf(" branches %" PRIu64, p->branches);
    printf(" duration %" PRIu64 " regs %08" PRIx32 " state %08" PRIx32, p->duration, p->regs_check,
           p->state_check);
}

static void print_accessed(const struct rec_chunk *c)
{
    const uint8_t *at = c->accessed;
    struct accessed_page page = {0};

    while (accessed_next(&at, c->accessed + c->accessed_bytes, &page)) {
        struct accessed_page runs = page;
        uint32_t next = 0, first, count;
        printf(" accessed %" PRIx32, page.gpn);
        while (accessed_run(&runs, &next, &first, &count))
            printf(":%" PRIx32 "+%" PRIx32, first * page.entry_bytes, count * page.entry_bytes);
    }
}

static void print_chunk(const struct rec_chunk *c, const struct symbols *symbols)
{
    printf(" vcpu %u %-8s lag %-3" PRIu32 " digest %04x", c->vcpu, end_name(c->end), c->lag, c->digest);
    if (c->flags & REC_F_TIME)
        printf(" time %" PRIu64, c->time_base);
    for (unsigned i = 0; i < c->event_count; i++)
        printf(" %s:%02x", event_name(c->events[i].kind), c->events[i].vector);
    if (c->end == REC_END_POSITION)
        print_position(c, symbols);
    print_accessed(c);
}

static void print_commit(uint64_t seq, const struct rec_commit *commit, const struct symbols *symbols)
{
    printf("%8" PRIu64, seq);
    if (commit->kind == REC_CHUNK) {
        print_chunk(&commit->chunk, symbols);
    } else {
        printf(" input %s digest %04x data", device_name(commit->input.device), commit->input.digest);
        for (unsigned i = 0; i < commit->input.length; i++)
            printf(" %02x", commit->input.data[i]);
    }
    putchar('\n');
}

static bool wanted(const struct dump_args *args, uint64_t seq, const struct rec_commit *commit)
{
    if (seq < args->from || seq > args->to)
        return false;
    return args->vcpu < 0 || (commit->kind == REC_CHUNK && commit->chunk.vcpu == args->vcpu);
}

static void dump_commits(struct dump_args *args, const struct log_reader *r, const struct log_block *b)
{
    struct rec_commit commit = {0};
    struct log_commits it;

    log_commits_begin(&it, r, b);
    while (log_commits_next(&it, &commit) == LOG_COMMIT) {
        if (!wanted(args, it.seq, &commit))
            continue;
        if (args->json)
            print_commit_json(it.seq, it.offset, &commit, &args->symbols);
        else
            print_commit(it.seq, &commit, &args->symbols);
    }
}

/* Bytes that are no text print as dots. */
static void print_text(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            fputs("\\n", stdout);
        else
            putchar(bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : '.');
    }
}

static void counters_json(json_t *o, const struct log_block *b)
{
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    unsigned vcpus;

    if (log_decode_counters(b, counters, &vcpus) == LOG_OK)
        json_object_set_new(o, "counters", json_of_counters(counters, vcpus));
}

static void pages_block_json(json_t *o, const struct log_block *b)
{
    struct rec_pages pages;

    if (log_decode_pages(b, &pages) != LOG_OK)
        return;
    json_object_set_new(o, "unlisted", json_u64(pages.unlisted));
    json_object_set_new(o, "pages", pages_json(&pages, NULL));
}

/* What the block holds but for its records. */
static void contents_json(json_t *o, const struct log_reader *r, const struct log_block *b)
{
    switch (b->type) {
    case LOG_TYPE_HEADER:
        json_object_set_new(o, "header", json_of_header(&r->header));
        break;
    case LOG_TYPE_COMMITS:
        json_object_set_new(o, "first", json_u64(b->first));
        json_object_set_new(o, "count", json_integer(b->count));
        json_object_set_new(o, "running_digest", json_hex(b->digest));
        break;
    case LOG_TYPE_TRAILER:
        json_object_set_new(o, "trailer", json_of_trailer(&r->trailer, r->header.vcpus));
        break;
    case LOG_TYPE_ABORT:
        json_object_set_new(o, "reason", json_text(r->reason));
        break;
    case LOG_TYPE_MESSAGE:
    case LOG_TYPE_CONSOLE:
        json_object_set_new(o, "data", json_bytes(b->payload, b->length));
        break;
    case LOG_TYPE_COUNTERS:
        counters_json(o, b);
        break;
    case LOG_TYPE_PAGES:
        pages_block_json(o, b);
        break;
    default:
        break;
    }
}

static void print_block_json(const struct log_reader *r, const struct log_block *b)
{
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:I}", "kind", "block", "type", log_type_name(b->type), "number",
                  (json_int_t)b->number, "offset", (json_int_t)b->offset, "length", (json_int_t)b->length);

    contents_json(o, r, b);
    json_print(o);
}

static void print_block(const struct log_block *b)
{
    printf("# block %" PRIu32 " %s at %" PRIu64 ", %" PRIu32 " bytes", b->number, log_type_name(b->type),
           b->offset, b->length);
    if (b->type == LOG_TYPE_COMMITS)
        printf(", commits %" PRIu64 "..%" PRIu64 ", running digest %016" PRIx64, b->first,
               b->first + b->count - 1, b->digest);
    if (b->type == LOG_TYPE_CONSOLE || b->type == LOG_TYPE_MESSAGE) {
        fputs(": ", stdout);
        print_text(b->payload, b->length);
    }
    putchar('\n');
}

static void print_detail_page(const struct log_detail_page *page)
{
    printf("         page %" PRIx32 " words %" PRIu32 ":", page->gpn, page->changed);
    for (uint32_t i = 0; i < page->listed; i++) {
        uint64_t value;
        uint32_t at = log_detail_word(page, i, &value);
        printf(" %" PRIx32 "=%" PRIx64, at * 8, value);
    }
    putchar('\n');
}

static void print_detail(struct log_detail *detail)
{
    struct log_detail_page page;

    printf("%8" PRIu64 " vcpu %" PRIu32 " detail", detail->seq, detail->vcpu);
    for (unsigned i = 0; i < DETAIL_REGISTERS; i++)
        printf(" %s %" PRIx64, detail_register_name(i), detail->state.regs[i]);
    for (unsigned i = 0; i < DETAIL_PARTS; i++)
        printf(" %s %016" PRIx64, detail_part_name(i), detail->state.part[i]);
    printf(" pages %" PRIu32 "\n", detail->changed);
    while (log_detail_page(detail, &page))
        print_detail_page(&page);
}

static json_t *json_of_detail_page(const struct log_detail_page *page)
{
    json_t *words = json_object();

    for (uint32_t i = 0; i < page->listed; i++) {
        char name[16];
        uint64_t value;
        snprintf(name, sizeof(name), "%" PRIx32, log_detail_word(page, i, &value) * 8);
        json_object_set_new(words, name, json_hex(value));
    }
    return json_pack("{s:I, s:I, s:o}", "page", (json_int_t)page->gpn, "changed", (json_int_t)page->changed,
                     "words", words);
}

static void print_detail_json(struct log_detail *detail)
{
    json_t *registers = json_object(), *digests = json_object(), *pages = json_array();
    struct log_detail_page page;

    for (unsigned i = 0; i < DETAIL_REGISTERS; i++)
        json_object_set_new(registers, detail_register_name(i), json_hex(detail->state.regs[i]));
    for (unsigned i = 0; i < DETAIL_PARTS; i++)
        json_object_set_new(digests, detail_part_name(i), json_hex(detail->state.part[i]));
    while (log_detail_page(detail, &page))
        json_array_append_new(pages, json_of_detail_page(&page));
    json_print(json_pack("{s:s, s:o, s:I, s:o, s:o, s:I, s:o}", "kind", "detail", "seq",
                         json_u64(detail->seq), "vcpu", (json_int_t)detail->vcpu, "registers", registers,
                         "digests", digests, "changed_pages", (json_int_t)detail->changed, "pages", pages));
}

static bool detail_wanted(const struct dump_args *args, const struct log_detail *detail)
{
    return detail->seq >= args->from && detail->seq <= args->to &&
           (args->vcpu < 0 || detail->vcpu == (uint32_t)args->vcpu);
}

static void dump_details(struct dump_args *args, const struct log_block *b)
{
    const uint8_t *at = b->payload, *end = at + b->length;
    struct log_detail detail;

    while (at < end && log_detail_next(&at, end, &detail) == LOG_OK) {
        if (!detail_wanted(args, &detail))
            continue;
        if (args->json)
            print_detail_json(&detail);
        else
            print_detail(&detail);
    }
}

static void dump_pages(const struct dump_args *args, const struct log_block *b)
{
    struct rec_pages pages;

    if (log_decode_pages(b, &pages) == LOG_OK)
        pages_print(&pages, &args->symbols);
}

static void dump_block(void *context, const struct log_reader *r, const struct log_block *b)
{
    struct dump_args *args = context;
    bool commits = b->type == LOG_TYPE_COMMITS, details = b->type == LOG_TYPE_DETAIL;
    bool all = !args->from && args->to == UINT64_MAX;

    /* Who asks for some commits wants nothing else. */
    if (!all && !details && (!commits || b->first > args->to || b->first + b->count <= args->from))
        return;
    if ((all || commits) && args->json)
        print_block_json(r, b);
    else if (all || commits)
        print_block(b);
    if (commits)
        dump_commits(args, r, b);
    else if (details)
        dump_details(args, b);
    else if (b->type == LOG_TYPE_PAGES && !args->json)
        dump_pages(args, b);
}

int command_dump(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"guest", 'g', "ELF", 0, "The guest's image, to name positions by its symbols", 0},
        {"json", 'j', NULL, 0, "Print JSON lines", 0},
        {"from", OPTION_FROM, "SEQ", 0, "First commit to print", 0},
        {"to", OPTION_TO, "SEQ", 0, "Last commit to print", 0},
        {"vcpu", 'n', "N", 0, "Print chunks of this vCPU only", 0},
        {0},
    };
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .args_doc = "LOG",
                                     .doc = "Prints the blocks and records of a log."};
    struct dump_args args = {.from = 0, .to = UINT64_MAX, .vcpu = -1};
    struct log_reader r;
    struct logmap m = {.fd = -1};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    int code = args.guest ? symbols_open(&args.symbols, args.guest) : RETRO_OK;
    if (code == RETRO_OK)
        code = logmap_open(&m, args.path);
    if (code == RETRO_OK) {
        enum log_status status = logmap_walk(&m, &r, dump_block, &args);
        fflush(stdout);
        code = logmap_report(&m, args.path, &r, status);
        if (code == RETRO_OK && args.vcpu >= (int)r.header.vcpus)
            code = fail(RETRO_USAGE, "%s has %" PRIu32 " vCPUs: none of them is vCPU %d", args.path,
                        r.header.vcpus, args.vcpu);
    }
    logmap_close(&m);
    symbols_close(&args.symbols);
    return code;
}
