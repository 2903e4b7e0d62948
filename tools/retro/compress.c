/* retro compress, retro decompress: logs at rest. */
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/zlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_FORCE = 256, LEVEL_MAX = 19 };

static const char SUFFIX[] = ".zst";

struct compress_args {
    const char *path, *output;
    int level;
    bool force;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct compress_args *args = state->input;
    uint64_t number;

    switch (key) {
    case 'o':
        args->output = arg;
        return 0;
    case 'l':
        if (!parse_number(arg, 1, LEVEL_MAX, &number))
            argp_error(state, "--level: '%s' is not a number from 1 to %u", arg, LEVEL_MAX);
        args->level = (int)number;
        return 0;
    case OPTION_FORCE:
        args->force = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->path)
            argp_error(state, "more than one log given");
        args->path = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "give a log");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "Where it goes (LOG with .zst, or without it)", 0},
    {"force", OPTION_FORCE, NULL, 0, "Overwrite a file that is there", 0},
    {"level", 'l', "N", 0, "Of compression, 1 to 19 (12)", 0},
    {0},
};

static int open_output(const struct compress_args *args, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (args->force ? O_TRUNC : O_EXCL), 0644);

    if (fd < 0 && errno == EEXIST)
        fail(RETRO_USAGE, "%s exists: use --force to overwrite it", path);
    else if (fd < 0)
        fail(RETRO_IO, "cannot write %s: %s", path, strerror(errno));
    return fd;
}

/* Both ways: reads the file, has `convert` write the other one, which is whole on the disk or gone. */
static int convert_file(const struct compress_args *args, const char *path,
                        int (*convert)(const struct compress_args *args, const struct buffer *in, int fd))
{
    struct buffer in = {0};
    struct stat st = {0};
    int code;

    if (read_file(args->path, &in))
        return fail(RETRO_IO, "cannot read the log %s: %s", args->path, strerror(errno));
    int fd = open_output(args, path);
    if (fd < 0) {
        buffer_free(&in);
        return errno == EEXIST ? RETRO_USAGE : RETRO_IO;
    }
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        code = fail(RETRO_IO, "%s is not a regular file", path);
    else
        code = convert(args, &in, fd);
    if (code != RETRO_IO && code != RETRO_USAGE && (fsync(fd) || fstat(fd, &st)))
        code = fail(RETRO_IO, "cannot write %s: %s", path, strerror(errno));
    close(fd);
    if ((code == RETRO_IO || code == RETRO_USAGE) && S_ISREG(st.st_mode))
        unlink(path);
    else if (S_ISREG(st.st_mode))
        note("%s: %zu bytes, %s: %lld bytes", args->path, in.length, path, (long long)st.st_size);
    buffer_free(&in);
    return code;
}

static int compress(const struct compress_args *args, const struct buffer *in, int fd)
{
    if (zlog_is(in->data, in->length))
        return fail(RETRO_USAGE, "%s is compressed already", args->path);
    return zlog_compress(args->path, in->data, in->length, fd, args->level);
}

static int decompress(const struct compress_args *args, const struct buffer *in, int fd)
{
    struct zlog_result result;

    if (!zlog_is(in->data, in->length))
        return fail(RETRO_USAGE, "%s is not compressed", args->path);
    int code = zlog_expand(args->path, in->data, in->length, fd, &result);
    if (code != RETRO_OK)
        return code;
    if (result.damaged)
        return RETRO_DAMAGED;
    return result.cut ? fail(RETRO_INCOMPLETE,
                             "%s was cut off: the last of its compressed frames is not all there", args->path)
                      : RETRO_OK;
}

int command_compress(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "LOG",
        .doc = "Compresses a log by zstd. Every command that reads logs reads such ones as well.",
    };
    struct compress_args args = {.level = ZLOG_LEVEL};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    char *path = args.output ? xprintf("%s", args.output) : xprintf("%s%s", args.path, SUFFIX);
    int code = convert_file(&args, path, compress);
    free(path);
    return code;
}

/* What is decompressed has the name without the suffix; a name that has none tells nothing. */
static char *plain_name(const char *path)
{
    size_t length = strlen(path), suffix = sizeof SUFFIX - 1;

    if (length <= suffix || strcmp(path + length - suffix, SUFFIX) != 0)
        return NULL;
    return xprintf("%.*s", (int)(length - suffix), path);
}

int command_decompress(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "LOG.zst",
        .doc =
            "Expands a compressed log: for boot modules, and for collect --append. Of one that was cut off "
            "or damaged comes what its whole frames before that hold.",
    };
    struct compress_args args = {.level = ZLOG_LEVEL};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    char *path = args.output ? xprintf("%s", args.output) : plain_name(args.path);
    if (!path)
        return fail(RETRO_USAGE, "%s does not end with %s: say where it goes by -o", args.path, SUFFIX);
    int code = convert_file(&args, path, decompress);
    free(path);
    return code;
}
