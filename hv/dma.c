#include "hv/dma.h"

#include "hv/base/digest.h"
#include "hv/devices.h"
#include "hv/divergence.h"
#include "hv/input.h"
#include "replay/log_format.h"

#include <string.h>

#define CONFLICTS_BEFORE_TOKEN 8u /* in a row: then the vCPUs wait */
#define FEW_PAGES              64u

/* ---- Guest memory ---- */

static void touch(struct dma *dma, uint32_t gpn)
{
    if (dma->touched[gpn])
        return;
    dma->touched[gpn] = 1;
    dma->accessed[dma->count++] = gpn;
}

static bool has_memory(void *context, uint64_t address)
{
    const struct vm *vm = context;

    return address < vm->memory_bytes;
}

static bool read_view(void *context, uint64_t address, void *to, uint32_t bytes)
{
    struct vm *vm = context;
    uint32_t gpn = (uint32_t)(address / PAGE_SIZE);

    if (!has_memory(vm, address))
        return false;
    touch(vm->dma, gpn);
    memcpy(to, (const uint8_t *)view_data(&vm->dma->view, gpn) + (address & PAGE_MASK), bytes);
    return true;
}

static bool read_shared(void *context, uint64_t address, void *to, uint32_t bytes)
{
    struct vm *vm = context;

    if (!has_memory(vm, address))
        return false;
    memcpy(to, vm->run_memory + address, bytes);
    return true;
}

/* No page table maps what the devices see. */
static void view_map(void *context, uint32_t gpn, uint32_t frame, bool writable)
{
    (void)context, (void)gpn, (void)frame, (void)writable;
}

static void view_make_private(void *context, uint32_t gpn, uint32_t frame)
{
    (void)context, (void)gpn, (void)frame;
}

void dma_init(struct vm *vm, const struct dma_memory *memory)
{
    static const struct view_ops ops = {.map = view_map, .make_private = view_make_private};
    struct dma *dma = vm->dma = memory->dma;

    if (vm->mode == VM_RUN)
        return;
    dma->accessed = memory->accessed;
    dma->touched = memory->touched;
    view_init(&dma->view, &vm->order, vm->vcpu_count, &ops, memory->page, memory->copies, memory->writes);
    dma->view.from_reserve = vm->mode == VM_REPLAY;
    dma->view.policy = VIEW_VALUE | VIEW_EQUAL; /* the next plan writes other pages */
}

/* ---- A plan on a snapshot ---- */

/* False: a page lacks a frame. */
static bool write_view(struct dma *dma)
{
    const struct virtio_plan *plan = &dma->plan;

    for (uint32_t i = 0; i < plan->write_count; i++) {
        const struct virtio_write *w = &plan->write[i];
        uint32_t gpn = (uint32_t)(w->address / PAGE_SIZE);
        if (!view_has_copy(&dma->view, gpn) && view_write_fault(&dma->view, gpn) != VIEW_FAULT_COPIED)
            return false;
        touch(dma, gpn);
        memcpy((uint8_t *)view_data(&dma->view, gpn) + (w->address & PAGE_MASK), plan->data + w->offset,
               w->length);
    }
    return true;
}

static void sort(uint32_t *pages, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t page = pages[i], at = i;
        for (; at > 0 && pages[at - 1] > page; at--)
            pages[at] = pages[at - 1];
        pages[at] = page;
    }
}

/* The pages in ascending order, those with a copy marked as written; all are untouched again. */
static void list_accessed(struct dma *dma)
{
    uint32_t pages = dma->view.order->pages, count = 0;

    if (dma->count <= FEW_PAGES) {
        sort(dma->accessed, dma->count);
    } else {
        for (uint32_t gpn = 0; gpn < pages; gpn++) {
            if (dma->touched[gpn])
                dma->accessed[count++] = gpn;
        }
    }
    for (uint32_t i = 0; i < dma->count; i++) {
        uint32_t gpn = dma->accessed[i];
        dma->touched[gpn] = 0;
        if (view_has_copy(&dma->view, gpn))
            dma->accessed[i] |= VIEW_DIRTY;
    }
}

/* Plans what `device` does on the present snapshot. The view's sets are complete; false: no frame. */
static bool make_plan(struct vm *vm, const struct virtio *device)
{
    const struct virtio_memory memory = {.ctx = vm, .read = read_view, .writable = has_memory};
    struct dma *dma = vm->dma;
    bool written;

    dma->count = 0;
    view_begin(&dma->view);
    virtio_prepare(device, &memory, NULL, &dma->plan);
    written = write_view(dma);
    list_accessed(dma);
    view_collect(&dma->view, dma->accessed, dma->count);
    return written;
}

/* Of the commit: the device as it is afterwards, what it wrote, and the pages. */
static uint64_t plan_digest(const struct dma *dma, uint32_t slot)
{
    const struct virtio_plan *plan = &dma->plan;
    uint64_t digest = digest_word(digest_word(~UINT64_C(0), REC_DEVICE_VIRTIO), slot);

    digest = digest_bytes(digest, &plan->after, sizeof(plan->after));
    digest = digest_bytes(digest, plan->data, plan->data_bytes);
    return digest_word(digest, view_write_digest(&dma->view));
}

/* Under order.lock: the plan is done, in commit `seq`, which the vCPUs hear of. */
static void finish(struct vm *vm, uint32_t slot, uint64_t seq)
{
    virtio_apply(vports_function(&vm->ports, slot), &vm->dma->plan, NULL);
    vports_devices_changed(&vm->ports);
    devices_settle(vm, seq);
}

/* ---- Record ---- */

static bool commit(struct vm *vm, uint32_t slot)
{
    const struct rec_input input = {.device = REC_DEVICE_VIRTIO, .length = 1, .data = {(uint8_t)slot}};
    struct view *view = &vm->dma->view;
    uint64_t digest = plan_digest(vm->dma, slot), seq;
    enum view_enter enter;

    do {
        if (view_validate(view) != VIEW_VALID)
            return false;
        enter = view_commit_enter(view, &seq);
    } while (enter == VIEW_AGAIN);
    if (enter != VIEW_ENTERED)
        return false;
    if (vm->outcome.decided || !input_has_room(vm) ||
        !virtio_plan_holds(&vm->dma->plan, vports_function(&vm->ports, slot))) {
        view_commit_abandon(view);
        return false;
    }
    input_put_record(vm, &input, digest);
    finish(vm, slot, seq);
    view_commit_leave(view, seq, digest);
    return true;
}

/* The device as it is before the snapshot: one that changes later makes the plan void. */
static uint32_t take_device(struct vm *vm)
{
    uint32_t slot;

    spin_lock(&vm->order.lock);
    slot = vports_busy_function(&vm->ports);
    if (slot < VIRTIO_SLOTS)
        vm->dma->device = *vports_function(&vm->ports, slot);
    spin_unlock(&vm->order.lock);
    return slot;
}

static void record(struct vm *vm)
{
    struct dma *dma = vm->dma;
    uint32_t actor = dma->view.actor, slot;

    if (!order_has_room(&vm->order) || !input_has_room(vm))
        return;
    slot = take_device(vm);
    if (slot == VIRTIO_SLOTS) {
        order_drop_token(&vm->order, actor);
        return;
    }
    if (make_plan(vm, &dma->device) && commit(vm, slot)) {
        dma->conflicts = 0;
        order_drop_token(&vm->order, actor);
    } else {
        view_squash(&dma->view);
        if (++dma->conflicts >= CONFLICTS_BEFORE_TOKEN)
            order_take_token(&vm->order, actor);
    }
    order_rest(&vm->order, actor);
}

/* mode=run: beside the vCPUs, as a real device. */
static void run(struct vm *vm)
{
    const struct virtio_memory memory = {.ctx = vm, .read = read_shared, .writable = has_memory};
    struct virtio_plan *plan = &vm->dma->plan;
    uint32_t slot;

    spin_lock(&vm->order.lock);
    slot = vports_busy_function(&vm->ports);
    if (slot < VIRTIO_SLOTS) {
        virtio_prepare(vports_function(&vm->ports, slot), &memory, NULL, plan);
        for (uint32_t i = 0; i < plan->write_count; i++)
            memcpy(vm->run_memory + plan->write[i].address, plan->data + plan->write[i].offset,
                   plan->write[i].length);
        finish(vm, slot, 0);
    }
    spin_unlock(&vm->order.lock);
}

void dma_poll(struct vm *vm)
{
    if (!__atomic_load_n(&vm->device_work, __ATOMIC_ACQUIRE))
        return;
    if (vm->mode == VM_RUN)
        run(vm);
    else
        record(vm);
}

/* ---- Replay ---- */

static bool is_function(struct vm *vm, const struct rec_input *input)
{
    return input->length == 1 && input->data[0] < VIRTIO_SLOTS &&
           vports_function(&vm->ports, input->data[0])->kind != VIRTIO_NONE;
}

/* Under order.lock, in its turn. False: it is not what was recorded. */
static bool finish_replayed(struct vm *vm, const struct rec_input *input, uint64_t seq)
{
    struct dma *dma = vm->dma;
    uint64_t digest = plan_digest(dma, input->data[0]);

    if (vm->verify && log_digest_slice(order_next_digest(&vm->order, seq, digest)) != input->digest) {
        view_commit_abandon(&dma->view);
        return false;
    }
    finish(vm, input->data[0], seq);
    view_commit_leave(&dma->view, seq, digest);
    return true;
}

/* Nobody else can commit before `seq`, or change the device. */
bool dma_replay(struct vm *vm, const struct rec_input *input, uint64_t seq)
{
    struct dma *dma = vm->dma;
    bool done = false;

    if (!is_function(vm, input)) {
        divergence_report_device(vm, input->data[0], seq);
        return false;
    }
    if (!order_has_room(&vm->order))
        return false;
    if (make_plan(vm, vports_function(&vm->ports, input->data[0]))) {
        view_commit_enter_at(&dma->view, seq);
        done = finish_replayed(vm, input, seq);
        if (!done)
            divergence_report_device(vm, input->data[0], seq);
    }
    if (!done)
        view_squash(&dma->view);
    order_rest(&vm->order, dma->view.actor);
    return done;
}
