/* What the two halves of the serial link share. */
#ifndef RV_REPLAY_LINK_INTERNAL_H
#define RV_REPLAY_LINK_INTERNAL_H

#include "replay/link.h"

#define LINK_RING_HEAD   4u
#define LINK_BACKOFF_MAX 4u

#define LINK_HELLO_REPLY 0x01u /* the sender has not been answered yet */

/* Payload of a HELLO. */
struct link_hello {
    uint8_t version;
    uint8_t flags;
    uint8_t zero[2];
    uint32_t session; /* of the sender */
    uint32_t peer;    /* the session that it has heard, or 0 */
    uint32_t first;   /* number of the first DATA frame that it will send */
    uint32_t log_crc; /* CRC32C of its LOG stream before that frame */
    uint32_t zero2;
    uint64_t log_offset; /* bytes of its LOG stream before that frame */
    uint64_t have_bytes; /* bytes it holds of the receiver's LOG stream */
};
_Static_assert(sizeof(struct link_hello) == 40, "HELLO payload");

/* Sends again from the oldest frame that is not acknowledged. */
void link_rewind(struct link *link);

/* Lets go of all frames before number `ack`; false where no such frame is in flight. */
bool link_acknowledge(struct link *link, uint32_t ack);

#endif
