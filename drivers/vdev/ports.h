/*
 * The guest's PC: its I/O ports, its I/O APIC, and the interrupt lines between them. platform.h says what is
 * where; besides, there is an exit port at 501H. Reads of other ports give all ones and writes to them are
 * dropped, POST codes (80H) among them.
 *
 * Every access is an act of the vCPU (the chunk ends before the instruction), so these functions run in
 * commit order on one state that all vCPUs share. Time is an argument: guest time in ticks of the guest's
 * TSC, never less than that of earlier calls (an older one counts as the latest).
 */
#ifndef RV_DRIVERS_VDEV_PORTS_H
#define RV_DRIVERS_VDEV_PORTS_H

#include "drivers/vdev/acpi_pm.h"
#include "drivers/vdev/ioapic.h"
#include "drivers/vdev/kbc.h"
#include "drivers/vdev/pci.h"
#include "drivers/vdev/pic.h"
#include "drivers/vdev/pit.h"
#include "drivers/vdev/platform.h"
#include "drivers/vdev/rtc.h"
#include "drivers/vdev/uart.h"
#include "hv/base/types.h"

/* A write of 1, 2 or 4 bytes ends the guest with that value as its status. Reads give all ones. */
#define VPORT_EXIT UINT16_C(0x501)

/* What the machine is made of. */
struct vports_config {
    uint64_t tsc_hz; /* ticks of guest time in a second; 0: not known, taken as 10^9 */
    uint64_t memory_bytes;
    uint32_t vcpus;
    struct virtio_config virtio;
};

/* Guest state. */
struct vports {
    struct vuart uart;
    struct vpic pic;
    struct vioapic ioapic;
    struct vpit pit;
    struct vrtc rtc;
    struct vpm pm;
    struct vkbc kbc;
    struct vpci pci;
    uint32_t exit_status;   /* of the first write to the exit port */
    uint64_t now;           /* latest guest time known */
    uint64_t tsc_hz;        /* not 0 */
    uint64_t unknown_reads; /* accesses to ports where nothing is */
    uint64_t unknown_writes;
    uint8_t exited; /* 1: the guest has ended itself */
    uint8_t reset;  /* reset control register (CF9H) */
    uint8_t reserved[6];
};

enum vports_kind {
    VPORTS_NONE = 0,
    VPORTS_CONSOLE,   /* value = the byte that the guest sent */
    VPORTS_EXIT,      /* value = exit status; the guest ends */
    VPORTS_POWER_OFF, /* the guest switches itself off, or on again */
    VPORTS_RESET,
};

/* What a write does outside the guest: at most one thing. */
struct vports_effect {
    uint32_t kind; /* enum vports_kind */
    uint32_t value;
};

/* State at power-up. */
void vports_reset(struct vports *p, const struct vports_config *config);
/* What the clock's battery has kept: it is `seconds` since 1970 at guest time `now`. */
void vports_set_clock(struct vports *p, uint64_t seconds, uint64_t now);

/* Whether an access needs the time. Ports that no interrupt or clock hangs on don't. */
bool vports_uses_time(uint16_t port, uint32_t size);
/*
 * IN of `size` bytes (1, 2, 4; anything else reads as 0) at `port`; the value, zero-extended. As on an ISA
 * bus, a wide access is bytes at consecutive ports, lowest first (but for PCI's CONFIG_ADDRESS); past port
 * FFFFH they are unknown ports.
 */
uint32_t vports_in(struct vports *p, uint16_t port, uint32_t size, uint64_t now);
/* OUT likewise (another size does nothing); bits of `value` above `size` are ignored. Fills all of `effect`.
 */
void vports_out(struct vports *p, uint16_t port, uint32_t size, uint32_t value, uint64_t now,
                struct vports_effect *effect);
/* A console byte arrives for the guest. False: the UART did not take it; offer it again later. */
bool vports_receive(struct vports *p, uint8_t byte);

/* The I/O APIC's page, 32-bit accesses at `offset` (< 4096); and the end of a level-triggered interrupt. */
uint32_t vports_ioapic_read(struct vports *p, uint32_t offset);
void vports_ioapic_write(struct vports *p, uint32_t offset, uint32_t value, uint64_t now);
void vports_eoi(struct vports *p, uint8_t vector);

/* Whether `address` is in the window of the PCI functions' memory, be it used or not. */
static inline bool vports_in_window(uint64_t address)
{
    return address >= VPLAT_PCI_MEMORY && address < VPLAT_PCI_MEMORY + VPLAT_PCI_MEMORY_BYTES;
}
/* An access of `size` bytes (1, 2, 4, 8) there: all ones where no function answers, and writes are lost. */
uint64_t vports_window_read(struct vports *p, uint64_t address, uint32_t size);
void vports_window_write(struct vports *p, uint64_t address, uint32_t size, uint64_t value);
/* The functions, for who does what they want of guest memory; vports_devices_changed() after each plan. */
static inline struct virtio *vports_function(struct vports *p, uint32_t slot)
{
    return &p->pci.bus.slot[slot];
}
void vports_devices_changed(struct vports *p);
/* The first function that has something to do in guest memory; VIRTIO_SLOTS: none. */
uint32_t vports_busy_function(const struct vports *p);

/* Time passes: clocks that are due raise their interrupts. */
void vports_advance(struct vports *p, uint64_t now);
/* The guest time at which vports_advance() next has an interrupt to raise that someone hears, or TICKS_NEVER.
 */
uint64_t vports_next_deadline(const struct vports *p);

/* After any of the above: what the I/O APIC and PCI functions send, one message after the other; false:
 * nothing more. */
bool vports_next_message(struct vports *p, struct vioapic_message *message);
/* The 8259 pair's INTR output, the vector that an acknowledge cycle would get, and the cycle itself. */
bool vports_intr(const struct vports *p);
uint8_t vports_intr_vector(const struct vports *p);
uint8_t vports_acknowledge(struct vports *p);

#endif
