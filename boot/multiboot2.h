/*
 * What the boot loader says about the machine: the multiboot2 boot information (Multiboot2 specification
 * 3.6) turned into a plain struct. Pure and bounds-checked: the information is not trusted.
 */
#ifndef RV_BOOT_MULTIBOOT2_H
#define RV_BOOT_MULTIBOOT2_H

#include "hv/base/types.h"

#define MB2_BOOTLOADER_MAGIC 0x36D76289u

#define BOOT_MAX_REGIONS    128
#define BOOT_MAX_MODULES    16
#define BOOT_CMDLINE_SIZE   1024 /* both with the closing zero */
#define BOOT_MODULE_CMDLINE 256
#define BOOT_RSDP_SIZE      36

/* Types of memory as ACPI numbers them (ACPI 6.4, 15.2). */
enum boot_memory_type {
    BOOT_MEMORY_USABLE = 1,
    BOOT_MEMORY_RESERVED = 2,
    BOOT_MEMORY_ACPI_TABLES = 3,
    BOOT_MEMORY_ACPI_NVS = 4,
    BOOT_MEMORY_BAD = 5,
};

/* Bytes from base; base + length does not wrap. */
struct boot_region {
    uint64_t base;
    uint64_t length;
    uint32_t type;
};

/* A file that GRUB loaded: [start, end) in physical memory. */
struct boot_module {
    uint64_t start;
    uint64_t end;
    char cmdline[BOOT_MODULE_CMDLINE];
};

struct boot_info {
    uint64_t info_address; /* where the boot information itself lies, set by the caller */
    uint32_t info_size;
    uint32_t region_count;
    uint32_t module_count;
    uint32_t rsdp_size; /* 0: the loader gave none; 20: ACPI 1.0; 36: ACPI 2.0 */
    struct boot_region regions[BOOT_MAX_REGIONS];
    struct boot_module modules[BOOT_MAX_MODULES];
    char cmdline[BOOT_CMDLINE_SIZE];
    uint8_t rsdp[BOOT_RSDP_SIZE];
};

enum mb2_error {
    MB2_OK,
    MB2_TRUNCATED,    /* a tag or the whole reaches beyond its bounds, or the end tag is missing */
    MB2_BAD_TAG,      /* a tag is smaller than its own fields, or its numbers make no sense */
    MB2_UNTERMINATED, /* a string without its closing zero, or too long to keep */
    MB2_TOO_MANY_REGIONS,
    MB2_TOO_MANY_MODULES,
    MB2_NO_MEMORY_MAP,
};

/*
 * Parses the boot information of at most `available` readable bytes (8-byte aligned). *out is complete only
 * when MB2_OK is returned. The addresses of modules are not read, nor compared with anything.
 */
enum mb2_error mb2_parse(const void *info, size_t available, struct boot_info *out);

/* A text for the user, never NULL. */
const char *mb2_error_name(enum mb2_error error);

#endif
