/*
 * The guest's virtio devices: block, network and entropy, as modern PCI functions (Virtual I/O Device 1.2,
 * "virtio" below; PCI Local Bus Specification 3.0). Pure: no pointers in the state, no clock.
 *
 * A device writes guest memory in two steps. virtio_prepare() looks at the queues in one snapshot of guest
 * memory and plans what to do: a bounded list of memory writes, of disk writes, and the device's next state.
 * It changes nothing. If the plan still holds when its commit's turn has come (nobody changed the device,
 * nobody changed the memory that it read), the caller makes the memory writes and calls virtio_apply(), which
 * cannot fail. Else the plan is dropped and made anew. So a conflict leaves no trace.
 *
 * Accesses of the guest (configuration space, the BAR) are acts, in commit order. A notification only notes
 * that a queue is to be looked at: virtio_has_work() tells.
 *
 * No offloads, no indirect descriptors, no event index, no packed rings. A driver that breaks the rules of a
 * queue (a chain that loops, an address without memory) gets a device that needs a reset (virtio 2.1.2).
 */
#ifndef RV_DRIVERS_VDEV_VIRTIO_H
#define RV_DRIVERS_VDEV_VIRTIO_H

#include "drivers/vdev/random.h"
#include "drivers/vdev/virtio_net.h"
#include "hv/base/types.h"

/* Device IDs (virtio 5). */
enum virtio_kind {
    VIRTIO_NONE = 0, /* no function there */
    VIRTIO_NET = 1,
    VIRTIO_BLK = 2,
    VIRTIO_RNG = 4,
};

#define VIRTIO_QUEUES 2u
#define VIRTIO_VECTORS                                                                                       \
    (VIRTIO_QUEUES + 1) /* of MSI-X: one for each queue, one for changes of configuration */
#define VIRTIO_NO_VECTOR    UINT16_C(0xFFFF)
#define VIRTIO_QUEUE_SIZE   UINT16_C(128) /* descriptors of a queue, at most */
#define VIRTIO_SECTOR       512u
#define VIRTIO_BLK_ID       20u
#define VIRTIO_BLK_SEGMENT  4096u /* bytes of a segment of a disk request, at most */
#define VIRTIO_BLK_SEGMENTS 16u   /* segments of a request, at most */

/* Device status (virtio 2.1). */
#define VIRTIO_S_ACKNOWLEDGE UINT8_C(0x01)
#define VIRTIO_S_DRIVER      UINT8_C(0x02)
#define VIRTIO_S_DRIVER_OK   UINT8_C(0x04)
#define VIRTIO_S_FEATURES_OK UINT8_C(0x08)
#define VIRTIO_S_NEEDS_RESET UINT8_C(0x40)
#define VIRTIO_S_FAILED      UINT8_C(0x80)

/* Features (virtio 5.1.3, 5.2.3, 6). */
#define VIRTIO_F_VERSION_1    BIT(32)
#define VIRTIO_BLK_F_SIZE_MAX BIT(1)
#define VIRTIO_BLK_F_SEG_MAX  BIT(2)
#define VIRTIO_BLK_F_RO       BIT(5)
#define VIRTIO_BLK_F_BLK_SIZE BIT(6)
#define VIRTIO_BLK_F_FLUSH    BIT(9)
#define VIRTIO_NET_F_MAC      BIT(5)
#define VIRTIO_NET_F_STATUS   BIT(16)

/* A split virtqueue (virtio 2.7). */
struct virtio_queue {
    uint64_t desc;   /* guest-physical addresses of the three parts */
    uint64_t driver; /* available ring */
    uint64_t device; /* used ring */
    uint16_t size;   /* a power of two, at most VIRTIO_QUEUE_SIZE */
    uint16_t vector; /* of MSI-X, or VIRTIO_NO_VECTOR */
    uint16_t avail;  /* next entry of the available ring to look at; counts on past `size` */
    uint16_t used;   /* next entry of the used ring to fill; likewise */
    uint8_t enabled;
    uint8_t pending; /* 1: there may be something in it */
    uint8_t reserved[6];
};

_Static_assert(sizeof(struct virtio_queue) == 40, "struct virtio_queue has no padding");

/* An entry of the MSI-X table (PCI 6.8.2). */
struct virtio_msix {
    uint64_t address;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
};

/* What can change in a function's configuration space. */
struct virtio_pci {
    struct virtio_msix msix[VIRTIO_VECTORS];
    uint32_t bar;           /* address of the BAR */
    uint32_t window_offset; /* access to the BAR by configuration space (virtio 4.1.4.9) */
    uint32_t window_length;
    uint32_t pending;      /* MSI-X vectors that wait to be sent (the PBA) */
    uint16_t command;      /* PCI 6.2.2 */
    uint16_t msix_control; /* enable and function mask */
    uint8_t line;          /* interrupt line: software's own note */
    uint8_t window_bar;
    uint8_t reserved[2];
};

_Static_assert(sizeof(struct virtio_pci) == 24 + 16 * VIRTIO_VECTORS, "struct virtio_pci has no padding");

struct virtio_blk {
    uint64_t sectors; /* capacity */
    uint8_t id[VIRTIO_BLK_ID];
    uint8_t reserved[4];
};

/* Guest state; reserved bytes are 0. */
struct virtio {
    uint64_t offered;  /* features */
    uint64_t accepted; /* what the driver has written */
    uint64_t changes;  /* counts the changes of everything here: what a plan is based on */
    uint32_t kind;     /* enum virtio_kind */
    uint32_t device_select;
    uint32_t driver_select;
    uint16_t queue_select;
    uint16_t config_vector;
    uint8_t queue_count;
    uint8_t status;
    uint8_t isr; /* bit 0: a queue, bit 1: the device's status or configuration */
    uint8_t reserved[5];
    struct virtio_queue queue[VIRTIO_QUEUES];
    struct virtio_pci pci;
    /* One of them is used, as `kind` says; the others are 0. */
    struct virtio_blk blk;
    struct virtio_net net;
    struct vrandom rng;
};

_Static_assert(offsetof(struct virtio, queue) == 48, "struct virtio has no padding");
_Static_assert(sizeof(struct virtio) == 48 + VIRTIO_QUEUES * sizeof(struct virtio_queue) +
                                            sizeof(struct virtio_pci) + sizeof(struct virtio_blk) +
                                            sizeof(struct virtio_net) + sizeof(struct vrandom),
               "struct virtio has no padding");

/* ---- A plan ---- */

/* The most that one plan holds: a disk request of the largest size in as many pieces as there can be. */
#define VIRTIO_PLAN_DISK   (VIRTIO_BLK_SEGMENT * VIRTIO_BLK_SEGMENTS)
#define VIRTIO_PLAN_BYTES  (VIRTIO_PLAN_DISK + 2048)
#define VIRTIO_PLAN_WRITES (2 * VIRTIO_QUEUE_SIZE + VIRTIO_PLAN_DISK / PAGE_SIZE + 4)

/* A write of guest memory, within one page. Writes are made in the list's order. */
struct virtio_write {
    uint64_t address; /* guest-physical */
    uint32_t offset;  /* in the plan's data */
    uint32_t length;  /* bytes, not 0 */
};

struct virtio_disk_write {
    uint64_t sector;
    uint32_t offset; /* in the plan's data */
    uint32_t count;  /* sectors */
};

struct virtio_segment {
    uint64_t address;
    uint32_t length;
    uint32_t reserved;
};

/* A descriptor chain: what the device may read, then what it may write. */
struct virtio_chain {
    uint64_t readable; /* bytes */
    uint64_t writable;
    uint32_t count;          /* segments */
    uint32_t first_writable; /* index of a segment, or count */
    uint16_t head;
    bool writable_seen;
    struct virtio_segment segment[VIRTIO_QUEUE_SIZE];
};

struct virtio_plan {
    uint64_t based_on;   /* `changes` of the device */
    struct virtio after; /* its state once the plan is done */
    uint32_t write_count;
    uint32_t disk_count;
    uint32_t data_bytes;
    bool broken; /* the driver has broken a rule: no more is planned */
    struct virtio_write write[VIRTIO_PLAN_WRITES];
    struct virtio_disk_write disk[VIRTIO_QUEUE_SIZE];
    struct virtio_chain chain; /* the one that is looked at */
    uint8_t data[VIRTIO_PLAN_BYTES];
};

/* Guest memory, as the device sees it in one snapshot. */
struct virtio_memory {
    void *ctx;
    /* Copies `bytes` at `address`, all within one page. False: no memory there. */
    bool (*read)(void *ctx, uint64_t address, void *to, uint32_t bytes);
    /* Whether there is memory that a device may write at `address`, and so on the whole page. */
    bool (*writable)(void *ctx, uint64_t address);
};

/* The disk's image. Sectors are below the capacity that the device was given; nothing here can fail. */
struct virtio_disk {
    void *ctx;
    void (*read)(void *ctx, uint64_t sector, uint32_t count, uint8_t *to);
    void (*write)(void *ctx, uint64_t sector, uint32_t count, const uint8_t *from);
};

/* Whether a queue wants to be looked at, and the device may do so (DRIVER_OK, bus master). */
bool virtio_has_work(const struct virtio *v);
/*
 * Plans what the device does next, from `memory` alone. Fills the plan's header and lists, not all of its
 * data. `disk`: of a block device, else not used. A plan without any write still has to be applied.
 */
void virtio_prepare(const struct virtio *v, const struct virtio_memory *memory,
                    const struct virtio_disk *disk, struct virtio_plan *plan);
/* Whether the device is as it was when the plan was made. */
static inline bool virtio_plan_holds(const struct virtio_plan *plan, const struct virtio *v)
{
    return plan->based_on == v->changes;
}
/* Does what a plan that holds says, but for the writes of guest memory, which the caller has made. */
void virtio_apply(struct virtio *v, const struct virtio_plan *plan, const struct virtio_disk *disk);

/* ---- Interrupts: after each access and each virtio_apply() ---- */

/* The level of the function's INTA#. */
bool virtio_intx(const struct virtio *v);

/* A message-signalled interrupt: a write of 32 bits to FEExxxxxH (SDM 3A 11.11). */
struct virtio_message {
    uint64_t address;
    uint32_t data;
};

/* Takes the next message to send; false: there is none. Ends after at most VIRTIO_VECTORS. */
bool virtio_next_message(struct virtio *v, struct virtio_message *message);

/* ---- The function's memory: see virtio_pci.h for where what is ---- */

/*
 * An access of `size` bytes (1, 2, 4, 8) at `offset` of the BAR. Reads of what is no register give 0, and
 * writes to it are lost, as are writes of another width than the register's (8 bytes are two of 4).
 */
uint64_t virtio_bar_read(struct virtio *v, uint32_t offset, uint32_t size);
void virtio_bar_write(struct virtio *v, uint32_t offset, uint32_t size, uint64_t value);

/* ---- Parts of the above ---- */

/* Takes back all that a driver has set up (status 0 written). */
void virtio_reset(struct virtio *v);
/* An interrupt of queue `queue`, or (VIRTIO_QUEUES) about the device's status. */
void virtio_raise(struct virtio *v, uint32_t queue);
/* Byte `offset` of the device-specific configuration, 0 behind its end. */
uint8_t virtio_config_byte(const struct virtio *v, uint32_t offset);

#endif
