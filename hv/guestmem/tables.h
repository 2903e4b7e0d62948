/*
 * Pure, part of the loader. The tables by which firmware describes the machine: ACPI (ACPI 6.5), and for
 * older kernels those of the MultiProcessor Specification 1.4. What they say of devices is
 * drivers/vdev/platform.h.
 */
#ifndef RV_HV_GUESTMEM_TABLES_H
#define RV_HV_GUESTMEM_TABLES_H

#include "drivers/vdev/platform.h"
#include "hv/base/acpi_tables.h"
#include "hv/base/types.h"
#include "hv/guestmem/loader.h"

#define TABLES_LAPIC     0xfee00000u
#define TABLES_OEM       "RETROV"
#define TABLES_PRODUCT   "RETROVIS"
#define LOADER_MP_OFFSET 0x100u /* of the MP tables, in the page at LOADER_RSDP_COPY */

/* How the local interrupt inputs are wired: the 8259 pair to vCPU 0's, NMI to all. */
#define TABLES_LINT_EXTINT 0u
#define TABLES_LINT_NMI    1u
/* Interrupt flags, the same in MADT (ACPI 5.2.12.5) and MP tables (4.3.4): active high, level-triggered. */
#define TABLES_INTI_LEVEL_HIGH 0x000du

#define TABLES_ISA_IRQS 16u

/* Whether an ISA interrupt is level-triggered: the SCI, and those that are PCI functions'. */
static inline bool tables_irq_is_level(uint32_t irq)
{
    return irq == VPLAT_IRQ_SCI || irq == VPLAT_IRQ_RNG || irq == VPLAT_IRQ_BLK || irq == VPLAT_IRQ_NET;
}

/* Both need valid arguments (the loader checked them) and cannot fail. */

/* Writes RSDP, XSDT, MADT, FADT and DSDT at the start of the reserved area at the top of memory; the RSDP's
 * copy and the FACS in the page at LOADER_RSDP_COPY, which is cleared. Returns the RSDP's guest-physical
 * address. */
uint64_t acpi_build(uint8_t *mem, uint64_t mem_bytes, uint32_t vcpus);
/* Writes the DSDT's AML, behind its header: at most `max` bytes (700 are enough) at `bytes`. Returns their
 * number. */
uint32_t dsdt_build(uint8_t *bytes, uint32_t max);
/* Writes the MP floating pointer and configuration table into that page, after acpi_build(). */
void mp_build(uint8_t *mem, uint32_t vcpus);

#endif
