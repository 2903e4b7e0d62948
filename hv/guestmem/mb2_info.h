/*
 * Pure, part of the loader. What a multiboot2 guest finds in the top LOADER_RESERVED_BYTES of its memory,
 * behind the ACPI tables: the multiboot2 information (Multiboot2 Specification 2.0, 3.6).
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

/* Writes the multiboot2 information behind the tables of acpi_build, which has run before; sets
 * *info_bytes and returns its guest-physical address. Needs valid arguments (the loader checked them), cannot
 * fail. */
uint64_t mb2_info_build(uint8_t *mem, uint64_t mem_bytes, const char *command_line, uint64_t *info_bytes);

#endif
