/* One run of the hypervisor in the emulator: the options that run, record and replay share, and the run. */
#ifndef RV_TOOLS_RETRO_MACHINE_H
#define RV_TOOLS_RETRO_MACHINE_H

#include "tools/retro/collector.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

struct machine_options {
    const char *guest;
    const char *initrd; /* Linux' initramfs, or NULL */
    const char *append; /* the guest's command line */
    unsigned vcpus;
    uint64_t memory; /* bytes */
    uint64_t chunk, seed, chaos;
    bool has_chunk, has_seed, has_chaos;
    const char *words; /* extra words of the hypervisor's command line */
    const char *emulator;
    const char *home;
    const char *console_file;
    unsigned ips;
    unsigned machine_mib; /* memory of the emulated machine, 0: enough for the guest */
    double timeout;       /* seconds, 0 for none */
    bool keep;
    bool json;
    int verbose;
};

#define MACHINE_DEFAULTS                                                                                     \
    {                                                                                                        \
        .append = "", .vcpus = 2, .memory = UINT64_C(64) << 20, .words = "", .emulator = "bochs",            \
        .timeout = 600                                                                                       \
    }

/* Argp children; their input is a struct machine_options. */
extern const struct argp machine_argp;       /* what all three commands know */
extern const struct argp machine_guest_argp; /* what replay takes from the log instead */

/* What a run needs beyond its options. */
struct machine_job {
    const char *mode; /* "run", "record", "replay" or "soak" */
    const char *log;  /* replay: path of the log that goes into the image; else NULL */
    uint64_t commits; /* that a log holds which the hypervisor decodes */
};

/*
 * Builds the image, starts the emulator, collects until it ends. `c` is set up by collector_init and
 * holds afterwards what came. Returns RETRO_OK if the run came to some end of its own (see the
 * collector's results), else prints a message and returns an exit code.
 */
int machine_run(const struct machine_options *o, const struct machine_job *job, struct collector *c);

#endif
