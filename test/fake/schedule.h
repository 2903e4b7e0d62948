/*
 * Runs several tasks, each on a fake processor of its own: all in one thread, switched at random where code
 * waits or looks around (a seed makes the run repeatable), or each in a thread.
 */
#ifndef RV_TEST_FAKE_SCHEDULE_H
#define RV_TEST_FAKE_SCHEDULE_H

#include "hv/base/spinlock.h"
#include "test/fake/processor.h"

#define FAKE_TASKS_MAX 10u

struct fake_task {
    void (*function)(void *context);
    void *context;
    struct fakecpu *cpu; /* may be NULL */
};

/*
 * Until all have returned. Stops the test when that does not happen. While `lock` is taken nobody else gets
 * on: in one thread its holder would be waited for without end.
 */
void fake_run_switched(struct fake_task *tasks, uint32_t count, uint64_t seed, const struct spinlock *lock);
void fake_run_threads(struct fake_task *tasks, uint32_t count);

#endif
