/*
 * Reads a log file as the hypervisor does before a replay (hv/replay_log.c) and prints what it would replay:
 * "commits N complete 0|1", or "refused". Messages go to standard error. Exit status 0 for both; for harm.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/replay_log.h"
#include "test/fake/msg.h"

#define ROOM ((size_t)256 << 20)

/* A copy of exactly the file's size, so that a sanitizer sees any step beyond. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long length;

    if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0) {
        perror(path);
        exit(2);
    }
    rewind(file);
    *size = (size_t)length;
    bytes = malloc(*size ? *size : 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size) {
        perror(path);
        exit(2);
    }
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    static struct vm_replay replay;
    static struct mem mem;
    uint8_t *bytes, *room = NULL;
    size_t size;
    bool good;

    if (argc != 2 || posix_memalign((void **)&room, PAGE_SIZE, ROOM))
        return 2;
    bytes = read_file(argv[1], &size);
    if (!mem_add(&mem, (uint64_t)(uintptr_t)room, (uint64_t)(uintptr_t)room + ROOM))
        return 2;
    good = replay_log_read(&replay, bytes, size, &mem);
    if (good)
        printf("commits %llu complete %d\n", (unsigned long long)replay.count, replay.complete);
    else
        puts("refused");
    fputs(fake_last_message, stderr);
    free(bytes);
    free(room);
    return 0;
}
