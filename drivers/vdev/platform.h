/*
 * Where the guest's PC has what: ports, addresses and interrupt lines. Those that describe the machine to the
 * guest (ACPI and MP tables) take them from here, as the devices do.
 *
 * Everything is where it is on any PC; the ACPI blocks lie where a PIIX4 puts them. ISA interrupt n goes to
 * pin n of the 8259 pair and to pin n of the I/O APIC, but for the timer: IRQ 0 is I/O APIC pin 2, and pin 0
 * is not connected (the INTR output of the 8259 pair goes to LINT0 of vCPU 0). All are edge-triggered and
 * active high but the SCI, which is level-triggered and active high, and those of PCI functions, which are
 * level-triggered; each function has one of its own. Its BAR is in the window at VPLAT_PCI_MEMORY.
 */
#ifndef RV_DRIVERS_VDEV_PLATFORM_H
#define RV_DRIVERS_VDEV_PLATFORM_H

#include "hv/base/types.h"

/* Ports. */
enum vplat_port {
    VPLAT_PIC_MASTER = 0x20, /* 8259: 20H, 21H */
    VPLAT_PIT = 0x40,        /* 8254: counters 40H to 42H, control word 43H */
    VPLAT_KBC_DATA = 0x60,   /* 8042 */
    VPLAT_PORT_B = 0x61,     /* gate and output of PIT counter 2 */
    VPLAT_KBC_COMMAND = 0x64,
    VPLAT_RTC_INDEX = 0x70, /* MC146818 */
    VPLAT_RTC_DATA = 0x71,
    VPLAT_PIC_SLAVE = 0xA0,    /* A0H, A1H */
    VPLAT_COM1 = 0x3F8,        /* 16550: 3F8H to 3FFH */
    VPLAT_ELCR = 0x4D0,        /* edge/level control of the 8259 pair: 4D0H, 4D1H */
    VPLAT_PM1_EVENT = 0x600,   /* PM1a_EVT_BLK: status 600H, enable 602H; PM1_EVT_LEN 4 */
    VPLAT_PM1_CONTROL = 0x604, /* PM1a_CNT_BLK; PM1_CNT_LEN 2 */
    VPLAT_PM_TIMER = 0x608,    /* PM_TMR_BLK; PM_TMR_LEN 4 */
    VPLAT_PCI_ADDRESS = 0xCF8, /* PCI configuration mechanism #1 */
    VPLAT_RESET = 0xCF9,       /* reset control; ACPI's RESET_REG with RESET_VALUE 6 */
    VPLAT_PCI_DATA = 0xCFC,
};

/* Memory. */
#define VPLAT_IOAPIC           UINT64_C(0xFEC00000)
#define VPLAT_IOAPIC_PINS      24u                  /* global system interrupts 0 to 23 */
#define VPLAT_PCI_MEMORY       UINT64_C(0xFE000000) /* what BARs lie in */
#define VPLAT_PCI_MEMORY_BYTES UINT64_C(0x00C00000)

/* Interrupts: ISA numbers, which are also I/O APIC pins but for the timer's. */
enum vplat_irq {
    VPLAT_IRQ_PIT = 0,
    VPLAT_IRQ_CASCADE = 2, /* of the 8259 pair */
    VPLAT_IRQ_COM1 = 4,
    VPLAT_IRQ_RNG = 5,
    VPLAT_IRQ_RTC = 8,
    VPLAT_IRQ_SCI = 9,
    VPLAT_IRQ_BLK = 10,
    VPLAT_IRQ_NET = 11,
};
#define VPLAT_PIN_PIT 2u

/* ACPI: SLP_TYP of S5 in PM1 control (for \_S5 of the DSDT). */
#define VPLAT_SLP_TYP_S5 5u

/* APIC IDs: vCPU n has n, the I/O APIC the first one after them. */
static inline uint32_t vplat_ioapic_id(uint32_t vcpus)
{
    return vcpus;
}

/* Rates of the counters, in Hz: the 8254's input, and the ACPI PM timer (ACPI 6.5 4.8.2.1). */
#define VPLAT_PIT_HZ      UINT32_C(1193182)
#define VPLAT_PM_TIMER_HZ UINT32_C(3579545)

#endif
