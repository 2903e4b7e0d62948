/*
 * Memory accesses that no memory answers: the vCPU's own APIC page, the I/O APIC, the PCI functions' window,
 * and addresses where nothing is (reads give all ones, writes are lost). The instruction is decoded from the
 * guest's memory; where it leads is known from the EPT violation.
 */
#include "hv/access.h"
#include "hv/cpu/cpu.h"
#include "hv/exits.h"

static uint64_t mask_of(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << bytes * 8) - 1;
}

static uint64_t read_register(struct vcpu *vcpu, const struct insn_mem *insn)
{
    uint64_t value = vcpu->vmx.gpr[insn->reg];

    return insn->reg_high ? value >> 8 : value;
}

static uint64_t source(struct vcpu *vcpu, const struct insn_mem *insn)
{
    return (insn->has_imm ? insn->imm : read_register(vcpu, insn)) & mask_of(insn->size);
}

/* Loads: extension, and what of the register stays (SDM 1 3.4.1.1). */
static void write_register(struct vcpu *vcpu, const struct insn_mem *insn, uint64_t value)
{
    uint64_t old = vcpu->vmx.gpr[insn->reg];
    uint64_t mask = mask_of(insn->reg_size);

    value &= mask_of(insn->size);
    if (insn->sign_extend && value >> (insn->size * 8 - 1))
        value |= ~mask_of(insn->size);
    value &= mask;
    if (insn->reg_high)
        value = (old & ~UINT64_C(0xff00)) | value << 8;
    else if (insn->reg_size < 4)
        value = (old & ~mask) | value;
    vmx_set_gpr(&vcpu->vmx, insn->reg, value);
}

struct arithmetic {
    uint64_t value;
    uint64_t flags;
};

#define ARITHMETIC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* a op b in `bytes` bytes, with the flags of SDM 1 appendix A. */
static struct arithmetic compute(enum insn_op op, uint64_t a, uint64_t b, unsigned bytes)
{
    uint64_t mask = mask_of(bytes), top = UINT64_C(1) << (bytes * 8 - 1);
    struct arithmetic r = {0};

    switch (op) {
    case INSN_OP_ADD:
        r.value = (a + b) & mask;
        r.flags |= r.value < a ? RFLAGS_CF : 0;
        r.flags |= ~(a ^ b) & (a ^ r.value) & top ? RFLAGS_OF : 0;
        r.flags |= (a ^ b ^ r.value) & 0x10 ? RFLAGS_AF : 0;
        break;
    case INSN_OP_SUB:
    case INSN_OP_CMP:
        r.value = (a - b) & mask;
        r.flags |= a < b ? RFLAGS_CF : 0;
        r.flags |= (a ^ b) & (a ^ r.value) & top ? RFLAGS_OF : 0;
        r.flags |= (a ^ b ^ r.value) & 0x10 ? RFLAGS_AF : 0;
        break;
    case INSN_OP_OR:
        r.value = a | b;
        break;
    case INSN_OP_XOR:
        r.value = a ^ b;
        break;
    default: /* AND, TEST */
        r.value = a & b;
        break;
    }
    r.flags |= r.value == 0 ? RFLAGS_ZF : 0;
    r.flags |= r.value & top ? RFLAGS_SF : 0;
    r.flags |= __builtin_parity((unsigned)(r.value & 0xff)) ? 0 : RFLAGS_PF;
    return r;
}

static uint64_t load(struct vcpu *vcpu, uint64_t address, unsigned bytes)
{
    struct vlapic *lapic = &vcpu->state->lapic;
    uint32_t reg;

    if ((address & ~PAGE_MASK) != vlapic_page(lapic))
        return UINT64_MAX;
    reg = vlapic_mmio_reg(address & PAGE_MASK, bytes);
    vcpu->irq_check = true; /* a bad register may raise the error interrupt */
    return vlapic_read(lapic, reg, vlapic_uses_time(lapic, reg, false) ? vcpu_read_time(vcpu) : 0);
}

static enum exit_step store(struct vcpu *vcpu, uint64_t address, unsigned bytes, uint64_t value,
                            uint32_t length)
{
    uint32_t reg;

    if ((address & ~PAGE_MASK) != vlapic_page(&vcpu->state->lapic))
        return EXIT_RESUME;
    reg = vlapic_mmio_reg(address & PAGE_MASK, bytes);
    return exit_apic_write(vcpu, reg, value, length);
}

static void set_flags(struct vcpu *vcpu, uint64_t flags)
{
    vmx_set_rflags(&vcpu->vmx, (vmx_get_rflags(&vcpu->vmx) & ~ARITHMETIC_FLAGS) | flags);
}

/* An instruction that also reads: the result first, since a store may end the chunk. */
static enum exit_step modify(struct vcpu *vcpu, uint64_t address, const struct insn_mem *insn)
{
    uint64_t memory = load(vcpu, address, insn->size) & mask_of(insn->size);
    uint64_t other = source(vcpu, insn);
    struct arithmetic r;
    enum exit_step step;

    r = insn->reg_is_first ? compute(insn->op, other, memory, insn->size)
                           : compute(insn->op, memory, other, insn->size);
    if (insn->kind == INSN_COMPARE) {
        set_flags(vcpu, r.flags);
        return EXIT_RESUME;
    }
    if (insn->kind == INSN_LOAD_OP) {
        set_flags(vcpu, r.flags);
        write_register(vcpu, insn, r.value);
        return EXIT_RESUME;
    }
    if (insn->kind == INSN_XCHG)
        r.value = other;
    step = store(vcpu, address, insn->size, r.value, insn->length);
    if (step == EXIT_ENDED) {
        if (insn->kind == INSN_RMW) {
            vcpu->completion.flags_mask = ARITHMETIC_FLAGS;
            vcpu->completion.flags_value = r.flags;
        } else {
            vcpu->completion.gpr = insn->reg;
            vcpu->completion.gpr_mask =
                insn->size == 4 ? UINT64_MAX : mask_of(insn->size) << (insn->reg_high ? 8 : 0);
            vcpu->completion.gpr_value = memory << (insn->reg_high ? 8 : 0);
        }
        return step;
    }
    if (insn->kind == INSN_RMW)
        set_flags(vcpu, r.flags);
    else
        write_register(vcpu, insn, memory);
    return step;
}

/* The I/O APIC takes accesses of 4 bytes. Others reach no register (82093AA data sheet 3.1). */
static bool is_ioapic(uint64_t address, const struct insn_mem *insn)
{
    return (address & ~PAGE_MASK) == VPLAT_IOAPIC && insn->size == 4;
}

/* Memory of devices that the vCPUs share: an access is an act. */
static enum exit_step device_access(struct vcpu *vcpu, uint64_t address, const struct insn_mem *insn)
{
    bool load = insn->kind == INSN_LOAD;

    if ((!load && insn->kind != INSN_STORE) || (load && (insn->sign_extend || insn->reg_high)))
        return exit_refuse(vcpu,
                           "device memory at %#llx: an instruction at %#llx that is no plain load or store",
                           (unsigned long long)address, (unsigned long long)vmx_get_linear_rip(&vcpu->vmx));
    vcpu->act.reg = (uint32_t)address;
    vcpu->act.size = insn->size;
    vcpu->act.value = load ? 0 : source(vcpu, insn);
    vcpu->time_used = vcpu->time_used || (!load && is_ioapic(address, insn));
    exit_end(vcpu, REC_END_MMIO, load ? ACT_MMIO_READ : ACT_MMIO_WRITE, insn->length);
    if (load) {
        vcpu->completion.gpr = insn->reg;
        vcpu->completion.gpr_mask = insn->reg_size >= 4 ? UINT64_MAX : mask_of(insn->reg_size);
    }
    return EXIT_ENDED;
}

enum exit_step mmio_access(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t address = exit->ept.gpa.raw;
    uint8_t bytes[INSN_MAX_BYTES];
    size_t count = access_fetch(vcpu, bytes);
    struct insn_mem insn;
    enum exit_step step = EXIT_RESUME;

    if (!insn_decode_mem(bytes, count, access_insn_mode(vcpu), &insn))
        return exit_refuse(vcpu, "device memory at %#llx: instruction %02x %02x %02x at %#llx not supported",
                           (unsigned long long)address, bytes[0], bytes[1], bytes[2],
                           (unsigned long long)vmx_get_linear_rip(&vcpu->vmx));
    if (exit->ept.gla_valid)
        vmx_debug_access(&vcpu->vmx, exit->ept.gla.raw, insn.size,
                         insn.kind == INSN_STORE || insn.kind == INSN_XCHG || insn.kind == INSN_RMW);
    if (is_ioapic(address, &insn) || vports_in_window(address))
        return device_access(vcpu, address, &insn);
    if (insn.kind == INSN_LOAD)
        write_register(vcpu, &insn, load(vcpu, address, insn.size));
    else if (insn.kind == INSN_STORE)
        step = store(vcpu, address, insn.size, source(vcpu, &insn), insn.length);
    else
        step = modify(vcpu, address, &insn);
    if (step != EXIT_RESUME)
        return step;
    vcpu->vmx.raw.instruction_length = insn.length;
    vmx_skip_instruction(&vcpu->vmx);
    return EXIT_RESUME;
}
