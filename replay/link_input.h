/*
 * Console input over the serial link, from the host to the hypervisor: numbered bytes and a window, so that
 * nothing is lost while the guest does not read, and nothing comes twice to a hypervisor whose collector was
 * started again. "Input" in replay/FORMAT.md describes the frames. Pure; both ends are here.
 *
 *     hypervisor:  link_inbox_take()                       for what the link delivers of LINK_STREAM_INPUT
 *                  n = link_inbox_peek(); link_inbox_drop()  when the guest takes bytes
 *                  link_inbox_grant()                      again and again
 *     host:        link_outbox_take()                      for what the link delivers of LINK_STREAM_INPUT
 *                  link_outbox_send()                      whenever there is input
 */
#ifndef RV_REPLAY_LINK_INPUT_H
#define RV_REPLAY_LINK_INPUT_H

#include "replay/link.h"

#define LINK_INPUT_WINDOW 4096u /* bytes that the hypervisor holds for its guest */
#define LINK_INPUT_LUMP   256u  /* bytes of input in a frame: a serial line loses one now and then */

/* Payload of an INPUT frame from the hypervisor. */
struct link_input_grant {
    uint32_t session;  /* of the collector that it is meant for */
    uint32_t window;   /* bytes that may follow */
    uint64_t received; /* bytes of input received since the hypervisor's start */
};
_Static_assert(sizeof(struct link_input_grant) == 16, "payload of a grant");

/* Payload of an INPUT frame to the hypervisor. */
struct link_input_lump {
    uint64_t offset; /* of the first byte in the stream of all input */
    uint8_t bytes[LINK_INPUT_LUMP];
};
_Static_assert(sizeof(struct link_input_lump) == 8 + LINK_INPUT_LUMP, "payload of a lump");

/* The hypervisor's end. All zero to begin with. */
struct link_inbox {
    uint64_t received, taken; /* bytes that have come, and that the guest has taken */
    uint64_t granted;         /* bytes that the host was told it may send in all */
    uint32_t session;         /* the collector that was told, 0: none */
    uint8_t bytes[LINK_INPUT_WINDOW];
};

/* A frame has come. What was there already is dropped, and so is what no window allowed. */
void link_inbox_take(struct link_inbox *inbox, const uint8_t *payload, size_t length);
/* The oldest bytes that the guest has not taken; `*length` of them, 0 if there are none. */
const uint8_t *link_inbox_peek(const struct link_inbox *inbox, size_t *length);
/* The guest has taken `length` bytes, at most what link_inbox_peek() told. */
void link_inbox_drop(struct link_inbox *inbox, size_t length);
/* Opens the window anew where much of it is used up, or another collector has come. */
void link_inbox_grant(struct link_inbox *inbox, struct link *link);

/* The host's end. All zero to begin with. */
struct link_outbox {
    bool open;      /* a grant has come: `next` counts */
    uint64_t next;  /* offset of the next byte to send */
    uint64_t limit; /* bytes that may be sent in all */
};

/* A frame has come. True for the first grant: `outbox->next` then says where this collector's input begins.
 */
bool link_outbox_take(struct link_outbox *outbox, const struct link *link, const uint8_t *payload,
                      size_t length);
/* Bytes that the window allows now. */
uint64_t link_outbox_room(const struct link_outbox *outbox);
/* Takes up to `length` bytes to send, returns how many window and link had room for. */
size_t link_outbox_send(struct link_outbox *outbox, struct link *link, const uint8_t *bytes, size_t length);

#endif
