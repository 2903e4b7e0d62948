/* A machine of three vCPUs that does not run, with their APICs enabled: for acts, and what devices make of
 * them. */
#ifndef RV_TEST_UNIT_ACTS_RIG_H
#define RV_TEST_UNIT_ACTS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/acts.h"
#include "test/fake/machine.h"

static struct fake_bench *bench;
static struct vm *vm;
static struct vcpu *vcpu;
static struct fake_guest guest = {.only = "work", .calls = 1, .rounds = 1, .vcpus = 3};

static inline int begin(void **state)
{
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);

    (void)state;
    bench = fake_bench_new(&config);
    vm = fake_bench_vm(bench);
    vcpu = vm->vcpus[0];
    /* Software-enabled, as interrupts want it. */
    for (uint32_t i = 0; i < 3; i++) {
        vlapic_write(&vm->vcpus[i]->state->lapic, VLAPIC_SVR, 0x1ff, 0);
        vm->dests[i] = vlapic_dest(&vm->vcpus[i]->state->lapic);
    }
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    fake_bench_delete(bench);
    return 0;
}

static inline void perform(struct vcpu *who, struct vcpu_act act, uint64_t seq)
{
    who->act = act;
    spin_lock(&vm->order.lock);
    act_perform(who, seq);
    spin_unlock(&vm->order.lock);
}

#endif
