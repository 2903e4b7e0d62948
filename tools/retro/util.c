#include "tools/retro/util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void message(const char *format, va_list args)
{
    fflush(stdout); /* keeps the order of both streams where they go to one file */
    fputs("retro: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int fail(int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    message(format, args);
    va_end(args);
    return code;
}

void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    message(format, args);
    va_end(args);
}

void *xrealloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes ? bytes : 1);

    if (!p) {
        fputs("retro: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *xmalloc(size_t bytes)
{
    return xrealloc(NULL, bytes);
}

char *xprintf(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        fputs("retro: out of memory\n", stderr);
        abort();
    }
    va_end(args);
    return text;
}

void buffer_add(struct buffer *b, const void *data, size_t length)
{
    if (length == 0)
        return;
    if (b->length + length > b->capacity) {
        b->capacity = (b->length + length) * 2;
        b->data = xrealloc(b->data, b->capacity);
    }
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

int read_file(const char *path, struct buffer *b)
{
    enum { CHUNK = 1 << 16 };
    uint8_t chunk[CHUNK];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    while ((n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        buffer_add(b, chunk, (size_t)n);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? -1 : 0;
}

int write_all(int fd, const void *data, size_t length)
{
    const uint8_t *p = data;

    while (length) {
        ssize_t n = write(fd, p, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        length -= (size_t)n;
    }
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

void remove_tree(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || *end || v < low || v > high)
        return false;
    *value = v;
    return true;
}

bool parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMG";
    size_t length = strlen(text);
    const char *unit = length ? strchr(units, text[length - 1]) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    char digits[32];

    if (length == 0 || length >= sizeof digits)
        return false;
    memcpy(digits, text, length + 1);
    if (unit)
        digits[length - 1] = '\0';
    if (!parse_number(digits, 1, UINT64_MAX >> shift, bytes))
        return false;
    *bytes <<= shift;
    return true;
}

error_t parse_log_argument(int key, char *arg, struct argp_state *state, const char **path)
{
    switch (key) {
    case ARGP_KEY_ARG:
        if (*path)
            argp_error(state, "more than one log given");
        *path = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "give a log");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
