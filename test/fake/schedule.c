#include "test/fake/schedule.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#include "hv/base/check.h"

#define STACK_BYTES  (256u << 10)
#define SWITCH_LIMIT UINT64_C(20000000) /* far more than any test takes */

#define SAVED_REGISTERS 6u

void fake_switch(void **save, void *load);

struct fiber {
    void *sp;
    uint8_t *stack;
    void *sanitizer_stack;
    struct fake_task *task;
    bool done;
};

static struct {
    struct fiber fiber[FAKE_TASKS_MAX];
    uint32_t count, left, current;
    void *home;
    void *home_sanitizer_stack;
    const void *home_stack;
    size_t home_bytes;
    uint64_t random, switches;
    const struct spinlock *lock;
} schedule;

static void switch_to(uint32_t next)
{
    struct fiber *from = &schedule.fiber[schedule.current], *to = &schedule.fiber[next];

    schedule.current = next;
    fakecpu_this = to->task->cpu;
    __sanitizer_start_switch_fiber(&from->sanitizer_stack, to->stack, STACK_BYTES);
    fake_switch(&from->sp, to->sp);
    __sanitizer_finish_switch_fiber(from->sanitizer_stack, NULL, NULL);
}

static void yield_switched(void)
{
    uint32_t next = (uint32_t)(fake_random(&schedule.random) % schedule.count);

    if (++schedule.switches > SWITCH_LIMIT) {
        fprintf(stderr, "the tasks do not come to an end\n");
        abort();
    }
    if (next != schedule.current && !schedule.fiber[next].done && schedule.lock->next == schedule.lock->owner)
        switch_to(next);
}

static void leave(struct fiber *fiber)
{
    fiber->done = true;
    if (--schedule.left == 0) {
        __sanitizer_start_switch_fiber(NULL, schedule.home_stack, schedule.home_bytes);
        fake_switch(&fiber->sp, schedule.home);
    }
    for (uint32_t next = 0;; next++) {
        if (!schedule.fiber[next].done)
            switch_to(next); /* never comes back */
    }
}

static void fiber_main(void)
{
    struct fiber *fiber = &schedule.fiber[schedule.current];

    if (schedule.home_stack)
        __sanitizer_finish_switch_fiber(fiber->sanitizer_stack, NULL, NULL);
    else
        __sanitizer_finish_switch_fiber(fiber->sanitizer_stack, &schedule.home_stack, &schedule.home_bytes);
    fiber->task->function(fiber->task->context);
    leave(fiber);
}

static uint8_t *new_stack(void)
{
    uint8_t *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    HV_CHECK(stack != MAP_FAILED);
    return stack;
}

/* A new fiber's stack looks as if it had switched away at the begin of fiber_main. */
static void prepare(struct fiber *fiber, struct fake_task *task)
{
    void **top;

    if (!fiber->stack)
        fiber->stack = new_stack();
    __asan_unpoison_memory_region(fiber->stack, STACK_BYTES); /* what another run has left there */
    top = (void **)(void *)(fiber->stack + STACK_BYTES - 16);
    *--top = NULL; /* where fiber_main would return to: it does not */
    *--top = (void *)(uintptr_t)fiber_main;
    top -= SAVED_REGISTERS;
    *fiber = (struct fiber){.stack = fiber->stack, .task = task, .sp = top};
}

void fake_run_switched(struct fake_task *tasks, uint32_t count, uint64_t seed, const struct spinlock *lock)
{
    HV_CHECK(count && count <= FAKE_TASKS_MAX);
    for (uint32_t i = 0; i < count; i++)
        prepare(&schedule.fiber[i], &tasks[i]);
    schedule.count = schedule.left = count;
    schedule.current = 0;
    schedule.random = seed;
    schedule.lock = lock;
    schedule.switches = 0;
    schedule.home_stack = NULL;
    fakecpu_yield = yield_switched;
    fakecpu_this = tasks[0].cpu;
    __sanitizer_start_switch_fiber(&schedule.home_sanitizer_stack, schedule.fiber[0].stack, STACK_BYTES);
    fake_switch(&schedule.home, schedule.fiber[0].sp);
    __sanitizer_finish_switch_fiber(schedule.home_sanitizer_stack, NULL, NULL);
    fakecpu_this = NULL;
}

/* ---- Threads ---- */

static void yield_thread(void)
{
    sched_yield();
}

static void *thread_main(void *argument)
{
    struct fake_task *task = argument;

    fakecpu_this = task->cpu;
    task->function(task->context);
    return NULL;
}

void fake_run_threads(struct fake_task *tasks, uint32_t count)
{
    pthread_t threads[FAKE_TASKS_MAX];

    HV_CHECK(count && count <= FAKE_TASKS_MAX);
    fakecpu_yield = yield_thread;
    for (uint32_t i = 0; i < count; i++)
        HV_CHECK(pthread_create(&threads[i], NULL, thread_main, &tasks[i]) == 0);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}
