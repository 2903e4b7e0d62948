/* Views: entries as the manual has them, the harvest, and when INVEPT is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ept/view.h"
#include "test/fake/tlb.h"

#define MIB         (UINT64_C(1) << 20)
#define GUEST_BYTES (6 * MIB + 3 * PAGE_SIZE) /* four page tables, the last one short */
#define PAGES       ((uint32_t)(GUEST_BYTES / PAGE_SIZE))
#define FRAME(n)    hpa(UINT64_C(0x100000000) + (uint64_t)(n)*PAGE_SIZE)

struct fixture {
    void *tables;
    struct ept_view view;
    struct faketlb tlb;
    uint32_t page[PAGES];
    struct ept_harvest out;
};

static bool wide; /* harvests use AVX2 */

static struct fixture *make(uint64_t guest_bytes)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->tables = aligned_alloc(PAGE_SIZE, ept_view_bytes(guest_bytes));
    memset(f->tables, 0xa5, ept_view_bytes(guest_bytes));
    ept_view_init(&f->view, f->tables, guest_bytes, 0);
    faketlb_init(&f->tlb, (uint32_t)(guest_bytes / PAGE_SIZE), 0);
    f->out.page = f->page;
    f->out.capacity = PAGES;
    f->out.wide = wide;
    return f;
}

static int setup(void **state)
{
    *state = make(GUEST_BYTES);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    faketlb_free(&f->tlb);
    free(f->tables);
    free(f);
    return 0;
}

static enum faketlb_result go(struct fixture *f, uint32_t gpn, enum faketlb_access access)
{
    return faketlb_access(&f->tlb, ept_eptp(&f->view), gpn, access, NULL);
}

static uint64_t frame_seen(struct fixture *f, uint32_t gpn, enum faketlb_access access)
{
    uint64_t frame = 0;

    assert_int_equal(faketlb_access(&f->tlb, ept_eptp(&f->view), gpn, access, &frame), FAKETLB_OK);
    return frame;
}

/* What the run loop does before an entry. */
static void invept_if_due(struct fixture *f)
{
    if (f->view.needs_invept)
        faketlb_invept(&f->tlb, ept_eptp(&f->view));
    ept_invalidated(&f->view);
}

static void map_all(struct fixture *f)
{
    for (uint32_t gpn = 0; gpn < f->view.pages; gpn++)
        ept_map(&f->view, gpn, FRAME(gpn), false);
    invept_if_due(f);
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(ept_view_bytes(PAGE_SIZE), 4 * PAGE_SIZE);
    assert_int_equal(ept_view_bytes(2 * MIB), 4 * PAGE_SIZE);
    assert_int_equal(ept_view_bytes(2 * MIB + PAGE_SIZE), 5 * PAGE_SIZE);
    assert_int_equal(ept_view_bytes(1024 * MIB), (3 + 512) * PAGE_SIZE);
    assert_int_equal(ept_view_bytes(EPT_MAX_GUEST_BYTES), (2 + 3 + 1536) * PAGE_SIZE);
    assert_int_equal(ept_run_bytes(1024 * MIB + 2 * MIB), 4 * PAGE_SIZE);
}

static void entries_as_in_the_manual(void **state)
{
    struct fixture *f = *state;
    uint64_t root = (uint64_t)(uintptr_t)f->tables;

    assert_true(f->view.needs_invept);
    assert_int_equal(ept_eptp(&f->view), root | 0x5e);
    assert_int_equal(f->view.pml4[0], (root + PAGE_SIZE) | 7);
    assert_int_equal(f->view.pml4[1], 0);
    assert_int_equal(f->view.pdpt[0], (root + 2 * PAGE_SIZE) | 7);
    assert_int_equal(f->view.pd[3], (root + 6 * PAGE_SIZE) | 7);
    assert_int_equal(f->view.pd[4], 0);
    ept_map(&f->view, 1, hpa(0x1234567000), false);
    assert_int_equal(f->view.leaf[1], 0x1234567000 | 0x75); /* R, X, type 6, ignore PAT */
    ept_map(&f->view, PAGES - 1, hpa(0x7000), true);
    assert_int_equal(f->view.leaf[PAGES - 1], 0x7000 | 0x77);
    assert_int_equal(f->view.leaf[0], 0);
}

static void physical_offset(void **state)
{
    struct fixture *f = *state;
    const uint64_t offset = UINT64_C(0x10000000);
    uint64_t frame = 0;

    ept_view_init(&f->view, f->tables, GUEST_BYTES, offset);
    assert_int_equal(ept_eptp(&f->view), ((uint64_t)(uintptr_t)f->tables + offset) | 0x5e);
    f->tlb.phys_offset = offset;
    ept_map(&f->view, 700, FRAME(1), true);
    assert_int_equal(faketlb_access(&f->tlb, ept_eptp(&f->view), 700, FAKETLB_WRITE, &frame), FAKETLB_OK);
    assert_int_equal(frame, FRAME(1).raw);
}

static void rights(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(go(f, 5, FAKETLB_READ), FAKETLB_VIOLATION);
    assert_false(ept_present(&f->view, 5));
    assert_int_equal(ept_hpa(&f->view, 5).raw, 0);
    ept_map(&f->view, 5, FRAME(9), false);
    assert_true(ept_present(&f->view, 5));
    assert_false(ept_writable(&f->view, 5));
    assert_int_equal(ept_hpa(&f->view, 5).raw, FRAME(9).raw);
    assert_int_equal(frame_seen(f, 5, FAKETLB_READ), FRAME(9).raw);
    assert_int_equal(frame_seen(f, 5, FAKETLB_FETCH), FRAME(9).raw);
    assert_int_equal(go(f, 5, FAKETLB_WRITE), FAKETLB_VIOLATION);
    ept_make_writable(&f->view, 5);
    assert_true(ept_writable(&f->view, 5));
    assert_true(ept_accessed(&f->view, 5));
    assert_int_equal(frame_seen(f, 5, FAKETLB_WRITE), FRAME(9).raw);
    assert_true(ept_dirty(&f->view, 5));
    assert_int_equal(go(f, PAGES, FAKETLB_READ), FAKETLB_VIOLATION);
    assert_int_equal(go(f, 0xfee00, FAKETLB_READ), FAKETLB_VIOLATION);
}

static void invept_due(void **state)
{
    struct fixture *f = *state;
    struct ept_view *view = &f->view;

    ept_invalidated(view);
    ept_map(view, 3, FRAME(1), false);
    assert_false(view->needs_invept); /* was not present */
    ept_map(view, 3, FRAME(2), false);
    assert_false(view->needs_invept); /* present, but never used */
    assert_int_equal(view->maps, 2);
    assert_int_equal(view->quiet_remaps, 1);

    go(f, 3, FAKETLB_READ);
    ept_make_writable(view, 3);
    assert_false(view->needs_invept); /* rights grew */
    ept_make_readonly(view, 3);
    assert_true(view->needs_invept); /* rights shrank */
    ept_invalidated(view);
    ept_make_readonly(view, 3);
    assert_false(view->needs_invept);
    ept_map(view, 3, FRAME(2), false);
    assert_true(view->needs_invept); /* the A bit was cleared */
    ept_invalidated(view);
    go(f, 3, FAKETLB_READ);
    view->leaf[3] |= EPT_A;
    ept_make_private(view, 3, FRAME(4));
    assert_true(view->needs_invept); /* another frame */
    ept_invalidated(view);
    ept_unmap(view, 3);
    assert_true(view->needs_invept);
    ept_invalidated(view);
    ept_unmap(view, 3);
    assert_false(view->needs_invept);
}

/* A page read, then written: the read stays known if the chunk ends before the store runs again. */
static void private_copy_keeps_bits(void **state)
{
    struct fixture *f = *state;

    map_all(f);
    go(f, 8, FAKETLB_READ);
    assert_int_equal(go(f, 8, FAKETLB_WRITE), FAKETLB_VIOLATION);
    ept_make_private(&f->view, 8, FRAME(1000));
    invept_if_due(f);
    assert_int_equal(ept_harvest(&f->view, &f->out), 1);
    assert_int_equal(f->page[0], 8);
    invept_if_due(f);
    assert_int_equal(frame_seen(f, 8, FAKETLB_WRITE), FRAME(1000).raw);
    assert_int_equal(ept_harvest(&f->view, &f->out), 1);
    assert_int_equal(f->page[0], 8 | EPT_PAGE_DIRTY);
}

static void harvest_finds_and_clears(void **state)
{
    struct fixture *f = *state;
    const uint32_t read[] = {0, 7, 8, 511, 1536, PAGES - 1};

    map_all(f);
    assert_int_equal(ept_harvest(&f->view, &f->out), 0);
    assert_false(f->view.needs_invept);
    for (unsigned i = 0; i < ARRAY_LEN(read); i++)
        go(f, read[i], FAKETLB_READ);
    assert_int_equal(go(f, 8, FAKETLB_WRITE), FAKETLB_VIOLATION);
    ept_make_writable(&f->view, 8);
    assert_int_equal(go(f, 8, FAKETLB_WRITE), FAKETLB_OK);
    assert_int_equal(ept_harvest(&f->view, &f->out), ARRAY_LEN(read));
    assert_int_equal(f->out.tables, 2); /* tables 1 and 2 of 4 were not used */
    assert_false(f->out.full);
    for (unsigned i = 0; i < ARRAY_LEN(read); i++) {
        assert_int_equal(f->page[i], read[i] | (read[i] == 8 ? EPT_PAGE_DIRTY : 0));
        assert_false(ept_accessed(&f->view, read[i]));
        assert_false(ept_dirty(&f->view, read[i]));
        assert_int_equal(ept_hpa(&f->view, read[i]).raw, FRAME(read[i]).raw);
    }
    assert_true(f->view.needs_invept);
    assert_int_equal(f->view.pml4[0] & EPT_A, 0);
    assert_int_equal(f->view.pdpt[0] & EPT_A, 0);
    assert_int_equal(f->view.pd[0] & EPT_A, 0);
    invept_if_due(f);
    assert_int_equal(ept_harvest(&f->view, &f->out), 0);
    assert_int_equal(f->out.tables, 0);
}

static void harvest_goes_on_when_full(void **state)
{
    struct fixture *f = *state;
    uint32_t found = 0;

    map_all(f);
    for (uint32_t gpn = 0; gpn < PAGES; gpn += 3)
        go(f, gpn, FAKETLB_READ);
    f->out.capacity = 10;
    do {
        ept_harvest(&f->view, &f->out);
        assert_true(f->view.needs_invept);
        for (uint32_t i = 0; i < f->out.count; i++, found++)
            assert_int_equal(f->page[i], found * 3);
    } while (f->out.full);
    assert_int_equal(found, (PAGES + 2) / 3);
    assert_int_equal(f->view.pml4[0] & EPT_A, 0);
}

static void touch_joins_the_sets(void **state)
{
    struct fixture *f = *state;

    map_all(f);
    ept_touch(&f->view, 600, false);
    ept_touch(&f->view, 20, true);
    assert_false(f->view.needs_invept);
    assert_int_equal(ept_harvest(&f->view, &f->out), 2);
    assert_int_equal(f->page[0], 20 | EPT_PAGE_DIRTY);
    assert_int_equal(f->page[1], 600);
}

/* Forgotten after a harvest: the next access of the page goes unseen. */
static void omitted_invept_after_harvest_is_caught(void **state)
{
    struct fixture *f = *state;

    map_all(f);
    go(f, 40, FAKETLB_READ);
    ept_harvest(&f->view, &f->out);
    go(f, 40, FAKETLB_READ);
    assert_int_equal(ept_harvest(&f->view, &f->out), 0); /* the fake shows the mistake */

    faketlb_invept(&f->tlb, ept_eptp(&f->view));
    go(f, 40, FAKETLB_READ);
    assert_int_equal(ept_harvest(&f->view, &f->out), 1);

    /* A page table's remembered pointer hides even a page never used before. */
    go(f, 41, FAKETLB_READ);
    assert_int_equal(ept_harvest(&f->view, &f->out), 0);
}

/* Forgotten after another frame was put in place: the guest goes on in the old one. */
static void omitted_invept_after_remap_is_caught(void **state)
{
    struct fixture *f = *state;

    map_all(f);
    go(f, 40, FAKETLB_READ);
    ept_map(&f->view, 40, FRAME(2000), false);
    assert_int_equal(frame_seen(f, 40, FAKETLB_READ), FRAME(40).raw); /* the fake shows the mistake */
    invept_if_due(f);
    assert_int_equal(frame_seen(f, 40, FAKETLB_READ), FRAME(2000).raw);
    ept_unmap(&f->view, 40);
    assert_int_equal(go(f, 40, FAKETLB_READ), FAKETLB_OK);
    invept_if_due(f);
    assert_int_equal(go(f, 40, FAKETLB_READ), FAKETLB_VIOLATION);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* What the random test below expects. */
struct expected {
    uint64_t frame;
    bool present, writable, accessed, dirty;
};

static void random_access(struct fixture *f, struct expected *all, uint32_t gpn, uint32_t *seed)
{
    enum faketlb_access access = next_random(seed) % 3;
    struct expected *e = &all[gpn];
    uint64_t frame = 0;
    enum faketlb_result result = faketlb_access(&f->tlb, ept_eptp(&f->view), gpn, access, &frame);

    if (!e->present || (access == FAKETLB_WRITE && !e->writable)) {
        assert_int_equal(result, FAKETLB_VIOLATION);
        return;
    }
    assert_int_equal(result, FAKETLB_OK);
    assert_int_equal(frame, e->frame);
    e->accessed = true;
    e->dirty = e->dirty || access == FAKETLB_WRITE;
}

static void random_change(struct fixture *f, struct expected *all, uint32_t gpn, uint32_t *seed)
{
    hpa_t frame = FRAME(next_random(seed) % 10000);
    struct expected *e = &all[gpn];
    uint32_t what = next_random(seed) % 5;

    if (what == 0) {
        e->writable = next_random(seed) % 2 != 0;
        ept_map(&f->view, gpn, frame, e->writable);
        e->frame = frame.raw;
        e->present = true;
        e->accessed = e->dirty = false;
    } else if (what == 1) {
        ept_unmap(&f->view, gpn);
        *e = (struct expected){0};
    } else if (e->present && what == 2) {
        ept_make_private(&f->view, gpn, frame);
        e->frame = frame.raw;
        e->writable = true;
    } else if (e->present && what == 3) {
        ept_make_writable(&f->view, gpn);
        e->writable = true;
    } else if (e->present) {
        ept_make_readonly(&f->view, gpn);
        e->writable = false;
    }
}

static void check_harvest(struct fixture *f, struct expected *all)
{
    uint32_t at = 0;

    ept_harvest(&f->view, &f->out);
    for (uint32_t gpn = 0; gpn < PAGES; gpn++) {
        if (!all[gpn].accessed)
            continue;
        assert_true(at < f->out.count);
        assert_int_equal(f->page[at++], gpn | (all[gpn].dirty ? EPT_PAGE_DIRTY : 0));
        all[gpn].accessed = all[gpn].dirty = false;
    }
    assert_int_equal(at, f->out.count);
}

/* needs_invept is set wherever it must be: whatever is done, INVEPT only when it is due suffices. Two
 * rules of real use: a violation may be answered from what was remembered before rights grew, so the
 * fake forgets the page then; and pages that were accessed are known to the last one. */
static void invept_when_due_suffices(void **state)
{
    struct fixture *f = *state;
    struct expected *all = calloc(PAGES, sizeof(*all));
    uint32_t seed = 7;

    for (unsigned round = 0; round < 60000; round++) {
        uint32_t gpn = next_random(&seed) % 3 * 512 + next_random(&seed) % 12;
        uint32_t what = next_random(&seed) % 32;
        bool grew = all[gpn].present && !all[gpn].writable;

        if (what < 24) {
            random_access(f, all, gpn, &seed);
        } else if (what < 31) {
            random_change(f, all, gpn, &seed);
            if (grew && all[gpn].writable)
                faketlb_evict(&f->tlb, ept_eptp(&f->view), gpn);
        } else {
            check_harvest(f, all);
        }
        invept_if_due(f);
    }
    assert_true(f->tlb.hits > 1000);
    assert_true(f->view.quiet_remaps > 100);
    free(all);
}

static void mode_run(void **state)
{
    const uint64_t bytes = 1024 * MIB + 4 * MIB;
    uint64_t *tables = aligned_alloc(PAGE_SIZE, ept_run_bytes(bytes));
    struct faketlb tlb;
    uint64_t frame = 0;
    uint64_t eptp = ept_run_init(tables, bytes, 0, hpa(64 * MIB));
    uint32_t last = (uint32_t)(bytes / PAGE_SIZE) - 1;

    (void)state;
    faketlb_init(&tlb, last + 1024, 0);
    assert_int_equal(eptp, (uint64_t)(uintptr_t)tables | 0x1e);
    assert_int_equal(tables[2 * EPT_ENTRIES], (64 * MIB) | 0xf7);
    assert_int_equal(faketlb_access(&tlb, eptp, 5, FAKETLB_WRITE, &frame), FAKETLB_OK);
    assert_int_equal(frame, 64 * MIB + 5 * PAGE_SIZE);
    assert_int_equal(faketlb_access(&tlb, eptp, last, FAKETLB_FETCH, &frame), FAKETLB_OK);
    assert_int_equal(frame, 64 * MIB + bytes - PAGE_SIZE);
    assert_int_equal(faketlb_access(&tlb, eptp, last + 1, FAKETLB_READ, NULL), FAKETLB_VIOLATION);
    assert_int_equal(tables[2 * EPT_ENTRIES], (64 * MIB) | 0xf7); /* no A or D bit set */
    faketlb_free(&tlb);
    free(tables);
}

/*
 * Page-modification logging: each page once, in the order of the writes, downwards; a harvest finds the same
 * as by D bits. A full log lets nothing in that would set a bit, and is left at index FFFFH.
 */
static void writes_logged(void **state)
{
    struct fixture *f = *state;
    uint64_t log[512], index = 511;
    uint32_t written[PAGES], found[4] = {3, 5 | EPT_PAGE_DIRTY, 9 | EPT_PAGE_DIRTY, 700 | EPT_PAGE_DIRTY};

    ept_log_writes(&f->view, written);
    f->tlb.log = (struct faketlb_log){.page = log, .index = &index, .room = 512};
    for (uint32_t gpn = 0; gpn < 700; gpn++)
        ept_map(&f->view, gpn, hpa((uint64_t)(gpn + 16) * PAGE_SIZE), true);
    ept_map(&f->view, 700, hpa(PAGE_SIZE), true);
    invept_if_due(f);
    go(f, 9, FAKETLB_WRITE);
    go(f, 3, FAKETLB_READ);
    go(f, 5, FAKETLB_READ);
    go(f, 5, FAKETLB_WRITE);
    go(f, 9, FAKETLB_WRITE);
    assert_int_equal(index, 509);
    assert_int_equal(log[511], 9 * PAGE_SIZE);
    assert_int_equal(log[510], 5 * PAGE_SIZE);
    ept_touch(&f->view, 700, true);
    ept_touch(&f->view, 700, true);
    ept_touch(&f->view, 3, false);
    assert_int_equal(go(f, 700, FAKETLB_WRITE), FAKETLB_OK); /* D is set: nothing to log */
    assert_int_equal(index, 509);
    ept_note_written(&f->view, 9);
    ept_note_written(&f->view, 5);
    assert_int_equal(ept_harvest(&f->view, &f->out), 4);
    assert_memory_equal(f->page, found, sizeof(found));
    assert_int_equal(f->view.leaf[9] & (EPT_A | EPT_D), 0);
    assert_true(f->view.needs_invept);
    invept_if_due(f);
    assert_int_equal(ept_harvest(&f->view, &f->out), 0); /* the log was emptied, too */

    index = 511;
    for (uint32_t gpn = 0; gpn < 512; gpn++)
        assert_int_equal(go(f, gpn, FAKETLB_WRITE), FAKETLB_OK);
    assert_int_equal(index, 0xffff);
    assert_int_equal(log[0], 511 * PAGE_SIZE);
    assert_int_equal(go(f, 512, FAKETLB_WRITE), FAKETLB_LOG_FULL);
    assert_int_equal(go(f, 512, FAKETLB_READ), FAKETLB_LOG_FULL);
    assert_int_equal(go(f, 511, FAKETLB_WRITE), FAKETLB_OK);
    assert_int_equal(f->view.leaf[512] & (EPT_A | EPT_D), 0);
    index = 511;
    assert_int_equal(go(f, 512, FAKETLB_WRITE), FAKETLB_OK);
    assert_int_equal(log[511], 512 * PAGE_SIZE);
}

/* The fake itself: bad entries are misconfigurations. */
static void fake_sees_misconfigurations(void **state)
{
    struct fixture *f = *state;

    f->view.leaf[1] = 0x1000 | EPT_W;
    assert_int_equal(go(f, 1, FAKETLB_READ), FAKETLB_MISCONFIG);
    f->view.leaf[2] = 0x1000 | EPT_R | 2 << EPT_MEMTYPE_SHIFT;
    assert_int_equal(go(f, 2, FAKETLB_READ), FAKETLB_MISCONFIG);
    f->view.pdpt[0] |= EPT_LEAF;
    assert_int_equal(go(f, 3, FAKETLB_READ), FAKETLB_MISCONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test_setup_teardown(entries_as_in_the_manual, setup, teardown),
        cmocka_unit_test_setup_teardown(physical_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(rights, setup, teardown),
        cmocka_unit_test_setup_teardown(invept_due, setup, teardown),
        cmocka_unit_test_setup_teardown(private_copy_keeps_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(harvest_finds_and_clears, setup, teardown),
        cmocka_unit_test_setup_teardown(harvest_goes_on_when_full, setup, teardown),
        cmocka_unit_test_setup_teardown(touch_joins_the_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_logged, setup, teardown),
        cmocka_unit_test_setup_teardown(omitted_invept_after_harvest_is_caught, setup, teardown),
        cmocka_unit_test_setup_teardown(omitted_invept_after_remap_is_caught, setup, teardown),
        cmocka_unit_test_setup_teardown(invept_when_due_suffices, setup, teardown),
        cmocka_unit_test(mode_run),
        cmocka_unit_test_setup_teardown(fake_sees_misconfigurations, setup, teardown),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    wide = __builtin_cpu_supports("avx2");
    return failed + (wide ? cmocka_run_group_tests(tests, NULL, NULL) : 0);
}
