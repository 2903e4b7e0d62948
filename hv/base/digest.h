/*
 * Digests of guest state and memory: a chain of one full multiplication, folded, for each 64-bit word. Any
 * change shows but for one case in 2^64 or so. Made for finding accidents, not for facing forgers. CRC32C
 * guards the log's and the link's bytes.
 */
#ifndef RV_HV_BASE_DIGEST_H
#define RV_HV_BASE_DIGEST_H

#include "hv/base/types.h"

/* Continues digest `d` (0 to start) over `words` 64-bit words at `data` (8-byte aligned). */
uint64_t digest_words(uint64_t d, const uint64_t *data, size_t words);
/* Continues digest `d` over one word. */
uint64_t digest_word(uint64_t d, uint64_t word);
/*
 * What may be added to other digests: a sum of chains as they are would let changes that go together (two
 * counters in step) cancel each other.
 */
uint64_t digest_finish(uint64_t d);
/* Continues digest `d` over any bytes; a tail shorter than a word is padded with zeros. */
uint64_t digest_bytes(uint64_t d, const void *data, size_t bytes);
/* CRC32C (Castagnoli) of `bytes` at `data`, continued from `crc` (0 to start), as in RFC 3720 B.4. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
