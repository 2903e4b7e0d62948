/*
 * The PAGES block of a log: over which guest pages most chunks were squashed. Optional, and not needed to
 * replay. FORMAT.md says how it looks as bytes.
 */
#ifndef RV_REPLAY_LOG_PAGES_H
#define RV_REPLAY_LOG_PAGES_H

#include "replay/log_format.h"

struct log_block;

/* Bytes that the payload takes at most. */
size_t log_pages_need(const struct rec_pages *pages);
/* Writes the payload at `p`; returns its end. Numbers must be in range: they are the hypervisor's own. */
uint8_t *log_pages_encode(uint8_t *p, const struct rec_pages *pages);

/*
 * Decodes a PAGES block; causes that it lacks are 0, those that this version does not know are dropped. Safe
 * on any bytes: LOG_ERROR_PAGES where they are no such block.
 */
enum log_error log_decode_pages(const struct log_block *block, struct rec_pages *pages);

#endif
