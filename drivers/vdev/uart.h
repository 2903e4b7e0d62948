/*
 * A virtual 16550A UART (National PC16550D data sheet). Pure: the wire is two function calls.
 *
 * The transmitter is always ready, so baud rate and word length have no effect; the receiver has the
 * chip's 16 bytes. As no time passes here, the "character timeout" of a partly filled FIFO is immediate.
 */
#ifndef RV_DRIVERS_VDEV_UART_H
#define RV_DRIVERS_VDEV_UART_H

#include "hv/base/types.h"

#define VUART_PORTS     8u
#define VUART_FIFO_SIZE 16u

/* Register offsets (data sheet, table II). */
enum vuart_reg {
    VUART_DATA = 0, /* RBR / THR; DLL while LCR.DLAB */
    VUART_IER = 1,  /* DLM while LCR.DLAB */
    VUART_IIR = 2,  /* FCR on writes */
    VUART_LCR = 3,
    VUART_MCR = 4,
    VUART_LSR = 5,
    VUART_MSR = 6,
    VUART_SCR = 7,
};

/* Guest state; reserved bytes are 0. */
struct vuart {
    uint8_t rx[VUART_FIFO_SIZE]; /* received bytes, oldest first; those past rx_count are 0 */
    uint8_t rx_count;
    uint8_t ier;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t fcr;       /* enable and trigger bits */
    uint8_t overrun;   /* LSR.OE */
    uint8_t msr_delta; /* MSR bits 3:0 */
    uint8_t scr;
    uint8_t dll;
    uint8_t dlm;
    uint8_t thre_event; /* the THRE interrupt is pending */
    uint8_t reserved[5];
};

_Static_assert(sizeof(struct vuart) == 32, "struct vuart has no padding");

/* What a write puts on the wire. */
struct vuart_out {
    uint8_t sent; /* 1: `byte` was transmitted */
    uint8_t byte;
};

/* Power-up state; nothing connected but a terminal that is always ready (DCD, DSR, CTS). */
void vuart_reset(struct vuart *u);
/* Reads the register at `offset` (0..7); may pop the FIFO and clear what reading clears. */
uint8_t vuart_read(struct vuart *u, uint32_t offset);
/* Writes the register at `offset` (0..7); fills all of `out`. */
void vuart_write(struct vuart *u, uint32_t offset, uint8_t value, struct vuart_out *out);
/* A byte arrives. False: not taken (full, or in loopback), so that the caller may offer it again. */
bool vuart_receive(struct vuart *u, uint8_t byte);
/* The level of the interrupt line (IRQ 4 on a PC, gated by MCR.OUT2). */
bool vuart_irq(const struct vuart *u);

#endif
