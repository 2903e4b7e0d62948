#include "hv/input.h"

#include "hv/base/digest.h"
#include "replay/log_format.h"

#include <string.h>

static uint64_t input_digest(const struct rec_input *input)
{
    return digest_bytes(digest_word(~UINT64_C(0), input->device), input->data, input->length);
}

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
    struct commit_order *order = &vm->order;
    uint32_t taken = 0;

    spin_lock(&order->lock);
    if (vm->mode == VM_RUN) {
        taken = feed(vm, bytes, length);
        spin_unlock(&order->lock);
        return taken;
    }
    if (!vm->outcome.decided && order_may_commit(order, ORDER_NO_VCPU) &&
        commit_ring_has_room(&vm->commits, vm->vcpu_count + 1))
        taken = feed(vm, bytes, MIN(length, REC_MAX_INPUT));
    if (taken) {
        struct commit_slot *slot = commit_ring_slot(&vm->commits);
        struct rec_input *input = &slot->commit.input;
        uint64_t seq = order->seq + 1;
        *input = (struct rec_input){.device = REC_DEVICE_CONSOLE, .length = (uint16_t)taken};
        memcpy(input->data, bytes, taken);
        slot->commit.kind = REC_INPUT;
        slot->digest = order_next_digest(order, seq, input_digest(input));
        input->digest = log_digest_slice(slot->digest);
        commit_ring_put(&vm->commits);
        order_publish(order, seq, input_digest(input));
    }
    spin_unlock(&order->lock);
    return taken;
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
    /* Every vCPU waits for this commit before its next one, so nobody else makes it. */
    spin_lock(&order->lock);
    feed(vm, next->input.data, next->input.length);
    order_publish(order, seq + 1, input_digest(&next->input));
    spin_unlock(&order->lock);
    return true;
}

void input_replay(struct vm *vm)
{
    while (replay_next(vm))
        ;
}
