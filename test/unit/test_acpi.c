/* The processors that ACPI lists, and tables that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/acpi.h"

#define MEMORY_SIZE 8192u
#define RSDT        0x400u
#define XSDT        0x600u
#define OTHER       0x800u
#define MADT        0xA00u

static uint8_t memory[MEMORY_SIZE];
static uint8_t rsdp[36];
/* What the parser has read: blocks of exactly the bytes it asked for. */
static void *copies[256];
static size_t copy_count;
static struct acpi_cpus cpus;

static const void *read_memory(void *context, uint64_t address, uint64_t size)
{
    (void)context;
    if (size > MEMORY_SIZE || address > MEMORY_SIZE - size) {
        return NULL;
    }
    assert_true(copy_count < ARRAY_LEN(copies));
    copies[copy_count] = malloc(size ? size : 1);
    assert_non_null(copies[copy_count]);
    return memcpy(copies[copy_count++], memory + address, size);
}

static void set32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void fix_checksum(uint8_t *bytes, size_t size, size_t where)
{
    uint8_t sum = 0;

    bytes[where] = 0;
    for (size_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    bytes[where] = (uint8_t)-sum;
}

static void make_table(uint32_t at, const char *signature, const void *body, uint32_t size)
{
    memset(memory + at, 0, 36);
    memcpy(memory + at, signature, 4);
    set32(memory + at + 4, 36 + size);
    memcpy(memory + at + 36, body, size);
    fix_checksum(memory + at, 36 + size, 9);
}

static void make_rsdp(uint8_t revision)
{
    memset(rsdp, 0, sizeof(rsdp));
    memcpy(rsdp, "RSD PTR ", 8);
    rsdp[15] = revision;
    set32(rsdp + 16, RSDT);
    set32(rsdp + 20, 36);
    set32(rsdp + 24, revision >= 2 ? XSDT : 0);
    fix_checksum(rsdp, 20, 8);
    fix_checksum(rsdp, 36, 32);
}

static void make_roots(void)
{
    uint32_t narrow[] = {OTHER, 0xFFFFFFF0u, MADT};
    uint64_t wide[] = {OTHER, 0xFFFFFFFFFFFFFFF0u, MADT};

    make_table(OTHER, "FACP", "x", 1);
    make_table(RSDT, "RSDT", narrow, sizeof(narrow));
    make_table(XSDT, "XSDT", wide, sizeof(wide));
}

static const uint8_t good_entries[] = {
    0, 8,  0, 0, 1, 0, 0, 0,                            /* APIC id 0 */
    1, 12, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,             /* I/O APIC */
    0, 8,  1, 2, 1, 0, 0, 0,                            /* APIC id 2 */
    0, 8,  2, 4, 0, 0, 0, 0,                            /* disabled */
    9, 16, 0, 0, 2, 0, 0, 0,    1, 0, 0, 0, 0, 0, 0, 0, /* x2APIC id 2 again */
    9, 16, 0, 0, 0, 1, 0, 0,    1, 0, 0, 0, 0, 0, 0, 0, /* x2APIC id 256 */
    5, 12, 0, 0, 0, 0, 0, 0xFE, 1, 0, 0, 0,             /* the APICs are at 0x1FE000000 */
};

static void make_madt(const uint8_t *entries, uint32_t size)
{
    static uint8_t body[MEMORY_SIZE - MADT - 36];

    set32(body, 0xFEE00000);
    set32(body + 4, 1);
    memcpy(body + 8, entries, size);
    make_table(MADT, "APIC", body, 8 + size);
}

static void make_good(void)
{
    make_rsdp(2);
    make_roots();
    make_madt(good_entries, sizeof(good_entries));
}

static enum acpi_error find(size_t rsdp_size)
{
    struct acpi_memory m = {read_memory, NULL};
    enum acpi_error error = acpi_find_cpus(&m, rsdp, rsdp_size, &cpus);

    while (copy_count > 0) {
        free(copies[--copy_count]);
    }
    return error;
}

static void test_good(void **state)
{
    (void)state;
    make_good();
    for (int old = 0; old < 2; old++) {
        if (old) {
            memset(memory + XSDT, 0xFF, 64); /* not looked at with a short RSDP */
        }
        assert_int_equal(find(old ? 20 : 36), ACPI_OK);
        assert_int_equal(cpus.count, 3);
        assert_int_equal(cpus.apic_ids[0], 0);
        assert_int_equal(cpus.apic_ids[1], 2);
        assert_int_equal(cpus.apic_ids[2], 256);
        assert_int_equal(cpus.left_out, 0);
        assert_int_equal(cpus.lapic_address, 0x1FE000000);
    }
}

static void test_rsdp(void **state)
{
    (void)state;
    make_good();
    for (size_t size = 0; size < 20; size++) {
        assert_int_equal(find(size), ACPI_BAD_RSDP);
    }
    for (size_t i = 0; i < 20; i++) {
        make_good();
        rsdp[i] ^= 1;
        assert_int_equal(find(36), ACPI_BAD_RSDP);
    }
    make_good();
    rsdp[0] = 'X';
    fix_checksum(rsdp, 20, 8);
    fix_checksum(rsdp, 36, 32);
    assert_int_equal(find(36), ACPI_BAD_RSDP);
    /* A damaged second half leaves the first one of use. */
    make_good();
    rsdp[30] ^= 1;
    memset(memory + XSDT, 0xFF, 64);
    assert_int_equal(find(36), ACPI_OK);
    /* Revision 1 has no XSDT, whatever lies there. */
    make_rsdp(1);
    set32(rsdp + 24, XSDT);
    fix_checksum(rsdp, 36, 32);
    assert_int_equal(find(36), ACPI_OK);
}

static void test_tables(void **state)
{
    (void)state;
    make_good();
    memory[XSDT + 40] ^= 1;
    assert_int_equal(find(36), ACPI_BAD_TABLE);
    make_good();
    memory[MADT + 50] ^= 1;
    assert_int_equal(find(36), ACPI_BAD_TABLE);
    make_good();
    memory[XSDT] = 'R';
    fix_checksum(memory + XSDT, 60, 9);
    assert_int_equal(find(36), ACPI_BAD_TABLE);
    /* Lengths: below the header, beyond memory, beyond reason. */
    static const uint32_t lengths[] = {0, 35, 43, MEMORY_SIZE, 0xFFFFFFFF};

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        make_good();
        set32(memory + MADT + 4, lengths[i]);
        assert_int_not_equal(find(36), ACPI_OK);
    }
    make_good();
    set32(rsdp + 24, MEMORY_SIZE - 35);
    fix_checksum(rsdp, 36, 32);
    assert_int_equal(find(36), ACPI_UNREADABLE);
    make_good();
    make_table(XSDT, "XSDT", &(uint64_t){OTHER}, 8);
    assert_int_equal(find(36), ACPI_NO_MADT);
    make_table(XSDT, "XSDT", &(uint64_t){MADT}, 7); /* half an entry is none */
    assert_int_equal(find(36), ACPI_NO_MADT);
}

static void expect_entries(const uint8_t *entries, uint32_t size, enum acpi_error error)
{
    make_good();
    make_madt(entries, size);
    assert_int_equal(find(36), error);
}

static void test_entries(void **state)
{
    static const uint8_t half[] = {0, 8, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t beyond[] = {0, 9, 0, 0, 1, 0, 0, 0};
    static const uint8_t endless[] = {1, 0, 0, 0};
    static const uint8_t one[] = {1, 1, 0, 0};
    static const uint8_t short_local[] = {0, 7, 0, 0, 1, 0, 0};
    static const uint8_t short_x2[] = {9, 15, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    static const uint8_t short_address[] = {5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t disabled[] = {0, 8, 0, 0, 2, 0, 0, 0};

    (void)state;
    expect_entries(half, sizeof(half), ACPI_BAD_TABLE);
    expect_entries(beyond, sizeof(beyond), ACPI_BAD_TABLE);
    expect_entries(endless, sizeof(endless), ACPI_BAD_TABLE);
    expect_entries(one, sizeof(one), ACPI_BAD_TABLE);
    expect_entries(short_local, sizeof(short_local), ACPI_BAD_TABLE);
    expect_entries(short_x2, sizeof(short_x2), ACPI_BAD_TABLE);
    expect_entries(short_address, sizeof(short_address), ACPI_BAD_TABLE);
    expect_entries(disabled, sizeof(disabled), ACPI_NO_CPUS);
    expect_entries(disabled, 0, ACPI_NO_CPUS);
}

static void test_too_many(void **state)
{
    static uint8_t entries[8 * (ACPI_MAX_CPUS + 3)];

    (void)state;
    for (uint8_t i = 0; i < ACPI_MAX_CPUS + 3; i++) {
        memcpy(entries + 8 * i, (uint8_t[]){0, 8, i, i, 1, 0, 0, 0}, 8);
    }
    expect_entries(entries, sizeof(entries), ACPI_OK);
    assert_int_equal(cpus.count, ACPI_MAX_CPUS);
    assert_int_equal(cpus.left_out, 3);
}

/* Any answer is right as long as nothing outside is read. */
static void test_noise(void **state)
{
    (void)state;
    srand(2);
    for (int round = 0; round < 20000; round++) {
        make_good();
        for (int i = 0; i < 3; i++) {
            memory[MADT + 4 + (uint32_t)rand() % (40 + sizeof(good_entries))] = (uint8_t)rand();
        }
        if (round % 2) {
            fix_checksum(memory + MADT, 44 + sizeof(good_entries), 9);
        }
        (void)find(36);
        assert_true(cpus.count <= ACPI_MAX_CPUS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_rsdp),     cmocka_unit_test(test_tables),
        cmocka_unit_test(test_entries), cmocka_unit_test(test_too_many), cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
