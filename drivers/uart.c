#include "drivers/uart.h"

#include "hv/cpu/cpu.h"

/* Registers, as offsets from the port. */
enum uart_register {
    UART_DATA = 0, /* with DLAB: divisor, low byte */
    UART_IER = 1,  /* with DLAB: divisor, high byte */
    UART_FCR = 2,
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_SCRATCH = 7,
};

#define FCR_ENABLE_CLEAR 0x07
#define LCR_8N1          0x03
#define LCR_DLAB         0x80
#define MCR_DTR_RTS      0x03
#define LSR_RX_READY     0x01
#define LSR_TX_EMPTY     0x20
#define LSR_TX_IDLE      0x40 /* the shift register is empty, too */
#define SCRATCH_TEST     0xA5
#define FIFO_SIZE        16
/* A byte takes 87 us at 115200 baud; this many polls are seconds. */
#define MAX_POLLS 50000000u

void uart_init(struct uart *uart, uint16_t port, uint32_t baud)
{
    uint32_t divisor = baud ? UART_MAX_BAUD / baud : 1;

    uart->port = port;
    out8(port + UART_SCRATCH, SCRATCH_TEST);
    uart->present = in8(port + UART_SCRATCH) == SCRATCH_TEST;
    if (!uart->present) {
        return;
    }
    out8(port + UART_IER, 0);
    out8(port + UART_LCR, LCR_DLAB | LCR_8N1);
    out8(port + UART_DATA, (uint8_t)divisor);
    out8(port + UART_IER, (uint8_t)(divisor >> 8));
    out8(port + UART_LCR, LCR_8N1);
    out8(port + UART_FCR, FCR_ENABLE_CLEAR);
    out8(port + UART_MCR, MCR_DTR_RTS);
}

size_t uart_try_write(struct uart *uart, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    size_t n = MIN(size, (size_t)FIFO_SIZE);

    if (!uart->present) {
        return size;
    }
    if (!(in8(uart->port + UART_LSR) & LSR_TX_EMPTY)) {
        return 0;
    }
    /* "Transmitter holding register empty" with FIFOs on means that the whole FIFO is. */
    for (size_t i = 0; i < n; i++) {
        out8(uart->port + UART_DATA, from[i]);
    }
    return n;
}

void uart_write(struct uart *uart, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    uint32_t polls = 0;

    while (size > 0 && polls < MAX_POLLS) {
        size_t n = uart_try_write(uart, from, size);

        from += n;
        size -= n;
        polls = n ? 0 : polls + 1;
        if (!n) {
            cpu_pause();
        }
    }
}

void uart_flush(struct uart *uart)
{
    for (uint32_t polls = 0; uart->present && polls < MAX_POLLS; polls++) {
        if (in8(uart->port + UART_LSR) & LSR_TX_IDLE) {
            return;
        }
        cpu_pause();
    }
}

size_t uart_read(struct uart *uart, void *bytes, size_t room)
{
    uint8_t *to = bytes;
    size_t n = 0;

    while (n < room && uart->present && (in8(uart->port + UART_LSR) & LSR_RX_READY)) {
        to[n++] = in8(uart->port + UART_DATA);
    }
    return n;
}
