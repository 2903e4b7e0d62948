/*
 * The host's 16550 serial port, polled. Not locked: one user at a time (the message sink's lock, or the
 * control plane).
 */
#ifndef RV_DRIVERS_UART_H
#define RV_DRIVERS_UART_H

#include "hv/base/types.h"

#define UART_COM1     0x3F8
#define UART_MAX_BAUD 115200u

struct uart {
    uint16_t port;
    bool present;
};

/*
 * Sets up 8N1 with FIFOs, no interrupts. baud must divide 115200. An absent port (the scratch register does
 * not hold a value) makes later writes do nothing.
 */
void uart_init(struct uart *uart, uint16_t port, uint32_t baud);

/* Waits until the FIFO takes the bytes; an endless wait is cut after a bound and the rest dropped. */
void uart_write(struct uart *uart, const void *bytes, size_t size);

/* Waits, bounded too, until everything has left the wire: before the machine ends. */
void uart_flush(struct uart *uart);

/* Writes what fits without waiting; returns the number of bytes taken. */
size_t uart_try_write(struct uart *uart, const void *bytes, size_t size);

/* Reads what has come; returns the number of bytes, 0 to `room`. */
size_t uart_read(struct uart *uart, void *bytes, size_t room);

#endif
