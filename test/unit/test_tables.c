/* The tables that describe the guest's machine, read as a kernel reads them: ACPI's fixed hardware, and MP
 * tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/vdev/platform.h"
#include "hv/guestmem/tables.h"

#define MEM_BYTES (UINT64_C(2) << 20)
#define VCPUS     3u
/* The SCI, and those of PCI functions. */
#define LEVEL_IRQS (1u << 9 | 1u << 5 | 1u << 10 | 1u << 11)

static uint8_t *mem;
static uint64_t rsdp;

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, p, bytes);
    return value;
}

static void make(uint32_t vcpus)
{
    memset(mem, 0xee, MEM_BYTES);
    rsdp = acpi_build(mem, MEM_BYTES, vcpus);
    mp_build(mem, vcpus);
}

static int setup(void **state)
{
    (void)state;
    mem = malloc(MEM_BYTES);
    make(VCPUS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(mem);
    return 0;
}

/* The bytes of a table add up to 0. */
static void check_sum(const uint8_t *p, uint64_t bytes)
{
    uint8_t sum = 0;

    for (uint64_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + p[i]);
    assert_int_equal(sum, 0);
}

/* The table with this signature, from the XSDT. */
static const uint8_t *find(const char *signature)
{
    const uint8_t *xsdt = mem + number(mem + rsdp + 24, 8);
    uint64_t bytes = number(xsdt + 4, 4);

    for (uint64_t at = 36; at < bytes; at += 8) {
        const uint8_t *table = mem + number(xsdt + at, 8);

        if (memcmp(table, signature, 4) == 0) {
            check_sum(table, number(table + 4, 4));
            return table;
        }
    }
    fail_msg("no %s", signature);
    return NULL;
}

static void check_register(const uint8_t *fadt, size_t at, size_t extended, uint64_t port, uint64_t bytes)
{
    assert_int_equal(number(fadt + at, 4), port);
    assert_int_equal(fadt[extended], 1); /* I/O */
    assert_int_equal(fadt[extended + 1], 8 * bytes);
    assert_int_equal(number(fadt + extended + 4, 8), port);
}

/* Offsets of ACPI 6.5, table 5.9. */
static void fixed_hardware(void **state)
{
    const uint8_t *fadt = find("FACP");

    (void)state;
    assert_int_equal(number(fadt + 4, 4), 276);
    assert_int_equal(number(fadt + 46, 2), VPLAT_IRQ_SCI);
    assert_int_equal(number(fadt + 48, 4), 0); /* SMI_CMD */
    check_register(fadt, 56, 148, VPLAT_PM1_EVENT, fadt[88]);
    check_register(fadt, 64, 172, VPLAT_PM1_CONTROL, fadt[89]);
    check_register(fadt, 76, 208, VPLAT_PM_TIMER, fadt[91]);
    assert_int_equal(fadt[88], VPLAT_PM1_CONTROL - VPLAT_PM1_EVENT);
    assert_int_equal(fadt[89], 2);
    assert_int_equal(fadt[91], 4);
    assert_int_equal(number(fadt + 80, 8), 0); /* no general purpose events */
    assert_true(number(fadt + 96, 2) > 100 && number(fadt + 98, 2) > 1000);
    assert_int_equal(number(fadt + 112, 4) & 0x400, 0x400); /* RESET_REG_SUP */
    assert_int_equal(number(fadt + 112, 4) & 0x100000, 0);  /* HW_REDUCED_ACPI */
    assert_int_equal(fadt[116], 1);
    assert_int_equal(number(fadt + 120, 8), VPLAT_RESET);
    assert_int_equal(fadt[128], 6);
}

static void facs(void **state)
{
    const uint8_t *fadt = find("FACP");
    uint64_t at = number(fadt + 36, 4);

    (void)state;
    assert_int_equal(number(fadt + 132, 8), at);
    assert_int_equal(at % 64, 0);
    assert_memory_equal(mem + at, "FACS", 4);
    assert_int_equal(number(mem + at + 4, 4), 64);
    for (unsigned i = 8; i < 64; i++)
        assert_int_equal(mem[at + i], i == 32 ? 2 : 0);
}

/* Where the package of Name (`name`, Package ...) is in the DSDT: its length. Each name is there once. */
static const uint8_t *find_package(const char *name, uint64_t *end)
{
    const uint8_t *fadt = find("FACP"), *dsdt = mem + number(fadt + 40, 4), *found = NULL;
    uint64_t bytes = number(dsdt + 4, 4);

    assert_int_equal(number(fadt + 140, 8), number(fadt + 40, 4));
    assert_memory_equal(dsdt, "DSDT", 4);
    check_sum(dsdt, bytes);
    for (uint64_t at = 36; at + 8 < bytes; at++) {
        if (memcmp(dsdt + at, name, 4) == 0) {
            assert_null(found);
            found = dsdt + at + 4;
        }
    }
    if (!found) {
        fail_msg("the DSDT has no such name");
        return NULL;
    }
    assert_int_equal(found[0], 0x12); /* PackageOp */
    *end = bytes - (uint64_t)(found + 1 - dsdt);
    return found + 1;
}

/* A PkgLength of two bytes, which counts itself (ACPI 20.2.4). */
static uint64_t package_length(const uint8_t *p)
{
    assert_int_equal(p[0] >> 4, 4);
    return (p[0] & 15u) | (uint64_t)p[1] << 4;
}

/* Package (4) {SLP_TYPa, 0, 0, 0}. */
static void power_off(void **state)
{
    uint64_t end;
    const uint8_t *package = find_package("_S5_", &end);

    (void)state;
    assert_int_equal(package_length(package), 8);
    assert_int_equal(package[2], 4);
    assert_int_equal(package[3], 0x0a);
    assert_int_equal(package[4], VPLAT_SLP_TYP_S5);
    assert_int_equal(number(package + 5, 3), 0);
}

/* The routing table has each function's interrupt, and ends where bridge and DSDT do. */
static void pci_interrupts(void **state)
{
    static const uint8_t irqs[] = {VPLAT_IRQ_BLK, VPLAT_IRQ_NET, VPLAT_IRQ_RNG};
    uint64_t end;
    const uint8_t *package = find_package("_PRT", &end), *entry = package + 3;

    (void)state;
    assert_int_equal(package_length(package), end);
    assert_int_equal(package[2], ARRAY_LEN(irqs));
    for (uint32_t i = 0; i < ARRAY_LEN(irqs); i++) {
        assert_int_equal(entry[0], 0x12);
        assert_int_equal(package_length(entry + 1), 12);
        assert_int_equal(entry[3], 4);
        assert_int_equal(entry[4], 0x0c); /* a DWord: the device's address, any function */
        assert_int_equal(number(entry + 5, 4), (i + 1) << 16 | 0xffff);
        assert_int_equal(number(entry + 9, 2), 0);
        assert_int_equal(entry[11], 0x0a);
        assert_int_equal(entry[12], irqs[i]);
        entry += 13;
    }
    assert_int_equal(entry - package, end);
}

/* The bridge's buffer: descriptors one after the other up to the end tag, the memory window as the platform
 * has it. */
static void pci_windows(void **state)
{
    const uint8_t *dsdt = mem + number(find("FACP") + 40, 4), *at = dsdt + 36;
    uint64_t bytes, window = 0;

    (void)state;
    while (memcmp(at, "_CRS", 4) != 0)
        at++;
    assert_int_equal(at[4], 0x11); /* BufferOp */
    assert_int_equal(at[7], 0x0b); /* a Word: its size */
    bytes = number(at + 8, 2);
    assert_int_equal(package_length(at + 5), bytes + 5);
    at += 10;
    while (at[0] != 0x79) {
        uint64_t size = at[0] & 0x80 ? 3 + number(at + 1, 2) : 1 + (at[0] & 7u);

        if (at[0] == 0x87) {
            window++;
            assert_int_equal(number(at + 10, 4), VPLAT_PCI_MEMORY);
            assert_int_equal(number(at + 14, 4), VPLAT_PCI_MEMORY + VPLAT_PCI_MEMORY_BYTES - 1);
            assert_int_equal(number(at + 22, 4), VPLAT_PCI_MEMORY_BYTES);
        }
        assert_true(size < bytes);
        bytes -= size;
        at += size;
    }
    assert_int_equal(bytes, 2);
    assert_int_equal(window, 1);
}

static void interrupts(void **state)
{
    const uint8_t *madt = find("APIC");
    uint64_t at = 44, bytes = number(madt + 4, 4);
    unsigned seen[5] = {0};

    (void)state;
    assert_int_equal(number(madt + 40, 4), 1); /* PCAT_COMPAT */
    for (; at < bytes; at += madt[at + 1]) {
        const uint8_t *entry = madt + at;

        assert_true(entry[0] < 5 && entry[1] >= 6);
        seen[entry[0]]++;
        if (entry[0] == 1) {
            assert_int_equal(entry[2], vplat_ioapic_id(VCPUS));
            assert_int_equal(number(entry + 4, 4), VPLAT_IOAPIC);
            assert_int_equal(number(entry + 8, 4), 0);
        } else if (entry[0] == 2 && entry[3] == VPLAT_IRQ_PIT) {
            assert_int_equal(number(entry + 4, 4), VPLAT_PIN_PIT);
            assert_int_equal(number(entry + 8, 2), 0);
        } else if (entry[0] == 2) {
            assert_true(LEVEL_IRQS >> entry[3] & 1);
            assert_int_equal(number(entry + 4, 4), entry[3]);
            assert_int_equal(number(entry + 8, 2), 0xd); /* level, active high */
        } else if (entry[0] == 4) {
            assert_int_equal(entry[2], 0xff);
            assert_int_equal(entry[5], 1);
        }
    }
    assert_int_equal(at, bytes);
    assert_int_equal(seen[0], VCPUS);
    assert_int_equal(seen[1], 1);
    assert_int_equal(seen[2], 5);
    assert_int_equal(seen[4], 1);
}

/* The MP configuration table, found as MP 4.1 says: in the BIOS area, on 16 bytes. */
static const uint8_t *find_mp(void)
{
    for (uint64_t at = 0xf0000; at < 0x100000; at += 16) {
        if (memcmp(mem + at, "_MP_", 4) != 0)
            continue;
        assert_int_equal(mem[at + 8], 1);
        assert_int_equal(mem[at + 9], 4);
        assert_int_equal(number(mem + at + 11, 5), 0);
        check_sum(mem + at, 16);
        return mem + number(mem + at + 4, 4);
    }
    fail_msg("no MP floating pointer structure");
    return NULL;
}

struct mp_seen {
    unsigned type[5];
    uint32_t pins;
    uint32_t irqs;
};

static void look_at_entry(const uint8_t *entry, struct mp_seen *seen)
{
    switch (entry[0]) {
    case 0:
        assert_int_equal(entry[1], seen->type[0]); /* APIC IDs from 0 on */
        assert_int_equal(entry[3], seen->type[0] == 0 ? 3 : 1);
        assert_int_not_equal(number(entry + 8, 4) & 1 << 9, 0); /* an APIC on the chip */
        break;
    case 1:
        assert_memory_equal(entry + 2, "ISA   ", 6);
        break;
    case 2:
        assert_int_equal(entry[1], vplat_ioapic_id(VCPUS));
        assert_int_equal(entry[3], 1);
        assert_int_equal(number(entry + 4, 4), VPLAT_IOAPIC);
        break;
    case 3:
        assert_int_equal(entry[1], 0);
        assert_int_equal(number(entry + 2, 2), LEVEL_IRQS >> entry[5] & 1 ? 0xd : 0);
        assert_int_equal(entry[6], vplat_ioapic_id(VCPUS));
        assert_int_equal(entry[7], entry[5] == VPLAT_IRQ_PIT ? VPLAT_PIN_PIT : entry[5]);
        assert_int_equal(seen->pins >> entry[7] & 1, 0);
        seen->pins |= 1u << entry[7];
        seen->irqs |= 1u << entry[5];
        break;
    default:
        assert_int_equal(entry[1], seen->type[4] == 0 ? 3 : 1); /* ExtINT at LINT0, NMI at LINT1 */
        assert_int_equal(entry[6], seen->type[4] == 0 ? 0 : 0xff);
        assert_int_equal(entry[7], seen->type[4]);
        break;
    }
}

static void mp_tables(void **state)
{
    const uint8_t *table = find_mp();
    uint64_t at = 44, bytes = number(table + 4, 2);
    struct mp_seen seen = {0};

    (void)state;
    assert_memory_equal(table, "PCMP", 4);
    assert_int_equal(table[6], 4);
    check_sum(table, bytes);
    assert_int_equal(number(table + 36, 4), 0xfee00000);
    while (at < bytes) {
        const uint8_t *entry = table + at;

        assert_true(entry[0] < 5);
        look_at_entry(entry, &seen);
        seen.type[entry[0]]++;
        at += entry[0] == 0 ? 20 : 8;
    }
    assert_int_equal(at, bytes);
    assert_int_equal(seen.type[0], VCPUS);
    assert_int_equal(seen.type[1], 1);
    assert_int_equal(seen.type[2], 1);
    assert_int_equal(seen.type[4], 2);
    assert_int_equal(seen.irqs, 0xffff & ~(1u << VPLAT_IRQ_CASCADE));
    assert_int_equal(number(table + 34, 2), VCPUS + 2 + 15 + 2);
}

/* The largest machine's tables fit, and touch nothing else. */
static void borders(void **state)
{
    (void)state;
    make(MAX_VCPUS);
    find("FACP");
    assert_int_equal(find_mp()[44 + (MAX_VCPUS - 1) * 20 + 1], MAX_VCPUS - 1);
    for (uint64_t i = 0; i < MEM_BYTES - LOADER_RESERVED_BYTES; i++) {
        if (i < LOADER_RSDP_COPY || i >= LOADER_RSDP_COPY + PAGE_SIZE)
            assert_int_equal(mem[i], 0xee);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fixed_hardware), TEST(facs),       TEST(power_off), TEST(pci_interrupts),
        TEST(pci_windows),    TEST(interrupts), TEST(mp_tables), TEST(borders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
