/*
 * Guests for the fake processor: programs strung together from the pieces of guest_code.S, at random or by
 * name.
 */
#ifndef RV_TEST_FAKE_GUEST_H
#define RV_TEST_FAKE_GUEST_H

#include "hv/base/types.h"
#include "hv/vcpu_state.h"
#include "test/fake/guest_layout.h"

/* Sets of pieces. */
enum fake_pieces {
    PIECES_SHARED = 1u << 0,  /* races, locks */
    PIECES_PRIVATE = 1u << 1, /* computing */
    PIECES_REP = 1u << 2,
    PIECES_TIME = 1u << 3,
    PIECES_EXITS = 1u << 4, /* CPUID, MSRs, control registers */
    PIECES_PORTS = 1u << 5,
    PIECES_IPI = 1u << 6,
    PIECES_TIMER = 1u << 7,
    PIECES_FLAGS = 1u << 8, /* shadows, faults, single steps */
    PIECES_DEBUG = 1u << 9, /* breakpoints */
    PIECES_ALL = (1u << 10) - 1,
    PIECES_SPECIAL = 1u << 10, /* never drawn from all */
};

struct fake_guest {
    uint32_t pieces;  /* sets to draw from */
    const char *only; /* NULL, or the one piece to use, by name */
    uint32_t calls;   /* per round */
    uint32_t rounds;
    uint64_t seed;
    uint32_t vcpus;
};

/* How often a vCPU, or all together, will have run a piece when the guest ends. */
uint32_t fake_guest_count(const struct fake_guest *guest, uint32_t vcpu, const char *piece);
uint32_t fake_guest_total(const struct fake_guest *guest, const char *piece);

/* The name of the `index`th piece of the sets, NULL past the last. */
const char *fake_piece_name(uint32_t index, uint32_t sets);

/* Writes the program into `memory` (GUEST_BYTES). */
void fake_guest_load(const struct fake_guest *guest, uint8_t *memory);
/* The state in which vCPU `index` begins. */
void fake_guest_state(struct vcpu_state *state, uint32_t index);

/* The 32-bit word at `address` of guest memory. */
uint32_t fake_guest_word(const uint8_t *memory, uint32_t address);

#endif
