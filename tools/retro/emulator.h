/*
 * Drives the emulator through the scripts tools/mkiso and tools/emulate, which hold all of its
 * settings. Everything that a run needs on disk lives in one temporary directory.
 */
#ifndef RV_TOOLS_RETRO_EMULATOR_H
#define RV_TOOLS_RETRO_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct emulator {
    char *home; /* directory that holds tools/ and build/ */
    char *dir;  /* temporary directory: image, links to the modules, output of the scripts */
    pid_t pid;  /* 0 while it does not run */
};

struct emulator_module {
    const char *path;
    const char *name;  /* file name inside the image */
    const char *words; /* its command line */
};

struct emulator_options {
    const char *kind; /* "bochs", "qemu" ... as tools/emulate knows them */
    unsigned cpus;
    unsigned ips;     /* emulated instructions per second, 0 for the script's own */
    unsigned mib;     /* memory */
    unsigned seconds; /* the script ends the emulator after this time, whatever became of us */
    uint16_t port;    /* where we listen */
};

/*
 * Finds the scripts (`home`, else $RETROVISOR_HOME, else beside this program) and makes the directory.
 * This and the next two print a message and return an exit code where they fail, else RETRO_OK.
 */
int emulator_init(struct emulator *e, const char *home);
/* Makes the image: the hypervisor's command line, and `count` modules. */
int emulator_make_image(struct emulator *e, const char *words, const struct emulator_module *modules,
                        unsigned count);
int emulator_start(struct emulator *e, const struct emulator_options *o);
/* True once the emulator has ended; `*status` is then as waitpid(2) gives it. */
bool emulator_ended(struct emulator *e, int *status);
/* Waits up to `grace` seconds for it to end by itself, then ends it. */
void emulator_stop(struct emulator *e, double grace);
/* Prints the last lines that a script wrote, to show why it failed. */
void emulator_print_output(const struct emulator *e, const char *script);
/* Ends the emulator and removes the directory (kept, and named, if `keep`). */
void emulator_free(struct emulator *e, bool keep);

#endif
