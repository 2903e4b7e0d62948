#include "hv/input.h"

#include "drivers/vdev/ticks.h"
#include "hv/base/digest.h"
#include "hv/cpu/cpu.h"
#include "hv/devices.h"
#include "hv/dma.h"
#include "replay/log_format.h"

#include <string.h>

static uint64_t input_digest(const struct rec_input *input)
{
    return digest_bytes(digest_word(~UINT64_C(0), input->device), input->data, input->length);
}

bool input_has_room(struct vm *vm)
{
    return commit_ring_has_room(&vm->commits, vm->vcpu_count + 1);
}

void input_put_record(struct vm *vm, const struct rec_input *input, uint64_t digest)
{
    struct commit_slot *slot = commit_ring_slot(&vm->commits);

    slot->digest = order_next_digest(&vm->order, vm->order.seq + 1, digest);
    slot->commit.kind = REC_INPUT;
    slot->commit.input = *input;
    slot->commit.input.digest = log_digest_slice(slot->digest);
    commit_ring_put(&vm->commits);
}

/* Recording, under the lock: whether devices may commit now. */
static bool may_commit(struct vm *vm)
{
    return !vm->outcome.decided && order_may_commit(&vm->order, ORDER_NO_VCPU) && input_has_room(vm);
}

/* Recording, under the lock: what the device has taken already is the next commit. */
static void commit(struct vm *vm, enum rec_device device, const uint8_t *bytes, uint32_t length)
{
    struct rec_input input = {.device = (uint8_t)device, .length = (uint16_t)length};
    uint64_t seq = vm->order.seq + 1, digest;

    memcpy(input.data, bytes, length);
    digest = input_digest(&input);
    input_put_record(vm, &input, digest);
    devices_settle(vm, seq);
    order_publish(&vm->order, seq, digest);
}

/* ---- Console ---- */

/* As many bytes as the FIFO takes. */
static uint32_t feed(struct vm *vm, const uint8_t *bytes, uint32_t length)
{
    uint32_t taken = 0;

    while (taken < length && vports_receive(&vm->ports, bytes[taken]))
        taken++;
    return taken;
}

uint32_t input_console(struct vm *vm, const uint8_t *bytes, uint32_t length)
{
    uint32_t taken = 0;

    spin_lock(&vm->order.lock);
    if (vm->mode == VM_RUN) {
        taken = feed(vm, bytes, length);
        devices_settle(vm, 0);
    } else if (may_commit(vm)) {
        taken = feed(vm, bytes, MIN(length, REC_MAX_INPUT));
        if (taken)
            commit(vm, REC_DEVICE_CONSOLE, bytes, taken);
    }
    spin_unlock(&vm->order.lock);
    return taken;
}

/* ---- Time ---- */

/* Little-endian without upper bytes that are 0, one byte at least. */
static uint32_t put_number(uint8_t bytes[8], uint64_t value)
{
    uint32_t length = 0;

    do
        bytes[length++] = (uint8_t)value;
    while ((value >>= 8) != 0);
    return length;
}

static uint64_t get_number(const struct rec_input *input)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < MIN(input->length, UINT32_C(8)); i++)
        value |= (uint64_t)input->data[i] << 8 * i;
    return value;
}

void input_time(struct vm *vm)
{
    uint64_t deadline = __atomic_load_n(&vm->device_deadline, __ATOMIC_ACQUIRE);
    uint64_t now;
    uint8_t bytes[8];

    if (deadline == TICKS_NEVER || (now = devices_now(vm)) < deadline)
        return;
    spin_lock(&vm->order.lock);
    if (vm->mode == VM_RUN) {
        vports_advance(&vm->ports, now);
        devices_settle(vm, 0);
    } else if (now >= vm->device_deadline && may_commit(vm)) {
        /* A chunk that knows of it begins no earlier; see set_time_base(). */
        vm->time_given = MAX(vm->time_given, now);
        vports_advance(&vm->ports, now);
        commit(vm, REC_DEVICE_TIME, bytes, put_number(bytes, now));
    }
    spin_unlock(&vm->order.lock);
}

void input_date(struct vm *vm, uint64_t seconds)
{
    uint8_t bytes[8];

    spin_lock(&vm->order.lock);
    if (vm->mode == VM_RUN) {
        vports_set_clock(&vm->ports, seconds, rdtsc());
    } else {
        vports_set_clock(&vm->ports, seconds, 0);
        commit(vm, REC_DEVICE_DATE, bytes, put_number(bytes, seconds));
    }
    spin_unlock(&vm->order.lock);
}

/* ---- Replay ---- */

static void apply(struct vm *vm, const struct rec_input *input)
{
    switch (input->device) {
    case REC_DEVICE_TIME:
        vports_advance(&vm->ports, get_number(input));
        break;
    case REC_DEVICE_DATE:
        vports_set_clock(&vm->ports, get_number(input), 0);
        break;
    default:
        feed(vm, input->data, input->length);
        break;
    }
}

static bool replay_next(struct vm *vm)
{
    struct commit_order *order = &vm->order;
    const struct rec_commit *next;
    uint64_t seq = order_seq(order);

    if (seq >= vm->replay.count)
        return false;
    next = &vm->replay.commits[seq];
    if (next->kind != REC_INPUT)
        return false;
    if (next->input.device == REC_DEVICE_VIRTIO)
        return dma_replay(vm, &next->input, seq + 1);
    /* Every vCPU waits for this commit before its next one, so nobody else makes it. */
    spin_lock(&order->lock);
    apply(vm, &next->input);
    devices_settle(vm, seq + 1);
    order_publish(order, seq + 1, input_digest(&next->input));
    spin_unlock(&order->lock);
    return true;
}

void input_replay(struct vm *vm)
{
    while (replay_next(vm))
        ;
}
