/* The recordings of a hunt: each a process of its own, which does what `retro record` does. */
#include "tools/retro/hunt.h"
#include "tools/retro/record.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUT_TAIL = 1500 };

/* A recording that is told to end needs at most some 7 seconds for its emulator. */
static const double CLOSE_SECONDS = 10;

int hunt_pool_open(struct hunt_pool *pool, unsigned count)
{
    const char *tmp = getenv("TMPDIR");

    *pool = (struct hunt_pool){.count = count};
    pool->dir = xprintf("%s/retro-hunt-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(pool->dir))
        return RETRO_OK;
    int code = fail(RETRO_IO, "cannot make %s: %s", pool->dir, strerror(errno));
    free(pool->dir);
    pool->dir = NULL;
    return code;
}

static char *output_path(const struct hunt_pool *pool, const struct hunt_try *try)
{
    return xprintf("%s/%" PRIu64 ".out", pool->dir, try->number);
}

/* Child side. The user sees the hunt, not its recordings. */
static void record(const struct hunt_pool *pool, struct machine_options o, const struct hunt_try *try)
{
    /* Until the recording has handlers of its own: the hunt's would only set its flag. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);

    char *output = output_path(pool, try);
    int out = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nothing goes on after a killed hunt */
    setpgid(0, 0);                    /* ^C is for the hunt */
    setenv("TMPDIR", pool->dir, 1);
    if (out < 0 || null < 0)
        _exit(RETRO_IO);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    o.seed = try->seed;
    o.chaos = try->chaos;
    o.has_seed = o.has_chaos = true;
    o.json = true;
    o.console_file = NULL;
    int code = record_guest(&o, try->log);
    free(output);
    free(try->log);
    fflush(NULL);
    _exit(code);
}

bool hunt_pool_start(struct hunt_pool *pool, const struct machine_options *o, struct hunt_try try)
{
    struct hunt_job *job = pool->jobs;

    while (job->pid)
        job++;
    try.log = xprintf("%s/%" PRIu64 ".rvlog", pool->dir, try.number);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        record(pool, *o, &try);
    if (pid < 0) {
        fail(RETRO_IO, "cannot start a process: %s", strerror(errno));
        free(try.log);
        return false;
    }
    *job = (struct hunt_job){.pid = pid, .try = try};
    return true;
}

int hunt_pool_take(struct hunt_pool *pool, struct hunt_try *try)
{
    int status;

    for (unsigned i = 0; i < pool->count; i++) {
        struct hunt_job *job = &pool->jobs[i];
        if (!job->pid || waitpid(job->pid, &status, WNOHANG) != job->pid)
            continue;
        job->pid = 0;
        *try = job->try;
        return WIFEXITED(status) ? WEXITSTATUS(status) : RETRO_EMULATOR;
    }
    return -1;
}

bool hunt_pool_has_place(const struct hunt_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (!pool->jobs[i].pid)
            return true;
    }
    return false;
}

bool hunt_pool_is_empty(const struct hunt_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->jobs[i].pid)
            return false;
    }
    return true;
}

void hunt_print_output(const struct hunt_pool *pool, const struct hunt_try *try)
{
    char *path = output_path(pool, try);
    struct buffer b = {0};

    if (read_file(path, &b) == 0) {
        size_t from = b.length > OUTPUT_TAIL ? b.length - OUTPUT_TAIL : 0;
        fwrite(b.data + from, 1, b.length - from, stderr);
    }
    buffer_free(&b);
    free(path);
}

void hunt_try_drop(const struct hunt_pool *pool, struct hunt_try *try)
{
    char *output = output_path(pool, try);

    unlink(output);
    free(output);
    unlink(try->log);
    free(try->log);
    try->log = NULL;
}

/* Waits for a recording that has been told to end, and kills it where the time is up. */
static void reap(pid_t pid, double deadline)
{
    const struct timespec pause = {0, 20 * 1000000};
    pid_t ended;

    while ((ended = waitpid(pid, NULL, WNOHANG)) == 0 && now() < deadline)
        nanosleep(&pause, NULL);
    if (ended != 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void hunt_pool_close(struct hunt_pool *pool)
{
    double deadline = now() + CLOSE_SECONDS;

    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->jobs[i].pid)
            kill(pool->jobs[i].pid, SIGTERM);
    }
    for (unsigned i = 0; i < pool->count; i++) {
        struct hunt_job *job = &pool->jobs[i];
        if (!job->pid)
            continue;
        reap(job->pid, deadline);
        free(job->try.log);
        job->pid = 0;
    }
    if (pool->dir)
        remove_tree(pool->dir);
    free(pool->dir);
    pool->dir = NULL;
}

void tally_add(struct tally *t, const char *text, uint64_t seed)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->rows[i].text, text) == 0) {
            t->rows[i].count++;
            return;
        }
    }
    t->rows = xrealloc(t->rows, (t->count + 1) * sizeof *t->rows);
    t->rows[t->count++] = (struct tally_row){xprintf("%s", text), 1, seed};
}

static int by_count(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

void tally_sort(struct tally *t)
{
    if (t->count)
        qsort(t->rows, t->count, sizeof *t->rows, by_count);
}

void tally_free(struct tally *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->rows[i].text);
    free(t->rows);
    *t = (struct tally){0};
}
