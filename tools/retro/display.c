#include "tools/retro/display.h"
#include "tools/retro/retro.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double PROGRESS_INTERVAL = 0.25;

bool line_add(struct line *l, uint8_t byte)
{
    bool full = l->length == sizeof l->text - 1;

    if (byte == '\n' || full) {
        while (l->length && l->text[l->length - 1] == '\r')
            l->length--;
        l->text[l->length] = '\0';
        l->length = 0;
        return true;
    }
    l->text[l->length++] = (char)byte;
    return false;
}

int display_open(struct display *d, bool console, int verbose, const char *console_file)
{
    *d = (struct display){.console = console, .foreign = verbose > 0, .console_fd = -1, .begin = now()};
    d->progress = isatty(STDERR_FILENO);
    if (!console_file)
        return RETRO_OK;
    d->console_fd = open(console_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (d->console_fd < 0)
        return fail(RETRO_IO, "cannot write %s: %s", console_file, strerror(errno));
    return RETRO_OK;
}

static void clear_bar(struct display *d)
{
    if (d->bar)
        fputs("\r\033[K", stderr);
    d->bar = false;
}

void display_settle(struct display *d)
{
    clear_bar(d);
    if (d->mid_line && d->console && isatty(STDOUT_FILENO)) {
        fputc('\n', stdout);
        d->mid_line = false;
    }
    fflush(stdout);
}

bool display_console(struct display *d, const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return true;
    clear_bar(d);
    if (d->console) {
        fwrite(bytes, 1, length, stdout);
        fflush(stdout);
    }
    d->mid_line = bytes[length - 1] != '\n';
    return d->console_fd < 0 || write_all(d->console_fd, bytes, length) == 0;
}

/* Control characters from the wire must not steer the user's terminal. */
static void print_line(const char *prefix, const char *line)
{
    fputs(prefix, stderr);
    for (; *line; line++) {
        unsigned char c = (unsigned char)*line;
        if (c >= ' ' && c < 0x7f)
            fputc(c, stderr);
        else if (c == '\t' || c >= 0x80)
            fputc(c == '\t' ? ' ' : '?', stderr);
    }
    fputc('\n', stderr);
}

void display_message(struct display *d, const char *line)
{
    static const char own[] = "retrovisor: ";

    if (strncmp(line, own, sizeof own - 1) == 0)
        line += sizeof own - 1;
    /* The start-up report has a line for everything that the machine has; what it lacks is news. */
    if (strncmp(line, "yes ", 4) == 0 && !d->foreign)
        return;
    display_settle(d);
    print_line("[hv] ", line);
}

void display_foreign(struct display *d, const char *line)
{
    if (!d->foreign || !*line)
        return;
    display_settle(d);
    print_line("[line] ", line);
}

void display_progress(struct display *d, uint64_t log_bytes, uint64_t commits)
{
    double t = now();

    if (!d->progress || d->mid_line || t - d->bar_time < PROGRESS_INTERVAL)
        return;
    d->bar_time = t;
    d->bar = true;
    double elapsed = t - d->begin;
    fprintf(stderr, "\r\033[K%.0f s: %.1f KB of log, %llu commits, %.1f KB/s", elapsed,
            (double)log_bytes / 1e3, (unsigned long long)commits,
            elapsed > 0 ? (double)log_bytes / 1e3 / elapsed : 0);
    fflush(stderr);
}

void display_close(struct display *d)
{
    display_settle(d);
    if (d->console_fd >= 0)
        close(d->console_fd);
    d->console_fd = -1;
}
