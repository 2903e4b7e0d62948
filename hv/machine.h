/* How the machine ends. */
#ifndef RV_HV_MACHINE_H
#define RV_HV_MACHINE_H

#include "hv/base/types.h"

/* hv/README.md documents the names; the numbers reach the outside through QEMU's isa-debug-exit. */
enum machine_status {
    MACHINE_OK,
    MACHINE_REFUSED, /* a missing requirement */
    MACHINE_BAD_COMMAND_LINE,
    MACHINE_BAD_BOOT, /* boot information or firmware tables that cannot be used */
    MACHINE_BAD_GUEST,
    MACHINE_BAD_LOG, /* a log that cannot be replayed */
    MACHINE_DIVERGENCE,
    MACHINE_LOG_ERROR, /* the log could not be delivered */
    MACHINE_PANIC,
};

const char *machine_status_name(enum machine_status status);

/* Prints "retrovisor: end status=<name>" as the last line and ends the machine as the options say. */
_Noreturn void machine_end(enum machine_status status);

/* The same without the line: for panics. */
_Noreturn void machine_stop(enum machine_status status);

#endif
