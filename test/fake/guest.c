#include "test/fake/guest.h"

#include <string.h>

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "test/fake/processor.h"

extern const uint8_t guest_code[], guest_code_end[], guest_real[], guest_real_end[];

#define PIECES(X)                                                                                            \
    X(atomic, SHARED)                                                                                        \
    X(racy, SHARED)                                                                                          \
    X(history, SHARED)                                                                                       \
    X(exchange, SHARED)                                                                                      \
    X(lock, SHARED)                                                                                          \
    X(look, SHARED)                                                                                          \
    X(silent, SHARED)                                                                                        \
    X(work, PRIVATE)                                                                                         \
    X(sweep, PRIVATE)                                                                                        \
    X(same, PRIVATE)                                                                                         \
    X(tight, PRIVATE)                                                                                        \
    X(xmm, PRIVATE)                                                                                          \
    X(movs, REP)                                                                                             \
    X(movs_down, REP)                                                                                        \
    X(stos, REP)                                                                                             \
    X(cmps, REP)                                                                                             \
    X(scas, REP)                                                                                             \
    X(lods, REP)                                                                                             \
    X(rep_odd, REP)                                                                                          \
    X(rep_long, REP)                                                                                         \
    X(rep_fault, REP)                                                                                        \
    X(rep_fault_long, REP)                                                                                   \
    X(tsc, TIME)                                                                                             \
    X(tscp, TIME)                                                                                            \
    X(timer_count, TIME)                                                                                     \
    X(cpuid, EXITS)                                                                                          \
    X(random, EXITS)                                                                                         \
    X(msr, EXITS)                                                                                            \
    X(cr0, EXITS)                                                                                            \
    X(dr, EXITS)                                                                                             \
    X(xcr0, EXITS)                                                                                           \
    X(pauses, EXITS)                                                                                         \
    X(tpr, EXITS)                                                                                            \
    X(out, PORTS)                                                                                            \
    X(outs, PORTS)                                                                                           \
    X(ins, PORTS)                                                                                            \
    X(in, PORTS)                                                                                             \
    X(ipi, IPI)                                                                                              \
    X(ipi_others, IPI)                                                                                       \
    X(ipi_or, IPI)                                                                                           \
    X(ipi_exchange, IPI)                                                                                     \
    X(ipi_self, IPI)                                                                                         \
    X(nmi, IPI)                                                                                              \
    X(timer, TIMER)                                                                                          \
    X(timer_periodic, TIMER)                                                                                 \
    X(halt, TIMER)                                                                                           \
    X(closed, FLAGS)                                                                                         \
    X(closed_rep, FLAGS)                                                                                     \
    X(stack_segment, FLAGS)                                                                                  \
    X(trap, FLAGS)                                                                                           \
    X(fault, FLAGS)                                                                                          \
    X(undefined, FLAGS)                                                                                      \
    X(interrupt, FLAGS)                                                                                      \
    X(bp_code, DEBUG)                                                                                        \
    X(bp_data, DEBUG)                                                                                        \
    X(bp_all, DEBUG)                                                                                         \
    X(bp_rep, DEBUG)                                                                                         \
    X(bp_port, DEBUG)                                                                                        \
    X(startup, SPECIAL)                                                                                      \
    X(device, SPECIAL)                                                                                       \
    X(pingpong, SPECIAL)                                                                                     \
    X(stop, SPECIAL)                                                                                         \
    X(refused, SPECIAL)                                                                                      \
    X(tables, SPECIAL)                                                                                       \
    X(rep_entries, SPECIAL)

#define DECLARE(name, set) extern const uint8_t guest_##name[];
PIECES(DECLARE)
extern const uint8_t guest_begin[], guest_end[];
extern const uint8_t guest_on_ipi[], guest_on_ipi_others[], guest_on_ipi_self[], guest_on_timer[];
extern const uint8_t guest_on_nmi[], guest_on_undefined[], guest_on_interrupt[], guest_on_debug[];
extern const uint8_t guest_on_fault[], guest_on_page_fault[];

struct piece {
    const char *name;
    const uint8_t *code;
    uint32_t set;
};

#define ENTRY(name, set) {#name, guest_##name, PIECES_##set},
static const struct piece pieces[] = {PIECES(ENTRY)};

/* The last one is asked for by name alone: with it a seed would draw others than it always did. */
#define DRAWN (ARRAY_LEN(pieces) - 1)

static uint32_t address_of(const uint8_t *code)
{
    return GUEST_CODE + (uint32_t)(code - guest_code);
}

static const struct piece *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if (strcmp(pieces[i].name, name) == 0)
            return &pieces[i];
    }
    HV_CHECK(!"a piece of that name");
    return NULL;
}

/* The piece of a call. Loading and counting draw the same ones. */
static const struct piece *draw(const struct fake_guest *guest, uint64_t *random)
{
    const struct piece *piece;

    if (guest->only)
        return find(guest->only);
    do {
        piece = &pieces[fake_random(random) % DRAWN];
    } while (!(piece->set & guest->pieces));
    return piece;
}

static uint64_t seed_of(const struct fake_guest *guest, uint32_t vcpu)
{
    return guest->seed * 31 + vcpu;
}

uint32_t fake_guest_count(const struct fake_guest *guest, uint32_t vcpu, const char *name)
{
    const struct piece *wanted = find(name);
    uint64_t random = seed_of(guest, vcpu);
    uint32_t count = 0;

    for (uint32_t i = 0; i < guest->calls; i++)
        count += draw(guest, &random) == wanted;
    return count * guest->rounds;
}

uint32_t fake_guest_total(const struct fake_guest *guest, const char *name)
{
    uint32_t total = 0;

    for (uint32_t vcpu = 0; vcpu < guest->vcpus; vcpu++)
        total += fake_guest_count(guest, vcpu, name);
    return total;
}

const char *fake_piece_name(uint32_t index, uint32_t sets)
{
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if ((pieces[i].set & sets) && index-- == 0)
            return pieces[i].name;
    }
    return NULL;
}

/* ---- Loading ---- */

struct writer {
    uint8_t *memory;
    uint32_t at;
};

static void put(struct writer *w, uint32_t value, uint32_t bytes)
{
    memcpy(w->memory + w->at, &value, bytes);
    w->at += bytes;
}

#define CALL       0xe8u
#define JUMP       0xe9u
#define PUSH_IMM32 0x68u
#define DEC_AT_ESP 0x240cffu /* DEC dword [ESP] */
#define JNZ_NEAR   0x850fu

static void branch(struct writer *w, uint32_t opcode, uint32_t opcode_bytes, uint32_t target)
{
    put(w, opcode, opcode_bytes);
    put(w, target - (w->at + 4), 4);
}

static void write_program(const struct fake_guest *guest, uint8_t *memory, uint32_t vcpu)
{
    uint32_t page = GUEST_MAIN + vcpu * PAGE_SIZE, top;
    struct writer w = {memory, page};
    uint64_t random = seed_of(guest, vcpu);

    branch(&w, CALL, 1, address_of(guest_begin));
    put(&w, PUSH_IMM32, 1);
    put(&w, guest->rounds, 4);
    top = w.at;
    for (uint32_t i = 0; i < guest->calls; i++)
        branch(&w, CALL, 1, address_of(draw(guest, &random)->code));
    put(&w, DEC_AT_ESP, 3);
    branch(&w, JNZ_NEAR, 2, top);
    branch(&w, JUMP, 1, address_of(guest_end));
    HV_CHECK(w.at < page + PAGE_SIZE);
}

static void set_gate(uint8_t *memory, uint32_t vector, const uint8_t *handler)
{
    uint32_t address = address_of(handler);
    uint16_t gate[4] = {(uint16_t)address, 8, 0x8e00, (uint16_t)(address >> 16)};

    memcpy(memory + GUEST_IDT + vector * 8, gate, sizeof(gate));
}

void fake_guest_load(const struct fake_guest *guest, uint8_t *memory)
{
    size_t code = (size_t)(guest_code_end - guest_code);

    HV_CHECK(code <= PAGE_SIZE && guest->vcpus <= 4);
    memset(memory, 0, GUEST_BYTES);
    memcpy(memory + GUEST_CODE, guest_code, code);
    memcpy(memory + GUEST_SIPI_PAGE * PAGE_SIZE, guest_real, (size_t)(guest_real_end - guest_real));
    memcpy(memory + GUEST_VCPUS, &guest->vcpus, 4);
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i++) {
        uint32_t entry = (i + 1) << 12 | 0x3;
        memcpy(memory + GUEST_TABLES + (size_t)i * 8, &entry, sizeof(entry));
        memcpy(memory + GUEST_TABLES + PAGE_SIZE + (size_t)i * 8, &entry, sizeof(entry));
        memcpy(memory + GUEST_TABLES + PAGE_SIZE + (size_t)i * 8 + 4, &entry, sizeof(entry));
    }
    for (uint32_t i = 0; i < guest->vcpus; i++)
        write_program(guest, memory, i);
    set_gate(memory, 1, guest_on_debug);
    set_gate(memory, 2, guest_on_nmi);
    set_gate(memory, 6, guest_on_undefined);
    set_gate(memory, 13, guest_on_fault);
    set_gate(memory, 14, guest_on_page_fault);
    set_gate(memory, 0x30, guest_on_interrupt);
    set_gate(memory, 0x40, guest_on_ipi);
    set_gate(memory, 0x41, guest_on_ipi_others);
    set_gate(memory, 0x42, guest_on_ipi_self);
    set_gate(memory, 0x50, guest_on_timer);
    set_gate(memory, 0x51, guest_on_timer);
}

void fake_guest_state(struct vcpu_state *state, uint32_t index)
{
    vmx_guest_flat_segments(&state->cpu, false);
    state->cpu.cr0 |= CR0_PE;
    state->cpu.rip = GUEST_MAIN + index * PAGE_SIZE;
    state->cpu.gpr[GPR_RSP] = GUEST_STACK + (index + 1) * PAGE_SIZE;
    state->cpu.gpr[GPR_RBP] = index;
    state->cpu.idtr.base = GUEST_IDT;
    state->cpu.idtr.limit = 0x7ff;
    state->activity = VCPU_RUNNING;
    vcpu_state_canonicalize(state);
}

uint32_t fake_guest_word(const uint8_t *memory, uint32_t address)
{
    uint32_t word;

    memcpy(&word, memory + address, sizeof(word));
    return word;
}
