/*
 * Any bytes as a compressed log: expanding stays inside them and ends; and what is compressed, whatever it
 * is, expands to the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/base/check.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/zlog.h"

#define LEVEL 1

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What retro says of each file is no finding. (Sanitizers write past the stream.) */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stderr = fopen("/dev/null", "w");
    return stderr == NULL;
}

static int new_file(void)
{
    int fd = memfd_create("zlog", 0);

    HV_CHECK(fd >= 0);
    return fd;
}

/* All that was written to the file, which is closed. */
static struct buffer take(int fd)
{
    struct buffer b = {0};
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    HV_CHECK(read_file(path, &b) == 0);
    close(fd);
    return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zlog_result result = {0};
    struct buffer packed, unpacked;
    int fd = new_file();

    HV_CHECK(zlog_expand("input", data, size, fd, &result) == RETRO_OK);
    close(fd);

    fd = new_file();
    if (zlog_compress("input", data, size, fd, LEVEL) != RETRO_OK) {
        close(fd);
        return 0;
    }
    packed = take(fd);
    fd = new_file();
    HV_CHECK(zlog_expand("packed", packed.data, packed.length, fd, &result) == RETRO_OK);
    HV_CHECK(!result.cut && !result.damaged);
    unpacked = take(fd);
    HV_CHECK(unpacked.length == size && (size == 0 || memcmp(unpacked.data, data, size) == 0));
    buffer_free(&packed);
    buffer_free(&unpacked);
    return 0;
}
