#include "tools/retro/emulator.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include "hv/base/types.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_MODULES = 4, OUTPUT_TAIL = 2000 };

static bool is_home(const char *dir)
{
    char *path = xprintf("%s/tools/emulate", dir);
    bool found = access(path, X_OK) == 0;

    free(path);
    return found;
}

/* build/retro lies one level below the directory wanted. */
static char *home_of_program(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n < 0)
        return NULL;
    path[n] = '\0';
    return xprintf("%s", dirname(dirname(path)));
}

static int find_home(struct emulator *e, const char *home)
{
    const char *variable = getenv("RETROVISOR_HOME");

    if (home || variable)
        e->home = realpath(home ? home : variable, NULL);
    else
        e->home = home_of_program();
    if (e->home && is_home(e->home))
        return RETRO_OK;
    return fail(RETRO_IO,
                "tools/emulate is not in %s: give Retrovisor's directory by --home or RETROVISOR_HOME",
                e->home    ? e->home
                : home     ? home
                : variable ? variable
                           : "this program's directory");
}

int emulator_init(struct emulator *e, const char *home)
{
    const char *tmp = getenv("TMPDIR");

    *e = (struct emulator){0};
    int code = find_home(e, home);
    if (code != RETRO_OK)
        return code;
    char *dir = xprintf("%s/retro-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        code = fail(RETRO_IO, "cannot make %s: %s", dir, strerror(errno));
        free(dir);
        return code;
    }
    e->dir = dir;
    return RETRO_OK;
}

/* Child side of start_script. */
static void exec_script(const struct emulator *e, const char *path, char **argv, const char *output)
{
    int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int in = open("/dev/null", O_RDONLY);

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed retro leaves no emulator behind */
    setpgid(0, 0); /* a group of its own: the script's children end with it, and ^C reaches only us */
    signal(SIGPIPE, SIG_DFL);
    setenv("TMPDIR", e->dir, 1); /* whatever becomes of the script, its scratch files go with ours */
    if (out >= 0 && in >= 0) {
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execv(path, argv);
    }
    _exit(127);
}

/* Runs tools/NAME with `argv`, its output in the directory's file NAME.out. Returns the pid or -1. */
static pid_t start_script(const struct emulator *e, const char *name, char **argv)
{
    char *path = xprintf("%s/tools/%s", e->home, name);
    char *output = xprintf("%s/%s.out", e->dir, name);

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        exec_script(e, path, argv, output);
    if (pid > 0)
        setpgid(pid, pid); /* also here: whoever comes first */
    free(path);
    free(output);
    return pid;
}

/* A link in the directory gives the module a name without spaces or '=', whatever its path. */
static char *link_module(const struct emulator *e, const struct emulator_module *m)
{
    char *link = xprintf("%s/%s", e->dir, m->name);
    char *target = realpath(m->path, NULL);
    char *word = NULL;

    if (target && symlink(target, link) == 0)
        word = xprintf("%s=%s", link, m->words);
    free(target);
    free(link);
    return word;
}

static int wait_script(const struct emulator *e, pid_t pid, const char *name)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return fail(RETRO_IO, "waiting for tools/%s: %s", name, strerror(errno));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return RETRO_OK;
    emulator_print_output(e, name);
    return fail(RETRO_EMULATOR, "tools/%s failed (its output is above)", name);
}

int emulator_make_image(struct emulator *e, const char *words, const struct emulator_module *modules,
                        unsigned count)
{
    char *argv[3 + MAX_MODULES + 1] = {"mkiso"};
    unsigned n = 1;
    int code = RETRO_OK;

    argv[n++] = xprintf("%s/retrovisor.iso", e->dir);
    argv[n++] = xprintf("%s", words);
    for (unsigned i = 0; i < count && i < MAX_MODULES && code == RETRO_OK; i++) {
        argv[n] = link_module(e, &modules[i]);
        if (argv[n])
            n++;
        else
            code = fail(RETRO_IO, "cannot use %s: %s", modules[i].path, strerror(errno));
    }
    if (code == RETRO_OK) {
        pid_t pid = start_script(e, "mkiso", argv);
        code = pid < 0 ? fail(RETRO_IO, "cannot start tools/mkiso: %s", strerror(errno))
                       : wait_script(e, pid, "mkiso");
    }
    for (unsigned i = 1; i < n; i++)
        free(argv[i]);
    return code;
}

int emulator_start(struct emulator *e, const struct emulator_options *o)
{
    char *values[] = {xprintf("%s/retrovisor.iso", e->dir), xprintf("%u", o->cpus),    xprintf("%u", o->mib),
                      xprintf("client:%u", o->port),        xprintf("%u", o->seconds), xprintf("%u", o->ips)};
    static const char *const names[] = {"--iso", "--cpus", "--mem", "--serial", "--timeout", "--ips"};
    char *argv[2 + 2 * ARRAY_LEN(names) + 1] = {"emulate", (char *)o->kind};
    /* Without a wish of ours the script knows best how fast the machine is. */
    size_t count = o->ips ? ARRAY_LEN(names) : ARRAY_LEN(names) - 1;

    for (size_t i = 0; i < count; i++) {
        argv[2 + 2 * i] = (char *)names[i];
        argv[3 + 2 * i] = values[i];
    }
    e->pid = start_script(e, "emulate", argv);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        free(values[i]);
    if (e->pid > 0)
        return RETRO_OK;
    e->pid = 0;
    return fail(RETRO_IO, "cannot start tools/emulate: %s", strerror(errno));
}

bool emulator_ended(struct emulator *e, int *status)
{
    if (e->pid == 0)
        return true;
    if (waitpid(e->pid, status, WNOHANG) != e->pid)
        return false;
    e->pid = 0;
    return true;
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static bool wait_until(struct emulator *e, double end)
{
    int status;

    while (!emulator_ended(e, &status)) {
        if (now() >= end)
            return false;
        sleep_ms(20);
    }
    return true;
}

void emulator_stop(struct emulator *e, double grace)
{
    pid_t group = e->pid;

    if (group == 0 || wait_until(e, now() + grace))
        return;
    kill(-group, SIGTERM);
    if (wait_until(e, now() + 2))
        return;
    kill(-group, SIGKILL);
    wait_until(e, now() + 5);
    e->pid = 0;
}

void emulator_print_output(const struct emulator *e, const char *script)
{
    char *path = xprintf("%s/%s.out", e->dir, script);
    struct buffer b = {0};

    if (read_file(path, &b) == 0 && b.length) {
        size_t from = b.length > OUTPUT_TAIL ? b.length - OUTPUT_TAIL : 0;
        fprintf(stderr, "%s%.*s%s", from ? "...\n" : "", (int)(b.length - from), (char *)b.data + from,
                b.data[b.length - 1] == '\n' ? "" : "\n");
    }
    buffer_free(&b);
    free(path);
}

void emulator_free(struct emulator *e, bool keep)
{
    emulator_stop(e, 0);
    if (e->dir && keep)
        note("files of this run are kept in %s", e->dir);
    else if (e->dir)
        remove_tree(e->dir);
    free(e->dir);
    free(e->home);
    *e = (struct emulator){0};
}
