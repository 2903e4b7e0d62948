/* The guest's DSDT: power-off, and the PCI bus with its windows and interrupts. */
#include "drivers/vdev/platform.h"
#include "drivers/vdev/virtio_pci.h"
#include "hv/guestmem/aml.h"
#include "hv/guestmem/tables.h"

/* The root bridge's _HID, EISAID ("PNP0A03"): three letters and a number (ACPI 19.3.4), lowest byte first. */
#define EISAID_PNP0A03 0x030ad041u

/* Resource descriptors (ACPI 6.4): a tag, for large ones with the length of what follows. */
enum {
    IO_TAG = 0x47,
    END_TAG = 0x79,
    DWORD_SPACE = 0x87,
    WORD_SPACE = 0x88,
};

enum space_type {
    SPACE_MEMORY = 0,
    SPACE_IO = 1,
    SPACE_BUS = 2,
};

#define SPACE_FIXED     0x0cu /* minimum and maximum are fixed; the bridge hands it on */
#define MEMORY_WRITABLE 0x01u /* and not cacheable */
#define IO_ENTIRE_RANGE 0x03u /* with and without ISA aliases */
#define IO_DECODE_16    0x01u

#define PCI_CONFIG_PORTS 8u
#define PORTS_END        0x10000u

/* A range that the bridge hands on to its bus (6.4.3.5): numbers of 2 or 4 bytes. */
static void put_space(struct aml *aml, enum space_type type, uint8_t flags, uint32_t base, uint32_t length)
{
    uint32_t bytes = type == SPACE_MEMORY ? 4 : 2;

    aml_byte(aml, bytes == 4 ? DWORD_SPACE : WORD_SPACE);
    aml_number(aml, 3 + 5 * bytes, 2);
    aml_byte(aml, (uint8_t)type);
    aml_byte(aml, SPACE_FIXED);
    aml_byte(aml, flags);
    aml_number(aml, 0, bytes); /* granularity */
    aml_number(aml, base, bytes);
    aml_number(aml, base + length - 1, bytes);
    aml_number(aml, 0, bytes); /* translation */
    aml_number(aml, length, bytes);
}

/* Ports that the bridge itself has (6.4.2.5). */
static void put_ports(struct aml *aml, uint16_t base, uint8_t count)
{
    aml_byte(aml, IO_TAG);
    aml_byte(aml, IO_DECODE_16);
    aml_number(aml, base, 2);
    aml_number(aml, base, 2);
    aml_byte(aml, 1); /* alignment */
    aml_byte(aml, count);
}

static void put_resources(struct aml *aml)
{
    uint32_t buffer;

    aml_name(aml, "_CRS");
    buffer = aml_begin_buffer(aml);
    put_space(aml, SPACE_BUS, 0, 0, 1);
    put_ports(aml, VPLAT_PCI_ADDRESS, PCI_CONFIG_PORTS);
    put_space(aml, SPACE_IO, IO_ENTIRE_RANGE, 0, VPLAT_PCI_ADDRESS);
    put_space(aml, SPACE_IO, IO_ENTIRE_RANGE, VPLAT_PCI_ADDRESS + PCI_CONFIG_PORTS,
              PORTS_END - VPLAT_PCI_ADDRESS - PCI_CONFIG_PORTS);
    put_space(aml, SPACE_MEMORY, MEMORY_WRITABLE, (uint32_t)VPLAT_PCI_MEMORY,
              (uint32_t)VPLAT_PCI_MEMORY_BYTES);
    aml_byte(aml, END_TAG);
    aml_byte(aml, 0); /* no checksum */
    aml_end_buffer(aml, buffer);
}

/* INTA# of each device, as a global system interrupt (6.2.13): address, pin, no link device, interrupt. */
static void put_routing(struct aml *aml)
{
    uint32_t table, entry;

    aml_name(aml, "_PRT");
    table = aml_begin_package(aml, VIRTIO_SLOTS - VIRTIO_SLOT_BLK);
    for (uint32_t slot = VIRTIO_SLOT_BLK; slot < VIRTIO_SLOTS; slot++) {
        entry = aml_begin_package(aml, 4);
        aml_integer(aml, slot << 16 | 0xffff);
        aml_integer(aml, 0);
        aml_integer(aml, 0);
        aml_integer(aml, virtio_bus_irq(slot));
        aml_end(aml, entry);
    }
    aml_end(aml, table);
}

/* Name (\_S5, Package (4) {SLP_TYPa, SLP_TYPb, reserved ...}), see 7.4.2.6. */
static void put_power_off(struct aml *aml)
{
    uint32_t package;

    aml_name(aml, "\\_S5_");
    package = aml_begin_package(aml, 4);
    aml_integer(aml, VPLAT_SLP_TYP_S5);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_end(aml, package);
}

uint32_t dsdt_build(uint8_t *bytes, uint32_t max)
{
    struct aml aml = {.bytes = bytes, .end = max};
    uint32_t bridge;

    put_power_off(&aml);
    bridge = aml_begin_device(&aml, "\\\x2e_SB_PCI0"); /* a path of two names */
    aml_name(&aml, "_HID");
    aml_integer(&aml, EISAID_PNP0A03);
    aml_name(&aml, "_UID");
    aml_integer(&aml, 0);
    put_resources(&aml);
    put_routing(&aml);
    aml_end(&aml, bridge);
    return aml.at;
}
