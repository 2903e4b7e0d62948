/*
 * A hypervisor's end of the serial link, for tests of retro: makes a log by the codec and sends it, with
 * console and messages, over TCP, with damage on demand; or writes the log to a file.
 *
 *   fake_hv file PATH [word...]        the log as a file
 *   fake_hv connect PORT [word...]     client of a retro that listens
 *   fake_hv listen [word...]           prints its port, then serves one peer after the other
 *   fake_hv unix PATH [word...]        the same at a Unix socket
 *   fake_hv pty [word...]              prints the name of its terminal, which any number may open in turn
 *
 * Words: commits=N vcpus=N seed=N; lossy=N of 1,000 bytes harmed; rate=BYTES per second; cut=BYTES of the
 * log to make; end=trailer|abort|none; status=NAME of the last line, none for no line; report=1 for a
 * replay's report (no commits); flip=memory|vcpu|console for a result that differs; noise=1 for firmware
 * text before the link; input=PATH to take console input, append it to PATH and go on until a byte 04 comes,
 * slow=N bytes of it each time; machine=N for a header with this seed, and other digests; acks=PATH to
 * append, as each peer leaves, how many bytes of the log are acknowledged; exit=N for the guest's status;
 * lost=N for a line more on the console; odd=SEQ
 * how=vcpu|events|time|end|position|registers|state|input|typed for a commit unlike the others; hang=1
 * to stay silent at the end instead of closing; linger=MS to wait at the end; pages=N for a PAGES block of so
 * many (at most 32).
 */
#include "replay/link_input.h"
#include "replay/log_codec.h"

#include "hv/base/digest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1 << 18, WRITER_BUFFER = 1 << 16, STEP_MS = 2, RTO_MS = 40 };

struct options {
    unsigned commits, vcpus, seed, lossy, rate, linger, slow, exit, odd, machine, pages;
    size_t cut;
    bool report, noise, hang;
    const char *end, *status, *flip, *input, *lost, *how, *acks;
};

/* The bytes of a whole log, made before anything is sent. */
struct log_image {
    uint8_t *bytes;
    size_t length, room;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static char console_text[128] = "guest: hello\nguest: counters 123 456\nguest: done\n";

static void take(struct log_image *image, struct log_writer *w)
{
    size_t length;
    const uint8_t *bytes = log_writer_peek(w, &length);

    if (image->length + length >= image->room) {
        image->room = 2 * (image->length + length + 1);
        image->bytes = realloc(image->bytes, image->room);
    }
    memcpy(image->bytes + image->length, bytes, length);
    image->length += length;
    log_writer_consume(w, length);
}

static struct rec_commit make_commit(uint64_t seq, const struct options *o, uint64_t *random)
{
    struct rec_commit commit = {.kind = REC_CHUNK};
    struct rec_chunk *c = &commit.chunk;

    c->vcpu = (uint8_t)(next_random(random) % o->vcpus);
    c->end = (uint8_t)(next_random(random) % REC_END_REFUSED);
    c->lag = (uint32_t)(next_random(random) % MIN(seq, (uint64_t)5));
    if (next_random(random) % 4 == 0) {
        c->flags |= REC_F_TIME;
        c->time_base = seq * 100;
    }
    if (next_random(random) % 8 == 0) {
        c->event_count = 1;
        c->events[0] = (struct rec_event){REC_EVENT_FIXED, (uint8_t)(32 + seq % 200)};
    }
    if (c->end == REC_END_POSITION) {
        c->position = (struct rec_position){.rip = 0x100000 + next_random(random) % 65536,
                                            .rflags = 0x202,
                                            .duration = 50000 + next_random(random) % 100,
                                            .regs_check = (uint32_t)next_random(random),
                                            .state_check = (uint32_t)next_random(random)};
        if (seq % 7 == 0) {
            c->flags |= REC_F_REP;
            c->position.rcx = next_random(random);
        }
    }
    return commit;
}

/* Changes one thing of the commit, for a log that differs from another there. */
static void make_odd(struct rec_commit *commit, const struct options *o)
{
    struct rec_chunk *c = &commit->chunk;
    const char *how = o->how;

    if (strcmp(how, "input") == 0 || strcmp(how, "typed") == 0) {
        commit->kind = REC_INPUT;
        commit->input = (struct rec_input){.device = REC_DEVICE_CONSOLE, .length = 5};
        memcpy(commit->input.data, how, 5);
        return;
    }
    *c = (struct rec_chunk){.end = REC_END_POSITION,
                            .position = {.rip = 0x100010, .rflags = 0x202, .duration = 50000}};
    if (strcmp(how, "vcpu") == 0)
        c->vcpu = 1;
    if (strcmp(how, "events") == 0) {
        c->event_count = 1;
        c->events[0] = (struct rec_event){REC_EVENT_TIMER, 0x40};
    }
    if (strcmp(how, "time") == 0) {
        c->flags = REC_F_TIME;
        c->time_base = 77;
    }
    if (strcmp(how, "end") == 0)
        c->end = REC_END_HLT;
    c->position.rip += strcmp(how, "position") == 0;
    c->position.regs_check += strcmp(how, "registers") == 0;
    c->position.state_check += strcmp(how, "state") == 0;
    c->position.duration += strcmp(how, "duration") == 0;
}

static uint64_t write_commits(struct log_writer *w, struct log_image *image, const struct options *o)
{
    uint64_t random = o->seed, digest = o->machine;

    for (uint64_t seq = 1; seq <= o->commits; seq++) {
        struct rec_commit commit = make_commit(seq, o, &random);
        digest = digest_word(digest, next_random(&random));
        if (seq == o->odd)
            make_odd(&commit, o);
        if (commit.kind == REC_INPUT)
            commit.input.digest = log_digest_slice(digest);
        else
            commit.chunk.digest = log_digest_slice(digest);
        if (!log_writer_commit(w, &commit, digest))
            abort();
        if (seq == o->commits / 2)
            log_writer_console(w, console_text, 20);
        take(image, w);
    }
    return digest;
}

/* So many pages from 1 MiB on, the first fought over most: always about its word 5, by the next vCPU and a
 * device. */
static void write_pages(struct log_writer *w, const struct options *o)
{
    static struct rec_pages pages;

    pages = (struct rec_pages){.vcpus = o->vcpus, .count = o->pages, .unlisted = 3};
    for (unsigned i = 0; i < o->pages; i++) {
        pages.page[i].gpn = 0x100 + i;
        for (unsigned v = 0; v < o->vcpus; v++)
            pages.page[i].row[v] =
                (struct rec_page_row){.writes = 1000 * v + i,
                                      .missed = v,
                                      .by = (uint16_t)(1u << (v + 1) % o->vcpus | (v ? 0 : REC_BY_DEVICE)),
                                      .word = (uint16_t)(v ? REC_WORD_NONE : 5),
                                      .cause = {100 - i, v, 2, 3, 4}};
    }
    log_writer_pages(w, &pages);
}

static void write_end(struct log_writer *w, const struct options *o)
{
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX] = {{0}};
    struct rec_trailer t = {.outcome = REC_OUTCOME_EXIT,
                            .status = o->exit,
                            .commits = o->report ? 0 : o->commits,
                            .memory_digest = 0x1234567890abcdef,
                            .console_digest = digest_bytes(0, console_text, strlen(console_text)),
                            .console_bytes = strlen(console_text)};

    for (unsigned i = 0; i < o->vcpus; i++) {
        t.vcpu_digest[i] = 0x1111111111111111 * (i + 1);
        counters[i][REC_COUNT_CHUNKS] = o->commits / o->vcpus;
    }
    t.memory_digest += strcmp(o->flip, "memory") == 0;
    t.vcpu_digest[o->vcpus - 1] += strcmp(o->flip, "vcpu") == 0;
    t.console_digest += strcmp(o->flip, "console") == 0;
    if (strcmp(o->end, "trailer") == 0) {
        log_writer_counters(w, counters);
        if (o->pages)
            write_pages(w, o);
        log_writer_trailer(w, &t);
    } else if (strcmp(o->end, "abort") == 0) {
        log_writer_abort(w, "vCPU 1, chunk 17: page 0x123 differs");
    }
}

static struct log_image make_log(const struct options *o)
{
    static uint8_t buffer[WRITER_BUFFER];
    struct rec_header header = {.semantics = REC_REPLAY_SEMANTICS,
                                .vcpus = o->vcpus,
                                .memory_bytes = UINT64_C(64) << 20,
                                .image_digest = 0xfeed,
                                .cpuid_model = 1,
                                .pause_limit = 64,
                                .time_stride = 20,
                                .time_quantum = 1024,
                                .tsc_hz = 10000000,
                                .seed = o->machine ? o->machine : o->seed,
                                .host_traits = 0x15,
                                .guest_command_line = "counters 1000",
                                .build_id = "fake"};
    struct log_image image = {0};
    struct log_writer w;

    log_writer_init(&w, buffer, sizeof buffer, 512);
    log_writer_header(&w, &header);
    if (!o->report) {
        write_commits(&w, &image, o);
        log_writer_flush(&w);
        log_writer_console(&w, console_text + 20, strlen(console_text) - 20);
    }
    write_end(&w, o);
    take(&image, &w);
    if (o->cut && o->cut < image.length)
        image.length = o->cut;
    return image;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A hypervisor that sends: what is still to be given to the link, and the wire's state. */
struct sender {
    struct link link;
    struct link_inbox inbox;
    bool input_over;
    uint8_t ring[RING];
    const struct options *o;
    const struct log_image *log;
    size_t log_at, console_at, message_at;
    char messages[256];
    uint64_t random;
    uint64_t sent, begin;
};

static void deliver(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct sender *s = context;

    if (stream == LINK_STREAM_INPUT)
        link_inbox_take(&s->inbox, bytes, length);
}

/* The guest takes some of its input. */
static void take_input(struct sender *s)
{
    size_t length;
    const uint8_t *bytes = link_inbox_peek(&s->inbox, &length);

    if (!s->o->input)
        return;
    length = s->o->slow ? MIN(length, (size_t)s->o->slow) : length;
    if (length) {
        FILE *f = fopen(s->o->input, "ab");
        if (!f || fwrite(bytes, 1, length, f) != length || fclose(f))
            abort();
        s->input_over = memchr(bytes, 4, length) != NULL;
        link_inbox_drop(&s->inbox, length);
    }
    link_inbox_grant(&s->inbox, &s->link);
}

static size_t feed(struct link *link, enum link_stream stream, const void *bytes, size_t length, size_t at)
{
    return at + link_send(link, stream, (const uint8_t *)bytes + at, length - at);
}

static bool all_given(const struct sender *s)
{
    return s->log_at == s->log->length && s->message_at == strlen(s->messages);
}

static void feed_all(struct sender *s)
{
    bool waits = s->o->input && !s->input_over; /* the guest has not ended, so the log has not either */
    size_t length = waits ? s->log->length / 2 : s->log->length;

    s->log_at = feed(&s->link, LINK_STREAM_LOG, s->log->bytes, length, s->log_at);
    s->console_at = feed(&s->link, LINK_STREAM_CONSOLE, console_text, strlen(console_text), s->console_at);
    if (s->log_at == s->log->length)
        s->message_at = feed(&s->link, LINK_STREAM_MESSAGE, s->messages, strlen(s->messages), s->message_at);
}

/* Drops, flips or doubles some bytes. Returns the new length; `out` has room for twice as many. */
static size_t harm(struct sender *s, const uint8_t *in, size_t length, uint8_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        bool hit = next_random(&s->random) % 10000 < s->o->lossy * 10;
        unsigned kind = hit ? (unsigned)next_random(&s->random) % 3 : 3;
        if (kind == 0)
            continue;
        out[n++] = kind == 1 ? in[i] ^ (uint8_t)(1u << next_random(&s->random) % 8) : in[i];
        if (kind == 2)
            out[n++] = in[i];
    }
    return n;
}

static bool write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

static bool within_rate(const struct sender *s)
{
    return !s->o->rate || s->sent * 1000 <= (now_ms() - s->begin + 1) * s->o->rate;
}

static bool transmit(struct sender *s, int fd)
{
    uint8_t plain[512], harmed[1024];
    size_t n;

    while (within_rate(s) && (n = link_poll(&s->link, now_ms(), plain, sizeof plain)) != 0) {
        size_t length = harm(s, plain, n, harmed);
        s->sent += length;
        if (!write_all(fd, harmed, length))
            return false;
    }
    return true;
}

/* Serves one peer. Returns true once everything was acknowledged, false when the peer went away. */
static bool serve(struct sender *s, int fd)
{
    static const char firmware[] =
        "SeaBIOS (version 1.2)\r\nBooting from DVD/CD...\r\n\x1b[2Jretrovisor: early\n";
    uint8_t in[4096], harmed[8192];

    if (s->o->noise && !write_all(fd, (const uint8_t *)firmware, sizeof firmware - 1))
        return false;
    while (!all_given(s) || !link_idle(&s->link) || s->link.state != LINK_ESTABLISHED) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        feed_all(s);
        take_input(s);
        if (!transmit(s, fd))
            return false;
        if (poll(&p, 1, STEP_MS) <= 0)
            continue;
        ssize_t n = read(fd, in, sizeof in);
        if (n <= 0)
            return false;
        size_t length = harm(s, in, (size_t)n, harmed);
        link_receive(&s->link, harmed, length, now_ms());
    }
    return true;
}

/* The end of a sound run: the last line as plain text too, then silence or the end of the line. */
static void leave(const struct options *o, int fd)
{
    char line[128];

    if (strcmp(o->status, "none") != 0) {
        int n = snprintf(line, sizeof line, "retrovisor: end status=%s\n", o->status);
        write_all(fd, (const uint8_t *)line, (size_t)n);
    }
    usleep(o->linger * 1000);
    if (o->hang)
        pause();
    close(fd);
}

static struct sender *new_sender(const struct options *o, const struct log_image *log)
{
    struct sender *s = calloc(1, sizeof *s);
    struct link_config config = {.ring = s->ring,
                                 .ring_size = RING,
                                 .session = (uint32_t)now_ms() * 2654435761u | 1,
                                 .rto = RTO_MS,
                                 .deliver = deliver,
                                 .context = s};

    s->o = o;
    s->log = log;
    s->random = o->seed;
    s->begin = now_ms();
    snprintf(s->messages, sizeof s->messages, "retrovisor: recording\n");
    if (strcmp(o->status, "none") != 0)
        snprintf(s->messages, sizeof s->messages, "retrovisor: recording\nretrovisor: end status=%s\n",
                 o->status);
    link_init(&s->link, &config, now_ms());
    return s;
}

static int do_connect(const struct options *o, const struct log_image *log, unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sender *s = new_sender(o, log);
    int fd = socket(AF_INET, SOCK_STREAM, 0), code = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && serve(s, fd)) {
        leave(o, fd);
        code = 0;
    }
    free(s);
    return code;
}

/* What the hypervisor no longer has: the collectors must have it. */
static void note_acks(const struct sender *s)
{
    FILE *f = s->o->acks ? fopen(s->o->acks, "a") : NULL;

    if (!f)
        return;
    fprintf(f, "%llu\n", (unsigned long long)s->link.log_offset);
    fclose(f);
}

/* Serves whoever comes until one has all. */
static int serve_listener(const struct options *o, const struct log_image *log, int listener)
{
    struct sender *s = new_sender(o, log);
    int fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        bool all = serve(s, fd);
        note_acks(s);
        if (all) {
            leave(o, fd);
            break;
        }
        close(fd);
    }
    free(s);
    return fd >= 0 ? 0 : 1;
}

static int do_listen(const struct options *o, const struct log_image *log)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t length = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&a, &length))
        return 1;
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    return serve_listener(o, log, listener);
}

static int do_unix(const struct options *o, const struct log_image *log, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 1))
        return 1;
    return serve_listener(o, log, listener);
}

/* Like a serial line: nobody hears the other side hang up. */
static int do_pty(const struct options *o, const struct log_image *log)
{
    struct sender *s = new_sender(o, log);
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave, code = 1;
    struct termios raw;

    if (master < 0 || grantpt(master) || unlockpt(master))
        return 1;
    slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* held open: else reads fail while nobody is there */
    if (slave >= 0 && tcgetattr(slave, &raw) == 0) {
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
        printf("%s\n", ptsname(master));
        fflush(stdout);
        if (serve(s, master)) {
            leave(o, master);
            code = 0;
        }
    }
    free(s);
    return code;
}

static int do_file(const struct log_image *log, const char *path)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(log->bytes, 1, log->length, f) != log->length || fclose(f))
        return 1;
    return 0;
}

static bool parse(struct options *o, char *word)
{
    char *value = strchr(word, '=');

    if (!value)
        return false;
    *value++ = '\0';
    const struct {
        const char *name;
        unsigned *number;
        const char **text;
    } words[] = {{"commits", &o->commits, NULL}, {"vcpus", &o->vcpus, NULL}, {"seed", &o->seed, NULL},
                 {"lossy", &o->lossy, NULL},     {"rate", &o->rate, NULL},   {"linger", &o->linger, NULL},
                 {"slow", &o->slow, NULL},       {"exit", &o->exit, NULL},   {"machine", &o->machine, NULL},
                 {"lost", NULL, &o->lost},       {"odd", &o->odd, NULL},     {"how", NULL, &o->how},
                 {"acks", NULL, &o->acks},       {"input", NULL, &o->input}, {"end", NULL, &o->end},
                 {"status", NULL, &o->status},   {"flip", NULL, &o->flip},   {"pages", &o->pages, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i].name, word) != 0)
            continue;
        if (words[i].number)
            *words[i].number = (unsigned)atoi(value);
        else
            *words[i].text = value;
        return true;
    }
    if (strcmp(word, "cut") == 0)
        o->cut = (size_t)atol(value);
    else if (strcmp(word, "report") == 0)
        o->report = atoi(value);
    else if (strcmp(word, "noise") == 0)
        o->noise = atoi(value);
    else if (strcmp(word, "hang") == 0)
        o->hang = atoi(value);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {
        .commits = 1000, .vcpus = 2, .seed = 1, .end = "trailer", .status = "ok", .flip = "", .how = ""};
    const char *mode = argc > 1 ? argv[1] : "";
    int first = strcmp(mode, "listen") == 0 || strcmp(mode, "pty") == 0 ? 2 : 3, code;

    if (argc < first)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    for (int i = first; i < argc; i++) {
        if (!parse(&o, argv[i])) {
            fprintf(stderr, "fake_hv: unknown word %s\n", argv[i]);
            return 2;
        }
    }
    if (o.lost)
        snprintf(console_text + strlen(console_text), 32, "race: lost %.10s\r\n", o.lost);
    struct log_image log = make_log(&o);
    if (strcmp(mode, "listen") == 0)
        code = do_listen(&o, &log);
    else if (strcmp(mode, "pty") == 0)
        code = do_pty(&o, &log);
    else if (strcmp(mode, "unix") == 0)
        code = do_unix(&o, &log, argv[2]);
    else if (strcmp(mode, "connect") == 0)
        code = do_connect(&o, &log, (unsigned)atoi(argv[2]));
    else
        code = do_file(&log, argv[2]);
    free(log.bytes);
    return code;
}
