/* Debug registers and debug exceptions: whose #DB it is, and what the guest is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/chunk.h"
#include "test/unit/exit_rig.h"

#define DR7_GD    UINT64_C(0x2000)
#define DR6_BD    UINT64_C(0x2000)
#define DR6_BS    UINT64_C(0x4000)
#define DR6_CLEAR UINT64_C(0xffff0ff0)
#define PENDING   VMX_PENDING_DEBUG_ENABLED
#define PORT      0x3f8u
#define WATCHED   0x9004u
#define ON_WRITE  1u
#define ON_PORT   2u
#define LENGTH_4  3u

static void in_64bit_code(void)
{
    fakecpu_this->vmcs[VMCS_GUEST_CS_ACCESS] |= VMX_ACCESS_LONG;
    fakecpu_this->vmcs[VMCS_GUEST_EFER] |= BIT(10);
}

/* MOV to or from DR with RSI. */
static void move(uint8_t dr, bool from)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_DR_ACCESS, .dr = {.dr = dr, .gpr = GPR_RSI, .from = from}};

    assert_int_equal(handle(exit, 3), EXIT_RESUME);
}

static void set(uint8_t dr, uint64_t value)
{
    *reg(GPR_RSI) = value;
    move(dr, false);
    assert_retired(3);
}

static uint64_t get(uint8_t dr)
{
    move(dr, true);
    assert_retired(3);
    return *reg(GPR_RSI);
}

static uint64_t setting(unsigned n, uint64_t kind, uint64_t length)
{
    return BIT(2 * n) | (length << 2 | kind) << (16 + 4 * n);
}

static uint64_t real_dr7(void)
{
    return fakecpu_this->vmcs[VMCS_GUEST_DR7];
}

static void registers_keep_what_they_can(void **state)
{
    (void)state;
    set(2, UINT64_C(0x123456789abcdef0));
    assert_int_equal(get(2), 0x9abcdef0); /* 32-bit code has no upper halves */
    for (uint8_t dr = 4; dr < 8; dr++) {
        set(dr, 0xffffdfff); /* without GD */
        /* SDM 3B 18.2.3, 18.2.4: what is reserved reads as it always does. */
        assert_int_equal(get(dr), dr % 2 ? 0xffff07ff : 0xffffcfff);
    }
    in_64bit_code();
    set(2, UINT64_C(0x123456789abcdef0));
    assert_int_equal(get(2), UINT64_C(0x123456789abcdef0));
    *reg(GPR_RSI) = UINT64_C(1) << 32;
    move(6, false);
    assert_fault(VECTOR_GP);
    move(7, false);
    assert_fault(VECTOR_GP);
}

/* With GD set an access is a fault, before it; the handler finds GD clear, and DR6 says why. */
static void general_detect(void **state)
{
    (void)state;
    set(7, 0x2400);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR7], 0x2400);
    assert_int_equal(real_dr7(), 0x400); /* the exit comes before the processor's own #DB */
    *reg(GPR_RSI) = 0x400;
    move(7, false);
    assert_fault(VECTOR_DB);
    assert_int_equal(vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF, RFLAGS_RF);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR7], 0x400);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR6] & DR6_BD, DR6_BD);
    set(7, 0x400);
}

/* These faults the exit comes before, too. */
static void privilege_and_absent_registers(void **state)
{
    (void)state;
    set(7, DR7_GD);
    fakecpu_this->vmcs[VMCS_GUEST_SS_ACCESS] |= VMX_ACCESS_DPL;
    move(0, false);
    assert_fault(VECTOR_GP);
    vmx_set_cr4(&vcpu->vmx, CR4_DE);
    move(4, true);
    assert_fault(VECTOR_UD);
    move(5, false);
    assert_fault(VECTOR_UD);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR7] & DR7_GD, DR7_GD);
}

/* What is undefined, or a port's, is never loaded, and nothing that matches by accident stays behind. */
static void the_real_registers(void **state)
{
    (void)state;
    set(0, 0x1000);
    set(1, 0x2000);
    set(2, 0x3000);
    set(3, 0x4000);
    assert_int_equal(real_dr7(), 0x400);
    set(7, setting(0, 0, 0) | setting(1, ON_WRITE, LENGTH_4) | setting(2, ON_PORT, 0) |
               setting(3, 0, LENGTH_4) | 0x300);
    assert_int_equal(real_dr7(), 0x400 | 0xf | UINT64_C(0xd) << 20);
    assert_int_equal(fakecpu_this->dr[0], 0x1000);
    assert_int_equal(fakecpu_this->dr[1], 0x2000);
    assert_true(fakecpu_this->dr[2] >> 63 && fakecpu_this->dr[3] >> 63);
    assert_true(vmx_debug_all_used(&vcpu->vmx));
}

static struct vmx_exit debug_exit(uint64_t causes)
{
    return (struct vmx_exit){
        .reason = VMX_EXIT_EXCEPTION_OR_NMI,
        .exception = {.vector = VECTOR_DB, .type = VMX_EVENT_HARDWARE_EXCEPTION, .qualification = causes}};
}

/* The hypervisor's breakpoint takes a register that is free, and moves when the guest takes that. */
static void a_register_is_found(void **state)
{
    (void)state;
    set(0, 0x1000);
    set(7, setting(0, 0, 0));
    vmx_breakpoint_arm(&vcpu->vmx, HERE, false);
    assert_int_equal(real_dr7(), 0x40f);
    assert_int_equal(fakecpu_this->dr[1], HERE);
    assert_int_equal(handle(debug_exit(2), 0), EXIT_BREAKPOINT);
    set(7, setting(0, 0, 0) | setting(1, ON_WRITE, 0));
    assert_int_equal(fakecpu_this->dr[2], HERE);
    assert_int_equal(handle(debug_exit(4), 0), EXIT_BREAKPOINT);
    /* A trap of the guest's comes first, whatever else is told. */
    assert_int_equal(handle(debug_exit(6), 0), EXIT_RESUME);
    assert_fault(VECTOR_DB);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR6], DR6_CLEAR | 2);
    assert_int_equal(handle(debug_exit(4 | DR6_BS), 0), EXIT_RESUME);
    assert_fault(VECTOR_DB);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR6], DR6_CLEAR | DR6_BS);
    vmx_breakpoint_disarm(&vcpu->vmx);
    assert_int_equal(real_dr7(), 0x400 | 0xf | UINT64_C(1) << 20);
    /* The guest's own on the same instruction serves both. */
    set(1, HERE);
    set(7, setting(1, 0, 0));
    vmx_breakpoint_arm(&vcpu->vmx, HERE, false);
    assert_int_equal(real_dr7(), 0x40c);
    assert_int_equal(handle(debug_exit(2), 0), EXIT_BREAKPOINT);
    vmx_breakpoint_disarm(&vcpu->vmx);
    assert_int_equal(handle(debug_exit(2), 0), EXIT_RESUME);
    assert_fault(VECTOR_DB);
}

static void without_a_register_it_steps(void **state)
{
    struct vmx_exit exit;

    (void)state;
    set(7, setting(0, 0, 0) | setting(1, 0, 0) | setting(2, ON_PORT, 0) | setting(3, ON_WRITE, 0));
    vmx_breakpoint_arm(&vcpu->vmx, HERE + 1, false);
    assert_true(vcpu->vmx.stepping);
    *fake_bench_memory(bench, HERE) = 0x90;
    chunk_run(vcpu, 0); /* the page is there from now on */
    vmx_set_rip(&vcpu->vmx, HERE);
    vmx_timer_off(&vcpu->vmx);
    vmx_enter(&vcpu->vmx, &exit);
    assert_int_equal(exit.reason, VMX_EXIT_NMI_WINDOW);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), HERE + 1);
    assert_true(vmx_breakpoint_stepped(&vcpu->vmx));
    assert_int_equal(vmx_get_interruptibility(&vcpu->vmx), 0);
    assert_false(fakecpu_this->vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
    vmx_breakpoint_disarm(&vcpu->vmx);
    assert_false(vmx_breakpoint_stepped(&vcpu->vmx));
}

/* INT1 leaves DR6 as it is. */
static void int1(void **state)
{
    struct vmx_exit exit = debug_exit(0);
    struct vmx_event event;

    (void)state;
    set(6, 1);
    exit.exception.type = VMX_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
    assert_int_equal(handle(exit, 1), EXIT_RESUME);
    vmx_get_event(&vcpu->vmx, &event);
    assert_int_equal(event.info, VMX_INFO_VALID |
                                     VMX_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT |
                                     VECTOR_DB);
    assert_int_equal(event.instruction_length, 1);
    assert_int_equal(vcpu->vmx.dr[GUEST_DR6], DR6_CLEAR | 1);
}

static uint64_t pending_after_port(uint16_t port, uint8_t size)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_IO, .io = {.port = port, .size = size}};

    vmx_set_pending_debug(&vcpu->vmx, 0);
    assert_int_equal(handle(exit, 1), EXIT_ENDED);
    return vmx_get_pending_debug(&vcpu->vmx);
}

/* A trap: it is due when the act is done. An interrupt waits for it. */
static void ports(void **state)
{
    (void)state;
    set(1, PORT + 2);
    set(7, setting(1, ON_PORT, 1));
    assert_int_equal(pending_after_port(PORT, 4), 0); /* R/W = 2 means nothing without CR4.DE */
    vmx_set_cr4(&vcpu->vmx, CR4_DE);
    assert_int_equal(pending_after_port(PORT, 4), PENDING | 2);
    assert_int_equal(pending_after_port(PORT + 3, 1), PENDING | 2);
    assert_int_equal(pending_after_port(PORT, 2), 0);
    assert_int_equal(pending_after_port(PORT + 4, 4), 0);
    assert_int_equal(pending_after_port(PORT + 1, 2), PENDING | 2);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    assert_false(vmx_can_take_interrupt(&vcpu->vmx));
}

/* What the hypervisor stores or loads for an instruction matches, too. */
static void accesses_by_the_hypervisor(void **state)
{
    (void)state;
    set(0, WATCHED);
    set(3, WATCHED);
    set(7, setting(0, ON_WRITE, LENGTH_4) | setting(3, 3, 0));
    vmx_debug_access(&vcpu->vmx, WATCHED + 4, 8, true);
    vmx_debug_access(&vcpu->vmx, WATCHED - 8, 8, true);
    vmx_debug_access(&vcpu->vmx, WATCHED + 1, 2, false);
    assert_int_equal(vmx_get_pending_debug(&vcpu->vmx), 0);
    vmx_debug_access(&vcpu->vmx, WATCHED - 1, 2, false);
    assert_int_equal(vmx_get_pending_debug(&vcpu->vmx), PENDING | 8);
    vmx_debug_access(&vcpu->vmx, WATCHED + 3, 1, true);
    assert_int_equal(vmx_get_pending_debug(&vcpu->vmx), PENDING | 9);
}

/* RF is the guest's where it has a breakpoint; elsewhere no event pushes it. */
static void interrupts_keep_the_guests_resume_flag(void **state)
{
    (void)state;
    set(0, HERE);
    for (unsigned on = 0; on < 2; on++) {
        set(7, on ? setting(0, 0, 0) : 0);
        vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_RF);
        vcpu->state->nmi_pending = 1;
        vmx_set_interruptibility(&vcpu->vmx, 0);
        vcpu_deliver(vcpu);
        assert_int_equal((vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF) != 0, on);
        fakecpu_this->vmcs[VMCS_ENTRY_INTERRUPTION_INFO] = 0;
    }
}

/* The access of an instruction whose breakpoint has fired leads to a copy of the page, and starts again. */
static void a_violation_does_not_repeat_a_breakpoint(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION, .ept = {.gpa = gpa(WATCHED), .write = true}};

    (void)state;
    set(0, HERE);
    for (unsigned on = 0; on < 2; on++) {
        set(7, on ? setting(0, 0, 0) : 0);
        assert_int_equal(handle(exit, 0), EXIT_RESUME);
        assert_int_equal((vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF) != 0, on);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_keep_what_they_can),
        TEST(general_detect),
        TEST(privilege_and_absent_registers),
        TEST(the_real_registers),
        TEST(a_register_is_found),
        TEST(without_a_register_it_steps),
        TEST(int1),
        TEST(ports),
        TEST(accesses_by_the_hypervisor),
        TEST(interrupts_keep_the_guests_resume_flag),
        TEST(a_violation_does_not_repeat_a_breakpoint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
