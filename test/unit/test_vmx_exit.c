/* The exit decoder, by tables of raw words, and the rules for events whose delivery an exit interrupted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu/trap.h"
#include "vmx/exit.h"

static struct vmx_exit decode(struct vmx_exit_raw raw)
{
    struct vmx_exit exit;

    vmx_exit_decode(&raw, &exit);
    return exit;
}

static void io(void **state)
{
    struct vmx_exit e;

    (void)state;
    /* OUT DX, AL to 3F8H */
    e = decode((struct vmx_exit_raw){
        .reason = VMX_EXIT_IO, .qualification = 0x03F80000, .instruction_length = 1, .rip = 0x1000});
    assert_int_equal(e.reason, VMX_EXIT_IO);
    assert_int_equal(e.io.port, 0x3F8);
    assert_int_equal(e.io.size, 1);
    assert_false(e.io.in || e.io.string || e.io.rep || e.io.immediate);
    assert_int_equal(e.instruction_length, 1);
    assert_int_equal(e.rip, 0x1000);
    /* IN EAX, 60H */
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_IO, .qualification = 0x0060004B});
    assert_int_equal(e.io.size, 4);
    assert_true(e.io.in && e.io.immediate);
    /* REP OUTSW with FS, 32-bit addresses */
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_IO,
                                     .qualification = 0x12340031,
                                     .instruction_info = (1u << 7) | (4u << 15),
                                     .gla = 0xABCDE});
    assert_int_equal(e.io.size, 2);
    assert_true(e.io.string && e.io.rep && !e.io.in);
    assert_int_equal(e.io.address, 4);
    assert_int_equal(e.io.segment, SEGMENT_FS);
    assert_int_equal(e.io.gla, 0xABCDE);
    /* INSB with 64-bit addresses: ES, whatever the segment bits say */
    e = decode((struct vmx_exit_raw){
        .reason = VMX_EXIT_IO, .qualification = 0x12340018, .instruction_info = (2u << 7) | (5u << 15)});
    assert_int_equal(e.io.address, 8);
    assert_int_equal(e.io.segment, SEGMENT_ES);
}

static void control_and_debug_registers(void **state)
{
    struct vmx_exit e;

    (void)state;
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_CR_ACCESS, .qualification = 0x903}); /* MOV CR3, R9 */
    assert_int_equal(e.cr.cr, 3);
    assert_int_equal(e.cr.kind, VMX_MOV_TO_CR);
    assert_int_equal(e.cr.gpr, GPR_R9);
    e = decode(
        (struct vmx_exit_raw){.reason = VMX_EXIT_CR_ACCESS, .qualification = 0x418}); /* MOV RSP, CR8 */
    assert_int_equal(e.cr.cr, 8);
    assert_int_equal(e.cr.kind, VMX_MOV_FROM_CR);
    assert_int_equal(e.cr.gpr, GPR_RSP);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_CR_ACCESS, .qualification = 0x20});
    assert_int_equal(e.cr.kind, VMX_CLTS);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_CR_ACCESS, .qualification = 0x00110070});
    assert_int_equal(e.cr.kind, VMX_LMSW);
    assert_true(e.cr.memory);
    assert_int_equal(e.cr.source, 0x11);
    e = decode(
        (struct vmx_exit_raw){.reason = VMX_EXIT_DR_ACCESS, .qualification = 0xF17}); /* MOV R15, DR7 */
    assert_int_equal(e.dr.dr, 7);
    assert_true(e.dr.from);
    assert_int_equal(e.dr.gpr, GPR_R15);
}

static void ept_violation(void **state)
{
    struct vmx_exit e;

    (void)state;
    /* A write to a read-only, executable page. */
    e = decode((struct vmx_exit_raw){
        .reason = VMX_EXIT_EPT_VIOLATION, .qualification = 0x1AA, .gpa = 0x5008, .gla = 0x7008});
    assert_true(e.ept.write && !e.ept.read && !e.ept.fetch);
    assert_true(e.ept.readable && !e.ept.writable && e.ept.executable);
    assert_true(e.ept.gla_valid && !e.ept.page_walk && !e.ept.nmi_unblocking);
    assert_int_equal(e.ept.gpa.raw, 0x5008);
    assert_int_equal(e.ept.gla.raw, 0x7008);
    /* The page walker sets an accessed bit: read and write, bit 8 clear. */
    e = decode(
        (struct vmx_exit_raw){.reason = VMX_EXIT_EPT_VIOLATION, .qualification = 0x108B, .gla = 0x7008});
    assert_true(e.ept.page_walk && e.ept.read && e.ept.write && e.ept.nmi_unblocking);
    /* Without a linear address (PDPTEs of MOV CR3), bit 8 means nothing. */
    e = decode(
        (struct vmx_exit_raw){.reason = VMX_EXIT_EPT_VIOLATION, .qualification = 0x001, .gla = 0x7008});
    assert_false(e.ept.gla_valid || e.ept.page_walk);
    assert_int_equal(e.ept.gla.raw, 0);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_EPT_MISCONFIGURATION, .gpa = 0xFEE00000});
    assert_int_equal(e.ept.gpa.raw, 0xFEE00000);
}

static void exceptions(void **state)
{
    struct vmx_exit e;

    (void)state;
    e = decode((struct vmx_exit_raw){.interruption_info = 0x80000301, .qualification = 0x4001});
    assert_int_equal(e.exception.vector, VECTOR_DB);
    assert_int_equal(e.exception.type, VMX_EVENT_HARDWARE_EXCEPTION);
    assert_false(e.host_nmi || e.exception.error_valid);
    assert_int_equal(e.exception.qualification, 0x4001);
    e = decode((struct vmx_exit_raw){.interruption_info = 0x80000202});
    assert_true(e.host_nmi);
    e = decode((struct vmx_exit_raw){
        .interruption_info = 0x80001B0E, .interruption_error = 6, .qualification = 0x4444});
    assert_true(e.exception.error_valid && e.exception.nmi_unblocking);
    assert_int_equal(e.exception.error, 6);
    assert_int_equal(e.exception.qualification, 0x4444);
}

static void others(void **state)
{
    struct vmx_exit e;

    (void)state;
    e = decode((struct vmx_exit_raw){
        .reason = VMX_EXIT_WRMSR, .rcx = 0xFFFFFFFFC0000082, .rdx = 0x1FFFFFFFF, .rax = 0x2000000081});
    assert_int_equal(e.msr.index, 0xC0000082);
    assert_true(e.msr.value == UINT64_C(0xFFFFFFFF00000081));
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_INVLPG, .qualification = 0x123000});
    assert_int_equal(e.invlpg.raw, 0x123000);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_TASK_SWITCH, .qualification = 0x80000028});
    assert_int_equal(e.task_switch.selector, 0x28);
    assert_int_equal(e.task_switch.source, VMX_TASK_JMP);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_RDRAND, .instruction_info = (11u << 3) | (2u << 11)});
    assert_int_equal(e.random.gpr, GPR_R11);
    assert_int_equal(e.random.size, 8);
    e = decode((struct vmx_exit_raw){.reason = VMX_EXIT_RDSEED, .instruction_info = 0});
    assert_int_equal(e.random.size, 2);
    e = decode((struct vmx_exit_raw){.reason = 0x80000021, .qualification = 3});
    assert_true(e.entry_failed);
    assert_int_equal(e.reason, VMX_EXIT_INVALID_GUEST_STATE);
    assert_int_equal(e.qualification, 3);
}

/* Any words decode without harm. */
static void total(void **state)
{
    struct vmx_exit_raw raw;

    (void)state;
    memset(&raw, 0xFF, sizeof(raw));
    for (uint32_t reason = 0; reason < 0x200; reason++) {
        raw.reason = reason;
        (void)decode(raw);
        assert_non_null(vmx_exit_name(reason));
    }
    assert_string_equal(vmx_exit_name(35), "reserved");
    assert_string_equal(vmx_exit_name(VMX_EXIT_REASON_COUNT), "reserved");
    assert_string_equal(vmx_exit_name(VMX_EXIT_HLT), "HLT");
    assert_int_equal(vmx_exit_needs(0xFFFF), 0);
    assert_int_equal(vmx_exit_needs(VMX_EXIT_PREEMPTION_TIMER), 0);
    assert_int_equal(vmx_exit_needs(VMX_EXIT_EPT_VIOLATION),
                     VMX_NEED_QUALIFICATION | VMX_NEED_GPA | VMX_NEED_GLA);
    assert_int_equal(vmx_exit_needs(0x80000021), VMX_NEED_QUALIFICATION);
}

struct reinject_case {
    const char *text;
    struct vmx_exit_raw raw;
    uint32_t before, after;
    struct vmx_event event;
};

static const struct reinject_case reinject_cases[] = {
    {"nothing was delivered", {.reason = VMX_EXIT_EPT_VIOLATION}, 0x2, 0x2, {0}},
    {"an interrupt: again, without undefined bit 12",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80001030, .idt_vectoring_error = 9},
     0,
     0,
     {.info = 0x80000030}},
    {"a page fault keeps its error code",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000B0E, .idt_vectoring_error = 6},
     0,
     0,
     {.info = 0x80000B0E, .error = 6}},
    {"INT n keeps its length",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000480, .idt_instruction_length = 2},
     0,
     0,
     {.info = 0x80000480, .instruction_length = 2}},
    {"INT1 and INT3 too",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000501, .idt_instruction_length = 1},
     0,
     0,
     {.info = 0x80000501, .instruction_length = 1}},
    {"a hardware exception has no length",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000306, .idt_instruction_length = 2},
     0,
     0,
     {.info = 0x80000306}},
    {"an NMI must not find NMIs blocked",
     {.reason = VMX_EXIT_EPT_VIOLATION, .qualification = 0x1000, .idt_vectoring_info = 0x80000202},
     0x8,
     0,
     {.info = 0x80000202}},
    {"an interrupt leaves NMI blocking alone",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000030},
     0x8,
     0x8,
     {.info = 0x80000030}},
    {"a shadow ends with the delivery",
     {.reason = VMX_EXIT_EPT_VIOLATION, .idt_vectoring_info = 0x80000306},
     0x2,
     0,
     {.info = 0x80000306}},
    {"an IRET that violated EPT blocks NMIs again",
     {.reason = VMX_EXIT_EPT_VIOLATION, .qualification = 0x1001},
     0,
     0x8,
     {0}},
    {"an IRET that faulted does, too", {.interruption_info = 0x80001B0D}, 0, 0x8, {0}},
    {"but for a double fault", {.interruption_info = 0x80001B08}, 0, 0, {0}},
    {"a full PML log counts like a violation",
     {.reason = VMX_EXIT_PML_FULL, .qualification = 0x1000},
     0,
     0x8,
     {0}},
    {"bit 12 means nothing elsewhere", {.reason = VMX_EXIT_CR_ACCESS, .qualification = 0x1000}, 0, 0, {0}},
};

static void reinjection(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reinject_cases); i++) {
        const struct reinject_case *c = &reinject_cases[i];
        struct vmx_event event;
        uint32_t after = vmx_reinject_event(&c->raw, c->before, &event);

        if (after != c->after || memcmp(&event, &c->event, sizeof(event)) != 0) {
            fail_msg("%s: interruptibility %x, event %x %x %u", c->text, after, event.info, event.error,
                     (unsigned)event.instruction_length);
        }
    }
}

static void debug_status(void **state)
{
    (void)state;
    /* B0-B3 go, since they tell of the hypervisor's breakpoint; BS and BD join; reserved bits do not. */
    assert_int_equal(vmx_debug_status(0xFFFF0FF3, 0x4000), 0xFFFF4FF0);
    assert_int_equal(vmx_debug_status(0xFFFF4FF2, 0x11001), 0xFFFF4FF1);
    assert_int_equal(vmx_debug_status(0xFFFF0FF0, 0x2000), 0xFFFF2FF0);
}

static void next_rip(void **state)
{
    (void)state;
    assert_true(vmx_next_rip(UINT64_C(0xFFFFFFFF), 2, true) == UINT64_C(0x100000001));
    assert_int_equal(vmx_next_rip(0xFFFFFFFF, 2, false), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io),
        cmocka_unit_test(control_and_debug_registers),
        cmocka_unit_test(ept_violation),
        cmocka_unit_test(exceptions),
        cmocka_unit_test(others),
        cmocka_unit_test(total),
        cmocka_unit_test(reinjection),
        cmocka_unit_test(debug_status),
        cmocka_unit_test(next_rip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
