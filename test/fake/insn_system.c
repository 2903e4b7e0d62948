/* Instructions that exit, that touch the system's state, or that repeat. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "test/fake/guest_layout.h"
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

#define PAGE_FAULT_WRITE 2u   /* error code (SDM 3A 4.7) */
#define XMM0_OFFSET      160u /* in the XSAVE area's legacy region (SDM 1 table 10-2) */
#define POPF_CHANGES                                                                                         \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF |         \
     RFLAGS_OF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

static enum fakestep unknown(const struct fakerun *run, const struct fakeinsn *insn)
{
    fprintf(stderr, "fake processor: unknown instruction at %#x:", run->rip);
    for (uint32_t i = 0; i < insn->at; i++)
        fprintf(stderr, " %02x", insn->bytes[i]);
    fprintf(stderr, "\n");
    abort();
}

static enum fakestep exit_here(struct fakerun *run, const struct fakeinsn *insn, uint32_t reason)
{
    return fake_exit(run, reason, 0, insn->at);
}

/* ---- Ports, flags, interrupts ---- */

/* SDM 3C table 28-5. */
static enum fakestep port_access(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1;
    bool in = !(insn->opcode & 2), immediate = insn->opcode < 0xe8;
    uint32_t port = immediate ? fake_next_byte(insn) : run->r[GPR_RDX] & 0xffff;

    return fake_exit(run, VMX_EXIT_IO,
                     (size - 1) | (in ? BIT(3) : 0) | (immediate ? BIT(6) : 0) | (uint64_t)port << 16,
                     insn->at);
}

static enum fakestep string_port(struct fakerun *run, const struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1;
    bool in = !(insn->opcode & 2);

    return fake_exit(run, VMX_EXIT_IO,
                     (size - 1) | (in ? BIT(3) : 0) | BIT(4) | (insn->rep ? BIT(5) : 0) |
                         (uint64_t)(run->r[GPR_RDX] & 0xffff) << 16,
                     insn->at);
}

static enum fakestep sti(struct fakerun *run)
{
    if (!(run->rflags & RFLAGS_IF))
        run->interruptibility |= VMX_BLOCKING_BY_STI;
    run->rflags |= RFLAGS_IF;
    return FAKE_DONE;
}

/* Of segment registers only SS is loaded, with what it has: for the shadow. */
static enum fakestep move_segment(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t value;

    fake_modrm(run, insn);
    if (insn->opcode == 0x8c) {
        value = (uint32_t)run->cpu->vmcs[VMCS_GUEST_ES_SELECTOR + 2 * (insn->modrm >> 3 & 7)];
        return fake_set_rm(run, insn, insn->is_memory ? 2 : insn->size, value) ? FAKE_DONE : FAKE_EXIT;
    }
    if (!fake_get_rm(run, insn, 2, &value))
        return FAKE_EXIT;
    if ((insn->modrm >> 3 & 7) == SEGMENT_SS)
        run->interruptibility |= VMX_BLOCKING_BY_MOV_SS;
    return FAKE_DONE;
}

static enum fakestep flags_instruction(struct fakerun *run, struct fakeinsn *insn)
{
    uint64_t changes = insn->size == 2 ? POPF_CHANGES & 0xffff : POPF_CHANGES;
    uint32_t value;

    if (insn->opcode == 0x9c)
        return fake_push(run, insn->size, (uint32_t)run->rflags) ? FAKE_DONE : FAKE_EXIT;
    if (!fake_pop(run, insn->size, &value))
        return FAKE_EXIT;
    run->rflags = (run->rflags & ~changes) | (value & changes);
    return FAKE_DONE;
}

static enum fakestep interrupt(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t vector = fake_next_byte(insn);

    return fake_deliver(run, VMX_INFO_VALID | VMX_EVENT_SOFTWARE_INTERRUPT << VMX_INFO_TYPE_SHIFT | vector, 0,
                        insn->at)
               ? FAKE_JUMPED
               : FAKE_EXIT;
}

/* SHL, SHR, ROL of a register or memory by CL, 1 or an immediate; of the flags only CF. */
static enum fakestep shift(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, value, by = 1;

    fake_modrm(run, insn);
    if (insn->opcode < 0xd0)
        by = fake_next_byte(insn);
    else if (insn->opcode >= 0xd2)
        by = run->r[GPR_RCX];
    by &= 31;
    if (insn->is_memory && !fake_probe_write(run, insn->linear, size, true))
        return FAKE_EXIT;
    if (!fake_get_rm(run, insn, size, &value))
        return FAKE_EXIT;
    switch (insn->modrm >> 3 & 7) {
    case 0:
        by %= size * 8;
        value = by ? value << by | value >> (size * 8 - by) : value;
        break;
    case 4:
        value <<= by;
        break;
    case 5:
        value >>= by;
        break;
    default:
        return unknown(run, insn);
    }
    return fake_set_rm(run, insn, size, value) ? FAKE_DONE : FAKE_EXIT;
}

enum fakestep fake_system(struct fakerun *run, struct fakeinsn *insn)
{
    switch (insn->opcode) {
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
        return string_port(run, insn);
    case 0x8c:
    case 0x8e:
        return move_segment(run, insn);
    case 0x90:
        return insn->rep && run->cpu->vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_PAUSE_EXITING
                   ? exit_here(run, insn, VMX_EXIT_PAUSE)
                   : FAKE_DONE;
    case 0x9c:
    case 0x9d:
        return flags_instruction(run, insn);
    case 0xc0:
    case 0xc1:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return shift(run, insn);
    case 0xcd:
        return interrupt(run, insn);
    case 0xcf:
        return fake_iret(run, insn);
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef:
        return port_access(run, insn);
    case 0xf4:
        return exit_here(run, insn, VMX_EXIT_HLT);
    case 0xfa:
        run->rflags &= ~RFLAGS_IF;
        return FAKE_DONE;
    case 0xfb:
        return sti(run);
    case 0xfc:
        run->rflags &= ~RFLAGS_DF;
        return FAKE_DONE;
    case 0xfd:
        run->rflags |= RFLAGS_DF;
        return FAKE_DONE;
    default:
        return unknown(run, insn);
    }
}

/* ---- Two-byte opcodes ---- */

/* MOV CR and MOV DR (SDM 3C tables 28-3, 28-4). */
static enum fakestep move_control(struct fakerun *run, struct fakeinsn *insn, uint8_t op)
{
    uint64_t number, gpr, q;

    fake_modrm(run, insn);
    number = insn->modrm >> 3 & 7;
    gpr = insn->modrm & 7;
    if (op & 1) {
        q = number | (op == 0x21 ? BIT(4) : 0) | gpr << 8;
        return fake_exit(run, VMX_EXIT_DR_ACCESS, q, insn->at);
    }
    if (op == 0x20) {
        FAKE_KNOWN(number == 0 || number == 2);
        if (number == 2) {
            run->r[gpr] = (uint32_t)run->cpu->cr2;
            return FAKE_DONE;
        }
        run->r[gpr] = (uint32_t)vmx_cr_visible(run->cpu->vmcs[VMCS_GUEST_CR0], run->cpu->vmcs[VMCS_CR0_MASK],
                                               run->cpu->vmcs[VMCS_CR0_READ_SHADOW]);
        return FAKE_DONE;
    }
    return fake_exit(run, VMX_EXIT_CR_ACCESS, number | gpr << 8, insn->at);
}

/* MOVD between XMM0 and a general register: the SIMD state is the processor's, not the VMCS's. */
static enum fakestep movd(struct fakerun *run, struct fakeinsn *insn, uint8_t op)
{
    uint8_t *xmm0 = run->cpu->xstate + XMM0_OFFSET;

    fake_modrm(run, insn);
    FAKE_KNOWN(insn->wide_other && (insn->modrm & 0xf8) == 0xc0);
    if (op == 0x7e) {
        memcpy(&run->r[insn->modrm & 7], xmm0, 4);
    } else {
        memset(xmm0, 0, 16);
        memcpy(xmm0, &run->r[insn->modrm & 7], 4);
    }
    return FAKE_DONE;
}

static enum fakestep exchange(struct fakerun *run, struct fakeinsn *insn, uint8_t op)
{
    uint32_t size = op & 1 ? insn->size : 1, old, mine;
    uint64_t rflags = run->rflags;
    unsigned reg;

    fake_modrm(run, insn);
    reg = insn->modrm >> 3 & 7;
    mine = fake_get_reg(run, reg, size);
    if (insn->is_memory && !fake_probe_write(run, insn->linear, size, true))
        return FAKE_EXIT;
    if (!fake_get_rm(run, insn, size, &old))
        return FAKE_EXIT;
    if (op >= 0xc0) { /* XADD */
        if (!fake_set_rm(run, insn, size, fake_alu(&rflags, ALU_ADD, old, mine, size)))
            return FAKE_EXIT;
        fake_set_reg(run, reg, size, old);
    } else { /* CMPXCHG: writes in any case */
        fake_alu(&rflags, ALU_CMP, fake_get_reg(run, GPR_RAX, size), old, size);
        if (!fake_set_rm(run, insn, size, rflags & RFLAGS_ZF ? mine : old))
            return FAKE_EXIT;
        if (!(rflags & RFLAGS_ZF))
            fake_set_reg(run, GPR_RAX, size, old);
    }
    run->rflags = rflags;
    return FAKE_DONE;
}

static enum fakestep move_extended(struct fakerun *run, struct fakeinsn *insn, uint8_t op)
{
    uint32_t from = op & 1 ? 2 : 1, value;

    fake_modrm(run, insn);
    if (!fake_get_rm(run, insn, from, &value))
        return FAKE_EXIT;
    if (op >= 0xbe)
        value = from == 1 ? (uint32_t)(int8_t)value : (uint32_t)(int16_t)value;
    fake_set_reg(run, insn->modrm >> 3 & 7, insn->size, value);
    return FAKE_DONE;
}

static enum fakestep multiply(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t value;

    fake_modrm(run, insn);
    if (!fake_get_rm(run, insn, insn->size, &value))
        return FAKE_EXIT;
    fake_set_reg(run, insn->modrm >> 3 & 7, insn->size, value * run->r[insn->modrm >> 3 & 7]);
    return FAKE_DONE;
}

/* LIDT, and what is named by the whole ModRM byte. */
static enum fakestep group7(struct fakerun *run, struct fakeinsn *insn)
{
    uint8_t table[6];

    fake_modrm(run, insn);
    if (insn->modrm == 0xd1)
        return exit_here(run, insn, VMX_EXIT_XSETBV);
    if (insn->modrm == 0xf9)
        return exit_here(run, insn, VMX_EXIT_RDTSCP);
    if (insn->modrm == 0xc1)
        return exit_here(run, insn, VMX_EXIT_VMCALL);
    if (!insn->is_memory || (insn->modrm >> 3 & 7) != 3)
        return unknown(run, insn);
    if (!fake_read(run, insn->linear, table, sizeof(table)))
        return FAKE_EXIT;
    run->cpu->vmcs[VMCS_GUEST_IDTR_LIMIT] = table[0] | (uint64_t)table[1] << 8;
    run->cpu->vmcs[VMCS_GUEST_IDTR_BASE] =
        table[2] | (uint32_t)table[3] << 8 | (uint32_t)table[4] << 16 | (uint64_t)table[5] << 24;
    return FAKE_DONE;
}

/* SDM 3C table 28-12. */
static enum fakestep random_number(struct fakerun *run, struct fakeinsn *insn)
{
    fake_modrm(run, insn);
    FAKE_KNOWN(!insn->is_memory && (insn->modrm >> 3 & 7) == 6);
    run->cpu->vmcs[VMCS_EXIT_INSTRUCTION_INFO] = (insn->modrm & 7u) << 3 | (insn->size == 4 ? BIT(11) : 0);
    return exit_here(run, insn, VMX_EXIT_RDRAND);
}

enum fakestep fake_two_byte(struct fakerun *run, struct fakeinsn *insn)
{
    uint8_t op = fake_next_byte(insn);

    if (op >= 0x80 && op < 0x90) {
        uint32_t offset = fake_immediate(insn, insn->size);
        fake_retire_branch(run);
        if (!fake_condition(run->rflags, op & 15))
            return FAKE_DONE;
        run->rip += insn->at + (insn->size == 2 ? (uint32_t)(int16_t)offset : offset);
        return FAKE_JUMPED;
    }
    switch (op) {
    case 0x01:
        return group7(run, insn);
    case 0x09:
        return exit_here(run, insn, VMX_EXIT_WBINVD);
    case 0x20:
    case 0x21:
    case 0x22:
    case 0x23:
        return move_control(run, insn, op);
    case 0x30:
        return exit_here(run, insn, VMX_EXIT_WRMSR);
    case 0x31:
        return exit_here(run, insn, VMX_EXIT_RDTSC);
    case 0x32:
        return exit_here(run, insn, VMX_EXIT_RDMSR);
    case 0x6e:
    case 0x7e:
        return movd(run, insn, op);
    case 0xa2:
        return exit_here(run, insn, VMX_EXIT_CPUID);
    case 0xaf:
        return multiply(run, insn);
    case 0xb0:
    case 0xb1:
    case 0xc0:
    case 0xc1:
        return exchange(run, insn, op);
    case 0xb6:
    case 0xb7:
    case 0xbe:
    case 0xbf:
        return move_extended(run, insn, op);
    case 0xc7:
        return random_number(run, insn);
    default:
        return unknown(run, insn);
    }
}

/* ---- String instructions ---- */

static void advance(struct fakerun *run, unsigned reg, const struct fakeinsn *insn, uint32_t size)
{
    uint32_t mask = fake_mask(insn->addr_size);
    uint32_t next = run->rflags & RFLAGS_DF ? run->r[reg] - size : run->r[reg] + size;

    run->r[reg] = (run->r[reg] & ~mask) | (next & mask);
}

/* A page that the guest's own tables would not have. */
static enum fakestep page_fault(struct fakerun *run, uint32_t linear)
{
    uint32_t info = VMX_INFO_VALID | VMX_INFO_ERROR_VALID |
                    VMX_EVENT_HARDWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT | VECTOR_PF;

    run->cpu->cr2 = linear;
    run->rflags |= RFLAGS_RF; /* as a fault pushes it */
    return fake_deliver(run, info, PAGE_FAULT_WRITE, 0) ? FAKE_JUMPED : FAKE_EXIT;
}

static bool load_operands(struct fakerun *run, const struct fakeinsn *insn, uint32_t size, uint32_t *value,
                          uint32_t *other)
{
    uint32_t mask = fake_mask(insn->addr_size), kind = insn->opcode & 0xfe;
    uint32_t from = fake_segment_base(run, insn->segment) + (run->r[GPR_RSI] & mask);
    uint32_t to = fake_segment_base(run, SEGMENT_ES) + (run->r[GPR_RDI] & mask);

    *value = run->r[GPR_RAX];
    *other = 0;
    if (kind == 0xa4 || kind == 0xa6 || kind == 0xac) {
        *value = 0;
        if (!fake_read(run, from, value, size))
            return false;
    }
    return (kind != 0xa6 && kind != 0xae) || fake_read(run, to, other, size);
}

/* One iteration. */
static enum fakestep iterate(struct fakerun *run, const struct fakeinsn *insn, uint32_t size)
{
    uint32_t mask = fake_mask(insn->addr_size), kind = insn->opcode & 0xfe, value, other;
    uint32_t to = fake_segment_base(run, SEGMENT_ES) + (run->r[GPR_RDI] & mask);

    if (!load_operands(run, insn, size, &value, &other))
        return FAKE_EXIT;
    if (kind == 0xa4 || kind == 0xaa) {
        if (to >> PAGE_SHIFT == GUEST_ABSENT >> PAGE_SHIFT)
            return page_fault(run, to);
        if (!fake_write(run, to, &value, size))
            return FAKE_EXIT;
    }
    if (kind == 0xac)
        fake_set_reg(run, GPR_RAX, size, value);
    if (kind == 0xa6 || kind == 0xae)
        fake_alu(&run->rflags, ALU_CMP, value, other, size);
    if (kind == 0xa4 || kind == 0xa6 || kind == 0xac)
        advance(run, GPR_RSI, insn, size);
    if (kind != 0xac)
        advance(run, GPR_RDI, insn, size);
    return FAKE_DONE;
}

enum fakestep fake_string(struct fakerun *run, struct fakeinsn *insn)
{
    uint32_t size = insn->opcode & 1 ? insn->size : 1, mask = fake_mask(insn->addr_size), count;
    bool compare = (insn->opcode & 0xfe) == 0xa6 || (insn->opcode & 0xfe) == 0xae;
    enum fakestep step;

    if (!insn->rep && !insn->repne)
        return iterate(run, insn, size);
    if ((run->r[GPR_RCX] & mask) == 0)
        return FAKE_DONE;
    step = iterate(run, insn, size);
    if (step != FAKE_DONE)
        return step;
    count = (run->r[GPR_RCX] - 1) & mask;
    run->r[GPR_RCX] = (run->r[GPR_RCX] & ~mask) | count;
    if (count == 0 || (compare && !(run->rflags & RFLAGS_ZF) != insn->repne))
        return FAKE_DONE;
    return FAKE_AGAIN;
}
