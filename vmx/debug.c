/*
 * The debug registers (SDM 3B 18.2): the guest's own breakpoints are in the real ones while it runs, and the
 * hypervisor's breakpoint is in one that the guest leaves free.
 */
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* SDM 3B 18.2.4: bit 10 is always 1. Of each register: L and G, R/W, LEN. */
#define DR7_ONE            UINT64_C(0x400)
#define DR7_GD             UINT64_C(0x2000)
#define DR7_ENABLE(n)      (UINT64_C(3) << 2 * (n))
#define DR7_SETTING(n)     (UINT64_C(0xf) << (16 + 4 * (n)))
#define DR7_RW(dr7, n)     ((dr7) >> (16 + 4 * (n)) & 3)
#define DR7_LENGTH(dr7, n) ((dr7) >> (18 + 4 * (n)) & 3)
#define RW_EXECUTE         0u
#define RW_PORT            2u
#define RW_DATA            1u /* a bit of both kinds: 1 for writes, 3 for reads, too */
#define RW_ACCESS          3u

/* Not canonical: no address ever matches it. */
#define NOWHERE (UINT64_C(1) << 63)

#define DR6_BD UINT64_C(0x2000)
#define DR6_BS UINT64_C(0x4000)

static bool enabled(uint64_t dr7, unsigned n)
{
    return (dr7 & DR7_ENABLE(n)) != 0;
}

/* Another length than 1 is undefined for instructions: such a breakpoint is never loaded. */
static bool is_execute(uint64_t dr7, unsigned n)
{
    return enabled(dr7, n) && DR7_RW(dr7, n) == RW_EXECUTE && DR7_LENGTH(dr7, n) == 0;
}

static bool is_data(uint64_t dr7, unsigned n)
{
    return enabled(dr7, n) && (DR7_RW(dr7, n) & RW_DATA);
}

static bool overlap(const struct vmx_vcpu *vcpu, unsigned n, uint64_t address, uint32_t bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint64_t length = lengths[DR7_LENGTH(vcpu->dr[GUEST_DR7], n)];
    uint64_t first = vcpu->dr[n] & ~(length - 1);

    return first <= address ? address - first < length : first - address < bytes;
}

static bool any_enabled(const struct vmx_vcpu *vcpu)
{
    return (vcpu->dr[GUEST_DR7] & 0xff) != 0;
}

/* Those of the guest's registers that are in the real ones. */
static uint32_t loaded(const struct vmx_vcpu *vcpu)
{
    uint64_t dr7 = vcpu->dr[GUEST_DR7];
    uint32_t mask = 0;

    for (unsigned n = 0; any_enabled(vcpu) && n < VMX_BREAKPOINTS; n++) {
        if (is_execute(dr7, n) || is_data(dr7, n)) {
            mask |= 1u << n;
        }
    }
    return mask;
}

bool vmx_debug_all_used(const struct vmx_vcpu *vcpu)
{
    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if (!enabled(vcpu->dr[GUEST_DR7], n)) {
            return false;
        }
    }
    return true;
}

bool vmx_debug_any_used(const struct vmx_vcpu *vcpu)
{
    return any_enabled(vcpu);
}

uint64_t vmx_debug_here(struct vmx_vcpu *vcpu)
{
    uint64_t linear, causes = 0;

    if (!any_enabled(vcpu)) {
        return 0;
    }
    linear = vmx_get_linear_rip(vcpu);
    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if (is_execute(vcpu->dr[GUEST_DR7], n) && vcpu->dr[n] == linear) {
            causes |= BIT(n);
        }
    }
    return causes;
}

static void pend(struct vmx_vcpu *vcpu, uint64_t causes)
{
    if (causes) {
        vmx_set_pending_debug(vcpu, vmx_get_pending_debug(vcpu) | causes | VMX_PENDING_DEBUG_ENABLED);
    }
}

void vmx_debug_access(struct vmx_vcpu *vcpu, uint64_t linear, uint32_t bytes, bool write)
{
    uint64_t dr7 = vcpu->dr[GUEST_DR7], causes = 0;

    for (unsigned n = 0; any_enabled(vcpu) && n < VMX_BREAKPOINTS; n++) {
        if (is_data(dr7, n) && (write || DR7_RW(dr7, n) == RW_ACCESS) && overlap(vcpu, n, linear, bytes)) {
            causes |= BIT(n);
        }
    }
    pend(vcpu, causes);
}

void vmx_debug_port(struct vmx_vcpu *vcpu, uint16_t port, uint32_t bytes)
{
    uint64_t dr7 = vcpu->dr[GUEST_DR7], causes = 0;

    if (!any_enabled(vcpu) || !(vmx_get_cr4(vcpu) & CR4_DE)) {
        return;
    }
    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if (enabled(dr7, n) && DR7_RW(dr7, n) == RW_PORT && overlap(vcpu, n, port, bytes)) {
            causes |= BIT(n);
        }
    }
    pend(vcpu, causes);
}

/* ---- The real registers ---- */

/* MOV DR is slow, and these hardly ever change. */
static void write_real(struct vmx_vcpu *vcpu, unsigned n, uint64_t value)
{
    if (vcpu->real_dr[n] == value) {
        return;
    }
    vcpu->real_dr[n] = value;
    switch (n) {
    case 0:
        write_dr0(value);
        break;
    case 1:
        write_dr1(value);
        break;
    case 2:
        write_dr2(value);
        break;
    default:
        write_dr3(value);
        break;
    }
}

void vmx_debug_init(struct vmx_vcpu *vcpu)
{
    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        vcpu->real_dr[n] = ~UINT64_C(0);
        write_real(vcpu, n, 0);
    }
    vcpu->breakpoint_armed = vcpu->step_wanted = false;
    vcpu->real_dr7 = 0;
    vmx_debug_load(vcpu);
}

/*
 * The register for the hypervisor's breakpoint: one of the guest's that is the same, or one that the guest
 * does not enable, not even for ports; VMX_BREAKPOINTS: there is none.
 */
static unsigned choose_register(const struct vmx_vcpu *vcpu)
{
    uint64_t dr7 = vcpu->dr[GUEST_DR7];
    unsigned n;

    for (n = 0; n < VMX_BREAKPOINTS; n++) {
        if (is_execute(dr7, n) && vcpu->dr[n] == vcpu->breakpoint) {
            return n;
        }
    }
    for (n = 0; n < VMX_BREAKPOINTS && enabled(dr7, n); n++) {
    }
    return n;
}

void vmx_debug_load(struct vmx_vcpu *vcpu)
{
    uint64_t dr7 = vcpu->dr[GUEST_DR7], real = DR7_ONE;
    uint32_t used = loaded(vcpu);

    vcpu->executes = vcpu->stepping = false;
    for (unsigned n = 0; any_enabled(vcpu) && n < VMX_BREAKPOINTS; n++) {
        if (!(used & 1u << n)) {
            write_real(vcpu, n, NOWHERE); /* matches are told even of what is not enabled */
            continue;
        }
        real |= DR7_ENABLE(n) | (dr7 & DR7_SETTING(n));
        write_real(vcpu, n, vcpu->dr[n]);
        vcpu->executes |= is_execute(dr7, n);
    }
    if (vcpu->breakpoint_armed) {
        unsigned own = vcpu->step_wanted ? VMX_BREAKPOINTS : choose_register(vcpu);

        vcpu->breakpoint_register = (uint8_t)own;
        vcpu->stepping = own == VMX_BREAKPOINTS;
        if (!vcpu->stepping) {
            real |= DR7_ENABLE(own);
            write_real(vcpu, own, vcpu->breakpoint);
            vcpu->executes = true;
        }
    }
    if (real != vcpu->real_dr7) {
        vmcs_write(VMCS_GUEST_DR7, real);
        vcpu->real_dr7 = real;
    }
}

void vmx_breakpoint_arm(struct vmx_vcpu *vcpu, uint64_t linear, bool step)
{
    vcpu->breakpoint_armed = true;
    vcpu->breakpoint = linear;
    vcpu->step_wanted = step;
    vmx_debug_load(vcpu);
}

void vmx_breakpoint_disarm(struct vmx_vcpu *vcpu)
{
    if (vcpu->breakpoint_armed) {
        vcpu->breakpoint_armed = false;
        vmx_debug_load(vcpu);
    }
}

/* A trap of the instruction before is the guest's and comes first; the breakpoint fires after it. */
bool vmx_breakpoint_hit(const struct vmx_vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t traps = DR6_BS, dr7 = vcpu->dr[GUEST_DR7];

    if (!vcpu->breakpoint_armed || vcpu->stepping || exit->reason != VMX_EXIT_EXCEPTION_OR_NMI ||
        exit->entry_failed || exit->exception.vector != VECTOR_DB ||
        exit->exception.type != VMX_EVENT_HARDWARE_EXCEPTION) {
        return false;
    }
    for (unsigned n = 0; any_enabled(vcpu) && n < VMX_BREAKPOINTS; n++) {
        if (enabled(dr7, n) && !is_execute(dr7, n)) {
            traps |= BIT(n);
        }
    }
    return (exit->exception.qualification & (BIT(vcpu->breakpoint_register) | traps)) ==
           BIT(vcpu->breakpoint_register);
}

/* ---- Single steps, where no register is free ---- */

void vmx_step_begin(struct vmx_vcpu *vcpu)
{
    uint32_t blocking = vmx_get_interruptibility(vcpu);
    uint64_t rflags = vmx_get_rflags(vcpu);
    struct vmx_event event;

    vcpu->step_entered = vcpu->step_forged = vcpu->stepped = false;
    if (!vcpu->stepping) {
        return;
    }
    vcpu->step_rip = vmx_get_rip(vcpu);
    vmx_get_event(vcpu, &event);
    vcpu->step_blocking = blocking;
    vcpu->step_window = (vcpu->controls.word[VMX_WORD_PRIMARY] & PRIMARY_NMI_WINDOW) != 0;
    if (!(event.info & VMX_INFO_VALID) && !(blocking & VMX_BLOCKING_BY_MOV_SS)) {
        /* The guest's own trap ends each instruction; its own breakpoint comes before this one. */
        if ((rflags & RFLAGS_TF) || (!(rflags & RFLAGS_RF) && vmx_debug_here(vcpu))) {
            return;
        }
        if (!(blocking & VMX_BLOCKING_BY_NMI) && !vmx_debug_pending(vcpu)) {
            vcpu->step_forged = true;
            vmx_set_interruptibility(vcpu, (blocking & ~VMX_SHADOWS) | VMX_BLOCKING_BY_MOV_SS);
        }
    }
    vcpu->step_entered = true;
    vmx_nmi_window(vcpu, true);
}

void vmx_step_end(struct vmx_vcpu *vcpu)
{
    uint32_t blocking;

    if (!vcpu->step_entered) {
        return;
    }
    vmx_nmi_window(vcpu, vcpu->step_window);
    vcpu->stepped = (vcpu->raw.reason & (VMX_REASON_BASIC | VMX_REASON_ENTRY_FAILS)) == VMX_EXIT_NMI_WINDOW;
    if (!vcpu->step_forged || vcpu->raw.rip != vcpu->step_rip) {
        return;
    }
    /* The instruction has not come to its end: the shadow is the one that we made. */
    blocking = vmx_get_interruptibility(vcpu);
    if (blocking & VMX_BLOCKING_BY_MOV_SS) {
        vmx_set_interruptibility(vcpu, (blocking & ~VMX_SHADOWS) | (vcpu->step_blocking & VMX_SHADOWS));
    }
}

/* An instruction that the hypervisor executed has come to its end, too. */
bool vmx_breakpoint_stepped(struct vmx_vcpu *vcpu)
{
    struct vmx_event event;

    if (!vcpu->stepping || (!vcpu->stepped && vmx_get_rip(vcpu) == vcpu->step_rip)) {
        return false;
    }
    vmx_get_event(vcpu, &event);
    return !(event.info & VMX_INFO_VALID) && vmx_get_linear_rip(vcpu) == vcpu->breakpoint;
}

/* ---- #DB ---- */

/* A debug trap of the instruction before comes first, and an injected event would lose it (SDM 3C 27.7.3). */
bool vmx_debug_pending(struct vmx_vcpu *vcpu)
{
    return (vmx_get_pending_debug(vcpu) & (VMX_PENDING_DEBUG_BS | VMX_PENDING_DEBUG_ENABLED)) != 0;
}

static void inject_debug(struct vmx_vcpu *vcpu, enum vmx_event_type type, uint32_t length)
{
    struct vmx_event event = {.info = VMX_INFO_VALID | (uint32_t)type << VMX_INFO_TYPE_SHIFT | VECTOR_DB,
                              .instruction_length = length};

    vcpu->dr[GUEST_DR7] &= ~DR7_GD; /* off in the handler (SDM 3B 18.2.4) */
    vmx_inject(vcpu, &event);
}

void vmx_debug_raise(struct vmx_vcpu *vcpu, uint64_t causes)
{
    vcpu->dr[GUEST_DR6] = vmx_debug_status(vcpu->dr[GUEST_DR6], causes);
    inject_debug(vcpu, VMX_EVENT_HARDWARE_EXCEPTION, 0);
}

/* The bits of registers that are not enabled may be set as well, and one of them is ours (SDM 3C table 28-1).
 */
static uint64_t own_causes(const struct vmx_vcpu *vcpu, uint64_t qualification)
{
    uint64_t causes = qualification & (DR6_BD | DR6_BS);

    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if (enabled(vcpu->dr[GUEST_DR7], n)) {
            causes |= qualification & BIT(n);
        }
    }
    return causes;
}

void vmx_deliver_debug(struct vmx_vcpu *vcpu, const struct vmx_exit_exception *exception)
{
    /* INT1 is a #DB without a cause in DR6. */
    if (exception->type == VMX_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION) {
        inject_debug(vcpu, VMX_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, vcpu->raw.instruction_length);
    } else {
        vmx_debug_raise(vcpu, own_causes(vcpu, exception->qualification));
    }
}
