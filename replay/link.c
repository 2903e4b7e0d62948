#include "replay/link.h"

#include <string.h>

#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "replay/link_internal.h"

void link_init(struct link *link, const struct link_config *config, uint64_t now)
{
    HV_CHECK((uint16_t)config->session && config->rto && config->deliver);
    HV_CHECK(config->ring_size >= 2 * (size_t)LINK_PAYLOAD_MAX);
    memset(link, 0, sizeof *link);
    link->config = *config;
    link->have_bytes = config->have_bytes;
    link->have_crc = config->have_crc;
    link->now = link->hello_at = now;
}

/* The ring: frames as {stream, 0, length (u16)} and payload, wrapping anywhere. */
static size_t ring_next(const struct link *link, size_t at, size_t length)
{
    at += length;
    return at >= link->config.ring_size ? at - link->config.ring_size : at;
}

static void ring_put(struct link *link, size_t at, const uint8_t *bytes, size_t length)
{
    size_t first = MIN(length, link->config.ring_size - at);

    memcpy(link->config.ring + at, bytes, first);
    memcpy(link->config.ring, bytes + first, length - first);
}

static void ring_get(const struct link *link, size_t at, uint8_t *bytes, size_t length)
{
    size_t first = MIN(length, link->config.ring_size - at);

    memcpy(bytes, link->config.ring + at, first);
    memcpy(bytes + first, link->config.ring, length - first);
}

struct ring_frame {
    uint8_t stream;
    uint8_t zero;
    uint16_t length;
};
_Static_assert(sizeof(struct ring_frame) == LINK_RING_HEAD, "frame head in the ring");

static struct ring_frame ring_frame(const struct link *link, size_t at)
{
    struct ring_frame frame;

    ring_get(link, at, (uint8_t *)&frame, sizeof frame);
    return frame;
}

/* Appends to the last frame while it has never been sent: once sent, a number means the same bytes for ever.
 */
static size_t extend_last(struct link *link, uint8_t stream, const uint8_t *bytes, size_t length)
{
    struct ring_frame last;
    size_t n;

    if (link->end == link->high)
        return 0;
    last = ring_frame(link, link->open_at);
    if (last.stream != stream)
        return 0;
    n = MIN(MIN(length, (size_t)LINK_PAYLOAD_MAX - last.length), link->config.ring_size - link->ring_used);
    last.length = (uint16_t)(last.length + n);
    ring_put(link, link->open_at, (const uint8_t *)&last, sizeof last);
    ring_put(link, link->end_at, bytes, n);
    link->end_at = ring_next(link, link->end_at, n);
    link->ring_used += n;
    return n;
}

static size_t begin_frame(struct link *link, uint8_t stream, const uint8_t *bytes, size_t length)
{
    size_t space = link->config.ring_size - link->ring_used;
    struct ring_frame frame = {.stream = stream};
    size_t n;

    if (space <= LINK_RING_HEAD)
        return 0;
    n = MIN(MIN(length, (size_t)LINK_PAYLOAD_MAX), space - LINK_RING_HEAD);
    frame.length = (uint16_t)n;
    link->open_at = link->end_at;
    ring_put(link, link->end_at, (const uint8_t *)&frame, sizeof frame);
    link->end_at = ring_next(link, link->end_at, LINK_RING_HEAD);
    ring_put(link, link->end_at, bytes, n);
    link->end_at = ring_next(link, link->end_at, n);
    link->ring_used += LINK_RING_HEAD + n;
    link->end++;
    return n;
}

size_t link_send(struct link *link, enum link_stream stream, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    size_t done = 0, n = 1;

    HV_CHECK(stream < LINK_STREAM_COUNT);
    if (length)
        done = extend_last(link, (uint8_t)stream, p, length);
    while (done < length && n) {
        n = begin_frame(link, (uint8_t)stream, p + done, length - done);
        done += n;
    }
    if (stream == LINK_STREAM_LOG)
        link->log_end += done;
    return done;
}

bool link_send_frame(struct link *link, enum link_stream stream, const void *bytes, size_t length)
{
    HV_CHECK(stream < LINK_STREAM_COUNT && stream != LINK_STREAM_LOG);
    HV_CHECK(length && length <= LINK_PAYLOAD_MAX);
    if (link->config.ring_size - link->ring_used < LINK_RING_HEAD + length)
        return false;
    begin_frame(link, (uint8_t)stream, bytes, length);
    return true;
}

size_t link_room(const struct link *link)
{
    size_t space = link->config.ring_size - link->ring_used;
    size_t heads = (space / (LINK_RING_HEAD + LINK_PAYLOAD_MAX) + 1) * LINK_RING_HEAD;

    return space > heads ? space - heads : 0;
}

bool link_idle(const struct link *link)
{
    return link->una == link->end && link->out_at == link->out_length && !link->ack_due && !link->nack_due &&
           !link->hello_due && !link->refuse_due;
}

void link_rewind(struct link *link)
{
    link->next = link->una;
    link->next_at = link->una_at;
}

/* CRC32C of the log so far, continued over `length` bytes at ring offset `at`. */
static uint32_t ring_crc(const struct link *link, uint32_t crc, size_t at, size_t length)
{
    size_t first = MIN(length, link->config.ring_size - at);

    crc = crc32c(crc, link->config.ring + at, first);
    return crc32c(crc, link->config.ring, length - first);
}

/* Lets go of the oldest frame. */
static void drop_oldest(struct link *link)
{
    struct ring_frame frame = ring_frame(link, link->una_at);
    size_t payload = ring_next(link, link->una_at, LINK_RING_HEAD);

    if (frame.stream == LINK_STREAM_LOG) {
        link->log_crc = ring_crc(link, link->log_crc, payload, frame.length);
        link->log_offset += frame.length;
    }
    link->una_at = ring_next(link, payload, frame.length);
    link->ring_used -= LINK_RING_HEAD + (size_t)frame.length;
    if (link->next == link->una) {
        link->next++;
        link->next_at = link->una_at;
    }
    link->una++;
}

bool link_acknowledge(struct link *link, uint32_t ack)
{
    if (ack - link->una > link->high - link->una)
        return false;
    if (ack == link->una)
        return true;
    while (link->una != ack)
        drop_oldest(link);
    link->backoff = 0;
    link->deadline = link->now + link->config.rto;
    return true;
}

static void put_frame(struct link *link, struct link_frame *frame)
{
    frame->from = (uint16_t)link->config.session;
    frame->ack = link->expected;
    link->out_length = link_frame_encode(frame, link->body, link->out);
    link->out_at = 0;
    link->stats.frames_sent++;
}

static void put_hello(struct link *link)
{
    struct link_hello hello = {.version = LINK_VERSION,
                               .flags = link->state == LINK_ESTABLISHED ? 0 : LINK_HELLO_REPLY,
                               .session = link->config.session,
                               .peer = link->peer,
                               .first = link->una,
                               .log_crc = link->log_crc,
                               .log_offset = link->log_offset,
                               .have_bytes = link->have_bytes};
    struct link_frame frame = {.kind = LINK_KIND_HELLO, .to = (uint16_t)link->peer, .length = sizeof hello};

    memcpy(link->body + LINK_HEAD_SIZE, &hello, sizeof hello);
    put_frame(link, &frame);
    link->hello_due = false;
    link->hello_at = link->now + link->config.rto;
}

static void put_refuse(struct link *link)
{
    struct link_frame frame = {.kind = LINK_KIND_REFUSE, .to = (uint16_t)link->refuse_peer, .length = 1};

    link->body[LINK_HEAD_SIZE] = (uint8_t)link->refuse_code;
    put_frame(link, &frame);
    link->refuse_due = false;
}

/* An ACK or a NACK; DATA frames acknowledge too. */
static void put_ack(struct link *link)
{
    struct link_frame frame = {.kind = link->nack_due ? LINK_KIND_NACK : LINK_KIND_ACK,
                               .to = (uint16_t)link->peer};

    put_frame(link, &frame);
    link->ack_due = link->nack_due = false;
}

static void put_data(struct link *link)
{
    struct ring_frame at = ring_frame(link, link->next_at);
    size_t payload = ring_next(link, link->next_at, LINK_RING_HEAD);
    struct link_frame frame = {.kind = LINK_KIND_DATA,
                               .stream = at.stream,
                               .to = (uint16_t)link->peer,
                               .seq = link->next,
                               .length = at.length};

    ring_get(link, payload, link->body + LINK_HEAD_SIZE, at.length);
    put_frame(link, &frame);
    link->ack_due = false;
    if (link->next == link->una)
        link->deadline = link->now + (link->config.rto << link->backoff);
    if (link->next == link->high)
        link->high++;
    else
        link->stats.frames_resent++;
    link->next++;
    link->next_at = ring_next(link, payload, at.length);
}

static void check_deadline(struct link *link)
{
    if (link->una == link->next || link->now < link->deadline)
        return;
    link->stats.timeouts++;
    link->backoff = MIN(link->backoff + 1, LINK_BACKOFF_MAX);
    link_rewind(link);
}

/* Encodes the most urgent frame, if there is one. */
static bool next_frame(struct link *link)
{
    bool established = link->state == LINK_ESTABLISHED;

    if (link->refuse_due)
        put_refuse(link);
    else if (link->state == LINK_FAILED)
        return false;
    else if (link->hello_due || (!established && link->now >= link->hello_at))
        put_hello(link);
    else if (!established)
        return false;
    else if (link->nack_due)
        put_ack(link);
    else if (link->next != link->end && link->next - link->una < LINK_WINDOW)
        put_data(link);
    else if (link->ack_due)
        put_ack(link);
    else
        return false;
    return true;
}

size_t link_poll(struct link *link, uint64_t now, uint8_t *out, size_t room)
{
    size_t done = 0;

    link->now = now;
    if (link->state == LINK_ESTABLISHED)
        check_deadline(link);
    while (done < room) {
        size_t n = MIN(link->out_length - link->out_at, room - done);

        memcpy(out + done, link->out + link->out_at, n);
        link->out_at += n;
        done += n;
        if (link->out_at == link->out_length && !next_frame(link))
            break;
    }
    return done;
}

const char *link_error_text(enum link_error error)
{
    static const char *const text[LINK_ERROR_COUNT] = {
        [LINK_OK] = "no error",
        [LINK_ERROR_VERSION] = "the peer speaks another version of the link protocol",
        [LINK_ERROR_RESUME_LOST] = "the sender has let go of log bytes that the collector does not have",
        [LINK_ERROR_RESUME_AHEAD] = "the collector has more of a log than the sender has written",
        [LINK_ERROR_RESUME_MISMATCH] = "the collector's log is not the beginning of the sender's",
    };

    return (unsigned)error < LINK_ERROR_COUNT ? text[error] : "unknown error";
}

const char *link_stream_name(enum link_stream stream)
{
    static const char *const name[LINK_STREAM_COUNT] = {
        [LINK_STREAM_LOG] = "log",
        [LINK_STREAM_CONSOLE] = "console",
        [LINK_STREAM_MESSAGE] = "message",
        [LINK_STREAM_INPUT] = "input",
    };

    return (unsigned)stream < LINK_STREAM_COUNT ? name[stream] : "unknown";
}
