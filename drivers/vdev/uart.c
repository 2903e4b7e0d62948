/* A virtual 16550A. See uart.h. */
#include "drivers/vdev/uart.h"

#include <string.h>

#define IER_RX    UINT8_C(0x01)
#define IER_THRE  UINT8_C(0x02)
#define IER_LINE  UINT8_C(0x04)
#define IER_MODEM UINT8_C(0x08)
#define IER_BITS  UINT8_C(0x0F)

/* Interrupt identification, in order of priority (data sheet, table IV). */
#define IIR_LINE    UINT8_C(0x06)
#define IIR_RX      UINT8_C(0x04)
#define IIR_TIMEOUT UINT8_C(0x0C)
#define IIR_THRE    UINT8_C(0x02)
#define IIR_MODEM   UINT8_C(0x00)
#define IIR_NONE    UINT8_C(0x01)
#define IIR_FIFOS   UINT8_C(0xC0)

#define FCR_ENABLE        UINT8_C(0x01)
#define FCR_CLEAR_RX      UINT8_C(0x02)
#define FCR_TRIGGER       UINT8_C(0xC0)
#define FCR_TRIGGER_SHIFT 6

#define LCR_DLAB UINT8_C(0x80)

#define MCR_DTR  UINT8_C(0x01)
#define MCR_RTS  UINT8_C(0x02)
#define MCR_OUT1 UINT8_C(0x04)
#define MCR_OUT2 UINT8_C(0x08)
#define MCR_LOOP UINT8_C(0x10)
#define MCR_BITS UINT8_C(0x1F)

#define LSR_READY   UINT8_C(0x01)
#define LSR_OVERRUN UINT8_C(0x02)
#define LSR_THRE    UINT8_C(0x20)
#define LSR_EMPTY   UINT8_C(0x40)

#define MSR_CTS         UINT8_C(0x10)
#define MSR_DSR         UINT8_C(0x20)
#define MSR_RI          UINT8_C(0x40)
#define MSR_DCD         UINT8_C(0x80)
#define MSR_DELTA_SHIFT 4 /* a line's change bit is four below it */

#define DIVISOR_RESET UINT8_C(1) /* 115200 baud; the data sheet leaves it open */

void vuart_reset(struct vuart *u)
{
    memset(u, 0, sizeof(*u));
    u->dll = DIVISOR_RESET;
}

static uint32_t capacity(const struct vuart *u)
{
    return u->fcr & FCR_ENABLE ? VUART_FIFO_SIZE : 1;
}

static uint32_t trigger(const struct vuart *u)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return u->fcr & FCR_ENABLE ? levels[u->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

static void clear_rx(struct vuart *u)
{
    memset(u->rx, 0, sizeof(u->rx));
    u->rx_count = 0;
}

static uint8_t pop(struct vuart *u)
{
    uint8_t byte = u->rx[0];

    if (u->rx_count == 0)
        return 0;
    memmove(u->rx, u->rx + 1, VUART_FIFO_SIZE - 1);
    u->rx[VUART_FIFO_SIZE - 1] = 0;
    u->rx_count--;
    return byte;
}

/* The modem lines as MSR shows them: in loopback they are the outputs of MCR (data sheet 8.7). */
static uint8_t modem_lines(uint8_t mcr)
{
    uint8_t lines = 0;

    if (!(mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    lines |= mcr & MCR_RTS ? MSR_CTS : 0;
    lines |= mcr & MCR_DTR ? MSR_DSR : 0;
    lines |= mcr & MCR_OUT1 ? MSR_RI : 0;
    lines |= mcr & MCR_OUT2 ? MSR_DCD : 0;
    return lines;
}

static uint8_t identify(const struct vuart *u)
{
    if ((u->ier & IER_LINE) && u->overrun)
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx_count >= trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->rx_count != 0)
        return IIR_TIMEOUT;
    if ((u->ier & IER_THRE) && u->thre_event)
        return IIR_THRE;
    if ((u->ier & IER_MODEM) && u->msr_delta)
        return IIR_MODEM;
    return IIR_NONE;
}

static uint8_t read_iir(struct vuart *u)
{
    uint8_t id = identify(u);

    if (id == IIR_THRE)
        u->thre_event = 0;
    return id | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct vuart *u)
{
    uint8_t lsr = LSR_THRE | LSR_EMPTY;

    lsr |= u->rx_count != 0 ? LSR_READY : 0;
    lsr |= u->overrun ? LSR_OVERRUN : 0;
    u->overrun = 0;
    return lsr;
}

uint8_t vuart_read(struct vuart *u, uint32_t offset)
{
    bool dlab = u->lcr & LCR_DLAB;
    uint8_t value;

    switch (offset) {
    case VUART_DATA:
        return dlab ? u->dll : pop(u);
    case VUART_IER:
        return dlab ? u->dlm : u->ier;
    case VUART_IIR:
        return read_iir(u);
    case VUART_LCR:
        return u->lcr;
    case VUART_MCR:
        return u->mcr;
    case VUART_LSR:
        return read_lsr(u);
    case VUART_MSR:
        value = modem_lines(u->mcr) | u->msr_delta;
        u->msr_delta = 0;
        return value;
    case VUART_SCR:
        return u->scr;
    default:
        return UINT8_MAX;
    }
}

/* A byte for a receiver that cannot wait: overrun keeps the FIFO, but a lone holding register is overwritten.
 */
static void loop_back(struct vuart *u, uint8_t byte)
{
    if (u->rx_count < capacity(u)) {
        u->rx[u->rx_count++] = byte;
        return;
    }
    u->overrun = 1;
    if (!(u->fcr & FCR_ENABLE))
        u->rx[0] = byte;
}

static void write_data(struct vuart *u, uint8_t value, struct vuart_out *out)
{
    if (u->mcr & MCR_LOOP)
        loop_back(u, value);
    else
        *out = (struct vuart_out){.sent = 1, .byte = value};
    u->thre_event = 1;
}

static void write_ier(struct vuart *u, uint8_t value)
{
    /* The holding register is always empty, so enabling its interrupt raises it (data sheet 8.6). */
    if ((value & IER_THRE) && !(u->ier & IER_THRE))
        u->thre_event = 1;
    u->ier = value & IER_BITS;
}

/* The other bits count only where the enable bit is written as 1; switching FIFO mode empties the FIFOs. */
static void write_fcr(struct vuart *u, uint8_t value)
{
    if ((value ^ u->fcr) & FCR_ENABLE || ((value & FCR_ENABLE) && (value & FCR_CLEAR_RX)))
        clear_rx(u);
    u->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

static void write_mcr(struct vuart *u, uint8_t value)
{
    uint8_t before = modem_lines(u->mcr);
    uint8_t after;
    uint8_t changed;

    u->mcr = value & MCR_BITS;
    after = modem_lines(u->mcr);
    changed = before ^ after;
    if (after & MSR_RI)
        changed &= (uint8_t)~MSR_RI; /* only the trailing edge of RI is an event */
    u->msr_delta |= changed >> MSR_DELTA_SHIFT;
}

void vuart_write(struct vuart *u, uint32_t offset, uint8_t value, struct vuart_out *out)
{
    bool dlab = u->lcr & LCR_DLAB;

    *out = (struct vuart_out){0};
    switch (offset) {
    case VUART_DATA:
        if (dlab)
            u->dll = value;
        else
            write_data(u, value, out);
        break;
    case VUART_IER:
        if (dlab)
            u->dlm = value;
        else
            write_ier(u, value);
        break;
    case VUART_IIR:
        write_fcr(u, value);
        break;
    case VUART_LCR:
        u->lcr = value;
        break;
    case VUART_MCR:
        write_mcr(u, value);
        break;
    case VUART_SCR:
        u->scr = value;
        break;
    default: /* LSR and MSR: writes are for factory tests */
        break;
    }
}

bool vuart_receive(struct vuart *u, uint8_t byte)
{
    if ((u->mcr & MCR_LOOP) || u->rx_count >= capacity(u))
        return false;
    u->rx[u->rx_count++] = byte;
    return true;
}

bool vuart_irq(const struct vuart *u)
{
    return identify(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP);
}
