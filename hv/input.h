/*
 * What comes to the guest from outside: a commit of its own, made by the control plane. So far that is
 * console input; it goes into the UART's FIFO, as far as that has room.
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

/* Replay: as long as the next commit of the log is an input, makes it. Called again and again. */
void input_replay(struct vm *vm);

#endif
