/* The guest's ACPI tables (ACPI 6.5 chapter 5): processors, interrupts, fixed hardware, power-off. */
#include <string.h>

#include "drivers/vdev/platform.h"
#include "hv/base/check.h"
#include "hv/guestmem/loader.h"
#include "hv/guestmem/tables.h"

#define CREATOR_ID    0x52544552u /* "RETR" */
#define TABLE_ALIGN   64u
#define RSDP_REVISION 2u
#define XSDT_REVISION 1u
#define MADT_REVISION 5u
#define DSDT_REVISION 2u /* integers have 64 bits */
#define FADT_REVISION 6u
#define FADT_MINOR    5u
#define FACS_VERSION  2u

/* Types of MADT entries, and flags. */
#define MADT_IOAPIC      1u
#define MADT_OVERRIDE    2u
#define MADT_NMI         4u
#define MADT_PCAT_COMPAT 1u /* there is an 8259 pair, too */
#define ALL_PROCESSORS   0xffu

/* FADT: fixed hardware (ACPI 4.8) and flags (5.2.9). The bit of a button says that there is none. */
#define SPACE_IO            1u
#define PM1_EVENT_BYTES     4u
#define PM1_CONTROL_BYTES   2u
#define PM_TIMER_BYTES      4u
#define NO_C2               101u
#define NO_C3               1001u
#define RTC_CENTURY         0x32u
#define RESET_VALUE         6u
#define BOOT_LEGACY_DEVICES 0x1u
#define BOOT_8042           0x2u
#define BOOT_NO_VGA         0x4u
#define FADT_WBINVD         0x1u
#define FADT_PROC_C1        0x4u
#define FADT_PWR_BUTTON     0x10u
#define FADT_SLP_BUTTON     0x20u
#define FADT_FIX_RTC        0x40u /* its wake-up status is not in PM1 */
#define FADT_RESET_REG      0x400u

struct xsdt {
    struct acpi_header header;
    uint64_t table[2];
} __attribute__((packed));
_Static_assert(sizeof(struct xsdt) == 52, "XSDT, ACPI 5.2.8");

/* Generic address structure: a register of the I/O space. */
struct address {
    uint8_t space;
    uint8_t bits;
    uint8_t bit_offset;
    uint8_t access; /* 1 byte, 2 word, 3 dword */
    uint64_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct address) == 12, "GAS, ACPI 5.2.3.2");

struct fadt {
    struct acpi_header header;
    uint32_t facs;
    uint32_t dsdt;
    uint8_t reserved0;
    uint8_t profile;
    uint16_t sci;
    uint32_t smi_command; /* 0: always in ACPI mode */
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes, gpe0_bytes, gpe1_bytes;
    uint8_t gpe1_base, cst;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_flags;
    uint8_t reserved1;
    uint32_t flags;
    struct address reset;
    uint8_t reset_value;
    uint16_t arm_flags;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
    struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer;
    struct address x_gpe0, x_gpe1, sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, sci) == 46, "FADT, ACPI 5.2.9");
_Static_assert(offsetof(struct fadt, century) == 108, "FADT, ACPI 5.2.9");
_Static_assert(offsetof(struct fadt, flags) == 112, "FADT, ACPI 5.2.9");
_Static_assert(offsetof(struct fadt, x_pm1a_event) == 148, "FADT, ACPI 5.2.9");
_Static_assert(sizeof(struct fadt) == 276, "FADT, ACPI 5.2.9");

struct facs {
    char signature[4];
    uint32_t bytes;
    uint32_t hardware_signature;
    uint32_t waking_vector;
    uint32_t global_lock;
    uint32_t flags;
    uint64_t x_waking_vector;
    uint8_t version;
    uint8_t reserved[31];
};
_Static_assert(sizeof(struct facs) == 64, "FACS, ACPI 5.2.10");

struct madt_ioapic {
    uint8_t type;
    uint8_t bytes;
    uint8_t id;
    uint8_t reserved;
    uint32_t address;
    uint32_t gsi_base;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_ioapic) == 12, "I/O APIC entry, ACPI 5.2.12.3");

struct madt_override {
    uint8_t type;
    uint8_t bytes;
    uint8_t bus; /* 0: ISA */
    uint8_t source;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_override) == 10, "interrupt source override, ACPI 5.2.12.5");

struct madt_nmi {
    uint8_t type;
    uint8_t bytes;
    uint8_t processor_uid;
    uint16_t flags;
    uint8_t lint;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_nmi) == 6, "local APIC NMI, ACPI 5.2.12.7");

#define MADT_MAX                                                                                             \
    (sizeof(struct acpi_madt) + MAX_VCPUS * sizeof(struct acpi_madt_lapic) + sizeof(struct madt_ioapic) +    \
     TABLES_ISA_IRQS * sizeof(struct madt_override) + sizeof(struct madt_nmi))

/* Places in the reserved area, the FACS' in the page at LOADER_RSDP_COPY: no system uses that for anything
 * else. */
enum {
    RSDP_AT = 0,
    XSDT_AT = ALIGN_UP(sizeof(struct acpi_rsdp), TABLE_ALIGN),
    MADT_AT = XSDT_AT + ALIGN_UP(sizeof(struct xsdt), TABLE_ALIGN),
    FADT_AT = MADT_AT + ALIGN_UP(MADT_MAX, TABLE_ALIGN),
    DSDT_AT = FADT_AT + ALIGN_UP(sizeof(struct fadt), TABLE_ALIGN),
    TABLES_END = PAGE_SIZE,
    FACS_AT = TABLE_ALIGN,
};
_Static_assert((unsigned)TABLES_END <= PAGE_SIZE, "mb2_info_build starts on the second page");
_Static_assert(sizeof(struct acpi_rsdp) <= FACS_AT && FACS_AT + sizeof(struct facs) <= LOADER_MP_OFFSET,
               "page at LOADER_RSDP_COPY");

static void fill_header(struct acpi_header *h, const char *signature, uint8_t revision, uint32_t bytes)
{
    memcpy(h->signature, signature, sizeof(h->signature));
    memcpy(h->oem_id, TABLES_OEM, sizeof(h->oem_id));
    memcpy(h->oem_table_id, TABLES_PRODUCT, sizeof(h->oem_table_id));
    h->length = bytes;
    h->revision = revision;
    h->oem_revision = 1;
    h->creator_id = CREATOR_ID;
    h->creator_revision = 1;
}

/* Puts an entry behind the MADT's others; returns where it ends. */
static uint32_t append(uint8_t *table, uint32_t at, const void *entry, uint32_t bytes)
{
    memcpy(table + at, entry, bytes);
    return at + bytes;
}

static uint32_t append_override(uint8_t *table, uint32_t at, uint32_t irq, uint32_t pin, uint16_t flags)
{
    struct madt_override override = {
        .type = MADT_OVERRIDE, .bytes = sizeof(override), .source = (uint8_t)irq, .gsi = pin, .flags = flags};

    return append(table, at, &override, sizeof(override));
}

/* ISA interrupts that are not edge-triggered, active high, and on the pin of their number. */
static uint32_t append_overrides(uint8_t *table, uint32_t at)
{
    at = append_override(table, at, VPLAT_IRQ_PIT, VPLAT_PIN_PIT, 0);
    for (uint32_t irq = 0; irq < TABLES_ISA_IRQS; irq++) {
        if (tables_irq_is_level(irq))
            at = append_override(table, at, irq, irq, TABLES_INTI_LEVEL_HIGH);
    }
    return at;
}

static void build_madt(uint8_t *table, uint32_t vcpus)
{
    struct acpi_madt madt = {.lapic_address = TABLES_LAPIC, .flags = MADT_PCAT_COMPAT};
    struct madt_ioapic ioapic = {.type = MADT_IOAPIC,
                                 .bytes = sizeof(ioapic),
                                 .id = (uint8_t)vplat_ioapic_id(vcpus),
                                 .address = (uint32_t)VPLAT_IOAPIC};
    struct madt_nmi nmi = {
        .type = MADT_NMI, .bytes = sizeof(nmi), .processor_uid = ALL_PROCESSORS, .lint = TABLES_LINT_NMI};
    uint32_t at = sizeof(madt);

    for (uint32_t i = 0; i < vcpus; i++) {
        struct acpi_madt_lapic lapic = {.type = ACPI_MADT_LAPIC,
                                        .length = sizeof(lapic),
                                        .processor_uid = (uint8_t)i,
                                        .apic_id = (uint8_t)i,
                                        .flags = ACPI_LAPIC_ENABLED};

        at = append(table, at, &lapic, sizeof(lapic));
    }
    at = append(table, at, &ioapic, sizeof(ioapic));
    at = append_overrides(table, at);
    at = append(table, at, &nmi, sizeof(nmi));
    fill_header(&madt.header, "APIC", MADT_REVISION, at);
    memcpy(table, &madt, sizeof(madt));
    table[offsetof(struct acpi_header, checksum)] = acpi_checksum(table, at);
}

static struct address io_register(uint16_t port, uint32_t bytes)
{
    return (struct address){.space = SPACE_IO,
                            .bits = (uint8_t)(8 * bytes),
                            .access = bytes == 4 ? 3 : (uint8_t)bytes,
                            .address = port};
}

static void build_fadt(uint8_t *at, uint64_t dsdt, uint64_t facs)
{
    struct fadt fadt = {.facs = (uint32_t)facs,
                        .dsdt = (uint32_t)dsdt,
                        .sci = VPLAT_IRQ_SCI,
                        .pm1a_event = VPLAT_PM1_EVENT,
                        .pm1a_control = VPLAT_PM1_CONTROL,
                        .pm_timer = VPLAT_PM_TIMER,
                        .pm1_event_bytes = PM1_EVENT_BYTES,
                        .pm1_control_bytes = PM1_CONTROL_BYTES,
                        .pm_timer_bytes = PM_TIMER_BYTES,
                        .c2_latency = NO_C2,
                        .c3_latency = NO_C3,
                        .century = RTC_CENTURY,
                        .boot_flags = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA,
                        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
                                 FADT_FIX_RTC | FADT_RESET_REG,
                        .reset = io_register(VPLAT_RESET, 1),
                        .reset_value = RESET_VALUE,
                        .minor = FADT_MINOR,
                        .x_facs = facs,
                        .x_dsdt = dsdt,
                        .x_pm1a_event = io_register(VPLAT_PM1_EVENT, PM1_EVENT_BYTES),
                        .x_pm1a_control = io_register(VPLAT_PM1_CONTROL, PM1_CONTROL_BYTES),
                        .x_pm_timer = io_register(VPLAT_PM_TIMER, PM_TIMER_BYTES)};

    fill_header(&fadt.header, "FACP", FADT_REVISION, sizeof(fadt));
    fadt.header.checksum = acpi_checksum(&fadt, sizeof(fadt));
    memcpy(at, &fadt, sizeof(fadt));
}

static void build_dsdt(uint8_t *at, uint32_t max)
{
    struct acpi_header header = {0};
    uint32_t bytes = (uint32_t)sizeof(header);

    bytes += dsdt_build(at + bytes, max - bytes);
    fill_header(&header, "DSDT", DSDT_REVISION, bytes);
    memcpy(at, &header, sizeof(header));
    at[offsetof(struct acpi_header, checksum)] = acpi_checksum(at, bytes);
}

static void build_facs(uint8_t *at)
{
    struct facs facs = {.bytes = sizeof(facs), .version = FACS_VERSION};

    memcpy(facs.signature, "FACS", sizeof(facs.signature));
    memcpy(at, &facs, sizeof(facs));
}

static void build_xsdt(uint8_t *at, uint64_t fadt_gpa, uint64_t madt_gpa)
{
    struct xsdt xsdt = {.table = {fadt_gpa, madt_gpa}};

    fill_header(&xsdt.header, "XSDT", XSDT_REVISION, sizeof(xsdt));
    xsdt.header.checksum = acpi_checksum(&xsdt, sizeof(xsdt));
    memcpy(at, &xsdt, sizeof(xsdt));
}

static void build_rsdp(uint8_t *at, uint64_t xsdt_gpa)
{
    struct acpi_rsdp rsdp = {.revision = RSDP_REVISION, .length = sizeof(rsdp), .xsdt_address = xsdt_gpa};

    memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
    memcpy(rsdp.oem_id, TABLES_OEM, sizeof(rsdp.oem_id));
    rsdp.checksum = acpi_checksum(&rsdp, ACPI_RSDP_V1_BYTES);
    rsdp.extended_checksum = acpi_checksum(&rsdp, sizeof(rsdp));
    memcpy(at, &rsdp, sizeof(rsdp));
}

uint64_t acpi_build(uint8_t *mem, uint64_t mem_bytes, uint32_t vcpus)
{
    uint64_t base = mem_bytes - LOADER_RESERVED_BYTES;

    HV_CHECK(vcpus >= 1 && vcpus <= MAX_VCPUS);
    memset(mem + base, 0, LOADER_RESERVED_BYTES);
    memset(mem + LOADER_RSDP_COPY, 0, PAGE_SIZE);
    build_madt(mem + base + MADT_AT, vcpus);
    build_facs(mem + LOADER_RSDP_COPY + FACS_AT);
    build_dsdt(mem + base + DSDT_AT, TABLES_END - DSDT_AT);
    build_fadt(mem + base + FADT_AT, base + DSDT_AT, LOADER_RSDP_COPY + FACS_AT);
    build_xsdt(mem + base + XSDT_AT, base + FADT_AT, base + MADT_AT);
    build_rsdp(mem + base + RSDP_AT, base + XSDT_AT);
    build_rsdp(mem + LOADER_RSDP_COPY, base + XSDT_AT);
    return base + RSDP_AT;
}
