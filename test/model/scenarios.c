/* The schedules: small scripts, each with something that went wrong in some design. */
#include <string.h>

#include "test/model/model.h"

#define R(p, w)                                                                                              \
    {                                                                                                        \
        OP_READ, p, w, 0                                                                                     \
    }
#define W(p, w)                                                                                              \
    {                                                                                                        \
        OP_WRITE, p, w, 0                                                                                    \
    }
#define C(p, w, v)                                                                                           \
    {                                                                                                        \
        OP_CONST, p, w, v                                                                                    \
    }
#define ADD(p, w)                                                                                            \
    {                                                                                                        \
        OP_ADD, p, w, 1                                                                                      \
    }
#define S(p, w)                                                                                              \
    {                                                                                                        \
        OP_SILENT, p, w, 0                                                                                   \
    }
#define SKIP(p, w)                                                                                           \
    {                                                                                                        \
        OP_SKIP, p, w, 0                                                                                     \
    }
#define CUT                                                                                                  \
    {                                                                                                        \
        OP_CUT, 0, 0, 0                                                                                      \
    }
#define TWICE(...) __VA_ARGS__, __VA_ARGS__
#define IPI(to)                                                                                              \
    {                                                                                                        \
        OP_IPI, 0, 0, to                                                                                     \
    }

const struct scenario scenarios[] = {
    {.name = "unsynchronised counter",
     .actors = 2,
     .script = {{ADD(0, 0), CUT, ADD(0, 0)}, {ADD(0, 0), CUT, ADD(0, 0)}}},
    {.name = "counter and token",
     .actors = 3,
     .script = {{ADD(0, 0), CUT, ADD(0, 0)}, {ADD(0, 0), CUT, R(0, 0)}, {ADD(0, 0)}},
     .token_after = 1,
     .whole_chunks = true},
    {.name = "two words of a page",
     .actors = 2,
     .script = {{W(0, 0), CUT, R(0, 1), W(1, 0)}, {W(0, 1), CUT, R(0, 0), W(1, 1)}}},
    {.name = "store buffering, in one chunk and over two",
     .actors = 2,
     .script = {{C(0, 0, 1), R(1, 0), CUT, R(1, 0)}, {C(1, 0, 1), CUT, R(0, 0)}}},
    {.name = "silent store against a store",
     .actors = 2,
     .script = {{C(0, 0, 0), W(1, 0)}, {C(0, 0, 5), CUT, R(1, 0)}}},
    {.name = "silent stores only, and a page that stays private",
     .actors = 2,
     .script = {{S(0, 0), CUT, S(0, 0), CUT, S(0, 0), R(1, 0)}, {C(0, 0, 7), CUT, S(0, 0), W(1, 0)}}},
    {.name = "a value that returns",
     .actors = 2,
     .script = {{R(1, 0), R(0, 0), W(2, 0), CUT, R(0, 0)}, {C(0, 0, 1), CUT, C(0, 0, 0), CUT, W(1, 1)}}},
    {.name = "a value that returns under a store",
     .actors = 2,
     .script = {{R(0, 0), C(0, 1, 4), CUT, ADD(0, 0)}, {C(0, 0, 1), CUT, C(0, 0, 0), CUT, R(0, 1)}}},
    {.name = "lock and release",
     .actors = 2,
     .script = {{SKIP(0, 0), C(0, 0, 1), ADD(1, 0), C(0, 0, 0), CUT, R(1, 0)},
                {SKIP(0, 0), C(0, 0, 1), ADD(1, 0), C(0, 0, 0), CUT, R(1, 0)}}},
    {.name = "a lock held over a chunk",
     .actors = 2,
     .script = {{C(0, 0, 1), CUT, ADD(1, 0), C(0, 0, 0)},
                {SKIP(0, 0), ADD(1, 0), CUT, SKIP(0, 0), ADD(1, 0)}}},
    {.name = "message by IPI",
     .actors = 2,
     .script = {{W(0, 0), IPI(1), W(0, 1), IPI(1)}, {R(0, 0), CUT, R(0, 0), IPI(0), R(0, 1)}}},
    {.name = "IPIs both ways and a conflict",
     .actors = 2,
     .script = {{ADD(0, 0), IPI(1), ADD(0, 0), CUT, R(1, 0)}, {ADD(0, 0), IPI(0), ADD(0, 0), CUT, R(1, 0)}}},
    {.name = "device writes, vCPUs read",
     .actors = 3,
     .script = {{SKIP(0, 0), R(1, 0), CUT, SKIP(0, 0), R(1, 0)},
                {C(1, 0, 9), C(0, 0, 1), IPI(0)},
                {ADD(0, 1)}},
     .whole_chunks = true},
    {.name = "independent reads of independent writes",
     .actors = 4,
     .script = {{C(0, 0, 1)}, {C(1, 0, 1)}, {R(0, 0), CUT, R(1, 0)}, {R(1, 0), R(0, 0)}},
     .whole_chunks = true},
    {.name = "copies ahead",
     .actors = 2,
     .script = {{ADD(0, 0), CUT, ADD(0, 0), CUT, ADD(0, 0), CUT, R(1, 0), CUT, ADD(0, 0)},
                {R(0, 0), CUT, W(0, 1)}},
     .whole_chunks = true},
    {.name = "few frames",
     .actors = 2,
     .script = {{W(0, 0), W(1, 0), CUT, W(2, 0), W(0, 0)}, {W(1, 1), CUT, R(0, 0), W(2, 1), CUT, W(1, 1)}},
     .chunk_pages = 4,
     .frames = 1,
     .whole_chunks = true},
    {.name = "one copy, and fewest frames",
     .actors = 2,
     .script = {{W(0, 0), W(1, 0), R(2, 0), CUT, W(0, 0)}, {W(1, 1), W(0, 1), CUT, S(2, 0), W(1, 1)}},
     .chunk_pages = 2,
     .frames = 1,
     .whole_chunks = true},
    {.name = "small ring, laggards are parked",
     .actors = 3,
     .script = {{W(0, 0), CUT, W(0, 0), CUT, W(0, 0), CUT, W(0, 0)}, {R(0, 0), CUT, W(0, 1)}, {W(1, 0)}},
     .chunk_pages = 2,
     .frames = 1,
     .ring = 1,
     .token_after = 1,
     .whole_chunks = true},
    {.name = "small ring and frames of a waiting chunk",
     .actors = 2,
     .script = {{W(0, 0), CUT, W(0, 0), CUT, W(0, 0), CUT, W(0, 0), CUT, W(0, 0), CUT, W(0, 0), CUT, W(0, 0),
                 CUT, W(0, 0)},
                {R(1, 0), W(2, 0), CUT, R(0, 0)}},
     .chunk_pages = 2,
     .frames = 1,
     .ring = 1,
     .whole_chunks = true},
    {.name = "more commits than a small ring holds",
     .actors = 2,
     .script = {{TWICE(TWICE(TWICE(TWICE(W(0, 0), CUT)))), W(0, 0), CUT, W(0, 0)},
                {R(1, 0), W(2, 0), CUT, R(0, 0)}},
     .chunk_pages = 2,
     .frames = 2,
     .ring = 1,
     .whole_chunks = true},
};
const uint32_t scenario_count = ARRAY_LEN(scenarios);

static uint32_t draw(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % below;
}

static struct op random_op(uint32_t *state, uint32_t pages, uint32_t actors)
{
    static const uint8_t kinds[] = {OP_READ, OP_READ,   OP_WRITE, OP_CONST, OP_CONST, OP_ADD,
                                    OP_ADD,  OP_SILENT, OP_SKIP,  OP_CUT,   OP_CUT,   OP_IPI};
    struct op op = {.kind = kinds[draw(state, ARRAY_LEN(kinds))],
                    .page = (uint8_t)draw(state, pages),
                    .word = (uint8_t)draw(state, M_WORDS),
                    .arg = (uint8_t)draw(state, 2)};

    if (op.kind == OP_IPI)
        op.arg = (uint8_t)draw(state, actors);
    return op;
}

/* Scripts of a few chunks at random, in the conditions of one of a few kinds. */
void scenario_random(struct scenario *scenario, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 1, ipis[M_ACTORS] = {0};

    *scenario = (struct scenario){.name = "random", .actors = 2 + draw(&state, 2), .whole_chunks = true};
    uint32_t pages = 1 + draw(&state, M_PAGES), length = scenario->actors == 2 ? 7 : 3;

    scenario->token_after = draw(&state, 3);
    if (draw(&state, 3) == 0) {
        scenario->chunk_pages = 2 + 2 * draw(&state, 3);
        scenario->frames = scenario->ring = 1;
    }
    for (uint32_t i = 0; i < scenario->actors; i++) {
        for (uint32_t k = 0; k < length; k++) {
            struct op op = random_op(&state, pages, scenario->actors);
            if (op.kind == OP_IPI && ++ipis[op.arg] > M_EVENTS)
                op.kind = OP_CUT;
            scenario->script[i][k] = op;
        }
    }
}
