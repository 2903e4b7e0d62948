/*
 * Memory beyond the image, given out once and never taken back.
 */
#ifndef RV_GUEST_MEMORY_H
#define RV_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Says where usable memory ends; the guest stops at 48 MiB even where there is more. CPU 0, once. */
void memory_init(uint64_t end);

/* Zeroed memory that begins on a page of its own; ends the guest where none is left. CPU 0 only. */
void *memory_pages(size_t bytes);

#endif
