/*
 * Devices that read and write guest memory. What a device does of its own accord (see drivers/vdev/virtio.h)
 * is a commit, made by the control plane like a chunk: the plan is made on a snapshot, through a view of the
 * devices' own, whose sets are validated; after a conflict it is made anew. The log holds the device only. A
 * replay makes the same plan at the same seq.
 */
#ifndef RV_HV_DMA_H
#define RV_HV_DMA_H

#include "hv/vm.h"

struct dma {
    struct view view;     /* record, replay */
    uint32_t *accessed;   /* pages that the plan has read or written, one entry per guest page */
    uint8_t *touched;     /* by page: it is among them */
    uint32_t count;       /* of them */
    uint32_t conflicts;   /* in a row */
    struct virtio device; /* as it was before the snapshot */
    struct virtio_plan plan;
};

/* What dma_init() needs, zeroed. All but `dma` may be NULL in mode=run. */
struct dma_memory {
    struct dma *dma;
    struct view_page *page;    /* an entry per guest page */
    uint32_t *accessed;        /* likewise */
    uint8_t *touched;          /* likewise */
    uint32_t *copies, *writes; /* order->chunk_pages entries */
};

/* Before the vCPUs run. The devices are the actor behind the vCPUs. */
void dma_init(struct vm *vm, const struct dma_memory *memory);

/*
 * Record, run, on the control plane: if a device has something to do, does it, as one commit. Called again
 * and again.
 */
void dma_poll(struct vm *vm);

/*
 * Replay, on the control plane: makes commit `seq`, whose turn it is, by the log's input. False: not yet, as
 * frames are short, or it came out otherwise, which is a divergence.
 */
bool dma_replay(struct vm *vm, const struct rec_input *input, uint64_t seq);

#endif
