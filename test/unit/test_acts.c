/* What acts beyond a vCPU: ports, the console, interprocessor interrupts, halting, the guest's end. */
#include "hv/cpu/trap.h"
#include "test/unit/acts_rig.h"

static void ports_in(void **state)
{
    (void)state;
    vcpu->completion = (struct vcpu_completion){.length = 1, .gpr = GPR_RAX, .gpr_mask = 0xff};
    perform(vcpu, (struct vcpu_act){.kind = ACT_IN, .port = 0x3fd, .size = 1}, 1);
    assert_int_equal(vcpu->state->completion.gpr_value, 0x60); /* the UART is ready to send */
    assert_int_equal(vcpu->state->completion.length, 1);
    perform(vcpu, (struct vcpu_act){.kind = ACT_IN, .port = 0x1234, .size = 2}, 2);
    assert_int_equal(vcpu->state->completion.gpr_value, 0xffff);
}

static void console(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        perform(vcpu, (struct vcpu_act){.kind = ACT_OUT, .port = 0x3f8, .size = 1, .value = 'a' + i}, i + 1);
    assert_int_equal(vm->console.head, 5);
    assert_memory_equal(vm->console.bytes, "abcde", 5);
}

/* A chunk of each vCPU may be under way when it is asked. */
static void console_room(void **state)
{
    (void)state;
    assert_true(act_console_has_room(vm));
    vm->console.head = VM_CONSOLE_SIZE - MAX_VCPUS;
    assert_true(act_console_has_room(vm));
    vm->console.head++;
    assert_false(act_console_has_room(vm));
    vm->console.tail++;
    assert_true(act_console_has_room(vm));
}

static void exit_port(void **state)
{
    (void)state;
    perform(vcpu, (struct vcpu_act){.kind = ACT_OUT, .port = 0x501, .size = 1, .value = 9}, 1);
    assert_int_equal(vm->outcome.decided, 1);
    assert_int_equal(vm->outcome.outcome, REC_OUTCOME_EXIT);
    assert_int_equal(vm->outcome.status, 9);
    assert_true(vm_stopping(vm));
}

static void the_first_end_counts(void **state)
{
    (void)state;
    act_end_guest(vm, 2, REC_OUTCOME_SHUTDOWN, 0, "first");
    act_end_guest(vm, 1, REC_OUTCOME_EXIT, 5, "second");
    assert_int_equal(vm->outcome.outcome, REC_OUTCOME_SHUTDOWN);
    assert_int_equal(vm->outcome.vcpu, 2);
    assert_string_equal(vm->outcome.reason, "first");
}

static void a_reason_that_is_too_long_is_cut(void **state)
{
    char reason[400];

    (void)state;
    memset(reason, 'x', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = 0;
    act_end_guest(vm, 0, REC_OUTCOME_REFUSED, 0, reason);
    assert_int_equal(strlen(vm->outcome.reason), sizeof(vm->outcome.reason) - 1);
}

static void halting(void **state)
{
    (void)state;
    vcpu->completion = (struct vcpu_completion){.length = 1};
    perform(vcpu, (struct vcpu_act){.kind = ACT_HALT}, 1);
    assert_int_equal(vcpu->state->activity, VCPU_HALTED);
    assert_int_equal(vcpu->state->completion.length, 1);
}

/* ---- Interprocessor interrupts ---- */

static struct vcpu_act icr(uint64_t value)
{
    return (struct vcpu_act){.kind = ACT_APIC_WRITE, .reg = VLAPIC_ICR, .value = value};
}

static uint32_t waiting(uint32_t index, struct rec_event *events)
{
    return inbound_peek(&vm->vcpus[index]->inbound, UINT64_MAX, events, REC_MAX_EVENTS);
}

static void fixed_to_others(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];

    (void)state;
    perform(vcpu, icr(VLAPIC_ICR_TO_OTHERS | VLAPIC_ICR_ASSERT | 0x41), 17);
    assert_int_equal(waiting(0, events), 0);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(waiting(i, events), 1);
        assert_int_equal(events[0].kind, REC_EVENT_FIXED);
        assert_int_equal(events[0].vector, 0x41);
        /* A chunk whose snapshot is older does not know of it. */
        assert_int_equal(inbound_peek(&vm->vcpus[i]->inbound, 16, events, REC_MAX_EVENTS), 0);
        assert_int_equal(inbound_peek(&vm->vcpus[i]->inbound, 17, events, REC_MAX_EVENTS), 1);
    }
}

static void other_kinds(void **state)
{
    static const struct {
        uint64_t icr;
        uint8_t kind, vector;
    } sent[] = {{0x4400, REC_EVENT_NMI, 0}, {0x4500, REC_EVENT_INIT, 0}, {0x4609, REC_EVENT_SIPI, 9}};
    struct rec_event events[REC_MAX_EVENTS];

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(sent); i++)
        perform(vcpu, icr(VLAPIC_ICR_TO_OTHERS | sent[i].icr), i + 1);
    assert_int_equal(waiting(2, events), ARRAY_LEN(sent));
    for (uint32_t i = 0; i < ARRAY_LEN(sent); i++) {
        assert_int_equal(events[i].kind, sent[i].kind);
        if (sent[i].kind == REC_EVENT_SIPI)
            assert_int_equal(events[i].vector, sent[i].vector);
    }
}

static void replay_sends_nothing(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];

    (void)state;
    vm->mode = VM_REPLAY;
    perform(vcpu, icr(VLAPIC_ICR_TO_OTHERS | VLAPIC_ICR_ASSERT | 0x41), 1);
    vm->mode = VM_RECORD;
    assert_int_equal(waiting(1, events), 0);
    /* The register is written all the same. */
    assert_int_equal(vlapic_icr(&vcpu->state->lapic) & 0xff, 0x41);
}

static void sleepers_are_kicked(void **state)
{
    (void)state;
    vm->vcpus[1]->waiting = 1;
    perform(vcpu, icr(VLAPIC_ICR_TO_OTHERS | VLAPIC_ICR_ASSERT | 0x41), 1);
    assert_int_equal(fakecpu_all[vm->vcpus[1]->cpu]->kick, 1);
    assert_int_equal(fakecpu_all[vm->vcpus[2]->cpu]->kick, 0);
}

/* What others route by is as it was when the commit was made. */
static void routing_follows(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];

    (void)state;
    /* Logical destination 4, flat. */
    perform(vcpu, (struct vcpu_act){.kind = ACT_APIC_WRITE, .reg = VLAPIC_LDR, .value = 0x04000000}, 1);
    assert_int_equal(vm->dests[0].ldr, 0x04000000);
    vcpu = vm->vcpus[1];
    vlapic_write(&vcpu->state->lapic, VLAPIC_ICR_HIGH, 0x04000000, 0);
    perform(vcpu, icr(VLAPIC_ICR_LOGICAL | VLAPIC_ICR_ASSERT | 0x42), 2);
    assert_int_equal(waiting(0, events), 1);
    assert_int_equal(waiting(2, events), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ports_in, begin, end),
        cmocka_unit_test_setup_teardown(console, begin, end),
        cmocka_unit_test_setup_teardown(console_room, begin, end),
        cmocka_unit_test_setup_teardown(exit_port, begin, end),
        cmocka_unit_test_setup_teardown(the_first_end_counts, begin, end),
        cmocka_unit_test_setup_teardown(a_reason_that_is_too_long_is_cut, begin, end),
        cmocka_unit_test_setup_teardown(halting, begin, end),
        cmocka_unit_test_setup_teardown(fixed_to_others, begin, end),
        cmocka_unit_test_setup_teardown(other_kinds, begin, end),
        cmocka_unit_test_setup_teardown(replay_sends_nothing, begin, end),
        cmocka_unit_test_setup_teardown(sleepers_are_kicked, begin, end),
        cmocka_unit_test_setup_teardown(routing_follows, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
