/* The I/O APIC. See ioapic.h. */
#include "drivers/vdev/ioapic.h"

#include <string.h>

/* Memory-mapped registers. */
#define IOREGSEL 0x00u
#define IOWIN    0x10u
#define EOI      0x40u

/* Registers behind IOWIN. */
#define REG_ID          0x00u
#define REG_VERSION     0x01u
#define REG_ARBITRATION 0x02u
#define REG_ENTRIES     0x10u

#define VERSION  UINT32_C(0x20)
#define ID_SHIFT 24
#define ID_BITS  UINT32_C(0xF)

/* Bits of an entry that software can write. */
#define WRITABLE                                                                                             \
    (VIOAPIC_VECTOR | VIOAPIC_MODE | VIOAPIC_LOGICAL | VIOAPIC_LOW | VIOAPIC_LEVEL | VIOAPIC_MASKED |        \
     UINT64_C(0xFF) << VIOAPIC_DEST_SHIFT)

void vioapic_reset(struct vioapic *io, uint32_t id)
{
    memset(io, 0, sizeof(*io));
    io->id = id & ID_BITS;
    for (uint32_t i = 0; i < VPLAT_IOAPIC_PINS; i++)
        io->entry[i] = VIOAPIC_MASKED;
}

static uint32_t read_window(const struct vioapic *io)
{
    uint32_t index = io->select - REG_ENTRIES;

    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return io->id << ID_SHIFT;
    case REG_VERSION:
        return VERSION | (VPLAT_IOAPIC_PINS - 1) << 16;
    default:
        if (io->select < REG_ENTRIES || index / 2 >= VPLAT_IOAPIC_PINS)
            return 0;
        return (uint32_t)(io->entry[index / 2] >> (index % 2 ? 32 : 0));
    }
}

static void write_entry(struct vioapic *io, uint32_t index, uint32_t value)
{
    uint64_t *entry = &io->entry[index / 2];
    uint64_t half = UINT64_C(0xFFFFFFFF) << (index % 2 ? 32 : 0);
    uint64_t changed = (uint64_t)value << (index % 2 ? 32 : 0);

    *entry = (*entry & ~(half & WRITABLE)) | (changed & half & WRITABLE);
    /* Edge-triggered interrupts have no end to await: how software gets rid of a stuck one. */
    if (!(*entry & VIOAPIC_LEVEL))
        *entry &= ~VIOAPIC_REMOTE_IRR;
}

static void write_window(struct vioapic *io, uint32_t value)
{
    if (io->select == REG_ID)
        io->id = value >> ID_SHIFT & ID_BITS;
    else if (io->select >= REG_ENTRIES && (io->select - REG_ENTRIES) / 2 < VPLAT_IOAPIC_PINS)
        write_entry(io, io->select - REG_ENTRIES, value);
}

uint32_t vioapic_read(const struct vioapic *io, uint32_t offset)
{
    if (offset == IOREGSEL)
        return io->select;
    return offset == IOWIN ? read_window(io) : 0;
}

void vioapic_write(struct vioapic *io, uint32_t offset, uint32_t value)
{
    if (offset == IOREGSEL)
        io->select = value & 0xFF;
    else if (offset == IOWIN)
        write_window(io, value);
    else if (offset == EOI)
        vioapic_eoi(io, (uint8_t)value);
}

void vioapic_line(struct vioapic *io, uint32_t pin, bool asserted)
{
    uint32_t bit;

    if (pin >= VPLAT_IOAPIC_PINS)
        return;
    bit = UINT32_C(1) << pin;
    if (asserted && !(io->lines & bit) && !(io->entry[pin] & (VIOAPIC_MASKED | VIOAPIC_LEVEL)))
        io->edges |= bit;
    io->lines = asserted ? io->lines | bit : io->lines & ~bit;
}

void vioapic_eoi(struct vioapic *io, uint8_t vector)
{
    for (uint32_t i = 0; i < VPLAT_IOAPIC_PINS; i++) {
        if ((io->entry[i] & VIOAPIC_LEVEL) && (io->entry[i] & VIOAPIC_VECTOR) == vector)
            io->entry[i] &= ~VIOAPIC_REMOTE_IRR;
    }
}

/* Whether `pin` has something to send now. A latched edge is sent even if the entry has been masked since. */
static bool sends(const struct vioapic *io, uint32_t pin)
{
    uint64_t blocked = io->entry[pin] & (VIOAPIC_MASKED | VIOAPIC_REMOTE_IRR);

    if (io->edges >> pin & 1)
        return true;
    return (io->entry[pin] & VIOAPIC_LEVEL) && !blocked && (io->lines >> pin & 1);
}

bool vioapic_next(struct vioapic *io, struct vioapic_message *message)
{
    for (uint32_t i = 0; i < VPLAT_IOAPIC_PINS; i++) {
        uint64_t entry = io->entry[i];
        if (!sends(io, i))
            continue;
        io->edges &= ~(UINT32_C(1) << i);
        *message = (struct vioapic_message){.vector = (uint8_t)entry,
                                            .mode = (uint8_t)((entry & VIOAPIC_MODE) >> VIOAPIC_MODE_SHIFT),
                                            .dest = (uint8_t)(entry >> VIOAPIC_DEST_SHIFT),
                                            .logical = (entry & VIOAPIC_LOGICAL) != 0,
                                            .level = (entry & VIOAPIC_LEVEL) != 0};
        if (message->level)
            io->entry[i] |= VIOAPIC_REMOTE_IRR;
        return true;
    }
    return false;
}

bool vioapic_hears(const struct vioapic *io, uint32_t pin)
{
    return pin < VPLAT_IOAPIC_PINS && !(io->entry[pin] & (VIOAPIC_MASKED | VIOAPIC_REMOTE_IRR));
}
