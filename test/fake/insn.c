/* One guest instruction: prefixes, operands, and the plain ones; the rest is in insn_alu.c and insn_system.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

#define NO_REGISTER 8u

uint32_t fake_mask(uint32_t size)
{
    return size == 4 ? UINT32_MAX : (UINT32_C(1) << size * 8) - 1;
}

/* ---- Operands ---- */

/* Byte registers 4-7 are AH, CH, DH, BH. */
uint32_t fake_get_reg(const struct fakerun *run, unsigned reg, uint32_t size)
{
    if (size == 1 && reg >= 4)
        return run->r[reg - 4] >> 8 & 0xff;
    return run->r[reg] & fake_mask(size);
}

void fake_set_reg(struct fakerun *run, unsigned reg, uint32_t size, uint32_t value)
{
    uint32_t mask = fake_mask(size);

    if (size == 1 && reg >= 4)
        run->r[reg - 4] = (run->r[reg - 4] & ~UINT32_C(0xff00)) | (value & 0xff) << 8;
    else
        run->r[reg] = (run->r[reg] & ~mask) | (value & mask);
}

/* Guest programs keep their instructions within pages. */
uint8_t fake_next_byte(struct fakeinsn *insn)
{
    FAKE_KNOWN(insn->at < insn->count);
    return insn->bytes[insn->at++];
}

uint32_t fake_immediate(struct fakeinsn *insn, uint32_t size)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)fake_next_byte(insn) << i * 8;
    return value;
}

static uint32_t displacement(struct fakeinsn *insn, unsigned mod, uint32_t wide)
{
    if (mod == 1)
        return (uint32_t)(int8_t)fake_next_byte(insn);
    return mod == 2 ? fake_immediate(insn, wide) : 0;
}

static uint32_t sib(struct fakerun *run, struct fakeinsn *insn, unsigned mod)
{
    uint8_t byte = fake_next_byte(insn);
    unsigned base = byte & 7, index = byte >> 3 & 7;
    uint32_t value = index == 4 ? 0 : run->r[index] << (byte >> 6);

    if (base == 5 && mod == 0)
        return value + fake_immediate(insn, 4);
    return value + run->r[base];
}

/* Of the 16-bit forms only those with one register or none. */
static uint32_t address16(struct fakerun *run, struct fakeinsn *insn, unsigned mod, unsigned rm)
{
    static const uint8_t base[] = {NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER,
                                   GPR_RSI,     GPR_RDI,     GPR_RBP,     GPR_RBX};

    if (mod == 0 && rm == 6)
        return fake_immediate(insn, 2);
    FAKE_KNOWN(base[rm] != NO_REGISTER);
    return (run->r[base[rm]] + displacement(insn, mod, 2)) & 0xffff;
}

void fake_modrm(struct fakerun *run, struct fakeinsn *insn)
{
    unsigned mod, rm;
    uint32_t address;

    insn->modrm = fake_next_byte(insn);
    mod = insn->modrm >> 6;
    rm = insn->modrm & 7;
    insn->is_memory = mod != 3;
    if (!insn->is_memory)
        return;
    if (insn->addr_size == 2) {
        address = address16(run, insn, mod, rm);
    } else if (rm == 4) {
        address = sib(run, insn, mod);
        address += displacement(insn, mod, 4);
    } else if (rm == 5 && mod == 0) {
        address = fake_immediate(insn, 4);
    } else {
        address = run->r[rm] + displacement(insn, mod, 4);
    }
    insn->linear = fake_segment_base(run, insn->segment) + address;
}

bool fake_get_rm(struct fakerun *run, struct fakeinsn *insn, uint32_t size, uint32_t *value)
{
    *value = 0;
    if (insn->is_memory)
        return fake_read(run, insn->linear, value, size);
    *value = fake_get_reg(run, insn->modrm & 7, size);
    return true;
}

bool fake_set_rm(struct fakerun *run, struct fakeinsn *insn, uint32_t size, uint32_t value)
{
    if (insn->is_memory)
        return fake_write(run, insn->linear, &value, size);
    fake_set_reg(run, insn->modrm & 7, size, value);
    return true;
}

bool fake_push(struct fakerun *run, uint32_t size, uint32_t value)
{
    uint32_t sp = run->r[GPR_RSP] - size;

    if (!fake_write(run, fake_segment_base(run, SEGMENT_SS) + sp, &value, size))
        return false;
    run->r[GPR_RSP] = sp;
    return true;
}

bool fake_pop(struct fakerun *run, uint32_t size, uint32_t *value)
{
    *value = 0;
    if (!fake_read(run, fake_segment_base(run, SEGMENT_SS) + run->r[GPR_RSP], value, size))
        return false;
    run->r[GPR_RSP] += size;
    return true;
}

/* ---- Arithmetic with a memory or register operand ---- */

static bool writable(struct fakerun *run, struct fakeinsn *insn, uint32_t size)
{
    return !insn->is_memory || fake_probe_write(run, insn->linear, size, true);
}

static enum fakestep alu_to_rm(struct fakerun *run, struct fakeinsn *insn, enum fakealu op, uint32_t size,
                               uint32_t b)
{
    uint32_t a;
    uint64_t rflags = run->rflags;

    if (op != ALU_CMP && !writable(run, insn, size))
        return FAKE_EXIT;
    if (!fake_get_rm(run, insn, size, &a))
        return FAKE_EXIT;
    a = fake_alu(&rflags, op, a, b, size);
    if (op != ALU_CMP && !fake_set_rm(run, insn, size, a))
        return FAKE_EXIT;
    run->rflags = rflags;
    return FAKE_DONE;
}

static enum fakestep alu_to_reg(struct fakerun *run, struct fakeinsn *insn, enum fakealu op, uint32_t size)
{
    unsigned reg = insn->modrm >> 3 & 7;
    uint32_t b, result;

    if (!fake_get_rm(run, insn, size, &b))
        return FAKE_EXIT;
    result = fake_alu(&run->rflags, op, fake_get_reg(run, reg, size), b, size);
    if (op != ALU_CMP)
        fake_set_reg(run, reg, size, result);
    return FAKE_DONE;
}

/* 00-3F: eight operations, six forms each. */
static enum fakestep alu_opcode(struct fakerun *run, struct fakeinsn *insn)
{
    enum fakealu op = insn->opcode >> 3 & 7;
    unsigned form = insn->opcode & 7;
    uint32_t size = form & 1 ? insn->size : 1, value;

    if (form >= 4) {
        value =
            fake_alu(&run->rflags, op, fake_get_reg(run, GPR_RAX, size), fake_immediate(insn, size), size);
        if (op != ALU_CMP)
            fake_set_reg(run, GPR_RAX, size, value);
        return FAKE_DONE;
    }
    fake_modrm(run, insn);
    if (form >= 2)
        return alu_to_reg(run, insn, op, size);
    return alu_to_rm(run, insn, op, size, fake_get_reg(run, insn->modrm >> 3 & 7, size));
}

static enum fakestep group1(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, b;

    fake_modrm(run, insn);
    b = insn->opcode == 0x83 ? (uint32_t)(int8_t)fake_next_byte(insn) & fake_mask(size)
                             : fake_immediate(insn, size);
    return alu_to_rm(run, insn, insn->modrm >> 3 & 7, size, b);
}

/* TEST r/m, reg; XCHG r/m, reg; MOV both ways; LEA. */
static enum fakestep move(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, value, mine;
    unsigned reg;

    fake_modrm(run, insn);
    reg = insn->modrm >> 3 & 7;
    mine = fake_get_reg(run, reg, size);
    switch (insn->opcode) {
    case 0x88:
    case 0x89:
        return fake_set_rm(run, insn, size, mine) ? FAKE_DONE : FAKE_EXIT;
    case 0x8d:
        fake_set_reg(run, reg, insn->size, insn->linear);
        return FAKE_DONE;
    case 0x86:
    case 0x87:
        if (!writable(run, insn, size))
            return FAKE_EXIT;
        break;
    default:
        break;
    }
    if (!fake_get_rm(run, insn, size, &value))
        return FAKE_EXIT;
    if (insn->opcode <= 0x85) {
        fake_alu(&run->rflags, ALU_AND, value, mine, size);
        return FAKE_DONE;
    }
    if (insn->opcode <= 0x87 && !fake_set_rm(run, insn, size, mine))
        return FAKE_EXIT;
    fake_set_reg(run, reg, size, value);
    return FAKE_DONE;
}

/* FE, FF: INC, DEC; CALL, JMP, PUSH. CF stays. */
static enum fakestep group5(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, value;
    uint64_t carry = run->rflags & RFLAGS_CF;
    enum fakestep step;

    fake_modrm(run, insn);
    switch (insn->modrm >> 3 & 7) {
    case 0:
    case 1:
        step = alu_to_rm(run, insn, insn->modrm >> 3 & 1 ? ALU_SUB : ALU_ADD, size, 1);
        if (step == FAKE_DONE)
            run->rflags = (run->rflags & ~RFLAGS_CF) | carry;
        return step;
    case 4:
        if (!fake_get_rm(run, insn, insn->size, &value))
            return FAKE_EXIT;
        run->rip = value;
        return FAKE_JUMPED;
    default:
        FAKE_KNOWN((insn->modrm >> 3 & 7) == 6);
        return fake_get_rm(run, insn, insn->size, &value) && fake_push(run, insn->size, value) ? FAKE_DONE
                                                                                               : FAKE_EXIT;
    }
}

/* ---- Jumps ---- */

static enum fakestep jump_relative(struct fakerun *run, struct fakeinsn *insn, uint32_t bytes, bool taken)
{
    uint32_t offset = bytes == 1 ? (uint32_t)(int8_t)fake_next_byte(insn) : fake_immediate(insn, bytes);

    if (bytes == 2)
        offset = (uint32_t)(int16_t)offset;
    if (!taken)
        return FAKE_DONE;
    run->rip += insn->at + offset;
    return FAKE_JUMPED;
}

static enum fakestep call(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t offset = fake_immediate(insn, insn->size);

    if (!fake_push(run, insn->size, run->rip + insn->at))
        return FAKE_EXIT;
    run->rip += insn->at + (insn->size == 2 ? (uint32_t)(int16_t)offset : offset);
    return FAKE_JUMPED;
}

static enum fakestep ret(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t rip;

    if (!fake_pop(run, insn->size, &rip))
        return FAKE_EXIT;
    run->rip = rip;
    return FAKE_JUMPED;
}

static enum fakestep loop(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t mask = fake_mask(insn->addr_size), count = (run->r[GPR_RCX] - 1) & mask;

    run->r[GPR_RCX] = (run->r[GPR_RCX] & ~mask) | count;
    fake_retire_branch(run);
    return jump_relative(run, insn, 1, count != 0);
}

/* ---- Dispatch ---- */

static enum fakestep inc_dec_push_pop(struct fakerun *run, struct fakeinsn *insn)
{
    unsigned reg = insn->opcode & 7;
    uint64_t carry = run->rflags & RFLAGS_CF;
    uint32_t value;

    if (insn->opcode >= 0x58) {
        if (!fake_pop(run, insn->size, &value))
            return FAKE_EXIT;
        fake_set_reg(run, reg, insn->size, value);
        return FAKE_DONE;
    }
    if (insn->opcode >= 0x50)
        return fake_push(run, insn->size, run->r[reg]) ? FAKE_DONE : FAKE_EXIT;
    value = fake_alu(&run->rflags, insn->opcode >= 0x48 ? ALU_SUB : ALU_ADD, run->r[reg], 1, insn->size);
    fake_set_reg(run, reg, insn->size, value);
    run->rflags = (run->rflags & ~RFLAGS_CF) | carry;
    return FAKE_DONE;
}

static enum fakestep move_immediate(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1;

    if (insn->opcode < 0xc0) {
        size = insn->opcode & 8 ? insn->size : 1;
        fake_set_reg(run, insn->opcode & 7, size, fake_immediate(insn, size));
        return FAKE_DONE;
    }
    fake_modrm(run, insn);
    return fake_set_rm(run, insn, size, fake_immediate(insn, size)) ? FAKE_DONE : FAKE_EXIT;
}

static enum fakestep push_immediate(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t value =
        insn->opcode == 0x6a ? (uint32_t)(int8_t)fake_next_byte(insn) : fake_immediate(insn, insn->size);

    return fake_push(run, insn->size, value) ? FAKE_DONE : FAKE_EXIT;
}

/* MOV between AL, (E)AX and a memory offset. */
static enum fakestep move_offset(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, value = run->r[GPR_RAX];
    uint32_t linear = fake_segment_base(run, insn->segment) + fake_immediate(insn, insn->addr_size);

    if (insn->opcode & 2)
        return fake_write(run, linear, &value, size) ? FAKE_DONE : FAKE_EXIT;
    value = 0;
    if (!fake_read(run, linear, &value, size))
        return FAKE_EXIT;
    fake_set_reg(run, GPR_RAX, size, value);
    return FAKE_DONE;
}

static enum fakestep execute(struct fakerun *run, struct fakeinsn *insn)
{
    uint8_t op = insn->opcode;

    if (op == 0x0f)
        return fake_two_byte(run, insn);
    if (op < 0x40 && (op & 7) < 6)
        return alu_opcode(run, insn);
    if (op >= 0x40 && op < 0x60)
        return inc_dec_push_pop(run, insn);
    if (op >= 0x70 && op < 0x80) {
        fake_retire_branch(run);
        return jump_relative(run, insn, 1, fake_condition(run->rflags, op & 15));
    }
    if (op == 0x80 || op == 0x81 || op == 0x83)
        return group1(run, insn);
    if ((op >= 0x84 && op <= 0x8b) || op == 0x8d)
        return move(run, insn);
    if (op >= 0xa0 && op <= 0xa3)
        return move_offset(run, insn);
    if (op >= 0xa4 && op <= 0xaf && op != 0xa8 && op != 0xa9)
        return fake_string(run, insn);
    if ((op >= 0xb0 && op <= 0xbf) || op == 0xc6 || op == 0xc7)
        return move_immediate(run, insn);
    switch (op) {
    case 0x68:
    case 0x6a:
        return push_immediate(run, insn);
    case 0xc3:
        return ret(run, insn);
    case 0xe2:
        return loop(run, insn);
    case 0xe8:
        return call(run, insn);
    case 0xe9:
        return jump_relative(run, insn, insn->size, true);
    case 0xeb:
        return jump_relative(run, insn, 1, true);
    case 0xfe:
    case 0xff:
        return group5(run, insn);
    default:
        return fake_system(run, insn);
    }
}

static bool prefix(struct fakeinsn *insn, uint8_t byte, uint32_t normal)
{
    switch (byte) {
    case 0x26:
        insn->segment = SEGMENT_ES;
        return true;
    case 0x2e:
        insn->segment = SEGMENT_CS;
        return true;
    case 0x66:
        insn->size = 6 - normal;
        insn->wide_other = true;
        return true;
    case 0x67:
        insn->addr_size = 6 - normal;
        return true;
    case 0xf0:
        return insn->lock = true;
    case 0xf2:
        return insn->repne = true;
    case 0xf3:
        return insn->rep = true;
    default:
        return false;
    }
}

static bool decode(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t normal = run->cpu->vmcs[VMCS_GUEST_CS_ACCESS] & VMX_ACCESS_DB ? 4 : 2;

    *insn = (struct fakeinsn){.size = normal, .addr_size = normal, .segment = SEGMENT_DS};
    if (!fake_fetch(run, insn->bytes, &insn->count))
        return false;
    do {
        insn->opcode = fake_next_byte(insn);
    } while (prefix(insn, insn->opcode, normal));
    return true;
}

/* RF and the shadows end with the instruction, unless it sets them itself. */
void fake_step(struct fakerun *run)
{
    uint32_t shadows = run->interruptibility & VMX_SHADOWS, r[8];
    bool trapping = run->rflags & RFLAGS_TF;
    uint64_t rflags = run->rflags & ~RFLAGS_RF;
    struct fakeinsn insn;
    enum fakestep step;

    memcpy(r, run->r, sizeof(r));
    run->matched = 0;
    run->rflags = rflags;
    run->interruptibility &= ~shadows;
    step = decode(run, &insn) ? execute(run, &insn) : FAKE_EXIT;
    if (step != FAKE_EXIT) {
        run->rip += step == FAKE_DONE ? insn.at : 0;
        run->in_rep = step == FAKE_AGAIN;
        run->in_compare = (insn.opcode & 0xf6) == 0xa6;
        fake_debug_retire(run, trapping);
        return;
    }
    /* It never happened: a fault-like exit saves the state before it. */
    HV_CHECK(run->exited);
    memcpy(run->r, r, sizeof(r));
    run->rflags = rflags | (run->rflags & RFLAGS_RF);
    if (!run->vectoring)
        run->interruptibility |= shadows;
}
