/*
 * The detail that a recording may add to its log (`detail=on`): registers and changed words of each chunk, so
 * that a replay that differs names the first word, and values expected and found. See replay/log_detail.h.
 */
#ifndef RV_HV_DETAIL_H
#define RV_HV_DETAIL_H

#include "hv/mem.h"
#include "hv/vm.h"

#define DETAIL_LUMP 32768u /* bytes: entries that become one block of the log */

/* Memory for the vCPUs' entries and their ring. False: there is not enough. */
bool detail_create(struct vm *vm, struct mem *mem);

/* Recording. Whether every chunk that may be running finds room; true where no detail is wanted. */
bool detail_has_room(const struct vm *vm);
/* After chunk_finish(): makes the chunk's entry. Does nothing where no detail is wanted. */
void detail_note(struct vcpu *vcpu);
/* Under order.lock: the entry is that of commit `seq` and goes to the control plane. */
void detail_put(struct vcpu *vcpu, uint64_t seq);

/*
 * The control plane: moves the oldest entry, if it has at most `room` bytes, to `to`. Its bytes, or 0. *waits
 * tells whether there is an entry that found no room.
 */
uint32_t detail_take(struct vm *vm, uint8_t *to, uint32_t room, bool *waits);

#define DETAIL_NO_DISTANCE UINT32_MAX
/* Replay: how many general registers differ now from those at the chunk's recorded end, or
 * DETAIL_NO_DISTANCE. */
uint32_t detail_distance(const struct vcpu *vcpu);
/*
 * Replay: words, in `text`, how the chunk as it is now (state read, pages changed so far) differs from what
 * the log's detail tells of it. False: the log has none for this chunk.
 */
bool detail_compare(struct vcpu *vcpu, char *text, size_t size);

/* Replay: whether the log has an entry for the chunk under way. */
bool detail_is_logged(const struct vcpu *vcpu);

#endif
