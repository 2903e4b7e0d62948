/* One record of a COMMITS block, both ways; for the codec's own use. FORMAT.md, "Records". */
#ifndef RV_REPLAY_LOG_RECORD_H
#define RV_REPLAY_LOG_RECORD_H

#include "replay/log_bytes.h"
#include "replay/log_writer.h"

/*
 * Writes record number `index` (from 0) of a block to `out`, which has room for LOG_RECORD_MAX bytes, and
 * moves `state` on. Returns the end of what it wrote. The record must be well formed.
 */
uint8_t *log_record_encode(uint8_t *out, const struct rec_commit *commit, uint32_t index,
                           struct log_codec_state *state);

/*
 * Reads record number `index` of a block, the commit `seq`, for a log with `vcpus` vCPUs. On an error, which
 * is left in `c` too, *commit and *state hold nothing of use.
 */
enum log_error log_record_decode(struct log_cursor *c, struct rec_commit *commit, uint32_t index,
                                 uint64_t seq, uint32_t vcpus, struct log_codec_state *state);

#endif
