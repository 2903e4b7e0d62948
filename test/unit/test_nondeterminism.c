/*
 * replay/NONDETERMINISM.md says of every exit reason and every MSR what becomes of it. Here its tables are
 * read and compared with the code, both ways: no line without code, no code without a line. Runs in the
 * repository's root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/vdev/msrs.h"
#include "hv/exit_table.h"
#include "vmx/exit.h"

#define TEXT       "replay/NONDETERMINISM.md"
#define LINE_BYTES 1024u
#define CELLS      6u

/* Splits a table's row into trimmed cells; returns their number, 0 if the line is no row. */
static unsigned cells_of(char *line, char *cell[CELLS])
{
    unsigned n = 0;
    char *save = NULL;

    if (line[0] != '|')
        return 0;
    for (char *c = strtok_r(line + 1, "|\n", &save); c && n < CELLS; c = strtok_r(NULL, "|\n", &save)) {
        while (*c == ' ')
            c++;
        for (size_t end = strlen(c); end > 0 && c[end - 1] == ' '; end--)
            c[end - 1] = 0;
        cell[n++] = c;
    }
    return n;
}

typedef void (*row_fn)(char *cell[CELLS]);

/* Calls `row` for each row of the chapter `title`, heads excepted; returns how many there were. */
static unsigned each_row(const char *title, row_fn row)
{
    FILE *f = fopen(TEXT, "r");
    char line[LINE_BYTES], *cell[CELLS];
    bool inside = false;
    unsigned rows = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (!strncmp(line, "## ", 3))
            inside = !strncmp(line + 3, title, strlen(title));
        if (!inside || cells_of(line, cell) < 4 || cell[0][0] < '0' || cell[0][0] > 'F')
            continue;
        row(cell);
        rows++;
    }
    fclose(f);
    return rows;
}

static void exit_row(char *cell[CELLS])
{
    static const char *const classes[] = {
        [EXIT_CLASS_DETERMINISTIC] = "deterministic",
        [EXIT_CLASS_TIME] = "time",
        [EXIT_CLASS_END] = "end",
        [EXIT_CLASS_CUT] = "cut",
        [EXIT_CLASS_TRACELESS] = "traceless",
        [EXIT_CLASS_REFUSED] = "refused",
        [EXIT_CLASS_IMPOSSIBLE] = "impossible",
    };
    uint32_t reason = (uint32_t)strtoul(cell[0], NULL, 10);
    struct exit_rule rule = exit_rule(reason);

    assert_int_equal(rule.known, 1);
    assert_string_equal(cell[1], vmx_exit_name(reason));
    assert_string_equal(cell[2], classes[rule.class]);
}

static void exits_are_as_written(void **state)
{
    unsigned known = 0;

    (void)state;
    for (uint32_t reason = 0; reason < VMX_EXIT_REASON_COUNT; reason++)
        known += exit_rule(reason).known;
    assert_int_equal(each_row("VM exits", exit_row), known);
}

/* Total: any number has a rule, and only what is refused or impossible has no handler. */
static void exit_table_is_total(void **state)
{
    static const uint32_t beyond[] = {VMX_EXIT_REASON_COUNT, 1000, 0xFFFF, UINT32_MAX};

    (void)state;
    for (uint32_t reason = 0; reason < VMX_EXIT_REASON_COUNT; reason++) {
        struct exit_rule rule = exit_rule(reason);
        bool handled = rule.class != EXIT_CLASS_REFUSED && rule.class != EXIT_CLASS_IMPOSSIBLE;

        assert_int_equal(rule.handler != EXIT_HANDLE_NONE, handled);
        assert_true(rule.handler < EXIT_HANDLE_COUNT);
        assert_int_equal(rule.known, strcmp(vmx_exit_name(reason), "reserved") != 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
        assert_int_equal(exit_rule(beyond[i]).class, EXIT_CLASS_REFUSED);
        assert_int_equal(exit_rule(beyond[i]).known, 0);
    }
}

static void msr_row(char *cell[CELLS])
{
    static const char *const classes[] = {
        [MSR_CLASS_FAULT] = "#GP",     [MSR_CLASS_PASS] = "passed", [MSR_CLASS_CONTEXT] = "context",
        [MSR_CLASS_STORED] = "stored", [MSR_CLASS_APIC] = "APIC",   [MSR_CLASS_TIME] = "time",
    };
    size_t n;
    const struct msr_rule *rules_of_msrs = msr_rules(&n);
    uint32_t first = (uint32_t)strtoul(cell[0], NULL, 16), i = 0;
    const char *dash = strchr(cell[0], '-');

    while (i < n && rules_of_msrs[i].first != first)
        i++;
    assert_true(i < n);
    assert_int_equal(dash ? strtoul(dash + 1, NULL, 16) : first, rules_of_msrs[i].last);
    assert_string_equal(cell[1], rules_of_msrs[i].name);
    assert_string_equal(cell[2], classes[rules_of_msrs[i].read]);
    assert_string_equal(cell[3], classes[rules_of_msrs[i].write]);
}

static void msrs_are_as_written(void **state)
{
    size_t n;

    (void)state;
    msr_rules(&n);
    assert_int_equal(each_row("MSRs", msr_row), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exits_are_as_written),
        cmocka_unit_test(exit_table_is_total),
        cmocka_unit_test(msrs_are_as_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
