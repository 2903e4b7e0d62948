/*
 * The guest's I/O port map: a UART at 3F8H-3FFH and an exit port at 501H; nothing else.
 *
 * Reads of other ports give all ones and writes to them are dropped: PIC, PIT, RTC, PCI
 * configuration (CF8H/CFCH: no PCI) and POST codes (80H) among them. Every access is an act of the vCPU (the
 * chunk ends before the instruction), so these functions run in commit order on one state that all vCPUs
 * share.
 */
#ifndef RV_DRIVERS_VDEV_PORTS_H
#define RV_DRIVERS_VDEV_PORTS_H

#include "drivers/vdev/uart.h"
#include "hv/base/types.h"

#define VPORT_UART UINT16_C(0x3F8)
/* A write of 1, 2 or 4 bytes ends the guest with that value as its status. Reads give all ones. */
#define VPORT_EXIT UINT16_C(0x501)

/* Guest state; reserved bytes are 0. */
struct vports {
    struct vuart uart;
    uint64_t unknown_reads; /* accesses to ports where nothing is */
    uint64_t unknown_writes;
    uint32_t exit_status; /* of the first write to the exit port */
    uint8_t exited;       /* 1: there was one */
    uint8_t reserved[3];
};

_Static_assert(offsetof(struct vports, unknown_reads) == 32, "struct vports has no padding");
_Static_assert(sizeof(struct vports) == 56, "struct vports has no padding");

enum vports_kind {
    VPORTS_NONE = 0,
    VPORTS_CONSOLE, /* value = the byte that the guest sent */
    VPORTS_EXIT,    /* value = exit status; the guest ends */
};

/* What a write does outside the guest: at most one thing. */
struct vports_effect {
    uint32_t kind; /* enum vports_kind */
    uint32_t value;
};

/* State at power-up. */
void vports_reset(struct vports *p);
/*
 * IN of `size` bytes (1, 2, 4; anything else reads as 0) at `port`; the value, zero-extended. As on an ISA
 * bus, a wide access is bytes at consecutive ports, lowest first; past port FFFFH they are unknown ports.
 */
uint32_t vports_in(struct vports *p, uint16_t port, uint32_t size);
/* OUT likewise (another size does nothing); bits of `value` above `size` are ignored. Fills all of `effect`.
 */
void vports_out(struct vports *p, uint16_t port, uint32_t size, uint32_t value, struct vports_effect *effect);
/* A console byte arrives for the guest. False: the UART did not take it; offer it again later. */
bool vports_receive(struct vports *p, uint8_t byte);

#endif
