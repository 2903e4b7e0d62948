/*
 * The hypervisor's own page tables: every address maps to itself (SDM 3A 4.5, 4-level paging). Pure: on the
 * host the tables are ordinary memory.
 *
 * Not locked: the boot processor builds the tables before the others run.
 */
#ifndef RV_HV_CPU_PAGING_H
#define RV_HV_CPU_PAGING_H

#include "hv/base/types.h"

/* Rights of a range; 0: not present. */
#define PAGING_PRESENT    BIT(0)
#define PAGING_WRITE      BIT(1)
#define PAGING_UNCACHED   (BIT(3) | BIT(4)) /* PWT and PCD: UC by the reset value of IA32_PAT */
#define PAGING_NO_EXECUTE BIT(63)

#define PAGING_DATA        (PAGING_PRESENT | PAGING_WRITE | PAGING_NO_EXECUTE)
#define PAGING_CODE        PAGING_PRESENT
#define PAGING_RODATA      (PAGING_PRESENT | PAGING_NO_EXECUTE)
#define PAGING_MMIO        (PAGING_DATA | PAGING_UNCACHED)
#define PAGING_ADDRESS_END BIT(47) /* first address that the lower half cannot hold */

struct paging {
    uint64_t *root;
    bool pages_1g;                 /* the CPU has 1 GiB pages */
    void *(*alloc)(void *context); /* a zeroed page for a table, or NULL */
    void *context;
};

/* Starts with nothing mapped. False: no memory. */
bool paging_init(struct paging *paging, bool pages_1g, void *(*alloc)(void *context), void *context);

/*
 * Gives [start, end), page-aligned, below PAGING_ADDRESS_END, these rights, whatever they were; in the
 * largest pages that fit. The caller invalidates the TLB. False: no memory for a table; part of the range may
 * be done.
 */
bool paging_set(struct paging *paging, uint64_t start, uint64_t end, uint64_t rights);

/* The rights of an address; 0 where nothing is mapped. */
uint64_t paging_get(const struct paging *paging, uint64_t address);

#endif
