/*
 * INS and OUTS. Each iteration is an act of its own: checked and translated before the chunk ends, so that
 * faults come first; what INS finds goes to memory when the next chunk begins.
 */
#include "drivers/vdev/cpuid.h"
#include "hv/access.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/exits.h"

#define TYPE_WRITABLE    0x2u /* data segments; readable for code (SDM 3A table 3-1) */
#define TYPE_EXPAND_DOWN 0x4u
#define TYPE_CODE        0x8u

static uint64_t mask_of(uint32_t bytes)
{
    return bytes == 8 ? UINT64_MAX : (UINT64_C(1) << bytes * 8) - 1;
}

static uint64_t merge(uint64_t old, uint64_t value, uint32_t bytes)
{
    return bytes == 2 ? (old & ~mask_of(2)) | (value & mask_of(2)) : value & mask_of(bytes);
}

/* Protected mode: whether the segment's type allows the access. */
static bool type_allows(struct vcpu *vcpu, const struct vmx_segment *segment, bool write)
{
    if (!(vmx_get_cr0(&vcpu->vmx) & CR0_PE) || (vmx_get_rflags(&vcpu->vmx) & RFLAGS_VM))
        return true;
    if (segment->access & TYPE_CODE)
        return !write && (segment->access & TYPE_WRITABLE);
    return !write || (segment->access & TYPE_WRITABLE);
}

static bool inside_limit(const struct vmx_segment *segment, uint64_t first, uint64_t last)
{
    uint64_t top = segment->access & VMX_ACCESS_DB ? UINT32_MAX : UINT16_MAX;

    if ((segment->access & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN)
        return first > segment->limit && last <= top;
    return last <= segment->limit;
}

static bool canonical(uint64_t address)
{
    int64_t top = (int64_t)address >> (CPUID_MODEL_LINEAR_BITS - 1);

    return top == 0 || top == -1;
}

/* The linear address of `bytes` at `offset`; false: #GP or #SS (SDM 1 6.4, 2A "INS", 2B "OUTS"). */
static bool linear_of(struct vcpu *vcpu, uint8_t index, uint64_t offset, uint32_t bytes, bool write,
                      uint64_t *linear)
{
    struct vmx_segment segment;

    vmx_get_segment(&vcpu->vmx, (enum vmx_segment_index)index, &segment);
    if (vmx_in_64bit_code(&vcpu->vmx)) {
        *linear = offset + (index == SEGMENT_FS || index == SEGMENT_GS ? segment.base : 0);
        return canonical(*linear) && canonical(*linear + bytes - 1);
    }
    *linear = (uint32_t)(segment.base + offset);
    return !(segment.access & VMX_ACCESS_UNUSABLE) && type_allows(vcpu, &segment, write) &&
           inside_limit(&segment, offset, offset + bytes - 1);
}

static void advance(struct vcpu *vcpu, enum vmx_gpr gpr, uint32_t bytes, uint32_t addr_size)
{
    uint64_t old = vcpu->vmx.gpr[gpr];
    uint64_t next = vmx_get_rflags(&vcpu->vmx) & RFLAGS_DF ? old - bytes : old + bytes;

    vmx_set_gpr(&vcpu->vmx, gpr, merge(old, next, addr_size));
}

/* An iteration that is not the last: what ends with any instruction ends, but for RIP. */
static void end_iteration(struct vcpu *vcpu)
{
    uint32_t length = vcpu->vmx.raw.instruction_length;

    vcpu->vmx.raw.instruction_length = 0;
    vmx_skip_instruction(&vcpu->vmx);
    vcpu->vmx.raw.instruction_length = length;
    /* Its breakpoint has fired, and does not again before each iteration (SDM 3B 18.3.1.1). */
    if (vmx_debug_here(&vcpu->vmx))
        vmx_resume_flag(&vcpu->vmx, true);
}

/* The act, and the registers after it; memory has been looked at. */
static enum exit_step act(struct vcpu *vcpu, const struct vmx_exit *exit, uint32_t addr_size, uint64_t linear,
                          const struct access_span *span)
{
    const struct vmx_exit_io *io = &exit->io;
    uint64_t rcx = vcpu->vmx.gpr[GPR_RCX];
    bool last = !io->rep || (rcx & mask_of(addr_size)) == 1;

    vcpu->act.port = io->port;
    vcpu->act.size = io->size;
    vcpu->time_used = vcpu->time_used || vports_uses_time(io->port, io->size);
    exit_end(vcpu, REC_END_IO, io->in ? ACT_IN : ACT_OUT, last ? exit->instruction_length : 0);
    if (io->in) {
        for (unsigned i = 0; i < 2; i++) {
            vcpu->completion.memory[i] = span->gpa[i];
            vcpu->completion.memory_bytes[i] = span->bytes[i];
        }
    }
    if (io->rep)
        vmx_set_gpr(&vcpu->vmx, GPR_RCX, merge(rcx, rcx - 1, addr_size));
    advance(vcpu, io->in ? GPR_RDI : GPR_RSI, io->size, addr_size);
    if (!last)
        end_iteration(vcpu);
    vmx_debug_port(&vcpu->vmx, io->port, io->size);
    vmx_debug_access(&vcpu->vmx, linear, io->size, io->in);
    return EXIT_ENDED;
}

enum exit_step exit_string_io(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    const struct vmx_exit_io *io = &exit->io;
    uint8_t bytes[INSN_MAX_BYTES], segment;
    size_t count = access_fetch(vcpu, bytes);
    struct insn_string_io insn;
    struct access_span span;
    uint64_t linear, offset;

    if (!insn_string_io(bytes, count, access_insn_mode(vcpu), &insn))
        return exit_refuse(vcpu, "string I/O at port %#x that cannot be read", io->port);
    if (io->rep && !(vcpu->vmx.gpr[GPR_RCX] & mask_of(insn.addr_size))) {
        vmx_skip_instruction(&vcpu->vmx);
        return EXIT_RESUME;
    }
    segment = io->in ? SEGMENT_ES : insn.segment;
    /* 64-bit code has no other segments: their prefixes mean nothing (SDM 1 3.3.7.1). */
    if (vmx_in_64bit_code(&vcpu->vmx) && segment < SEGMENT_FS)
        segment = SEGMENT_DS;
    offset = vcpu->vmx.gpr[io->in ? GPR_RDI : GPR_RSI] & mask_of(insn.addr_size);
    if (!linear_of(vcpu, segment, offset, io->size, io->in, &linear)) {
        vmx_inject_exception(&vcpu->vmx, segment == SEGMENT_SS ? VECTOR_SS : VECTOR_GP, 0);
        return EXIT_RESUME;
    }
    switch (access_translate(vcpu, linear, io->size, io->in, &span)) {
    case ACCESS_FAULT:
        return EXIT_RESUME;
    case ACCESS_NO_PAGE:
        return EXIT_NO_PAGE;
    case ACCESS_REFUSED:
        return exit_refuse(vcpu, "string I/O at port %#x with memory at %#llx that is not there", io->port,
                           (unsigned long long)linear);
    default:
        break;
    }
    vcpu->act.value = 0;
    for (unsigned i = 0; !io->in && i < 2; i++)
        access_read_physical(vcpu, span.gpa[i], (uint8_t *)&vcpu->act.value + (i ? span.bytes[0] : 0),
                             span.bytes[i]);
    return act(vcpu, exit, insn.addr_size, linear, &span);
}
