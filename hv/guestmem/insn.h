/*
 * Pure. A small x86 decoder: the instructions by which guests access device memory, and REP strings.
 * Everything else is unknown, to be refused by name. It reads at most 15 bytes and needs no register:
 * where the access goes is told by the EPT violation.
 */
#ifndef RV_HV_GUESTMEM_INSN_H
#define RV_HV_GUESTMEM_INSN_H

#include "hv/base/types.h"

#define INSN_MAX_BYTES 15u /* SDM 2A 2.3.11 */

/* The code segment's kind: CS.L, else CS.D. */
enum insn_mode {
    INSN_MODE_16,
    INSN_MODE_32,
    INSN_MODE_64,
};

enum insn_kind {
    INSN_UNKNOWN,
    INSN_LOAD,    /* register <- memory, extended to reg_size */
    INSN_STORE,   /* memory <- register or immediate */
    INSN_RMW,     /* memory <- memory op source; sets flags */
    INSN_COMPARE, /* TEST, CMP: sets flags only */
    INSN_LOAD_OP, /* register <- register op memory; sets flags */
    INSN_XCHG,    /* register <-> memory, always locked */
};

/* Operation of INSN_RMW, INSN_COMPARE and INSN_LOAD_OP; the order of opcode groups 00-3F and of group 1. */
enum insn_op {
    INSN_OP_ADD,
    INSN_OP_OR,
    INSN_OP_ADC, /* never reported */
    INSN_OP_SBB, /* never reported */
    INSN_OP_AND,
    INSN_OP_SUB,
    INSN_OP_XOR,
    INSN_OP_CMP,
    INSN_OP_TEST,
    INSN_OP_MOV, /* loads and stores */
};

struct insn_mem {
    uint8_t kind;      /* enum insn_kind */
    uint8_t op;        /* enum insn_op */
    uint8_t length;    /* of the instruction, 1 to 15 bytes */
    uint8_t size;      /* of the memory operand: 1, 2, 4, 8 bytes */
    uint8_t reg_size;  /* of the register operand: differs from `size` for MOVZX, MOVSX, MOVSXD */
    uint8_t reg;       /* 0-15; meaningless if has_imm */
    bool reg_high;     /* bits 15:8 of register `reg` (0-3): AH, CH, DH, BH */
    bool has_imm;      /* the source is `imm`, not a register */
    bool sign_extend;  /* load: the value is sign-extended to reg_size, otherwise zero-extended */
    bool reg_is_first; /* COMPARE, LOAD_OP: register op memory; otherwise memory op source */
    bool locked;       /* LOCK prefix, or XCHG */
    uint8_t addr_size; /* of the address computation: 2, 4, 8 bytes */
    uint64_t imm;      /* sign-extended to 64 bits; the low `size` bytes count */
};

/* Decodes an access to memory from the `count` bytes at `bytes` (more than 15 are not looked at). False,
 * with kind INSN_UNKNOWN: another instruction, an invalid one, register operands only, or cut off. A
 * 4-byte register result clears the register's upper half, 1- and 2-byte ones keep the rest (SDM 1
 * 3.4.1.1): the caller does that. */
bool insn_decode_mem(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_mem *out);

enum insn_string {
    INSN_MOVS,
    INSN_CMPS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
    INSN_INS,
    INSN_OUTS,
};

struct insn_rep {
    bool is_rep_string; /* a string instruction with REP, REPE or REPNE */
    bool repne;         /* prefix F2; it only differs from F3 for CMPS and SCAS */
    bool sets_flags;    /* CMPS, SCAS */
    uint8_t string;     /* enum insn_string */
    uint8_t size;       /* of an element: 1, 2, 4, 8 bytes */
    uint8_t addr_size;  /* 2, 4, 8 bytes: how much of RCX, RSI, RDI counts */
    uint8_t length;     /* of the instruction, prefixes included */
};

/* Whether the `count` bytes at `bytes` are a REP string instruction. Returns out->is_rep_string. */
bool insn_rep_string(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_rep *out);

/* INS or OUTS, with or without a prefix that repeats it. */
struct insn_string_io {
    uint8_t addr_size; /* 2, 4, 8 bytes: how much of RCX, RSI, RDI counts */
    uint8_t segment;   /* OUTS: of the operand, in the order of the encoding: ES, CS, SS, DS, FS, GS */
};

/* Whether the bytes are INS or OUTS. The operand size is for the VM exit to tell. */
bool insn_string_io(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_string_io *out);

#endif
