/* What the two halves of `retro hunt` share: the runs side by side, and what came of them. */
#ifndef RV_TOOLS_RETRO_HUNT_H
#define RV_TOOLS_RETRO_HUNT_H

#include "tools/retro/machine.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { HUNT_JOBS_MAX = 64 };

/* One recording, with a seed and a chaos of its own. */
struct hunt_try {
    uint64_t number; /* 0 for the first */
    uint64_t seed, chaos;
    char *log; /* its file */
};

struct hunt_job {
    pid_t pid; /* 0: free */
    struct hunt_try try;
};

struct hunt_pool {
    char *dir; /* temporary: logs, what the recordings say, their own temporary files */
    unsigned count;
    struct hunt_job jobs[HUNT_JOBS_MAX];
};

/* Makes the directory. Returns RETRO_OK, or an exit code after a message. */
int hunt_pool_open(struct hunt_pool *pool, unsigned count);
/* Starts a recording in a free place; `o` holds the machine, its seed and chaos are those of `try`. False,
 * after a message, where no process can be started. */
bool hunt_pool_start(struct hunt_pool *pool, const struct machine_options *o, struct hunt_try try);
/*
 * The exit code of a recording that has ended, its try in `try` (whose log the caller removes by
 * hunt_try_drop()), or -1 if all that run still do.
 */
int hunt_pool_take(struct hunt_pool *pool, struct hunt_try *try);
bool hunt_pool_has_place(const struct hunt_pool *pool);
bool hunt_pool_is_empty(const struct hunt_pool *pool);
/* Prints the last lines that the recording said. */
void hunt_print_output(const struct hunt_pool *pool, const struct hunt_try *try);
/* Removes what the try has left. */
void hunt_try_drop(const struct hunt_pool *pool, struct hunt_try *try);
/* Ends what runs, within some seconds, and removes the directory. */
void hunt_pool_close(struct hunt_pool *pool);

/* How often what came. */
struct tally_row {
    char *text;
    uint64_t count, first_seed;
};

struct tally {
    struct tally_row *rows;
    size_t count;
};

void tally_add(struct tally *t, const char *text, uint64_t seed);
/* The most frequent first, then by text. */
void tally_sort(struct tally *t);
void tally_free(struct tally *t);

#endif
