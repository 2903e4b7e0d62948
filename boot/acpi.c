#include "boot/acpi.h"

#include "hv/base/acpi_tables.h"

#include <string.h>

enum madt_type {
    MADT_LOCAL_APIC_ADDRESS = 5,
    MADT_LOCAL_X2APIC = 9,
};

#define TABLE_MAX_SIZE (1u << 20) /* far beyond any real one; keeps a wrong length from reading for ever */

/* ACPI 6.4, 5.2.12.8. */
struct madt_lapic_address {
    uint8_t type;
    uint8_t length;
    uint16_t reserved;
    uint64_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_lapic_address) == 12, "ACPI 5.2.12.8");

/* ACPI 6.4, 5.2.12.12. */
struct madt_local_x2apic {
    uint8_t type;
    uint8_t length;
    uint16_t reserved;
    uint32_t x2apic_id;
    uint32_t flags;
    uint32_t processor_uid;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_x2apic) == 16, "ACPI 5.2.12.12");

/* Reads and checks the table at an address; its bytes are readable up to its length. */
static enum acpi_error read_table(const struct acpi_memory *memory, uint64_t address, const char *signature,
                                  size_t least, const uint8_t **table, uint32_t *length)
{
    struct acpi_header header;
    const uint8_t *bytes = memory->read(memory->context, address, sizeof(header));

    if (!bytes) {
        return ACPI_UNREADABLE;
    }
    memcpy(&header, bytes, sizeof(header));
    if (memcmp(header.signature, signature, sizeof(header.signature)) != 0 || header.length < least ||
        header.length > TABLE_MAX_SIZE) {
        return ACPI_BAD_TABLE;
    }
    bytes = memory->read(memory->context, address, header.length);
    if (!bytes) {
        return ACPI_UNREADABLE;
    }
    if (acpi_checksum(bytes, header.length) != 0) {
        return ACPI_BAD_TABLE;
    }
    *table = bytes;
    *length = header.length;
    return ACPI_OK;
}

static bool has_signature(const struct acpi_memory *memory, uint64_t address, const char *signature)
{
    const void *bytes = memory->read(memory->context, address, 4);

    return bytes && memcmp(bytes, signature, 4) == 0;
}

/* Finds the MADT's address in the RSDT (4-byte entries) or the XSDT (8-byte entries). */
static enum acpi_error find_madt(const struct acpi_memory *memory, uint64_t root, bool extended,
                                 uint64_t *address)
{
    const uint8_t *table;
    uint32_t length;
    size_t width = extended ? sizeof(uint64_t) : sizeof(uint32_t);
    enum acpi_error error =
        read_table(memory, root, extended ? "XSDT" : "RSDT", sizeof(struct acpi_header), &table, &length);

    if (error != ACPI_OK) {
        return error;
    }
    for (size_t at = sizeof(struct acpi_header); at + width <= length; at += width) {
        uint64_t entry = 0;

        memcpy(&entry, table + at, width); /* little-endian, so the low half is right */
        if (has_signature(memory, entry, "APIC")) {
            *address = entry;
            return ACPI_OK;
        }
    }
    return ACPI_NO_MADT;
}

/* Firmware may list a processor both as xAPIC and as x2APIC. */
static void add_cpu(struct acpi_cpus *out, uint32_t apic_id, uint32_t flags)
{
    if (!(flags & ACPI_LAPIC_ENABLED)) {
        return;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->apic_ids[i] == apic_id) {
            return;
        }
    }
    if (out->count == ACPI_MAX_CPUS) {
        out->left_out++;
        return;
    }
    out->apic_ids[out->count++] = apic_id;
}

/* One entry, of `size` bytes that are all readable; shorter than its type asks for is an error. */
static enum acpi_error parse_madt_entry(const uint8_t *entry, uint8_t size, struct acpi_cpus *out)
{
    struct acpi_madt_lapic local;
    struct madt_local_x2apic x2;
    struct madt_lapic_address address;

    switch (entry[0]) {
    case ACPI_MADT_LAPIC:
        if (size < sizeof(local)) {
            return ACPI_BAD_TABLE;
        }
        memcpy(&local, entry, sizeof(local));
        add_cpu(out, local.apic_id, local.flags);
        return ACPI_OK;
    case MADT_LOCAL_X2APIC:
        if (size < sizeof(x2)) {
            return ACPI_BAD_TABLE;
        }
        memcpy(&x2, entry, sizeof(x2));
        add_cpu(out, x2.x2apic_id, x2.flags);
        return ACPI_OK;
    case MADT_LOCAL_APIC_ADDRESS:
        if (size < sizeof(address)) {
            return ACPI_BAD_TABLE;
        }
        memcpy(&address, entry, sizeof(address));
        out->lapic_address = address.address;
        return ACPI_OK;
    default:
        return ACPI_OK;
    }
}

static enum acpi_error parse_madt(const uint8_t *table, uint32_t length, struct acpi_cpus *out)
{
    struct acpi_madt madt;
    uint32_t at = sizeof(madt);

    memcpy(&madt, table, sizeof(madt));
    out->lapic_address = madt.lapic_address;
    while (at < length) {
        uint8_t size;
        enum acpi_error error;

        if (length - at < 2) {
            return ACPI_BAD_TABLE;
        }
        size = table[at + 1];
        if (size < 2 || size > length - at) {
            return ACPI_BAD_TABLE;
        }
        error = parse_madt_entry(table + at, size, out);
        if (error != ACPI_OK) {
            return error;
        }
        at += size;
    }
    return out->count ? ACPI_OK : ACPI_NO_CPUS;
}

/* Which root table to read, from a checked RSDP. */
static enum acpi_error find_root(const uint8_t *bytes, size_t size, uint64_t *root, bool *extended)
{
    struct acpi_rsdp rsdp = {0};

    if (size < ACPI_RSDP_V1_BYTES || acpi_checksum(bytes, ACPI_RSDP_V1_BYTES) != 0) {
        return ACPI_BAD_RSDP;
    }
    memcpy(&rsdp, bytes, MIN(size, sizeof(rsdp)));
    if (memcmp(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature)) != 0) {
        return ACPI_BAD_RSDP;
    }
    *extended = size >= sizeof(rsdp) && rsdp.revision >= 2 && rsdp.xsdt_address != 0 &&
                acpi_checksum(bytes, sizeof(rsdp)) == 0;
    *root = *extended ? rsdp.xsdt_address : rsdp.rsdt_address;
    return *root ? ACPI_OK : ACPI_BAD_RSDP;
}

enum acpi_error acpi_find_cpus(const struct acpi_memory *memory, const uint8_t *rsdp, size_t rsdp_size,
                               struct acpi_cpus *out)
{
    uint64_t root, madt;
    bool extended;
    const uint8_t *table;
    uint32_t length;
    enum acpi_error error;

    memset(out, 0, sizeof(*out));
    error = find_root(rsdp, rsdp_size, &root, &extended);
    if (error != ACPI_OK) {
        return error;
    }
    error = find_madt(memory, root, extended, &madt);
    if (error != ACPI_OK) {
        return error;
    }
    error = read_table(memory, madt, "APIC", sizeof(struct acpi_madt), &table, &length);
    return error == ACPI_OK ? parse_madt(table, length, out) : error;
}

const char *acpi_error_name(enum acpi_error error)
{
    static const char *const names[] = {
        [ACPI_OK] = "no error",
        [ACPI_BAD_RSDP] = "ACPI: no valid RSDP",
        [ACPI_UNREADABLE] = "ACPI: a table lies outside of memory",
        [ACPI_BAD_TABLE] = "ACPI: a table is malformed",
        [ACPI_NO_MADT] = "ACPI: no MADT",
        [ACPI_NO_CPUS] = "ACPI: the MADT lists no enabled processor",
    };

    return (size_t)error < ARRAY_LEN(names) ? names[error] : "unknown error";
}
