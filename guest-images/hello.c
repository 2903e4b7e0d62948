/*
 * The smallest guest: every CPU prints one line, in order.
 */
#include "guest-images/lib/guest.h"

static atomic_uint turn;

static void greet(void *arg)
{
    (void)arg;
    while (atomic_load(&turn) != cpu_id())
        cpu_relax();
    say("result: hello from cpu %u of %u\n", cpu_id(), cpu_count());
    atomic_fetch_add(&turn, 1);
}

int main(void)
{
    run_on_all(greet, NULL);
    return 0;
}
