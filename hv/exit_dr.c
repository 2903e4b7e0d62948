#include "hv/exit_dr.h"

#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"

/*
 * SDM 3B 18.2: bits that software can change, and those that read as 1. Bit 11 of DR7 belongs to RTM, which
 * the model lacks.
 */
#define DR6_WRITABLE UINT64_C(0xe00f)
#define DR6_ONES     UINT64_C(0xffff0ff0)
#define DR6_BD       UINT64_C(0x2000)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define DR7_ONES     UINT64_C(0x400)
#define DR7_GD       UINT64_C(0x2000)

static enum exit_step fault(struct vcpu *vcpu, uint8_t vector)
{
    vmx_inject_exception(&vcpu->vmx, vector, 0);
    return EXIT_RESUME;
}

/* A fault before the access: RF is pushed as 1. */
static enum exit_step general_detect(struct vcpu *vcpu)
{
    vmx_debug_raise(&vcpu->vmx, DR6_BD);
    vmx_resume_flag(&vcpu->vmx, true);
    return EXIT_RESUME;
}

static uint64_t stored(unsigned index, uint64_t value)
{
    if (index == GUEST_DR6)
        return (value & DR6_WRITABLE) | DR6_ONES;
    return index == GUEST_DR7 ? (value & DR7_WRITABLE) | DR7_ONES : value;
}

/* The exit comes before #UD and #GP for privilege, and before general detect (SDM 3C 26.1.3). */
enum exit_step exit_dr_access(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    static const uint8_t indexes[] = {GUEST_DR0, GUEST_DR1, GUEST_DR2, GUEST_DR3,
                                      GUEST_DR6, GUEST_DR7, GUEST_DR6, GUEST_DR7};
    unsigned index = indexes[exit->dr.dr & 7];
    uint64_t wide = vmx_in_64bit_code(&vcpu->vmx) ? UINT64_MAX : UINT32_MAX, value;

    if ((exit->dr.dr == 4 || exit->dr.dr == 5) && (vmx_get_cr4(&vcpu->vmx) & CR4_DE))
        return fault(vcpu, VECTOR_UD);
    if (vmx_get_cpl(&vcpu->vmx) != 0)
        return fault(vcpu, VECTOR_GP);
    if (vcpu->vmx.dr[GUEST_DR7] & DR7_GD)
        return general_detect(vcpu);
    if (exit->dr.from) {
        vmx_set_gpr(&vcpu->vmx, exit->dr.gpr, vcpu->vmx.dr[index] & wide);
    } else {
        value = vcpu->vmx.gpr[exit->dr.gpr] & wide;
        if (index >= GUEST_DR6 && value >> 32)
            return fault(vcpu, VECTOR_GP);
        vcpu->vmx.dr[index] = stored(index, value);
        vmx_debug_load(&vcpu->vmx);
    }
    vmx_skip_instruction(&vcpu->vmx);
    return EXIT_RESUME;
}
