/*
 * The end of a hypervisor that cannot go on: an unexpected trap, or a failed HV_CHECK. The first CPU that
 * panics stops the others by NMI, prints what it knows by a polling path, drains the log, and ends the
 * machine.
 */
#ifndef RV_HV_PANIC_H
#define RV_HV_PANIC_H

#include "hv/base/types.h"

struct trap_frame;

/*
 * Sends what the log still holds, by polling, after the dump: never marks the log complete. Takes no locks
 * (their holders have been stopped). `text` is the dump's lines, for the log's message stream.
 */
typedef void panic_drain_fn(void *context, const char *text, size_t size);

#define PANIC_TEXT_SIZE 4096

struct panic {
    uint32_t taken; /* 1: some CPU panics; atomic */
    panic_drain_fn *drain;
    void *context;
    /*
     * True: the drain hook prints the text (the wire carries frames, plain text would damage it); false:
     * plain text goes to COM1.
     */
    bool drain_prints;
    size_t used;
    char text[PANIC_TEXT_SIZE];
};

/* Registers the hook; once, before the run. */
void panic_set_drain(panic_drain_fn *drain, void *context, bool drain_prints);

/* Panics with a printf text; `frame` may be NULL. Any CPU, any context. */
_Noreturn void panic(const struct trap_frame *frame, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* For cpu_system.unexpected_trap. */
void panic_unexpected_trap(const struct trap_frame *frame);

#endif
