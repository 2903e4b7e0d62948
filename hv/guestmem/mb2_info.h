/*
 * Pure, part of the loader. What a guest finds in the top LOADER_RESERVED_BYTES of its memory: the
 * multiboot2 information (Multiboot2 Specification 2.0, 3.6) and ACPI tables (ACPI 6.5 5.2).
 */
#ifndef RV_HV_GUESTMEM_MB2_INFO_H
#define RV_HV_GUESTMEM_MB2_INFO_H

#include "hv/base/types.h"

/* Types of information tags, 3.6.2 to 3.6.18. */
enum mb2_info_type {
    MB2_INFO_END = 0,
    MB2_INFO_COMMAND_LINE = 1,
    MB2_INFO_LOADER_NAME = 2,
    MB2_INFO_BASIC_MEMORY = 4,
    MB2_INFO_MEMORY_MAP = 6,
    MB2_INFO_RSDP_NEW = 15,
};

/* Both need valid arguments (the loader checked them) and cannot fail. */

/* Writes RSDP, XSDT and MADT at the start of the reserved area and the RSDP's copy at
 * LOADER_RSDP_COPY. Returns the RSDP's guest-physical address. */
uint64_t acpi_build(uint8_t *mem, uint64_t mem_bytes, uint32_t vcpus);
/* Writes the multiboot2 information behind the tables of acpi_build, which has run before; sets
 * *info_bytes and returns its guest-physical address. */
uint64_t mb2_info_build(uint8_t *mem, uint64_t mem_bytes, const char *command_line, uint64_t *info_bytes);

#endif
