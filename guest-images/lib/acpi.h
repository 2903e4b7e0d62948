/*
 * The processors that ACPI's MADT lists (ACPI 6.4, 5.2.12).
 */
#ifndef RV_GUEST_ACPI_H
#define RV_GUEST_ACPI_H

#include <stdint.h>

#include "guest-images/lib/bootinfo.h"

/* Writes the APIC IDs of the enabled processors, in the table's order, at most `room`. Returns how many: 0
 * where no MADT is. */
unsigned acpi_find_cpus(const struct bootinfo *info, uint32_t *apic_ids, unsigned room);

#endif
