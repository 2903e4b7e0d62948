/* retro info, retro console, retro verify: what a log holds, in short. */
#include "tools/retro/logmap.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct log_args {
    const char *path;
    bool json;
    bool takes_json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct log_args *args = state->input;

    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    default:
        return parse_log_argument(key, arg, state, &args->path);
    }
}

static int parse_args(struct log_args *args, int argc, char **argv, const char *doc)
{
    static const struct argp_option options[] = {{"json", 'j', NULL, 0, "Print JSON", 0}, {0}};
    const struct argp argp = {
        .options = args->takes_json ? options : NULL, .parser = parse, .args_doc = "LOG", .doc = doc};

    return argp_parse(&argp, argc, argv, 0, NULL, args) ? RETRO_USAGE : RETRO_OK;
}

/* Blocks and records of a log, counted. */
struct totals {
    uint64_t blocks, commits_blocks, other_blocks, console_bytes;
    uint64_t chunks[MAX_VCPUS], inputs;
    struct buffer console;
    bool keep_console;
    /* verify only */
    bool digest_differs;
    uint64_t digest_offset;
};

static void count_commits(struct totals *t, const struct log_reader *r, const struct log_block *b)
{
    struct rec_commit commit = {0};
    struct log_commits it;
    enum log_step step;
    uint16_t slice = 0;

    t->commits_blocks++;
    log_commits_begin(&it, r, b);
    while ((step = log_commits_next(&it, &commit)) == LOG_COMMIT) {
        if (commit.kind == REC_CHUNK)
            t->chunks[commit.chunk.vcpu]++;
        else
            t->inputs++;
        slice = commit.kind == REC_CHUNK ? commit.chunk.digest : commit.input.digest;
    }
    if (step == LOG_COMMITS_END && slice != log_digest_slice(b->digest) && !t->digest_differs) {
        t->digest_differs = true;
        t->digest_offset = b->offset;
    }
}

static void count_block(void *context, const struct log_reader *r, const struct log_block *b)
{
    struct totals *t = context;

    t->blocks++;
    if (b->type == LOG_TYPE_COMMITS)
        count_commits(t, r, b);
    else
        t->other_blocks++;
    if (b->type != LOG_TYPE_CONSOLE)
        return;
    t->console_bytes += b->length;
    if (t->keep_console)
        buffer_add(&t->console, b->payload, b->length);
}

static void print_header(const struct rec_header *h)
{
    printf("guest          %" PRIu32 " vCPUs, %" PRIu64 " MiB, image digest %016" PRIx64 "\n", h->vcpus,
           h->memory_bytes >> 20, h->image_digest);
    printf("command line   \"%s\"\n", h->guest_command_line);
    printf("replay         semantics %" PRIu32 ", CPUID model %" PRIu32 "\n", h->semantics, h->cpuid_model);
    if (h->host_traits == REC_TRAITS_UNKNOWN)
        printf("host traits    not known\n");
    else
        printf("host traits    %016" PRIx64 "\n", h->host_traits);
    printf("counts         %s\n",
           log_branch_event_name(h->branch_event) ? log_branch_event_name(h->branch_event) : "unknown event");
    printf("chunks         end at %" PRIu32 " PAUSE%s; seed %" PRIu64 "\n", h->pause_limit,
           h->pause_limit == 1 ? "" : "s", h->seed);
    printf("guest time     stride %" PRIu32 ", quantum %" PRIu32 ", %" PRIu64 " Hz\n", h->time_stride,
           h->time_quantum, h->tsc_hz);
    printf("made by        %s\n", h->build_id);
}

static void print_end(const struct log_reader *r, enum log_status status, const struct logmap *m)
{
    const struct rec_trailer *tr = &r->trailer;

    if (r->complete) {
        char *text = describe_trailer(tr);
        printf("end            %s\n", text);
        printf("memory digest  %016" PRIx64 "\n", tr->memory_digest);
        for (unsigned i = 0; i < r->header.vcpus; i++)
            printf("vCPU %u digest  %016" PRIx64 "\n", i, tr->vcpu_digest[i]);
        printf("console        %" PRIu64 " bytes, digest %016" PRIx64 "\n", tr->console_bytes,
               tr->console_digest);
        free(text);
    } else if (r->aborted) {
        printf("end            the recorder died: %s\n", r->reason);
    } else {
        printf("end            none: cut off or damaged; usable %" PRIu64 " of %zu bytes\n", r->offset,
               m->size);
    }
    (void)status;
}

static void print_totals(const struct totals *t, const struct log_reader *r, const struct logmap *m)
{
    uint64_t chunks = 0;

    for (unsigned i = 0; i < r->header.vcpus; i++)
        chunks += t->chunks[i];
    printf("commits        %" PRIu64 ": %" PRIu64 " chunks (", r->next - 1, chunks);
    for (unsigned i = 0; i < r->header.vcpus; i++)
        printf("%s%" PRIu64, i ? " + " : "", t->chunks[i]);
    printf("), %" PRIu64 " inputs\n", t->inputs);
    printf("log            %zu bytes, %" PRIu64 " blocks (%" PRIu64 " of commits), %.1f bytes a commit\n",
           m->size, t->blocks, t->commits_blocks,
           r->next > 1 ? (double)m->size / (double)(r->next - 1) : 0.0);
    if (m->compressed)
        printf("compressed     %" PRIu64 " bytes, %.1f%%\n", m->file_size,
               m->size ? 100.0 * (double)m->file_size / (double)m->size : 0.0);
}

static void print_info_json(const struct log_reader *r, enum log_status status, const struct totals *t,
                            const struct logmap *m)
{
    json_t *o = json_object(), *chunks = json_array();

    json_object_set_new(o, "bytes", json_integer((json_int_t)m->size));
    json_object_set_new(o, "file_bytes", json_integer((json_int_t)m->file_size));
    json_object_set_new(o, "usable_bytes", json_integer((json_int_t)r->offset));
    json_object_set_new(o, "state",
                        json_string(status == LOG_ERROR || m->damaged ? "damaged"
                                    : r->complete                     ? "complete"
                                    : r->aborted                      ? "aborted"
                                                                      : "cut off"));
    json_object_set_new(o, "blocks", json_integer((json_int_t)t->blocks));
    json_object_set_new(o, "commits", json_integer((json_int_t)(r->next - 1)));
    for (unsigned i = 0; i < r->header.vcpus; i++)
        json_array_append_new(chunks, json_integer((json_int_t)t->chunks[i]));
    json_object_set_new(o, "chunks", chunks);
    json_object_set_new(o, "inputs", json_integer((json_int_t)t->inputs));
    json_object_set_new(o, "header", json_of_header(&r->header));
    if (r->complete)
        json_object_set_new(o, "trailer", json_of_trailer(&r->trailer, r->header.vcpus));
    if (r->aborted)
        json_object_set_new(o, "abort", json_string(r->reason));
    json_print(o);
}

/* Opens a log and reads all of it; a log without a header is an error here. */
static int read_log(const char *path, struct logmap *m, struct log_reader *r, enum log_status *status,
                    struct totals *t)
{
    int code = logmap_open(m, path);

    if (code != RETRO_OK)
        return code;
    *status = logmap_walk(m, r, count_block, t);
    if (r->have_header)
        return RETRO_OK;
    return m->size || m->damaged ? logmap_report(m, path, r, *status)
                                 : fail(RETRO_INCOMPLETE, "%s is empty", path);
}

int command_info(int argc, char **argv)
{
    struct log_args args = {.takes_json = true};
    struct totals totals = {0};
    struct log_reader r;
    struct logmap m;
    enum log_status status;

    int code = parse_args(&args, argc, argv, "Says what a log holds: guest, how it ended, totals.");
    if (code != RETRO_OK)
        return code;
    code = read_log(args.path, &m, &r, &status, &totals);
    if (code == RETRO_OK && args.json) {
        print_info_json(&r, status, &totals, &m);
    } else if (code == RETRO_OK) {
        print_header(&r.header);
        print_totals(&totals, &r, &m);
        print_end(&r, status, &m);
    }
    if (code == RETRO_OK)
        code = logmap_report(&m, args.path, &r, status);
    logmap_close(&m);
    return code;
}

int command_console(int argc, char **argv)
{
    struct log_args args = {0};
    struct totals totals = {.keep_console = true};
    struct log_reader r;
    struct logmap m;
    enum log_status status;

    int code = parse_args(&args, argc, argv, "Prints the guest's console output that a log holds.");
    if (code != RETRO_OK)
        return code;
    code = read_log(args.path, &m, &r, &status, &totals);
    if (code == RETRO_OK) {
        if (totals.console.length)
            fwrite(totals.console.data, 1, totals.console.length, stdout);
        fflush(stdout);
        if (status != LOG_END || m.damaged)
            code = logmap_report(&m, args.path, &r, status);
        else if (r.complete && r.trailer.console_bytes != totals.console_bytes)
            note("the guest wrote %" PRIu64 " bytes, the log holds %" PRIu64 " of them",
                 r.trailer.console_bytes, totals.console_bytes);
    }
    buffer_free(&totals.console);
    logmap_close(&m);
    return code;
}

/* Says in words what verify found; the worst finding gives the exit code. */
static int tell_findings(const char *path, const struct logmap *m, const struct log_reader *r,
                         enum log_status status, const struct totals *t)
{
    int code = RETRO_OK;

    if (t->digest_differs)
        code =
            fail(RETRO_DAMAGED,
                 "%s: the running digest of the block at offset %" PRIu64 " is not that of its last record",
                 path, t->digest_offset);
    if (status == LOG_ERROR || m->damaged)
        code = logmap_report(m, path, r, status);
    if (code == RETRO_DAMAGED)
        note("usable up to offset %" PRIu64 ", commit %" PRIu64, r->offset, r->next - 1);
    else if (status == LOG_NEED_MORE)
        code = logmap_report(m, path, r, status);
    else if (r->aborted)
        code =
            fail(RETRO_INCOMPLETE, "%s ends where the recorder died (%s): it replays up to commit %" PRIu64,
                 path, r->reason, r->next - 1);
    return code;
}

int command_verify(int argc, char **argv)
{
    struct log_args args = {0};
    struct totals totals = {0};
    struct log_reader r;
    struct logmap m;
    enum log_status status;

    int code = parse_args(
        &args, argc, argv,
        "Checks a log: structure, CRCs, numbering, records, running digests, whether it is whole.");
    if (code != RETRO_OK)
        return code;
    code = read_log(args.path, &m, &r, &status, &totals);
    if (code == RETRO_OK)
        code = tell_findings(args.path, &m, &r, status, &totals);
    if (code == RETRO_OK)
        printf("%s: sound and complete, %" PRIu64 " blocks, %" PRIu64 " commits\n", args.path, totals.blocks,
               r.next - 1);
    logmap_close(&m);
    return code;
}
