/* The detail of a recording (hv/detail.h) on a fake machine: its memory, and its way into the log. */
#ifndef RV_TEST_FAKE_DETAILS_H
#define RV_TEST_FAKE_DETAILS_H

#include "hv/vm.h"
#include "replay/log_writer.h"

/* `room`: FAKE_DETAILS_BYTES bytes, on a page boundary. */
#define FAKE_DETAILS_BYTES (2u << 20)
void fake_details_create(struct vm *vm, uint8_t *room);
/* Moves all entries that wait; where they fill the writer, `ship` is called to empty it. */
void fake_details_move(struct vm *vm, struct log_writer *writer, void (*ship)(void *context), void *context);

#endif
