/* retro record, retro run: a guest in the emulator, with and without a log. */
#include "tools/retro/record.h"
#include "tools/retro/collector.h"
#include "tools/retro/machine.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct record_args {
    struct machine_options machine;
    struct input_options input;
    const char *output;
    bool record;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct record_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->machine;
        state->child_inputs[1] = &args->machine;
        state->child_inputs[2] = &args->input;
        return 0;
    case 'o':
        args->output = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected word '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        if (args->record && !args->output)
            argp_error(state, "say where the log goes by -o LOG");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&machine_argp, 0, NULL, 0},
    {&machine_guest_argp, 0, "Guest:", 1},
    {&input_argp, 0, "Console input:", 2},
    {0},
};

static int parse_args(struct record_args *args, int argc, char **argv)
{
    static const struct argp_option output[] = {
        {"output", 'o', "LOG", 0, "Where the log goes, in place of what is there", 0}, {0}};
    const struct argp record = {
        .options = output,
        .parser = parse,
        .args_doc = "-o LOG",
        .doc = "Runs a guest in the emulator and records it.",
        .children = children,
    };
    const struct argp run = {
        .parser = parse,
        .doc = "Runs a guest in the emulator without chunks and log, as a yardstick.",
        .children = children,
    };

    return argp_parse(args->record ? &record : &run, argc, argv, 0, NULL, args) ? RETRO_USAGE : RETRO_OK;
}

static int open_log(struct collector *c, const char *path, const struct display *d)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return fail(RETRO_IO, "cannot write the log %s: %s", path, strerror(errno));
    return collector_init(c, fd, path, 0, d);
}

/* A recording without a whole log is none, whatever the guest's own end. */
static int check_log(const struct collector *c, int code)
{
    if (c->log_status == LOG_ERROR)
        return RETRO_DAMAGED;
    if (c->log_status == LOG_END && c->reader.complete)
        return code;
    if (code != RETRO_OK)
        return code;
    return fail(RETRO_INCOMPLETE, "the log has no end: it replays up to commit %" PRIu64, c->reader.next - 1);
}

static void tell(const struct record_args *args, const struct collector *c)
{
    char *text = describe_run(c);
    const struct rec_trailer *t = &c->reader.trailer;

    if (!args->record)
        note("%s", text);
    else if (c->reader.complete)
        note("recorded %s: %s; %" PRIu64 " commits, %zu bytes, %" PRIu64
             " bytes of console; memory digest %016" PRIx64,
             args->output, text, t->commits, c->log.size, t->console_bytes, t->memory_digest);
    else
        note("not recorded in full: %s", text);
    free(text);
}

static int run_guest(struct record_args *args)
{
    struct machine_job job = {.mode = args->record ? "record" : "run"};
    struct collector *c = xmalloc(sizeof *c);
    struct display d;
    struct input in = {.fd = -1};

    int code = display_open(&d, !args->machine.json, args->machine.verbose, args->machine.console_file);
    if (code == RETRO_OK)
        code = input_open(&in, &args->input);
    d.progress = d.progress && !in.terminal;
    if (code == RETRO_OK)
        code = args->record ? open_log(c, args->output, &d) : collector_init_memory(c, &d);
    if (code != RETRO_OK) {
        input_close(&in);
        free(c);
        return code;
    }
    c->input = in.wanted ? &in : NULL;
    code = machine_run(&args->machine, &job, c);
    input_close(&in);
    if (code == RETRO_OK) {
        code = verdict_of_run(c);
        tell(args, c);
        if (args->record)
            code = check_log(c, code);
    }
    if (args->machine.json)
        json_print(json_of_run(args->record ? "record" : "run", code, c));
    collector_free(c);
    free(c);
    return code;
}

int record_guest(const struct machine_options *machine, const char *output)
{
    struct record_args args = {.machine = *machine, .output = output, .record = true};

    return run_guest(&args);
}

int command_record(int argc, char **argv)
{
    struct record_args args = {.machine = MACHINE_DEFAULTS, .record = true};
    int code = parse_args(&args, argc, argv);

    return code == RETRO_OK ? run_guest(&args) : code;
}

int command_run(int argc, char **argv)
{
    struct record_args args = {.machine = MACHINE_DEFAULTS};
    int code = parse_args(&args, argc, argv);

    return code == RETRO_OK ? run_guest(&args) : code;
}
