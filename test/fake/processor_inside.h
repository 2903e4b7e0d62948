/* Between the files of the fake processor. */
#ifndef RV_TEST_FAKE_PROCESSOR_INSIDE_H
#define RV_TEST_FAKE_PROCESSOR_INSIDE_H

#include "hv/base/types.h"
#include "test/fake/processor.h"
#include "vmx/vmx.h"

/* One stay in the guest, from entry to exit. Registers are here meanwhile. */
struct fakerun {
    struct fakecpu *cpu;
    uint32_t r[8];
    uint32_t rip;
    uint64_t rflags;
    uint32_t interruptibility;
    uint64_t pending_debug;
    uint64_t matched; /* by the instruction so far: breakpoints for data, enabled or not */
    uint64_t eptp;
    uint64_t timer; /* ticks left */
    bool timer_on;
    bool exited;        /* the exit's fields are in the VMCS */
    bool in_rep;        /* between two iterations of the instruction at RIP */
    bool in_compare;    /* which is CMPS or SCAS */
    uint32_t vectoring; /* the event being delivered, or 0 */
    uint32_t vectoring_error;
    uint32_t vectoring_length;
};

/* An instruction being executed. */
struct fakeinsn {
    uint8_t bytes[15];
    uint32_t count; /* bytes that can be fetched */
    uint32_t at;
    bool lock, rep, repne, wide_other;
    uint32_t size;      /* operand size, bytes: 2 or 4 */
    uint32_t addr_size; /* 2 or 4 */
    uint32_t segment;   /* of the memory operand */
    uint8_t opcode;
    uint8_t modrm;
    bool is_memory;
    uint32_t linear; /* of the memory operand */
};

/* What became of an instruction. */
enum fakestep {
    FAKE_DONE,   /* it retired: RIP moves past it */
    FAKE_JUMPED, /* it retired and has set RIP */
    FAKE_AGAIN,  /* an iteration of a REP is done, more to come */
    FAKE_EXIT,   /* a VM exit, or an event was delivered instead: nothing of it happened */
};

/* ---- Exits (processor.c) ---- */

/* Ends the stay. The caller has set further fields. Always returns FAKE_EXIT. */
enum fakestep fake_exit(struct fakerun *run, uint32_t reason, uint64_t qualification, uint32_t length);

/* ---- Breakpoints (debug.c) ---- */

/* The registers that match, enabled or not, as bits of DR6 (SDM 3B 18.2.5); whether one of them is enabled.
 */
uint64_t fake_match_code(const struct fakerun *run);
uint64_t fake_match_data(const struct fakerun *run, uint32_t linear, uint32_t bytes, bool write);
bool fake_any_enabled(const struct fakerun *run, uint64_t matched);
/* The instruction is done: what it matched becomes pending. */
void fake_debug_retire(struct fakerun *run, bool trapping);

/* ---- The PMU (pmu.c) ---- */

/* A conditional branch retires. */
void fake_retire_branch(struct fakerun *run);
/* An instruction is done: an interrupt on its way comes nearer. */
void fakepmu_move(struct fakepmu *pmu);
/*
 * States what the processor knows how to do. Where it does not, the test stops, or, where any code may come
 * up (fakecpu_model.strange_code), the guest ends by a triple fault.
 */
#define FAKE_KNOWN(e) ((e) ? (void)0 : fake_unknown(#e, __FILE__, __LINE__))
_Noreturn void fake_unknown(const char *expression, const char *file, int line);

/* ---- Memory (memory.c): false after an EPT violation, which is an exit ---- */

bool fake_read(struct fakerun *run, uint32_t linear, void *data, uint32_t bytes);
bool fake_write(struct fakerun *run, uint32_t linear, const void *data, uint32_t bytes);
/* Whether a write would go through: to be asked before a read-modify-write changes anything. */
bool fake_probe_write(struct fakerun *run, uint32_t linear, uint32_t bytes, bool also_read);
/* Instruction bytes at CS:RIP. */
bool fake_fetch(struct fakerun *run, uint8_t bytes[15], uint32_t *count);
void fake_speculate(struct fakerun *run);
/* A walk through a paging structure, which the guest has though it does not use it. */
bool fake_walk(struct fakerun *run);

uint32_t fake_segment_base(struct fakerun *run, enum vmx_segment_index index);
bool fake_protected(struct fakerun *run);

/* ---- Events (events.c) ---- */

/* Delivers an event through the guest's IDT (info as in the VMCS). False: an EPT violation on the way. */
bool fake_deliver(struct fakerun *run, uint32_t info, uint32_t error, uint32_t length);
/* IRET. */
enum fakestep fake_iret(struct fakerun *run, const struct fakeinsn *insn);

/* ---- Instructions (insn.c, insn_alu.c, insn_system.c) ---- */

void fake_step(struct fakerun *run);

uint32_t fake_get_reg(const struct fakerun *run, unsigned reg, uint32_t size);
void fake_set_reg(struct fakerun *run, unsigned reg, uint32_t size, uint32_t value);
uint8_t fake_next_byte(struct fakeinsn *insn);
uint32_t fake_immediate(struct fakeinsn *insn, uint32_t size);
void fake_modrm(struct fakerun *run, struct fakeinsn *insn);
bool fake_get_rm(struct fakerun *run, struct fakeinsn *insn, uint32_t size, uint32_t *value);
bool fake_set_rm(struct fakerun *run, struct fakeinsn *insn, uint32_t size, uint32_t value);
bool fake_push(struct fakerun *run, uint32_t size, uint32_t value);
bool fake_pop(struct fakerun *run, uint32_t size, uint32_t *value);

enum fakealu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
/* The result of `op`, and RFLAGS changed accordingly. */
uint32_t fake_alu(uint64_t *rflags, enum fakealu op, uint32_t a, uint32_t b, uint32_t size);
bool fake_condition(uint64_t rflags, unsigned code);
uint32_t fake_mask(uint32_t size);

/* Opcodes that others do not know; stops the test at one that nobody knows. */
enum fakestep fake_system(struct fakerun *run, struct fakeinsn *insn);
enum fakestep fake_two_byte(struct fakerun *run, struct fakeinsn *insn);
enum fakestep fake_string(struct fakerun *run, struct fakeinsn *insn);

#endif
