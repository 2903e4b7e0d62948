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
    default:
        return parse_log_argument(key, arg, state, &args->path);
    }
}

static const struct argp_option compress_options[] = {
    {"output", 'o', "FILE", 0, "Where it goes (LOG.zst)", 0},
    {"force", OPTION_FORCE, NULL, 0, "Overwrite a file that is there", 0},
    {"level", 'l', "N", 0, "Of compression, 1 to 19 (12)", 0},
    {0},
};

static const struct argp_option decompress_options[] = {
    {"output", 'o', "FILE", 0, "Where it goes (the name without .zst)", 0},
    {"force", OPTION_FORCE, NULL, 0, "Overwrite a file that is there", 0},
    {0},
};

/* A way: `packed` is what its input has to be. */
struct way {
    bool packed;
    int (*convert)(const struct compress_args *args, const struct buffer *in, int fd);
};

/* Whether the output may be written, before anything is; RETRO_OK if so. */
static int check_output(const struct compress_args *args, const char *path, bool *exists)
{
    struct stat in, out;

    *exists = stat(path, &out) == 0;
    if (!*exists)
        return errno == ENOENT ? RETRO_OK : fail(RETRO_IO, "cannot write %s: %s", path, strerror(errno));
    if (stat(args->path, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return fail(RETRO_USAGE, "%s is the log itself: say by -o where the other one goes", path);
    if (!args->force)
        return fail(RETRO_USAGE, "%s exists: use --force to overwrite it", path);
    return S_ISREG(out.st_mode) ? RETRO_OK : fail(RETRO_IO, "%s is not a regular file", path);
}

/*
 * The other one is written beside its place, and gets there once it is whole on the disk: what was there is
 * never lost for less. What is left of a damaged or cut log goes only where nothing was.
 */
static int write_output(const struct compress_args *args, const char *path, const struct buffer *in,
                        const struct way *way, bool exists)
{
    char *part = xprintf("%s.%ld.tmp", path, (long)getpid());
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    struct stat st = {0};
    bool partly, kept;

    int code =
        fd < 0 ? fail(RETRO_IO, "cannot write %s: %s", part, strerror(errno)) : way->convert(args, in, fd);
    partly = code == RETRO_DAMAGED || code == RETRO_INCOMPLETE;
    kept = code == RETRO_OK || (partly && !exists);
    if (kept && (fsync(fd) || fstat(fd, &st) || rename(part, path))) {
        code = fail(RETRO_IO, "cannot write %s: %s", path, strerror(errno));
        kept = false;
    }
    if (fd >= 0)
        close(fd);
    if (kept)
        note("%s: %zu bytes, %s: %lld bytes", args->path, in->length, path, (long long)st.st_size);
    else if (fd >= 0)
        unlink(part);
    if (partly && exists)
        note("%s is left as it was", path);
    free(part);
    return code;
}

static int convert_file(const struct compress_args *args, const char *path, const struct way *way)
{
    struct buffer in = {0};
    bool exists = false;
    int code;

    if (read_file(args->path, &in))
        code = fail(RETRO_IO, "cannot read the log %s: %s", args->path, strerror(errno));
    else if (zlog_is(in.data, in.length) != way->packed)
        code =
            fail(RETRO_USAGE, "%s is %s", args->path, way->packed ? "not compressed" : "compressed already");
    else
        code = check_output(args, path, &exists);
    if (code == RETRO_OK)
        code = write_output(args, path, &in, way, exists);
    buffer_free(&in);
    return code;
}

static int compress(const struct compress_args *args, const struct buffer *in, int fd)
{
    return zlog_compress(args->path, in->data, in->length, fd, args->level);
}

static int decompress(const struct compress_args *args, const struct buffer *in, int fd)
{
    struct zlog_result result;

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
        .options = compress_options,
        .parser = parse,
        .args_doc = "LOG",
        .doc = "Compresses a log by zstd. Every command that reads logs reads such ones as well.",
    };
    struct compress_args args = {.level = ZLOG_LEVEL};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    char *path = args.output ? xprintf("%s", args.output) : xprintf("%s%s", args.path, SUFFIX);
    int code = convert_file(&args, path, &(struct way){false, compress});
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
        .options = decompress_options,
        .parser = parse,
        .args_doc = "LOG.zst",
        .doc =
            "Expands a compressed log: for boot modules, and for collect --append. Of one that was cut off "
            "or damaged comes what its whole frames before that hold, but not over a file that is there.",
    };
    struct compress_args args = {0};

    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return RETRO_USAGE;
    char *path = args.output ? xprintf("%s", args.output) : plain_name(args.path);
    if (!path)
        return fail(RETRO_USAGE, "%s does not end with %s: say where it goes by -o", args.path, SUFFIX);
    int code = convert_file(&args, path, &(struct way){true, decompress});
    free(path);
    return code;
}
