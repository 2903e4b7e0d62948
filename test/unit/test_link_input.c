/* Console input over the link: flow control, order, collectors that start again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/link_input.h"
#include "test/unit/log_random.h"

#define RING  (8u << 10)
#define RTO   50u
#define STEP  400u
#define TOTAL (40u << 10)

struct world {
    struct link hv, tool;
    uint8_t hv_ring[RING], tool_ring[RING];
    struct link_inbox inbox;
    struct link_outbox outbox;
    uint64_t now, seed;
    unsigned drop;     /* one byte in so many is lost, 0: none */
    uint64_t consumed; /* bytes that the guest has taken */
    unsigned firsts;   /* collectors that were told where their input begins */
};

/* The byte at `at` of the input. */
static uint8_t content(uint64_t at)
{
    return (uint8_t)(at * 2654435761u >> 24 ^ at);
}

static void on_hv(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct world *w = context;

    assert_int_equal(stream, LINK_STREAM_INPUT);
    link_inbox_take(&w->inbox, bytes, length);
}

static void on_tool(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct world *w = context;

    if (stream == LINK_STREAM_INPUT)
        w->firsts += link_outbox_take(&w->outbox, &w->tool, bytes, length);
}

static void start_tool(struct world *w, uint32_t session)
{
    struct link_config config = {.ring = w->tool_ring,
                                 .ring_size = RING,
                                 .session = session,
                                 .rto = RTO,
                                 .deliver = on_tool,
                                 .context = w};

    memset(&w->outbox, 0, sizeof w->outbox);
    link_init(&w->tool, &config, w->now);
}

static struct world *new_world(uint64_t seed, unsigned drop)
{
    struct world *w = calloc(1, sizeof *w);
    struct link_config config = {.ring = w->hv_ring,
                                 .ring_size = RING,
                                 .session = 0x1001,
                                 .rto = RTO,
                                 .wait_for_another = true,
                                 .deliver = on_hv,
                                 .context = w};

    w->seed = seed;
    w->drop = drop;
    link_init(&w->hv, &config, 0);
    start_tool(w, 0x2001);
    return w;
}

static void carry(struct world *w, struct link *from, struct link *to)
{
    uint8_t bytes[STEP];
    size_t n = link_poll(from, w->now, bytes, 1 + random_below(&w->seed, STEP)), kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (!w->drop || random_below(&w->seed, w->drop))
            bytes[kept++] = bytes[i];
    }
    link_receive(to, bytes, kept, w->now);
}

/* The guest takes what it likes of what is there; what it gets must go on where it was. */
static void guest_reads(struct world *w, size_t most)
{
    size_t length;
    const uint8_t *bytes = link_inbox_peek(&w->inbox, &length);

    length = MIN(length, most);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], content(w->consumed + i));
    link_inbox_drop(&w->inbox, length);
    w->consumed += length;
}

static void host_writes(struct world *w, uint64_t total)
{
    uint8_t bytes[700];
    size_t n = random_below(&w->seed, sizeof bytes);

    if (!w->outbox.open)
        return;
    n = (size_t)MIN((uint64_t)n, total - w->outbox.next);
    for (size_t i = 0; i < n; i++)
        bytes[i] = content(w->outbox.next + i);
    link_outbox_send(&w->outbox, &w->tool, bytes, n);
}

static void step(struct world *w, uint64_t total, size_t guest)
{
    w->now++;
    host_writes(w, total);
    carry(w, &w->tool, &w->hv);
    guest_reads(w, guest);
    link_inbox_grant(&w->inbox, &w->hv);
    carry(w, &w->hv, &w->tool);
    assert_true(w->inbox.received - w->inbox.taken <= LINK_INPUT_WINDOW);
    assert_true(w->outbox.next <= w->consumed + LINK_INPUT_WINDOW);
}

static void all_bytes_come_once_and_in_order(void **state)
{
    (void)state;
    for (unsigned drop = 0; drop <= 3000; drop += 1000) {
        struct world *w = new_world(drop + 1, drop);

        for (unsigned i = 0; i < 40000 && w->consumed < TOTAL; i++)
            step(w, TOTAL, random_below(&w->seed, 3) ? 0 : 100);
        assert_int_equal(w->consumed, TOTAL);
        assert_int_equal(w->firsts, 1);
        free(w);
    }
}

/* No byte more than the window is on its way while the guest does not read; none is lost when it does. */
static void window_holds_the_host_back(void **state)
{
    struct world *w = new_world(7, 0);

    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        step(w, TOTAL, 0);
    assert_int_equal(w->outbox.next, LINK_INPUT_WINDOW);
    assert_int_equal(w->inbox.received, LINK_INPUT_WINDOW);
    assert_int_equal(link_outbox_room(&w->outbox), 0);
    for (unsigned i = 0; i < 2000 && w->consumed < TOTAL; i++)
        step(w, TOTAL, 1000);
    assert_int_equal(w->consumed, TOTAL);
    free(w);
}

/* Each new collector is told how much has come, whatever the pipe still holds of earlier ones. */
static void restarted_collector_goes_on(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = new_world(seed, seed % 2 ? 4000 : 0);

        for (uint32_t restart = 0; restart < 6; restart++) {
            for (uint64_t i = 0; i < 20 + random_below(&w->seed, 60); i++)
                step(w, TOTAL, random_below(&w->seed, 200));
            start_tool(w, 0x3001 + restart);
        }
        for (unsigned i = 0; i < 40000 && w->consumed < TOTAL; i++)
            step(w, TOTAL, 100);
        assert_int_equal(w->consumed, TOTAL);
        assert_true(w->firsts >= 2);
        free(w);
    }
}

/* A grant to an earlier collector tells where that one was. */
static void grants_to_others_are_ignored(void **state)
{
    struct world *w = new_world(1, 0);
    struct link_input_grant grant = {.session = 0x2001, .window = 100, .received = 50};
    struct link_input_grant other = {.session = 0x2002, .window = 100, .received = 20};

    (void)state;
    assert_false(link_outbox_take(&w->outbox, &w->tool, (uint8_t *)&other, sizeof other));
    assert_int_equal(link_outbox_room(&w->outbox), 0);
    assert_int_equal(link_outbox_send(&w->outbox, &w->tool, (const uint8_t *)"a", 1), 0);
    assert_false(link_outbox_take(&w->outbox, &w->tool, (uint8_t *)&grant, sizeof grant - 1));
    assert_true(link_outbox_take(&w->outbox, &w->tool, (uint8_t *)&grant, sizeof grant));
    assert_int_equal(w->outbox.next, 50);
    assert_int_equal(link_outbox_room(&w->outbox), 100);
    assert_false(link_outbox_take(&w->outbox, &w->tool, (uint8_t *)&grant, sizeof grant));
    free(w);
}

/* Repeated, torn, early and too many bytes. */
static void odd_lumps_do_no_harm(void **state)
{
    struct link_inbox *inbox = calloc(1, sizeof *inbox);
    struct link_input_lump lump = {.offset = 0};
    size_t length;

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        lump.bytes[i] = (uint8_t)i;
    link_inbox_take(inbox, (uint8_t *)&lump, 7);
    link_inbox_take(inbox, (uint8_t *)&lump, 8);
    assert_int_equal(inbox->received, 0);
    link_inbox_take(inbox, (uint8_t *)&lump, 8 + 6);
    link_inbox_take(inbox, (uint8_t *)&lump, 8 + 6);
    link_inbox_take(inbox, (uint8_t *)&lump, 8 + 10);
    assert_int_equal(inbox->received, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(link_inbox_peek(inbox, &length)[i], i);
    lump.offset = 11;
    link_inbox_take(inbox, (uint8_t *)&lump, sizeof lump);
    lump.offset = UINT64_MAX;
    link_inbox_take(inbox, (uint8_t *)&lump, sizeof lump);
    assert_int_equal(inbox->received, 10);
    for (unsigned i = 0; i < 2 * LINK_INPUT_WINDOW / LINK_INPUT_LUMP; i++) {
        lump.offset = inbox->received;
        link_inbox_take(inbox, (uint8_t *)&lump, sizeof lump);
    }
    assert_int_equal(inbox->received, LINK_INPUT_WINDOW);
    free(inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bytes_come_once_and_in_order),
        cmocka_unit_test(window_holds_the_host_back),
        cmocka_unit_test(restarted_collector_goes_on),
        cmocka_unit_test(grants_to_others_are_ignored),
        cmocka_unit_test(odd_lumps_do_no_harm),
    };

    return cmocka_run_group_tests_name("link_input", tests, NULL, NULL);
}
