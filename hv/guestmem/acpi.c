/* The guest's ACPI tables: enough to find its processors. */
#include <string.h>

#include "hv/base/check.h"
#include "hv/guestmem/loader.h"
#include "hv/guestmem/mb2_info.h"

#define OEM_ID        "RETROV"
#define OEM_TABLE_ID  "RETROVIS"
#define CREATOR_ID    0x52544552u /* "RETR" */
#define APIC_BASE     0xfee00000u
#define TABLE_ALIGN   64u
#define RSDP_V1_BYTES 20u
#define RSDP_REVISION 2u
#define XSDT_REVISION 1u
#define MADT_REVISION 5u
#define MADT_LAPIC    0u
#define LAPIC_ENABLED 1u

struct rsdp {
    char signature[8];
    uint8_t checksum; /* of the first RSDP_V1_BYTES */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt; /* 0: none, the XSDT is used */
    uint32_t bytes;
    uint64_t xsdt;
    uint8_t extended_checksum; /* of the whole structure */
    uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "RSDP, ACPI 5.2.5.3");
_Static_assert(offsetof(struct rsdp, xsdt) == 24, "RSDP, ACPI 5.2.5.3");

struct table_header {
    char signature[4];
    uint32_t bytes;
    uint8_t revision;
    uint8_t checksum; /* of the whole table */
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    uint32_t creator_id;
    uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct table_header) == 36, "table header, ACPI 5.2.6");

struct xsdt {
    struct table_header header;
    uint64_t table[1];
} __attribute__((packed));
_Static_assert(sizeof(struct xsdt) == 44, "XSDT, ACPI 5.2.8");

struct madt_lapic {
    uint8_t type;
    uint8_t bytes;
    uint8_t processor_uid;
    uint8_t apic_id;
    uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_lapic) == 8, "local APIC entry, ACPI 5.2.12.2");

struct madt {
    struct table_header header;
    uint32_t apic_base;
    uint32_t flags; /* 0: the machine has no 8259 */
    struct madt_lapic lapic[MAX_VCPUS];
} __attribute__((packed));
_Static_assert(offsetof(struct madt, lapic) == 44, "MADT, ACPI 5.2.12");

/* Places in the reserved area. */
enum {
    RSDP_AT = 0,
    XSDT_AT = ALIGN_UP(sizeof(struct rsdp), TABLE_ALIGN),
    MADT_AT = XSDT_AT + ALIGN_UP(sizeof(struct xsdt), TABLE_ALIGN),
    TABLES_END = MADT_AT + sizeof(struct madt),
};
_Static_assert((unsigned)TABLES_END <= PAGE_SIZE, "mb2_info_build starts on the second page");

/* The value that makes all `bytes` at `data` add up to 0, where the field holds 0 now. */
static uint8_t checksum_for(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint8_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

static void fill_header(struct table_header *h, const char *signature, uint8_t revision, uint32_t bytes)
{
    memcpy(h->signature, signature, sizeof(h->signature));
    memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
    memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
    h->bytes = bytes;
    h->revision = revision;
    h->oem_revision = 1;
    h->creator_id = CREATOR_ID;
    h->creator_revision = 1;
}

static void build_madt(uint8_t *at, uint32_t vcpus)
{
    uint32_t bytes = (uint32_t)(offsetof(struct madt, lapic) + vcpus * sizeof(struct madt_lapic));
    struct madt madt = {.apic_base = APIC_BASE};

    fill_header(&madt.header, "APIC", MADT_REVISION, bytes);
    for (uint32_t i = 0; i < vcpus; i++)
        madt.lapic[i] = (struct madt_lapic){.type = MADT_LAPIC,
                                            .bytes = sizeof(struct madt_lapic),
                                            .processor_uid = (uint8_t)i,
                                            .apic_id = (uint8_t)i,
                                            .flags = LAPIC_ENABLED};
    madt.header.checksum = checksum_for(&madt, bytes);
    memcpy(at, &madt, bytes);
}

static void build_xsdt(uint8_t *at, uint64_t madt_gpa)
{
    struct xsdt xsdt = {.table = {madt_gpa}};

    fill_header(&xsdt.header, "XSDT", XSDT_REVISION, sizeof(xsdt));
    xsdt.header.checksum = checksum_for(&xsdt, sizeof(xsdt));
    memcpy(at, &xsdt, sizeof(xsdt));
}

static void build_rsdp(uint8_t *at, uint64_t xsdt_gpa)
{
    struct rsdp rsdp = {.revision = RSDP_REVISION, .bytes = sizeof(rsdp), .xsdt = xsdt_gpa};

    memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
    memcpy(rsdp.oem_id, OEM_ID, sizeof(rsdp.oem_id));
    rsdp.checksum = checksum_for(&rsdp, RSDP_V1_BYTES);
    rsdp.extended_checksum = checksum_for(&rsdp, sizeof(rsdp));
    memcpy(at, &rsdp, sizeof(rsdp));
}

uint64_t acpi_build(uint8_t *mem, uint64_t mem_bytes, uint32_t vcpus)
{
    uint64_t base = mem_bytes - LOADER_RESERVED_BYTES;

    HV_CHECK(vcpus >= 1 && vcpus <= MAX_VCPUS);
    memset(mem + base, 0, LOADER_RESERVED_BYTES);
    memset(mem + LOADER_RSDP_COPY, 0, PAGE_SIZE);
    build_madt(mem + base + MADT_AT, vcpus);
    build_xsdt(mem + base + XSDT_AT, base + MADT_AT);
    build_rsdp(mem + base + RSDP_AT, base + XSDT_AT);
    build_rsdp(mem + LOADER_RSDP_COPY, base + XSDT_AT);
    return base + RSDP_AT;
}
