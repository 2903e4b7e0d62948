#include "guest-images/lib/acpi.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "guest-images/lib/console.h"

struct acpi_table {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    uint32_t creator_id;
    uint32_t creator_revision;
};
_Static_assert(sizeof(struct acpi_table) == 36, "ACPI 6.4, 5.2.6");

/* Offsets in the MADT: the table's head, two 32-bit fields, then entries of (type, length, ...). */
#define MADT_ENTRIES 44
#define MADT_X2APIC  9
#define MADT_XAPIC   0
#define MADT_ENABLED 1u

struct madt_xapic {
    uint8_t type, length, processor, apic_id;
    uint32_t flags;
};
_Static_assert(sizeof(struct madt_xapic) == 8, "ACPI 6.4, 5.2.12.2");

struct madt_x2apic {
    uint8_t type, length, reserved[2];
    uint32_t apic_id;
    uint32_t flags;
    uint32_t processor;
};
_Static_assert(sizeof(struct madt_x2apic) == 16, "ACPI 6.4, 5.2.12.12");

/* The page tables reach one GiB. */
#define MAPPED_END 0x40000000u

static bool sound(const struct acpi_table *table)
{
    uint8_t sum = 0;

    if ((uintptr_t)table > MAPPED_END - sizeof(*table) || table->length > MAPPED_END - (uintptr_t)table)
        return false;
    for (uint32_t i = 0; i < table->length; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)table)[i]);
    return sum == 0;
}

static const struct acpi_table *find_madt(const struct bootinfo *info)
{
    const struct acpi_table *root = (const void *)(uintptr_t)info->root_table;
    uint64_t address;

    if (root == NULL)
        return NULL;
    if (!sound(root))
        panic("ACPI root table at %p is unsound", (const void *)root);
    for (uint32_t at = sizeof(*root); at + info->entry_bytes <= root->length; at += info->entry_bytes) {
        address = 0;
        memcpy(&address, (const char *)root + at, info->entry_bytes);
        if (address < MAPPED_END && memcmp((const void *)(uintptr_t)address, "APIC", 4) == 0)
            return (const void *)(uintptr_t)address;
    }
    return NULL;
}

unsigned acpi_find_cpus(const struct bootinfo *info, uint32_t *apic_ids, unsigned room)
{
    const struct acpi_table *madt = find_madt(info);
    unsigned count = 0;

    if (madt == NULL)
        return 0;
    if (!sound(madt))
        panic("MADT at %p is unsound", (const void *)madt);
    for (uint32_t at = MADT_ENTRIES; at + 2 <= madt->length && count < room;) {
        const struct madt_xapic *xapic = (const void *)((const char *)madt + at);
        const struct madt_x2apic *x2apic = (const void *)xapic;

        if (xapic->length < 2)
            break;
        if (xapic->type == MADT_XAPIC && (xapic->flags & MADT_ENABLED))
            apic_ids[count++] = xapic->apic_id;
        else if (xapic->type == MADT_X2APIC && (x2apic->flags & MADT_ENABLED))
            apic_ids[count++] = x2apic->apic_id;
        at += xapic->length;
    }
    return count;
}
