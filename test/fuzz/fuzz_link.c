/*
 * Two ends of a serial link with a hostile wire between them: any bytes come in, raw and as sound frames,
 * while both ends talk. Nothing is read or written out of bounds, the ring's books stay right, and neither
 * end fails a check.
 */
#include <string.h>

#include "hv/base/check.h"
#include "replay/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RING    (2u * LINK_PAYLOAD_MAX)
#define SESSION 0x10001u

struct end {
    struct link link;
    uint8_t ring[RING];
};

static void on_bytes(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct end *end = context;

    HV_CHECK(stream < LINK_STREAM_COUNT && length >= 1 && length <= LINK_PAYLOAD_MAX);
    if (stream == LINK_STREAM_INPUT)
        link_send(&end->link, LINK_STREAM_MESSAGE, bytes, length);
}

static void on_noise(void *context, const uint8_t *bytes, size_t length)
{
    (void)context;
    HV_CHECK(bytes && length >= 1 && length <= LINK_WIRE_MAX);
}

static void start(struct end *end, uint32_t session, bool patient)
{
    struct link_config config = {.ring = end->ring,
                                 .ring_size = sizeof end->ring,
                                 .session = session,
                                 .rto = 3,
                                 .wait_for_another = patient,
                                 .deliver = on_bytes,
                                 .noise = on_noise,
                                 .context = end};

    link_init(&end->link, &config, 0);
}

static void check_books(const struct link *link)
{
    uint32_t flight = link->next - link->una, sent = link->high - link->una, held = link->end - link->una;

    HV_CHECK(flight <= sent && sent <= held && flight <= LINK_WINDOW);
    HV_CHECK(link->ring_used <= RING && (link->ring_used != 0) == (held != 0));
    HV_CHECK((link->una_at + link->ring_used) % RING == link->end_at % RING);
    HV_CHECK(link->log_offset <= link->log_end && link->error < LINK_ERROR_COUNT);
    HV_CHECK(link_room(link) <= RING - link->ring_used);
}

/* A sound frame made of `n` chosen bytes: head first, then payload. */
static void forged_frame(struct link *link, const uint8_t *bytes, size_t n, uint64_t now)
{
    uint8_t body[LINK_BODY_MAX] = {0}, wire[LINK_WIRE_MAX], head[8] = {0};
    struct link_frame frame = {0};

    memcpy(head, bytes, MIN(n, sizeof head));
    frame.kind = head[0] % LINK_KIND_COUNT;
    frame.stream = head[1] % (LINK_STREAM_COUNT + 1);
    frame.from = head[2] & 1 ? (uint16_t)SESSION : head[2];
    frame.to = (uint16_t)link->config.session;
    frame.seq = link->expected + (uint32_t)(int8_t)head[3];
    frame.ack = link->una + (uint32_t)(int8_t)head[4];
    frame.length = n > sizeof head ? n - sizeof head : 0;
    if (frame.length)
        memcpy(body + LINK_HEAD_SIZE, bytes + sizeof head, frame.length);
    if (frame.kind == LINK_KIND_HELLO && frame.length >= 8) {
        uint32_t session = frame.from;

        memcpy(body + LINK_HEAD_SIZE + 4, &session, sizeof session);
        body[LINK_HEAD_SIZE] = head[5] & 3 ? LINK_VERSION : head[5];
    }
    link_receive(link, wire, link_frame_encode(&frame, body, wire), now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct end hv, tool;
    uint8_t wire[LINK_WIRE_MAX];
    uint64_t now = 0;

    start(&hv, 0x20002, true);
    start(&tool, SESSION, false);
    while (size >= 2) {
        unsigned action = data[0] % 6;
        size_t n = MIN((size_t)data[1], size - 2);

        data += 2;
        size -= 2;
        now += action;
        switch (action) {
        case 0:
            link_receive(&hv.link, data, n, now);
            break;
        case 1:
            forged_frame(&hv.link, data, n, now);
            break;
        case 2:
            link_send(&hv.link, n % LINK_STREAM_COUNT, data, n);
            break;
        case 3:
            link_receive(&tool.link, wire, link_poll(&hv.link, now, wire, 1 + n * 4), now);
            break;
        case 4:
            link_receive(&hv.link, wire, link_poll(&tool.link, now, wire, 1 + n * 4), now);
            break;
        default:
            link_send(&tool.link, LINK_STREAM_INPUT, data, n);
            link_flush_noise(&tool.link);
            break;
        }
        data += n;
        size -= n;
        check_books(&hv.link);
        check_books(&tool.link);
    }
    return 0;
}
