/*
 * What the loader says: Multiboot2 information (chapter 3.6), reduced to what a guest needs.
 */
#ifndef RV_GUEST_BOOTINFO_H
#define RV_GUEST_BOOTINFO_H

#include <stdint.h>

struct bootinfo {
    uint64_t memory_end;  /* end of the usable memory that holds the guest itself, bytes */
    uint64_t root_table;  /* physical address of the RSDT or XSDT; 0 where the loader gave no RSDP */
    unsigned entry_bytes; /* size of its entries: 4 (RSDT) or 8 (XSDT) */
};

/* Reads the tags at `address` and hands the command line to args_set(). The structure may be overwritten
 * afterwards. */
struct bootinfo bootinfo_read(uint32_t address);

#endif
