/*
 * Everything a guest program uses. It defines int main(void), which runs on CPU 0 when all CPUs are up.
 */
#ifndef RV_GUEST_GUEST_H
#define RV_GUEST_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-images/lib/apic.h"
#include "guest-images/lib/args.h"
#include "guest-images/lib/console.h"
#include "guest-images/lib/lock.h"
#include "guest-images/lib/memory.h"
#include "guest-images/lib/random.h"
#include "guest-images/lib/smp.h"
#include "guest-images/lib/trap.h"
#include "guest-images/lib/x86.h"

#define PAGE_BYTES 4096u

typedef unsigned long long ull; /* for %llu and %llx */

int main(void);

#endif
