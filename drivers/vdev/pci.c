/* PCI configuration space. See pci.h. */
#include "drivers/vdev/pci.h"

#define ADDRESS_ENABLE UINT32_C(0x80000000)
#define ADDRESS_BITS   UINT32_C(0x80FFFFFC)
#define FUNCTION(a)    ((a) >> 8 & 0xFFFF) /* bus, device, function */
#define HOST_BRIDGE    0u                  /* 00:00.0 */

/* A generic host bridge: no operating system has quirks for it. */
#define VENDOR_DEVICE  UINT32_C(0x00081B36)
#define CLASS_REVISION UINT32_C(0x06000000)

void vpci_reset(struct vpci *p)
{
    p->address = 0;
}

uint32_t vpci_read_address(const struct vpci *p)
{
    return p->address;
}

void vpci_write_address(struct vpci *p, uint32_t value)
{
    p->address = value & ADDRESS_BITS;
}

uint8_t vpci_read_data(const struct vpci *p, uint32_t offset)
{
    uint32_t value = 0;

    if (!(p->address & ADDRESS_ENABLE) || FUNCTION(p->address) != HOST_BRIDGE)
        return UINT8_MAX;
    if ((p->address & 0xFC) == 0x00)
        value = VENDOR_DEVICE;
    else if ((p->address & 0xFC) == 0x08)
        value = CLASS_REVISION;
    return (uint8_t)(value >> 8 * (offset & 3));
}
