/* The guest's MP tables (MultiProcessor Specification 1.4, chapter 4). */
#include <string.h>

#include "drivers/vdev/cpuid.h"
#include "drivers/vdev/platform.h"
#include "hv/base/check.h"
#include "hv/guestmem/tables.h"

#define SPEC_REVISION     4u /* 1.4 */
#define LAPIC_VERSION     0x14u
#define IOAPIC_VERSION    0x20u
#define PARAGRAPH_BYTES   16u
#define ISA_BUS           0u
#define ALL_LOCAL_APICS   0xffu
#define PROCESSOR_ENABLED 1u
#define PROCESSOR_BOOT    2u
#define IOAPIC_ENABLED    1u

enum entry_type {
    MP_PROCESSOR = 0,
    MP_BUS = 1,
    MP_IOAPIC = 2,
    MP_IO_INTERRUPT = 3,
    MP_LOCAL_INTERRUPT = 4,
};

enum interrupt_type {
    MP_INT = 0,
    MP_NMI = 1,
    MP_EXTINT = 3,
};

struct mp_pointer {
    char signature[4];
    uint32_t table;
    uint8_t paragraphs;
    uint8_t spec_revision;
    uint8_t checksum;
    uint8_t features[5]; /* 0: there is a table, and no IMCR */
};
_Static_assert(sizeof(struct mp_pointer) == 16, "MP 4.1");

struct mp_head {
    char signature[4];
    uint16_t bytes; /* with all entries */
    uint8_t spec_revision;
    uint8_t checksum;
    char oem_id[8];
    char product_id[12];
    uint32_t oem_table;
    uint16_t oem_table_bytes;
    uint16_t entries;
    uint32_t lapic;
    uint16_t extended_bytes;
    uint8_t extended_checksum;
    uint8_t reserved;
};
_Static_assert(sizeof(struct mp_head) == 44, "MP 4.2");

struct mp_processor {
    uint8_t type;
    uint8_t apic_id;
    uint8_t apic_version;
    uint8_t flags;
    uint32_t signature; /* CPUID leaf 1 EAX and EDX */
    uint32_t features;
    uint32_t reserved[2];
};
_Static_assert(sizeof(struct mp_processor) == 20, "MP 4.3.1");

struct mp_bus {
    uint8_t type;
    uint8_t id;
    char name[6];
};
_Static_assert(sizeof(struct mp_bus) == 8, "MP 4.3.2");

struct mp_ioapic {
    uint8_t type;
    uint8_t id;
    uint8_t version;
    uint8_t flags;
    uint32_t address;
};
_Static_assert(sizeof(struct mp_ioapic) == 8, "MP 4.3.3");

/* I/O and local interrupt assignments have one form. */
struct mp_interrupt {
    uint8_t type;
    uint8_t interrupt_type;
    uint16_t flags; /* 0: as the bus has it */
    uint8_t bus;
    uint8_t irq;
    uint8_t apic;
    uint8_t input;
};
_Static_assert(sizeof(struct mp_interrupt) == 8, "MP 4.3.4, 4.3.5");

#define TABLE_MAX                                                                                            \
    (sizeof(struct mp_head) + MAX_VCPUS * sizeof(struct mp_processor) + sizeof(struct mp_bus) +              \
     sizeof(struct mp_ioapic) + (TABLES_ISA_IRQS + 2) * sizeof(struct mp_interrupt))
_Static_assert(LOADER_MP_OFFSET + sizeof(struct mp_pointer) + TABLE_MAX <= PAGE_SIZE,
               "page at LOADER_RSDP_COPY");

/* Where the next entry goes. */
struct writer {
    uint8_t *table;
    uint16_t at;
    uint16_t entries;
};

static void append(struct writer *w, const void *entry, size_t bytes)
{
    memcpy(w->table + w->at, entry, bytes);
    w->at = (uint16_t)(w->at + bytes);
    w->entries++;
}

static void append_processors(struct writer *w, uint32_t vcpus)
{
    for (uint32_t i = 0; i < vcpus; i++) {
        struct cpuid_context context = {.vcpu = i, .n_vcpus = vcpus, .apic_enabled = 1};
        struct cpuid_answer version = cpuid_model(1, 0, &context);
        struct mp_processor processor = {.type = MP_PROCESSOR,
                                         .apic_id = (uint8_t)i,
                                         .apic_version = LAPIC_VERSION,
                                         .flags = PROCESSOR_ENABLED | (i == 0 ? PROCESSOR_BOOT : 0),
                                         .signature = version.eax & 0xfff,
                                         .features = version.edx};

        append(w, &processor, sizeof(processor));
    }
}

/* Every ISA interrupt to the I/O APIC: pin 2 is the timer's, and the cascade has none. */
static void append_isa_interrupts(struct writer *w, uint8_t ioapic)
{
    for (uint32_t irq = 0; irq < TABLES_ISA_IRQS; irq++) {
        struct mp_interrupt interrupt = {.type = MP_IO_INTERRUPT,
                                         .interrupt_type = MP_INT,
                                         .flags = tables_irq_is_level(irq) ? TABLES_INTI_LEVEL_HIGH : 0,
                                         .bus = ISA_BUS,
                                         .irq = (uint8_t)irq,
                                         .apic = ioapic,
                                         .input = (uint8_t)(irq == VPLAT_IRQ_PIT ? VPLAT_PIN_PIT : irq)};

        if (irq != VPLAT_IRQ_CASCADE)
            append(w, &interrupt, sizeof(interrupt));
    }
}

static void append_local_interrupts(struct writer *w)
{
    struct mp_interrupt extint = {.type = MP_LOCAL_INTERRUPT,
                                  .interrupt_type = MP_EXTINT,
                                  .bus = ISA_BUS,
                                  .apic = 0,
                                  .input = TABLES_LINT_EXTINT};
    struct mp_interrupt nmi = {.type = MP_LOCAL_INTERRUPT,
                               .interrupt_type = MP_NMI,
                               .bus = ISA_BUS,
                               .apic = ALL_LOCAL_APICS,
                               .input = TABLES_LINT_NMI};

    append(w, &extint, sizeof(extint));
    append(w, &nmi, sizeof(nmi));
}

static void build_table(uint8_t *table, uint32_t vcpus)
{
    struct writer w = {.table = table, .at = sizeof(struct mp_head)};
    struct mp_bus isa = {.type = MP_BUS, .id = ISA_BUS};
    struct mp_ioapic ioapic = {.type = MP_IOAPIC,
                               .id = (uint8_t)vplat_ioapic_id(vcpus),
                               .version = IOAPIC_VERSION,
                               .flags = IOAPIC_ENABLED,
                               .address = (uint32_t)VPLAT_IOAPIC};
    struct mp_head head = {.spec_revision = SPEC_REVISION, .lapic = TABLES_LAPIC};

    memcpy(isa.name, "ISA   ", sizeof(isa.name));
    append_processors(&w, vcpus);
    append(&w, &isa, sizeof(isa));
    append(&w, &ioapic, sizeof(ioapic));
    append_isa_interrupts(&w, ioapic.id);
    append_local_interrupts(&w);
    memcpy(head.signature, "PCMP", sizeof(head.signature));
    memcpy(head.oem_id, "RETROV  ", sizeof(head.oem_id));
    memcpy(head.product_id, "RETROVISOR  ", sizeof(head.product_id));
    head.bytes = w.at;
    head.entries = w.entries;
    memcpy(table, &head, sizeof(head));
    table[offsetof(struct mp_head, checksum)] = acpi_checksum(table, w.at);
}

void mp_build(uint8_t *mem, uint32_t vcpus)
{
    uint64_t at = LOADER_RSDP_COPY + LOADER_MP_OFFSET;
    struct mp_pointer pointer = {.table = (uint32_t)(at + sizeof(pointer)),
                                 .paragraphs = sizeof(pointer) / PARAGRAPH_BYTES,
                                 .spec_revision = SPEC_REVISION};

    HV_CHECK(vcpus >= 1 && vcpus <= MAX_VCPUS);
    memcpy(pointer.signature, "_MP_", sizeof(pointer.signature));
    pointer.checksum = acpi_checksum(&pointer, sizeof(pointer));
    memcpy(mem + at, &pointer, sizeof(pointer));
    build_table(mem + pointer.table, vcpus);
}
