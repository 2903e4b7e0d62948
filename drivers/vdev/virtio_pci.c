/* Configuration space of the virtio functions. See virtio_pci.h. */
#include "drivers/vdev/virtio_pci.h"

#include "drivers/vdev/platform.h"

#include <string.h>

#define VENDOR      0x1AF4u
#define DEVICE_BASE 0x1040u /* + virtio device ID: a modern device (virtio 4.1.2) */
#define REVISION    1u

/* Configuration space header, type 0 (PCI 6.1). */
enum header {
    VENDOR_ID = 0x00,
    DEVICE_ID = 0x02,
    COMMAND = 0x04,
    STATUS = 0x06,
    REVISION_ID = 0x08,
    CLASS_CODE = 0x09, /* three bytes */
    BAR_0 = 0x10,
    SUBSYSTEM_VENDOR = 0x2C,
    SUBSYSTEM_ID = 0x2E,
    CAPABILITIES = 0x34,
    INTERRUPT_LINE = 0x3C,
    INTERRUPT_PIN = 0x3D,
    HEADER_BYTES = 0x100,
};

#define STATUS_INTERRUPT    UINT16_C(0x0008)
#define STATUS_CAPABILITIES UINT16_C(0x0010)
#define PIN_A               1u

/* Capabilities, one behind the other: ID and place of the next first (PCI 6.7; virtio 4.1.4). */
enum capability {
    CAP_COMMON = 0x40,
    CAP_NOTIFY = 0x50,
    CAP_ISR = 0x64,
    CAP_DEVICE = 0x74,
    CAP_WINDOW = 0x84,
    CAP_MSIX = 0x98,
    CAP_NONE = 0,
};

#define CAP_ID_VENDOR 0x09u
#define CAP_ID_MSIX   0x11u

enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_ISR = 3, CFG_DEVICE = 4, CFG_WINDOW = 5 };

/* struct virtio_pci_cap. */
#define CAP_LENGTH    2u
#define CAP_TYPE      3u
#define CAP_BAR       4u
#define CAP_OFFSET    8u
#define CAP_BYTES     12u
#define CAP_EXTRA     16u /* notify: multiplier; window: data */
#define WINDOW_BAR    (CAP_WINDOW + CAP_BAR)
#define WINDOW_OFFSET (CAP_WINDOW + CAP_OFFSET)
#define WINDOW_LENGTH (CAP_WINDOW + CAP_BYTES)
#define WINDOW_DATA   (CAP_WINDOW + CAP_EXTRA)
#define MSIX_CONTROL  (CAP_MSIX + 2)
#define DEVICE_BYTES  64u /* of device-specific configuration, padding included */
#define COMMAND_BITS  (VIRTIO_COMMAND_MEMORY | VIRTIO_COMMAND_MASTER | VIRTIO_COMMAND_NO_INTX)
#define MSIX_BITS     (VIRTIO_MSIX_ENABLE | VIRTIO_MSIX_MASK)

_Static_assert(CAP_NOTIFY == CAP_COMMON + CAP_EXTRA && CAP_ISR == CAP_NOTIFY + CAP_EXTRA + 4 &&
                   CAP_DEVICE == CAP_ISR + CAP_EXTRA && CAP_WINDOW == CAP_DEVICE + CAP_EXTRA &&
                   CAP_MSIX == CAP_WINDOW + CAP_EXTRA + 4,
               "capabilities do not overlap");
_Static_assert(VIRTIO_SLOTS *VIRTIO_BAR_BYTES <= VPLAT_PCI_MEMORY_BYTES, "BARs are in the window");

/* ---- Reads ---- */

static void put(uint8_t *b, uint32_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t class_of(uint32_t kind)
{
    switch (kind) {
    case VIRTIO_BLK:
        return 0x018000; /* mass storage, other (PCI appendix D) */
    case VIRTIO_NET:
        return 0x020000; /* Ethernet */
    default:
        return 0xFF0000; /* none of the classes */
    }
}

static void put_capability(uint8_t *image, uint32_t at, uint32_t next, enum cfg_type type, uint32_t offset,
                           uint32_t bytes)
{
    image[at] = CAP_ID_VENDOR;
    image[at + 1] = (uint8_t)next;
    image[at + CAP_LENGTH] = type == CFG_NOTIFY || type == CFG_WINDOW ? CAP_EXTRA + 4 : CAP_EXTRA;
    image[at + CAP_TYPE] = (uint8_t)type;
    put(image + at + CAP_OFFSET, offset, 4);
    put(image + at + CAP_BYTES, bytes, 4);
}

static void fill_capabilities(const struct virtio *v, uint8_t *image)
{
    bool has_config = v->kind != VIRTIO_RNG;

    put_capability(image, CAP_COMMON, CAP_NOTIFY, CFG_COMMON, VIRTIO_BAR_COMMON, VIRTIO_COMMON_BYTES);
    put_capability(image, CAP_NOTIFY, CAP_ISR, CFG_NOTIFY, VIRTIO_BAR_NOTIFY,
                   v->queue_count * VIRTIO_NOTIFY_BYTES);
    put(image + CAP_NOTIFY + CAP_EXTRA, VIRTIO_NOTIFY_BYTES, 4);
    put_capability(image, CAP_ISR, has_config ? CAP_DEVICE : CAP_WINDOW, CFG_ISR, VIRTIO_BAR_ISR, 1);
    if (has_config)
        put_capability(image, CAP_DEVICE, CAP_WINDOW, CFG_DEVICE, VIRTIO_BAR_DEVICE, DEVICE_BYTES);
    put_capability(image, CAP_WINDOW, CAP_MSIX, CFG_WINDOW, v->pci.window_offset, v->pci.window_length);
    image[WINDOW_BAR] = v->pci.window_bar;
    image[CAP_MSIX] = CAP_ID_MSIX;
    image[CAP_MSIX + 1] = CAP_NONE;
    put(image + MSIX_CONTROL, (VIRTIO_VECTORS - 1) | v->pci.msix_control, 2);
    put(image + CAP_MSIX + 4, VIRTIO_BAR_MSIX, 4); /* low three bits: BAR 0 */
    put(image + CAP_MSIX + 8, VIRTIO_BAR_PENDING, 4);
}

static void fill_header(const struct virtio *v, uint8_t *image)
{
    bool interrupt = v->isr && !(v->pci.msix_control & VIRTIO_MSIX_ENABLE);

    put(image + VENDOR_ID, VENDOR, 2);
    put(image + DEVICE_ID, DEVICE_BASE + v->kind, 2);
    put(image + COMMAND, v->pci.command, 2);
    put(image + STATUS, STATUS_CAPABILITIES | (interrupt ? STATUS_INTERRUPT : 0), 2);
    image[REVISION_ID] = REVISION;
    put(image + CLASS_CODE, class_of(v->kind), 3);
    put(image + BAR_0, v->pci.bar, 4);
    put(image + SUBSYSTEM_VENDOR, VENDOR, 2);
    put(image + SUBSYSTEM_ID, DEVICE_BASE + v->kind, 2);
    image[CAPABILITIES] = CAP_COMMON;
    image[INTERRUPT_LINE] = v->pci.line;
    image[INTERRUPT_PIN] = PIN_A;
}

/* The doubleword at `offset`, but for the window's data. */
static uint32_t doubleword(const struct virtio *v, uint32_t offset)
{
    uint8_t image[HEADER_BYTES] = {0};
    uint32_t value = 0;

    fill_header(v, image);
    fill_capabilities(v, image);
    for (uint32_t i = 0; i < 4; i++)
        value |= (uint32_t)image[offset + i] << 8 * i;
    return value;
}

/* Whether the window is over something that it can access (virtio 4.1.4.9). */
static bool window_valid(const struct virtio_pci *pci)
{
    uint32_t length = pci->window_length;

    return pci->window_bar == 0 && (length == 1 || length == 2 || length == 4) &&
           pci->window_offset % length == 0 && pci->window_offset < VIRTIO_BAR_BYTES;
}

static struct virtio *function(struct virtio_bus *bus, uint32_t slot)
{
    return slot < VIRTIO_SLOTS && bus->slot[slot].kind != VIRTIO_NONE ? &bus->slot[slot] : NULL;
}

static uint32_t mask_of(uint32_t size)
{
    return UINT32_C(0xFFFFFFFF) >> (32 - 8 * size);
}

static bool valid_access(uint32_t offset, uint32_t size)
{
    return (size == 1 || size == 2 || size == 4) && offset < HEADER_BYTES;
}

uint32_t virtio_config_read(struct virtio_bus *bus, uint32_t slot, uint32_t offset, uint32_t size)
{
    struct virtio *v = function(bus, slot);
    uint32_t at = offset & ~3u;
    uint32_t value;

    if (!valid_access(offset, size))
        return 0;
    if (!v)
        return mask_of(size);
    if (at == WINDOW_DATA)
        value = window_valid(&v->pci)
                    ? (uint32_t)virtio_bar_read(v, v->pci.window_offset, v->pci.window_length)
                    : 0;
    else
        value = doubleword(v, at);
    return value >> 8 * (offset & 3) & mask_of(size);
}

/* ---- Writes ---- */

static void write_msix_control(struct virtio *v, uint16_t value)
{
    v->pci.msix_control = value & MSIX_BITS;
    if (!(value & VIRTIO_MSIX_ENABLE)) /* messages that were not sent are none */
        v->pci.pending = 0;
}

/* The doubleword at `at` becomes `value`, as far as it can be written. */
static void write_doubleword(struct virtio *v, uint32_t at, uint32_t value)
{
    switch (at) {
    case COMMAND:
        v->pci.command = (uint16_t)value & COMMAND_BITS;
        break;
    case BAR_0: /* the low bits are 0: memory, 32 bits, not prefetchable */
        v->pci.bar = value & ~(VIRTIO_BAR_BYTES - 1);
        break;
    case INTERRUPT_LINE:
        v->pci.line = (uint8_t)value;
        break;
    case WINDOW_BAR:
        v->pci.window_bar = (uint8_t)value;
        break;
    case WINDOW_OFFSET:
        v->pci.window_offset = value;
        break;
    case WINDOW_LENGTH:
        v->pci.window_length = value;
        break;
    case CAP_MSIX:
        write_msix_control(v, (uint16_t)(value >> 16));
        break;
    default:
        break;
    }
}

void virtio_config_write(struct virtio_bus *bus, uint32_t slot, uint32_t offset, uint32_t size,
                         uint32_t value)
{
    struct virtio *v = function(bus, slot);
    uint32_t at = offset & ~3u, shift = 8 * (offset & 3);

    if (!v || !valid_access(offset, size))
        return;
    v->changes++;
    value &= mask_of(size);
    if (at == WINDOW_DATA) {
        if (window_valid(&v->pci))
            virtio_bar_write(v, v->pci.window_offset, v->pci.window_length, value << shift);
        return;
    }
    write_doubleword(v, at, (doubleword(v, at) & ~(mask_of(size) << shift)) | value << shift);
}

/* ---- The bus ---- */

uint32_t virtio_bus_irq(uint32_t slot)
{
    static const uint8_t irqs[VIRTIO_SLOTS] = {
        [VIRTIO_SLOT_BLK] = VPLAT_IRQ_BLK,
        [VIRTIO_SLOT_NET] = VPLAT_IRQ_NET,
        [VIRTIO_SLOT_RNG] = VPLAT_IRQ_RNG,
    };

    return irqs[slot];
}

/* A function as firmware leaves it. */
static struct virtio *add(struct virtio_bus *bus, uint32_t slot, enum virtio_kind kind, uint64_t features)
{
    struct virtio *v = &bus->slot[slot];

    v->kind = kind;
    v->offered = features | VIRTIO_F_VERSION_1;
    v->queue_count = kind == VIRTIO_NET ? 2 : 1;
    v->pci.bar = (uint32_t)VPLAT_PCI_MEMORY + slot * VIRTIO_BAR_BYTES;
    v->pci.command = VIRTIO_COMMAND_MEMORY;
    v->pci.line = (uint8_t)virtio_bus_irq(slot);
    for (uint32_t i = 0; i < VIRTIO_VECTORS; i++)
        v->pci.msix[i].control = 1; /* masked (PCI 6.8.2.9) */
    virtio_reset(v);
    return v;
}

void virtio_bus_reset(struct virtio_bus *bus, const struct virtio_config *config)
{
    struct virtio *v;

    memset(bus, 0, sizeof(*bus));
    if (config->disk_sectors) {
        v = add(bus, VIRTIO_SLOT_BLK, VIRTIO_BLK,
                VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |
                    (config->disk_read_only ? VIRTIO_BLK_F_RO : 0));
        v->blk.sectors = config->disk_sectors;
        memcpy(v->blk.id, config->disk_id, VIRTIO_BLK_ID);
    }
    if (config->net) {
        v = add(bus, VIRTIO_SLOT_NET, VIRTIO_NET, VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS);
        memcpy(v->net.mac, config->mac, VNET_MAC_BYTES);
    }
    v = add(bus, VIRTIO_SLOT_RNG, VIRTIO_RNG, 0);
    vrandom_seed(&v->rng, config->seed, MAX_VCPUS); /* none of the vCPUs' */
}

struct virtio *virtio_bus_find(struct virtio_bus *bus, uint64_t address, uint32_t *offset)
{
    for (uint32_t i = 0; i < VIRTIO_SLOTS; i++) {
        struct virtio *v = function(bus, i);
        if (!v || !(v->pci.command & VIRTIO_COMMAND_MEMORY) || address < v->pci.bar ||
            address - v->pci.bar >= VIRTIO_BAR_BYTES)
            continue;
        *offset = (uint32_t)(address - v->pci.bar);
        return v;
    }
    return NULL;
}
