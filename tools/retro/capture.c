#include "tools/retro/capture.h"

#include <string.h>

/* Where a HELLO's payload tells the first number that its sender will use (FORMAT.md, "Sessions"). */
enum { HELLO_FIRST = 12 };

static void take_frame(struct capture *c, const struct link_frame *frame, const struct link_config *to)
{
    uint32_t first = 0;

    c->frames++;
    if (!c->begun) {
        if (frame->kind == LINK_KIND_HELLO && frame->length >= HELLO_FIRST + sizeof first)
            memcpy(&first, frame->payload + HELLO_FIRST, sizeof first);
        c->begun = true;
        c->from = frame->from;
        c->expected = first;
    }
    if (frame->from != c->from) {
        c->others++;
        return;
    }
    if (frame->kind != LINK_KIND_DATA || (int32_t)(frame->seq - c->expected) < 0)
        return;
    if (frame->seq != c->expected) {
        c->gaps++; /* it may come later: whoever answered will have asked for it again */
        return;
    }
    c->expected++;
    if (frame->stream < LINK_STREAM_COUNT)
        to->deliver(to->context, (enum link_stream)frame->stream, frame->payload, frame->length);
}

static bool is_text(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool layout = (bytes[i] >= '\b' && bytes[i] <= '\r') || bytes[i] == '\x1b';
        if ((bytes[i] < ' ' && !layout) || bytes[i] == 0x7f)
            return false;
    }
    return true;
}

static void end_segment(struct capture *c, const struct link_config *to)
{
    uint8_t body[LINK_BODY_MAX];
    struct link_frame frame;

    if (c->length && !c->overflow && link_frame_decode(&frame, c->segment, c->length, body))
        take_frame(c, &frame, to);
    else if (c->length && is_text(c->segment, c->length))
        to->noise(to->context, c->segment, c->length);
    c->length = 0;
    c->overflow = false;
}

void capture_receive(struct capture *c, const uint8_t *bytes, size_t length, const struct link_config *to)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == 0) {
            end_segment(c, to);
            continue;
        }
        if (c->length == sizeof c->segment) { /* too long for a frame: text, or nothing */
            c->overflow = true;
            end_segment(c, to);
            c->overflow = true;
        }
        c->segment[c->length++] = bytes[i];
    }
}

void capture_end(struct capture *c, const struct link_config *to)
{
    end_segment(c, to);
}
