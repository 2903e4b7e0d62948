/* PCI configuration space. See pci.h. */
#include "drivers/vdev/pci.h"

#define ADDRESS_ENABLE UINT32_C(0x80000000)
#define ADDRESS_BITS   UINT32_C(0x80FFFFFC)
#define REGISTER(a)    ((a)&0xFC)
#define DEVICE(a)      ((a) >> 11 & 0x1F)
#define NOT_DEVICE     UINT32_C(0x00FF0700) /* the bus and the function, which are all 0 */
#define HOST_BRIDGE    0u                   /* 00:00.0 */

/* A generic host bridge: no operating system has quirks for it. */
#define VENDOR_DEVICE  UINT32_C(0x00081B36)
#define CLASS_REVISION UINT32_C(0x06000000)

void vpci_reset(struct vpci *p, const struct virtio_config *config)
{
    p->address = p->reserved = 0;
    virtio_bus_reset(&p->bus, config);
}

uint32_t vpci_read_address(const struct vpci *p)
{
    return p->address;
}

void vpci_write_address(struct vpci *p, uint32_t value)
{
    p->address = value & ADDRESS_BITS;
}

static uint32_t read_bridge(uint32_t offset)
{
    switch (offset & ~3u) {
    case 0x00:
        return VENDOR_DEVICE >> 8 * (offset & 3);
    case 0x08:
        return CLASS_REVISION >> 8 * (offset & 3);
    default:
        return 0;
    }
}

/* Whether CONFIG_ADDRESS names function 0 of a device of bus 0. */
static bool is_here(const struct vpci *p)
{
    return (p->address & ADDRESS_ENABLE) && !(p->address & NOT_DEVICE);
}

uint32_t vpci_read_data(struct vpci *p, uint32_t offset, uint32_t size)
{
    uint32_t mask = UINT32_C(0xFFFFFFFF) >> (32 - 8 * size);

    if (!is_here(p))
        return mask;
    offset += REGISTER(p->address);
    if (DEVICE(p->address) == HOST_BRIDGE)
        return read_bridge(offset) & mask;
    return virtio_config_read(&p->bus, DEVICE(p->address), offset, size);
}

void vpci_write_data(struct vpci *p, uint32_t offset, uint32_t size, uint32_t value)
{
    if (is_here(p))
        virtio_config_write(&p->bus, DEVICE(p->address), offset + REGISTER(p->address), size, value);
}
