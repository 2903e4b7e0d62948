#include "hv/base/digest.h"

#include <string.h>

/* One CRC32C step over 64 bits; the x86 instruction is a requirement on the machine (SSE4.2). */
static inline uint64_t step(uint64_t crc, uint64_t word)
{
    __asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
    return crc;
}

static inline uint32_t step_byte(uint32_t crc, uint8_t byte)
{
    __asm__("crc32b %1, %0" : "+r"(crc) : "rm"(byte));
    return crc;
}

/* Odd, its bits well spread: 2^64 divided by the golden ratio. */
#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

/*
 * The halves of the full product, folded: each bit of `d` and `word` reaches all of the result, and not by
 * sums alone, so that a change cannot be undone by a likely change of another word.
 */
static inline uint64_t mix(uint64_t d, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(d ^ word) * MULTIPLIER;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t digest_words(uint64_t d, const uint64_t *data, size_t words)
{
    size_t i = 0;

    for (; i + 8 <= words; i += 8) {
        d = mix(d, data[i]);
        d = mix(d, data[i + 1]);
        d = mix(d, data[i + 2]);
        d = mix(d, data[i + 3]);
        d = mix(d, data[i + 4]);
        d = mix(d, data[i + 5]);
        d = mix(d, data[i + 6]);
        d = mix(d, data[i + 7]);
    }
    for (; i < words; i++)
        d = mix(d, data[i]);
    return d;
}

uint64_t digest_word(uint64_t d, uint64_t word)
{
    return mix(d, word);
}

uint64_t digest_finish(uint64_t d)
{
    d = (d ^ d >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    d = (d ^ d >> 27) * UINT64_C(0x94d049bb133111eb);
    return d ^ d >> 31;
}

uint64_t digest_bytes(uint64_t d, const void *data, size_t bytes)
{
    const uint8_t *p = data;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        d = digest_word(d, word);
    }
    if (bytes) {
        uint64_t word = 0;
        memcpy(&word, p, bytes);
        d = digest_word(d, word);
    }
    return d;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t c = ~crc;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = step((uint32_t)c, word);
    }
    for (; bytes; bytes--)
        c = step_byte((uint32_t)c, *p++);
    return ~(uint32_t)c;
}
