/* VM exits, handled one by one: what each does to the vCPU, and which are faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/chunk.h"
#include "hv/exit_table.h"
#include "test/unit/exit_rig.h"

/* ---- The table ---- */

static void every_reason_has_a_rule(void **state)
{
    (void)state;
    for (uint32_t reason = 0; reason < 200; reason++) {
        struct exit_rule rule = exit_rule(reason);
        bool handled = rule.class != EXIT_CLASS_REFUSED && rule.class != EXIT_CLASS_IMPOSSIBLE;
        assert_int_equal(rule.known, strcmp(vmx_exit_name(reason), "reserved") != 0);
        assert_true(rule.class <= EXIT_CLASS_IMPOSSIBLE && rule.handler < EXIT_HANDLE_COUNT);
        assert_int_equal(rule.handler != EXIT_HANDLE_NONE, handled);
        if (!rule.known)
            assert_int_equal(rule.class, EXIT_CLASS_REFUSED);
    }
}

static void unknown_reasons_are_refused(void **state)
{
    static const uint32_t reasons[] = {35, 38, 42, 71, 78, 1000, VMX_EXIT_TASK_SWITCH};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        assert_int_equal(handle_plain(reasons[i], 0), EXIT_ENDED);
        assert_int_equal(vcpu->end, REC_END_REFUSED);
        assert_int_equal(vcpu->act.kind, ACT_END);
        assert_int_equal(vcpu->act.outcome, REC_OUTCOME_REFUSED);
        assert_non_null(strstr(vcpu->act.reason, "VM exit"));
    }
    assert_non_null(strstr(vcpu->act.reason, "task switch"));
}

static void a_failed_entry_is_refused(void **state)
{
    (void)state;
    assert_int_equal(
        handle((struct vmx_exit){.reason = VMX_EXIT_INVALID_GUEST_STATE, .entry_failed = true}, 0),
        EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_REFUSED);
}

static void absent_instructions_are_undefined(void **state)
{
    static const uint32_t reasons[] = {VMX_EXIT_VMCALL, VMX_EXIT_GETSEC, VMX_EXIT_MWAIT, VMX_EXIT_INVPCID,
                                       VMX_EXIT_VMXON,  VMX_EXIT_INVEPT, VMX_EXIT_TPAUSE};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        assert_int_equal(handle_plain(reasons[i], 3), EXIT_RESUME);
        assert_fault(VECTOR_UD);
    }
    assert_int_equal(handle_plain(VMX_EXIT_RDPMC, 2), EXIT_RESUME);
    assert_fault(VECTOR_GP);
}

static void caches_are_not_modelled(void **state)
{
    (void)state;
    assert_int_equal(handle_plain(VMX_EXIT_WBINVD, 2), EXIT_RESUME);
    assert_retired(2);
    assert_int_equal(handle_plain(VMX_EXIT_INVD, 2), EXIT_RESUME);
    assert_retired(2);
}

/* ---- What only the vCPU sees ---- */

static void cpuid_is_the_model(void **state)
{
    struct cpuid_context context = {
        .cr4 = 0, .xcr0 = 1, .tsc_hz = vm->tsc_hz, .vcpu = 0, .n_vcpus = 2, .apic_enabled = 1};

    (void)state;
    for (uint32_t leaf = 0; leaf < 0x20; leaf++) {
        struct cpuid_answer answer = cpuid_model(leaf, 1, &context);
        *reg(GPR_RAX) = UINT64_C(0xffffffff00000000) | leaf;
        *reg(GPR_RCX) = 1;
        assert_int_equal(handle_plain(VMX_EXIT_CPUID, 2), EXIT_RESUME);
        assert_retired(2);
        assert_int_equal(*reg(GPR_RAX), answer.eax);
        assert_int_equal(*reg(GPR_RBX), answer.ebx);
        assert_int_equal(*reg(GPR_RCX), answer.ecx);
        assert_int_equal(*reg(GPR_RDX), answer.edx);
    }
}

static void time_reads_rise(void **state)
{
    uint64_t last = vcpu->time_base;

    (void)state;
    assert_false(vcpu->time_used);
    for (uint64_t i = 1; i <= 10; i++) {
        bool with_aux = i % 2;
        uint64_t now;
        *reg(GPR_RCX) = 7;
        assert_int_equal(handle_plain(with_aux ? VMX_EXIT_RDTSCP : VMX_EXIT_RDTSC, 2), EXIT_RESUME);
        assert_retired(2);
        now = *reg(GPR_RDX) << 32 | *reg(GPR_RAX);
        assert_int_equal(now, last + vm->time_stride);
        assert_int_equal(vcpu->time_reads, i);
        assert_int_equal(vcpu->state->time_reads, i);
        assert_int_equal(*reg(GPR_RCX), with_aux ? 0 : 7);
        last = now;
    }
    assert_true(vcpu->time_used);
}

static void random_numbers(void **state)
{
    struct vrandom expected = vcpu->state->random;
    struct vmx_exit exit = {.reason = VMX_EXIT_RDRAND, .random = {.gpr = GPR_RBX, .size = 8}};

    (void)state;
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_ZF | RFLAGS_OF | RFLAGS_IF);
    assert_int_equal(handle(exit, 3), EXIT_RESUME);
    assert_retired(3);
    assert_int_equal(*reg(GPR_RBX), vrandom_next(&expected));
    assert_int_equal(vmx_get_rflags(&vcpu->vmx), RFLAGS_ONE | RFLAGS_IF | RFLAGS_CF);
    exit.random.size = 4;
    handle(exit, 3);
    assert_int_equal(*reg(GPR_RBX), (uint32_t)vrandom_next(&expected));
    exit.random.size = 2;
    *reg(GPR_RBX) = UINT64_C(0x1234567812345678);
    handle(exit, 3);
    assert_int_equal(*reg(GPR_RBX), UINT64_C(0x1234567812340000) | (vrandom_next(&expected) & 0xffff));
}

static void xsetbv_checks(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t value;
        bool valid;
    } tries[] = {{0, 3, true},  {0, 7, true},  {0, 1, true},  {1, 7, false},
                 {0, 0, false}, {0, 5, false}, {0, 15, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct vmx_exit exit = {.reason = VMX_EXIT_XSETBV,
                                .msr = {.index = tries[i].index, .value = tries[i].value}};
        assert_int_equal(handle(exit, 3), EXIT_RESUME);
        if (!tries[i].valid) {
            assert_fault(VECTOR_GP);
            continue;
        }
        assert_retired(3);
        assert_int_equal(vcpu->state->xcr0, tries[i].value);
        assert_int_equal(fakecpu_this->xcr0, tries[i].value);
    }
    assert_int_equal(vcpu->state->xcr0, 1);
}

/* ---- Ends ---- */

static void port_accesses(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_IO, .io = {.port = 0x3f8, .size = 2}};

    (void)state;
    *reg(GPR_RAX) = UINT64_C(0x1122334455667788);
    assert_int_equal(handle(exit, 1), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_IO);
    assert_int_equal(vcpu->act.kind, ACT_OUT);
    assert_int_equal(vcpu->act.value, 0x7788);
    assert_int_equal(vcpu->completion.length, 1);
    assert_int_equal(vcpu->completion.gpr_mask, 0);
    exit.io.in = true;
    assert_int_equal(handle(exit, 1), EXIT_ENDED);
    assert_int_equal(vcpu->act.kind, ACT_IN);
    assert_int_equal(vcpu->completion.gpr, GPR_RAX);
    assert_int_equal(vcpu->completion.gpr_mask, 0xffff);
    exit.io.size = 4;
    handle(exit, 1);
    assert_int_equal(vcpu->completion.gpr_mask, UINT64_MAX); /* a 32-bit result clears the upper half */
    exit.io.string = true;                                   /* which the bytes there are not */
    assert_int_equal(handle(exit, 1), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_REFUSED);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), HERE);
}

/* REP INSW to a page that a 32-bit page table maps, or does not. */
static enum exit_step string_input(uint32_t count, uint32_t to)
{
    static const uint8_t code[] = {0x66, 0xf3, 0x6d};
    struct vmx_exit exit = {.reason = VMX_EXIT_IO,
                            .io = {.port = 0x90, .size = 2, .in = true, .string = true, .rep = true}};

    memcpy(fake_bench_memory(bench, HERE), code, sizeof(code));
    *reg(GPR_RCX) = count;
    *reg(GPR_RDI) = to;
    return handle(exit, sizeof(code));
}

#define TABLES 0x8000u

static void map_pages(uint32_t target_entry)
{
    uint32_t *table = (uint32_t *)(void *)fake_bench_memory(bench, TABLES);
    uint32_t *pages = (uint32_t *)(void *)fake_bench_memory(bench, TABLES + PAGE_SIZE);

    table[0] = (TABLES + PAGE_SIZE) | 7;
    for (uint32_t i = 0; i < 16; i++)
        pages[i] = i << PAGE_SHIFT | 7;
    pages[0x30] = target_entry;
    vmx_set_cr3(&vcpu->vmx, TABLES);
    vmx_set_cr0(&vcpu->vmx, vmx_get_cr0(&vcpu->vmx) | CR0_PG | CR0_PE);
}

static void string_input_faults_before_it_acts(void **state)
{
    struct vmx_event event;

    (void)state;
    map_pages(0);
    assert_int_equal(string_input(2, GUEST_PRIVATE + 8), EXIT_RESUME);
    vmx_get_event(&vcpu->vmx, &event);
    assert_int_equal(event.info & (VMX_INFO_VALID | VMX_INFO_VECTOR), VMX_INFO_VALID | VECTOR_PF);
    assert_int_equal(event.error, 2);
    assert_int_equal(vmx_get_cr2(&vcpu->vmx), GUEST_PRIVATE + 8);
    assert_int_equal(*reg(GPR_RCX), 2);
    assert_int_equal(*reg(GPR_RDI), GUEST_PRIVATE + 8);
}

static void string_input_is_an_act_each(void **state)
{
    const uint32_t *pages;

    (void)state;
    map_pages(GUEST_PRIVATE | 7);
    assert_int_equal(string_input(2, GUEST_PRIVATE + 8), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_IO);
    assert_int_equal(vcpu->act.kind, ACT_IN);
    assert_int_equal(vcpu->completion.memory[0], GUEST_PRIVATE + 8);
    assert_int_equal(vcpu->completion.memory_bytes[0], 2);
    assert_int_equal(vcpu->completion.length, 0);
    assert_int_equal(*reg(GPR_RCX), 1);
    assert_int_equal(*reg(GPR_RDI), GUEST_PRIVATE + 10);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), HERE);
    pages = (const uint32_t *)(const void *)fake_bench_memory(bench, TABLES + PAGE_SIZE);
    assert_int_equal(pages[0x30], GUEST_PRIVATE | 0x67);
    /* The value comes when the next chunk runs; the last iteration retires the instruction. */
    string_input(1, GUEST_PRIVATE + 8);
    assert_int_equal(vcpu->completion.length, 3);
    vcpu->state->completion = vcpu->completion;
    vcpu->state->completion.gpr_value = 0x1234;
    assert_true(chunk_store_input(vcpu));
    assert_int_equal(fake_bench_memory(bench, GUEST_PRIVATE)[8], 0x34);
    assert_int_equal(fake_bench_memory(bench, GUEST_PRIVATE)[9], 0x12);
    assert_retired(3);
    assert_int_equal(string_input(0, GUEST_PRIVATE + 8), EXIT_RESUME);
    assert_retired(3);
}

static void pauses_end_a_chunk(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < vm->pause_limit; i++) {
        assert_int_equal(handle_plain(VMX_EXIT_PAUSE, 2), EXIT_RESUME);
        assert_retired(2);
    }
    assert_int_equal(handle_plain(VMX_EXIT_PAUSE, 2), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_PAUSE);
    assert_int_equal(vcpu->act.kind, ACT_NONE);
    assert_retired(2);
}

static void halt_and_triple_fault(void **state)
{
    (void)state;
    assert_int_equal(handle_plain(VMX_EXIT_HLT, 1), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_HLT);
    assert_int_equal(vcpu->act.kind, ACT_HALT);
    assert_int_equal(vcpu->completion.length, 1);
    assert_int_equal(handle_plain(VMX_EXIT_TRIPLE_FAULT, 0), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_SHUTDOWN);
    assert_int_equal(vcpu->act.outcome, REC_OUTCOME_SHUTDOWN);
    assert_non_null(strstr(vcpu->act.reason, "0x5000"));
}

static void memory_that_is_not_there(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION,
                            .ept = {.gpa = gpa(GUEST_BYTES), .read = true, .page_walk = true}};

    (void)state;
    assert_int_equal(handle(exit, 0), EXIT_ENDED);
    assert_non_null(strstr(vcpu->act.reason, "page table at 0x42000"));
    exit.ept.page_walk = false;
    exit.ept.fetch = true;
    assert_int_equal(handle(exit, 0), EXIT_ENDED);
    assert_non_null(strstr(vcpu->act.reason, "code at 0x42000"));
}

static void the_first_write_copies(void **state)
{
    uint32_t gpn = GUEST_PRIVATE >> PAGE_SHIFT;
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION,
                            .ept = {.gpa = gpa((uint64_t)gpn << PAGE_SHIFT), .write = true}};

    (void)state;
    assert_false(view_has_copy(&vcpu->view, gpn));
    assert_int_equal(handle(exit, 0), EXIT_RESUME);
    assert_true(view_has_copy(&vcpu->view, gpn) && ept_writable(&vcpu->ept, gpn));
    /* A stale translation may bring it here once more. */
    assert_int_equal(handle(exit, 0), EXIT_RESUME);
    assert_int_equal(vcpu->view.copy_count, 1);
}

static void no_page_is_left(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION, .ept = {.write = true}};
    enum exit_step step = EXIT_RESUME;

    (void)state;
    for (uint64_t gpn = 0; gpn < 64 && step == EXIT_RESUME; gpn++) {
        exit.ept.gpa = gpa(gpn << PAGE_SHIFT);
        step = handle(exit, 0);
    }
    assert_int_equal(step, EXIT_NO_PAGE);
    assert_int_equal(vcpu->view.copy_count, 16);
}

/* ---- Events ---- */

static uint32_t event_now(void)
{
    struct vmx_event event;

    vmx_get_event(&vcpu->vmx, &event);
    return event.info;
}

static uint32_t windows(void)
{
    return vcpu->vmx.controls.word[VMX_WORD_PRIMARY] & (PRIMARY_INTERRUPT_WINDOW | PRIMARY_NMI_WINDOW);
}

static void request(uint8_t vector)
{
    vlapic_write(&vcpu->state->lapic, VLAPIC_SVR, 0x1ff, 0);
    vlapic_accept(&vcpu->state->lapic, vector);
    vcpu->irq_check = true;
}

static void nothing_waits(void **state)
{
    (void)state;
    assert_false(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & VMX_INFO_VALID, 0);
    assert_int_equal(windows(), 0);
}

static void interrupts_wait_for_if(void **state)
{
    (void)state;
    request(0x40);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE);
    assert_false(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & VMX_INFO_VALID, 0);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    vmx_set_interruptibility(&vcpu->vmx, VMX_BLOCKING_BY_STI);
    assert_false(vcpu_would_inject(vcpu));
    vmx_set_interruptibility(&vcpu->vmx, 0);
    assert_true(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now(), VMX_INFO_VALID | 0x40);
    assert_int_equal(windows(), 0);
    assert_int_equal(vlapic_pending(&vcpu->state->lapic), -1);
}

/* A REP between two iterations: the frame must not carry RF, or the breakpoint on it is passed over. */
static void resume_flag_is_not_pushed(void **state)
{
    (void)state;
    request(0x40);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF | RFLAGS_RF);
    vcpu_deliver(vcpu);
    assert_int_equal(event_now(), VMX_INFO_VALID | 0x40);
    assert_int_equal(vmx_get_rflags(&vcpu->vmx), RFLAGS_ONE | RFLAGS_IF);
}

static void nmi_comes_first(void **state)
{
    (void)state;
    request(0x40);
    vcpu->state->nmi_pending = 1;
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    vcpu_deliver(vcpu);
    assert_int_equal(event_now(), VMX_INFO_VALID | VMX_EVENT_NMI << VMX_INFO_TYPE_SHIFT | VECTOR_NMI);
    assert_int_equal(vcpu->state->nmi_pending, 0);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
}

static void nmis_are_not_nested(void **state)
{
    (void)state;
    vcpu->state->nmi_pending = 1;
    vmx_set_interruptibility(&vcpu->vmx, VMX_BLOCKING_BY_NMI);
    assert_false(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & VMX_INFO_VALID, 0);
    assert_int_equal(windows(), PRIMARY_NMI_WINDOW);
}

/* What the 8259 pair gave goes before the local APIC's, which is not told. */
static void the_8259_comes_first(void **state)
{
    (void)state;
    request(0x40);
    vcpu->state->extint = VCPU_EXTINT | 0x31;
    assert_false(vcpu_would_inject(vcpu)); /* interrupts are off */
    vcpu_deliver(vcpu);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    assert_true(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & (VMX_INFO_VALID | VMX_INFO_VECTOR), VMX_INFO_VALID | 0x31);
    assert_int_equal(vcpu->state->extint, 0);
    assert_int_equal(vlapic_pending(&vcpu->state->lapic), 0x40);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
}

/* One of the 8259 pair waited when the chunk began: it ends where that can be taken. */
static void a_window_for_the_8259_ends_the_chunk(void **state)
{
    (void)state;
    vcpu->wants_intr = true;
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE);
    vcpu_deliver(vcpu);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
    assert_int_equal(handle_plain(VMX_EXIT_NMI_WINDOW, 0), EXIT_RESUME); /* another window */
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    assert_int_equal(handle_plain(VMX_EXIT_INTERRUPT_WINDOW, 0), EXIT_TIMER);
    vcpu_deliver(vcpu); /* steps to a place for the cut are not held up */
    assert_int_equal(windows(), 0);
}

/* Behind the IRET of a fault's handler no chunk is cut: so the guest goes on for an instruction or two. */
static void a_window_where_no_chunk_is_cut(void **state)
{
    (void)state;
    vcpu->wants_intr = true;
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF | RFLAGS_RF);
    vmx_set_timer(&vcpu->vmx, 1000);
    assert_int_equal(handle_plain(VMX_EXIT_INTERRUPT_WINDOW, 0), EXIT_RESUME);
    assert_in_range(vmx_timer_left(&vcpu->vmx), 0, 2);
    vcpu_deliver(vcpu);
    assert_int_equal(windows(), 0);
}

/* An event that is set already goes first; the other waits behind a window. */
static void one_event_at_a_time(void **state)
{
    (void)state;
    vmx_inject_exception(&vcpu->vmx, VECTOR_GP, 0);
    request(0x40);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF);
    assert_false(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & VMX_INFO_VECTOR, VECTOR_GP);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW);
}

static void an_interrupted_delivery_is_repeated(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION,
                            .ept = {.gpa = gpa(GUEST_STACK), .write = true}};

    (void)state;
    vcpu->vmx.raw = (struct vmx_exit_raw){.reason = exit.reason, .idt_vectoring_info = VMX_INFO_VALID | 0x40};
    assert_int_equal(exit_handle(vcpu, &exit), EXIT_RESUME);
    assert_int_equal(event_now(), VMX_INFO_VALID | 0x40);
}

/* Real mode has no error codes, and entry refuses one. */
static void a_real_mode_delivery_is_repeated_without_its_error(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION,
                            .ept = {.gpa = gpa(GUEST_STACK), .write = true}};
    uint32_t fault = VMX_INFO_VALID | VMX_EVENT_HARDWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT | VECTOR_GP;

    (void)state;
    for (unsigned pe = 0; pe < 2; pe++) {
        vmx_set_cr0(&vcpu->vmx, pe ? CR0_PE : 0);
        vcpu->vmx.raw =
            (struct vmx_exit_raw){.reason = exit.reason, .idt_vectoring_info = fault | VMX_INFO_ERROR_VALID};
        assert_int_equal(exit_handle(vcpu, &exit), EXIT_RESUME);
        assert_int_equal(event_now(), fault | (pe ? VMX_INFO_ERROR_VALID : 0));
        fakecpu_this->vmcs[VMCS_ENTRY_INTERRUPTION_INFO] = 0;
    }
}

/* An injected event would lose the trap of the instruction before. */
static void a_single_step_comes_before_interrupts(void **state)
{
    (void)state;
    request(0x40);
    vcpu->state->nmi_pending = 1;
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_IF | RFLAGS_TF);
    vmx_set_pending_debug(&vcpu->vmx, VMX_PENDING_DEBUG_BS);
    assert_false(vcpu_would_inject(vcpu));
    vcpu_deliver(vcpu);
    assert_int_equal(event_now() & VMX_INFO_VALID, 0);
    assert_int_equal(windows(), PRIMARY_INTERRUPT_WINDOW | PRIMARY_NMI_WINDOW);
}

static void alignment_checks(void **state)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EXCEPTION_OR_NMI,
                            .exception = {.vector = VECTOR_AC, .type = VMX_EVENT_HARDWARE_EXCEPTION}};
    uint32_t check = VMX_INFO_VALID | VMX_EVENT_HARDWARE_EXCEPTION << VMX_INFO_TYPE_SHIFT | VECTOR_AC;

    (void)state;
    vmx_set_cr0(&vcpu->vmx, CR0_PE);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t vectoring = i ? VMX_INFO_VALID | 0x40 : 0;
        vcpu->vmx.raw = (struct vmx_exit_raw){.reason = exit.reason, .idt_vectoring_info = vectoring};
        assert_int_equal(exit_handle(vcpu, &exit), EXIT_RESUME);
        assert_int_equal(event_now(), check | VMX_INFO_ERROR_VALID);
    }
    vcpu->vmx.raw =
        (struct vmx_exit_raw){.reason = exit.reason, .idt_vectoring_info = check | VMX_INFO_ERROR_VALID};
    assert_int_equal(exit_handle(vcpu, &exit), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_REFUSED);
    assert_non_null(strstr(vcpu->act.reason, "alignment check"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_a_rule),
        TEST(unknown_reasons_are_refused),
        TEST(a_failed_entry_is_refused),
        TEST(absent_instructions_are_undefined),
        TEST(caches_are_not_modelled),
        TEST(cpuid_is_the_model),
        TEST(time_reads_rise),
        TEST(random_numbers),
        TEST(xsetbv_checks),
        TEST(port_accesses),
        TEST(string_input_faults_before_it_acts),
        TEST(string_input_is_an_act_each),
        TEST(pauses_end_a_chunk),
        TEST(halt_and_triple_fault),
        TEST(memory_that_is_not_there),
        TEST(the_first_write_copies),
        TEST(no_page_is_left),
        TEST(nothing_waits),
        TEST(interrupts_wait_for_if),
        TEST(resume_flag_is_not_pushed),
        TEST(nmi_comes_first),
        TEST(nmis_are_not_nested),
        TEST(one_event_at_a_time),
        TEST(an_interrupted_delivery_is_repeated),
        TEST(a_real_mode_delivery_is_repeated_without_its_error),
        TEST(a_single_step_comes_before_interrupts),
        TEST(the_8259_comes_first),
        TEST(a_window_for_the_8259_ends_the_chunk),
        TEST(a_window_where_no_chunk_is_cut),
        TEST(alignment_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
