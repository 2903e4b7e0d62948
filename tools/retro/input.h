/*
 * What the guest's console is given: a file, a pipe, or the terminal in raw mode. Bytes wait here until the
 * hypervisor has room for them (replay/link_input.h).
 */
#ifndef RV_TOOLS_RETRO_INPUT_H
#define RV_TOOLS_RETRO_INPUT_H

#include "replay/link_input.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Options that run, record and collect share. */
struct input_options {
    const char *file; /* a path, "-" for standard input, or NULL */
    bool terminal;
};

/* Argp child; its input is a struct input_options. */
extern const struct argp input_argp;

enum { INPUT_BUFFER = 4096 };

struct input {
    int fd;        /* -1: nothing more comes, or there was no input at all */
    bool wanted;   /* there was a source */
    bool file;     /* a file of its own: a collector that was started again skips what has been received */
    bool terminal; /* raw, until input_close() */
    bool escape;   /* the terminal's last key was Ctrl-A */
    bool left;     /* ... and then x: the user wants to leave */
    bool failed;   /* a message has told what */
    struct link_outbox outbox;
    size_t begin, end; /* of what is in `bytes` and not yet sent */
    uint8_t bytes[INPUT_BUFFER];
};

/* Opens what the options name. Returns RETRO_OK, or an exit code after a message. */
int input_open(struct input *in, const struct input_options *o);
/* Takes a frame that the hypervisor sent on LINK_STREAM_INPUT. */
void input_take(struct input *in, const struct link *link, const uint8_t *payload, size_t length);
/* True if input_read() should be called once `fd` is readable. */
bool input_wants(const struct input *in);
void input_read(struct input *in);
/* Gives the link what there is and what the hypervisor has room for. */
void input_send(struct input *in, struct link *link);
/* Puts the terminal back as it was. */
void input_close(struct input *in);

#endif
