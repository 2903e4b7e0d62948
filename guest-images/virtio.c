/*
 * The virtio devices on the PCI bus, driven as the specification says: the entropy device fills buffers, and
 * each ping that the network device sends is answered into a buffer of the other queue. Completions are
 * interrupts by MSI-X, to the last CPU. `n` is the number of buffers, and of pings.
 */
#include "guest-images/lib/guest.h"

#include <string.h>

#define VECTOR    0x80
#define DEFAULT_N 20
#define SLOTS     32
#define SIZE      8 /* of a queue */

/* Configuration space, mechanism #1 */
#define CONFIG_ADDRESS 0xCF8
#define CONFIG_DATA    0xCFC
#define CONFIG_ENABLE  0x80000000u
#define COMMAND        0x04
#define BAR_0          0x10
#define CAPABILITIES   0x34
#define MEMORY_MASTER  6
#define CAP_MSIX       0x11
#define CAP_VENDOR     0x09
#define MSIX_ENABLE    0x80000000u
#define ID_NET         0x10411AF4u
#define ID_RNG         0x10441AF4u

/* Page tables of the start-up code: large pages. */
#define PRESENT_WRITE_UNCACHED_LARGE 0x9Bu
#define ENTRY_ADDRESS                0x000FFFFFFFFFF000u
#define PAGE_2M                      (2u << 20)

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct queue {
    struct descriptor desc[SIZE];
    uint16_t avail[2 + SIZE];        /* flags, index, ring */
    uint8_t gap[2048];               /* the device writes into a page that the driver does not */
    _Alignas(4096) uint16_t used[2]; /* flags, index */
    struct {
        uint32_t head, length;
    } done[SIZE];
};

struct device {
    unsigned slot;
    volatile uint8_t *common, *notify, *msix;
    struct queue *queue[2];
};

static atomic_uint interrupts, at_wrong_cpu;

static uint32_t config_read(unsigned slot, unsigned offset)
{
    uint32_t value;

    outl(CONFIG_ADDRESS, CONFIG_ENABLE | slot << 11 | offset);
    __asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(CONFIG_DATA));
    return value;
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
    outl(CONFIG_ADDRESS, CONFIG_ENABLE | slot << 11 | offset);
    outl(CONFIG_DATA, value);
}

static void map(uint64_t address)
{
    uint64_t *table = (uint64_t *)(read_cr3() & ENTRY_ADDRESS);

    table = (uint64_t *)(table[address >> 39 & 511] & ENTRY_ADDRESS);
    table = (uint64_t *)(table[address >> 30 & 511] & ENTRY_ADDRESS);
    table[address >> 21 & 511] = (address & ~(uint64_t)(PAGE_2M - 1)) | PRESENT_WRITE_UNCACHED_LARGE;
    invlpg(address);
}

static void set16(volatile uint8_t *at, uint16_t value)
{
    *(volatile uint16_t *)at = value;
}

static void set32(volatile uint8_t *at, uint64_t value)
{
    *(volatile uint32_t *)at = (uint32_t)value;
}

static bool find_registers(struct device *d)
{
    volatile uint8_t *bar;
    unsigned at = config_read(d->slot, CAPABILITIES) & 0xFC;

    bar = (volatile uint8_t *)(uintptr_t)(config_read(d->slot, BAR_0) & ~15u);
    map((uintptr_t)bar);
    config_write(d->slot, COMMAND, MEMORY_MASTER);
    for (; at; at = config_read(d->slot, at) >> 8 & 0xFC) {
        uint32_t head = config_read(d->slot, at);
        if ((head & 0xFF) == CAP_MSIX) {
            d->msix = bar + (config_read(d->slot, at + 4) & ~7u);
            config_write(d->slot, at, head | MSIX_ENABLE);
        } else if ((head & 0xFF) == CAP_VENDOR && head >> 24 == 1) {
            d->common = bar + config_read(d->slot, at + 8);
        } else if ((head & 0xFF) == CAP_VENDOR && head >> 24 == 2) {
            d->notify = bar + config_read(d->slot, at + 8);
        }
    }
    return d->common && d->notify && d->msix;
}

static void set_up_queue(struct device *d, unsigned i)
{
    struct queue *q = d->queue[i] = memory_pages(sizeof(*q));

    set16(d->common + 0x16, (uint16_t)i);
    set16(d->common + 0x18, SIZE);
    set16(d->common + 0x1A, 0);
    set32(d->common + 0x20, (uintptr_t)q->desc);
    set32(d->common + 0x28, (uintptr_t)q->avail);
    set32(d->common + 0x30, (uintptr_t)q->used);
    set16(d->common + 0x1C, 1);
}

static bool start(struct device *d, uint32_t id, unsigned queues)
{
    for (d->slot = 0; d->slot < SLOTS && config_read(d->slot, 0) != id; d->slot++)
        ;
    if (d->slot == SLOTS || !find_registers(d))
        return false;
    d->common[0x14] = 0;
    d->common[0x14] = 3;
    set32(d->common + 0x08, 1);
    set32(d->common + 0x0C, 1); /* VIRTIO_F_VERSION_1, and nothing else */
    d->common[0x14] = 11;
    set32(d->msix, 0xFEE00000u | (cpu_count() - 1) << 12);
    set32(d->msix + 4, 0);
    set32(d->msix + 8, VECTOR);
    set32(d->msix + 12, 0);
    for (unsigned i = 0; i < queues; i++)
        set_up_queue(d, i);
    d->common[0x14] = 15;
    return d->common[0x14] == 15;
}

/* Makes one buffer available; writable for the device or not. */
static void offer(struct device *d, unsigned queue, void *buffer, uint32_t length, bool writable)
{
    struct queue *q = d->queue[queue];
    uint16_t index = q->avail[1], slot = index % SIZE;

    q->desc[slot] = (struct descriptor){(uintptr_t)buffer, length, writable ? 2 : 0, 0};
    q->avail[2 + slot] = slot;
    atomic_thread_fence(memory_order_seq_cst);
    *(volatile uint16_t *)&q->avail[1] = (uint16_t)(index + 1);
    atomic_thread_fence(memory_order_seq_cst);
    set16(d->notify + 4 * queue, (uint16_t)queue);
}

/* Waits until all that was offered is used; the length of the last. */
static uint32_t collect(struct device *d, unsigned queue)
{
    struct queue *q = d->queue[queue];

    while (*(volatile uint16_t *)&q->used[1] != q->avail[1])
        cpu_relax();
    return q->done[(uint16_t)(q->used[1] - 1) % SIZE].length;
}

static void take_interrupt(void)
{
    atomic_fetch_add(&interrupts, 1);
    if (cpu_id() != cpu_count() - 1)
        atomic_fetch_add(&at_wrong_cpu, 1);
}

static void try_rng(unsigned n)
{
    struct device d = {0};
    uint64_t *buffer = memory_pages(PAGE_BYTES), before = 0;
    unsigned short_ones = 0, same = 0;

    if (!start(&d, ID_RNG, 1)) {
        say("result: no entropy device\n");
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        offer(&d, 0, buffer, 64, true);
        short_ones += collect(&d, 0) != 64;
        same += buffer[0] == before || buffer[0] == buffer[7];
        before = buffer[0];
    }
    say("result: entropy device: %u buffers, %u short, %u the same\n", n, short_ones, same);
}

static uint32_t sum(const uint8_t *b, unsigned bytes)
{
    uint32_t s = 0;

    for (unsigned i = 0; i < bytes; i++)
        s += (uint32_t)b[i] << (i % 2 ? 0 : 8);
    while (s >> 16)
        s = (s & 0xFFFF) + (s >> 16);
    return ~s & 0xFFFF;
}

static void put_sum(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* A ping of 64 bytes from 10.0.2.15 to 10.0.2.2, behind the device's header. */
static unsigned make_ping(uint8_t *p, uint8_t number)
{
    static const uint8_t head[] = {
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0,  0, 0, 15, 8,  0,                     /* Ethernet */
        0x45, 0,    0,    84,   0,    0,    0, 0, 64, 1, 0, 0,  10, 0, 2, 15, 10, 0, 2, 2, /* IP */
        8,    0,    0,    0,    0,    1,    0};
    uint8_t *frame = p + 12;

    memset(p, 0, 12 + 98);
    memcpy(frame, head, sizeof(head));
    frame[41] = number;
    for (unsigned i = 42; i < 98; i++)
        frame[i] = (uint8_t)(i * number);
    put_sum(frame + 24, sum(frame + 14, 20));
    put_sum(frame + 36, sum(frame + 34, 64));
    return 12 + 98;
}

static void try_net(unsigned n)
{
    struct device d = {0};
    uint8_t *out = memory_pages(PAGE_BYTES), *in = memory_pages(PAGE_BYTES);
    unsigned wrong = 0;

    if (!start(&d, ID_NET, 2)) {
        say("result: no network device\n");
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned bytes = make_ping(out, (uint8_t)i);
        memset(in, 0, bytes);
        offer(&d, 0, in, 1526, true);
        offer(&d, 1, out, bytes, false);
        collect(&d, 1);
        wrong += collect(&d, 0) != bytes || in[12 + 34] != 0 || memcmp(in + 50, out + 50, bytes - 50) != 0 ||
                 sum(in + 12 + 34, 64) != 0;
    }
    say("result: network device: %u pings, %u wrong answers\n", n, wrong);
}

int main(void)
{
    unsigned n = (unsigned)arg_number("n", DEFAULT_N);

    interrupt_set(VECTOR, take_interrupt);
    interrupts_on();
    try_rng(n);
    try_net(n);
    say("result: interrupts: %s, at a wrong CPU %u\n", atomic_load(&interrupts) ? "yes" : "no",
        atomic_load(&at_wrong_cpu));
    return 0;
}
