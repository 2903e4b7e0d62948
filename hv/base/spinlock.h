/*
 * A ticket lock: first come, first served. Works on the host too.
 *
 * It does not mask interrupts: interrupt handlers take no locks (they only count), and panic uses none.
 */
#ifndef RV_HV_BASE_SPINLOCK_H
#define RV_HV_BASE_SPINLOCK_H

#include "hv/base/types.h"

/* Zeroed is unlocked. */
struct spinlock {
    uint32_t next;
    uint32_t owner;
};

static inline void spin_lock(struct spinlock *lock)
{
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);

    while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket) {
        __builtin_ia32_pause();
    }
}

/* True when the lock was free and is now held. */
static inline bool spin_trylock(struct spinlock *lock)
{
    uint32_t owner = __atomic_load_n(&lock->owner, __ATOMIC_RELAXED);
    uint32_t expected = owner;

    return __atomic_compare_exchange_n(&lock->next, &expected, owner + 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* The caller holds the lock. */
static inline void spin_unlock(struct spinlock *lock)
{
    /* Only the holder writes `owner`, so the addition need not be atomic, the store must be. */
    __atomic_store_n(&lock->owner, lock->owner + 1, __ATOMIC_RELEASE);
}

#endif
