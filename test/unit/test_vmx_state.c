/* The table of the guest state: complete, without overlap, and its VMCS fields fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "vmx/fields.h"
#include "vmx/guest_state.h"
#include "vmx/msr_bitmap.h"

static void every_byte_once(void **state)
{
    uint8_t covered[sizeof(struct vmx_guest_state)] = {0};

    (void)state;
    for (size_t i = 0; i < vmx_guest_field_count; i++) {
        const struct vmx_field_map *map = &vmx_guest_fields[i];

        assert_true(map->width == 4 || map->width == 8);
        assert_true(map->offset + map->width <= sizeof(covered));
        for (unsigned j = 0; j < map->width; j++) {
            covered[map->offset + j]++;
        }
        if (i > 0) {
            assert_true(map->offset > vmx_guest_fields[i - 1].offset);
        }
    }
    for (size_t i = 0; i < sizeof(covered); i++) {
        assert_int_equal(covered[i], 1);
    }
}

static void places(void **state)
{
    (void)state;
    for (size_t i = 0; i < vmx_guest_field_count; i++) {
        const struct vmx_field_map *map = &vmx_guest_fields[i];

        for (size_t j = 0; j < i; j++) {
            const struct vmx_field_map *other = &vmx_guest_fields[j];

            assert_false(map->place == other->place && map->id == other->id);
            assert_string_not_equal(map->name, other->name);
        }
        if (map->place == VMX_IN_VMCS) {
            assert_true(vmx_field_bytes(map->id) <= map->width);
            /* Guest state, but for the event, which lies in VM-entry control fields. */
            assert_true(vmx_field_kind(map->id) == VMX_KIND_GUEST ||
                        map->offset >= offsetof(struct vmx_guest_state, event));
        } else if (map->place == VMX_IN_MSR) {
            assert_true(map->id < GUEST_MSR_COUNT);
        } else if (map->place == VMX_IN_MEMORY) {
            assert_true(map->id < GUEST_DR_COUNT);
        }
    }
}

/* The list of names is complete for the state, and every entry is a field that can be. */
static void field_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < vmx_guest_field_count; i++) {
        if (vmx_guest_fields[i].place == VMX_IN_VMCS) {
            assert_string_not_equal(vmx_field_name(vmx_guest_fields[i].id), "no such field");
        }
    }
    for (uint32_t field = 0; field <= UINT16_MAX; field++) {
        /* Reserved bits, and the access to the high half (SDM 3C table 25-21). */
        if (field & 0x9001) {
            assert_string_equal(vmx_field_name(field), "no such field");
        }
    }
    assert_string_equal(vmx_field_name(VMCS_GUEST_RIP), "VMCS_GUEST_RIP");
    assert_string_equal(vmx_field_name(0x7FFE), "no such field");
}

/* A change of any one field is seen, and named. */
static void differences(void **state)
{
    struct vmx_guest_state a, b;

    (void)state;
    memset(&a, 0x5A, sizeof(a));
    b = a;
    assert_null(vmx_guest_difference(&a, &b));
    for (size_t i = 0; i < vmx_guest_field_count; i++) {
        const struct vmx_field_map *map = &vmx_guest_fields[i];
        /* The highest bit that the field has: a narrower copy would lose it. */
        uint64_t value = vmx_field_get(&a, map) ^ BIT(map->width * 8 - 1);

        vmx_field_set(&b, map, value);
        assert_ptr_equal(vmx_guest_difference(&a, &b), map);
        assert_true(vmx_field_get(&b, map) == value);
        vmx_field_set(&b, map, vmx_field_get(&a, map));
        assert_memory_equal(&a, &b, sizeof(a));
    }
}

static void encodings(void **state)
{
    (void)state;
    assert_int_equal(vmx_field_bytes(VMCS_GUEST_CS_SELECTOR), 2);
    assert_int_equal(vmx_field_bytes(VMCS_GUEST_EFER), 8);
    assert_int_equal(vmx_field_bytes(VMCS_GUEST_CS_ACCESS), 4);
    assert_int_equal(vmx_field_bytes(VMCS_GUEST_RIP), 8);
    assert_int_equal(vmx_field_kind(VMCS_EXIT_REASON), VMX_KIND_EXIT_INFO);
    assert_int_equal(vmx_field_kind(VMCS_HOST_RIP), VMX_KIND_HOST);
    /* vmx_get_segment counts on this. */
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        size_t found = 0;

        for (size_t j = 0; j < vmx_guest_field_count; j++) {
            size_t base = offsetof(struct vmx_guest_state, segment) + i * sizeof(struct vmx_segment);

            found +=
                vmx_guest_fields[j].offset == base && vmx_guest_fields[j].id == VMCS_GUEST_ES_BASE + 2 * i;
            found += vmx_guest_fields[j].offset == base + offsetof(struct vmx_segment, access) &&
                     vmx_guest_fields[j].id == VMCS_GUEST_ES_ACCESS + 2 * i;
            found += vmx_guest_fields[j].offset == base + offsetof(struct vmx_segment, limit) &&
                     vmx_guest_fields[j].id == VMCS_GUEST_ES_LIMIT + 2 * i;
            found += vmx_guest_fields[j].offset == base + offsetof(struct vmx_segment, selector) &&
                     vmx_guest_fields[j].id == VMCS_GUEST_ES_SELECTOR + 2 * i;
        }
        assert_int_equal(found, 4);
    }
}

static void canonical_segments(void **state)
{
    struct vmx_guest_state s;
    struct vmx_segment junk = {
        .base = 0x1234, .limit = 0x77, .access = VMX_ACCESS_UNUSABLE | 0x60F3, .selector = 3};

    (void)state;
    vmx_guest_reset(&s);
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        s.segment[i] = junk;
    }
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.segment[SEGMENT_DS].base, 0);
    assert_int_equal(s.segment[SEGMENT_DS].limit, 0);
    assert_int_equal(s.segment[SEGMENT_DS].access, VMX_ACCESS_UNUSABLE);
    assert_int_equal(s.segment[SEGMENT_DS].selector, 3);
    assert_int_equal(s.segment[SEGMENT_SS].access, VMX_ACCESS_UNUSABLE | 0x60);
    assert_int_equal(vmx_guest_cpl(&s), 3);
    assert_int_equal(s.segment[SEGMENT_FS].base, 0x1234);
    assert_int_equal(s.segment[SEGMENT_GS].base, 0x1234);

    vmx_guest_reset(&s);
    s.segment[SEGMENT_DS].base = 0x400;
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.segment[SEGMENT_DS].base, 0x400);
}

static void canonical_pdptes(void **state)
{
    const struct {
        uint64_t cr0, cr4, efer;
        bool kept;
    } cases[] = {
        {CR0_PG, CR4_PAE, 0, true},
        {CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, false},
        {CR0_PG, 0, 0, false},
        {0, CR4_PAE, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct vmx_guest_state s;

        vmx_guest_reset(&s);
        s.cr0 = cases[i].cr0;
        s.cr4 = cases[i].cr4;
        s.efer = cases[i].efer;
        s.pdpte[2] = 0x1001;
        vmx_guest_canonicalize(&s);
        assert_int_equal(s.pdpte[2], cases[i].kept ? 0x1001 : 0);
    }
}

static void canonical_event(void **state)
{
    struct vmx_guest_state s;

    (void)state;
    vmx_guest_reset(&s);
    s.event = (struct vmx_event){.info = 0x30, .error = 5, .instruction_length = 2};
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.event.info, 0);
    assert_int_equal(s.event.error, 0);
    assert_int_equal(s.event.instruction_length, 0);
    s.event = (struct vmx_event){.info = 0x80000030, .error = 5, .instruction_length = 2};
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.event.info, 0x80000030);
    assert_int_equal(s.event.error, 0);
    assert_int_equal(s.event.instruction_length, 0);
    s.event = (struct vmx_event){.info = 0x80000480, .instruction_length = 2}; /* INT 80H */
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.event.instruction_length, 2);
    s.event = (struct vmx_event){.info = 0x80000B0E, .error = 6}; /* #PF */
    vmx_guest_canonicalize(&s);
    assert_int_equal(s.event.error, 6);
}

static void startup(void **state)
{
    struct vmx_guest_state s;

    (void)state;
    vmx_guest_reset(&s);
    assert_int_equal(s.segment[SEGMENT_CS].base + s.rip, 0xFFFFFFF0);
    assert_int_equal(s.cr0, 0x60000010);
    assert_int_equal(s.rflags, 2);
    vmx_guest_sipi(&s, 0x9A);
    assert_int_equal(s.segment[SEGMENT_CS].base + s.rip, 0x9A000);
    assert_int_equal(s.segment[SEGMENT_CS].selector, 0x9A00);
    assert_int_equal(s.segment[SEGMENT_CS].access, 0x9B);
    vmx_guest_flat_segments(&s, true);
    assert_int_equal(s.segment[SEGMENT_CS].access, 0xA09B);
    assert_int_equal(s.segment[SEGMENT_SS].access, 0xC093);
    assert_int_equal(s.segment[SEGMENT_TR].access, 0x8B);
    assert_true(s.segment[SEGMENT_LDTR].access & VMX_ACCESS_UNUSABLE);
    vmx_guest_flat_segments(&s, false);
    assert_int_equal(s.segment[SEGMENT_CS].access, 0xC09B);
}

/* Opening one MSR one way changes that bit alone. */
static void msr_bitmap(void **state)
{
    static const uint32_t msrs[] = {0, 0x10, 0x1FFF, 0xC0000000, 0xC0000101, 0xC0001FFF};
    uint8_t bitmap[PAGE_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(msrs); i++) {
        for (unsigned write = 0; write < 2; write++) {
            unsigned clear = 0;

            msr_bitmap_deny_all(bitmap);
            assert_true(msr_bitmap_exits(bitmap, msrs[i], write));
            assert_true(msr_bitmap_allow(bitmap, msrs[i], !write, write));
            assert_false(msr_bitmap_exits(bitmap, msrs[i], write));
            assert_true(msr_bitmap_exits(bitmap, msrs[i], !write));
            for (size_t byte = 0; byte < sizeof(bitmap); byte++) {
                clear += 8 - (unsigned)__builtin_popcount(bitmap[byte]);
            }
            assert_int_equal(clear, 1);
        }
    }
    /* GS base: MSR C0000101H, bit 1 of byte 20H of the second and fourth KByte. */
    msr_bitmap_deny_all(bitmap);
    assert_true(msr_bitmap_allow(bitmap, 0xC0000101, true, true));
    assert_int_equal(bitmap[0x400 + 0x20], 0xFD);
    assert_int_equal(bitmap[0xC00 + 0x20], 0xFD);
    assert_false(msr_bitmap_allow(bitmap, 0x2000, true, true));
    assert_false(msr_bitmap_allow(bitmap, 0xC0002000, true, true));
    assert_true(msr_bitmap_exits(bitmap, 0x40000000, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_once),  cmocka_unit_test(places),
        cmocka_unit_test(field_names),      cmocka_unit_test(differences),
        cmocka_unit_test(encodings),        cmocka_unit_test(canonical_segments),
        cmocka_unit_test(canonical_pdptes), cmocka_unit_test(canonical_event),
        cmocka_unit_test(startup),          cmocka_unit_test(msr_bitmap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
