#include "tools/retro/collector.h"
#include "tools/retro/collector_inside.h"
#include "tools/retro/retro.h"

#include "hv/base/digest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Retransmission time-out in microseconds. Only hellos, refusals and console input ever need it. */
static const uint64_t LINK_RTO = 400000;

static const char STATUS_LINE[] = "retrovisor: end status=";

/* Both ways that console bytes may come by hold the same bytes: whichever is ahead is shown. */
static void add_console(struct collector *c, uint64_t *position, const uint8_t *bytes, size_t length)
{
    uint64_t end = *position + length;
    uint64_t seen = c->console.length;

    if (end > seen) {
        size_t fresh = (size_t)(end - MAX(seen, *position));
        buffer_add(&c->console, bytes + length - fresh, fresh);
        if (!display_console(&c->display, bytes + length - fresh, fresh) && !c->failed) {
            fail(RETRO_IO, "cannot write the console's copy: %s", strerror(errno));
            c->failed = true;
        }
    }
    *position = end;
}

/* Keeps the name behind the status line's text; true if `text` is that line for the first time. */
static bool take_status(struct collector *c, const char *text)
{
    size_t skip = sizeof STATUS_LINE - 1;

    if (strncmp(text, STATUS_LINE, skip) != 0)
        return false;
    if (c->status[0])
        return false;
    size_t length = strcspn(text + skip, " \t\r\n");
    memcpy(c->status, text + skip, MIN(length, (size_t)COLLECT_STATUS_MAX));
    return true;
}

static bool is_status(const char *text)
{
    return strncmp(text, STATUS_LINE, sizeof STATUS_LINE - 1) == 0;
}

static void add_messages(struct collector *c, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!line_add(&c->message, bytes[i]))
            continue;
        if (take_status(c, c->message.text) || !is_status(c->message.text))
            display_message(&c->display, c->message.text);
    }
}

/* Boot loaders leave escape sequences in front of the hypervisor's first lines. */
static void add_foreign_line(struct collector *c, const char *text)
{
    const char *own = strstr(text, "retrovisor: ");

    if (!own)
        display_foreign(&c->display, text);
    else if (!is_status(own) || take_status(c, own))
        display_message(&c->display, own);
}

/* Text outside of frames: mostly firmware, but the hypervisor's own where it never had a link. */
static void add_foreign(void *context, const uint8_t *bytes, size_t length)
{
    struct collector *c = context;

    for (size_t i = 0; i < length; i++) {
        if (line_add(&c->foreign, bytes[i]))
            add_foreign_line(c, c->foreign.text);
    }
    buffer_add(&c->foreign_text, bytes, length);
    if (c->foreign_text.length > COLLECT_FOREIGN_MAX) {
        size_t cut = c->foreign_text.length - COLLECT_FOREIGN_MAX;
        memmove(c->foreign_text.data, c->foreign_text.data + cut, COLLECT_FOREIGN_MAX);
        c->foreign_text.length = COLLECT_FOREIGN_MAX;
    }
}

/* The link acknowledges what this has taken, so the bytes are in the file when it returns. */
static void add_log(struct collector *c, const uint8_t *bytes, size_t length)
{
    if (c->failed)
        return;
    if (write_all(c->log.fd, bytes, length) || logmap_grow(&c->log, c->log.size + length)) {
        fail(RETRO_IO, "cannot write the log %s: %s", c->log_name, strerror(errno));
        c->failed = true;
    }
}

static void deliver(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct collector *c = context;

    if (stream == LINK_STREAM_LOG)
        add_log(c, bytes, length);
    else if (stream == LINK_STREAM_CONSOLE)
        add_console(c, &c->console_stream, bytes, length);
    else if (stream == LINK_STREAM_MESSAGE)
        add_messages(c, bytes, length);
    else if (stream == LINK_STREAM_INPUT && c->input)
        input_take(c->input, &c->link, bytes, length);
}

void collector_read_blocks(struct collector *c)
{
    struct log_block block;
    unsigned vcpus;

    if (c->log_status == LOG_END || c->log_status == LOG_ERROR)
        return;
    while ((c->log_status = log_reader_next(&c->reader, c->log.bytes, c->log.size, &block)) == LOG_BLOCK) {
        if (block.type == LOG_TYPE_CONSOLE)
            add_console(c, &c->console_log, block.payload, block.length);
        if (block.type == LOG_TYPE_COUNTERS)
            c->have_counters = log_decode_counters(&block, c->counters, &vcpus) == LOG_OK;
    }
    if (c->log_status == LOG_ERROR) {
        display_settle(&c->display);
        logmap_report(&c->log, c->log_name, &c->reader, c->log_status);
    }
}

static uint32_t new_session(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    uint32_t session = (uint32_t)t.tv_sec << 16 ^ (uint32_t)(t.tv_nsec >> 8) ^ (uint32_t)getpid() << 7;
    return session & UINT16_MAX ? session : session | 1;
}

int collector_init(struct collector *c, int log_fd, const char *log_name, uint64_t have,
                   const struct display *display)
{
    *c = (struct collector){.display = *display, .log_name = log_name, .quiet = 1.0};
    log_reader_init(&c->reader);
    c->log_status = LOG_NEED_MORE;
    if (logmap_init(&c->log, log_fd, have))
        return fail(RETRO_IO, "cannot map the log %s: %s", log_name, strerror(errno));
    if (have) {
        /* What an earlier collection has shown is not shown again. */
        c->display = (struct display){.console_fd = -1};
        collector_read_blocks(c);
        c->display = *display;
        c->console_stream = c->console_log; /* about there the sender goes on */
        if (c->log_status == LOG_ERROR)
            return RETRO_DAMAGED;
    }

    struct link_config config = {
        .ring = c->ring,
        .ring_size = sizeof c->ring,
        .session = new_session(),
        .rto = LINK_RTO,
        .have_bytes = have,
        .have_crc = crc32c(0, c->log.bytes, have),
        .deliver = deliver,
        .noise = add_foreign,
        .context = c,
    };
    link_init(&c->link, &config, collector_ticks());
    return RETRO_OK;
}

int collector_init_memory(struct collector *c, const struct display *display)
{
    int fd = memfd_create("retro-log", MFD_CLOEXEC);

    if (fd < 0)
        return fail(RETRO_IO, "cannot make a file in memory: %s", strerror(errno));
    return collector_init(c, fd, "the received log", 0, display);
}

bool collector_has_result(const struct collector *c)
{
    return c->log_status == LOG_END || c->status[0];
}

void collector_print_foreign(const struct collector *c)
{
    if (c->foreign_text.length == 0)
        return;
    note("last text on the line:");
    fwrite(c->foreign_text.data, 1, c->foreign_text.length, stderr);
    if (c->foreign_text.data[c->foreign_text.length - 1] != '\n')
        fputc('\n', stderr);
}

void collector_free(struct collector *c)
{
    display_close(&c->display);
    logmap_close(&c->log);
    buffer_free(&c->console);
    buffer_free(&c->foreign_text);
}
