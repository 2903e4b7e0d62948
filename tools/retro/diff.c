/* retro diff: where two recordings part. */
#include "tools/retro/diff.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct diff_args {
    const char *path[2];
    const char *guest;
    bool json;
};

struct diff {
    struct diff_side side[2];
    struct symbols symbols;
    enum diff_kind kind;
    uint64_t seq;   /* of the first commit that differs; 0: none does */
    bool blind;     /* the machines were not the same: no digest can be, and none is compared */
    json_t *header; /* object: field -> [A's, B's] */
    json_t *end;    /* the same for the trailers */
    json_t *line;   /* number and texts of the first console line that differs, or NULL */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct diff_args *args = state->input;

    switch (key) {
    case 'g':
        args->guest = arg;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "more than two logs given");
        args->path[state->arg_num] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->path[1])
            argp_error(state, "give two logs");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The members that differ, each with both values; takes over both objects. */
static json_t *compare_objects(json_t *a, json_t *b)
{
    json_t *out = json_object(), *value, *other;
    const char *name;

    json_object_foreach(a, name, value)
    {
        other = json_object_get(b, name);
        if (!other || !json_equal(value, other))
            json_object_set_new(out, name,
                                json_pack("[O, o]", value, other ? json_incref(other) : json_null()));
    }
    json_object_foreach(b, name, value)
    {
        if (!json_object_get(a, name))
            json_object_set_new(out, name, json_pack("[n, O]", value));
    }
    json_decref(a);
    json_decref(b);
    return out;
}

static json_t *header_of(const struct diff_side *s)
{
    json_t *o = json_of_header(&s->header);

    json_object_del(o, "build_id"); /* information only */
    return o;
}

static json_t *end_of(const struct diff_side *s)
{
    if (s->reader.complete)
        return json_of_trailer(&s->reader.trailer, s->reader.header.vcpus);
    return json_pack("{s:s}", "outcome", s->reader.aborted ? "aborted" : "none");
}

/* A line of a console, without its end; moves on behind it. False at the end. */
static bool take_line(const struct buffer *console, size_t *at, const char **line, size_t *length)
{
    if (*at >= console->length)
        return false;
    *line = (const char *)console->data + *at;
    const char *end = memchr(*line, '\n', console->length - *at);
    *length = end ? (size_t)(end - *line) : console->length - *at;
    *at += *length + 1;
    while (*length && (*line)[*length - 1] == '\r')
        --*length;
    return true;
}

static json_t *json_of_line(bool there, const char *line, size_t length)
{
    if (!there)
        return json_null();
    char *text = xprintf("%.*s", (int)MIN(length, (size_t)500), line);
    json_t *o = json_text(text);
    free(text);
    return o;
}

static json_t *compare_consoles(const struct buffer *a, const struct buffer *b)
{
    size_t at[2] = {0, 0}, length[2] = {0, 0};
    const char *line[2] = {"", ""};

    for (json_int_t number = 1;; number++) {
        bool there[2] = {take_line(a, &at[0], &line[0], &length[0]),
                         take_line(b, &at[1], &line[1], &length[1])};
        if (!there[0] && !there[1])
            return NULL;
        if (there[0] != there[1] || length[0] != length[1] || memcmp(line[0], line[1], length[0]) != 0)
            return json_pack("{s:I, s:o, s:o}", "line", number, "a",
                             json_of_line(there[0], line[0], length[0]), "b",
                             json_of_line(there[1], line[1], length[1]));
    }
}

/* Reads both in step up to the first commit that differs. */
static void find_difference(struct diff *d)
{
    struct diff_side *a = &d->side[0], *b = &d->side[1];
    uint64_t seq = 0;

    do {
        bool more_a = diff_next(a), more_b = diff_next(b);
        seq++;
        d->kind = diff_commits(a, b);
        if (d->kind == DIFF_STATE && d->blind)
            d->kind = DIFF_NONE;
        if (!more_a || !more_b)
            break;
    } while (d->kind == DIFF_NONE);
    d->seq = d->kind == DIFF_NONE ? 0 : seq;
}

/* What is left of a log, for its console and its end; the place where it stands is kept. */
static void read_on(struct diff_side *s)
{
    struct diff_side here = *s;

    while (diff_next(s))
        ;
    s->seq = here.seq;
    s->commit = here.commit;
    memcpy(s->last_rip, here.last_rip, sizeof s->last_rip);
    memcpy(s->last_seq, here.last_seq, sizeof s->last_seq);
}

static void print_pairs(const char *title, json_t *pairs)
{
    const char *name;
    json_t *pair;

    json_object_foreach(pairs, name, pair)
    {
        char *a = json_dumps(json_array_get(pair, 0), JSON_ENCODE_ANY);
        char *b = json_dumps(json_array_get(pair, 1), JSON_ENCODE_ANY);
        printf("%s %s: A %s, B %s\n", title, name, a, b);
        free(a);
        free(b);
    }
}

/* The vCPUs that the two commits are of: what was known of them before. */
static void print_last(const struct diff *d)
{
    unsigned vcpus = MAX(d->side[0].reader.header.vcpus, d->side[1].reader.header.vcpus);

    for (unsigned v = 0; v < vcpus; v++) {
        bool concerned = false;
        for (unsigned i = 0; i < 2; i++)
            concerned |=
                d->side[i].seq && d->side[i].commit.kind == REC_CHUNK && d->side[i].commit.chunk.vcpu == v;
        char *text = diff_describe_last(&d->side[0], v, &d->symbols);
        if (concerned)
            printf("  vCPU %u: %s\n", v, text);
        free(text);
    }
}

static void print_text(const struct diff *d)
{
    print_pairs("header:", d->header);
    if (d->blind)
        puts("so state and memory differ from the start, and only the records are compared");
    if (d->seq) {
        printf("the logs part at commit %" PRIu64 ": %s\n", d->seq, diff_kind_text(d->kind));
        for (unsigned i = 0; i < 2; i++) {
            char *text = diff_describe(&d->side[i], &d->symbols);
            printf("  %c: %s\n", 'A' + (char)i, text);
            free(text);
        }
        print_last(d);
    } else {
        printf("all %" PRIu64 " commits are %s\n", d->side[0].reader.next - 1,
               d->blind ? "alike in their records" : "equal");
    }
    if (d->line) {
        char *a = json_dumps(json_object_get(d->line, "a"), JSON_ENCODE_ANY);
        char *b = json_dumps(json_object_get(d->line, "b"), JSON_ENCODE_ANY);
        printf("console from line %" JSON_INTEGER_FORMAT ":\n  A: %s\n  B: %s\n",
               json_integer_value(json_object_get(d->line, "line")), a, b);
        free(a);
        free(b);
    }
    print_pairs("end:", d->end);
}

static json_t *json_of_side(const struct diff *d, unsigned i)
{
    const struct diff_side *s = &d->side[i];
    json_t *o = json_object(), *last = json_object();
    char *text = diff_describe(s, &d->symbols);

    json_object_set_new(o, "text", json_text(text));
    free(text);
    if (s->seq && s->commit.kind == REC_CHUNK) {
        json_object_set_new(o, "vcpu", json_integer(s->commit.chunk.vcpu));
        json_object_set_new(o, "end", json_string(end_name(s->commit.chunk.end)));
        if (s->commit.chunk.end == REC_END_POSITION)
            json_object_set_new(o, "rip", json_hex(s->commit.chunk.position.rip));
    }
    for (unsigned v = 0; v < s->reader.header.vcpus; v++) {
        char name[16], symbol[SYMBOL_TEXT_MAX];
        snprintf(name, sizeof name, "vcpu%u", v);
        if (s->last_seq[v])
            json_object_set_new(last, name,
                                json_pack("{s:I, s:o, s:s}", "commit", (json_int_t)s->last_seq[v], "rip",
                                          json_hex(s->last_rip[v]), "symbol",
                                          symbols_find(&d->symbols, s->last_rip[v], symbol)));
    }
    json_object_set_new(o, "last_seen", last);
    return o;
}

static void print_json(const struct diff *d, int code)
{
    json_t *o = json_object();

    json_object_set_new(o, "command", json_string("diff"));
    json_object_set_new(o, "code", json_integer(code));
    json_object_set_new(o, "verdict", json_string(retro_exit_name(code)));
    json_object_set_new(o, "equal", json_boolean(code == RETRO_OK));
    json_object_set(o, "header", d->header);
    json_object_set_new(o, "digests_compared", json_boolean(!d->blind));
    json_object_set(o, "end", d->end);
    if (d->line)
        json_object_set(o, "console", d->line);
    if (d->seq) {
        json_object_set_new(o, "commit", json_integer((json_int_t)d->seq));
        json_object_set_new(o, "kind", json_string(diff_kind_name(d->kind)));
        json_object_set_new(o, "a", json_of_side(d, 0));
        json_object_set_new(o, "b", json_of_side(d, 1));
    }
    json_print(o);
}

/* Two damaged logs may well be equal as far as they go: the damage decides. */
static int judge(struct diff *d)
{
    int code = RETRO_OK;

    for (unsigned i = 0; i < 2 && code != RETRO_DAMAGED; i++) {
        struct diff_side *s = &d->side[i];
        if (s->whole_status == LOG_ERROR || s->map.damaged)
            code = logmap_report(&s->map, s->path, &s->whole, s->whole_status);
    }
    if (code != RETRO_OK)
        return code;
    return d->seq || d->line || json_object_size(d->header) || json_object_size(d->end) ? RETRO_NOT_EQUAL
                                                                                        : RETRO_OK;
}

static int diff_logs(struct diff *d, bool json)
{
    d->header = compare_objects(header_of(&d->side[0]), header_of(&d->side[1]));
    d->blind = json_object_size(d->header) != 0;
    find_difference(d);
    read_on(&d->side[0]);
    read_on(&d->side[1]);
    d->end = compare_objects(end_of(&d->side[0]), end_of(&d->side[1]));
    d->line = compare_consoles(&d->side[0].console, &d->side[1].console);
    int code = judge(d);
    if (json)
        print_json(d, code);
    else
        print_text(d);
    fflush(stdout);
    json_decref(d->header);
    json_decref(d->end);
    json_decref(d->line);
    return code;
}

int command_diff(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"guest", 'g', "ELF", 0, "The guest's image, to name places by its symbols", 0},
        {"json", 'j', NULL, 0, "Print JSON", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "A B",
        .doc = "Says where two recordings part: the first commit that differs and what is known of the guest "
               "there, then what console, end and header differ in. Exits with 0 if nothing differs, with 2 "
               "if something does.",
    };
    struct diff_args args = {0};
    struct diff d = {.side = {{.map = {.fd = -1}}, {.map = {.fd = -1}}}};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    int code = args.guest ? symbols_open(&d.symbols, args.guest) : RETRO_OK;
    for (unsigned i = 0; i < 2 && code == RETRO_OK; i++)
        code = diff_open(&d.side[i], args.path[i]);
    if (code == RETRO_OK)
        code = diff_logs(&d, args.json);
    diff_close(&d.side[0]);
    diff_close(&d.side[1]);
    symbols_close(&d.symbols);
    return code;
}
