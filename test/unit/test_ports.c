/* The guest's port map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/ports.h"

static struct vports fresh(void)
{
    struct vports p;

    memset(&p, 0xAA, sizeof(p));
    vports_reset(&p);
    return p;
}

static struct vports_effect out(struct vports *p, uint16_t port, uint32_t size, uint32_t value)
{
    struct vports_effect e;

    memset(&e, 0xAA, sizeof(e));
    vports_out(p, port, size, value, &e);
    return e;
}

static void test_console(void **state)
{
    struct vports p = fresh();
    struct vports_effect e = out(&p, 0x3F8, 1, 0x12345641);

    (void)state;
    assert_int_equal(e.kind, VPORTS_CONSOLE);
    assert_int_equal(e.value, 0x41);
    assert_int_equal(out(&p, 0x3FB, 1, 3).kind, VPORTS_NONE);
    assert_int_equal(vports_in(&p, 0x3FB, 1), 3);
    assert_int_equal(vports_in(&p, 0x3FD, 1), 0x60);
    assert_true(vports_receive(&p, 'k'));
    assert_int_equal(vports_in(&p, 0x3FD, 1), 0x61);
    assert_int_equal(vports_in(&p, 0x3F8, 1), 'k');
    assert_int_equal(p.unknown_reads + p.unknown_writes, 0);
}

static void test_exit_sizes(void **state)
{
    static const uint32_t rows[][2] = {{1, 0xEF}, {2, 0xBEEF}, {4, 0xDEADBEEF}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vports p = fresh();
        struct vports_effect e = out(&p, 0x501, rows[i][0], 0xDEADBEEF);

        assert_int_equal(e.kind, VPORTS_EXIT);
        assert_int_equal(e.value, rows[i][1]);
        assert_int_equal(p.exited, 1);
        assert_int_equal(p.exit_status, rows[i][1]);
        assert_int_equal(out(&p, 0x501, 4, 7).kind, VPORTS_NONE); /* only the first counts */
        assert_int_equal(p.exit_status, rows[i][1]);
        assert_int_equal(p.unknown_writes, 0);
    }
}

static void test_unknown_ports(void **state)
{
    struct vports p = fresh();

    (void)state;
    for (uint32_t port = 0; port <= 0xFFFF; port++) {
        if (port >= 0x3F8 && port < 0x400)
            continue;
        assert_int_equal(vports_in(&p, (uint16_t)port, 1), 0xFF);
        if (port != 0x501)
            assert_int_equal(out(&p, (uint16_t)port, 1, 0xFF).kind, VPORTS_NONE);
    }
    assert_int_equal(p.unknown_reads, 0x10000 - 9);
    assert_int_equal(p.unknown_writes, 0x10000 - 9);
    assert_int_equal(p.exited, 0);
    assert_int_equal(vports_in(&p, 0xCFC, 4), 0xFFFFFFFF);
    assert_int_equal(vports_in(&p, 0xCF8, 2), 0xFFFF);
    assert_int_equal(vports_in(&p, 0x501, 4), 0xFFFFFFFF);
}

static void test_wide_accesses(void **state)
{
    struct vports p = fresh();
    struct vports_effect e;

    (void)state;
    out(&p, 0x3FF, 1, 0x77);
    assert_int_equal(vports_in(&p, 0x3FE, 4), 0xFFFF77B0); /* MSR, SCR, nothing, nothing */
    assert_int_equal(vports_in(&p, 0x3F6, 4), 0x0000FFFF); /* nothing, nothing, RBR, IER */
    e = out(&p, 0x3F7, 2, 0x5A00);                         /* the second byte is the data register */
    assert_int_equal(e.kind, VPORTS_CONSOLE);
    assert_int_equal(e.value, 0x5A);
    assert_int_equal(vports_in(&p, 0xFFFF, 4), 0xFFFFFFFF);
    assert_int_equal(out(&p, 0xFFFF, 4, 0).kind, VPORTS_NONE);
    assert_int_equal(out(&p, 0x4FF, 4, 0).kind, VPORTS_NONE); /* straddling the exit port is no exit */
    assert_int_equal(p.exited, 0);
}

static void test_bad_sizes(void **state)
{
    static const uint32_t sizes[] = {0, 3, 5, 8, UINT32_MAX};
    struct vports p = fresh(), before = p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(vports_in(&p, 0x3F8, sizes[i]), 0);
        assert_int_equal(out(&p, 0x501, sizes[i], 1).kind, VPORTS_NONE);
    }
    assert_memory_equal(&p, &before, sizeof(p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_console),       cmocka_unit_test(test_exit_sizes),
        cmocka_unit_test(test_unknown_ports), cmocka_unit_test(test_wide_accesses),
        cmocka_unit_test(test_bad_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
