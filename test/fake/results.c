/* Results of runs on fake machines, compared. */
#include "test/fake/machine.h"

#include <stdio.h>
#include <string.h>

static bool memory_differs(const struct fake_result *a, const struct fake_result *b, char *text, size_t size)
{
    for (uint32_t at = 0; at < GUEST_BYTES; at++) {
        if (a->memory[at] != b->memory[at]) {
            snprintf(text, size, "memory at %#x: %02x, %02x", at, a->memory[at], b->memory[at]);
            return true;
        }
    }
    return false;
}

bool fake_results_differ(const struct fake_result *a, const struct fake_result *b, char *text, size_t size)
{
    uint32_t word;

    if (a->diverged != b->diverged)
        return snprintf(text, size, "divergence: %s%s", a->divergence, b->divergence);
    if (a->commits != b->commits)
        return snprintf(text, size, "commits: %llu, %llu", (unsigned long long)a->commits,
                        (unsigned long long)b->commits);
    if (memory_differs(a, b, text, size))
        return true;
    for (uint32_t i = 0; i < a->vcpus; i++) {
        const struct vcpu_field *field = vcpu_state_difference(&a->state[i], &b->state[i], &word);
        if (field)
            return snprintf(text, size, "vCPU %u: %s, word %u", i, field->name, word);
    }
    if (a->console_bytes != b->console_bytes || memcmp(a->console, b->console, a->console_bytes) != 0)
        return snprintf(text, size, "console");
    if (a->outcome.outcome != b->outcome.outcome || a->outcome.status != b->outcome.status)
        return snprintf(text, size, "outcome: %s, %s", a->outcome.reason, b->outcome.reason);
    if (a->digest != b->digest)
        return snprintf(text, size, "running digest");
    return false;
}
