#include "replay/link_frame.h"

#include <string.h>

#include "hv/base/digest.h"

#define HEAD_KIND   0u
#define HEAD_STREAM 1u
#define HEAD_FROM   2u
#define HEAD_TO     4u
#define HEAD_SEQ    6u
#define HEAD_ACK    10u
_Static_assert(HEAD_ACK + 4u == LINK_HEAD_SIZE, "frame head");

#define DELIMITER 0x00u
#define RUN_MAX   254u /* bytes that one code byte can announce */

/* Byte-stuffs `length` bytes (COBS): each code byte says how far the next zero is. */
static uint8_t *stuff(uint8_t *out, const uint8_t *in, size_t length)
{
    const uint8_t *end = in + length;

    for (;;) {
        size_t left = (size_t)(end - in), limit = MIN(left, RUN_MAX), run = 0;

        while (run < limit && in[run] != DELIMITER)
            run++;
        *out++ = (uint8_t)(run + 1);
        memcpy(out, in, run);
        out += run;
        in += run;
        if (run == RUN_MAX && run < left)
            continue;
        if (run == left)
            return out;
        in++;
    }
}

/* The reverse, into at most `room` bytes; 0 where it is no stuffed data. */
static size_t unstuff(uint8_t *out, size_t room, const uint8_t *in, size_t length)
{
    const uint8_t *end = in + length;
    uint8_t *to = out;

    while (in < end) {
        size_t run = *in++ - (size_t)1;
        bool zero = run != RUN_MAX && run < (size_t)(end - in);

        if (run > (size_t)(end - in) || run + zero > room - (size_t)(to - out))
            return 0;
        memcpy(to, in, run);
        to += run;
        in += run;
        if (zero)
            *to++ = DELIMITER;
    }
    return (size_t)(to - out);
}

size_t link_frame_encode(const struct link_frame *frame, uint8_t *body, uint8_t *wire)
{
    size_t length = LINK_HEAD_SIZE + frame->length;
    uint8_t *out = wire;
    uint32_t crc;

    body[HEAD_KIND] = frame->kind;
    body[HEAD_STREAM] = frame->stream;
    memcpy(body + HEAD_FROM, &frame->from, 2);
    memcpy(body + HEAD_TO, &frame->to, 2);
    memcpy(body + HEAD_SEQ, &frame->seq, 4);
    memcpy(body + HEAD_ACK, &frame->ack, 4);
    crc = crc32c(0, body, length);
    memcpy(body + length, &crc, LINK_CRC_SIZE);
    *out++ = DELIMITER;
    out = stuff(out, body, length + LINK_CRC_SIZE);
    *out++ = DELIMITER;
    return (size_t)(out - wire);
}

bool link_frame_decode(struct link_frame *frame, const uint8_t *wire, size_t length, uint8_t *body)
{
    size_t size = unstuff(body, LINK_BODY_MAX, wire, length);
    uint32_t crc;

    if (size < LINK_HEAD_SIZE + LINK_CRC_SIZE)
        return false;
    size -= LINK_CRC_SIZE;
    memcpy(&crc, body + size, LINK_CRC_SIZE);
    if (crc != crc32c(0, body, size))
        return false;
    frame->kind = body[HEAD_KIND];
    frame->stream = body[HEAD_STREAM];
    memcpy(&frame->from, body + HEAD_FROM, 2);
    memcpy(&frame->to, body + HEAD_TO, 2);
    memcpy(&frame->seq, body + HEAD_SEQ, 4);
    memcpy(&frame->ack, body + HEAD_ACK, 4);
    frame->length = size - LINK_HEAD_SIZE;
    frame->payload = body + LINK_HEAD_SIZE;
    return frame->kind >= LINK_KIND_HELLO && frame->kind < LINK_KIND_COUNT;
}
