/*
 * Reads what one end of a serial link has sent from a file that somebody else captured: nobody can be
 * answered, so frames are taken as they lie there, each number once. replay/link.h is for live lines.
 */
#ifndef RV_TOOLS_RETRO_CAPTURE_H
#define RV_TOOLS_RETRO_CAPTURE_H

#include "replay/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture {
    bool begun;                    /* a frame of `from` has been seen */
    uint16_t from;                 /* low half of the sender's session */
    uint32_t expected;             /* number of the next frame */
    uint64_t frames, others, gaps; /* sound ones; those of other sessions; frames beyond a missing one */
    bool overflow;
    size_t length;
    uint8_t segment[LINK_WIRE_MAX];
};

/* Takes captured bytes; calls the deliver and noise functions of `to`. Zero-initialise `c` before. */
void capture_receive(struct capture *c, const uint8_t *bytes, size_t length, const struct link_config *to);
/* No more will come: text that no delimiter ended goes to noise. */
void capture_end(struct capture *c, const struct link_config *to);

#endif
