/*
 * What a run shows live: the guest's console on standard output, the hypervisor's messages and a
 * progress line on standard error.
 */
#ifndef RV_TOOLS_RETRO_DISPLAY_H
#define RV_TOOLS_RETRO_DISPLAY_H

#include "tools/retro/util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes gathered into lines; a longer line is handed on in parts. */
struct line {
    char text[512];
    size_t length;
};

/* Adds a byte; returns true if `l->text` now holds a whole line (NUL-terminated, without its end). */
bool line_add(struct line *l, uint8_t byte);

struct display {
    bool console;    /* show the guest's console */
    bool foreign;    /* show text that is not the hypervisor's, and all it has to say about the machine */
    bool progress;   /* standard error is a terminal */
    int console_fd;  /* a copy of the console, -1 for none */
    bool mid_line;   /* the console's last byte ended no line */
    bool bar;        /* a progress line is on the terminal */
    double bar_time; /* when it was last drawn */
    double begin;
};

/* `console_file` gets a copy of the console (NULL for none). Returns RETRO_OK, or a code after a message. */
int display_open(struct display *d, bool console, int verbose, const char *console_file);
/* False where the copy of the console cannot be written. */
bool display_console(struct display *d, const uint8_t *bytes, size_t length);
/* A line of the hypervisor. */
void display_message(struct display *d, const char *line);
/* A line of someone else on the wire: firmware, boot loader. */
void display_foreign(struct display *d, const char *line);
/* Draws the progress line, at most a few times a second. */
void display_progress(struct display *d, uint64_t log_bytes, uint64_t commits);
/* Ends what is half drawn; before any other output. */
void display_settle(struct display *d);
void display_close(struct display *d);

#endif
