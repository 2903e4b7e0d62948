#include "replay/log_record.h"

#include "replay/accessed.h"

/* The tag holds these without a bit to spare. */
_Static_assert(MAX_VCPUS == LOG_TAG_VCPU + 1u, "vCPU field of the tag");
_Static_assert(REC_END_COUNT == (LOG_TAG_END >> LOG_TAG_END_SHIFT) + 1u, "end field of the tag");
_Static_assert(REC_DEVICE_COUNT <= LOG_TAG_VCPU + 1u, "device field of the tag");
_Static_assert(REC_EVENT_COUNT <= LOG_EVENT_KIND + 1u, "kind field of an event");

/* The lag of a chunk that depends on nothing since its vCPU's own last commit. */
static uint32_t usual_lag(const struct log_codec_state *state, unsigned vcpu, uint32_t index)
{
    return (uint32_t)(index - state->last[vcpu]);
}

static uint8_t *put_events(uint8_t *p, const struct rec_chunk *chunk)
{
    for (unsigned i = 0; i < chunk->event_count; i++) {
        unsigned more = i + 1u < chunk->event_count ? LOG_EVENT_MORE : 0;

        p = put8(p, (uint8_t)(chunk->events[i].kind | more));
        p = put8(p, chunk->events[i].vector);
    }
    return p;
}

static uint8_t *put_position(uint8_t *p, const struct rec_chunk *chunk, struct log_codec_state *state)
{
    const struct rec_position *at = &chunk->position;

    p = put_delta(p, at->rip, state->rip[chunk->vcpu]);
    p = put_varint(p, at->rflags);
    p = put_delta(p, at->duration, state->duration[chunk->vcpu]);
    p = put32(p, at->regs_check);
    p = put32(p, at->state_check);
    if (chunk->flags & REC_F_REP)
        p = put_varint(p, at->rcx);
    if (state->counts) {
        p = put_delta(p, at->branches, state->branches[chunk->vcpu]);
        state->branches[chunk->vcpu] = at->branches;
    }
    state->rip[chunk->vcpu] = at->rip;
    state->duration[chunk->vcpu] = at->duration;
    return p;
}

/* The second byte, but for the lag. */
static unsigned chunk_ext(const struct rec_chunk *chunk)
{
    return (chunk->event_count ? LOG_EXT_EVENTS : 0) | (chunk->flags & REC_F_REP ? LOG_EXT_REP : 0);
}

static uint8_t *put_chunk(uint8_t *p, const struct rec_chunk *chunk, uint32_t index,
                          struct log_codec_state *state)
{
    unsigned ext = chunk_ext(chunk);
    unsigned tag = chunk->vcpu | (unsigned)chunk->end << LOG_TAG_END_SHIFT;
    bool plain = !ext && chunk->lag == usual_lag(state, chunk->vcpu, index);
    unsigned short_lag = MIN(chunk->lag, LOG_EXT_LAG_MORE);

    tag |= chunk->flags & REC_F_TIME ? LOG_TAG_TIME : 0;
    p = put8(p, (uint8_t)(tag | (plain ? 0 : LOG_TAG_EXT)));
    if (!plain)
        p = put8(p, (uint8_t)(ext | short_lag << LOG_EXT_LAG_SHIFT));
    p = put16(p, chunk->digest);
    if (!plain && short_lag == LOG_EXT_LAG_MORE)
        p = put_varint(p, chunk->lag);
    if (chunk->flags & REC_F_TIME) {
        p = put_delta(p, chunk->time_base, state->time);
        state->time = chunk->time_base;
    }
    p = put_events(p, chunk);
    if (chunk->end == REC_END_POSITION)
        p = put_position(p, chunk, state);
    if (state->accessed)
        p = put_bytes(put8(p, chunk->accessed_bytes), chunk->accessed, chunk->accessed_bytes);
    state->last[chunk->vcpu] = (uint64_t)index + 1;
    return p;
}

static uint8_t *put_input(uint8_t *p, const struct rec_input *input)
{
    p = put8(p, (uint8_t)(input->device | LOG_TAG_EXT));
    p = put8(p, LOG_EXT_INPUT);
    p = put16(p, input->digest);
    p = put_varint(p, input->length);
    return put_bytes(p, input->data, input->length);
}

uint8_t *log_record_encode(uint8_t *out, const struct rec_commit *commit, uint32_t index,
                           struct log_codec_state *state)
{
    if (commit->kind == REC_INPUT)
        return put_input(out, &commit->input);
    return put_chunk(out, &commit->chunk, index, state);
}

static void fail(struct log_cursor *c, enum log_error error)
{
    if (!c->error)
        c->error = error;
}

static void get_events(struct log_cursor *c, struct rec_chunk *chunk)
{
    unsigned kind;

    do {
        if (chunk->event_count == REC_MAX_EVENTS) {
            fail(c, LOG_ERROR_EVENT_COUNT);
            return;
        }
        kind = get8(c);
        if (kind & ~(LOG_EVENT_KIND | LOG_EVENT_MORE))
            fail(c, LOG_ERROR_RESERVED_BITS);
        if ((kind & LOG_EVENT_KIND) >= REC_EVENT_COUNT)
            fail(c, LOG_ERROR_EVENT_KIND);
        chunk->events[chunk->event_count].kind = kind & LOG_EVENT_KIND;
        chunk->events[chunk->event_count].vector = get8(c);
        chunk->event_count++;
    } while (!c->error && kind & LOG_EVENT_MORE);
}

static void get_position(struct log_cursor *c, struct rec_chunk *chunk, struct log_codec_state *state)
{
    struct rec_position *at = &chunk->position;

    at->rip = get_delta(c, state->rip[chunk->vcpu]);
    at->rflags = get_varint(c, UINT64_MAX);
    at->duration = get_delta(c, state->duration[chunk->vcpu]);
    at->regs_check = get32(c);
    at->state_check = get32(c);
    if (chunk->flags & REC_F_REP)
        at->rcx = get_varint(c, UINT64_MAX);
    if (state->counts) {
        at->branches = get_delta(c, state->branches[chunk->vcpu]);
        state->branches[chunk->vcpu] = at->branches;
        chunk->flags |= REC_F_BRANCHES;
    }
    state->rip[chunk->vcpu] = at->rip;
    state->duration[chunk->vcpu] = at->duration;
}

static void get_accessed(struct log_cursor *c, struct rec_chunk *chunk)
{
    unsigned length = get8(c);
    const uint8_t *bytes;

    if (length > REC_ACCESSED_MAX) {
        fail(c, LOG_ERROR_ACCESSED);
        return;
    }
    bytes = get_bytes(c, length);
    if (!bytes)
        return;
    if (!accessed_valid(bytes, length))
        fail(c, LOG_ERROR_ACCESSED);
    memcpy(chunk->accessed, bytes, length);
    chunk->accessed_bytes = (uint8_t)length;
}

static uint32_t get_lag(struct log_cursor *c, unsigned ext)
{
    unsigned short_lag = ext >> LOG_EXT_LAG_SHIFT;

    return short_lag < LOG_EXT_LAG_MORE ? short_lag : (uint32_t)get_varint(c, UINT32_MAX);
}

static void get_chunk(struct log_cursor *c, struct rec_chunk *chunk, unsigned tag, uint32_t index,
                      struct log_codec_state *state)
{
    unsigned ext = tag & LOG_TAG_EXT ? get8(c) : 0;

    chunk->vcpu = tag & LOG_TAG_VCPU;
    chunk->end = (tag & LOG_TAG_END) >> LOG_TAG_END_SHIFT;
    chunk->flags = (tag & LOG_TAG_TIME ? REC_F_TIME : 0) | (ext & LOG_EXT_REP ? REC_F_REP : 0);
    if (ext & LOG_EXT_REP && chunk->end != REC_END_POSITION)
        fail(c, LOG_ERROR_REP);
    chunk->digest = get16(c);
    chunk->lag = tag & LOG_TAG_EXT ? get_lag(c, ext) : usual_lag(state, chunk->vcpu, index);
    if (tag & LOG_TAG_TIME)
        state->time = chunk->time_base = get_delta(c, state->time);
    if (ext & LOG_EXT_EVENTS)
        get_events(c, chunk);
    if (chunk->end == REC_END_POSITION)
        get_position(c, chunk, state);
    if (state->accessed)
        get_accessed(c, chunk);
    state->last[chunk->vcpu] = (uint64_t)index + 1;
}

static void get_input(struct log_cursor *c, struct rec_input *input, unsigned tag)
{
    const uint8_t *data;

    if (get8(c) != LOG_EXT_INPUT || tag & ~(LOG_TAG_VCPU | LOG_TAG_EXT))
        fail(c, LOG_ERROR_RESERVED_BITS);
    if ((tag & LOG_TAG_VCPU) >= REC_DEVICE_COUNT)
        fail(c, LOG_ERROR_DEVICE);
    input->device = tag & LOG_TAG_VCPU;
    input->digest = get16(c);
    input->length = (uint16_t)get_varint(c, UINT16_MAX);
    if (!input->length || input->length > REC_MAX_INPUT)
        fail(c, LOG_ERROR_INPUT_LENGTH);
    data = get_bytes(c, input->length);
    if (data)
        memcpy(input->data, data, input->length);
}

/* Clears all of a commit but the input's data, which would be 256 bytes for nothing. */
static void clear(struct rec_commit *commit, enum rec_kind kind)
{
    commit->kind = (uint8_t)kind;
    if (kind == REC_CHUNK)
        memset(&commit->chunk, 0, offsetof(struct rec_chunk, events));
    else
        memset(&commit->input, 0, offsetof(struct rec_input, data));
}

enum log_error log_record_decode(struct log_cursor *c, struct rec_commit *commit, uint32_t index,
                                 uint64_t seq, uint32_t vcpus, struct log_codec_state *state)
{
    unsigned tag = get8(c);
    bool input = tag & LOG_TAG_EXT && c->at < c->end && *c->at & LOG_EXT_INPUT;

    if (c->error)
        return c->error;
    clear(commit, input ? REC_INPUT : REC_CHUNK);
    if (input) {
        get_input(c, &commit->input, tag);
        return c->error;
    }
    if ((tag & LOG_TAG_VCPU) >= vcpus)
        fail(c, LOG_ERROR_VCPU_RANGE);
    get_chunk(c, &commit->chunk, tag, index, state);
    if (commit->chunk.lag >= seq)
        fail(c, LOG_ERROR_LAG);
    return c->error;
}
