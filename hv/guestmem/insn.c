#include "hv/guestmem/insn.h"

/* REX prefix bits, SDM 2A 2.2.1. */
#define REX_BASE 0x40u
#define REX_MASK 0xf0u
#define REX_R    4u
#define REX_W    8u

enum prefix {
    PREFIX_66 = 1u << 0,
    PREFIX_67 = 1u << 1,
    PREFIX_LOCK = 1u << 2,
    PREFIX_REPNE = 1u << 3,
    PREFIX_REP = 1u << 4,
    PREFIX_REX = 1u << 5,
};

struct cursor {
    const uint8_t *bytes;
    size_t count;
    size_t at;
    bool cut; /* something lay past the end */
    enum insn_mode mode;
    unsigned prefixes; /* enum prefix */
    uint8_t rex;
};

static uint8_t take(struct cursor *c)
{
    if (c->at >= c->count) {
        c->cut = true;
        return 0;
    }
    return c->bytes[c->at++];
}

/* Takes `bytes` (1, 2, 4, 8) as a little-endian number and extends its sign to 64 bits. */
static uint64_t take_signed(struct cursor *c, unsigned bytes)
{
    unsigned spare = 64 - 8 * bytes;
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)take(c) << (8 * i);
    return (uint64_t)((int64_t)(value << spare) >> spare);
}

static void skip(struct cursor *c, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        take(c);
}

/* The bit for a legacy prefix; 0 for segment overrides and what is no prefix at all. */
static unsigned legacy_prefix(uint8_t byte)
{
    switch (byte) {
    case 0x66:
        return PREFIX_66;
    case 0x67:
        return PREFIX_67;
    case 0xf0:
        return PREFIX_LOCK;
    case 0xf2:
        return PREFIX_REPNE;
    case 0xf3:
        return PREFIX_REP;
    default:
        return 0;
    }
}

static bool is_segment_override(uint8_t byte)
{
    return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
}

/* Takes prefixes and returns the first opcode byte. A REX counts only right before the opcode; of F2
 * and F3 the last one counts, as processors have it. */
static uint8_t take_prefixes(struct cursor *c)
{
    for (;;) {
        uint8_t byte = take(c);
        unsigned bit = legacy_prefix(byte);

        if (c->cut)
            return 0;
        if (bit != 0 || is_segment_override(byte)) {
            if (bit == PREFIX_REP || bit == PREFIX_REPNE)
                c->prefixes &= ~(unsigned)(PREFIX_REP | PREFIX_REPNE);
            c->prefixes = (c->prefixes & ~(unsigned)PREFIX_REX) | bit;
            c->rex = 0;
        } else if (c->mode == INSN_MODE_64 && (byte & REX_MASK) == REX_BASE) {
            c->prefixes |= PREFIX_REX;
            c->rex = byte;
        } else {
            return byte;
        }
    }
}

static struct cursor start(const uint8_t *bytes, size_t count, enum insn_mode mode)
{
    return (struct cursor){.bytes = bytes, .count = MIN(count, (size_t)INSN_MAX_BYTES), .mode = mode};
}

/* Operand size of instructions without a byte form: 2, 4, 8 (SDM 1 3.6.1). */
static uint8_t operand_size(const struct cursor *c)
{
    bool other = (c->prefixes & PREFIX_66) != 0;

    if ((c->rex & REX_W) != 0)
        return 8;
    return (c->mode == INSN_MODE_16) != other ? 2 : 4;
}

static uint8_t address_size(const struct cursor *c)
{
    bool other = (c->prefixes & PREFIX_67) != 0;

    switch (c->mode) {
    case INSN_MODE_16:
        return other ? 4 : 2;
    case INSN_MODE_32:
        return other ? 2 : 4;
    case INSN_MODE_64:
        break;
    }
    return other ? 4 : 8;
}

/* Takes ModRM and what belongs to it (SDM 2A 2.1.5). Sets *reg to its reg field, without REX. False: the
 * operand is a register. */
static bool take_modrm_memory(struct cursor *c, uint8_t *reg)
{
    uint8_t modrm = take(c);
    unsigned mod = modrm >> 6;
    unsigned rm = modrm & 7;
    const unsigned disp[] = {0, 1, address_size(c) == 2 ? 2 : 4};

    *reg = modrm >> 3 & 7;
    if (mod == 3)
        return false;
    if (address_size(c) == 2) {
        skip(c, mod == 0 && rm == 6 ? 2 : disp[mod]);
        return true;
    }
    if (rm == 4) {
        unsigned base = take(c) & 7;

        skip(c, mod == 0 && base == 5 ? 4 : disp[mod]);
        return true;
    }
    skip(c, mod == 0 && rm == 5 ? 4 : disp[mod]);
    return true;
}

/* Stores the register that reg field `field` names as an operand of `size` bytes (SDM 2A table 3-1). */
static void set_register(const struct cursor *c, struct insn_mem *out, uint8_t field, uint8_t size)
{
    out->reg_size = size;
    out->reg = field | ((c->rex & REX_R) != 0 ? 8u : 0u);
    if (size == 1 && field >= 4 && (c->prefixes & PREFIX_REX) == 0) {
        out->reg = field - 4;
        out->reg_high = true;
    }
}

static uint8_t size_of(const struct cursor *c, uint8_t opcode)
{
    return (opcode & 1) == 0 ? 1 : operand_size(c);
}

/* An immediate of an operand of `size` bytes: 4 bytes at most. */
static void take_immediate(struct cursor *c, struct insn_mem *out, uint8_t size)
{
    out->has_imm = true;
    out->imm = take_signed(c, MIN(size, (uint8_t)4));
}

/* A ModRM instruction of one register and memory. */
static bool register_and_memory(struct cursor *c, struct insn_mem *out, enum insn_kind kind, enum insn_op op,
                                uint8_t size)
{
    uint8_t field;

    if (!take_modrm_memory(c, &field))
        return false;
    out->kind = kind;
    out->op = op;
    out->size = size;
    set_register(c, out, field, size);
    return true;
}

static bool op_supported(enum insn_op op)
{
    return op != INSN_OP_ADC && op != INSN_OP_SBB;
}

/* Opcodes 00-3F whose low 3 bits are 0-3: op r/m, r and op r, r/m. */
static bool decode_arithmetic(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    enum insn_op op = opcode >> 3;
    enum insn_kind kind = INSN_RMW;

    out->reg_is_first = (opcode & 2) != 0;
    if (op == INSN_OP_CMP)
        kind = INSN_COMPARE;
    else if (out->reg_is_first)
        kind = INSN_LOAD_OP;
    return op_supported(op) && register_and_memory(c, out, kind, op, size_of(c, opcode));
}

/* Group 1, 80, 81, 83 (82 is 80 again, but not in 64-bit mode: unknown): op r/m, immediate. */
static bool decode_group1(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    uint8_t field;

    if (!take_modrm_memory(c, &field) || !op_supported(field))
        return false;
    out->op = field;
    out->kind = field == INSN_OP_CMP ? INSN_COMPARE : INSN_RMW;
    out->size = out->reg_size = size_of(c, opcode);
    take_immediate(c, out, opcode == 0x83 ? 1 : out->size);
    return true;
}

/* Group 3, F6 and F7: only /0, TEST r/m, immediate. */
static bool decode_group3(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    uint8_t field;

    if (!take_modrm_memory(c, &field) || field != 0)
        return false;
    out->op = INSN_OP_TEST;
    out->kind = INSN_COMPARE;
    out->size = out->reg_size = size_of(c, opcode);
    take_immediate(c, out, out->size);
    return true;
}

/* Group 11, C6 and C7: only /0, MOV r/m, immediate. */
static bool decode_group11(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    uint8_t field;

    if (!take_modrm_memory(c, &field) || field != 0)
        return false;
    out->op = INSN_OP_MOV;
    out->kind = INSN_STORE;
    out->size = out->reg_size = size_of(c, opcode);
    take_immediate(c, out, out->size);
    return true;
}

/* A0-A3: MOV between the accumulator and an absolute address. */
static bool decode_moffs(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    skip(c, address_size(c));
    out->op = INSN_OP_MOV;
    out->kind = (opcode & 2) == 0 ? INSN_LOAD : INSN_STORE;
    out->size = out->reg_size = size_of(c, opcode);
    return true;
}

/* MOVZX, MOVSX, MOVSXD: a load of `from` bytes into a register of the operand size. */
static bool decode_extend(struct cursor *c, struct insn_mem *out, uint8_t from, bool sign)
{
    uint8_t field;

    if (!take_modrm_memory(c, &field))
        return false;
    out->op = INSN_OP_MOV;
    out->kind = INSN_LOAD;
    out->size = from;
    out->sign_extend = sign;
    set_register(c, out, field, operand_size(c));
    return true;
}

static bool decode_two_byte(struct cursor *c, struct insn_mem *out)
{
    switch (take(c)) {
    case 0xb6:
        return decode_extend(c, out, 1, false);
    case 0xb7:
        return decode_extend(c, out, 2, false);
    case 0xbe:
        return decode_extend(c, out, 1, true);
    case 0xbf:
        return decode_extend(c, out, 2, true);
    default:
        return false;
    }
}

/* MOVSXD with a 16-bit register loads 2 bytes (SDM 2B, MOVSXD). */
static bool decode_movsxd(struct cursor *c, struct insn_mem *out)
{
    return c->mode == INSN_MODE_64 && decode_extend(c, out, MIN(operand_size(c), (uint8_t)4), true);
}

static bool decode_opcode(struct cursor *c, uint8_t opcode, struct insn_mem *out)
{
    if (opcode < 0x40 && (opcode & 7) < 4)
        return decode_arithmetic(c, opcode, out);
    switch (opcode) {
    case 0x0f:
        return decode_two_byte(c, out);
    case 0x63:
        return decode_movsxd(c, out);
    case 0x80:
    case 0x81:
    case 0x83:
        return decode_group1(c, opcode, out);
    case 0x84:
    case 0x85:
        return register_and_memory(c, out, INSN_COMPARE, INSN_OP_TEST, size_of(c, opcode));
    case 0x86:
    case 0x87:
        return register_and_memory(c, out, INSN_XCHG, INSN_OP_MOV, size_of(c, opcode));
    case 0x88:
    case 0x89:
        return register_and_memory(c, out, INSN_STORE, INSN_OP_MOV, size_of(c, opcode));
    case 0x8a:
    case 0x8b:
        return register_and_memory(c, out, INSN_LOAD, INSN_OP_MOV, size_of(c, opcode));
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa3:
        return decode_moffs(c, opcode, out);
    case 0xc6:
    case 0xc7:
        return decode_group11(c, opcode, out);
    case 0xf6:
    case 0xf7:
        return decode_group3(c, opcode, out);
    default:
        return false;
    }
}

/* LOCK is valid only before an instruction that writes back what it read (SDM 2A, LOCK). */
static bool lock_valid(const struct cursor *c, const struct insn_mem *out)
{
    return (c->prefixes & PREFIX_LOCK) == 0 || out->kind == INSN_RMW || out->kind == INSN_XCHG;
}

bool insn_decode_mem(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_mem *out)
{
    struct cursor c = start(bytes, count, mode);
    uint8_t opcode = take_prefixes(&c);
    bool known;

    *out = (struct insn_mem){.kind = INSN_UNKNOWN};
    known = !c.cut && decode_opcode(&c, opcode, out) && !c.cut && lock_valid(&c, out);
    /* F2 and F3 mean nothing architectural here, so no compiler emits them: refused. */
    if (!known || (c.prefixes & (PREFIX_REP | PREFIX_REPNE)) != 0) {
        *out = (struct insn_mem){.kind = INSN_UNKNOWN};
        return false;
    }
    out->length = (uint8_t)c.at;
    out->addr_size = address_size(&c);
    out->locked = out->kind == INSN_XCHG || (c.prefixes & PREFIX_LOCK) != 0;
    return true;
}

/* The string instruction that `opcode` is; false: none. */
static bool string_of(uint8_t opcode, enum insn_string *string)
{
    switch (opcode & ~1u) {
    case 0x6c:
        *string = INSN_INS;
        return true;
    case 0x6e:
        *string = INSN_OUTS;
        return true;
    case 0xa4:
        *string = INSN_MOVS;
        return true;
    case 0xa6:
        *string = INSN_CMPS;
        return true;
    case 0xaa:
        *string = INSN_STOS;
        return true;
    case 0xac:
        *string = INSN_LODS;
        return true;
    case 0xae:
        *string = INSN_SCAS;
        return true;
    default:
        return false;
    }
}

bool insn_rep_string(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_rep *out)
{
    struct cursor c = start(bytes, count, mode);
    uint8_t opcode = take_prefixes(&c);
    enum insn_string string;

    *out = (struct insn_rep){.is_rep_string = false};
    if (c.cut || (c.prefixes & PREFIX_LOCK) != 0 || (c.prefixes & (PREFIX_REP | PREFIX_REPNE)) == 0)
        return false;
    if (!string_of(opcode, &string))
        return false;
    out->is_rep_string = true;
    out->repne = (c.prefixes & PREFIX_REPNE) != 0;
    out->sets_flags = string == INSN_CMPS || string == INSN_SCAS;
    out->string = (uint8_t)string;
    out->size = size_of(&c, opcode);
    if (string == INSN_INS || string == INSN_OUTS) /* ports are 4 bytes wide at most */
        out->size = MIN(out->size, (uint8_t)4);
    out->addr_size = address_size(&c);
    out->length = (uint8_t)c.at;
    return true;
}

/* ES, CS, SS, DS, FS, GS, as their override prefixes say (SDM 2A 2.1.1). */
static uint8_t segment_of(uint8_t prefix)
{
    return prefix >= 0x64 ? prefix - 0x64 + 4 : (prefix - 0x26) / 8;
}

#define SEGMENT_DEFAULT 3u /* DS */

bool insn_string_io(const uint8_t *bytes, size_t count, enum insn_mode mode, struct insn_string_io *out)
{
    struct cursor c = start(bytes, count, mode);
    uint8_t opcode = take_prefixes(&c);

    *out = (struct insn_string_io){.addr_size = address_size(&c), .segment = SEGMENT_DEFAULT};
    for (size_t i = 0; i < c.at; i++) {
        if (is_segment_override(bytes[i]))
            out->segment = segment_of(bytes[i]);
    }
    return !c.cut && opcode >= 0x6c && opcode <= 0x6f;
}
