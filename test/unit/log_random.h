/* Random but well-formed records for the tests of the log codec. */
#ifndef RV_TEST_UNIT_LOG_RANDOM_H
#define RV_TEST_UNIT_LOG_RANDOM_H

#include <string.h>

#include "replay/accessed.h"

/* splitmix64: the same numbers for the same seed on every machine. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

/* A number of a random size, so that every varint length comes up. */
static inline uint64_t random_sized(uint64_t *state)
{
    uint64_t v = random_next(state);

    return v >> random_below(state, 64);
}

/* A list of accessed bits of random pages. */
static inline void random_accessed(struct rec_chunk *c, uint64_t *state)
{
    static uint64_t base[PAGE_WORDS], copy[PAGE_WORDS];
    struct accessed_list list = {0};
    uint32_t gpn = (uint32_t)random_below(state, 2000);

    for (uint64_t pages = 1 + random_below(state, 4); pages; pages--) {
        for (uint32_t i = 0; i < PAGE_WORDS; i++) {
            base[i] = random_below(state, 8) ? UINT64_C(0x1000) * i + 0x1003 : UINT64_C(0x200300003003);
            copy[i] = base[i];
        }
        for (uint64_t bits = random_below(state, 12); bits; bits--)
            copy[random_below(state, PAGE_WORDS)] ^= random_below(state, 2) ? 0x20 : 0x2000000020;
        if (!accessed_append(&list, gpn, base, copy))
            break;
        gpn += 1 + (uint32_t)random_below(state, 300);
    }
    c->accessed_bytes = (uint8_t)list.used;
    memcpy(c->accessed, list.bytes, list.used);
}

static inline void random_chunk(struct rec_chunk *c, uint64_t *state, unsigned vcpus, uint64_t seq)
{
    memset(c, 0, sizeof *c);
    c->vcpu = (uint8_t)random_below(state, vcpus);
    c->end = (uint8_t)random_below(state, REC_END_COUNT);
    c->flags = (uint8_t)(random_below(state, 2) ? REC_F_TIME : 0);
    if (c->end == REC_END_POSITION && random_below(state, 2))
        c->flags |= REC_F_REP;
    c->digest = (uint16_t)random_next(state);
    c->lag = (uint32_t)random_below(state, random_below(state, 2) ? MIN(seq, 8) : MIN(seq, UINT32_MAX));
    if (c->flags & REC_F_TIME)
        c->time_base = random_sized(state);
    if (c->end == REC_END_POSITION) {
        c->position.rip = random_sized(state);
        c->position.rflags = random_sized(state);
        c->position.duration = random_sized(state);
        c->position.regs_check = (uint32_t)random_next(state);
        c->position.state_check = (uint32_t)random_next(state);
    }
    if (c->flags & REC_F_REP)
        c->position.rcx = random_sized(state);
    if (!random_below(state, 16))
        random_accessed(c, state);
    if (!random_below(state, 4))
        c->event_count = (uint8_t)(1 + random_below(state, REC_MAX_EVENTS));
    for (unsigned i = 0; i < c->event_count; i++) {
        c->events[i].kind = (uint8_t)random_below(state, REC_EVENT_COUNT);
        c->events[i].vector = (uint8_t)random_next(state);
    }
}

static inline void random_commit(struct rec_commit *c, uint64_t *state, unsigned vcpus, uint64_t seq)
{
    memset(c, 0, sizeof *c);
    if (random_below(state, 16)) {
        c->kind = REC_CHUNK;
        random_chunk(&c->chunk, state, vcpus, seq);
        return;
    }
    c->kind = REC_INPUT;
    c->input.device = (uint8_t)random_below(state, REC_DEVICE_COUNT);
    c->input.digest = (uint16_t)random_next(state);
    c->input.length = (uint16_t)(1 + random_below(state, REC_MAX_INPUT));
    for (unsigned i = 0; i < c->input.length; i++)
        c->input.data[i] = (uint8_t)random_next(state);
}

static inline struct rec_header plain_header(unsigned vcpus)
{
    struct rec_header h = {.semantics = REC_REPLAY_SEMANTICS,
                           .vcpus = vcpus,
                           .memory_bytes = UINT64_C(256) << 20,
                           .image_digest = UINT64_C(0x0123456789abcdef),
                           .cpuid_model = 1,
                           .pause_limit = 64,
                           .time_stride = 24,
                           .time_quantum = 1024,
                           .tsc_hz = UINT64_C(2400000000),
                           .seed = 7,
                           .host_traits = UINT64_C(0x3ffffabcde7),
                           .guest_command_line = "counters n=1000",
                           .build_id = "test"};
    return h;
}

#endif
