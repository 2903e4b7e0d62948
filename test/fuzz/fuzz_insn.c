/* Any bytes, in each mode: the decoder stays inside them and says only what its header allows. */
#include <stdlib.h>

#include "hv/base/check.h"
#include "hv/guestmem/insn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool power_of_two_to_8(uint8_t n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

static void check_mem(const struct insn_mem *i, size_t size)
{
    HV_CHECK(i->length >= 2 && i->length <= MIN(size, (size_t)INSN_MAX_BYTES));
    HV_CHECK(i->kind > INSN_UNKNOWN && i->kind <= INSN_XCHG);
    HV_CHECK(i->op <= INSN_OP_MOV && i->op != INSN_OP_ADC && i->op != INSN_OP_SBB);
    HV_CHECK(power_of_two_to_8(i->size) && power_of_two_to_8(i->reg_size) && i->size <= i->reg_size);
    HV_CHECK(i->reg < 16 && (!i->reg_high || (i->reg < 4 && i->reg_size == 1)));
    HV_CHECK(power_of_two_to_8(i->addr_size) && i->addr_size != 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct insn_mem mem;
    struct insn_rep rep;

    if (size == 0)
        return 0;
    for (enum insn_mode mode = INSN_MODE_16; mode <= INSN_MODE_64; mode++) {
        if (insn_decode_mem(data, size, mode, &mem))
            check_mem(&mem, size);
        else
            HV_CHECK(mem.kind == INSN_UNKNOWN);
        if (insn_rep_string(data, size, mode, &rep)) {
            HV_CHECK(rep.length >= 2 && rep.length <= MIN(size, (size_t)INSN_MAX_BYTES));
            HV_CHECK(power_of_two_to_8(rep.size) && rep.string <= INSN_OUTS);
        }
    }
    return 0;
}
