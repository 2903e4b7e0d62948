/*
 * What the machine's ACPI tables, which boot/ reads, and the guest's, which hv/guestmem builds, have in
 * common (ACPI 6.5 chapter 5).
 */
#ifndef RV_HV_BASE_ACPI_TABLES_H
#define RV_HV_BASE_ACPI_TABLES_H

#include "hv/base/types.h"

/* 5.2.5.3. */
struct acpi_rsdp {
    char signature[8];
    uint8_t checksum; /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision; /* 2 and more: the fields below exist */
    uint32_t rsdt_address;
    uint32_t length;
    uint64_t xsdt_address;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
_Static_assert(offsetof(struct acpi_rsdp, xsdt_address) == 24, "ACPI 5.2.5.3");

#define ACPI_RSDP_V1_BYTES 20u

/* 5.2.6. */
struct acpi_header {
    char signature[4];
    uint32_t length; /* with this header */
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    uint32_t creator_id;
    uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

/* 5.2.12: the MADT, in front of its entries. */
struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic_address;
    uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt) == 44, "ACPI 5.2.12");

/* 5.2.12.2. */
struct acpi_madt_lapic {
    uint8_t type;
    uint8_t length;
    uint8_t processor_uid;
    uint8_t apic_id;
    uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt_lapic) == 8, "ACPI 5.2.12.2");

#define ACPI_MADT_LAPIC    0u /* the type of that entry */
#define ACPI_LAPIC_ENABLED 1u /* in its flags */

/* The value that makes all `bytes` at `data` add up to 0, where the field for it holds 0 now: 0 for a table
 * that is right. */
static inline uint8_t acpi_checksum(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint8_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

#endif
