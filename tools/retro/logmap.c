#include "tools/retro/logmap.h"
#include "replay/log_detail.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"
#include "tools/retro/zlog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Address space is cheap: mapping past the end of the file saves a remap for every block. */
#define MAP_STEP ((size_t)64 << 20)

int logmap_init(struct logmap *m, int fd, size_t size)
{
    *m = (struct logmap){.fd = fd};
    return logmap_grow(m, size);
}

int logmap_grow(struct logmap *m, size_t size)
{
    if (size > m->mapped || !m->bytes) {
        size_t wanted = ALIGN_UP(size + MAP_STEP + size / 2, MAP_STEP);
        void *p = mmap(NULL, wanted, PROT_READ, MAP_SHARED | MAP_NORESERVE, m->fd, 0);

        if (p == MAP_FAILED)
            return -1;
        if (m->bytes)
            munmap((void *)m->bytes, m->mapped);
        m->bytes = p;
        m->mapped = wanted;
    }
    m->size = size;
    return 0;
}

/* Puts what the compressed file expands to in the map's place. */
static int expand(struct logmap *m, const char *path)
{
    struct zlog_result result;
    struct logmap plain;
    struct stat st;
    int fd = memfd_create("retro-log", MFD_CLOEXEC);

    if (fd < 0)
        return fail(RETRO_IO, "cannot make a file in memory: %s", strerror(errno));
    int code = zlog_expand(path, m->bytes, m->size, fd, &result);
    if (code != RETRO_OK || fstat(fd, &st) || logmap_init(&plain, fd, (size_t)st.st_size)) {
        close(fd);
        return code != RETRO_OK ? code
                                : fail(RETRO_IO, "cannot map what %s expands to: %s", path, strerror(errno));
    }
    if (result.cut)
        note("%s was cut off: the last of its compressed frames is not all there, those before it are", path);
    plain.compressed = true;
    plain.damaged = result.damaged;
    plain.file_size = m->size;
    logmap_close(m);
    *m = plain;
    return RETRO_OK;
}

int logmap_open(struct logmap *m, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *m = (struct logmap){.fd = fd};
    if (fd < 0)
        return fail(RETRO_IO, "cannot open the log %s: %s", path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return fail(RETRO_IO, "%s is not a regular file", path);
    if (logmap_grow(m, (size_t)st.st_size))
        return fail(RETRO_IO, "cannot map the log %s: %s", path, strerror(errno));
    m->file_size = m->size;
    return zlog_is(m->bytes, m->size) ? expand(m, path) : RETRO_OK;
}

void logmap_close(struct logmap *m)
{
    if (m->bytes)
        munmap((void *)m->bytes, m->mapped);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct logmap){.fd = -1};
}

static enum log_error check_details(const struct log_block *b)
{
    const uint8_t *at = b->payload, *end = at + b->length;
    enum log_error error = LOG_OK;
    struct log_detail detail;

    while (at < end && error == LOG_OK)
        error = log_detail_next(&at, end, &detail);
    return error;
}

/* Where the block's contents do not decode; false: they do. Sets r->error and r->next. */
static bool bad_contents(struct log_reader *r, const struct log_block *b, uint64_t *at)
{
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    struct rec_pages pages;
    struct rec_commit commit;
    struct log_commits it;
    enum log_step step;
    unsigned vcpus;

    *at = b->offset;
    if (b->type == LOG_TYPE_COUNTERS)
        return (r->error = log_decode_counters(b, counters, &vcpus)) != LOG_OK;
    if (b->type == LOG_TYPE_PAGES)
        return (r->error = log_decode_pages(b, &pages)) != LOG_OK;
    if (b->type == LOG_TYPE_DETAIL)
        return (r->error = check_details(b)) != LOG_OK;
    if (b->type != LOG_TYPE_COMMITS)
        return false;
    log_commits_begin(&it, r, b);
    r->next = b->first;
    while ((step = log_commits_next(&it, &commit)) == LOG_COMMIT)
        r->next++;
    r->error = it.error;
    *at = it.offset;
    return step == LOG_COMMITS_ERROR;
}

enum log_status logmap_walk(struct logmap *m, struct log_reader *r,
                            void (*visit)(void *context, const struct log_reader *r,
                                          const struct log_block *b),
                            void *context)
{
    struct log_block block;
    enum log_status status;

    log_reader_init(r);
    while ((status = log_reader_next(r, m->bytes, m->size, &block)) == LOG_BLOCK) {
        bool bad = bad_contents(r, &block, &m->bad_at);
        if (visit && (!bad || block.type == LOG_TYPE_COMMITS))
            visit(context, r, &block);
        if (bad) {
            r->offset = block.offset;
            return LOG_ERROR;
        }
    }
    m->bad_at = r->offset;
    return status;
}

int logmap_header(struct logmap *m, const char *path, struct log_reader *r, enum log_status *status)
{
    *status = logmap_walk(m, r, NULL, NULL);
    if (r->have_header)
        return RETRO_OK;
    if (m->size == 0 && !m->damaged)
        return fail(RETRO_INCOMPLETE, "%s is empty", path);
    return logmap_report(m, path, r, *status);
}

int logmap_report(const struct logmap *m, const char *path, const struct log_reader *r,
                  enum log_status status)
{
    unsigned long long offset = r->offset;

    if (m->damaged && status != LOG_ERROR)
        return fail(RETRO_DAMAGED, "%s: usable are %llu bytes, up to commit %llu", path, offset,
                    (unsigned long long)r->next - 1);
    if (status == LOG_END)
        return RETRO_OK;
    if (status == LOG_ERROR && r->bad_type)
        return fail(RETRO_DAMAGED, "%s: %s (type 0x%04x) at offset %llu", path, log_error_text(r->error),
                    r->bad_type, offset);
    if (status == LOG_ERROR)
        return fail(RETRO_DAMAGED, "%s: %s at offset %llu%s", path, log_error_text(r->error),
                    (unsigned long long)m->bad_at,
                    r->error == LOG_ERROR_MAGIC && !offset ? ": this is no log of Retrovisor" : "");
    return fail(RETRO_INCOMPLETE, "%s was cut off: usable are %llu of its %zu bytes, up to commit %llu", path,
                offset, m->size, (unsigned long long)r->next - 1);
}
