/*
 * The receiving end of the link: writes the log, shows console and messages, and keeps what a verdict
 * needs. Used by `retro collect` on any line, and by run, record and replay on the emulator's.
 */
#ifndef RV_TOOLS_RETRO_COLLECTOR_H
#define RV_TOOLS_RETRO_COLLECTOR_H

#include "tools/retro/capture.h"
#include "tools/retro/display.h"
#include "tools/retro/input.h"
#include "tools/retro/logmap.h"
#include "tools/retro/source.h"
#include "tools/retro/util.h"

#include "replay/link.h"
#include "replay/log_codec.h"

#include <stdbool.h>
#include <stdint.h>

/* Why collector_run returned. */
enum collect_end {
    COLLECT_RESULT,      /* the result came, and the line fell silent */
    COLLECT_CLOSED,      /* the peer closed, or the file ended; the result may have come before */
    COLLECT_TIMEOUT,     /* the deadline passed */
    COLLECT_INTERRUPTED, /* SIGINT or SIGTERM */
    COLLECT_FAILED,      /* a message has told what */
};

enum { COLLECT_RING = 4096, COLLECT_STATUS_MAX = 32, COLLECT_FOREIGN_MAX = 4096 };

struct collector {
    /* For the caller to set between collector_init and collector_run. */
    double quiet;        /* seconds of silence after the result that end the collection */
    struct input *input; /* for the guest's console; NULL for none */

    /* Results. */
    enum collect_end end;
    struct logmap log;        /* what was received of the log */
    struct log_reader reader; /* header, trailer, abort's reason */
    enum log_status log_status;
    char status[COLLECT_STATUS_MAX + 1]; /* from "retrovisor: end status=NAME"; "" if it never came */
    struct buffer console;               /* the guest's console output */
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    bool have_counters;

    /* Inside. */
    struct link link;
    struct capture capture; /* in the link's place where the source cannot be answered */
    uint8_t ring[COLLECT_RING];
    struct display display;
    const char *log_name;
    bool failed;
    uint64_t console_stream, console_log; /* console bytes seen on either way */
    struct line message, foreign;
    struct buffer foreign_text; /* the last of it, to explain a failure */
};

/*
 * `log_fd`: where the log goes, open for reading and writing; `have` bytes of it are there already and
 * are a sound prefix. `log_name` is for messages. The display is the caller's to open and is copied.
 * Returns RETRO_OK, or an exit code after a message.
 */
int collector_init(struct collector *c, int log_fd, const char *log_name, uint64_t have,
                   const struct display *display);
/* The same with a log that lives in memory only. */
int collector_init_memory(struct collector *c, const struct display *display);

/*
 * Collects from `s` until there is a result and silence, or the end of the line, or `deadline` (as now()
 * gives it; 0 for none), or a signal; or `alive` (may be NULL) says that no more will come.
 */
void collector_run(struct collector *c, struct source *s, double deadline, bool (*alive)(void *),
                   void *context);

/* True where the recording or replay told how it ended. */
bool collector_has_result(const struct collector *c);
/* Prints the last foreign text, to explain why nothing else came. */
void collector_print_foreign(const struct collector *c);
/* Frees all, closes the log. */
void collector_free(struct collector *c);

#endif
