/*
 * The console: a 16550 UART at 0x3F8, polled. say() may be called on every CPU.
 */
#ifndef RV_GUEST_CONSOLE_H
#define RV_GUEST_CONSOLE_H

#include <stddef.h>

/* Sets up the UART. CPU 0, once, before anything is printed. */
void console_init(void);

/* Sends raw bytes; a line feed gets its carriage return. The caller keeps other CPUs away. */
void console_write(const char *text, size_t length);

/* The next byte that was received, -1 if there is none. The caller keeps other CPUs away. */
int console_read(void);

/* printf under the console's lock: a call's text is never torn by another CPU's. Not from interrupt handlers.
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints `exit CODE`, then ends the machine by port 0x501. Never returns. */
_Noreturn void guest_exit(int code);

/* Reports what went wrong (no lock is taken: the holder may be the one that failed) and exits with
 * EXIT_PANIC. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EXIT_PANIC 99

#endif
