/*
 * The serial link: carries byte streams both ways over a pipe that may drop, double, flip or delay bytes,
 * and that may hold foreign text (firmware, boot loader) before and between frames. What is delivered is
 * exactly what was sent, in order. "The serial link" in replay/FORMAT.md describes the bytes.
 *
 * Both ends run the same code. It is pure: the caller moves bytes and passes time in as ticks of any unit.
 * Calls on one link are made by one CPU at a time (the caller's lock); none of them waits.
 *
 *     sender:    n = link_send(link, LINK_STREAM_LOG, bytes, len)     whenever there is something
 *     any side:  link_receive(link, in, n, now)                       for bytes that came in
 *                n = link_poll(link, now, out, room)                  until it returns 0; write `out` to the
 * pipe
 *                ... and link_poll() again at least every rto/2 ticks, since it also drives retransmission
 */
#ifndef RV_REPLAY_LINK_H
#define RV_REPLAY_LINK_H

#include "hv/base/types.h"
#include "replay/link_frame.h"

#define LINK_VERSION 1u
#define LINK_WINDOW  32u /* frames in flight at most */

enum link_stream {
    LINK_STREAM_LOG = 0, /* the log's bytes, from its first; resumable */
    LINK_STREAM_CONSOLE, /* guest console output */
    LINK_STREAM_MESSAGE, /* the hypervisor's messages, text */
    LINK_STREAM_INPUT,   /* the guest's console input, see replay/link_input.h */
    LINK_STREAM_COUNT
};

/* Why a link cannot go on. Sent to the peer too, so that both ends can say so. */
enum link_error {
    LINK_OK = 0,
    LINK_ERROR_VERSION,         /* the peer speaks another version */
    LINK_ERROR_RESUME_LOST,     /* we have less of the log than the sender has already let go */
    LINK_ERROR_RESUME_AHEAD,    /* we have more of the log than the sender has written: another log */
    LINK_ERROR_RESUME_MISMATCH, /* what we have of the log differs from what the sender has */
    LINK_ERROR_COUNT
};

enum link_state {
    LINK_WAITING,     /* says hello until a peer answers */
    LINK_ESTABLISHED, /* streams flow */
    LINK_FAILED,      /* link->error says why; stays so */
};

struct link_stats {
    uint64_t frames_sent, frames_resent, frames_received;
    uint64_t damaged;    /* segments that were neither a sound frame nor text */
    uint64_t duplicates; /* sound frames received before */
    uint64_t gaps;       /* sound frames that came after a lost one */
    uint64_t timeouts;
    uint64_t noise_bytes;
    uint64_t peer_restarts; /* new sessions of the peer after the first */
};

struct link_config {
    uint8_t *ring;    /* bytes accepted and not yet acknowledged wait here, with 4 bytes per frame */
    size_t ring_size; /* >= 2 * LINK_PAYLOAD_MAX; a control-only sender needs no more */
    uint32_t
        session;  /* differs from one start to the next (e.g. from the TSC or the clock); low half not 0 */
    uint64_t rto; /* retransmission time-out in ticks, > 0: about 4 round trips; doubles up to 16 times */
    /* What the caller already holds of the LOG stream that it will receive (a log file that a collection
     * left behind): its length, and the CRC32C of it. 0, 0 for none, and for a sender. */
    uint64_t have_bytes;
    uint32_t have_crc;
    /* Refusing or being refused does not end the link: it waits for another peer, and `error` keeps what was
     * wrong last. For the hypervisor, which outlives its collectors. */
    bool wait_for_another;
    /* Payload in order, each byte once. LOG bytes count as held as soon as this returns: write them out.
     * Both callbacks may call link_send(), but neither link_poll() nor link_receive(). */
    void (*deliver)(void *context, enum link_stream stream, const uint8_t *bytes, size_t length);
    /* Foreign text, for people; may be NULL. */
    void (*noise)(void *context, const uint8_t *bytes, size_t length);
    void *context;
};

struct link {
    struct link_config config;
    enum link_state state;
    enum link_error error;
    struct link_stats stats;
    uint32_t peer; /* the peer's session, 0: none heard */
    uint64_t now;

    /* Sending. Frame numbers count up from 0 per session; [una, end) is in the ring, [una, next) sent. */
    uint32_t una, next, high, end;           /* high: first number never sent */
    size_t una_at, next_at, end_at, open_at; /* ring offsets; open_at: begin of the last frame */
    size_t ring_used;
    uint64_t log_offset; /* LOG stream offset of the frame una */
    uint64_t log_end;    /* LOG bytes ever accepted */
    uint32_t log_crc;    /* CRC32C of the LOG bytes before log_offset */
    uint64_t deadline;   /* of the oldest frame in flight */
    unsigned backoff;    /* the time-out is rto << backoff */

    /* Receiving. */
    uint32_t expected;   /* number of the next frame */
    uint64_t have_bytes; /* LOG bytes held */
    uint32_t have_crc;
    uint64_t skip;     /* LOG bytes that the peer will repeat and we hold already */
    uint32_t skip_crc; /* CRC32C of the LOG stream up to where the peer is */
    bool ack_due, nack_due, gap_known;
    uint32_t gap_seq; /* number of the last frame that came after a lost one */
    bool hello_due, refuse_due;
    enum link_error refuse_code;
    uint32_t refuse_peer;
    uint64_t hello_at; /* when the next hello goes out unasked */

    /* One frame on its way out, and the segment that is coming in. */
    uint8_t out[LINK_WIRE_MAX];
    size_t out_length, out_at;
    uint8_t in[LINK_WIRE_MAX];
    size_t in_length;
    bool in_overflow; /* too long for a frame and no text: dropped up to the next delimiter */
    uint8_t body[LINK_BODY_MAX];
};

/* Starts a session. The ring and the struct stay the caller's. */
void link_init(struct link *link, const struct link_config *config, uint64_t now);

/* Takes up to `length` bytes of `stream` to send, returns how many fitted (0 where the ring is full). Works
 * in every state: bytes wait in the ring for a peer. */
size_t link_send(struct link *link, enum link_stream stream, const void *bytes, size_t length);

/*
 * Sends 1 to LINK_PAYLOAD_MAX bytes as a frame of their own, which nothing is joined to: for streams whose
 * frames mean something each. Such a stream must not be given to link_send(). False where there is no room.
 */
bool link_send_frame(struct link *link, enum link_stream stream, const void *bytes, size_t length);

/* Bytes that link_send() would take now, at least. */
size_t link_room(const struct link *link);

/* Puts up to `room` bytes to transmit into `out`, returns how many; 0: nothing to send now. */
size_t link_poll(struct link *link, uint64_t now, uint8_t *out, size_t room);

/* Takes `length` bytes that came in; calls deliver() and noise(). */
void link_receive(struct link *link, const uint8_t *bytes, size_t length, uint64_t now);

/* True where everything accepted was acknowledged and nothing waits to be transmitted. */
bool link_idle(const struct link *link);

/* Hands text that no delimiter has ended yet to noise(); for when the pipe has been silent a while. */
void link_flush_noise(struct link *link);

/* One line for people, without a full stop. Any value is allowed. */
const char *link_error_text(enum link_error error);
const char *link_stream_name(enum link_stream stream);

#endif
