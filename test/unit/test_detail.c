/*
 * What a recording may tell in detail: its form as bytes, and that a replay which differs names the register,
 * or the page and the word, with what was expected and what was found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/log_detail.h"
#include "replay/log_reader.h"
#include "test/fake/guest_layout.h"
#include "test/fake/machine.h"

#define WORDS (PAGE_SIZE / 8)

static uint8_t buffer[DETAIL_ENTRY_MAX];
static uint64_t old_page[WORDS], new_page[WORDS];

/* ---- Bytes ---- */

static void fill_state(struct detail_state *state)
{
    for (unsigned i = 0; i < DETAIL_REGISTERS; i++)
        state->regs[i] = UINT64_C(0x1111111111111111) * (i % 15 + 1) + i;
    for (unsigned i = 0; i < DETAIL_PARTS; i++)
        state->part[i] = ~(uint64_t)i;
}

static uint32_t write_entry(unsigned pages, unsigned words)
{
    struct detail_writer w;
    struct detail_state state;

    fill_state(&state);
    detail_begin(&w, buffer, 3, &state);
    memset(old_page, 0x5a, sizeof(old_page));
    for (unsigned page = 0; page < pages; page++) {
        memcpy(new_page, old_page, sizeof(new_page));
        for (unsigned i = 0; i < words; i++)
            new_page[i * (WORDS / words)] += page + 1;
        detail_page(&w, 0x100 + page, old_page, new_page);
    }
    detail_set_seq(buffer, UINT64_C(0x123456789a));
    return detail_end(&w);
}

static void check_pages(struct log_detail *detail, unsigned words)
{
    struct log_detail_page page;
    unsigned count = 0;

    for (; log_detail_page(detail, &page); count++) {
        assert_int_equal(page.gpn, 0x100 + count);
        assert_int_equal(page.changed, words);
        assert_int_equal(page.listed, MIN(words, DETAIL_WORDS_MAX));
        for (uint32_t i = 0; i < page.listed; i++) {
            uint64_t value;
            assert_int_equal(log_detail_word(&page, i, &value), i * (WORDS / words));
            assert_true(value == old_page[0] + count + 1);
        }
    }
    assert_int_equal(count, detail->listed);
}

static void entries_come_back(void **state)
{
    static const unsigned words[] = {1, 2, 63, 64, 65, 512};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        uint32_t length = write_entry(3, words[i]);
        const uint8_t *at = buffer;
        struct detail_state expected;
        struct log_detail detail;

        fill_state(&expected);
        assert_int_equal(detail_length(buffer), length);
        assert_int_equal(log_detail_next(&at, buffer + length, &detail), LOG_OK);
        assert_ptr_equal(at, buffer + length);
        assert_true(detail.seq == UINT64_C(0x123456789a));
        assert_int_equal(detail.vcpu, 3);
        assert_int_equal(detail.changed, 3);
        assert_int_equal(detail.listed, 3);
        assert_memory_equal(&detail.state, &expected, sizeof(expected));
        check_pages(&detail, words[i]);
    }
}

/* More pages than an entry holds are counted only. */
static void full_entries_count_on(void **state)
{
    uint32_t length = write_entry(500, 64);
    const uint8_t *at = buffer;
    struct log_detail detail;

    (void)state;
    assert_true(length <= DETAIL_ENTRY_MAX);
    assert_int_equal(log_detail_next(&at, buffer + length, &detail), LOG_OK);
    assert_int_equal(detail.changed, 500);
    assert_true(detail.listed > 10 && detail.listed < 500);
    check_pages(&detail, 64);
}

/* Any bytes are read or refused, within their bounds (the sanitizer watches). */
static void bad_entries_are_refused(void **state)
{
    uint32_t length = write_entry(2, 5), refused = 0;

    (void)state;
    for (uint32_t cut = 0; cut < length; cut++) {
        uint8_t *copy = malloc(cut + 1);
        const uint8_t *at = copy;
        struct log_detail detail;
        memcpy(copy, buffer, cut);
        assert_int_equal(log_detail_next(&at, copy + cut, &detail), LOG_ERROR_DETAIL);
        free(copy);
    }
    for (uint32_t bit = 0; bit < length * 8; bit++) {
        uint8_t *copy = malloc(length);
        const uint8_t *at = copy;
        struct log_detail detail;
        struct log_detail_page page;
        memcpy(copy, buffer, length);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (log_detail_next(&at, copy + length, &detail) != LOG_OK)
            refused++;
        else
            while (log_detail_page(&detail, &page))
                ;
        free(copy);
    }
    assert_true(refused > 50);
}

/* ---- Reports ---- */

struct spoil {
    uint32_t address; /* of a word that the replay's memory begins with another value in; 0: RSI of vCPU 0 */
};

static void spoil(struct vm *vm, void *context)
{
    const struct spoil *what = context;
    struct vcpu_state *state = vm->vcpus[0]->saved;

    if (what->address) {
        uint8_t *page = frame_data(&vm->pool, vm->order.table[what->address / PAGE_SIZE].frame);
        page[what->address % PAGE_SIZE] ^= 0x40;
        return;
    }
    state->cpu.gpr[GPR_R15] ^= 0x40;
    memcpy(vm->vcpus[0]->state, state, sizeof(*state));
}

static struct fake_result *replay_spoilt(struct fake_machine_config *config, struct spoil *what)
{
    struct fake_result *replayed;

    config->prepare = spoil;
    config->context = what;
    replayed = fake_replay(config);
    config->prepare = NULL;
    assert_true(replayed->diverged);
    return replayed;
}

static void expect_words(const struct fake_result *replayed, const char *words)
{
    if (!strstr(replayed->divergence, words))
        fail_msg("\"%s\" is not in: %s", words, replayed->divergence);
}

static struct fake_result *record(struct fake_machine_config *config)
{
    struct fake_result *recorded = fake_record(config);

    config->log = recorded->log;
    config->log_bytes = recorded->log_bytes;
    return recorded;
}

static void reports_name_register_and_word(void **state)
{
    struct fake_guest guest = {.only = "atomic", .calls = 12, .rounds = 2, .vcpus = 2};
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);
    struct spoil reg = {0}, word = {.address = GUEST_ATOMIC};
    struct fake_result *recorded, *replayed;
    char text[600];

    (void)state;
    config.detail = true;
    recorded = record(&config);
    replayed = fake_replay(&config);
    if (fake_results_differ(recorded, replayed, text, sizeof(text)))
        fail_msg("%s", text);
    fake_result_delete(replayed);

    replayed = replay_spoilt(&config, &reg);
    expect_words(replayed, ", r15 expected 0 found 0x40");
    fake_result_delete(replayed);

    replayed = replay_spoilt(&config, &word);
    expect_words(replayed, " page 0x18 word 0 expected ");
    fake_result_delete(replayed);
    fake_result_delete(recorded);
}

static void without_detail_reports_say_how_to_get_it(void **state)
{
    struct fake_guest guest = {.pieces = PIECES_ALL, .seed = 4, .calls = 12, .rounds = 2, .vcpus = 2};
    struct fake_machine_config config = fake_machine_defaults(&guest, 4);
    struct fake_result *recorded = record(&config), *replayed;
    struct spoil reg = {0};

    (void)state;
    replayed = replay_spoilt(&config, &reg);
    expect_words(replayed, "detail=on");
    fake_result_delete(replayed);
    fake_result_delete(recorded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(full_entries_count_on),
        cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(reports_name_register_and_word),
        cmocka_unit_test(without_detail_reports_say_how_to_get_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
