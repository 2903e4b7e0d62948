/* The guest page walk: every mode and page size, rights, broken entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guestmem/walk.h"

#define MEMORY_BYTES 0x20000u

/* Entry bits as the guest writes them. */
enum { P = 1, W = 2, U = 4, PS = 0x80 };
#define XD BIT(63)

#define CR0_PAGING (BIT(31) | BIT(16) | 1) /* PG, WP, PE */
#define CR4_PSE    BIT(4)
#define CR4_PAE    BIT(5)
#define CR4_SMEP   BIT(20)
#define CR4_SMAP   BIT(21)
#define EFER_LONG  (BIT(10) | BIT(8))
#define EFER_NXE   BIT(11)
#define RFLAGS_AC  BIT(18)

/* Page fault error code bits. */
enum { PF_P = 1, PF_WR = 2, PF_US = 4, PF_RSVD = 8, PF_ID = 16 };

struct guest {
    _Alignas(8) uint8_t memory[MEMORY_BYTES];
    struct walk_paging paging;
    struct walk_page page;
    unsigned reads;
};

static struct guest g;

static bool read_memory(void *ctx, uint64_t address, void *buf, size_t bytes)
{
    struct guest *guest = ctx;

    guest->reads++;
    assert_int_equal(address % bytes, 0);
    if (address > MEMORY_BYTES - bytes)
        return false;
    memcpy(buf, guest->memory + address, bytes);
    return true;
}

static enum walk_result walk(uint64_t linear, unsigned access)
{
    return walk_guest(&g.paging, linear, access, read_memory, &g, &g.page);
}

static void put64(uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(g.memory + table + index * 8, &entry, 8);
}

static void put32(uint64_t table, unsigned index, uint32_t entry)
{
    memcpy(g.memory + table + index * 4, &entry, 4);
}

static void reset(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    memset(&g, 0, sizeof(g));
    g.paging = (struct walk_paging){.cr0 = cr0, .cr3 = 0x1000, .cr4 = cr4, .efer = efer, .phys_bits = 39};
}

/* Linear 0x8040201xxx: index 1 on all four levels; tables at 0x1000 to 0x4000. */
#define LINEAR_1111 UINT64_C(0x8040201000)

static void reset_long(void)
{
    reset(CR0_PAGING, CR4_PAE, EFER_LONG | EFER_NXE);
    put64(0x1000, 1, 0x2000 | P | W | U);
    put64(0x2000, 1, 0x3000 | P | W | U);
    put64(0x3000, 1, 0x4000 | P | W | U);
    put64(0x4000, 1, 0x123456000 | P | W | U);
}

static void no_paging(void **state)
{
    (void)state;
    reset(1, 0, 0);
    g.paging.cr0 &= ~BIT(31);
    assert_int_equal(walk(UINT64_C(0xabc12345678), WALK_WRITE | WALK_USER), WALK_OK);
    assert_int_equal(g.page.gpa, 0x12345678);
    assert_int_equal(g.page.size, PAGE_SIZE);
    assert_int_equal(g.reads, 0);
}

static void legacy_4k(void **state)
{
    (void)state;
    reset(CR0_PAGING, 0, 0);
    g.paging.cr3 |= 0x18; /* PWT and PCD are no address */
    put32(0x1000, 0x3ff, 0x2000 | P | W | U);
    put32(0x2000, 0x3ff, 0xfffff000 | P | W);
    assert_int_equal(walk(0xffffffff, WALK_WRITE), WALK_OK);
    assert_int_equal(g.page.gpa, 0xffffffff);
    assert_true(g.page.writable && g.page.executable);
    assert_false(g.page.user);
    assert_int_equal(walk(UINT64_C(0x5ffffffff), WALK_WRITE), WALK_OK); /* only 32 bits count */
    assert_int_equal(walk(0xffffffff, WALK_USER), WALK_DENIED);
    assert_int_equal(g.page.pf_error, PF_P | PF_US);
    assert_int_equal(walk(0xffbff000, WALK_WRITE), WALK_NOT_PRESENT);
    assert_int_equal(g.page.pf_error, PF_WR);
    assert_int_equal(walk(0xffffe000, WALK_READ), WALK_NOT_PRESENT);
}

static void legacy_4m(void **state)
{
    (void)state;
    reset(CR0_PAGING, CR4_PSE, 0);
    put32(0x1000, 1, 0x00c00000 | P | W | PS | 3 << 13);
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, UINT64_C(0x300c12345)); /* bits 33:32 by PSE-36 */
    assert_int_equal(g.page.size, 4u << 20);
    put32(0x1000, 1, 0x00c00000 | P | PS | 1 << 21);
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_RESERVED);
    assert_int_equal(g.page.pf_error, PF_P | PF_RSVD);
    put32(0x1000, 1, 0x00c00000 | P | PS | 1 << 20); /* address bit 39, with 39 address bits */
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_RESERVED);
    g.paging.phys_bits = 46;
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, UINT64_C(0x8000c12345));
    g.paging.phys_bits = 32;
    put32(0x1000, 1, 0x00c00000 | P | PS | 1 << 13);
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_RESERVED);
    g.paging.cr4 = 0; /* without PSE the bit says nothing */
    put32(0x1000, 1, 0x2000 | P | PS);
    put32(0x2000, 0x12, 0x7000 | P);
    assert_int_equal(walk(0x00412345, WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, 0x7345);
}

static void pae(void **state)
{
    (void)state;
    reset(CR0_PAGING, CR4_PAE, 0);
    g.paging.cr3 = 0xdead0000; /* not looked at */
    g.paging.pdpte[3] = 0x2000 | P;
    put64(0x2000, 511, 0x3000 | P | W | U);
    put64(0x3000, 510, UINT64_C(0x7abcdef000) | P | W | U);
    put64(0x2000, 5, UINT64_C(0x7fffe00000) | P | PS);
    assert_int_equal(walk(0xffffe123, WALK_USER | WALK_WRITE), WALK_OK);
    assert_int_equal(g.page.gpa, UINT64_C(0x7abcdef123));
    assert_int_equal(g.page.size, 4096);
    assert_int_equal(walk(0xc0a54321, WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, UINT64_C(0x7fffe54321));
    assert_int_equal(g.page.size, 2u << 20);
    assert_false(g.page.user);
    assert_int_equal(walk(0xbfffffff, WALK_READ), WALK_NOT_PRESENT); /* PDPTE 2 */
    assert_int_equal(g.reads, 3);

    put64(0x3000, 510, 0x5000 | P | XD); /* XD is reserved without NXE */
    assert_int_equal(walk(0xffffe123, WALK_READ), WALK_RESERVED);
    g.paging.efer = EFER_NXE;
    assert_int_equal(walk(0xffffe123, WALK_READ), WALK_OK);
    assert_false(g.page.executable);
    assert_int_equal(walk(0xffffe123, WALK_FETCH), WALK_DENIED);
    assert_int_equal(g.page.pf_error, PF_P | PF_ID);
    put64(0x3000, 510, 0x5000 | P | BIT(52)); /* reserved in PAE, ignored in 4-level */
    assert_int_equal(walk(0xffffe123, WALK_READ), WALK_RESERVED);
    put64(0x2000, 5, 0x2000 | P | PS | BIT(13));
    assert_int_equal(walk(0xc0a54321, WALK_READ), WALK_RESERVED);
}

static void long_4k(void **state)
{
    (void)state;
    reset_long();
    assert_int_equal(walk(LINEAR_1111 + 0xfff, WALK_USER | WALK_WRITE), WALK_OK);
    assert_int_equal(g.page.gpa, 0x123456fff);
    assert_true(g.page.writable && g.page.user && g.page.executable);
    assert_int_equal(g.reads, 4);
    put64(0x4000, 1, 0x123456000 | P | BIT(52) | BIT(62) | PS); /* ignored bits; PS is PAT here */
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_OK);
    put64(0x4000, 1, BIT(39) | P);
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
    reset_long();
    put64(0x1000, 1, 0x2000 | P | PS); /* no 512 GiB pages */
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
}

static void long_high_half(void **state)
{
    (void)state;
    reset_long();
    put64(0x1000, 511, 0x2000 | P | W);
    put64(0x2000, 511, 0x3000 | P | W);
    put64(0x3000, 511, 0x4000 | P | W);
    put64(0x4000, 511, 0x9000 | P | W);
    assert_int_equal(walk(UINT64_C(0xffffffffffffffff), WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, 0x9fff);
    assert_int_equal(walk(UINT64_C(0x0000ffffffffffff), WALK_READ), WALK_NOT_CANONICAL);
    assert_int_equal(walk(UINT64_C(0x0000800000000000), WALK_READ), WALK_NOT_CANONICAL);
    assert_int_equal(walk(UINT64_C(0xffff7fffffffffff), WALK_READ), WALK_NOT_CANONICAL);
    assert_int_equal(walk(UINT64_C(0xfffeffffffffffff), WALK_READ), WALK_NOT_CANONICAL);
    assert_int_equal(walk(UINT64_C(0x00007fffffffffff), WALK_READ), WALK_NOT_PRESENT);
}

static void long_large_pages(void **state)
{
    (void)state;
    reset_long();
    put64(0x3000, 1, 0x123400000 | P | W | U | PS | BIT(12)); /* bit 12 is PAT */
    assert_int_equal(walk(LINEAR_1111, WALK_USER), WALK_OK);
    assert_int_equal(g.page.gpa, 0x123401000);
    assert_int_equal(g.page.size, 2u << 20);
    put64(0x3000, 1, 0x123402000 | P | PS);
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
    put64(0x2000, 1, UINT64_C(0x4040000000) | P | W | U | PS);
    assert_int_equal(walk(LINEAR_1111 + 5, WALK_READ), WALK_OK);
    assert_int_equal(g.page.gpa, UINT64_C(0x4040201005));
    assert_int_equal(g.page.size, 1u << 30);
    put64(0x2000, 1, UINT64_C(0x4040200000) | P | PS);
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
}

static void each_level_can_fail(void **state)
{
    static const uint64_t table[] = {0x1000, 0x2000, 0x3000, 0x4000};

    (void)state;
    for (unsigned level = 0; level < ARRAY_LEN(table); level++) {
        reset_long();
        put64(table[level], 1, 0x5000 | W | U);
        assert_int_equal(walk(LINEAR_1111, WALK_FETCH | WALK_USER), WALK_NOT_PRESENT);
        assert_int_equal(g.page.pf_error, PF_US | PF_ID);
        assert_int_equal(g.reads, level + 1);
        put64(table[level], 1, 0x5000 | P | W | U | BIT(51));
        assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
        if (level == 3)
            continue;
        put64(table[level], 1, MEMORY_BYTES | P | W | U);
        assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_BEYOND_MEMORY);
    }
    reset_long();
    g.paging.cr3 = UINT64_C(0x000ffffffffff000);
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_BEYOND_MEMORY);
    reset(CR0_PAGING, 0, 0);
    g.paging.cr3 = 0xfffff000;
    assert_int_equal(walk(0, WALK_READ), WALK_BEYOND_MEMORY);
    g.paging.cr3 = 0x1000;
    put32(0x1000, 0, 0xfffff000 | P);
    assert_int_equal(walk(0, WALK_READ), WALK_BEYOND_MEMORY);
    put32(0x1000, 0, 0x2000);
    assert_int_equal(walk(0, WALK_READ), WALK_NOT_PRESENT);
}

/* Rights of a leaf, and what registers make of them (SDM 3A 5.6.1). */
struct rights_case {
    uint64_t leaf;   /* rights bits of the leaf; upper levels allow all */
    uint64_t cr0_wp; /* 0: CR0.WP is cleared */
    uint64_t cr4;
    uint64_t rflags;
    unsigned access;
    enum walk_result result;
    uint32_t pf_error;
};

static const struct rights_case rights_cases[] = {
    {0, 1, 0, 0, WALK_READ, WALK_OK, 0},
    {0, 1, 0, 0, WALK_WRITE, WALK_DENIED, PF_P | PF_WR},
    {0, 0, 0, 0, WALK_WRITE, WALK_OK, 0},
    {W, 1, 0, 0, WALK_WRITE, WALK_OK, 0},
    {W, 1, 0, 0, WALK_USER, WALK_DENIED, PF_P | PF_US},
    {W, 1, 0, 0, WALK_USER | WALK_FETCH, WALK_DENIED, PF_P | PF_US | PF_ID},
    {U, 1, 0, 0, WALK_USER, WALK_OK, 0},
    {U, 1, 0, 0, WALK_USER | WALK_WRITE, WALK_DENIED, PF_P | PF_US | PF_WR},
    {U, 0, 0, 0, WALK_USER | WALK_WRITE, WALK_DENIED, PF_P | PF_US | PF_WR},
    {U | W, 1, 0, 0, WALK_USER | WALK_WRITE, WALK_OK, 0},
    {U | XD, 1, 0, 0, WALK_USER | WALK_FETCH, WALK_DENIED, PF_P | PF_US | PF_ID},
    {XD, 1, 0, 0, WALK_FETCH, WALK_DENIED, PF_P | PF_ID},
    {XD, 1, 0, 0, WALK_READ, WALK_OK, 0},
    {U, 1, 0, 0, WALK_FETCH, WALK_OK, 0},
    {U, 1, CR4_SMEP, 0, WALK_FETCH, WALK_DENIED, PF_P | PF_ID},
    {0, 1, CR4_SMEP, 0, WALK_FETCH, WALK_OK, 0},
    {U, 1, CR4_SMEP, 0, WALK_FETCH | WALK_USER, WALK_OK, 0},
    {U | W, 1, CR4_SMAP, 0, WALK_READ, WALK_DENIED, PF_P},
    {U | W, 1, CR4_SMAP, RFLAGS_AC, WALK_READ, WALK_OK, 0},
    {U | W, 1, CR4_SMAP, RFLAGS_AC, WALK_READ | WALK_IMPLICIT, WALK_DENIED, PF_P},
    {U | W, 1, CR4_SMAP, 0, WALK_WRITE | WALK_USER, WALK_OK, 0},
    {U, 0, CR4_SMAP, 0, WALK_WRITE, WALK_DENIED, PF_P | PF_WR},
    {W, 1, CR4_SMAP, 0, WALK_WRITE, WALK_OK, 0},
    {U, 1, CR4_SMAP, 0, WALK_FETCH, WALK_OK, 0},
    {XD, 1, 0, 0, WALK_USER | WALK_WRITE | WALK_ANY_RIGHTS, WALK_OK, 0},
};

static void rights(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rights_cases); i++) {
        const struct rights_case *c = &rights_cases[i];

        reset_long();
        put64(0x4000, 1, 0x9000 | P | c->leaf);
        g.paging.cr0 = c->cr0_wp != 0 ? CR0_PAGING : CR0_PAGING & ~BIT(16);
        g.paging.cr4 |= c->cr4;
        g.paging.rflags = c->rflags;
        if (walk(LINEAR_1111, c->access) != c->result)
            fail_msg("case %u", i);
        if (c->result != WALK_OK && g.page.pf_error != c->pf_error)
            fail_msg("case %u: error code %x", i, g.page.pf_error);
    }
}

/* A right is given only if every level gives it. */
static void rights_are_joined(void **state)
{
    static const uint64_t table[] = {0x1000, 0x2000, 0x3000, 0x4000};

    (void)state;
    for (unsigned level = 0; level < ARRAY_LEN(table); level++) {
        uint64_t next = level < 3 ? table[level + 1] : 0x9000;

        reset_long();
        put64(table[level], 1, next | P | U);
        assert_int_equal(walk(LINEAR_1111, WALK_WRITE), WALK_DENIED);
        put64(table[level], 1, next | P | W);
        assert_int_equal(walk(LINEAR_1111, WALK_USER), WALK_DENIED);
        put64(table[level], 1, next | P | W | U | XD);
        assert_int_equal(walk(LINEAR_1111, WALK_FETCH), WALK_DENIED);
        g.paging.efer = EFER_LONG;
        assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_RESERVED);
    }
}

static void instruction_bit_of_the_error_code(void **state)
{
    (void)state;
    reset(CR0_PAGING, 0, EFER_NXE); /* 32-bit paging has no XD: the bit needs SMEP */
    assert_int_equal(walk(0, WALK_FETCH), WALK_NOT_PRESENT);
    assert_int_equal(g.page.pf_error, 0);
    g.paging.cr4 = CR4_SMEP;
    assert_int_equal(walk(0, WALK_FETCH), WALK_NOT_PRESENT);
    assert_int_equal(g.page.pf_error, PF_ID);
}

static void unsupported(void **state)
{
    (void)state;
    reset_long();
    g.paging.cr4 |= BIT(12);
    assert_int_equal(walk(LINEAR_1111, WALK_READ), WALK_UNSUPPORTED);
    assert_int_equal(g.reads, 0);
    for (unsigned r = WALK_OK; r <= WALK_UNSUPPORTED; r++)
        assert_string_not_equal(walk_result_name(r), "unknown");
    assert_string_equal(walk_result_name(WALK_UNSUPPORTED + 1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_paging),
        cmocka_unit_test(legacy_4k),
        cmocka_unit_test(legacy_4m),
        cmocka_unit_test(pae),
        cmocka_unit_test(long_4k),
        cmocka_unit_test(long_high_half),
        cmocka_unit_test(long_large_pages),
        cmocka_unit_test(each_level_can_fail),
        cmocka_unit_test(rights),
        cmocka_unit_test(rights_are_joined),
        cmocka_unit_test(instruction_bit_of_the_error_code),
        cmocka_unit_test(unsupported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
