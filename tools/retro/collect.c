/* retro collect: receives a log from a machine over a line. */
#include "tools/retro/collector.h"
#include "tools/retro/retro.h"
#include "tools/retro/source.h"
#include "tools/retro/verdict.h"
#include "tools/retro/zlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_FORCE = 256, OPTION_JSON, OPTION_CONSOLE };

struct collect_args {
    const char *source, *output, *console_file;
    struct input_options input;
    unsigned baud;
    double timeout;
    bool append, force, json;
    int verbose;
};

static error_t parse_word(struct collect_args *args, char *arg, struct argp_state *state)
{
    if (args->source)
        argp_error(state, "more than one source given");
    args->source = arg;
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct collect_args *args = state->input;
    uint64_t number;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->input;
        return 0;
    case 'o':
        args->output = arg;
        return 0;
    case 'b':
        if (!parse_number(arg, 1, UINT32_MAX, &number) || !source_baud_known((unsigned)number))
            argp_error(state, "--baud: %s is not a speed of a serial line", arg);
        args->baud = (unsigned)number;
        return 0;
    case 't':
        if (!parse_number(arg, 0, 1000000, &number))
            argp_error(state, "--timeout: '%s' is not a number of seconds", arg);
        args->timeout = (double)number;
        return 0;
    case 'a':
        args->append = true;
        return 0;
    case 'v':
        args->verbose++;
        return 0;
    case OPTION_FORCE:
        args->force = true;
        return 0;
    case OPTION_JSON:
        args->json = true;
        return 0;
    case OPTION_CONSOLE:
        args->console_file = arg;
        return 0;
    case ARGP_KEY_ARG:
        return parse_word(args, arg, state);
    case ARGP_KEY_END:
        if (!args->source || !args->output)
            argp_error(state, "give a source, and -o LOG");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Opens the log, without treading on one that is there unless told what to do with it. */
static int open_log(const struct collect_args *args, int *fd, uint64_t *have)
{
    struct stat st;

    *fd = open(args->output, O_RDWR | O_CREAT | O_CLOEXEC | (args->append ? O_APPEND : 0), 0644);
    if (*fd < 0 || fstat(*fd, &st))
        return fail(RETRO_IO, "cannot write the log %s: %s", args->output, strerror(errno));
    *have = 0;
    if (!S_ISREG(st.st_mode))
        return fail(RETRO_IO, "%s is not a regular file", args->output);
    if (st.st_size == 0)
        return RETRO_OK;
    if (args->append) {
        uint8_t magic[4] = {0};
        if (pread(*fd, magic, sizeof magic, 0) == sizeof magic && zlog_is(magic, sizeof magic))
            return fail(RETRO_USAGE, "%s is compressed: retro decompress it to go on", args->output);
        *have = (uint64_t)st.st_size;
        return RETRO_OK;
    }
    if (!args->force)
        return fail(RETRO_USAGE, "%s exists: use --append to go on collecting it, --force to overwrite it",
                    args->output);
    if (ftruncate(*fd, 0))
        return fail(RETRO_IO, "cannot empty %s: %s", args->output, strerror(errno));
    return RETRO_OK;
}

static int verdict(const struct collect_args *args, const struct collector *c)
{
    char *text = describe_run(c);
    int code = RETRO_OK;

    note("%s: %zu bytes, %" PRIu64 " commits; %s", args->output, c->log.size, c->reader.next - 1, text);
    free(text);
    if (c->log_status == LOG_ERROR)
        return RETRO_DAMAGED;
    if (c->log_status == LOG_END)
        return verdict_of_run(c);
    if (c->status[0])
        code = verdict_of_run(c);
    if (code != RETRO_OK)
        return code;
    if (c->log.size == 0)
        return fail(RETRO_INCOMPLETE, "no log came: is the source right, and its speed?");
    return fail(RETRO_INCOMPLETE,
                "the log was cut off: it replays up to commit %" PRIu64
                "; --append goes on where the sender still runs",
                c->reader.next - 1);
}

static int ended(const struct collect_args *args, const struct collector *c)
{
    switch (c->end) {
    case COLLECT_INTERRUPTED:
        if (!collector_has_result(c)) {
            verdict(args, c);
            return RETRO_INTERRUPTED;
        }
        break;
    case COLLECT_TIMEOUT:
        verdict(args, c);
        return fail(RETRO_TIMEOUT, "no end after %.0f s (--timeout)", args->timeout);
    case COLLECT_FAILED:
        return c->link.state == LINK_FAILED ? RETRO_MISMATCH : RETRO_IO;
    case COLLECT_RESULT:
    case COLLECT_CLOSED:
        break;
    }
    return verdict(args, c);
}

static int collect(const struct collect_args *args, struct collector *c, struct source *s)
{
    struct display d;
    struct input in = {.fd = -1};
    uint64_t have = 0;
    int fd = -1;

    int code = source_open(s, args->source, args->baud);
    if (code == RETRO_OK && !s->answers && (args->input.file || args->input.terminal))
        code = fail(RETRO_USAGE, "%s is a file: nobody there takes input", args->source);
    if (code == RETRO_OK)
        code = open_log(args, &fd, &have);
    if (code == RETRO_OK)
        code = display_open(&d, !args->json, args->verbose, args->console_file);
    if (code == RETRO_OK)
        code = input_open(&in, &args->input);
    if (code != RETRO_OK) {
        input_close(&in);
        if (fd >= 0)
            close(fd);
        return code;
    }
    d.progress = d.progress && !in.terminal;
    code = collector_init(c, fd, args->output, have, &d);
    if (code == RETRO_OK) {
        c->input = in.wanted ? &in : NULL;
        collector_run(c, s, args->timeout > 0 ? now() + args->timeout : 0, NULL, NULL);
        input_close(&in);
        code = ended(args, c);
        if (args->json)
            json_print(json_of_run("collect", code, c));
    }
    input_close(&in);
    collector_free(c);
    return code;
}

int command_collect(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "LOG", 0, "Where the log goes", 0},
        {"baud", 'b', "N", 0, "Speed of a serial line (115200)", 0},
        {"append", 'a', NULL, 0, "Go on with a log that an earlier collection left behind", 0},
        {"force", OPTION_FORCE, NULL, 0, "Overwrite a log that is there", 0},
        {"timeout", 't', "SECONDS", 0, "Give up after this time (0: never)", 0},
        {"console", OPTION_CONSOLE, "FILE", 0, "Write the guest's console to FILE too", 0},
        {"json", OPTION_JSON, NULL, 0, "Print the verdict as JSON; the console is then not shown", 0},
        {"verbose", 'v', NULL, 0, "Show all that comes: firmware, boot loader", 0},
        {0},
    };
    static const struct argp_child children[] = {{&input_argp, 0, "Console input:", 1}, {0}};
    static const struct argp argp = {
        .options = options,
        .children = children,
        .parser = parse,
        .args_doc = "SOURCE -o LOG",
        .doc =
            "Receives a log over a line and writes it to a file as it comes: an interrupted collection "
            "leaves a "
            "log that replays up to its last whole block.\v"
            "SOURCE is the path of a tty or pty, tcp:HOST:PORT, listen:PORT, unix:PATH, or a file that holds "
            "what came over such a line.",
    };
    struct collect_args args = {.baud = 115200};
    struct source s = {.fd = -1, .listener = -1};
    struct collector *c;

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    c = xmalloc(sizeof *c);
    int code = collect(&args, c, &s);
    source_close(&s);
    free(c);
    return code;
}
