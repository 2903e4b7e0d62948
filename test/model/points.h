/*
 * Included before everything else where the model is built fine-grained: each use of a lock and each
 * atomic access of the code under test becomes a place where another actor may go on.
 */
#ifndef RV_TEST_MODEL_POINTS_H
#define RV_TEST_MODEL_POINTS_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_FINE 1

void model_point(void);   /* another actor may run here */
void model_blocked(void); /* another actor must */

/* Instead of hv/base/spinlock.h. */
#define RV_HV_BASE_SPINLOCK_H

struct spinlock {
    uint32_t next;
    uint32_t owner;
};

static inline void spin_lock(struct spinlock *lock)
{
    model_point();
    while (lock->next != lock->owner)
        model_blocked();
    lock->next++;
}

static inline void spin_unlock(struct spinlock *lock)
{
    lock->owner++;
    model_point();
}

#define __atomic_load_n(p, order)         (model_point(), __atomic_load_n(p, order))
#define __atomic_store_n(p, value, order) (model_point(), __atomic_store_n(p, value, order))

#endif
