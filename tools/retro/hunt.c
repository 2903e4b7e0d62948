/* retro hunt: records with one seed after the other until the guest does what is looked for. */
#include "tools/retro/hunt.h"
#include "tools/retro/logmap.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPTION_MATCH = 256 + 64, OPTION_NO_MATCH, OPTION_END, OPTION_SHOW, OPTION_TRIES, OPTION_MINUTES };
enum { POLL_MS = 50, MATCH_MAX = 200 };

static const double PROGRESS_SECONDS = 10;

/* Ends that --end names beside exit statuses and outcomes: every one but exit 0, and none in time. */
static const char BAD[] = "bad", TIMEOUT[] = "timeout";

struct hunt_args {
    struct machine_options machine;
    const char *output, *match, *no_match, *end, *show;
    uint64_t tries;
    double minutes;
    unsigned jobs;
};

struct hunt {
    const struct hunt_args *args;
    regex_t match, show;
    bool has_match, has_show;
    struct hunt_pool pool;
    struct tally shown, ends;
    uint64_t started, done;
    double begin, told;
    bool found;
    struct hunt_try hit;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static bool is_end_name(const char *text)
{
    uint64_t status;

    for (unsigned i = 0; i < REC_OUTCOME_COUNT; i++) {
        if (i != REC_OUTCOME_EXIT && strcmp(text, outcome_name(i)) == 0)
            return true;
    }
    return strcmp(text, BAD) == 0 || strcmp(text, TIMEOUT) == 0 || parse_number(text, 0, UINT32_MAX, &status);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct hunt_args *args = state->input;
    uint64_t number;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &args->machine;
        return 0;
    case 'o':
        args->output = arg;
        return 0;
    case OPTION_MATCH:
        args->match = arg;
        return 0;
    case OPTION_NO_MATCH:
        args->no_match = arg;
        return 0;
    case OPTION_END:
        if (!is_end_name(arg))
            argp_error(state, "--end: '%s' is no end of a guest", arg);
        args->end = arg;
        return 0;
    case OPTION_SHOW:
        args->show = arg;
        return 0;
    case OPTION_TRIES:
        if (!parse_number(arg, 1, UINT32_MAX, &args->tries))
            argp_error(state, "--tries: '%s' is not a number", arg);
        return 0;
    case OPTION_MINUTES:
        if (!parse_number(arg, 1, 100000, &number))
            argp_error(state, "--minutes: '%s' is not a number", arg);
        args->minutes = (double)number;
        return 0;
    case 'j':
        if (!parse_number(arg, 1, HUNT_JOBS_MAX, &number))
            argp_error(state, "--jobs: '%s' is not a number from 1 to %u", arg, HUNT_JOBS_MAX);
        args->jobs = (unsigned)number;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected word '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        if (args->machine.console_file)
            argp_error(state, "--console: take it from the log that is found, by retro console");
        if (args->match && args->no_match)
            argp_error(state, "--match and --no-match do not go together");
        if ((args->match || args->no_match || args->end) && !args->output)
            argp_error(state, "say where the log goes by -o LOG");
        if (!args->tries && args->minutes <= 0)
            argp_error(state, "say when to give up, by --tries or --minutes");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int compile(regex_t *to, const char *text, bool *has)
{
    char message[128];

    if (!text)
        return RETRO_OK;
    int error = regcomp(to, text, REG_EXTENDED | REG_NEWLINE);
    if (error) {
        regerror(error, to, message, sizeof message);
        return fail(RETRO_USAGE, "'%s': %s", text, message);
    }
    *has = true;
    return RETRO_OK;
}

/* How the guest ended, as --end names it. */
static char *end_of(const struct log_reader *r, int code)
{
    if (code == RETRO_TIMEOUT)
        return xprintf("%s", TIMEOUT);
    if (!r->complete)
        return NULL;
    if (r->trailer.outcome == REC_OUTCOME_EXIT)
        return xprintf("exit %" PRIu32, r->trailer.status);
    return xprintf("%s", outcome_name(r->trailer.outcome));
}

/* "bad" is every end but exit 0, a number is that exit status, else it is the name of an end. */
static bool end_is(const char *end, const char *wanted)
{
    uint64_t status;

    if (strcmp(wanted, BAD) == 0)
        return strcmp(end, "exit 0") != 0;
    if (parse_number(wanted, 0, UINT32_MAX, &status)) {
        char *text = xprintf("exit %" PRIu64, status);
        bool same = strcmp(end, text) == 0;
        free(text);
        return same;
    }
    return strcmp(end, wanted) == 0;
}

/* Every text that --show finds in this console, each once. */
static void count_matches(struct hunt *h, const char *console, uint64_t seed)
{
    struct tally own = {0};
    regmatch_t m[2];
    int flags = 0;

    while (*console && regexec(&h->show, console, 2, m, flags) == 0) {
        regmatch_t which = h->show.re_nsub && m[1].rm_so >= 0 ? m[1] : m[0];
        char *text = xprintf("%.*s", (int)MIN(which.rm_eo - which.rm_so, MATCH_MAX), console + which.rm_so);
        tally_add(&own, text, seed);
        free(text);
        console += m[0].rm_eo;
        /* Behind an empty match the search goes on a byte further, if there is one. */
        if (m[0].rm_eo == m[0].rm_so && !*console++)
            break;
        flags = console[-1] == '\n' ? 0 : REG_NOTBOL;
    }
    for (size_t i = 0; i < own.count; i++)
        tally_add(&h->shown, own.rows[i].text, seed);
    if (!own.count)
        tally_add(&h->shown, "(no match)", seed);
    tally_free(&own);
}

static void add_console(void *context, const struct log_reader *r, const struct log_block *b)
{
    struct buffer *console = context;

    (void)r;
    for (uint32_t i = 0; b->type == LOG_TYPE_CONSOLE && i < b->length; i++) {
        if (b->payload[i] != '\r')
            buffer_add(console, b->payload[i] ? (const char *)&b->payload[i] : "?", 1);
    }
}

static bool is_wanted(const struct hunt *h, const char *console, const char *end)
{
    const struct hunt_args *args = h->args;
    bool wanted = h->has_match || args->end;

    /* What is missing from the console of one that was stopped might still have come. */
    if (args->no_match && !args->end && strcmp(end, TIMEOUT) == 0)
        return false;
    if (h->has_match)
        wanted &= (regexec(&h->match, console, 0, NULL, 0) == 0) == (args->match != NULL);
    if (args->end)
        wanted &= end_is(end, args->end);
    return wanted;
}

/* Copies, since the directory may be on another disk. */
static int keep_log(const char *from, const char *to)
{
    struct buffer b = {0};
    int code = RETRO_OK, fd = -1;

    if (read_file(from, &b))
        code = fail(RETRO_IO, "cannot read %s: %s", from, strerror(errno));
    if (code == RETRO_OK) {
        fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write_all(fd, b.data, b.length) || close(fd))
            code = fail(RETRO_IO, "cannot write the log %s: %s", to, strerror(errno));
    }
    buffer_free(&b);
    return code;
}

/* A recording has ended; what it came to. */
static int judge(struct hunt *h, struct hunt_try *try, int code)
{
    struct buffer console = {0};
    struct log_reader r = {0};
    struct logmap m;
    char *end = NULL;

    if (code == RETRO_OK || code == RETRO_GUEST || code == RETRO_TIMEOUT) {
        if (logmap_open(&m, try->log) == RETRO_OK)
            logmap_walk(&m, &r, add_console, &console);
        logmap_close(&m);
        end = end_of(&r, code);
    }
    if (!end) {
        hunt_print_output(&h->pool, try);
        return fail(code == RETRO_OK ? RETRO_INCOMPLETE : code, "the recording with seed %" PRIu64 " failed",
                    try->seed);
    }
    buffer_add(&console, "", 1);
    h->done++;
    tally_add(&h->ends, end, try->seed);
    if (h->has_show)
        count_matches(h, (const char *)console.data, try->seed);
    code = RETRO_OK;
    if (!h->found && is_wanted(h, (const char *)console.data, end)) {
        code = keep_log(try->log, h->args->output);
        h->found = code == RETRO_OK;
        h->hit = *try;
    }
    free(end);
    buffer_free(&console);
    return code;
}

static void tell_progress(struct hunt *h)
{
    bool terminal = isatty(STDERR_FILENO);
    double t = now();

    if (t - h->told < (terminal ? 0.5 : PROGRESS_SECONDS))
        return;
    h->told = t;
    fprintf(stderr,
            "%sretro: hunt: %" PRIu64 " recordings in %.0f s, %zu different ends, %zu different matches%s",
            terminal ? "\r\033[K" : "", h->done, t - h->begin, h->ends.count, h->shown.count,
            terminal ? "" : "\n");
}

static bool has_time(const struct hunt *h)
{
    return h->args->minutes <= 0 || now() - h->begin < h->args->minutes * 60;
}

/* Without a wish of the user's, chaos goes through a range: what one misses the other may find. */
static struct hunt_try next_try(const struct hunt *h)
{
    static const uint64_t range[] = {20, 50, 80, 35};
    const struct machine_options *o = &h->args->machine;

    return (struct hunt_try){.number = h->started,
                             .seed = (o->has_seed ? o->seed : 1) + h->started,
                             .chaos = o->has_chaos ? o->chaos : range[h->started % ARRAY_LEN(range)]};
}

static int run_hunt(struct hunt *h)
{
    const struct timespec pause = {0, POLL_MS * 1000000};
    int code = RETRO_OK;

    while (code == RETRO_OK && !h->found && !interrupted && has_time(h)) {
        struct hunt_try try;
        int ended;
        while (hunt_pool_has_place(&h->pool) && (!h->args->tries || h->started < h->args->tries)) {
            if (!hunt_pool_start(&h->pool, &h->args->machine, next_try(h)))
                return RETRO_IO;
            h->started++;
        }
        if (hunt_pool_is_empty(&h->pool))
            break;
        if ((ended = hunt_pool_take(&h->pool, &try)) >= 0) {
            code = judge(h, &try, ended);
            hunt_try_drop(&h->pool, &try);
        } else {
            nanosleep(&pause, NULL);
        }
        tell_progress(h);
    }
    return code;
}

static void print_tally(const char *title, struct tally *t)
{
    tally_sort(t);
    if (!t->count)
        return;
    printf("%10s  %20s  %s\n", "recordings", "first seed", title);
    for (size_t i = 0; i < t->count; i++)
        printf("%10" PRIu64 "  %20" PRIu64 "  %s\n", t->rows[i].count, t->rows[i].first_seed,
               t->rows[i].text);
}

static json_t *json_of_tally(struct tally *t, const char *name)
{
    json_t *list = json_array();

    tally_sort(t);
    for (size_t i = 0; i < t->count; i++) {
        json_t *row = json_object();
        json_object_set_new(row, name, json_text(t->rows[i].text));
        json_object_set_new(row, "count", json_integer((json_int_t)t->rows[i].count));
        json_object_set_new(row, "first_seed", json_u64(t->rows[i].first_seed));
        json_array_append_new(list, row);
    }
    return list;
}

static void print_json(struct hunt *h, int code)
{
    json_t *o = json_object();

    json_object_set_new(o, "command", json_string("hunt"));
    json_object_set_new(o, "code", json_integer(code));
    json_object_set_new(o, "verdict", json_string(retro_exit_name(code)));
    json_object_set_new(o, "found", json_boolean(h->found));
    if (h->found) {
        json_object_set_new(o, "seed", json_u64(h->hit.seed));
        json_object_set_new(o, "chaos", json_integer((json_int_t)h->hit.chaos));
        json_object_set_new(o, "log", json_text(h->args->output));
    }
    json_object_set_new(o, "recordings", json_integer((json_int_t)h->done));
    json_object_set_new(o, "seconds", json_real(now() - h->begin));
    json_object_set_new(o, "matches", json_of_tally(&h->shown, "match"));
    json_object_set_new(o, "ends", json_of_tally(&h->ends, "end"));
    json_print(o);
}

/* The exit code, after telling what came. */
static int tell_result(struct hunt *h, int code)
{
    const struct hunt_args *args = h->args;
    bool looked = h->has_match || args->end;

    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (code == RETRO_OK && !h->found && interrupted)
        code = RETRO_INTERRUPTED;
    else if (code == RETRO_OK && !h->found && looked)
        code = RETRO_NOT_FOUND;
    if (args->machine.json) {
        print_json(h, code);
    } else {
        print_tally("match", &h->shown);
        print_tally("end", &h->ends);
        fflush(stdout);
    }
    if (h->found)
        note("found after %" PRIu64 " recordings in %.0f s: seed %" PRIu64 ", chaos %" PRIu64 "; kept as %s",
             h->done, now() - h->begin, h->hit.seed, h->hit.chaos, args->output);
    else if (code == RETRO_NOT_FOUND)
        note("not found in %" PRIu64 " recordings, %.0f s", h->done, now() - h->begin);
    return code;
}

static int hunt(const struct hunt_args *args)
{
    struct hunt h = {.args = args, .begin = now(), .told = now()};
    struct sigaction action = {.sa_handler = on_signal};
    const char *match = args->match ? args->match : args->no_match;

    int code = compile(&h.match, match, &h.has_match);
    if (code == RETRO_OK)
        code = compile(&h.show, args->show ? args->show : match, &h.has_show);
    if (code == RETRO_OK)
        code = hunt_pool_open(&h.pool, args->jobs);
    if (code == RETRO_OK) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        code = tell_result(&h, run_hunt(&h));
        hunt_pool_close(&h.pool);
    }
    if (h.has_match)
        regfree(&h.match);
    if (h.has_show)
        regfree(&h.show);
    tally_free(&h.shown);
    tally_free(&h.ends);
    return code;
}

int command_hunt(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "LOG", 0, "Where the log goes that is found", 0},
        {"match", OPTION_MATCH, "REGEX", 0, "Hunt until the console matches", 0},
        {"no-match", OPTION_NO_MATCH, "REGEX", 0, "Hunt until the console does not match", 0},
        {"end", OPTION_END, "END", 0,
         "Hunt until the guest ends so: an exit status, bad (all but 0), shutdown, halted, refused, limit, "
         "power-off, reset, timeout",
         0},
        {"show", OPTION_SHOW, "REGEX", 0,
         "Count what of the console matches this, its first group if it has one (the regular expression "
         "that is hunted for)",
         0},
        {"tries", OPTION_TRIES, "N", 0, "Give up after so many recordings", 0},
        {"minutes", OPTION_MINUTES, "N", 0, "Give up after this time", 0},
        {"jobs", 'j', "N", 0, "Emulators side by side (1)", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&machine_argp, 0, NULL, 0}, {&machine_guest_argp, 0, "Guest:", 1}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "-o LOG",
        .doc = "Records a guest with one seed after the other until it does what is looked for, keeps that "
               "log, and says how often what came.\v"
               "REGEX is an extended regular expression; ^ and $ match at every line. With --match or "
               "--no-match and --end, both have to hold. With none of them all tries are made, and counted. "
               "--seed is the first seed; without --chaos it changes from try to try. --timeout is for each "
               "recording.",
        .children = children,
    };
    struct hunt_args args = {.machine = MACHINE_DEFAULTS, .jobs = 1};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    return hunt(&args);
}
