/*
 * The 8042 keyboard controller of a PC, as far as operating systems need one that has neither keyboard nor
 * mouse (IBM PS/2 hardware interface reference): self-tests, command byte, output port, and the pulse that
 * resets. Pure.
 */
#ifndef RV_DRIVERS_VDEV_KBC_H
#define RV_DRIVERS_VDEV_KBC_H

#include "hv/base/types.h"

/* Guest state; reserved bytes are 0. */
struct vkbc {
    uint8_t output;  /* the byte at the data port */
    uint8_t full;    /* 1: it has not been read */
    uint8_t mode;    /* command byte */
    uint8_t port;    /* output port */
    uint8_t expects; /* command that takes the next data byte, 0: the keyboard does, which is not there */
    uint8_t last_command; /* status bit 3: the last write was a command */
    uint8_t reserved[2];
};

_Static_assert(sizeof(struct vkbc) == 8, "struct vkbc has no padding");

/* State as firmware leaves it. */
void vkbc_reset(struct vkbc *k);
uint8_t vkbc_read_data(struct vkbc *k);
uint8_t vkbc_read_status(const struct vkbc *k);
/* Writes; true: the guest resets its processors. */
bool vkbc_write_data(struct vkbc *k, uint8_t value);
bool vkbc_write_command(struct vkbc *k, uint8_t value);

#endif
