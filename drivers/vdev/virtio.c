/* A virtio device's registers: common configuration, doorbells, interrupts. See virtio.h and virtio_pci.h. */
#include "drivers/vdev/virtio.h"

#include "drivers/vdev/virtio_pci.h"

#include <string.h>

/* Common configuration (virtio 4.1.4.3). */
enum common {
    DEVICE_FEATURE_SELECT = 0x00,
    DEVICE_FEATURE = 0x04,
    DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0C,
    CONFIG_VECTOR = 0x10,
    NUM_QUEUES = 0x12,
    DEVICE_STATUS = 0x14,
    QUEUE_SELECT = 0x16,
    QUEUE_SIZE = 0x18,
    QUEUE_VECTOR = 0x1A,
    QUEUE_ENABLE = 0x1C,
    QUEUE_NOTIFY_OFF = 0x1E,
    QUEUE_DESC = 0x20,
    QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
};

#define ISR_QUEUE  UINT8_C(1)
#define ISR_CONFIG UINT8_C(2)

#define MSIX_ADDRESS_BITS ~UINT64_C(3)
#define MSIX_MASKED       UINT32_C(1)

/* Alignments of a queue's parts (virtio 2.7). */
#define DESC_ALIGN   16u
#define DRIVER_ALIGN 2u
#define DEVICE_ALIGN 4u

/* Block and network configuration (virtio 5.2.4, 5.1.4). */
#define BLK_CAPACITY 0u
#define BLK_SIZE_MAX 8u
#define BLK_SEG_MAX  12u
#define BLK_BLK_SIZE 20u
#define NET_STATUS   6u
#define NET_LINK_UP  1u

/* ---- Interrupts ---- */

void virtio_raise(struct virtio *v, uint32_t queue)
{
    uint16_t vector = queue < VIRTIO_QUEUES ? v->queue[queue].vector : v->config_vector;

    if (!(v->pci.msix_control & VIRTIO_MSIX_ENABLE))
        v->isr |= queue < VIRTIO_QUEUES ? ISR_QUEUE : ISR_CONFIG;
    else if (vector < VIRTIO_VECTORS)
        v->pci.pending |= UINT32_C(1) << vector;
}

bool virtio_intx(const struct virtio *v)
{
    return v->isr && !(v->pci.msix_control & VIRTIO_MSIX_ENABLE) &&
           !(v->pci.command & VIRTIO_COMMAND_NO_INTX);
}

bool virtio_next_message(struct virtio *v, struct virtio_message *message)
{
    bool may_send = (v->pci.msix_control & (VIRTIO_MSIX_ENABLE | VIRTIO_MSIX_MASK)) == VIRTIO_MSIX_ENABLE &&
                    (v->pci.command & VIRTIO_COMMAND_MASTER);

    for (uint32_t i = 0; may_send && i < VIRTIO_VECTORS; i++) {
        const struct virtio_msix *entry = &v->pci.msix[i];
        if (!(v->pci.pending >> i & 1) || (entry->control & MSIX_MASKED))
            continue;
        v->pci.pending &= ~(UINT32_C(1) << i);
        v->changes++;
        *message = (struct virtio_message){.address = entry->address, .data = entry->data};
        return true;
    }
    return false;
}

/* ---- Device-specific configuration ---- */

static uint8_t blk_byte(const struct virtio *v, uint32_t offset)
{
    if (offset < BLK_SIZE_MAX)
        return (uint8_t)(v->blk.sectors >> 8 * (offset - BLK_CAPACITY));
    if (offset < BLK_SEG_MAX)
        return (uint8_t)(VIRTIO_BLK_SEGMENT >> 8 * (offset - BLK_SIZE_MAX));
    if (offset < BLK_SEG_MAX + 4)
        return (uint8_t)(VIRTIO_BLK_SEGMENTS >> 8 * (offset - BLK_SEG_MAX));
    if (offset >= BLK_BLK_SIZE && offset < BLK_BLK_SIZE + 4)
        return (uint8_t)(VIRTIO_SECTOR >> 8 * (offset - BLK_BLK_SIZE));
    return 0;
}

uint8_t virtio_config_byte(const struct virtio *v, uint32_t offset)
{
    if (v->kind == VIRTIO_BLK)
        return blk_byte(v, offset);
    if (v->kind == VIRTIO_NET && offset < VNET_MAC_BYTES)
        return v->net.mac[offset];
    return v->kind == VIRTIO_NET && offset == NET_STATUS ? NET_LINK_UP : 0;
}

/* ---- Reads of the BAR ---- */

static void put(uint8_t *b, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)(value >> 8 * i);
}

static void fill_queue(const struct virtio *v, uint8_t *image)
{
    const struct virtio_queue *q = &v->queue[v->queue_select];

    put(image + QUEUE_SIZE, q->size, 2);
    put(image + QUEUE_VECTOR, q->vector, 2);
    put(image + QUEUE_ENABLE, q->enabled, 2);
    put(image + QUEUE_NOTIFY_OFF, v->queue_select, 2);
    put(image + QUEUE_DESC, q->desc, 8);
    put(image + QUEUE_DRIVER, q->driver, 8);
    put(image + QUEUE_DEVICE, q->device, 8);
}

/* The common configuration as bytes. A queue that does not exist has size 0 (virtio 4.1.4.3.1). */
static void fill_common(const struct virtio *v, uint8_t image[VIRTIO_COMMON_BYTES])
{
    memset(image, 0, VIRTIO_COMMON_BYTES);
    put(image + DEVICE_FEATURE_SELECT, v->device_select, 4);
    if (v->device_select < 2)
        put(image + DEVICE_FEATURE, v->offered >> 32 * v->device_select, 4);
    put(image + DRIVER_FEATURE_SELECT, v->driver_select, 4);
    if (v->driver_select < 2)
        put(image + DRIVER_FEATURE, v->accepted >> 32 * v->driver_select, 4);
    put(image + CONFIG_VECTOR, v->config_vector, 2);
    put(image + NUM_QUEUES, v->queue_count, 2);
    image[DEVICE_STATUS] = v->status;
    put(image + QUEUE_SELECT, v->queue_select, 2);
    if (v->queue_select < v->queue_count)
        fill_queue(v, image);
}

static uint8_t common_byte(const struct virtio *v, uint32_t offset)
{
    uint8_t image[VIRTIO_COMMON_BYTES];

    if (offset >= VIRTIO_COMMON_BYTES)
        return 0;
    fill_common(v, image);
    return image[offset];
}

static uint8_t msix_byte(const struct virtio *v, uint32_t offset)
{
    const struct virtio_msix *entry = &v->pci.msix[offset / VIRTIO_MSIX_BYTES];
    uint8_t image[VIRTIO_MSIX_BYTES];

    put(image, entry->address, 8);
    put(image + 8, entry->data, 4);
    put(image + 12, entry->control, 4);
    return image[offset % VIRTIO_MSIX_BYTES];
}

/* Reading it takes the interrupt back (virtio 4.1.4.5). */
static uint8_t read_isr(struct virtio *v)
{
    uint8_t isr = v->isr;

    v->isr = 0;
    v->changes++;
    return isr;
}

static uint8_t read_byte(struct virtio *v, uint32_t offset)
{
    if (offset < VIRTIO_BAR_ISR)
        return common_byte(v, offset);
    if (offset < VIRTIO_BAR_DEVICE)
        return offset == VIRTIO_BAR_ISR ? read_isr(v) : 0;
    if (offset < VIRTIO_BAR_NOTIFY)
        return virtio_config_byte(v, offset - VIRTIO_BAR_DEVICE);
    if (offset >= VIRTIO_BAR_MSIX && offset < VIRTIO_BAR_MSIX + VIRTIO_VECTORS * VIRTIO_MSIX_BYTES)
        return msix_byte(v, offset - VIRTIO_BAR_MSIX);
    return offset == VIRTIO_BAR_PENDING ? (uint8_t)v->pci.pending : 0;
}

uint64_t virtio_bar_read(struct virtio *v, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < size && i < sizeof(value); i++)
        value |= (uint64_t)read_byte(v, offset + i) << 8 * i;
    return value;
}

/* ---- Writes of the BAR ---- */

void virtio_reset(struct virtio *v)
{
    v->accepted = 0;
    v->device_select = v->driver_select = 0;
    v->queue_select = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->status = 0;
    v->isr = 0;
    v->pci.pending = 0;
    memset(v->queue, 0, sizeof(v->queue));
    for (uint32_t i = 0; i < VIRTIO_QUEUES; i++) {
        v->queue[i].size = i < v->queue_count ? VIRTIO_QUEUE_SIZE : 0;
        v->queue[i].vector = VIRTIO_NO_VECTOR;
    }
    if (v->kind == VIRTIO_NET) { /* what nobody waits for any more is lost */
        memset(v->net.frame, 0, sizeof(v->net.frame));
        v->net.first = v->net.count = 0;
    }
}

/* Bits are only ever added, until a reset (virtio 2.1). */
static void write_status(struct virtio *v, uint8_t value)
{
    bool agreed = (v->accepted & ~v->offered) == 0 && (v->accepted & VIRTIO_F_VERSION_1);

    if (value == 0) {
        virtio_reset(v);
        return;
    }
    if (!agreed)
        value &= (uint8_t)~VIRTIO_S_FEATURES_OK;
    if (!((v->status | value) & VIRTIO_S_FEATURES_OK))
        value &= (uint8_t)~VIRTIO_S_DRIVER_OK;
    v->status |= value & (VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK |
                          VIRTIO_S_FAILED);
}

static void write_features(struct virtio *v, uint32_t value)
{
    uint32_t shift = 32 * v->driver_select;

    if (v->driver_select >= 2 || (v->status & VIRTIO_S_FEATURES_OK))
        return;
    v->accepted = (v->accepted & ~(UINT64_C(0xFFFFFFFF) << shift)) | (uint64_t)value << shift;
}

/* A vector that the table does not have is refused: NO_VECTOR is read back (virtio 4.1.5.1.2). */
static uint16_t vector_of(uint32_t value)
{
    return value < VIRTIO_VECTORS ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static bool is_power_of_2(uint32_t value)
{
    return value && !(value & (value - 1));
}

/* Whether `bytes` can be at `address`. */
static bool fits(uint64_t address, uint64_t bytes, uint32_t alignment)
{
    return address % alignment == 0 && address <= UINT64_MAX - bytes;
}

/* A queue with a part where none can be stays disabled. Sizes: virtio 2.7. */
static void enable_queue(struct virtio_queue *q, uint32_t value)
{
    if (value == 1 && fits(q->desc, 16u * q->size, DESC_ALIGN) &&
        fits(q->driver, 6u + 2u * q->size, DRIVER_ALIGN) && fits(q->device, 6u + 8u * q->size, DEVICE_ALIGN))
        q->enabled = 1;
}

static uint64_t half_written(uint64_t old, bool high, uint32_t value)
{
    return high ? (old & UINT64_C(0xFFFFFFFF)) | (uint64_t)value << 32
                : (old & ~UINT64_C(0xFFFFFFFF)) | value;
}

/* What a queue is made of stays as it is once it is enabled (virtio 4.1.4.3.2). */
static void write_queue(struct virtio *v, uint32_t offset, uint32_t size, uint32_t value)
{
    bool high = offset & 4;
    struct virtio_queue *q;

    if (v->queue_select >= v->queue_count)
        return;
    q = &v->queue[v->queue_select];
    if (size == 2 && offset == QUEUE_VECTOR)
        q->vector = vector_of(value);
    if (q->enabled)
        return;
    if (size == 2 && offset == QUEUE_ENABLE)
        enable_queue(q, value);
    else if (size == 2 && offset == QUEUE_SIZE && is_power_of_2(value) && value <= VIRTIO_QUEUE_SIZE)
        q->size = (uint16_t)value;
    else if (size == 4 && (offset & ~4u) == QUEUE_DESC)
        q->desc = half_written(q->desc, high, value);
    else if (size == 4 && (offset & ~4u) == QUEUE_DRIVER)
        q->driver = half_written(q->driver, high, value);
    else if (size == 4 && (offset & ~4u) == QUEUE_DEVICE)
        q->device = half_written(q->device, high, value);
}

static void write_common(struct virtio *v, uint32_t offset, uint32_t size, uint32_t value)
{
    if (size == 4 && offset == DEVICE_FEATURE_SELECT)
        v->device_select = value;
    else if (size == 4 && offset == DRIVER_FEATURE_SELECT)
        v->driver_select = value;
    else if (size == 4 && offset == DRIVER_FEATURE)
        write_features(v, value);
    else if (size == 2 && offset == CONFIG_VECTOR)
        v->config_vector = vector_of(value);
    else if (size == 1 && offset == DEVICE_STATUS)
        write_status(v, (uint8_t)value);
    else if (size == 2 && offset == QUEUE_SELECT)
        v->queue_select = (uint16_t)value;
    else if (offset >= QUEUE_SIZE)
        write_queue(v, offset, size, value);
}

/* The table takes accesses of 4 and 8 bytes only (PCI 6.8.2). */
static void write_msix(struct virtio *v, uint32_t offset, uint32_t size, uint32_t value)
{
    struct virtio_msix *entry = &v->pci.msix[offset / VIRTIO_MSIX_BYTES];

    if (size != 4)
        return;
    switch (offset % VIRTIO_MSIX_BYTES) {
    case 0:
    case 4:
        entry->address = half_written(entry->address, offset & 4, value) & MSIX_ADDRESS_BITS;
        break;
    case 8:
        entry->data = value;
        break;
    case 12:
        entry->control = value & MSIX_MASKED;
        break;
    default:
        break;
    }
}

/* Which queue it is about, the address says (virtio 4.1.4.4). */
static void write_notify(struct virtio *v, uint32_t offset)
{
    if (offset % VIRTIO_NOTIFY_BYTES == 0 && offset / VIRTIO_NOTIFY_BYTES < v->queue_count)
        v->queue[offset / VIRTIO_NOTIFY_BYTES].pending = 1;
}

void virtio_bar_write(struct virtio *v, uint32_t offset, uint32_t size, uint64_t value)
{
    if (size == 8) {
        virtio_bar_write(v, offset, 4, (uint32_t)value);
        virtio_bar_write(v, offset + 4, 4, value >> 32);
        return;
    }
    if (size != 1 && size != 2 && size != 4)
        return;
    v->changes++;
    value &= UINT64_C(0xFFFFFFFF) >> (32 - 8 * size);
    if (offset < VIRTIO_BAR_ISR)
        write_common(v, offset, size, (uint32_t)value);
    else if (offset >= VIRTIO_BAR_NOTIFY && offset < VIRTIO_BAR_MSIX)
        write_notify(v, offset - VIRTIO_BAR_NOTIFY);
    else if (offset >= VIRTIO_BAR_MSIX && offset < VIRTIO_BAR_MSIX + VIRTIO_VECTORS * VIRTIO_MSIX_BYTES)
        write_msix(v, offset - VIRTIO_BAR_MSIX, size, (uint32_t)value);
}
