/* The collector's loop: moves bytes between the line and the link, and decides when it is over. */
#include "tools/retro/collector.h"
#include "tools/retro/collector_inside.h"
#include "tools/retro/retro.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 16, POLL_MS = 50 };

/* The only state that a signal handler can reach. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

struct loop {
    struct collector *c;
    struct source *s;
    uint8_t out[LINK_WIRE_MAX]; /* taken from the link, not yet on the line */
    size_t out_at, out_length;
    double heard; /* when the last byte came in */
    bool over;
};

uint64_t collector_ticks(void)
{
    return (uint64_t)(now() * 1e6);
}

static void finish(struct loop *l, enum collect_end end)
{
    l->c->end = end;
    l->over = true;
}

/*
 * Writes what the link wants to send, as far as the line takes it. The machine speaks first: a boot loader
 * may read the line, and bytes that an emulator leaves unread when it ends make TCP drop its last words.
 */
static void transmit(struct loop *l)
{
    if (!l->c->link.stats.frames_received)
        return;
    /* What ends the guest is not followed by more: a machine that has ended reads no more either. */
    if (l->c->input && !collector_has_result(l->c))
        input_send(l->c->input, &l->c->link);
    while (l->s->fd >= 0 && l->s->answers) {
        if (l->out_at == l->out_length) {
            l->out_at = 0;
            l->out_length = link_poll(&l->c->link, collector_ticks(), l->out, sizeof l->out);
        }
        if (l->out_length == 0)
            return;
        ssize_t n = write(l->s->fd, l->out + l->out_at, l->out_length - l->out_at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) { /* reading will tell that the peer is gone, once its last bytes are read */
            l->out_at = l->out_length = 0;
            return;
        }
        l->out_at += (size_t)n;
    }
}

static void receive(struct loop *l)
{
    uint8_t bytes[READ_SIZE];
    ssize_t n = read(l->s->fd, bytes, sizeof bytes);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n < 0 && errno != ECONNRESET && errno != EIO) { /* a pty whose other side is gone gives EIO */
        fail(RETRO_IO, "cannot read the line: %s", strerror(errno));
        finish(l, COLLECT_FAILED);
        return;
    }
    if (n <= 0) {
        finish(l, COLLECT_CLOSED);
        return;
    }
    l->heard = now();
    if (l->s->answers)
        link_receive(&l->c->link, bytes, (size_t)n, collector_ticks());
    else
        capture_receive(&l->c->capture, bytes, (size_t)n, &l->c->link.config);
    collector_read_blocks(l->c);
}

static void take_peer(struct loop *l)
{
    if (source_accept(l->s) != RETRO_OK) {
        finish(l, COLLECT_FAILED);
        return;
    }
    fcntl(l->s->fd, F_SETFL, fcntl(l->s->fd, F_GETFL) | O_NONBLOCK);
    l->heard = now();
}

/* Waits for the line or for input a little while; returns false if nothing came from the line. */
static bool wait_and_serve(struct loop *l)
{
    struct input *in = l->c->input;
    struct pollfd p[2] = {{.fd = l->s->fd >= 0 ? l->s->fd : l->s->listener, .events = POLLIN},
                          {.fd = in && input_wants(in) ? in->fd : -1, .events = POLLIN}};

    if (l->out_at < l->out_length)
        p[0].events |= POLLOUT;
    if (poll(p, 2, POLL_MS) <= 0)
        return false;
    if (p[1].revents)
        input_read(in);
    if (!(p[0].revents & (POLLIN | POLLHUP | POLLERR)))
        return false;
    if (l->s->fd < 0)
        take_peer(l);
    else
        receive(l);
    return true;
}

static void check_link(struct loop *l)
{
    struct collector *c = l->c;

    if (c->failed || (c->input && c->input->failed))
        finish(l, COLLECT_FAILED);
    else if (c->link.state == LINK_FAILED) {
        display_settle(&c->display);
        fail(RETRO_MISMATCH, "the other end cannot go on with %s: %s", c->log_name,
             link_error_text(c->link.error));
        finish(l, COLLECT_FAILED);
    }
}

static void step(struct loop *l, double deadline, bool (*alive)(void *), void *context)
{
    struct collector *c = l->c;
    bool lives = !alive || alive(context); /* asked first: what a dead peer sent is read all the same */
    bool came = wait_and_serve(l);
    double t = now();

    if (!l->over)
        check_link(l);
    if (l->over)
        return;
    transmit(l);
    display_progress(&c->display, c->log.size, c->reader.next - 1);
    if (interrupted || (c->input && c->input->left))
        finish(l, COLLECT_INTERRUPTED);
    else if (!came && !lives)
        finish(l, COLLECT_CLOSED);
    else if (!came && collector_has_result(c) && t - l->heard > c->quiet)
        finish(l, COLLECT_RESULT);
    else if (deadline > 0 && t > deadline)
        finish(l, COLLECT_TIMEOUT);
    if (!came && t - l->heard > 0.2)
        link_flush_noise(&c->link);
}

void collector_run(struct collector *c, struct source *s, double deadline, bool (*alive)(void *),
                   void *context)
{
    struct loop l = {.c = c, .s = s, .heard = now()};
    struct sigaction action = {.sa_handler = on_signal}, old_int, old_term;

    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    if (s->fd >= 0)
        fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_NONBLOCK);
    while (!l.over)
        step(&l, deadline, alive, context);
    link_flush_noise(&c->link);
    capture_end(&c->capture, &c->link.config);
    display_settle(&c->display);
    if (c->capture.gaps && c->log_status != LOG_END)
        note("frames are missing in the capture: it is usable up to the first of them");
    if (c->input && !c->input->outbox.open && c->link.stats.frames_received)
        note("the hypervisor took no console input");
    /* Some file systems tell only now that the disk is full. */
    if (c->log.fd >= 0 && fdatasync(c->log.fd) && !c->failed) {
        fail(RETRO_IO, "cannot write the log %s: %s", c->log_name, strerror(errno));
        c->failed = true;
        c->end = COLLECT_FAILED;
    }
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
}
