/*
 * Which processors the machine has: RSDP -> RSDT or XSDT -> MADT (ACPI 6.4, 5.2). Pure and
 * bounds-checked: firmware tables are not trusted.
 */
#ifndef RV_BOOT_ACPI_H
#define RV_BOOT_ACPI_H

#include "hv/base/types.h"

#define ACPI_MAX_CPUS 64

/*
 * Gives `size` readable bytes at a physical address, or NULL where there is no such memory. The bytes stay
 * readable until acpi_find_cpus returns.
 */
struct acpi_memory {
    const void *(*read)(void *context, uint64_t address, uint64_t size);
    void *context;
};

struct acpi_cpus {
    uint64_t lapic_address; /* physical address of the xAPIC registers */
    uint32_t count;
    uint32_t left_out;                /* enabled processors beyond ACPI_MAX_CPUS */
    uint32_t apic_ids[ACPI_MAX_CPUS]; /* enabled processors, each once, in the MADT's order */
};

enum acpi_error {
    ACPI_OK,
    ACPI_BAD_RSDP,   /* missing, or wrong signature or checksum */
    ACPI_UNREADABLE, /* a table lies outside of memory */
    ACPI_BAD_TABLE,  /* wrong signature, length or checksum of RSDT, XSDT or MADT */
    ACPI_NO_MADT,
    ACPI_NO_CPUS,
};

/*
 * rsdp is the loader's copy of `rsdp_size` bytes. The XSDT is used where there is one, else the RSDT. *out is
 * complete only when ACPI_OK is returned.
 */
enum acpi_error acpi_find_cpus(const struct acpi_memory *memory, const uint8_t *rsdp, size_t rsdp_size,
                               struct acpi_cpus *out);

/* A text for the user, never NULL. */
const char *acpi_error_name(enum acpi_error error);

#endif
