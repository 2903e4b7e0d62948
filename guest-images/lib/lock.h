/*
 * The library's own spin lock and barrier. The guests that study locks bring their own.
 */
#ifndef RV_GUEST_LOCK_H
#define RV_GUEST_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "guest-images/lib/x86.h"

struct lock {
    atomic_uint taken;
};

static inline void lock_take(struct lock *lock)
{
    while (atomic_exchange_explicit(&lock->taken, 1, memory_order_acquire)) {
        while (atomic_load_explicit(&lock->taken, memory_order_relaxed))
            cpu_relax();
    }
}

static inline void lock_drop(struct lock *lock)
{
    atomic_store_explicit(&lock->taken, 0, memory_order_release);
}

/* The last CPU of a round opens it by counting up the round. Zero-initialised is ready for use. */
struct barrier {
    atomic_uint arrived;
    atomic_uint round;
};

/* Waits until `total` CPUs have come. */
static inline void barrier_wait(struct barrier *barrier, unsigned total)
{
    unsigned round = atomic_load(&barrier->round);

    if (atomic_fetch_add(&barrier->arrived, 1) + 1 == total) {
        atomic_store(&barrier->arrived, 0);
        atomic_store(&barrier->round, round + 1);
        return;
    }
    while (atomic_load(&barrier->round) == round)
        cpu_relax();
}

#endif
