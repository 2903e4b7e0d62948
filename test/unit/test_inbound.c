/* What waits for a vCPU from outside: what a snapshot knows of, what a squash puts back, and never too much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replay/inbound.h"

static struct inbound queue;

static int begin(void **state)
{
    (void)state;
    memset(&queue, 0, sizeof(queue));
    return 0;
}

static void push(uint64_t seq, uint8_t vector)
{
    inbound_push(&queue, seq, (struct rec_event){.kind = REC_EVENT_FIXED, .vector = vector});
}

static void a_snapshot_knows_of_the_past(void **state)
{
    struct rec_event events[4];

    (void)state;
    assert_true(inbound_empty(&queue));
    push(3, 0x30);
    push(5, 0x31);
    push(5, 0x32);
    push(9, 0x33);
    assert_int_equal(inbound_peek(&queue, 2, events, 4), 0);
    assert_int_equal(inbound_peek(&queue, 3, events, 4), 1);
    assert_int_equal(inbound_peek(&queue, 8, events, 4), 3);
    assert_int_equal(inbound_peek(&queue, 8, events, 2), 2);
    assert_int_equal(inbound_peek(&queue, 9, events, 4), 4);
    for (uint8_t i = 0; i < 4; i++)
        assert_int_equal(events[i].vector, 0x30 + i);
}

/* A squash just looks again; a commit takes away what the chunk had. */
static void looking_takes_nothing(void **state)
{
    struct rec_event events[4];

    (void)state;
    push(1, 0x30);
    push(2, 0x31);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(inbound_peek(&queue, 1, events, 4), 1);
    inbound_consume(&queue, 1);
    assert_int_equal(inbound_peek(&queue, 2, events, 4), 1);
    assert_int_equal(events[0].vector, 0x31);
    inbound_consume(&queue, 1);
    assert_true(inbound_empty(&queue));
}

/* More than any number of distinct events, sent again and again to a vCPU that takes none. */
static void a_flood_is_bounded(void **state)
{
    struct rec_event events[REC_MAX_EVENTS];
    uint32_t vectors = 0;
    bool seen[256] = {false};

    (void)state;
    for (uint64_t seq = 1; seq < 20 * INBOUND_SIZE; seq++)
        push(seq, (uint8_t)seq);
    assert_true(queue.head - queue.tail <= INBOUND_SIZE);
    /* None of them is lost for good. */
    for (uint32_t count; (count = inbound_peek(&queue, UINT64_MAX, events, REC_MAX_EVENTS)) != 0;) {
        for (uint32_t i = 0; i < count; i++) {
            vectors += !seen[events[i].vector];
            seen[events[i].vector] = true;
        }
        inbound_consume(&queue, count);
    }
    assert_int_equal(vectors, 256);
}

/* The first ones may be in a chunk's hands already: the same event once more is a new one. */
static void what_may_be_taken_is_no_duplicate(void **state)
{
    uint64_t head;

    (void)state;
    for (uint64_t seq = 1; seq <= INBOUND_SIZE / 2; seq++)
        push(seq, seq == 1 ? 0x77 : 0x30);
    head = queue.head;
    push(5000, 0x77);
    assert_int_equal(queue.head, head + 1);
    push(5001, 0x77);
    assert_int_equal(queue.head, head + 1);
    push(5002, 0x30);
    assert_int_equal(queue.head, head + 1);
}

static void the_ring_goes_round(void **state)
{
    struct rec_event events[2];

    (void)state;
    for (uint64_t seq = 1; seq < 3 * INBOUND_SIZE; seq++) {
        push(seq, (uint8_t)seq);
        assert_int_equal(inbound_peek(&queue, seq, events, 2), 1);
        assert_int_equal(events[0].vector, (uint8_t)seq);
        inbound_consume(&queue, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_snapshot_knows_of_the_past, begin),
        cmocka_unit_test_setup(looking_takes_nothing, begin),
        cmocka_unit_test_setup(a_flood_is_bounded, begin),
        cmocka_unit_test_setup(what_may_be_taken_is_no_duplicate, begin),
        cmocka_unit_test_setup(the_ring_goes_round, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
