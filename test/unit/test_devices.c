/* The devices between the vCPUs: the time of their acts, the way of their interrupts, the clocks' commits. */
#include "drivers/vdev/ticks.h"
#include "hv/cpu/cpu.h"
#include "hv/devices.h"
#include "hv/input.h"
#include "test/unit/acts_rig.h"

#define LINT0_EXTINT 0x700

static void out(uint16_t port, uint8_t value, uint64_t seq)
{
    perform(vcpu, (struct vcpu_act){.kind = ACT_OUT, .port = port, .size = 1, .value = value}, seq);
}

static uint64_t in(struct vcpu *who, uint16_t port, uint8_t size)
{
    perform(who, (struct vcpu_act){.kind = ACT_IN, .port = port, .size = size}, 1);
    return who->state->completion.gpr_value;
}

static uint32_t waiting(uint32_t index, uint64_t snapshot, struct rec_event *events)
{
    return inbound_peek(&vm->vcpus[index]->inbound, snapshot, events, REC_MAX_EVENTS);
}

static void mmio(uint32_t offset, uint32_t value, uint64_t seq)
{
    perform(vcpu, (struct vcpu_act){.kind = ACT_MMIO_WRITE, .reg = offset, .value = value}, seq);
}

static void route(uint32_t pin, uint32_t low, uint32_t cpu, uint64_t seq)
{
    mmio(0, 0x11 + 2 * pin, seq);
    mmio(0x10, cpu << 24, seq);
    mmio(0, 0x10 + 2 * pin, seq);
    mmio(0x10, low, seq);
}

/* ---- Time ---- */

static void acts_have_the_chunks_time(void **state)
{
    uint64_t ticks;

    (void)state;
    vm->time_given = 0;
    vcpu->time_base = UINT64_C(1) << 20;
    vcpu->time_reads = 5;
    ticks = in(vcpu, 0x608, 4);
    assert_int_equal(ticks,
                     ticks_at((UINT64_C(1) << 20) + 6 * vm->time_stride, vm->tsc_hz, 3579545) & 0xffffff);
    assert_int_equal(vm->time_given, (UINT64_C(1) << 20) + 6 * vm->time_stride);
    /* A chunk that began earlier and commits later finds no earlier time. */
    vm->vcpus[1]->time_base = 1024;
    assert_int_equal(in(vm->vcpus[1], 0x608, 4), ticks);
    assert_int_equal(vm->time_given, (UINT64_C(1) << 20) + 6 * vm->time_stride);
}

static void other_acts_have_none(void **state)
{
    (void)state;
    vcpu->time_base = UINT64_C(1) << 20;
    vm->time_given = 0;
    in(vcpu, 0x3fd, 1);
    assert_int_equal(vm->ports.now, 0);
    assert_int_equal(vm->time_given, 0);
}

/* ---- I/O APIC ---- */

static void messages_wait_with_their_seq(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];

    (void)state;
    route(4, 0x51, 2, 10);
    out(0x3fc, 8, 11);
    out(0x3f9, 2, 12); /* the transmitter is empty */
    assert_int_equal(waiting(2, 11, events), 0);
    assert_int_equal(waiting(2, 12, events), 1);
    assert_int_equal(events[0].kind, REC_EVENT_FIXED);
    assert_int_equal(events[0].vector, 0x51);
    assert_int_equal(waiting(0, 100, events) + waiting(1, 100, events), 0);
}

static void registers_are_read_by_acts(void **state)
{
    (void)state;
    mmio(0, 1, 1);
    perform(vcpu, (struct vcpu_act){.kind = ACT_MMIO_READ, .reg = 0x10}, 2);
    assert_int_equal(vcpu->state->completion.gpr_value, 0x170020);
}

static void end_of_a_level_sends_again(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];
    struct vlapic *lapic = &vcpu->state->lapic;

    (void)state;
    route(4, 0x8052, 0, 1);
    out(0x3fc, 8, 2);
    out(0x3f9, 2, 3);
    assert_int_equal(waiting(0, 3, events), 1);
    assert_int_equal(events[0].kind, REC_EVENT_LEVEL);
    vlapic_accept_level(lapic, 0x52);
    vlapic_deliver(lapic, 0x52);
    assert_int_equal(vlapic_write_class(lapic, VLAPIC_EOI, 0), VLAPIC_CLASS_ACT);
    perform(vcpu, (struct vcpu_act){.kind = ACT_APIC_WRITE, .reg = VLAPIC_EOI}, 4);
    assert_int_equal(vlapic_in_service(lapic), -1);
    assert_int_equal(waiting(0, 4, events), 2);
    in(vcpu, 0x3fa, 1); /* reading IIR takes the cause away */
    vlapic_accept_level(lapic, 0x52);
    vlapic_deliver(lapic, 0x52);
    perform(vcpu, (struct vcpu_act){.kind = ACT_APIC_WRITE, .reg = VLAPIC_EOI}, 5);
    assert_int_equal(waiting(0, 5, events), 2);
}

/* ---- 8259 ---- */

/* INTR with vector 34H since commit `seq`. */
static void raise_intr(uint64_t seq)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0xEF}};

    for (uint32_t i = 0; i < ARRAY_LEN(words); i++)
        out(words[i][0], words[i][1], 1);
    out(0x3fc, 8, 2);
    out(0x3f9, 2, seq);
    vlapic_write(&vcpu->state->lapic, VLAPIC_LVT_LINT0, LINT0_EXTINT, 0);
    memset(&vcpu->state->completion, 0, sizeof(vcpu->state->completion));
    vcpu->loaded = false;
    vcpu->state->cpu.rflags |= RFLAGS_IF;
    vcpu->state->cpu.interruptibility = 0;
}

static void a_vector_is_offered(void **state)
{
    struct rec_event event;

    (void)state;
    raise_intr(9);
    assert_int_equal(vm->intr, 0x134);
    assert_false(devices_offer(vcpu, 8, &event)); /* the snapshot does not know of it */
    assert_false(vcpu->wants_intr);
    assert_true(devices_offer(vcpu, 9, &event));
    assert_int_equal(event.kind, REC_EVENT_EXTINT);
    assert_int_equal(event.vector, 0x34);
    assert_true(devices_wake(vcpu));
    vm->vcpus[1]->state->cpu.rflags |= RFLAGS_IF;
    vlapic_write(&vm->vcpus[1]->state->lapic, VLAPIC_LVT_LINT0, LINT0_EXTINT, 0);
    assert_false(devices_offer(vm->vcpus[1], 9, &event)); /* it has no 8259 */
}

static void only_where_it_can_be_taken(void **state)
{
    struct vcpu_state *s = vcpu->state;
    struct rec_event event;

    (void)state;
    raise_intr(1);
    s->cpu.rflags &= ~RFLAGS_IF;
    assert_false(devices_offer(vcpu, 9, &event));
    assert_true(vcpu->wants_intr); /* the chunk shall end where it can */
    assert_false(devices_wake(vcpu));
    s->cpu.rflags |= RFLAGS_IF;
    s->cpu.interruptibility = VMX_SHADOWS;
    assert_false(devices_offer(vcpu, 9, &event));
    s->completion.length = 1; /* STI; HLT: the HLT retires */
    assert_true(devices_offer(vcpu, 9, &event));
    assert_false(vcpu->wants_intr);
    s->cpu.interruptibility = 0;
    s->extint = VCPU_EXTINT | 0x34; /* one at a time */
    assert_false(devices_offer(vcpu, 9, &event));
    assert_false(vcpu->wants_intr);
    s->extint = 0;
    vlapic_write(&s->lapic, VLAPIC_LVT_LINT0, VLAPIC_LVT_MASKED | LINT0_EXTINT, 0);
    assert_false(devices_offer(vcpu, 9, &event));
    vlapic_write(&s->lapic, VLAPIC_APIC_BASE, VLAPIC_BASE_DEFAULT, 0); /* LINT0 is INTR */
    assert_true(devices_offer(vcpu, 9, &event));
}

static void the_commit_acknowledges(void **state)
{
    (void)state;
    raise_intr(1);
    vcpu->event_count = 1;
    vcpu->events[0] = (struct rec_event){.kind = REC_EVENT_EXTINT, .vector = 0x34};
    assert_true(devices_agree(vcpu));
    perform(vcpu, (struct vcpu_act){.kind = ACT_NONE}, 20);
    assert_int_equal(vm->intr, 0);
    assert_int_equal(vm->intr_seq, 20);
    assert_int_equal(vm->ports.pic.chip[0].isr, 0x10);
    assert_false(devices_agree(vcpu)); /* a chunk that took the same one is too late */
    vcpu->event_count = 0;
    assert_true(devices_agree(vcpu));
}

static void a_replay_acknowledges_what_the_log_says(void **state)
{
    (void)state;
    raise_intr(1);
    vm->mode = VM_REPLAY;
    vcpu->event_count = 1;
    vcpu->events[0] = (struct rec_event){.kind = REC_EVENT_EXTINT, .vector = 0x34};
    perform(vcpu, (struct vcpu_act){.kind = ACT_NONE}, 20);
    vm->mode = VM_RECORD;
    assert_int_equal(vm->ports.pic.chip[0].isr, 0x10);
    vcpu->event_count = 0;
}

/* ---- Clocks ---- */

static void a_clock_that_is_due_commits(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];
    const struct commit_slot *slot;
    uint64_t seq = vm->order.seq, due;

    (void)state;
    vcpu->time_base = 0;
    route(2, 0x53, 1, 1);
    out(0x43, 0x34, 2);
    out(0x40, 0, 3);
    out(0x40, 1, 4);                                     /* 256 ticks of 1.19 MHz */
    assert_int_equal(waiting(1, UINT64_MAX, events), 1); /* the output has risen with the mode */
    due = vm->device_deadline;
    assert_in_range(due, 200, 300);
    vm->tsc_start = rdtsc();
    input_time(vm);
    assert_int_equal(vm->order.seq, seq);
    vm->time_given = due;
    input_time(vm);
    assert_int_equal(vm->order.seq, seq + 1);
    slot = commit_ring_peek(&vm->commits);
    assert_non_null(slot);
    assert_int_equal(slot->commit.kind, REC_INPUT);
    assert_int_equal(slot->commit.input.device, REC_DEVICE_TIME);
    assert_in_range(slot->commit.input.data[0] | slot->commit.input.data[1] << 8, due, due + 100);
    assert_true(vm->time_given >= due);
    assert_int_equal(waiting(1, UINT64_MAX, events), 2);
    assert_true(vm->device_deadline > due);
}

static void the_date_is_an_input(void **state)
{
    const struct commit_slot *slot;

    (void)state;
    input_date(vm, 1700000000);
    slot = commit_ring_peek(&vm->commits);
    assert_non_null(slot);
    assert_int_equal(slot->commit.input.device, REC_DEVICE_DATE);
    assert_int_equal(slot->commit.input.length, 4);
    out(0x70, 9, 1);
    assert_int_equal(in(vcpu, 0x71, 1), 0x23);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acts_have_the_chunks_time, begin, end),
        cmocka_unit_test_setup_teardown(other_acts_have_none, begin, end),
        cmocka_unit_test_setup_teardown(messages_wait_with_their_seq, begin, end),
        cmocka_unit_test_setup_teardown(registers_are_read_by_acts, begin, end),
        cmocka_unit_test_setup_teardown(end_of_a_level_sends_again, begin, end),
        cmocka_unit_test_setup_teardown(a_vector_is_offered, begin, end),
        cmocka_unit_test_setup_teardown(only_where_it_can_be_taken, begin, end),
        cmocka_unit_test_setup_teardown(the_commit_acknowledges, begin, end),
        cmocka_unit_test_setup_teardown(a_replay_acknowledges_what_the_log_says, begin, end),
        cmocka_unit_test_setup_teardown(a_clock_that_is_due_commits, begin, end),
        cmocka_unit_test_setup_teardown(the_date_is_an_input, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
