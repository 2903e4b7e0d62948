/* The one table of a vCPU's state: it covers every byte, and digest and comparison see each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/vcpu_state.h"

static struct vcpu_state plain, changed;

static int setup(void **ctx)
{
    (void)ctx;
    vcpu_state_reset(&plain, 1, 42);
    changed = plain;
    return 0;
}

/* A hole would be state that is saved but never named; an overlap would be named twice. */
static void every_byte_has_one_entry(void **ctx)
{
    uint32_t end = 0;

    (void)ctx;
    for (size_t i = 0; i < vcpu_field_count; i++) {
        assert_int_equal(vcpu_fields[i].offset, end);
        assert_true(vcpu_fields[i].size > 0);
        end += vcpu_fields[i].size;
    }
    assert_int_equal(end, sizeof(struct vcpu_state));
}

static void names_differ(void **ctx)
{
    (void)ctx;
    for (size_t i = 0; i < vcpu_field_count; i++) {
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(vcpu_fields[i].name, vcpu_fields[j].name);
    }
}

static bool is_resume_flag(size_t byte, uint8_t bit)
{
    return byte == offsetof(struct vcpu_state, cpu.rflags) + 2 && RFLAGS_RF >> 16 == bit;
}

static uint64_t last_change; /* digest of the flip before */

static void flip(size_t byte, uint8_t bit)
{
    const struct vcpu_field *field, *expected = vcpu_fields;
    uint32_t word = UINT32_MAX;

    ((uint8_t *)&changed)[byte] ^= bit;
    while (byte >= expected->offset + expected->size)
        expected++;
    field = vcpu_state_difference(&plain, &changed, &word);
    assert_ptr_equal(field, expected);
    assert_int_equal(word, (byte - expected->offset) / 8);
    if (is_resume_flag(byte, bit)) {
        assert_true(vcpu_state_digest(&changed) == vcpu_state_digest(&plain));
        assert_true(vcpu_state_change_digest(&plain, &changed) == 0);
    } else {
        assert_true(vcpu_state_digest(&changed) != vcpu_state_digest(&plain));
        assert_true(vcpu_state_change_digest(&plain, &changed) != 0);
        assert_true(vcpu_state_change_digest(&plain, &changed) != last_change);
        last_change = vcpu_state_change_digest(&plain, &changed);
    }
    ((uint8_t *)&changed)[byte] ^= bit;
}

/* RF alone is no part of the digest: an exit may leave it set where another one does not. */
static void every_bit_shows(void **ctx)
{
    (void)ctx;
    for (size_t byte = 0; byte < sizeof(struct vcpu_state); byte++) {
        for (unsigned bit = 0; bit < 8; bit++)
            flip(byte, (uint8_t)(1u << bit));
    }
    assert_null(vcpu_state_difference(&plain, &changed, &(uint32_t){0}));
}

static void the_first_difference_is_named(void **ctx)
{
    uint32_t word;

    (void)ctx;
    changed.cpu.gpr[3] ^= 1;
    changed.cpu.cr2 ^= 1;
    assert_string_equal(vcpu_state_difference(&plain, &changed, &word)->name, "general registers");
    assert_int_equal(word, 3);
}

/* What the processor leaves undefined is cleared, and nothing else. */
static void canonical_form(void **ctx)
{
    (void)ctx;
    vcpu_state_canonicalize(&changed);
    assert_memory_equal(&changed, &plain, sizeof(plain));
    memset(&changed.xsave[512], 0xa5, 64);
    changed.cpu.pending_debug |= UINT64_C(0x100f);
    vcpu_state_canonicalize(&changed);
    assert_memory_equal(&changed, &plain, sizeof(plain));
    /* Of breakpoints only what the guest enables, and that something is. */
    changed.cpu.dr7 |= 0x30;
    changed.cpu.pending_debug |= UINT64_C(0x100f);
    vcpu_state_canonicalize(&changed);
    assert_int_equal(changed.cpu.pending_debug, plain.cpu.pending_debug | 0x1004);
    changed.cpu.pending_debug = UINT64_C(0x4004);
    vcpu_state_canonicalize(&changed);
    assert_int_equal(changed.cpu.pending_debug, 0x4000);
}

static void init_keeps_what_it_must(void **ctx)
{
    (void)ctx;
    memset(changed.xsave, 0x5a, 512);
    changed.cpu.pat = 0x0007040600070406;
    changed.cpu.lstar = 0x1234;
    changed.cpu.tsc_aux = 7;
    changed.cpu.gpr[0] = 99;
    changed.cpu.rip = 0x5000;
    changed.random.state = 17;
    changed.time_reads = 5;
    changed.nmi_pending = 1;
    changed.completion.length = 3;
    changed.activity = VCPU_RUNNING;
    vcpu_state_init(&changed);
    assert_int_equal(changed.xsave[100], 0x5a);
    assert_true(changed.cpu.pat == 0x0007040600070406 && changed.cpu.lstar == 0x1234 &&
                changed.cpu.tsc_aux == 7);
    assert_true(changed.random.state == 17 && changed.time_reads == 5);
    assert_true(changed.cpu.rip == plain.cpu.rip && changed.cpu.gpr[0] == plain.cpu.gpr[0]);
    assert_true(changed.nmi_pending == 0 && changed.completion.length == 0);
    assert_int_equal(changed.activity, VCPU_WAIT_SIPI);
}

static void the_first_processor_runs_after_init(void **ctx)
{
    (void)ctx;
    vcpu_state_reset(&changed, 0, 42);
    assert_int_equal(changed.activity, VCPU_RUNNING);
    vcpu_state_init(&changed);
    assert_int_equal(changed.activity, VCPU_RUNNING);
    vcpu_state_reset(&changed, 2, 42);
    assert_int_equal(changed.activity, VCPU_WAIT_SIPI);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_byte_has_one_entry, setup),
        cmocka_unit_test_setup(names_differ, setup),
        cmocka_unit_test_setup(every_bit_shows, setup),
        cmocka_unit_test_setup(the_first_difference_is_named, setup),
        cmocka_unit_test_setup(canonical_form, setup),
        cmocka_unit_test_setup(init_keeps_what_it_must, setup),
        cmocka_unit_test_setup(the_first_processor_runs_after_init, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
