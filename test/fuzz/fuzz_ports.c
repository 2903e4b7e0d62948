/*
 * The guest's devices under any sequence of INs, OUTs, I/O APIC accesses, received bytes and passing time:
 * reads stay inside their size, there is at most one end, each device keeps its invariants, messages run dry,
 * and a deadline once reached is no deadline any more.
 */
#include <string.h>

#include "drivers/vdev/ports.h"
#include "hv/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    IN,
    OUT,
    RECEIVE,
    WAIT,
    LEAP,
    IOAPIC_READ,
    IOAPIC_WRITE,
    EOI,
    WINDOW_READ,
    WINDOW_WRITE,
    ACKNOWLEDGE,
    ACTIONS
};

struct step {
    uint8_t action;
    uint8_t size;
    uint16_t port;
    uint32_t value;
};

_Static_assert(sizeof(struct step) == 8, "steps are read as bytes");

static void check_uart(const struct vuart *u)
{
    HV_CHECK(u->rx_count <= ((u->fcr & 1) != 0 ? VUART_FIFO_SIZE : 1));
    for (uint32_t i = u->rx_count; i < VUART_FIFO_SIZE; i++)
        HV_CHECK(u->rx[i] == 0);
    HV_CHECK(u->ier <= 0x0F && u->mcr <= 0x1F && u->msr_delta <= 0x0F);
    for (uint32_t i = 0; i < sizeof(u->reserved); i++)
        HV_CHECK(u->reserved[i] == 0);
    (void)vuart_irq(u);
}

static uint64_t now;

static void check_interrupts(struct vports *p)
{
    struct vioapic_message m;
    uint32_t messages = 0;

    while (vports_next_message(p, &m)) {
        HV_CHECK(++messages <= 2 * VPLAT_IOAPIC_PINS);
        HV_CHECK(m.mode <= 7 && m.level <= 1 && m.logical <= 1);
    }
    HV_CHECK(vports_intr(p) || (vports_intr_vector(p) & 7) == 7);
}

static void check_clocks(const struct vports *p)
{
    for (uint32_t i = 0; i < VPIT_COUNTERS; i++) {
        HV_CHECK(p->pit.counter[i].count >= 1 && p->pit.counter[i].count <= 0x10000);
        HV_CHECK(p->pit.counter[i].mode <= 5 && p->pit.counter[i].access >= 1);
    }
    HV_CHECK(p->rtc.index < VRTC_BYTES);
    HV_CHECK(vports_next_deadline(p) > p->now);
}

/* To the deadline, if there is one that is near enough. */
static void leap(struct vports *p)
{
    uint64_t deadline = vports_next_deadline(p);

    if (deadline < UINT64_C(1) << 60)
        now = MAX(now, deadline);
    vports_advance(p, now);
}

static void do_out(struct vports *p, const struct step *s)
{
    uint8_t exited = p->exited;
    struct vports_effect e;

    memset(&e, 0xAA, sizeof(e));
    vports_out(p, s->port, s->size, s->value, now, &e);
    HV_CHECK(e.kind <= VPORTS_RESET);
    HV_CHECK(e.kind != VPORTS_CONSOLE || e.value <= UINT8_MAX);
    HV_CHECK((e.kind >= VPORTS_EXIT) == (p->exited != exited));
    HV_CHECK(p->exited >= exited);
}

static void do_in(struct vports *p, const struct step *s)
{
    uint32_t value = vports_in(p, s->port, s->size, now);

    HV_CHECK(s->size >= 4 || value >> 8 * s->size == 0);
}

static void do_step(struct vports *p, const struct step *s)
{
    switch (s->action % ACTIONS) {
    case IN:
        do_in(p, s);
        break;
    case OUT:
        do_out(p, s);
        break;
    case RECEIVE:
        (void)vports_receive(p, (uint8_t)s->value);
        break;
    case WAIT:
        now += (uint64_t)s->value << s->size % 24;
        vports_advance(p, now);
        break;
    case LEAP:
        leap(p);
        break;
    case IOAPIC_READ:
        (void)vports_ioapic_read(p, s->port & PAGE_MASK);
        break;
    case IOAPIC_WRITE:
        vports_ioapic_write(p, s->port & PAGE_MASK, s->value, now);
        break;
    case EOI:
        vports_eoi(p, (uint8_t)s->value);
        break;
    case WINDOW_READ:
        (void)vports_window_read(p, VPLAT_PCI_MEMORY + s->port, s->size % 16);
        break;
    case WINDOW_WRITE:
        vports_window_write(p, VPLAT_PCI_MEMORY + s->port, s->size % 16, s->value);
        HV_CHECK(vports_busy_function(p) <= VIRTIO_SLOTS);
        break;
    default:
        (void)vports_acknowledge(p);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vports_config config = {.tsc_hz = 2400000000,
                                                .memory_bytes = UINT64_C(3) << 30,
                                                .vcpus = 4,
                                                .virtio = {.disk_sectors = 9, .net = true}};
    struct vports p;
    struct step s;

    now = 0;
    vports_reset(&p, &config);
    for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
        memcpy(&s, data, sizeof(s));
        do_step(&p, &s);
        check_uart(&p.uart);
        check_interrupts(&p);
        check_clocks(&p);
    }
    return 0;
}
