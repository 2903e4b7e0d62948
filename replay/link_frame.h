/*
 * Frames of the serial link as bytes: a small body with a CRC32C, byte-stuffed (COBS) so that 0x00 only
 * ever delimits. See "The serial link" in replay/FORMAT.md.
 */
#ifndef RV_REPLAY_LINK_FRAME_H
#define RV_REPLAY_LINK_FRAME_H

#include "hv/base/types.h"

#define LINK_PAYLOAD_MAX 1024u
#define LINK_HEAD_SIZE   14u
#define LINK_CRC_SIZE    4u
#define LINK_BODY_MAX    (LINK_HEAD_SIZE + LINK_PAYLOAD_MAX + LINK_CRC_SIZE)
/* Stuffing adds a byte per 254 begun; a delimiter on either side. */
#define LINK_WIRE_MAX (LINK_BODY_MAX + LINK_BODY_MAX / 254u + 1u + 2u)

/* None of these is a text character, which tells a frame from foreign text. */
enum link_kind {
    LINK_KIND_HELLO = 1,
    LINK_KIND_DATA,
    LINK_KIND_ACK,
    LINK_KIND_NACK,
    LINK_KIND_REFUSE,
    LINK_KIND_COUNT
};

struct link_frame {
    uint8_t kind;   /* enum link_kind */
    uint8_t stream; /* enum link_stream in DATA, else 0 */
    uint16_t from;  /* low half of the sender's session */
    uint16_t to;    /* low half of the receiver's session, 0: not known */
    uint32_t seq;   /* number of a DATA frame, else 0 */
    uint32_t ack;   /* number of the next DATA frame wanted; all before it have arrived */
    size_t length;  /* of the payload */
    const uint8_t *payload;
};

/*
 * Encodes a frame with both delimiters into `wire` (LINK_WIRE_MAX bytes), returns its length. `body` holds
 * LINK_BODY_MAX bytes, with the payload already at body + LINK_HEAD_SIZE (frame->payload is not used).
 */
size_t link_frame_encode(const struct link_frame *frame, uint8_t *body, uint8_t *wire);

/*
 * Decodes a segment (`wire`: the bytes between two delimiters) into `body` (LINK_BODY_MAX bytes); the
 * frame's payload points there. False where it is no sound frame.
 */
bool link_frame_decode(struct link_frame *frame, const uint8_t *wire, size_t length, uint8_t *body);

#endif
