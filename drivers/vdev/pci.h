/*
 * PCI configuration by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2) on a bus that has its host
 * bridge only. Pure.
 */
#ifndef RV_DRIVERS_VDEV_PCI_H
#define RV_DRIVERS_VDEV_PCI_H

#include "hv/base/types.h"

/* Guest state. */
struct vpci {
    uint32_t address; /* CONFIG_ADDRESS: enable, bus, device, function, register */
};

void vpci_reset(struct vpci *p);
/* CONFIG_ADDRESS; only accesses of 4 bytes reach it. */
uint32_t vpci_read_address(const struct vpci *p);
void vpci_write_address(struct vpci *p, uint32_t value);
/* A byte of CONFIG_DATA, offset 0 to 3: all ones where there is no device. Writes change nothing. */
uint8_t vpci_read_data(const struct vpci *p, uint32_t offset);

#endif
