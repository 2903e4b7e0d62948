/* Single looks at a place that a recorded chunk was cut at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/chunk.h"
#include "hv/position.h"
#include "test/unit/exit_rig.h"

#define TARGET GUEST_FILL /* of the INS */

static struct rec_chunk expected;

/* The log says that the chunk was cut where the vCPU is now. */
static void expect_this_place(void)
{
    uint64_t digest;

    digest = chunk_peek_digest(vcpu, false);
    expected = (struct rec_chunk){.end = REC_END_POSITION};
    expected.position.rip = vmx_get_linear_rip(&vcpu->vmx);
    expected.position.rflags = vmx_get_rflags(&vcpu->vmx);
    expected.position.regs_check =
        chunk_regs_check(expected.position.rip, expected.position.rflags, vcpu->vmx.gpr, false);
    expected.position.state_check = (uint32_t)(digest ^ digest >> 32);
    vcpu->expected = &expected;
}

/* What INS found is still to be stored, as there was no page for it: the next chunk does it. */
static void input_that_found_no_page_stays_pending(void **state)
{
    struct vcpu_completion pending = {
        .length = 1, .gpr_value = 0x12345678, .memory = {TARGET}, .memory_bytes = {4}};

    (void)state;
    vcpu->state->completion = pending;
    expect_this_place();
    assert_int_equal(position_find(vcpu), POSITION_FOUND);
    assert_memory_equal(&vcpu->completion, &pending, sizeof(pending));
    assert_memory_equal(&vcpu->state->completion, &pending, sizeof(pending));
    assert_int_equal(*fake_bench_memory(bench, TARGET), 0); /* not yet */
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(input_that_found_no_page_stays_pending)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
