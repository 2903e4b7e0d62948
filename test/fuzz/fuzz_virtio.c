/*
 * The virtio devices under a hostile driver: any accesses to configuration space and registers, any bytes in
 * rings and descriptors. Making a plan changes nothing and gives the same plan again; a plan writes only
 * where there is memory, within pages and within the disk; the work that there is comes to an end.
 */
#include <string.h>

#include "drivers/vdev/virtio_pci.h"
#include "hv/base/check.h"

#define PAGES   8u
#define BYTES   (PAGES * PAGE_SIZE)
#define SECTORS 40u
#define HOLE    5u /* a page without memory */
#define ROM     6u /* one that no device may write */

/* Where a well-behaved driver has its rings: those of queue 1 a page on. */
#define DESC   0x0000u
#define DRIVER 0x0800u
#define DEVICE 0x0A00u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    SETUP,
    BAR_READ,
    BAR_WRITE,
    CFG_READ,
    CFG_WRITE,
    POKE,
    DESCRIBE,
    OFFER,
    NOTIFY,
    RUN,
    DROP,
    MESSAGE,
    ACTIONS
};

struct step {
    uint8_t action;
    uint8_t slot;
    uint16_t where;
    uint32_t what;
    uint64_t value;
};

_Static_assert(sizeof(struct step) == 16, "steps are read as bytes");

struct machine {
    struct virtio_bus bus;
    uint8_t memory[BYTES];
    uint8_t disk[SECTORS * VIRTIO_SECTOR];
};

static struct machine machine, before;
static struct virtio_plan plan, again;

static bool has_memory(uint64_t address)
{
    return address < BYTES && address / PAGE_SIZE != HOLE;
}

static bool mem_read(void *ctx, uint64_t address, void *to, uint32_t bytes)
{
    struct machine *m = ctx;

    HV_CHECK(bytes && (address & PAGE_MASK) + bytes <= PAGE_SIZE);
    if (!has_memory(address))
        return false;
    memcpy(to, m->memory + address, bytes);
    return true;
}

static bool mem_writable(void *ctx, uint64_t address)
{
    (void)ctx;
    return has_memory(address) && address / PAGE_SIZE != ROM;
}

static void disk_read(void *ctx, uint64_t sector, uint32_t count, uint8_t *to)
{
    struct machine *m = ctx;

    HV_CHECK(count && sector < SECTORS && count <= SECTORS - sector);
    memcpy(to, m->disk + sector * VIRTIO_SECTOR, (size_t)count * VIRTIO_SECTOR);
}

static void disk_write(void *ctx, uint64_t sector, uint32_t count, const uint8_t *from)
{
    struct machine *m = ctx;

    HV_CHECK(count && sector < SECTORS && count <= SECTORS - sector);
    memcpy(m->disk + sector * VIRTIO_SECTOR, from, (size_t)count * VIRTIO_SECTOR);
}

static const struct virtio_memory memory = {.ctx = &machine, .read = mem_read, .writable = mem_writable};
static const struct virtio_disk disk = {.ctx = &machine, .read = disk_read, .write = disk_write};

static void check_device(const struct virtio *v)
{
    HV_CHECK(v->isr <= 3 && v->pci.pending >> VIRTIO_VECTORS == 0);
    HV_CHECK((v->status & VIRTIO_S_FEATURES_OK) || !(v->status & VIRTIO_S_DRIVER_OK));
    HV_CHECK(!(v->status & VIRTIO_S_FEATURES_OK) || (v->accepted & ~v->offered) == 0);
    HV_CHECK((v->pci.bar & (VIRTIO_BAR_BYTES - 1)) == 0);
    for (uint32_t i = 0; i < VIRTIO_QUEUES; i++) {
        const struct virtio_queue *q = &v->queue[i];
        HV_CHECK(q->size <= VIRTIO_QUEUE_SIZE && (q->size & (q->size - 1)) == 0);
        HV_CHECK(!q->enabled || (i < v->queue_count && q->size));
        HV_CHECK(q->vector < VIRTIO_VECTORS || q->vector == VIRTIO_NO_VECTOR || v->kind == VIRTIO_NONE);
    }
    if (v->kind == VIRTIO_NET) {
        HV_CHECK(v->net.count <= VNET_FRAMES && v->net.first < VNET_FRAMES);
        for (uint32_t i = 0; i < VNET_FRAMES; i++)
            HV_CHECK(v->net.frame[i].length <= VNET_FRAME);
    }
}

static void prepare(const struct virtio *v)
{
    before = machine;
    virtio_prepare(v, &memory, &disk, &plan);
    HV_CHECK(memcmp(&before, &machine, sizeof(before)) == 0);
    virtio_prepare(v, &memory, &disk, &again);
    HV_CHECK(plan.write_count == again.write_count && plan.disk_count == again.disk_count &&
             plan.data_bytes == again.data_bytes && plan.data_bytes <= VIRTIO_PLAN_BYTES);
    HV_CHECK(memcmp(&plan.after, &again.after, sizeof(plan.after)) == 0);
    HV_CHECK(memcmp(plan.write, again.write, plan.write_count * sizeof(plan.write[0])) == 0);
    HV_CHECK(memcmp(plan.data, again.data, plan.data_bytes) == 0);
    HV_CHECK(virtio_plan_holds(&plan, v));
}

static void apply(struct virtio *v)
{
    HV_CHECK(plan.write_count <= VIRTIO_PLAN_WRITES);
    for (uint32_t i = 0; i < plan.write_count; i++) {
        const struct virtio_write *w = &plan.write[i];
        HV_CHECK(w->length && mem_writable(&machine, w->address));
        HV_CHECK((w->address & PAGE_MASK) + w->length <= PAGE_SIZE);
        HV_CHECK(w->offset <= plan.data_bytes && w->length <= plan.data_bytes - w->offset);
        memcpy(machine.memory + w->address, plan.data + w->offset, w->length);
    }
    virtio_apply(v, &plan, &disk);
}

/* A step forward each time: a plan that does nothing leaves no work. */
static void run(struct virtio *v)
{
    uint32_t plans = 0;

    while (virtio_has_work(v)) {
        prepare(v);
        HV_CHECK(plan.write_count || plan.broken || !virtio_has_work(&plan.after));
        apply(v);
        /* A ring that the device itself writes its answers into may go on for ever, plan by plan. */
        if (++plans == 64)
            return;
    }
}

static void setup(struct virtio *v, uint32_t size_shift)
{
    uint64_t features = v->offered;

    v->pci.command = VIRTIO_COMMAND_MEMORY | VIRTIO_COMMAND_MASTER;
    virtio_bar_write(v, 0x14, 1, 0);
    for (uint32_t i = 0; i < 2; i++) {
        virtio_bar_write(v, 0x08, 4, i);
        virtio_bar_write(v, 0x0C, 4, features >> 32 * i);
    }
    virtio_bar_write(v, 0x14, 1, 11);
    for (uint32_t q = 0; q < v->queue_count; q++) {
        virtio_bar_write(v, 0x16, 2, q);
        virtio_bar_write(v, 0x18, 2, UINT64_C(1) << size_shift);
        virtio_bar_write(v, 0x20, 8, DESC + PAGE_SIZE * q);
        virtio_bar_write(v, 0x28, 8, DRIVER + PAGE_SIZE * q);
        virtio_bar_write(v, 0x30, 8, DEVICE + PAGE_SIZE * q);
        virtio_bar_write(v, 0x1C, 2, 1);
    }
    virtio_bar_write(v, 0x14, 1, 15);
}

/* Puts `value` where memory is, `bytes` of it. */
static void poke(uint32_t address, uint64_t value, uint32_t bytes)
{
    if (address <= BYTES - bytes)
        memcpy(machine.memory + address, &value, bytes);
}

/* A descriptor: `what` has its length, flags and the next one. */
static void describe(const struct step *s)
{
    uint32_t at = DESC + s->where % 2 * PAGE_SIZE + 16 * (s->where / 2 % VIRTIO_QUEUE_SIZE);

    poke(at, s->value % (BYTES + 16), 8);
    poke(at + 8, s->what & 0xFFFF, 4);
    poke(at + 12, s->what >> 16 & 7, 2);
    poke(at + 14, s->what >> 20, 2);
}

static void offer(const struct virtio *v, const struct step *s)
{
    uint32_t queue = s->where % 2, at = DRIVER + PAGE_SIZE * queue;
    uint32_t index = machine.memory[at + 2] | (uint32_t)machine.memory[at + 3] << 8;

    if (v->queue[queue].size)
        poke(at + 4 + 2 * (index % v->queue[queue].size), s->what, 2);
    poke(at + 2, index + 1, 2);
}

static void do_step(const struct step *s)
{
    struct virtio *v = &machine.bus.slot[1 + s->slot % (VIRTIO_SLOTS - 1)];
    struct virtio_message message;
    uint32_t offset;

    switch (s->action % ACTIONS) {
    case SETUP:
        setup(v, s->what % 8);
        break;
    case BAR_READ:
        (void)virtio_bar_read(v, s->where, s->what);
        break;
    case BAR_WRITE:
        virtio_bar_write(v, s->where, s->what % 16, s->value);
        break;
    case CFG_READ:
        (void)virtio_config_read(&machine.bus, s->slot, s->where, s->what);
        break;
    case CFG_WRITE:
        virtio_config_write(&machine.bus, s->slot % 8, s->where % 512, s->what, (uint32_t)s->value);
        (void)virtio_bus_find(&machine.bus, s->value, &offset);
        break;
    case POKE:
        poke(s->what % BYTES, s->value, 8);
        break;
    case DESCRIBE:
        describe(s);
        break;
    case OFFER:
        offer(v, s);
        break;
    case NOTIFY:
        virtio_bar_write(v, VIRTIO_BAR_NOTIFY + s->where % 16, 2, s->value);
        break;
    case RUN:
        run(v);
        break;
    case DROP:
        prepare(v);
        break;
    default:
        while (virtio_next_message(v, &message))
            HV_CHECK((message.address & 3) == 0);
        break;
    }
    check_device(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtio_config config = {
        .disk_sectors = SECTORS, .disk_read_only = size % 8 == 7, .net = true, .mac = {2, 0, 0, 0, 0, 1}};
    struct step s;

    memset(&machine, 0, sizeof(machine));
    virtio_bus_reset(&machine.bus, &config);
    for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
        memcpy(&s, data, sizeof(s));
        do_step(&s);
    }
    return 0;
}
