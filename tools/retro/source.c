#include "tools/retro/source.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const struct {
    unsigned baud;
    speed_t speed;
} speeds[] = {
    {9600, B9600},     {19200, B19200},   {38400, B38400},   {57600, B57600},     {115200, B115200},
    {230400, B230400}, {460800, B460800}, {921600, B921600}, {1000000, B1000000}, {1500000, B1500000},
};

static bool find_speed(unsigned baud, speed_t *speed)
{
    for (size_t i = 0; i < sizeof speeds / sizeof speeds[0]; i++) {
        if (speeds[i].baud == baud) {
            *speed = speeds[i].speed;
            return true;
        }
    }
    return false;
}

bool source_baud_known(unsigned baud)
{
    speed_t speed;

    return find_speed(baud, &speed);
}

/* A line that carries bytes as they are: no echo, no translation, no flow control by characters. */
static int set_raw(struct source *s, const char *path, unsigned baud)
{
    struct termios t;
    speed_t speed = B115200;

    if (tcgetattr(s->fd, &s->saved))
        return fail(RETRO_IO, "%s: cannot read the line's settings: %s", path, strerror(errno));
    t = s->saved;
    find_speed(baud, &speed);
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    t.c_cflag &= ~(tcflag_t)(CSTOPB | HUPCL);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    cfsetispeed(&t, speed);
    cfsetospeed(&t, speed);
    if (tcsetattr(s->fd, TCSANOW, &t))
        return fail(RETRO_IO, "%s: cannot set %u baud: %s", path, baud, strerror(errno));
    s->tty = true;
    return RETRO_OK;
}

static int open_path(struct source *s, const char *path, unsigned baud)
{
    struct stat st;

    if (stat(path, &st))
        return fail(RETRO_IO, "cannot open %s: %s", path, strerror(errno));
    if (S_ISSOCK(st.st_mode))
        return fail(RETRO_USAGE, "%s is a socket: write unix:%s", path, path);
    s->answers = S_ISCHR(st.st_mode);
    s->fd = open(path, (s->answers ? O_RDWR : O_RDONLY) | O_NOCTTY | O_CLOEXEC);
    if (s->fd < 0)
        return fail(RETRO_IO, "cannot open %s: %s", path, strerror(errno));
    return isatty(s->fd) ? set_raw(s, path, baud) : RETRO_OK;
}

static int open_tcp(struct source *s, const char *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
    const char *colon = strrchr(address, ':');
    int error, saved = 0;

    if (!colon || colon == address || !colon[1])
        return fail(RETRO_USAGE, "tcp:%s: write tcp:HOST:PORT", address);
    char *host = xprintf("%.*s", (int)(colon - address), address);
    error = getaddrinfo(host, colon + 1, &hints, &list);
    free(host);
    if (error)
        return fail(RETRO_IO, "tcp:%s: %s", address, gai_strerror(error));
    for (struct addrinfo *a = list; a && s->fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            s->fd = fd;
            break;
        }
        saved = errno;
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(list);
    if (s->fd < 0)
        return fail(RETRO_IO, "cannot connect to tcp:%s: %s", address, strerror(saved));
    return RETRO_OK;
}

static int open_unix(struct source *s, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof a.sun_path)
        return fail(RETRO_USAGE, "unix:%s: the path is too long", path);
    strcpy(a.sun_path, path);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&a, sizeof a))
        return fail(RETRO_IO, "cannot connect to unix:%s: %s", path, strerror(errno));
    return RETRO_OK;
}

int source_listen(struct source *s, uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t length = sizeof a;
    int yes = 1;

    *s = (struct source){.fd = -1, .listener = -1, .answers = true};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        return fail(RETRO_IO, "cannot make a socket: %s", strerror(errno));
    /* A second run on the same port must not wait for the first one's TIME_WAIT. */
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(s->listener, (struct sockaddr *)&a, sizeof a) || listen(s->listener, 1) ||
        getsockname(s->listener, (struct sockaddr *)&a, &length))
        return fail(RETRO_IO, "cannot listen on port %u: %s", *port, strerror(errno));
    *port = ntohs(a.sin_port);
    return RETRO_OK;
}

int source_accept(struct source *s)
{
    int yes = 1;

    s->fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (s->fd < 0)
        return fail(RETRO_IO, "no connection: %s", strerror(errno));
    /* Acknowledgements are small and the sender's window waits for them. */
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    close(s->listener);
    s->listener = -1;
    return RETRO_OK;
}

int source_open(struct source *s, const char *spec, unsigned baud)
{
    *s = (struct source){.fd = -1, .listener = -1, .answers = true};
    if (strncmp(spec, "tcp:", 4) == 0)
        return open_tcp(s, spec + 4);
    if (strncmp(spec, "unix:", 5) == 0)
        return open_unix(s, spec + 5);
    if (strncmp(spec, "listen:", 7) == 0) {
        uint64_t number;
        if (!parse_number(spec + 7, 0, UINT16_MAX, &number))
            return fail(RETRO_USAGE, "%s: write listen:PORT", spec);
        uint16_t port = (uint16_t)number;
        int code = source_listen(s, &port);
        if (code == RETRO_OK)
            note("listening on 127.0.0.1:%u", port);
        return code;
    }
    return open_path(s, spec, baud);
}

void source_close(struct source *s)
{
    if (s->tty)
        tcsetattr(s->fd, TCSANOW, &s->saved);
    if (s->fd >= 0)
        close(s->fd);
    if (s->listener >= 0)
        close(s->listener);
    *s = (struct source){.fd = -1, .listener = -1};
}
