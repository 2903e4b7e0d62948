/* The worked example of replay/FORMAT.md against the real codec, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/log_codec.h"
#include "test/unit/log_random.h"

#define FORMAT_TEXT    "replay/FORMAT.md" /* tests run from the repository's root */
#define EXAMPLE_DIGEST UINT64_C(0x0123456789abcdef)
#define EXAMPLE_MAX    512u

/* The commits that the text describes. */
static const struct rec_commit example[] = {
    {.chunk = {.vcpu = 0, .end = REC_END_PAUSE, .digest = 0x1234}},
    {.chunk = {.vcpu = 1,
               .end = REC_END_POSITION,
               .flags = REC_F_TIME,
               .digest = 0xbeef,
               .lag = 1,
               .time_base = 1000,
               .position = {.rip = 0x401000,
                            .rflags = 0x246,
                            .duration = 50000,
                            .regs_check = 0x11223344,
                            .state_check = 0x55667788}}},
    {.chunk = {.vcpu = 0,
               .end = REC_END_HLT,
               .flags = REC_F_TIME,
               .digest = 0x0042,
               .lag = 0,
               .time_base = 996,
               .event_count = 2,
               .events = {{REC_EVENT_TIMER, 0x20}, {REC_EVENT_FIXED, 0x31}}}},
    {.kind = REC_INPUT, .input = {.device = REC_DEVICE_CONSOLE, .length = 2, .digest = 0x7777, .data = "ok"}},
    {.chunk = {.vcpu = 1,
               .end = REC_END_POSITION,
               .flags = REC_F_REP,
               .digest = 0xcdef,
               .lag = 2,
               .position = {.rip = 0x400ff0,
                            .rflags = 0x10202,
                            .duration = 49990,
                            .rcx = 4096,
                            .regs_check = 0x01020304,
                            .state_check = 0x05060708}}},
};

/* Reads the hex bytes between the example's markers; '#' begins a comment. */
static size_t read_example(uint8_t *bytes)
{
    FILE *file = fopen(FORMAT_TEXT, "r");
    char line[256];
    bool inside = false;
    size_t size = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char *p = line;
        int used;
        unsigned byte;

        if (!strncmp(line, "<!-- example", 12) || !strncmp(line, "<!-- end", 8)) {
            inside = line[5] == 'e' && line[6] == 'x';
            continue;
        }
        for (; inside && sscanf(p, " %2x%n", &byte, &used) == 1; p += used) {
            assert_true(size < EXAMPLE_MAX);
            bytes[size++] = (uint8_t)byte;
        }
    }
    fclose(file);
    return size;
}

static size_t write_example(uint8_t *buffer, size_t *header)
{
    struct rec_header h = plain_header(2);
    struct log_writer w;

    log_writer_init(&w, buffer, LOG_WRITER_BUFFER_MIN, 0);
    assert_true(log_writer_header(&w, &h));
    *header = w.ready;
    for (unsigned i = 0; i < ARRAY_LEN(example); i++)
        assert_true(log_writer_commit(&w, &example[i], EXAMPLE_DIGEST));
    log_writer_flush(&w);
    return w.ready;
}

static void example_is_what_the_writer_writes(void **state)
{
    static uint8_t buffer[LOG_WRITER_BUFFER_MIN];
    uint8_t text[EXAMPLE_MAX];
    size_t header, size = write_example(buffer, &header), length = read_example(text);

    (void)state;
    size -= header;
    if (length != size || memcmp(text, buffer + header, size)) {
        for (size_t i = 0; i < size; i++)
            printf("%02x%s", buffer[header + i], i % 16 == 15 || i + 1 == size ? "\n" : " ");
        fail_msg("the example in %s differs from the block above", FORMAT_TEXT);
    }
}

static void example_reads_back(void **state)
{
    static uint8_t buffer[LOG_WRITER_BUFFER_MIN];
    struct log_reader r;
    struct log_block block;
    struct log_commits it;
    struct rec_commit commit;
    size_t header, size;

    (void)state;
    (void)write_example(buffer, &header);
    size = header + read_example(buffer + header);
    log_reader_init(&r);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(log_reader_next(&r, buffer, size, &block), LOG_BLOCK);
    assert_int_equal(block.digest, EXAMPLE_DIGEST);
    log_commits_begin(&it, &r, &block);
    for (unsigned i = 0; i < ARRAY_LEN(example); i++) {
        const struct rec_chunk *want = &example[i].chunk, *got = &commit.chunk;

        assert_int_equal(log_commits_next(&it, &commit), LOG_COMMIT);
        assert_int_equal(commit.kind, example[i].kind);
        if (commit.kind == REC_INPUT) {
            assert_int_equal(commit.input.length, example[i].input.length);
            assert_memory_equal(commit.input.data, example[i].input.data, commit.input.length);
            continue;
        }
        assert_memory_equal(got, want, offsetof(struct rec_chunk, events));
        assert_memory_equal(got->events, want->events, want->event_count * sizeof want->events[0]);
    }
    assert_int_equal(log_commits_next(&it, &commit), LOG_COMMITS_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_is_what_the_writer_writes),
        cmocka_unit_test(example_reads_back),
    };

    return cmocka_run_group_tests_name("log_format", tests, NULL, NULL);
}
