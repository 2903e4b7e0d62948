/*
 * What comes to the guest from outside: a commit of its own, made by the control plane. That is console
 * input, which goes into the UART's FIFO as far as that has room, the time at which a clock was due, and the
 * date.
 */
#ifndef RV_HV_INPUT_H
#define RV_HV_INPUT_H

#include "hv/vm.h"

/*
 * Recording: gives the guest up to `length` bytes of console input as one commit. Returns how many it took:
 * 0 where the FIFO is full, the log's ring is, or a vCPU has the commit token. In mode=run there is no
 * commit.
 */
uint32_t input_console(struct vm *vm, const uint8_t *bytes, uint32_t length);

/*
 * Record, run: a clock of the guest's devices that is due raises its interrupt, as one commit with the time
 * that it used. Called again and again by the control plane, and by recording vCPUs before a chunk begins.
 */
void input_time(struct vm *vm);

/* Record, run, before the vCPUs start: the guest's real-time clock shows `seconds` since 1970. */
void input_date(struct vm *vm, uint64_t seconds);

/* Recording, with order.lock held: whether the ring takes the record of an input, beside those of all vCPUs.
 */
bool input_has_room(struct vm *vm);
/*
 * Recording, with order.lock held and room in the ring: `input` (its digest is filled in) is the next commit,
 * whose own digest is `digest`. The caller publishes it.
 */
void input_put_record(struct vm *vm, const struct rec_input *input, uint64_t digest);

/* Replay: as long as the next commit of the log is an input, makes it. Called again and again. */
void input_replay(struct vm *vm);

#endif
