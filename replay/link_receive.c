/* The receiving half of the serial link: segments, sessions, order. */
#include <string.h>

#include "hv/base/digest.h"
#include "replay/link_internal.h"

/* Tells the peer `session` that it is refused, and why. */
static void refuse(struct link *link, uint32_t session, enum link_error error)
{
    link->error = error;
    link->refuse_due = true;
    link->refuse_code = error;
    link->refuse_peer = session;
    link->peer = 0;
    link->state = link->config.wait_for_another ? LINK_WAITING : LINK_FAILED;
}

static void on_refuse(struct link *link, const struct link_frame *frame)
{
    if (frame->to != (uint16_t)link->config.session || frame->length < 1)
        return;
    if (frame->payload[0] == LINK_OK || frame->payload[0] >= LINK_ERROR_COUNT)
        return;
    link->error = frame->payload[0];
    link->peer = 0;
    link->state = link->config.wait_for_another ? LINK_WAITING : LINK_FAILED;
}

/* Whether both directions of the log can go on from where the two ends are. */
static enum link_error check_resume(const struct link *link, const struct link_hello *hello)
{
    if (hello->have_bytes < link->log_offset || link->have_bytes < hello->log_offset)
        return LINK_ERROR_RESUME_LOST;
    if (hello->have_bytes > link->log_end)
        return LINK_ERROR_RESUME_AHEAD;
    if (link->have_bytes == hello->log_offset && link->have_crc != hello->log_crc)
        return LINK_ERROR_RESUME_MISMATCH;
    return LINK_OK;
}

/* A session of the peer begins: both directions start at their oldest unacknowledged frame. */
static void begin_session(struct link *link, const struct link_hello *hello)
{
    enum link_error error = check_resume(link, hello);

    if (error) {
        refuse(link, hello->session, error);
        return;
    }
    if (link->peer && link->peer != hello->session)
        link->stats.peer_restarts++;
    link->peer = hello->session;
    link->state = LINK_WAITING;
    link->expected = hello->first;
    link->skip = link->have_bytes - hello->log_offset;
    link->skip_crc = hello->log_crc;
    link->ack_due = link->nack_due = link->gap_known = false;
    link->backoff = 0;
    link_rewind(link);
}

static void on_hello(struct link *link, const struct link_frame *frame)
{
    struct link_hello hello;

    if (frame->length < 1 + 1)
        return;
    if (frame->payload[0] != LINK_VERSION) {
        refuse(link, frame->from, LINK_ERROR_VERSION);
        return;
    }
    if (frame->length < sizeof hello)
        return;
    memcpy(&hello, frame->payload, sizeof hello);
    if (hello.session == link->config.session || (uint16_t)hello.session != frame->from)
        return;
    /* Frames that we never acknowledged are gone: an old HELLO misled us. Begin anew, or find out why not. */
    if (hello.session != link->peer || (int32_t)(hello.first - link->expected) > 0)
        begin_session(link, &hello);
    if (!link->peer)
        return;
    if (hello.peer == link->config.session)
        link->state = LINK_ESTABLISHED;
    if (hello.flags & LINK_HELLO_REPLY)
        link->hello_due = true;
}

/* LOG bytes that we hold already are compared, not delivered. Returns how many of them there were. */
static size_t skip_held(struct link *link, const uint8_t *bytes, size_t length)
{
    size_t n = (size_t)MIN((uint64_t)length, link->skip);

    link->skip_crc = crc32c(link->skip_crc, bytes, n);
    link->skip -= n;
    if (n && !link->skip && link->skip_crc != link->have_crc)
        refuse(link, link->peer, LINK_ERROR_RESUME_MISMATCH);
    return n;
}

static void deliver(struct link *link, uint8_t stream, const uint8_t *bytes, size_t length)
{
    if (stream >= LINK_STREAM_COUNT)
        return;
    if (stream == LINK_STREAM_LOG) {
        size_t held = skip_held(link, bytes, length);

        if (!link->peer)
            return;
        bytes += held;
        length -= held;
        link->have_crc = crc32c(link->have_crc, bytes, length);
        link->have_bytes += length;
    }
    if (length)
        link->config.deliver(link->config.context, (enum link_stream)stream, bytes, length);
}

/* A frame after a lost one: ask once, and again where the sender has gone back and the frame was lost anew.
 */
static void on_gap(struct link *link, uint32_t seq)
{
    link->stats.gaps++;
    if (!link->gap_known || (int32_t)(seq - link->gap_seq) <= 0)
        link->nack_due = true;
    link->gap_known = true;
    link->gap_seq = seq;
}

static void on_data(struct link *link, const struct link_frame *frame)
{
    int32_t ahead = (int32_t)(frame->seq - link->expected);

    if (ahead > 0) {
        on_gap(link, frame->seq);
        return;
    }
    link->ack_due = true;
    if (ahead < 0) {
        link->stats.duplicates++;
        return;
    }
    link->gap_known = false;
    link->expected++;
    deliver(link, frame->stream, frame->payload, frame->length);
}

static void on_ack(struct link *link, const struct link_frame *frame)
{
    bool known = link_acknowledge(link, frame->ack);

    if (frame->kind != LINK_KIND_NACK)
        return;
    if (known)
        link_rewind(link);
    else
        link->hello_due = true; /* it waits for what is gone: tell it where we are */
}

static void on_frame(struct link *link, const struct link_frame *frame)
{
    /* Our own frames come back where the pipe echoes. */
    if (frame->from == (uint16_t)link->config.session || link->state == LINK_FAILED)
        return;
    link->stats.frames_received++;
    if (frame->kind == LINK_KIND_HELLO) {
        on_hello(link, frame);
        return;
    }
    if (frame->kind == LINK_KIND_REFUSE) {
        on_refuse(link, frame);
        return;
    }
    if (!link->peer || frame->from != (uint16_t)link->peer || frame->to != (uint16_t)link->config.session)
        return;
    link->state = LINK_ESTABLISHED;
    on_ack(link, frame);
    if (frame->kind == LINK_KIND_DATA)
        on_data(link, frame);
}

/* No frame is text: the second byte of a segment is its kind, a control character that texts do not have. */
static bool is_text(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint8_t c = bytes[i];

        if ((c < ' ' && !(c >= '\b' && c <= '\r') && c != 0x1b) || c == 0x7f)
            return false;
    }
    return length > 0;
}

static bool take_noise(struct link *link)
{
    if (!is_text(link->in, link->in_length))
        return false;
    link->stats.noise_bytes += link->in_length;
    if (link->config.noise)
        link->config.noise(link->config.context, link->in, link->in_length);
    link->in_length = 0;
    return true;
}

void link_flush_noise(struct link *link)
{
    /* The first byte of a frame may look like text, the first two do not. */
    if (link->in_length >= 2)
        take_noise(link);
}

static void end_segment(struct link *link)
{
    struct link_frame frame;

    if (link->in_overflow)
        link->stats.damaged++;
    else if (link->in_length && link_frame_decode(&frame, link->in, link->in_length, link->body))
        on_frame(link, &frame);
    else if (link->in_length && !take_noise(link))
        link->stats.damaged++;
    link->in_overflow = false;
    link->in_length = 0;
}

/* Bytes without a delimiter among them. */
static void add_to_segment(struct link *link, const uint8_t *bytes, size_t length)
{
    while (length && !link->in_overflow) {
        size_t n = MIN(length, sizeof link->in - link->in_length);

        memcpy(link->in + link->in_length, bytes, n);
        link->in_length += n;
        bytes += n;
        length -= n;
        if (link->in_length == sizeof link->in && !take_noise(link))
            link->in_overflow = true;
    }
}

void link_receive(struct link *link, const uint8_t *bytes, size_t length, uint64_t now)
{
    link->now = now;
    while (length) {
        const uint8_t *zero = memchr(bytes, 0, length);
        size_t n = zero ? (size_t)(zero - bytes) : length;

        add_to_segment(link, bytes, n);
        if (zero)
            end_segment(link);
        bytes += n + (zero != NULL);
        length -= n + (zero != NULL);
    }
}
