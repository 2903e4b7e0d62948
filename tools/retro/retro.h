/*
 * retro: the host side of Retrovisor. What its sub-commands share: exit codes, messages, the table of
 * commands.
 */
#ifndef RV_TOOLS_RETRO_H
#define RV_TOOLS_RETRO_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes; part of the interface, listed in tools/retro/README.md. */
enum retro_exit {
    RETRO_OK = 0,           /* done; for replay: equal to the recording */
    RETRO_USAGE = 1,        /* the command line is wrong */
    RETRO_NOT_EQUAL = 2,    /* the replay diverged, or its results differ from the recording's */
    RETRO_DAMAGED = 3,      /* the log is damaged */
    RETRO_INCOMPLETE = 4,   /* the log was cut off (usable up to its last whole block) */
    RETRO_GUEST = 5,        /* the guest ended badly, or was refused */
    RETRO_MACHINE = 6,      /* the machine lacks what Retrovisor needs */
    RETRO_TIMEOUT = 7,      /* the time given by --timeout has passed */
    RETRO_IO = 8,           /* a file, line or socket failed */
    RETRO_EMULATOR = 9,     /* emulator or hypervisor ended without a result */
    RETRO_MISMATCH = 10,    /* log and guest, or log and this version, do not belong together */
    RETRO_INTERRUPTED = 11, /* ended by SIGINT or SIGTERM */
    RETRO_NOT_FOUND = 12    /* hunt: no recording did what was looked for */
};

/* A sub-command. `argv[0]` is "retro NAME", for argp's messages. Returns an exit code. */
struct retro_command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

int command_collect(int argc, char **argv);
int command_compress(int argc, char **argv);
int command_console(int argc, char **argv);
int command_decompress(int argc, char **argv);
int command_diff(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_hunt(int argc, char **argv);
int command_info(int argc, char **argv);
int command_record(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_run(int argc, char **argv);
int command_soak(int argc, char **argv);
int command_stats(int argc, char **argv);
int command_verify(int argc, char **argv);

/* A short name of an exit code, for the JSON verdict. */
const char *retro_exit_name(int code);

#endif
