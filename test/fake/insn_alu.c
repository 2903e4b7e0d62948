/* Arithmetic flags (SDM 1 appendix A) and conditions (appendix B). */
#include "hv/cpu/cpu.h"
#include "test/fake/processor_inside.h"

#define ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

struct sum {
    uint32_t value;
    uint64_t flags;
};

static struct sum add(uint32_t a, uint32_t b, uint32_t carry, uint32_t size)
{
    uint64_t wide = (uint64_t)a + b + carry;
    uint32_t top = UINT32_C(1) << (size * 8 - 1), value = (uint32_t)wide & fake_mask(size);

    return (struct sum){value, (wide >> size * 8 & 1 ? RFLAGS_CF : 0) |
                                   (~(a ^ b) & (a ^ value) & top ? RFLAGS_OF : 0) |
                                   ((a ^ b ^ value) & 0x10 ? RFLAGS_AF : 0)};
}

static struct sum subtract(uint32_t a, uint32_t b, uint32_t borrow, uint32_t size)
{
    uint64_t wide = (uint64_t)a - b - borrow;
    uint32_t top = UINT32_C(1) << (size * 8 - 1), value = (uint32_t)wide & fake_mask(size);

    return (struct sum){value, (wide >> size * 8 & 1 ? RFLAGS_CF : 0) |
                                   ((a ^ b) & (a ^ value) & top ? RFLAGS_OF : 0) |
                                   ((a ^ b ^ value) & 0x10 ? RFLAGS_AF : 0)};
}

uint32_t fake_alu(uint64_t *rflags, enum fakealu op, uint32_t a, uint32_t b, uint32_t size)
{
    uint32_t carry = *rflags & RFLAGS_CF ? 1 : 0, top = UINT32_C(1) << (size * 8 - 1);
    struct sum sum = {0};

    a &= fake_mask(size);
    b &= fake_mask(size);
    switch (op) {
    case ALU_ADD:
    case ALU_ADC:
        sum = add(a, b, op == ALU_ADC ? carry : 0, size);
        break;
    case ALU_SUB:
    case ALU_SBB:
    case ALU_CMP:
        sum = subtract(a, b, op == ALU_SBB ? carry : 0, size);
        break;
    case ALU_OR:
        sum.value = a | b;
        break;
    case ALU_AND:
        sum.value = a & b;
        break;
    case ALU_XOR:
        sum.value = a ^ b;
        break;
    }
    sum.flags |= sum.value == 0 ? RFLAGS_ZF : 0;
    sum.flags |= sum.value & top ? RFLAGS_SF : 0;
    sum.flags |= __builtin_parity(sum.value & 0xff) ? 0 : RFLAGS_PF;
    *rflags = (*rflags & ~ARITHMETIC) | sum.flags;
    return sum.value;
}

bool fake_condition(uint64_t f, unsigned code)
{
    bool less = !(f & RFLAGS_SF) != !(f & RFLAGS_OF), result = false;

    switch (code >> 1) {
    case 0:
        result = f & RFLAGS_OF;
        break;
    case 1:
        result = f & RFLAGS_CF;
        break;
    case 2:
        result = f & RFLAGS_ZF;
        break;
    case 3:
        result = f & (RFLAGS_CF | RFLAGS_ZF);
        break;
    case 4:
        result = f & RFLAGS_SF;
        break;
    case 5:
        result = f & RFLAGS_PF;
        break;
    case 6:
        result = less;
        break;
    default:
        result = less || (f & RFLAGS_ZF);
        break;
    }
    return result != (code & 1);
}
