#include "tools/retro/input.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { CTRL_A = 1 };

/* What a signal handler, or the end of the program, puts back. */
static struct termios terminal_saved;
static volatile sig_atomic_t terminal_raw;

/* Signals that end the program without another word; but during a collection SIGINT and SIGTERM end that in
 * order. */
static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS,
                             SIGFPE, SIGILL, SIGALRM, SIGPIPE, SIGTERM};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct input_options *o = state->input;

    switch (key) {
    case 'I':
        o->file = arg;
        return 0;
    case 'i':
        o->terminal = true;
        return 0;
    case ARGP_KEY_END:
        if (o->file && o->terminal)
            argp_error(state, "--input and --interactive do not go together");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"input", 'I', "FILE", 0, "Give the guest's console what is in FILE; - for standard input", 0},
    {"interactive", 'i', NULL, 0,
     "Give the guest's console what is typed at the terminal (Ctrl-A x leaves, Ctrl-A Ctrl-A is one Ctrl-A)",
     0},
    {0},
};

const struct argp input_argp = {.options = options, .parser = parse};

static void restore_terminal(void)
{
    if (terminal_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal_saved);
    terminal_raw = 0;
}

static void on_deadly(int number)
{
    restore_terminal();
    signal(number, SIG_DFL);
    raise(number);
}

/* Each key comes at once and unchanged, ^C too. Output keeps its line ends: it is not only the guest's. */
static int make_raw(struct input *in)
{
    struct termios t;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &terminal_saved))
        return fail(RETRO_USAGE, "--interactive: standard input is no terminal (--input - takes a pipe)");
    t = terminal_saved;
    cfmakeraw(&t);
    t.c_oflag = terminal_saved.c_oflag;
    terminal_raw = 1;
    atexit(restore_terminal);
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++) {
        struct sigaction old;
        /* One that is ignored stays so. */
        if (sigaction(deadly[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            signal(deadly[i], on_deadly);
    }
    if (tcsetattr(STDIN_FILENO, TCSANOW, &t))
        return fail(RETRO_IO, "cannot set the terminal: %s", strerror(errno));
    in->terminal = true;
    in->fd = STDIN_FILENO;
    return RETRO_OK;
}

static int open_file(struct input *in, const char *path)
{
    struct stat st;

    if (strcmp(path, "-") == 0) {
        in->fd = STDIN_FILENO;
        return RETRO_OK;
    }
    in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (in->fd < 0 || fstat(in->fd, &st))
        return fail(RETRO_IO, "cannot read the input %s: %s", path, strerror(errno));
    in->file = S_ISREG(st.st_mode);
    return RETRO_OK;
}

int input_open(struct input *in, const struct input_options *o)
{
    *in = (struct input){.fd = -1, .wanted = o->file || o->terminal};
    if (o->terminal)
        return make_raw(in);
    return o->file ? open_file(in, o->file) : RETRO_OK;
}

static void give_up(struct input *in, const char *what)
{
    fail(RETRO_IO, "%s the input: %s", what, strerror(errno));
    in->failed = true;
}

void input_take(struct input *in, const struct link *link, const uint8_t *payload, size_t length)
{
    if (link_outbox_take(&in->outbox, link, payload, length) && in->file &&
        lseek(in->fd, (off_t)in->outbox.next, SEEK_SET) < 0)
        give_up(in, "cannot skip in");
}

bool input_wants(const struct input *in)
{
    /* A terminal is always read, or nobody could leave a guest that takes nothing. */
    return in->fd >= 0 && (in->terminal || (in->begin == in->end && link_outbox_room(&in->outbox)));
}

/* Takes the keys that are meant for us out of what was typed; the number of bytes that are left. */
static size_t filter_keys(struct input *in, uint8_t *keys, size_t length)
{
    size_t kept = 0;

    for (size_t i = 0; i < length && !in->left; i++) {
        uint8_t key = keys[i];
        if (in->escape) {
            in->escape = false;
            in->left = key == 'x' || key == 'X';
            if (key == CTRL_A)
                keys[kept++] = key;
        } else if (key == CTRL_A) {
            in->escape = true;
        } else {
            keys[kept++] = key;
        }
    }
    return kept;
}

/* Behind what waits already. Only a terminal can bring more than there is room for: then keys are lost. */
static void add_bytes(struct input *in, const uint8_t *bytes, size_t length)
{
    memmove(in->bytes, in->bytes + in->begin, in->end - in->begin);
    in->end -= in->begin;
    in->begin = 0;
    length = MIN(length, sizeof in->bytes - in->end);
    memcpy(in->bytes + in->end, bytes, length);
    in->end += length;
}

void input_read(struct input *in)
{
    uint8_t fresh[INPUT_BUFFER];
    ssize_t n = read(in->fd, fresh, sizeof fresh);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n < 0)
        give_up(in, "cannot read");
    if (n > 0)
        add_bytes(in, fresh, in->terminal ? filter_keys(in, fresh, (size_t)n) : (size_t)n);
    if (n <= 0 && in->terminal)
        in->left = true; /* the terminal is gone */
    if (n <= 0) {
        if (in->fd != STDIN_FILENO)
            close(in->fd);
        in->fd = -1;
    }
}

void input_send(struct input *in, struct link *link)
{
    in->begin += link_outbox_send(&in->outbox, link, in->bytes + in->begin, in->end - in->begin);
}

void input_close(struct input *in)
{
    if (in->terminal)
        restore_terminal();
    if (in->fd >= 0 && in->fd != STDIN_FILENO)
        close(in->fd);
    in->fd = -1;
}
