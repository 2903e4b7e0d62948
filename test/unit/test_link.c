/* The serial link over simulated pipes that lose, change and add bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/digest.h"
#include "replay/link.h"
#include "replay/link_internal.h"
#include "test/unit/log_random.h"

#define RING      (16u << 10)
#define TOTAL     (100u << 10)
#define RTO       200u
#define PIPE_STEP 300u /* bytes that a pipe moves per tick */
#define PIPE_SIZE (1u << 20)

/* What one end received, per stream, and its link. */
struct end {
    struct link link;
    uint8_t ring[RING];
    uint8_t *received[LINK_STREAM_COUNT];
    size_t count[LINK_STREAM_COUNT];
    size_t sent[LINK_STREAM_COUNT];
    char noise[1u << 16];
    size_t noise_count;
    bool log_only; /* after a restart of the peer, where the other streams begin anew somewhere */
};

struct faults {
    unsigned drop, flip, repeat; /* one byte in so many, 0: never */
    unsigned text;               /* foreign text before one poll in so many */
    unsigned limit;              /* bytes that pass, then the pipe is shut; 0: no limit */
};

struct pipe {
    uint8_t bytes[PIPE_SIZE];
    size_t head, tail;
    struct faults faults;
    uint64_t seed;
    size_t passed;
};

struct world {
    struct end hv, tool;
    struct pipe up, down;
    uint64_t now;
};

/* The byte at `at` of a stream. */
static uint8_t content(unsigned stream, size_t at)
{
    uint64_t state = (uint64_t)stream << 32 | at / 7;

    return (uint8_t)random_next(&state);
}

static void on_deliver(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct end *end = context;

    for (size_t i = 0; i < length && (stream == LINK_STREAM_LOG || !end->log_only); i++)
        assert_int_equal(bytes[i], content(stream, end->count[stream] + i));
    end->count[stream] += length;
}

static void on_noise(void *context, const uint8_t *bytes, size_t length)
{
    struct end *end = context;

    length = MIN(length, sizeof end->noise - 1 - end->noise_count);
    memcpy(end->noise + end->noise_count, bytes, length);
    end->noise_count += length;
}

static uint32_t log_crc(size_t length)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < length; i++) {
        uint8_t byte = content(LINK_STREAM_LOG, i);

        crc = crc32c(crc, &byte, 1);
    }
    return crc;
}

static void start_end(struct world *w, struct end *end, uint32_t session, uint64_t have, uint32_t crc,
                      bool hv)
{
    struct link_config config = {.ring = end->ring,
                                 .ring_size = sizeof end->ring,
                                 .session = session,
                                 .rto = RTO,
                                 .have_bytes = have,
                                 .have_crc = crc,
                                 .wait_for_another = hv,
                                 .deliver = on_deliver,
                                 .noise = on_noise,
                                 .context = end};

    memset(end, 0, sizeof *end);
    end->count[LINK_STREAM_LOG] = have;
    link_init(&end->link, &config, w->now);
}

static struct world *new_world(uint64_t seed, struct faults faults)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->up.faults = w->down.faults = faults;
    w->up.seed = seed;
    w->down.seed = ~seed;
    start_end(w, &w->hv, 0x1000 + (uint32_t)seed, 0, 0, true);
    start_end(w, &w->tool, 0x88880 + (uint32_t)seed, 0, 0, false);
    return w;
}

static bool strikes(struct pipe *pipe, unsigned one_in)
{
    return one_in && !random_below(&pipe->seed, one_in);
}

static void pipe_put(struct pipe *pipe, uint8_t byte)
{
    if (pipe->faults.limit && pipe->passed++ >= pipe->faults.limit)
        return;
    if (strikes(pipe, pipe->faults.drop))
        return;
    if (strikes(pipe, pipe->faults.flip))
        byte ^= (uint8_t)(1u << random_below(&pipe->seed, 8));
    for (unsigned i = strikes(pipe, pipe->faults.repeat) ? 2 : 1; i; i--) {
        pipe->bytes[pipe->head++ % PIPE_SIZE] = byte;
        assert_true(pipe->head - pipe->tail <= PIPE_SIZE);
    }
}

/* Moves what `from` has to say into the pipe, and some of the pipe's bytes to `to`. */
static void step_pipe(struct world *w, struct pipe *pipe, struct end *from, struct end *to)
{
    static const char text[] = "Booting from Hard Disk...\r\n";
    uint8_t buffer[PIPE_STEP];
    size_t n;

    if (from->link.out_at == from->link.out_length && strikes(pipe, pipe->faults.text))
        for (const char *c = text; *c; c++)
            pipe_put(pipe, (uint8_t)*c);
    n = link_poll(&from->link, w->now, buffer, 1 + random_below(&pipe->seed, sizeof buffer));
    for (size_t i = 0; i < n; i++)
        pipe_put(pipe, buffer[i]);
    n = 1 + random_below(&pipe->seed, sizeof buffer);
    n = MIN(pipe->head - pipe->tail, n);
    for (size_t i = 0; i < n; i++)
        buffer[i] = pipe->bytes[pipe->tail++ % PIPE_SIZE];
    link_receive(&to->link, buffer, n, w->now);
}

/* Feeds `end` with content of a stream, up to `total` bytes. */
static void feed(struct pipe *pipe, struct end *end, enum link_stream stream, size_t total)
{
    uint8_t buffer[1500];
    size_t n = random_below(&pipe->seed, sizeof buffer);

    n = MIN(n, total - end->sent[stream]);
    for (size_t i = 0; i < n; i++)
        buffer[i] = content(stream, end->sent[stream] + i);
    end->sent[stream] += link_send(&end->link, stream, buffer, n);
}

static void step(struct world *w, size_t total)
{
    w->now++;
    feed(&w->up, &w->hv, LINK_STREAM_LOG, total);
    feed(&w->up, &w->hv, LINK_STREAM_CONSOLE, total / 10);
    feed(&w->up, &w->hv, LINK_STREAM_MESSAGE, total / 20);
    feed(&w->down, &w->tool, LINK_STREAM_INPUT, total);
    step_pipe(w, &w->up, &w->hv, &w->tool);
    step_pipe(w, &w->down, &w->tool, &w->hv);
}

static bool all_there(const struct world *w, size_t total)
{
    return link_idle(&w->hv.link) && link_idle(&w->tool.link) && w->tool.count[LINK_STREAM_LOG] == total &&
           w->hv.count[LINK_STREAM_INPUT] == total;
}

static void run_until_all_there(struct world *w, size_t total, uint64_t limit)
{
    for (uint64_t i = 0; i < limit && !all_there(w, total); i++)
        step(w, total);
    if (!all_there(w, total))
        print_error("log %zu of %zu, control %zu, states %d %d, time-outs %d %d\n",
                    w->tool.count[LINK_STREAM_LOG], total, w->hv.count[LINK_STREAM_INPUT], w->hv.link.state,
                    w->tool.link.state, (int)w->hv.link.stats.timeouts, (int)w->tool.link.stats.timeouts);
    assert_true(all_there(w, total));
    assert_int_equal(w->tool.count[LINK_STREAM_CONSOLE], total / 10);
    assert_int_equal(w->tool.count[LINK_STREAM_MESSAGE], total / 20);
}

static void clean_pipe_delivers_without_resending(void **state)
{
    struct world *w = new_world(1, (struct faults){0});

    (void)state;
    run_until_all_there(w, TOTAL, 10000);
    assert_int_equal(w->hv.link.stats.frames_resent, 0);
    assert_int_equal(w->tool.link.stats.damaged, 0);
    assert_int_equal(w->tool.noise_count, 0);
    assert_int_equal(w->tool.link.have_crc, log_crc(TOTAL));
    free(w);
}

static void bad_pipes_deliver_exactly(void **state)
{
    static const struct faults kinds[] = {
        {.drop = 3000},
        {.flip = 3000},
        {.repeat = 3000},
        {.text = 20},
        {.drop = 6000, .flip = 6000, .repeat = 6000, .text = 50},
        {.drop = 3000, .flip = 3000, .repeat = 3000},
    };

    (void)state;
    for (unsigned kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        uint64_t timeouts = 0;

        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct world *w = new_world(seed, kinds[kind]);

            run_until_all_there(w, TOTAL, 400000);
            if (kinds[kind].drop)
                assert_true(w->hv.link.stats.frames_resent > 0);
            timeouts += w->hv.link.stats.timeouts + w->tool.link.stats.timeouts;
            free(w);
        }
        /* Most losses are told by a NACK; waiting for a time-out is the exception. */
        if (kind < 4)
            assert_in_range(timeouts, 0, 50);
    }
}

static void foreign_text_comes_out_as_noise(void **state)
{
    static const char boot[] = "SeaBIOS\r\nGRUB loading.\n";
    struct world *w = new_world(3, (struct faults){0});
    size_t i;

    (void)state;
    for (i = 0; i < sizeof boot - 1; i++)
        pipe_put(&w->up, (uint8_t)boot[i]);
    run_until_all_there(w, 5000, 10000);
    assert_string_equal(w->tool.noise, boot);
    assert_int_equal(w->tool.link.stats.damaged, 0);
    link_receive(&w->tool.link, (const uint8_t *)"late", 4, w->now);
    assert_string_equal(w->tool.noise, boot);
    link_flush_noise(&w->tool.link);
    assert_string_equal(w->tool.noise + sizeof boot - 1, "late");
    for (i = 0; i < 3 * LINK_WIRE_MAX; i++)
        link_receive(&w->tool.link, (const uint8_t *)"x", 1, w->now);
    assert_true(w->tool.noise_count >= 2 * LINK_WIRE_MAX);
    for (i = 0; i < 3 * LINK_WIRE_MAX; i++)
        link_receive(&w->tool.link, (const uint8_t *)"\1", 1, w->now);
    link_receive(&w->tool.link, (const uint8_t *)"", 1, w->now);
    assert_int_equal(w->tool.link.stats.damaged, 1);
    free(w);
}

/* A pipe that echoes must not make an end talk to itself. */
static void own_echo_is_ignored(void **state)
{
    struct world *w = new_world(1, (struct faults){0});
    uint8_t buffer[4096];

    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        size_t n = link_poll(&w->hv.link, ++w->now, buffer, sizeof buffer);

        link_receive(&w->hv.link, buffer, n, w->now);
    }
    assert_int_equal(w->hv.link.state, LINK_WAITING);
    assert_int_equal(w->hv.link.stats.frames_received, 0);
    free(w);
}

/* A collector that starts again on the file it left continues it, whatever the pipe still holds. */
static void restarted_collector_continues_its_file(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct world *w = new_world(seed, (struct faults){.drop = seed % 2 ? 5000 : 0});
        size_t held;

        for (uint32_t restart = 0; restart < 5; restart++) {
            for (uint64_t i = 0; i < 40 + random_below(&w->up.seed, 300); i++)
                step(w, TOTAL);
            held = w->tool.count[LINK_STREAM_LOG];
            assert_int_equal(held, w->tool.link.have_bytes);
            if (restart % 2)
                w->up.tail = w->up.head; /* a new connection: what was under way is lost */
            start_end(w, &w->tool, 0x20001 + restart, held, log_crc(held), false);
            w->tool.log_only = w->hv.log_only = true;
        }
        for (uint64_t i = 0; i < 100000 && w->tool.count[LINK_STREAM_LOG] < TOTAL; i++)
            step(w, TOTAL);
        assert_int_equal(w->tool.count[LINK_STREAM_LOG], TOTAL);
        assert_int_equal(w->tool.link.have_crc, log_crc(TOTAL));
        free(w);
    }
}

/* Restarts the collector with a file of `held` bytes and that CRC; both ends must name the error. */
static void restart_refused(uint64_t seed, size_t held, uint32_t crc, enum link_error error)
{
    struct world *w = new_world(seed, (struct faults){0});

    for (unsigned i = 0; i < 200; i++)
        step(w, TOTAL);
    assert_true(w->tool.count[LINK_STREAM_LOG] > 8000);
    if (held == SIZE_MAX)
        held = w->tool.count[LINK_STREAM_LOG];
    start_end(w, &w->tool, 0x30001, held, crc, false);
    w->tool.log_only = w->hv.log_only = true;
    for (unsigned i = 0; i < 1000; i++)
        step(w, TOTAL);
    assert_int_equal(w->tool.link.state, LINK_FAILED);
    assert_int_equal(w->tool.link.error, error);
    assert_int_equal(w->hv.link.state, LINK_WAITING);
    assert_int_equal(w->hv.link.error, error);
    free(w);
}

static void unfit_files_are_refused_by_name(void **state)
{
    (void)state;
    restart_refused(1, 0, 0, LINK_ERROR_RESUME_LOST);
    restart_refused(2, 4000, log_crc(4000), LINK_ERROR_RESUME_LOST);
    restart_refused(3, 10 * TOTAL, 1, LINK_ERROR_RESUME_AHEAD);
    restart_refused(4, SIZE_MAX, 12345, LINK_ERROR_RESUME_MISMATCH);
}

/* Nothing is left to send that could show the difference: the CRC alone does. */
static void another_file_of_the_right_length_is_refused(void **state)
{
    struct world *w = new_world(1, (struct faults){0});

    (void)state;
    run_until_all_there(w, TOTAL, 10000);
    start_end(w, &w->tool, 0x30001, TOTAL, log_crc(TOTAL) ^ 1, false);
    w->tool.sent[LINK_STREAM_INPUT] = TOTAL;
    for (unsigned i = 0; i < 1000; i++)
        step(w, TOTAL);
    assert_int_equal(w->tool.link.state, LINK_FAILED);
    assert_int_equal(w->tool.link.error, LINK_ERROR_RESUME_MISMATCH);
    free(w);
}

/* A new collector first reads a HELLO that the pipe has kept since the boot, and the answer to its own is
 * lost. */
static void old_hello_does_not_mislead_for_long(void **state)
{
    struct world *w = new_world(1, (struct faults){0});
    uint8_t hello[LINK_WIRE_MAX], buffer[LINK_WIRE_MAX];
    size_t length = link_poll(&w->hv.link, w->now, hello, sizeof hello), held;

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        step(w, 20000);
    held = w->tool.count[LINK_STREAM_LOG];
    assert_int_equal(held, 20000);
    for (unsigned lost = 0; lost < 2; lost++) {
        start_end(w, &w->tool, 0x30001 + lost, held, log_crc(held), false);
        w->tool.log_only = w->hv.log_only = true;
        link_receive(&w->tool.link, hello, length, w->now);
        if (lost) {
            link_receive(&w->hv.link, buffer, link_poll(&w->tool.link, w->now, buffer, sizeof buffer),
                         w->now);
            assert_int_equal(w->hv.link.state, LINK_ESTABLISHED);
            link_poll(&w->hv.link, w->now, buffer, sizeof buffer);
        }
        for (unsigned i = 0; i < 3000; i++)
            step(w, 40000 + lost * 40000);
        held = w->tool.count[LINK_STREAM_LOG];
        assert_int_equal(held, 40000 + lost * 40000);
    }
    free(w);
}

/* After a refusal the hypervisor serves the next collector, if that one has the right file. */
static void hypervisor_outlives_a_refused_collector(void **state)
{
    struct world *w = new_world(1, (struct faults){0});
    size_t held;

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        step(w, TOTAL);
    held = w->tool.count[LINK_STREAM_LOG];
    start_end(w, &w->tool, 0x30001, 0, 0, false);
    for (unsigned i = 0; i < 1000; i++)
        step(w, TOTAL);
    assert_int_equal(w->tool.link.state, LINK_FAILED);
    start_end(w, &w->tool, 0x30002, held, log_crc(held), false);
    w->tool.log_only = w->hv.log_only = true;
    for (unsigned i = 0; i < 10000; i++)
        step(w, TOTAL);
    assert_int_equal(w->tool.count[LINK_STREAM_LOG], TOTAL);
    free(w);
}

/* A hypervisor that boots again writes another log, which must not be mixed with the one begun. */
static void restarted_hypervisor_is_noticed(void **state)
{
    struct world *w = new_world(1, (struct faults){0});

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        step(w, TOTAL);
    start_end(w, &w->hv, 0x40001, 0, 0, true);
    w->hv.sent[LINK_STREAM_LOG] = 0;
    for (unsigned i = 0; i < 1000; i++)
        step(w, 0);
    assert_int_equal(w->tool.link.state, LINK_FAILED);
    assert_int_equal(w->tool.link.error, LINK_ERROR_RESUME_AHEAD);
    free(w);
}

/* Before any log byte it may boot as often as it likes. */
static void early_restart_is_harmless(void **state)
{
    struct world *w = new_world(1, (struct faults){0});

    (void)state;
    for (unsigned i = 0; i < 50; i++)
        step(w, 0);
    assert_int_equal(w->tool.link.state, LINK_ESTABLISHED);
    start_end(w, &w->hv, 0x40001, 0, 0, true);
    run_until_all_there(w, 20000, 10000);
    assert_int_equal(w->tool.link.stats.peer_restarts, 1);
    free(w);
}

/* No peer, or a shut pipe: nothing waits, nothing is lost in the ring, and link_send() says what fits. */
static void full_ring_takes_no_more(void **state)
{
    struct world *w = new_world(1, (struct faults){0});
    uint8_t buffer[700];
    size_t sent = 0, n;

    (void)state;
    do {
        size_t room = link_room(&w->hv.link);

        for (size_t i = 0; i < sizeof buffer; i++)
            buffer[i] = content(LINK_STREAM_LOG, sent + i);
        n = link_send(&w->hv.link, LINK_STREAM_LOG, buffer, sizeof buffer);
        assert_true(n >= MIN(room, sizeof buffer));
        sent += n;
    } while (n);
    assert_true(sent > RING - RING / 50 && sent < RING);
    assert_false(link_idle(&w->hv.link));
    w->hv.sent[LINK_STREAM_LOG] = sent;
    run_until_all_there(w, TOTAL, 10000);
    free(w);
}

static void hostile_bytes_do_no_harm(void **state)
{
    struct world *w = new_world(1, (struct faults){0});
    uint8_t body[LINK_BODY_MAX], wire[LINK_WIRE_MAX];
    uint64_t seed = 9;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct link_frame frame = {.kind = (uint8_t)random_below(&seed, 8),
                                   .stream = (uint8_t)random_below(&seed, 6),
                                   .from = (uint16_t)random_below(&seed, 3),
                                   .to = (uint16_t)w->hv.link.config.session,
                                   .seq = (uint32_t)random_sized(&seed),
                                   .ack = (uint32_t)random_sized(&seed),
                                   .length = random_below(&seed, 60)};
        struct link_hello hello = {.version = (uint8_t)(1 + random_below(&seed, 20) / 19),
                                   .session = frame.from,
                                   .peer = w->hv.link.config.session,
                                   .first = (uint32_t)random_sized(&seed)};

        memset(body, 1, sizeof body);
        memcpy(body + LINK_HEAD_SIZE, &hello, sizeof hello);
        w->hv.count[LINK_STREAM_LOG] = 0;
        w->hv.link.config.deliver = on_deliver;
        link_receive(&w->tool.link, wire, random_below(&seed, sizeof wire), w->now);
        if (frame.kind != LINK_KIND_DATA)
            link_receive(&w->hv.link, wire, link_frame_encode(&frame, body, wire), w->now);
        link_poll(&w->hv.link, ++w->now, wire, sizeof wire);
    }
    free(w);
}

static void frames_of_every_length_come_back(void **state)
{
    uint8_t body[LINK_BODY_MAX], decoded[LINK_BODY_MAX], wire[LINK_WIRE_MAX];
    uint64_t seed = 2;

    (void)state;
    for (size_t length = 0; length <= LINK_PAYLOAD_MAX; length++) {
        struct link_frame frame = {.kind = LINK_KIND_DATA,
                                   .stream = 1,
                                   .from = 2,
                                   .to = 3,
                                   .seq = 0x01020304,
                                   .ack = 0xffffffff,
                                   .length = length};
        struct link_frame found;
        uint8_t fill = (uint8_t)random_next(&seed);
        size_t n;

        for (size_t i = 0; i < length; i++)
            body[LINK_HEAD_SIZE + i] = length % 3 ? (uint8_t)(fill | 1) : (uint8_t)random_next(&seed);
        n = link_frame_encode(&frame, body, wire);
        assert_true(n <= LINK_WIRE_MAX && !wire[0] && !wire[n - 1]);
        assert_null(memchr(wire + 1, 0, n - 2));
        assert_true(link_frame_decode(&found, wire + 1, n - 2, decoded));
        assert_int_equal(found.length, length);
        assert_int_equal(found.seq, frame.seq);
        assert_int_equal(found.ack, frame.ack);
        assert_memory_equal(found.payload, body + LINK_HEAD_SIZE, length);
        for (unsigned i = 0; i < 8; i++) {
            wire[1 + random_below(&seed, n - 2)] ^= (uint8_t)(1u << i);
            assert_false(link_frame_decode(&found, wire + 1, n - 2, decoded));
        }
    }
}

static void names_and_texts_are_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LINK_ERROR_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(link_error_text(i), link_error_text(j));
    assert_string_equal(link_error_text(LINK_ERROR_COUNT), "unknown error");
    assert_string_equal(link_stream_name(LINK_STREAM_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_pipe_delivers_without_resending),
        cmocka_unit_test(bad_pipes_deliver_exactly),
        cmocka_unit_test(foreign_text_comes_out_as_noise),
        cmocka_unit_test(own_echo_is_ignored),
        cmocka_unit_test(restarted_collector_continues_its_file),
        cmocka_unit_test(unfit_files_are_refused_by_name),
        cmocka_unit_test(another_file_of_the_right_length_is_refused),
        cmocka_unit_test(old_hello_does_not_mislead_for_long),
        cmocka_unit_test(hypervisor_outlives_a_refused_collector),
        cmocka_unit_test(restarted_hypervisor_is_noticed),
        cmocka_unit_test(early_restart_is_harmless),
        cmocka_unit_test(full_ring_takes_no_more),
        cmocka_unit_test(hostile_bytes_do_no_harm),
        cmocka_unit_test(frames_of_every_length_come_back),
        cmocka_unit_test(names_and_texts_are_whole),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
