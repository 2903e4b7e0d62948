#include "guest-images/lib/console.h"

#include <stdarg.h>
#include <stdio.h>

#include "guest-images/lib/args.h"
#include "guest-images/lib/lock.h"
#include "guest-images/lib/x86.h"

#define UART_BASE        0x3F8
#define UART_DATA        (UART_BASE + 0)
#define UART_IER         (UART_BASE + 1)
#define UART_FCR         (UART_BASE + 2)
#define UART_IIR         (UART_BASE + 2)
#define UART_LCR         (UART_BASE + 3)
#define UART_MCR         (UART_BASE + 4)
#define UART_LSR         (UART_BASE + 5)
#define LCR_DLAB         0x80
#define LCR_8N1          0x03
#define FCR_ENABLE_CLEAR 0x07
#define IIR_FIFO         0xC0
#define MCR_DTR_RTS      0x03
#define LSR_READY        0x01
#define LSR_THRE         0x20
#define LSR_TEMT         0x40
#define UART_FIFO_SIZE   16
#define UART_DIVISOR     1 /* 115200 baud */

#define EXIT_PORT       0x501
#define BOCHS_EXIT_PORT 0x8900

static struct lock console_lock;
static unsigned fifo_size = 1;

void console_init(void)
{
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_DLAB);
    outb(UART_DATA, UART_DIVISOR);
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_8N1);
    outb(UART_FCR, FCR_ENABLE_CLEAR);
    outb(UART_MCR, MCR_DTR_RTS);
    if ((inb(UART_IIR) & IIR_FIFO) == IIR_FIFO)
        fifo_size = UART_FIFO_SIZE;
}

/* THRE says that the whole FIFO is empty, so one look allows fifo_size bytes. */
static void put_byte(char c, unsigned *room)
{
    if (*room == 0) {
        while (!(inb(UART_LSR) & LSR_THRE))
            cpu_relax();
        *room = fifo_size;
    }
    outb(UART_DATA, (uint8_t)c);
    (*room)--;
}

void console_write(const char *text, size_t length)
{
    unsigned room = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            put_byte('\r', &room);
        put_byte(text[i], &room);
    }
}

int console_read(void)
{
    return inb(UART_LSR) & LSR_READY ? inb(UART_DATA) : -1;
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    lock_take(&console_lock);
    vprintf(format, args);
    fflush(stdout);
    lock_drop(&console_lock);
    va_end(args);
}

/* Lets the last byte leave first. Where there is no exit port, the CPU stays halted, and whoever watches has
 * read `exit CODE`. */
static _Noreturn void machine_off(int code)
{
    while (!(inb(UART_LSR) & LSR_TEMT))
        cpu_relax();
    outl(EXIT_PORT, (uint32_t)code);
    if (arg_word("end", "bochs")) {
        for (const char *p = "D"; *p != '\0'; p++)
            outb(BOCHS_EXIT_PORT, (uint8_t)*p);
    }
    for (;;)
        __asm__ volatile("cli; hlt");
}

void guest_exit(int code)
{
    say("exit %d\n", code);
    machine_off(code);
}

void panic(const char *format, ...)
{
    char text[256];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    console_write("panic: ", 7);
    console_write(text, length < (int)sizeof(text) ? (size_t)length : sizeof(text) - 1);
    length = snprintf(text, sizeof(text), "\nexit %d\n", EXIT_PANIC);
    console_write(text, (size_t)length);
    machine_off(EXIT_PANIC);
}
