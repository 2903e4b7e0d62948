/* The guest's port map and interrupt lines. See ports.h. */
#include "drivers/vdev/ports.h"

#include "drivers/vdev/ticks.h"

#include <string.h>

#define ALL_ONES       UINT32_C(0xFFFFFFFF)
#define TSC_HZ_UNKNOWN UINT64_C(1000000000)

/* Reset control (ICH data sheets, CF9H): the reset happens when RST_CPU rises. */
#define RESET_BITS UINT8_C(0x0E)
#define RESET_CPU  UINT8_C(0x04)

void vports_reset(struct vports *p, const struct vports_config *config)
{
    memset(p, 0, sizeof(*p));
    p->tsc_hz = config->tsc_hz ? config->tsc_hz : TSC_HZ_UNKNOWN;
    vuart_reset(&p->uart);
    vpic_reset(&p->pic);
    vioapic_reset(&p->ioapic, vplat_ioapic_id(config->vcpus));
    vpit_reset(&p->pit);
    vrtc_reset(&p->rtc, config->memory_bytes);
    vpm_reset(&p->pm);
    vkbc_reset(&p->kbc);
    vpci_reset(&p->pci, &config->virtio);
}

/* ---- Interrupt lines ---- */

/* ISA interrupt `irq` goes to both controllers. */
static void set_irq(struct vports *p, uint32_t irq, bool level)
{
    vpic_line(&p->pic, irq, level);
    vioapic_line(&p->ioapic, irq == VPLAT_IRQ_PIT ? VPLAT_PIN_PIT : irq, level);
}

static void set_lines(struct vports *p)
{
    if (vpit_take_edge(&p->pit)) {
        set_irq(p, VPLAT_IRQ_PIT, false);
        set_irq(p, VPLAT_IRQ_PIT, true);
    }
    set_irq(p, VPLAT_IRQ_PIT, vpit_output(&p->pit));
    set_irq(p, VPLAT_IRQ_COM1, vuart_irq(&p->uart));
    set_irq(p, VPLAT_IRQ_RTC, vrtc_irq(&p->rtc));
    set_irq(p, VPLAT_IRQ_SCI, vpm_sci(&p->pm));
    for (uint32_t i = 0; i < VIRTIO_SLOTS; i++) {
        if (p->pci.bus.slot[i].kind != VIRTIO_NONE)
            set_irq(p, virtio_bus_irq(i), virtio_intx(&p->pci.bus.slot[i]));
    }
}

void vports_advance(struct vports *p, uint64_t now)
{
    p->now = MAX(p->now, now);
    vpit_advance(&p->pit, ticks_at(p->now, p->tsc_hz, VPLAT_PIT_HZ));
    vrtc_advance(&p->rtc, ticks_at(p->now, p->tsc_hz, VRTC_HZ));
    vpm_advance(&p->pm, ticks_at(p->now, p->tsc_hz, VPLAT_PM_TIMER_HZ));
    set_lines(p);
}

void vports_set_clock(struct vports *p, uint64_t seconds, uint64_t now)
{
    vports_advance(p, now);
    vrtc_set(&p->rtc, seconds, p->rtc.now);
}

/* Someone hears `irq`. What nobody hears is found out when somebody looks. */
static bool heard(const struct vports *p, uint32_t irq)
{
    return vpic_hears(&p->pic, irq) || vioapic_hears(&p->ioapic, irq == VPLAT_IRQ_PIT ? VPLAT_PIN_PIT : irq);
}

static uint64_t deadline(const struct vports *p, uint32_t irq, uint64_t tick, uint32_t hz)
{
    return tick != UINT64_MAX && heard(p, irq) ? ticks_when(tick, p->tsc_hz, hz) : TICKS_NEVER;
}

uint64_t vports_next_deadline(const struct vports *p)
{
    uint64_t pit = deadline(p, VPLAT_IRQ_PIT, vpit_next_edge(&p->pit), VPLAT_PIT_HZ);
    uint64_t rtc = deadline(p, VPLAT_IRQ_RTC, vrtc_next_irq(&p->rtc), VRTC_HZ);
    uint64_t pm = deadline(p, VPLAT_IRQ_SCI, vpm_next_sci(&p->pm), VPLAT_PM_TIMER_HZ);

    return MIN(pit, MIN(rtc, pm));
}

/* Message address and data (SDM 3A 11.11); always taken as an edge, as functions have no level to tell. */
#define MSI_ADDRESS(a) ((a) >> 20 == 0xFEE)
#define MSI_DEST(a)    ((uint8_t)((a) >> 12))
#define MSI_LOGICAL(a) ((uint8_t)((a) >> 2 & 1))
#define MSI_MODE(d)    ((uint8_t)((d) >> 8 & 7))

/* What a function sends elsewhere is a write that no memory and no device takes. */
static bool next_msi(struct virtio *v, struct vioapic_message *message)
{
    struct virtio_message msi;

    while (virtio_next_message(v, &msi)) {
        if (!MSI_ADDRESS(msi.address))
            continue;
        *message = (struct vioapic_message){.vector = (uint8_t)msi.data,
                                            .mode = MSI_MODE(msi.data),
                                            .dest = MSI_DEST(msi.address),
                                            .logical = MSI_LOGICAL(msi.address)};
        return true;
    }
    return false;
}

bool vports_next_message(struct vports *p, struct vioapic_message *message)
{
    if (vioapic_next(&p->ioapic, message))
        return true;
    for (uint32_t i = 0; i < VIRTIO_SLOTS; i++) {
        if (next_msi(&p->pci.bus.slot[i], message))
            return true;
    }
    return false;
}

bool vports_intr(const struct vports *p)
{
    return vpic_intr(&p->pic);
}

uint8_t vports_intr_vector(const struct vports *p)
{
    return vpic_peek(&p->pic);
}

uint8_t vports_acknowledge(struct vports *p)
{
    return vpic_acknowledge(&p->pic);
}

/* ---- I/O APIC ---- */

uint32_t vports_ioapic_read(struct vports *p, uint32_t offset)
{
    return vioapic_read(&p->ioapic, offset);
}

/* A line that went up before now is no edge any more: so time passes first. */
void vports_ioapic_write(struct vports *p, uint32_t offset, uint32_t value, uint64_t now)
{
    vports_advance(p, now);
    vioapic_write(&p->ioapic, offset, value);
}

void vports_eoi(struct vports *p, uint8_t vector)
{
    vioapic_eoi(&p->ioapic, vector);
}

/* ---- PCI functions ---- */

uint64_t vports_window_read(struct vports *p, uint64_t address, uint32_t size)
{
    uint32_t offset;
    struct virtio *v = virtio_bus_find(&p->pci.bus, address, &offset);
    uint64_t value = v ? virtio_bar_read(v, offset, size) : UINT64_MAX;

    set_lines(p);
    return size < sizeof(value) ? value & (BIT(8 * size) - 1) : value;
}

void vports_window_write(struct vports *p, uint64_t address, uint32_t size, uint64_t value)
{
    uint32_t offset;
    struct virtio *v = virtio_bus_find(&p->pci.bus, address, &offset);

    if (v)
        virtio_bar_write(v, offset, size, value);
    set_lines(p);
}

void vports_devices_changed(struct vports *p)
{
    set_lines(p);
}

uint32_t vports_busy_function(const struct vports *p)
{
    uint32_t slot = 0;

    while (slot < VIRTIO_SLOTS && !virtio_has_work(&p->pci.bus.slot[slot]))
        slot++;
    return slot;
}

/* ---- Ports ---- */

enum device {
    DEVICE_NONE,
    DEVICE_PIC_MASTER,
    DEVICE_PIT,
    DEVICE_KBC_DATA,
    DEVICE_PORT_B,
    DEVICE_KBC_COMMAND,
    DEVICE_RTC,
    DEVICE_PIC_SLAVE,
    DEVICE_COM1,
    DEVICE_ELCR,
    DEVICE_PM,
    DEVICE_RESET,
    DEVICE_PCI_DATA,
};

static const struct {
    uint16_t port;
    uint8_t count;
    uint8_t device;
    bool time; /* what it does or says depends on the time */
} map[] = {
    {VPLAT_PIC_MASTER, 2, DEVICE_PIC_MASTER, true},
    {VPLAT_PIT, 4, DEVICE_PIT, true},
    {VPLAT_KBC_DATA, 1, DEVICE_KBC_DATA, false},
    {VPLAT_PORT_B, 1, DEVICE_PORT_B, true},
    {VPLAT_KBC_COMMAND, 1, DEVICE_KBC_COMMAND, false},
    {VPLAT_RTC_INDEX, 2, DEVICE_RTC, true},
    {VPLAT_PIC_SLAVE, 2, DEVICE_PIC_SLAVE, true},
    {VPLAT_COM1, VUART_PORTS, DEVICE_COM1, false},
    {VPLAT_ELCR, 2, DEVICE_ELCR, true},
    {VPLAT_PM1_EVENT, VPM_PORTS, DEVICE_PM, true},
    {VPLAT_RESET, 1, DEVICE_RESET, false},
    {VPLAT_PCI_DATA, 4, DEVICE_PCI_DATA, false},
};

/* The entry of `port` (above FFFFH: none), or -1. */
static int find(uint32_t port)
{
    for (unsigned i = 0; i < ARRAY_LEN(map); i++) {
        if (port >= map[i].port && port < (uint32_t)map[i].port + map[i].count)
            return (int)i;
    }
    return -1;
}

static bool valid_size(uint32_t size)
{
    return size == 1 || size == 2 || size == 4;
}

static uint32_t size_mask(uint32_t size)
{
    return ALL_ONES >> (32 - 8 * size);
}

static bool is_pci_address(uint16_t port, uint32_t size)
{
    return port == VPLAT_PCI_ADDRESS && size == 4;
}

/* One access of CONFIG_DATA, not bytes of it: some registers take only their own width. */
static bool is_pci_data(uint16_t port, uint32_t size)
{
    return port >= VPLAT_PCI_DATA && port + size <= VPLAT_PCI_DATA + 4u;
}

/* Whether an access of `size` bytes at `port` reaches no device at all. */
static bool nothing_there(uint16_t port, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (find(port + i) >= 0)
            return false;
    }
    return port != VPORT_EXIT && !is_pci_address(port, size);
}

bool vports_uses_time(uint16_t port, uint32_t size)
{
    int entry;

    for (uint32_t i = 0; i < size && i < 4; i++) {
        entry = find(port + i);
        if (entry >= 0 && map[entry].time)
            return true;
    }
    return false;
}

static uint8_t read_byte(struct vports *p, uint32_t port)
{
    int entry = find(port);
    uint32_t offset = entry >= 0 ? port - map[entry].port : 0;

    switch (entry >= 0 ? map[entry].device : DEVICE_NONE) {
    case DEVICE_PIC_MASTER:
        return vpic_read(&p->pic, 0, offset);
    case DEVICE_PIC_SLAVE:
        return vpic_read(&p->pic, 1, offset);
    case DEVICE_ELCR:
        return vpic_read_elcr(&p->pic, offset);
    case DEVICE_PIT:
        return vpit_read(&p->pit, offset);
    case DEVICE_PORT_B:
        return vpit_read_port_b(&p->pit);
    case DEVICE_KBC_DATA:
        return vkbc_read_data(&p->kbc);
    case DEVICE_KBC_COMMAND:
        return vkbc_read_status(&p->kbc);
    case DEVICE_RTC:
        return offset ? vrtc_read(&p->rtc) : UINT8_MAX;
    case DEVICE_COM1:
        return vuart_read(&p->uart, offset);
    case DEVICE_PM:
        return vpm_read(&p->pm, offset);
    case DEVICE_RESET:
        return p->reset;
    case DEVICE_PCI_DATA:
        return (uint8_t)vpci_read_data(&p->pci, offset, 1);
    default:
        return UINT8_MAX;
    }
}

uint32_t vports_in(struct vports *p, uint16_t port, uint32_t size, uint64_t now)
{
    uint32_t value = 0;

    if (!valid_size(size))
        return 0;
    if (vports_uses_time(port, size))
        vports_advance(p, now);
    if (nothing_there(port, size))
        p->unknown_reads++;
    if (is_pci_address(port, size))
        return vpci_read_address(&p->pci);
    if (is_pci_data(port, size)) {
        value = vpci_read_data(&p->pci, port - VPLAT_PCI_DATA, size);
        set_lines(p);
        return value;
    }
    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)read_byte(p, port + i) << 8 * i;
    set_lines(p);
    return value;
}

static void end_guest(struct vports *p, enum vports_kind kind, uint32_t value, struct vports_effect *effect)
{
    if (p->exited)
        return;
    p->exited = 1;
    *effect = (struct vports_effect){.kind = kind, .value = value};
}

static bool write_reset(struct vports *p, uint8_t value)
{
    bool rises = (value & RESET_CPU) && !(p->reset & RESET_CPU);

    p->reset = value & RESET_BITS;
    return rises;
}

static void write_com1(struct vports *p, uint32_t offset, uint8_t value, struct vports_effect *effect)
{
    struct vuart_out out;

    vuart_write(&p->uart, offset, value, &out);
    if (out.sent) /* the data register is one port, so this is true at most once */
        *effect = (struct vports_effect){.kind = VPORTS_CONSOLE, .value = out.byte};
}

static void write_rtc(struct vrtc *r, uint32_t offset, uint8_t value)
{
    if (offset)
        vrtc_write(r, value);
    else
        vrtc_select(r, value);
}

static void write_byte(struct vports *p, uint32_t port, uint8_t value, struct vports_effect *effect)
{
    int entry = find(port);
    uint32_t offset = entry >= 0 ? port - map[entry].port : 0;
    bool reset = false;

    switch (entry >= 0 ? map[entry].device : DEVICE_NONE) {
    case DEVICE_PIC_MASTER:
        vpic_write(&p->pic, 0, offset, value);
        break;
    case DEVICE_PIC_SLAVE:
        vpic_write(&p->pic, 1, offset, value);
        break;
    case DEVICE_ELCR:
        vpic_write_elcr(&p->pic, offset, value);
        break;
    case DEVICE_PIT:
        vpit_write(&p->pit, offset, value);
        break;
    case DEVICE_PORT_B:
        vpit_write_port_b(&p->pit, value);
        break;
    case DEVICE_KBC_DATA:
        reset = vkbc_write_data(&p->kbc, value);
        break;
    case DEVICE_KBC_COMMAND:
        reset = vkbc_write_command(&p->kbc, value);
        break;
    case DEVICE_RTC:
        write_rtc(&p->rtc, offset, value);
        break;
    case DEVICE_COM1:
        write_com1(p, offset, value, effect);
        break;
    case DEVICE_PM:
        if (vpm_write(&p->pm, offset, value))
            end_guest(p, VPORTS_POWER_OFF, 0, effect);
        break;
    case DEVICE_RESET:
        reset = write_reset(p, value);
        break;
    case DEVICE_PCI_DATA:
        vpci_write_data(&p->pci, offset, 1, value);
        break;
    default:
        break;
    }
    if (reset)
        end_guest(p, VPORTS_RESET, 0, effect);
}

void vports_out(struct vports *p, uint16_t port, uint32_t size, uint32_t value, uint64_t now,
                struct vports_effect *effect)
{
    *effect = (struct vports_effect){.kind = VPORTS_NONE};
    if (!valid_size(size))
        return;
    if (vports_uses_time(port, size))
        vports_advance(p, now);
    if (nothing_there(port, size))
        p->unknown_writes++;
    if (is_pci_address(port, size)) {
        vpci_write_address(&p->pci, value);
        return;
    }
    if (is_pci_data(port, size)) {
        vpci_write_data(&p->pci, port - VPLAT_PCI_DATA, size, value);
        set_lines(p);
        return;
    }
    if (port == VPORT_EXIT) {
        if (!p->exited)
            p->exit_status = value & size_mask(size);
        end_guest(p, VPORTS_EXIT, value & size_mask(size), effect);
    }
    for (uint32_t i = 0; i < size; i++)
        write_byte(p, port + i, (uint8_t)(value >> 8 * i), effect);
    set_lines(p);
}

bool vports_receive(struct vports *p, uint8_t byte)
{
    bool taken = vuart_receive(&p->uart, byte);

    set_lines(p);
    return taken;
}
