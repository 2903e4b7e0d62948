/*
 * The golden logs: the writer still writes them, the reader still reads them, and a second reader, written
 * from the format's text, reads the same. After that both readers are held against each other on damaged
 * logs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/golden/first_reader.h"
#include "test/golden/golden_set.h"
#include "test/golden/second_reader.h"

/* Tests run from the repository's root. */
static size_t read_file(const char *name, const char *suffix, uint8_t *bytes, size_t size)
{
    char path[256];
    FILE *file;
    size_t n;

    snprintf(path, sizeof path, GOLDEN_FOLDER "%s%s", name, suffix);
    file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is missing", path);
    n = fread(bytes, 1, size, file);
    fclose(file);
    return n;
}

static bool same_end(enum log_status status, const struct log_reader *r, enum second_end end)
{
    switch (end) {
    case SECOND_COMPLETE:
        return status == LOG_END && r->complete;
    case SECOND_ABORTED:
        return status == LOG_END && r->aborted;
    case SECOND_CUT:
        return status == LOG_NEED_MORE;
    default:
        return status == LOG_ERROR;
    }
}

static uint64_t lines_of_commits(const char *text)
{
    uint64_t lines = 0;

    for (const char *p = text; *p; p = strchr(p, '\n') + 1)
        lines += *p >= '0' && *p <= '9';
    return lines;
}

static void writer_still_writes_them(void **state)
{
    static struct forge f;
    static uint8_t bytes[FORGE_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(golden_set); i++) {
        size_t size = read_file(golden_set[i].name, ".golden", bytes, sizeof bytes);

        memset(&f, 0, sizeof f);
        golden_set[i].make(&f);
        if (f.size != size || memcmp(f.bytes, bytes, size))
            fail_msg("%s.golden is written differently now", golden_set[i].name);
    }
}

static void both_readers_read_them(void **state)
{
    uint8_t *bytes = malloc(FORGE_SIZE);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(golden_set); i++) {
        const struct golden *golden = &golden_set[i];
        size_t size = read_file(golden->name, ".golden", bytes, FORGE_SIZE), length[2];
        struct log_reader r;
        char *text[2];
        FILE *out[2] = {open_memstream(&text[0], &length[0]), open_memstream(&text[1], &length[1])};
        enum log_status status = first_reader(&r, bytes, size, out[0]);
        enum second_end end = second_reader(bytes, size, out[1]);

        fclose(out[0]);
        fclose(out[1]);
        if (status != golden->status || r.error != golden->error)
            fail_msg("%s: status %d, %s", golden->name, status, log_error_text(r.error));
        assert_int_equal(lines_of_commits(text[0]), golden->commits);
        assert_true(same_end(status, &r, end));
        if (status == LOG_ERROR)
            assert_int_equal(lines_of_commits(text[1]), golden->commits);
        else
            assert_string_equal(text[0], text[1]);
        free(text[0]);
        free(text[1]);
    }
    free(bytes);
}

/* Copies the log block by block, with a few bytes of one payload changed and all CRCs made sound again. */
static void mutate(const struct forge *from, struct forge *to, uint64_t *seed)
{
    unsigned victim = (unsigned)random_below(seed, 10);
    size_t at = 0;

    memset(to, 0, sizeof *to);
    while (at < from->size) {
        uint8_t payload[FORGE_SIZE];
        uint32_t whole, length;
        uint16_t type, flags;

        memcpy(&type, from->bytes + at + LOG_HEAD_TYPE, sizeof type);
        memcpy(&flags, from->bytes + at + LOG_HEAD_FLAGS, sizeof flags);
        memcpy(&whole, from->bytes + at + LOG_HEAD_LENGTH, sizeof whole);
        length = whole;
        memcpy(payload, from->bytes + at + LOG_HEAD_SIZE, length);
        if (to->number == victim && type != LOG_TYPE_COUNTERS && length) {
            for (uint64_t n = 1 + random_below(seed, 3); n; n--)
                payload[random_below(seed, length)] = (uint8_t)(random_next(seed) >> random_below(seed, 8));
            length -= random_below(seed, 4) ? 0 : (uint32_t)random_below(seed, MIN(length, 4u));
        }
        forge_block(to, type, flags, payload, length);
        at += LOG_BLOCK_EXTRA + whole;
    }
}

static void readers_agree_on_changed_logs(void **state)
{
    static struct forge from[3], to;
    uint64_t seed = 23;
    unsigned bad = 0;

    (void)state;
    make_complete(&from[0]);
    make_branches(&from[1]);
    make_pages(&from[2]);
    for (unsigned round = 0; round < 5000; round++) {
        size_t length[2];
        char *text[2];
        FILE *out[2] = {open_memstream(&text[0], &length[0]), open_memstream(&text[1], &length[1])};
        struct log_reader r;
        enum log_status status;
        enum second_end end;

        mutate(&from[round % 3], &to, &seed);
        status = first_reader(&r, to.bytes, to.size, out[0]);
        end = second_reader(to.bytes, to.size, out[1]);
        fclose(out[0]);
        fclose(out[1]);
        if (!same_end(status, &r, end))
            fail_msg("round %u: %s; %s", round, log_error_text(r.error), text[1]);
        if (status == LOG_ERROR && lines_of_commits(text[0]) != lines_of_commits(text[1]))
            fail_msg("round %u: %s; %s%s", round, log_error_text(r.error), text[0], text[1]);
        if (status != LOG_ERROR)
            assert_string_equal(text[0], text[1]);
        bad += status == LOG_ERROR;
        free(text[0]);
        free(text[1]);
    }
    assert_true(bad > 500 && bad < 4500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writer_still_writes_them),
        cmocka_unit_test(both_readers_read_them),
        cmocka_unit_test(readers_agree_on_changed_logs),
    };

    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
