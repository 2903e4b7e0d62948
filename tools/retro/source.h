/* Where a log comes from: a file, a serial line or pty, a TCP or Unix socket. */
#ifndef RV_TOOLS_RETRO_SOURCE_H
#define RV_TOOLS_RETRO_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct source {
    int fd;       /* to read from; -1 while a listener waits for its peer */
    int listener; /* -1 where there is none */
    bool answers; /* acknowledgements can be written to `fd` */
    bool tty;     /* `saved` is valid and restored by source_close */
    struct termios saved;
};

/*
 * Opens `spec`: a path (file, tty, pty), tcp:HOST:PORT, listen:PORT or unix:PATH. `baud` is the speed
 * of a tty in bits per second. Prints a message and returns an exit code where it fails, else RETRO_OK.
 */
int source_open(struct source *s, const char *spec, unsigned baud);
/* Listens on 127.0.0.1; `*port` 0 picks a free port and is set to it. Returns as source_open does. */
int source_listen(struct source *s, uint16_t *port);
/* Takes the waiting peer of a listener. Returns as source_open does. */
int source_accept(struct source *s);
void source_close(struct source *s);

/* True if `baud` is a speed that a tty can have. */
bool source_baud_known(unsigned baud);

#endif
