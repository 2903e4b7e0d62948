/* Breakpoints of the fake processor, by the manual (SDM 3B 18.2): data ones are traps, as bits that may be
 * told of registers that are not enabled, too. */
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

static uint64_t dr7_of(const struct fakerun *run)
{
    return run->cpu->vmcs[VMCS_GUEST_DR7];
}

static uint64_t kind(const struct fakerun *run, unsigned n)
{
    return dr7_of(run) >> (16 + 4 * n) & 3;
}

bool fake_any_enabled(const struct fakerun *run, uint64_t matched)
{
    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if ((matched & BIT(n)) && (dr7_of(run) >> 2 * n & 3))
            return true;
    }
    return false;
}

uint64_t fake_match_code(const struct fakerun *run)
{
    uint32_t linear = (uint32_t)run->cpu->vmcs[VMCS_GUEST_CS_BASE] + run->rip;
    uint64_t matched = 0;

    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if (kind(run, n) == 0 && run->cpu->dr[n] == linear)
            matched |= BIT(n);
    }
    return matched;
}

uint64_t fake_match_data(const struct fakerun *run, uint32_t linear, uint32_t bytes, bool write)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint64_t matched = 0;

    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        uint64_t length = lengths[dr7_of(run) >> (18 + 4 * n) & 3];
        uint64_t first = run->cpu->dr[n] & ~(length - 1);
        bool asked = kind(run, n) == 3 || (kind(run, n) == 1 && write);

        if (asked && first < (uint64_t)linear + bytes && linear < first + length)
            matched |= BIT(n);
    }
    return matched;
}

void fake_debug_retire(struct fakerun *run, bool trapping)
{
    run->pending_debug |= trapping ? VMX_PENDING_DEBUG_BS : 0;
    if (run->matched)
        run->pending_debug |=
            run->matched | (fake_any_enabled(run, run->matched) ? VMX_PENDING_DEBUG_ENABLED : 0);
    run->matched = 0;
}
