/* retro: finds the sub-command and hands over. */
#include "replay/log_format.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct retro_command commands[] = {
    {"record", "run a guest in the emulator and record it", command_record},
    {"replay", "replay a log in the emulator and compare with the recording", command_replay},
    {"run", "run a guest in the emulator without recording", command_run},
    {"soak", "record and replay a guest in the emulator, round after round", command_soak},
    {"hunt", "record a guest again and again until it does what is looked for", command_hunt},
    {"collect", "receive a log from a machine over a serial line or TCP", command_collect},
    {"info", "say what a log holds", command_info},
    {"verify", "check a log's structure and say how far it is usable", command_verify},
    {"stats", "sizes, chunk ends and counters of a log", command_stats},
    {"diff", "say where two recordings part", command_diff},
    {"dump", "print the records of a log", command_dump},
    {"console", "print the guest's console output kept in a log", command_console},
    {"compress", "compress a log", command_compress},
    {"decompress", "expand a compressed log", command_decompress},
};

static const char *const exit_names[] = {
    [RETRO_OK] = "ok",
    [RETRO_USAGE] = "usage",
    [RETRO_NOT_EQUAL] = "not-equal",
    [RETRO_DAMAGED] = "log-damaged",
    [RETRO_INCOMPLETE] = "log-incomplete",
    [RETRO_GUEST] = "guest-ended-badly",
    [RETRO_MACHINE] = "machine-refused",
    [RETRO_TIMEOUT] = "timeout",
    [RETRO_IO] = "io-error",
    [RETRO_EMULATOR] = "no-result",
    [RETRO_MISMATCH] = "mismatch",
    [RETRO_INTERRUPTED] = "interrupted",
    [RETRO_NOT_FOUND] = "not-found",
};

const char *retro_exit_name(int code)
{
    if (code < 0 || (size_t)code >= sizeof exit_names / sizeof exit_names[0])
        return "unknown";
    return exit_names[code];
}

static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)text;

    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (!f)
        return (char *)text;
    fputs("Commands (each has a --help of its own):\n", f);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nExit codes:\n"
          "   0  done; for replay: equal to the recording\n"
          "   1  the command line is wrong\n"
          "   2  the replay diverged or its results are not equal; diff: the logs differ\n"
          "   3  the log is damaged\n"
          "   4  the log is incomplete (usable up to its last whole block)\n"
          "   5  the guest ended badly or was refused\n"
          "   6  the machine lacks what Retrovisor needs\n"
          "   7  the time given by --timeout has passed\n"
          "   8  a file, line or socket failed\n"
          "   9  emulator or hypervisor ended without a result\n"
          "  10  log and guest, or log and this version, do not belong together\n"
          "  11  interrupted\n"
          "  12  hunt: not found\n",
          f);
    fclose(f);
    return out;
}

struct main_args {
    int first; /* index of the sub-command's name, 0 if there is none */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct main_args *args = state->input;

    (void)arg;
    switch (key) {
    case 'V':
        printf("retro: log format %u.%u, replay semantics %u\n", LOG_VERSION_MAJOR, LOG_VERSION_MINOR,
               REC_REPLAY_SEMANTICS);
        exit(RETRO_OK);
    case ARGP_KEY_ARG:
        args->first = state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no command given");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"version", 'V', NULL, 0, "Say which logs this version makes and replays", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "COMMAND [OPTION...]",
        .doc = "Record and replay of multi-core guests: the host side of Retrovisor.\v ",
        .help_filter = help_filter,
    };
    struct main_args args = {0};

    argp_err_exit_status = RETRO_USAGE;
    signal(SIGPIPE, SIG_IGN); /* a peer that closes is reported by write(2) */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args))
        return RETRO_USAGE;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[args.first], commands[i].name) != 0)
            continue;
        char name[64];
        snprintf(name, sizeof name, "retro %s", commands[i].name);
        argv[args.first] = name;
        program_invocation_name = name;
        return commands[i].run(argc - args.first, argv + args.first);
    }
    return fail(RETRO_USAGE, "unknown command '%s' (see retro --help)", argv[args.first]);
}
