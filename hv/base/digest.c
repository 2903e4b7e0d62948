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

uint64_t digest_words(uint64_t d, const uint64_t *data, size_t words)
{
    uint64_t even = (uint32_t)d, odd = d >> 32;
    size_t i = 0;

    for (; i + 8 <= words; i += 8) {
        even = step(even, data[i]);
        odd = step(odd, data[i + 1]);
        even = step(even, data[i + 2]);
        odd = step(odd, data[i + 3]);
        even = step(even, data[i + 4]);
        odd = step(odd, data[i + 5]);
        even = step(even, data[i + 6]);
        odd = step(odd, data[i + 7]);
    }
    for (; i < words; i++) {
        uint64_t next = step(even, data[i]);
        even = odd;
        odd = next;
    }
    return even | odd << 32;
}

uint64_t digest_word(uint64_t d, uint64_t word)
{
    /* The halves swap, so that a series of single words reaches both. */
    uint64_t next = step((uint32_t)d, word);

    return d >> 32 | next << 32;
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
