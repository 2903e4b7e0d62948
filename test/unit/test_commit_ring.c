/* The ring of commits on their way to the log. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replay/commit_ring.h"

#define SLOTS 8u
#define MANY  20000u

static struct commit_slot slots[SLOTS];
static struct commit_ring ring;

static void room(void **state)
{
    (void)state;
    commit_ring_init(&ring, slots, SLOTS);
    assert_null(commit_ring_peek(&ring));
    for (uint64_t i = 0; i < SLOTS; i++) {
        assert_true(commit_ring_has_room(&ring, (uint32_t)(SLOTS - i)));
        assert_false(commit_ring_has_room(&ring, (uint32_t)(SLOTS - i + 1)));
        commit_ring_slot(&ring)->digest = i;
        commit_ring_put(&ring);
    }
    assert_false(commit_ring_has_room(&ring, 1));
    for (uint64_t i = 0; i < SLOTS; i++) {
        assert_int_equal(commit_ring_peek(&ring)->digest, i);
        commit_ring_drop(&ring);
    }
    assert_null(commit_ring_peek(&ring));
    assert_true(commit_ring_has_room(&ring, SLOTS));
}

static void *produce(void *argument)
{
    (void)argument;
    for (uint64_t i = 0; i < MANY; i++) {
        while (!commit_ring_has_room(&ring, 1))
            sched_yield();
        commit_ring_slot(&ring)->digest = i * i;
        commit_ring_put(&ring);
    }
    return NULL;
}

static void across_threads(void **state)
{
    pthread_t producer;

    (void)state;
    commit_ring_init(&ring, slots, SLOTS);
    assert_int_equal(pthread_create(&producer, NULL, produce, NULL), 0);
    for (uint64_t i = 0; i < MANY; i++) {
        const struct commit_slot *slot;
        while ((slot = commit_ring_peek(&ring)) == NULL)
            sched_yield();
        assert_int_equal(slot->digest, i * i);
        commit_ring_drop(&ring);
    }
    pthread_join(producer, NULL);
    assert_null(commit_ring_peek(&ring));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(room), cmocka_unit_test(across_threads)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
