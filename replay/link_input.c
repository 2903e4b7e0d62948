#include "replay/link_input.h"

#include <string.h>

#include "hv/base/check.h"

void link_inbox_take(struct link_inbox *inbox, const uint8_t *payload, size_t length)
{
    uint64_t offset;

    if (length < sizeof offset)
        return;
    memcpy(&offset, payload, sizeof offset);
    payload += sizeof offset;
    length -= sizeof offset;
    /* After an old HELLO the host repeats what it holds for lost. A gap is no peer of ours. */
    if (offset > inbox->received || inbox->received - offset >= length)
        return;
    for (size_t i = (size_t)(inbox->received - offset); i < length; i++) {
        if (inbox->received - inbox->taken == LINK_INPUT_WINDOW)
            return;
        inbox->bytes[inbox->received++ % LINK_INPUT_WINDOW] = payload[i];
    }
}

const uint8_t *link_inbox_peek(const struct link_inbox *inbox, size_t *length)
{
    size_t at = inbox->taken % LINK_INPUT_WINDOW;

    *length = MIN((size_t)(inbox->received - inbox->taken), LINK_INPUT_WINDOW - at);
    return inbox->bytes + at;
}

void link_inbox_drop(struct link_inbox *inbox, size_t length)
{
    HV_CHECK(length <= inbox->received - inbox->taken);
    inbox->taken += length;
}

void link_inbox_grant(struct link_inbox *inbox, struct link *link)
{
    uint64_t limit = inbox->taken + LINK_INPUT_WINDOW;
    struct link_input_grant grant = {
        .session = link->peer, .window = (uint32_t)(limit - inbox->received), .received = inbox->received};
    bool another = inbox->session != link->peer;

    if (link->state != LINK_ESTABLISHED || (!another && limit - inbox->granted < LINK_INPUT_WINDOW / 2))
        return;
    if (!link_send_frame(link, LINK_STREAM_INPUT, &grant, sizeof grant))
        return;
    inbox->session = link->peer;
    inbox->granted = limit;
}

bool link_outbox_take(struct link_outbox *outbox, const struct link *link, const uint8_t *payload,
                      size_t length)
{
    struct link_input_grant grant;
    bool first = !outbox->open;

    if (length < sizeof grant)
        return false;
    memcpy(&grant, payload, sizeof grant);
    /* One to an earlier collector comes again as long as nobody has acknowledged it. */
    if (grant.session != link->config.session)
        return false;
    if (first)
        outbox->next = grant.received;
    outbox->open = true;
    outbox->limit = MAX(outbox->limit, grant.received + grant.window);
    return first;
}

uint64_t link_outbox_room(const struct link_outbox *outbox)
{
    return outbox->open && outbox->limit > outbox->next ? outbox->limit - outbox->next : 0;
}

size_t link_outbox_send(struct link_outbox *outbox, struct link *link, const uint8_t *bytes, size_t length)
{
    size_t done = 0;

    length = (size_t)MIN((uint64_t)length, link_outbox_room(outbox));
    while (done < length) {
        struct link_input_lump lump = {.offset = outbox->next};
        size_t n = MIN(length - done, (size_t)LINK_INPUT_LUMP);

        memcpy(lump.bytes, bytes + done, n);
        if (!link_send_frame(link, LINK_STREAM_INPUT, &lump, sizeof lump.offset + n))
            break;
        outbox->next += n;
        done += n;
    }
    return done;
}
