/*
 * PCI configuration by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): bus 0 with its host bridge
 * and the virtio functions. Pure.
 */
#ifndef RV_DRIVERS_VDEV_PCI_H
#define RV_DRIVERS_VDEV_PCI_H

#include "drivers/vdev/virtio_pci.h"

/* Guest state; reserved bytes are 0. */
struct vpci {
    uint32_t address; /* CONFIG_ADDRESS: enable, bus, device, function, register */
    uint32_t reserved;
    struct virtio_bus bus;
};

void vpci_reset(struct vpci *p, const struct virtio_config *config);
/* CONFIG_ADDRESS; only accesses of 4 bytes reach it. */
uint32_t vpci_read_address(const struct vpci *p);
void vpci_write_address(struct vpci *p, uint32_t value);
/*
 * CONFIG_DATA, `size` bytes (1, 2, 4) at `offset` of its four ports, which they do not leave: all ones where
 * there is no device, and writes are lost there.
 */
uint32_t vpci_read_data(struct vpci *p, uint32_t offset, uint32_t size);
void vpci_write_data(struct vpci *p, uint32_t offset, uint32_t size, uint32_t value);

#endif
