/*
 * The one mutable global of the hypervisor. Everything else is reached by pointers that functions are
 * given; what must be found from anywhere (messages, panic, the traps) starts here.
 */
#ifndef RV_HV_STATE_H
#define RV_HV_STATE_H

#include "boot/acpi.h"
#include "boot/multiboot2.h"
#include "drivers/uart.h"
#include "hv/cmdline.h"
#include "hv/cpu/paging.h"
#include "hv/cpu/percpu.h"
#include "hv/mem.h"
#include "hv/msg.h"
#include "hv/panic.h"
#include "hv/report.h"

struct hv_state {
    /* Set by the boot processor before the others run; constant afterwards. */
    struct boot_info boot;
    struct acpi_cpus acpi;
    struct hv_options options;
    struct cpu_system cpus;
    struct paging paging;
    struct vmx_raw_caps raw_caps[ACPI_MAX_CPUS]; /* by CPU index; each CPU fills its own */
    struct report report;

    struct mem mem;   /* boot processor, before the run */
    struct uart com1; /* the message sink's, later the log channel's */
    struct msg msg;   /* locked inside */
    struct panic panic;
};

extern struct hv_state hv_state;

#endif
