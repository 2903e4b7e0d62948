/* The ticket lock, with threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/base/spinlock.h"

#define THREADS 4
#define ROUNDS  5000

static struct spinlock lock;
static uint64_t counter; /* not atomic: the lock must do it */

static void *count(void *context)
{
    for (int i = 0; i < ROUNDS; i++) {
        /* By turns, both ways of taking it. */
        if (i % 2) {
            spin_lock(&lock);
        } else {
            while (!spin_trylock(&lock)) {
            }
        }
        counter++;
        spin_unlock(&lock);
    }
    return context;
}

static void test_exclusion(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(counter, THREADS * ROUNDS);
}

static void test_trylock(void **state)
{
    (void)state;
    spin_lock(&lock);
    assert_false(spin_trylock(&lock));
    spin_unlock(&lock);
    assert_true(spin_trylock(&lock));
    assert_false(spin_trylock(&lock));
    spin_unlock(&lock);
}

/* The ticket numbers wrap. */
static void test_wrap(void **state)
{
    (void)state;
    lock = (struct spinlock){UINT32_MAX, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        spin_lock(&lock);
        assert_false(spin_trylock(&lock));
        spin_unlock(&lock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exclusion),
        cmocka_unit_test(test_trylock),
        cmocka_unit_test(test_wrap),
    };

    return cmocka_run_group_tests_name("spinlock", tests, NULL, NULL);
}
