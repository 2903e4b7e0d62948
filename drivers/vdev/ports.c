/* The guest's port map. See ports.h. */
#include "drivers/vdev/ports.h"

#include <string.h>

#define ALL_ONES UINT32_C(0xFFFFFFFF)

void vports_reset(struct vports *p)
{
    memset(p, 0, sizeof(*p));
    vuart_reset(&p->uart);
}

static bool valid_size(uint32_t size)
{
    return size == 1 || size == 2 || size == 4;
}

static uint32_t size_mask(uint32_t size)
{
    return ALL_ONES >> (32 - 8 * size);
}

/* The UART register at `port` (above FFFFH: none), or -1. */
static int uart_offset(uint32_t port)
{
    return port >= VPORT_UART && port < VPORT_UART + VUART_PORTS ? (int)(port - VPORT_UART) : -1;
}

/* Whether an access of `size` bytes at `port` reaches no device at all. */
static bool nothing_there(uint16_t port, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (uart_offset(port + i) >= 0)
            return false;
    }
    return port != VPORT_EXIT;
}

uint32_t vports_in(struct vports *p, uint16_t port, uint32_t size)
{
    uint32_t value = 0;
    int offset;

    if (!valid_size(size))
        return 0;
    if (nothing_there(port, size))
        p->unknown_reads++;
    for (uint32_t i = 0; i < size; i++) {
        offset = uart_offset(port + i);
        value |= (offset >= 0 ? (uint32_t)vuart_read(&p->uart, (uint32_t)offset) : UINT8_MAX) << 8 * i;
    }
    return value;
}

static void exit_guest(struct vports *p, uint32_t status, struct vports_effect *effect)
{
    if (p->exited)
        return;
    p->exited = 1;
    p->exit_status = status;
    *effect = (struct vports_effect){.kind = VPORTS_EXIT, .value = status};
}

void vports_out(struct vports *p, uint16_t port, uint32_t size, uint32_t value, struct vports_effect *effect)
{
    struct vuart_out out;
    int offset;

    *effect = (struct vports_effect){.kind = VPORTS_NONE};
    if (!valid_size(size))
        return;
    if (nothing_there(port, size))
        p->unknown_writes++;
    if (port == VPORT_EXIT)
        exit_guest(p, value & size_mask(size), effect);
    for (uint32_t i = 0; i < size; i++) {
        offset = uart_offset(port + i);
        if (offset < 0)
            continue;
        vuart_write(&p->uart, (uint32_t)offset, (uint8_t)(value >> 8 * i), &out);
        if (out.sent) /* the data register is one port, so this is true at most once */
            *effect = (struct vports_effect){.kind = VPORTS_CONSOLE, .value = out.byte};
    }
}

bool vports_receive(struct vports *p, uint8_t byte)
{
    return vuart_receive(&p->uart, byte);
}
