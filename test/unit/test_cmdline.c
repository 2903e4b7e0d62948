/* The hypervisor's command line: every word, its bounds, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cmdline.h"

static struct hv_options o;
static char word[CMDLINE_WORD_SIZE];

static void good(const char *line)
{
    if (cmdline_parse(line, &o, word) != CMDLINE_OK) {
        fail_msg("refused: %s", line);
    }
    assert_string_equal(word, "");
}

static void bad(const char *line, enum cmdline_error error, const char *named)
{
    if (cmdline_parse(line, &o, word) != error) {
        fail_msg("not refused as it should be: %s", line);
    }
    assert_string_equal(word, named);
}

static void test_defaults(void **state)
{
    (void)state;
    good("");
    assert_int_equal(o.mode, MODE_RECORD);
    assert_int_equal(o.log, LOG_SERIAL);
    assert_int_equal(o.end, END_HALT);
    assert_int_equal(o.guest_memory, 64 << 20);
    assert_int_equal(o.vcpus, 0);
    assert_int_equal(o.chunk, 100000);
    assert_int_equal(o.pause, 1);
    assert_int_equal(o.stride, 20);
    assert_int_equal(o.chaos, 0);
    assert_int_equal(o.baud, 115200);
    assert_true(o.verify);
    assert_false(o.full_report);
    assert_false(o.msg_port_e9);
    assert_false(o.xapic);
    assert_false(o.no_pmu);
    assert_int_equal(o.selftest, SELFTEST_NONE);
    good(" \t  \n");
}

static void test_all_words(void **state)
{
    (void)state;
    good("mode=replay mem=16M vcpus=2 chunk=1000 min-chunk=10 log=none baud=9600 verify=off "
         "seed=0xFFFFFFFFFFFFFFFF limit=123456789012 limit-ms=5000 "
         "chaos=50 pause=7 stride=1 report=full end=isa-debug-exit msg-port-e9=on apic=xapic selftest=cpus "
         "pmu=off");
    assert_true(o.no_pmu);
    assert_int_equal(o.mode, MODE_REPLAY);
    assert_true(o.full_report);
    assert_int_equal(o.guest_memory, 16 << 20);
    assert_int_equal(o.vcpus, 2);
    assert_int_equal(o.chunk, 1000);
    assert_int_equal(o.min_chunk, 10);
    assert_int_equal(o.log, LOG_NONE);
    assert_int_equal(o.baud, 9600);
    assert_false(o.verify);
    assert_true(o.seed == UINT64_MAX);
    assert_true(o.limit == UINT64_C(123456789012));
    assert_int_equal(o.limit_ms, 5000);
    assert_int_equal(o.chaos, 50);
    assert_int_equal(o.pause, 7);
    assert_int_equal(o.stride, 1);
    assert_int_equal(o.end, END_ISA_DEBUG_EXIT);
    assert_true(o.msg_port_e9);
    assert_true(o.xapic);
    assert_int_equal(o.selftest, SELFTEST_CPUS);
    good("mode=run log=none end=bochs");
    assert_int_equal(o.mode, MODE_RUN);
    assert_int_equal(o.log, LOG_NONE);
    assert_int_equal(o.end, END_BOCHS);
    assert_int_equal(o.noise, 0);
    good("noise=squash,token");
    assert_int_equal(o.noise, NOISE_SQUASH | NOISE_TOKEN);
    good("noise=walk");
    assert_int_equal(o.noise, NOISE_WALK);
    good("noise=delay,interrupt");
    assert_int_equal(o.noise, NOISE_DELAY | NOISE_INTERRUPT);
    good("noise=all");
    assert_int_equal(o.noise, NOISE_ALL);
    good("noise=all noise=none");
    assert_int_equal(o.noise, 0);
    good("mode=soak count=12 seconds=0x3c");
    assert_int_equal(o.mode, MODE_SOAK);
    assert_int_equal(o.count, 12);
    assert_int_equal(o.seconds, 60);
    assert_int_equal(o.off, 0);
    assert_int_equal(o.policy, POLICY_RETROVISOR);
    assert_false(o.serial);
    good("off=guess off=value,keep policy=samsara serial=on");
    assert_int_equal(o.off, FEATURE_VALUE | FEATURE_KEEP);
    assert_int_equal(o.policy, POLICY_SAMSARA);
    assert_true(o.serial);
    good("off=value,equal,ahead,keep,pause,adapt,guess");
    assert_int_equal(o.off, FEATURE_VALUE | FEATURE_EQUAL | FEATURE_AHEAD | FEATURE_KEEP | FEATURE_PAUSE |
                                FEATURE_ADAPT | FEATURE_GUESS);
    assert_int_equal(o.log_buffer, 256 << 10);
    assert_false(o.least_frames);
    assert_false(o.pml);
    good("pml=on");
    assert_true(o.pml);
    good("log-buffer=8K frames=least");
    assert_int_equal(o.log_buffer, 8 << 10);
    assert_true(o.least_frames);
    good("log-buffer=16M frames=plenty");
    assert_int_equal(o.log_buffer, 16 << 20);
    bad("log-buffer=4K", CMDLINE_BAD_VALUE, "log-buffer=4K");
    bad("log-buffer=32M", CMDLINE_BAD_VALUE, "log-buffer=32M");
    bad("log-buffer=48K", CMDLINE_BAD_VALUE, "log-buffer=48K");
    bad("frames=1", CMDLINE_BAD_VALUE, "frames=1");
    bad("off=", CMDLINE_BAD_VALUE, "off=");
    bad("off=value,", CMDLINE_BAD_VALUE, "off=value,");
    bad("off=,value", CMDLINE_BAD_VALUE, "off=,value");
    bad("off=values", CMDLINE_BAD_VALUE, "off=values");
    bad("policy=none", CMDLINE_BAD_VALUE, "policy=none");
    good("end=reboot end=halt"); /* the last one counts */
    assert_int_equal(o.end, END_HALT);
    assert_true(o.verify); /* defaults come back */
}

static void test_sizes(void **state)
{
    (void)state;
    good("mem=2M");
    assert_int_equal(o.guest_memory, 2 << 20);
    good("mem=2048K");
    assert_int_equal(o.guest_memory, 2 << 20);
    good("mem=0x200000");
    assert_int_equal(o.guest_memory, 2 << 20);
    good("mem=3G");
    assert_true(o.guest_memory == UINT64_C(3) << 30);
    static const char *const refused[] = {
        "mem=",   "mem=0", "mem=1M",  "mem=3M",  "mem=4G",           "mem=18446744073709551616",
        "mem=2m", "mem=M", "mem=-2M", "mem=2MM", "mem=17179869184G",
    };

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        bad(refused[i], CMDLINE_BAD_VALUE, refused[i]);
    }
}

static void test_bad_values(void **state)
{
    static const char *const refused[] = {
        "mode=",
        "mode=Record",
        "mode=rec",
        "mode=recordx",
        "mode",
        "vcpus=0",
        "vcpus=9",
        "vcpus=1x",
        "vcpus=0x",
        "chunk=0",
        "chunk=4294967296",
        "chaos=91",
        "baud=0",
        "baud=115201",
        "baud=7",
        "verify=1",
        "seed=18446744073709551616",
        "seed=",
        "limit=0",
        "limit-ms=0",
        "limit-ms=4294967296",
        "seed=0xG",
        "pause=0",
        "stride=0",
        "end=off",
        "msg-port-e9=yes",
        "apic=x2",
        "min-chunk=0",
        "count=0",
        "seconds=-1",
        "log=file",
        "log=memory",
        "noise=",
        "noise=squash,",
        "noise=,squash",
        "noise=squash,loud",
        "selftest=all",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        bad(refused[i], CMDLINE_BAD_VALUE, refused[i]);
    }
}

static void test_unknown(void **state)
{
    char longer[200];

    (void)state;
    bad("mode=run quiet seed=1", CMDLINE_UNKNOWN_WORD, "quiet");
    assert_int_equal(o.mode, MODE_RUN);
    bad("modes=run", CMDLINE_UNKNOWN_WORD, "modes=run");
    bad("mod=run", CMDLINE_UNKNOWN_WORD, "mod=run");
    bad("=run", CMDLINE_UNKNOWN_WORD, "=run");
    memset(longer, 'w', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(cmdline_parse(longer, &o, word), CMDLINE_UNKNOWN_WORD);
    assert_int_equal(strlen(word), CMDLINE_WORD_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_all_words), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_values), cmocka_unit_test(test_unknown),
    };

    return cmocka_run_group_tests_name("cmdline", tests, NULL, NULL);
}
