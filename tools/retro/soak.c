/* retro soak: a guest recorded and replayed round after round in one boot; a round that fails leaves its log.
 */
#include "tools/retro/collector.h"
#include "tools/retro/machine.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_COUNT = 512, OPTION_SECONDS };

/* The machine has room for the decoded log of a round with as many commits. */
enum { ROUND_COMMITS = 120000 };

struct soak_args {
    struct machine_options machine;
    const char *output;
    uint64_t count, seconds;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct soak_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->machine;
        state->child_inputs[1] = &args->machine;
        return 0;
    case 'o':
        args->output = arg;
        return 0;
    case OPTION_COUNT:
        if (!parse_number(arg, 1, UINT32_MAX, &args->count))
            argp_error(state, "--count: '%s' is not a number of rounds", arg);
        return 0;
    case OPTION_SECONDS:
        if (!parse_number(arg, 1, UINT32_MAX, &args->seconds))
            argp_error(state, "--seconds: '%s' is not a number of seconds", arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected word '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        if (!args->output)
            argp_error(state, "say where the log of a round that fails goes by -o LOG");
        if (!args->count && !args->seconds)
            argp_error(state, "say how long by --count or --seconds");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A log came: of the round that failed, for whatever reason. */
static int judge(const struct soak_args *args, const struct collector *c)
{
    int code = verdict_of_status(c);

    if (c->log.size == 0) {
        if (code == RETRO_OK && !c->status[0])
            code = RETRO_EMULATOR;
        if (code == RETRO_OK)
            note("all rounds equal");
        return code;
    }
    char *text = describe_run(c);
    note("a round failed: %s; its log is %s, %zu bytes", text, args->output, c->log.size);
    free(text);
    return code == RETRO_OK ? verdict_of_run(c) : code;
}

static char *with_limits(const struct soak_args *args)
{
    char *count = args->count ? xprintf("count=%" PRIu64 " ", args->count) : xprintf(" ");
    char *seconds = args->seconds ? xprintf("seconds=%" PRIu64 " ", args->seconds) : xprintf(" ");
    char *words = xprintf("%s%s%s", count, seconds, args->machine.words);

    free(count);
    free(seconds);
    return words;
}

/* Of a round that failed earlier nothing is overwritten; -1 after a message, with errno set. */
static int open_log(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int error = errno;

    if (fd < 0 && error == EEXIST)
        note("%s exists: say another place for a log", path);
    else if (fd < 0)
        note("cannot write the log %s: %s", path, strerror(error));
    errno = error;
    return fd;
}

static int soak(struct soak_args *args)
{
    struct machine_job job = {.mode = "soak", .commits = ROUND_COMMITS};
    struct collector *c = xmalloc(sizeof *c);
    char *words = with_limits(args);
    struct display d;
    int fd = -1;

    int code = display_open(&d, !args->machine.json, args->machine.verbose, args->machine.console_file);
    if (code == RETRO_OK) {
        fd = open_log(args->output);
        code = fd >= 0           ? collector_init(c, fd, args->output, 0, &d)
               : errno == EEXIST ? RETRO_USAGE
                                 : RETRO_IO;
    }
    if (code != RETRO_OK) {
        free(words);
        free(c);
        return code;
    }
    args->machine.words = words;
    code = machine_run(&args->machine, &job, c);
    if (code == RETRO_OK)
        code = judge(args, c);
    if (args->machine.json)
        json_print(json_of_run("soak", code, c));
    if (c->log.size == 0)
        unlink(args->output);
    collector_free(c);
    free(c);
    free(words);
    return code;
}

int command_soak(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "LOG", 0, "Where the log of a round that fails goes: a new file", 0},
        {"count", OPTION_COUNT, "N", 0, "End after N rounds", 0},
        {"seconds", OPTION_SECONDS, "N", 0, "Begin no round after N seconds of the machine's time", 0},
        {0}};
    static const struct argp_child children[] = {
        {&machine_argp, 0, NULL, 0},
        {&machine_guest_argp, 0, "Guest:", 1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "-o LOG",
        .doc = "Records and replays a guest in the emulator, round after round with seed after seed in one "
               "boot, "
               "until a limit is reached or a round fails. The guest's console is not shown.",
        .children = children,
    };
    struct soak_args args = {.machine = MACHINE_DEFAULTS};

    return argp_parse(&argp, argc, argv, 0, NULL, &args) ? RETRO_USAGE : soak(&args);
}
