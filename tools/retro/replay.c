/* retro replay: a log in the emulator, compared with what it was recorded from. */
#include "tools/retro/collector.h"
#include "tools/retro/machine.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct replay_args {
    struct machine_options machine;
    const char *log;
};

/* The recording, as the log tells it. */
struct recording {
    struct log_reader reader;
    enum log_status status;
    struct buffer console;
    char *plain; /* temporary file with the expanded log, NULL where the log is not compressed */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct replay_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->machine;
        return 0;
    case ARGP_KEY_ARG:
        if (args->log)
            argp_error(state, "more than one log given");
        args->log = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "give the log to replay");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void keep_console(void *context, const struct log_reader *r, const struct log_block *b)
{
    struct recording *recording = context;

    (void)r;
    if (b->type == LOG_TYPE_CONSOLE)
        buffer_add(&recording->console, b->payload, b->length);
}

/* Boot loader and hypervisor take plain logs alone. */
static int write_plain(struct recording *recording, const struct logmap *m)
{
    const char *tmp = getenv("TMPDIR");
    char *path = xprintf("%s/retro-log-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC), code = RETRO_OK;

    if (fd < 0 || write_all(fd, m->bytes, m->size))
        code = fail(RETRO_IO, "cannot expand the log to %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (code != RETRO_OK && fd >= 0)
        unlink(path);
    if (code == RETRO_OK)
        recording->plain = path;
    else
        free(path);
    return code;
}

/* Reads the whole log: what is refused here need not be booted for. */
static int read_recording(struct recording *recording, const char *path)
{
    struct log_reader *r = &recording->reader;
    struct logmap m;
    int code = logmap_open(&m, path);

    if (code == RETRO_OK) {
        recording->status = logmap_walk(&m, r, keep_console, recording);
        if (!r->have_header && m.size == 0 && !m.damaged)
            code = fail(RETRO_INCOMPLETE, "%s is empty", path);
        else if (!r->have_header || recording->status == LOG_ERROR || m.damaged)
            code = logmap_report(&m, path, r, recording->status);
        else if (recording->status == LOG_NEED_MORE)
            logmap_report(&m, path, r, recording->status); /* replays as far as it goes */
    }
    if (code == RETRO_OK && m.compressed)
        code = write_plain(recording, &m);
    logmap_close(&m);
    if (code == RETRO_OK && r->header.semantics != REC_REPLAY_SEMANTICS)
        code = fail(RETRO_MISMATCH,
                    "%s has replay semantics %" PRIu32
                    ", this version replays %u: use the version it was made with",
                    path, r->header.semantics, REC_REPLAY_SEMANTICS);
    return code;
}

/* The machine that the log was made on. */
static void take_header(struct machine_options *o, const struct rec_header *h)
{
    o->vcpus = h->vcpus;
    o->memory = h->memory_bytes;
    o->append = h->guest_command_line;
    o->seed = h->seed;
    o->has_seed = true;
}

/* Compares what the replay reported with the recording; `d` is set where both have a trailer. */
static int compare(const struct recording *recording, const struct collector *c, struct comparison *d)
{
    const struct rec_trailer *recorded = &recording->reader.trailer, *replayed = &c->reader.trailer;
    unsigned vcpus = recording->reader.header.vcpus;

    int code = verdict_of_status(c);
    if (!c->reader.complete || code != RETRO_OK) {
        char *text = describe_run(c);
        bool differs = code == RETRO_OK || code == RETRO_NOT_EQUAL;
        note("%s: %s", differs ? "NOT EQUAL" : "not replayed", text);
        free(text);
        return code == RETRO_OK ? RETRO_NOT_EQUAL : code;
    }
    if (!recording->reader.complete)
        return fail(RETRO_INCOMPLETE,
                    "the log has no end to compare with: replayed up to commit %" PRIu64
                    ", every chunk's digest equal",
                    recording->reader.next - 1);
    if (!compare_results(recorded, &recording->console, replayed, &c->console, vcpus, d)) {
        print_differences(d, recorded, replayed, vcpus);
        return fail(RETRO_NOT_EQUAL, "NOT EQUAL");
    }
    note("equal: %" PRIu64 " commits, memory digest %016" PRIx64 ", %u vCPU digests, %" PRIu64
         " bytes of console, digest %016" PRIx64,
         recorded->commits, recorded->memory_digest, vcpus, recorded->console_bytes,
         recorded->console_digest);
    return RETRO_OK;
}

static int replay(struct replay_args *args, const struct recording *recording)
{
    struct machine_job job = {.mode = "replay", .log = args->log, .commits = recording->reader.next - 1};
    struct collector *c = xmalloc(sizeof *c);
    struct comparison d = {0};
    struct display display;

    int code = display_open(&display, !args->machine.json, args->machine.verbose, args->machine.console_file);
    if (code == RETRO_OK)
        code = collector_init_memory(c, &display);
    if (code != RETRO_OK) {
        free(c);
        return code;
    }
    code = machine_run(&args->machine, &job, c);
    if (code == RETRO_OK)
        code = compare(recording, c, &d);
    if (args->machine.json) {
        json_t *o = json_of_run("replay", code, c);
        json_object_set_new(o, "equal", json_boolean(code == RETRO_OK));
        json_object_set_new(o, "differences", json_of_comparison(&d, recording->reader.header.vcpus));
        if (recording->reader.complete)
            json_object_set_new(o, "recorded",
                                json_of_trailer(&recording->reader.trailer, recording->reader.header.vcpus));
        json_print(o);
    }
    collector_free(c);
    free(c);
    return code;
}

int command_replay(int argc, char **argv)
{
    static const struct argp_child children[] = {{&machine_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "LOG",
        .doc = "Replays a log in the emulator. Memory, vCPUs and the guest's command line are the log's. "
               "Exits with 0 only if memory, vCPUs and console end exactly as recorded.",
        .children = children,
    };
    struct replay_args args = {.machine = MACHINE_DEFAULTS};
    struct recording recording = {.console = {0}};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    int code = read_recording(&recording, args.log);
    if (code == RETRO_OK) {
        if (recording.plain)
            args.log = recording.plain;
        take_header(&args.machine, &recording.reader.header);
        code = replay(&args, &recording);
    }
    if (recording.plain)
        unlink(recording.plain);
    free(recording.plain);
    buffer_free(&recording.console);
    return code;
}
