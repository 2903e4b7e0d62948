/*
 * The virtio devices as functions on the guest's PCI bus: configuration space, and where their memory lies.
 * Pure. Whoever has CONFIG_ADDRESS (PCI 3.2.2.3.2) asks here for the functions of bus 0.
 *
 * Each function has one BAR, of memory, which is where firmware would have put it. As on a bus, it answers
 * only while the command register says so.
 */
#ifndef RV_DRIVERS_VDEV_VIRTIO_PCI_H
#define RV_DRIVERS_VDEV_VIRTIO_PCI_H

#include "drivers/vdev/virtio.h"

#define VIRTIO_BAR_BYTES 0x4000u

/* What is where in the BAR. */
enum virtio_bar_part {
    VIRTIO_BAR_COMMON = 0x0000, /* common configuration (virtio 4.1.4.3) */
    VIRTIO_BAR_ISR = 0x0400,    /* interrupt status (4.1.4.5) */
    VIRTIO_BAR_DEVICE = 0x0800, /* device-specific configuration (4.1.4.6) */
    VIRTIO_BAR_NOTIFY = 0x1000, /* a doorbell for each queue (4.1.4.4) */
    VIRTIO_BAR_MSIX = 0x2000,   /* MSI-X table (PCI 6.8.2) */
    VIRTIO_BAR_PENDING = 0x3000 /* MSI-X pending bits */
};

#define VIRTIO_COMMON_BYTES 0x38u
#define VIRTIO_NOTIFY_BYTES 4u /* from a doorbell to the next */
#define VIRTIO_MSIX_BYTES   16u

/* Command register (PCI 6.2.2): what is there to be set. */
#define VIRTIO_COMMAND_MEMORY  UINT16_C(0x0002)
#define VIRTIO_COMMAND_MASTER  UINT16_C(0x0004)
#define VIRTIO_COMMAND_NO_INTX UINT16_C(0x0400)

/* MSI-X message control (PCI 6.8.2.3). */
#define VIRTIO_MSIX_ENABLE UINT16_C(0x8000)
#define VIRTIO_MSIX_MASK   UINT16_C(0x4000)

/* Functions of bus 0, by device number. */
enum virtio_slot { VIRTIO_SLOT_BLK = 1, VIRTIO_SLOT_NET = 2, VIRTIO_SLOT_RNG = 3, VIRTIO_SLOTS = 4 };

/* What the machine has. */
struct virtio_config {
    uint64_t disk_sectors; /* 0: no disk */
    bool disk_read_only;
    uint8_t disk_id[VIRTIO_BLK_ID];
    bool net;
    uint8_t mac[VNET_MAC_BYTES];
    uint64_t seed; /* of the entropy device's numbers */
};

/* Guest state. Slot 0 is the host bridge's, and empty here. */
struct virtio_bus {
    struct virtio slot[VIRTIO_SLOTS];
};

void virtio_bus_reset(struct virtio_bus *bus, const struct virtio_config *config);
/* The interrupt that INTA# of device `slot` is wired to: an input of the 8259 pair and of the I/O APIC. */
uint32_t virtio_bus_irq(uint32_t slot);
/*
 * Configuration space of bus 0, device `slot`, function 0: `size` bytes (1, 2, 4) at `offset` (< 256), within
 * a doubleword. All ones where there is no function; bytes outside of the doubleword read as 0.
 */
uint32_t virtio_config_read(struct virtio_bus *bus, uint32_t slot, uint32_t offset, uint32_t size);
void virtio_config_write(struct virtio_bus *bus, uint32_t slot, uint32_t offset, uint32_t size,
                         uint32_t value);
/* The device whose BAR answers at guest-physical `address`, with the offset in it; NULL: none. */
struct virtio *virtio_bus_find(struct virtio_bus *bus, uint64_t address, uint32_t *offset);

#endif
