#include "hv/guestmem/aml.h"

#include <string.h>

#include "hv/base/check.h"

/* Opcodes and prefixes (20.3). */
enum {
    ZERO_OP = 0x00,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    EXT_PREFIX = 0x5b,
    DEVICE_OP = 0x82, /* behind EXT_PREFIX */
};

#define LENGTH_BYTES  2u    /* every PkgLength: bits 3:0 and the number of further bytes, then bits 11:4 */
#define LENGTH_LEAD   0x40u /* one further byte */
#define LENGTH_MAX    0xfffu
#define BUFFER_PREFIX 3u /* the size of a buffer: WORD_PREFIX and 16 bits */

void aml_put(struct aml *aml, const void *bytes, uint32_t count)
{
    HV_CHECK(count <= aml->end - aml->at);
    memcpy(aml->bytes + aml->at, bytes, count);
    aml->at += count;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
    aml_put(aml, &byte, 1);
}

void aml_number(struct aml *aml, uint32_t value, uint32_t bytes)
{
    aml_put(aml, &value, bytes);
}

void aml_integer(struct aml *aml, uint32_t value)
{
    uint32_t bytes = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : 4;

    if (value == 0) {
        aml_byte(aml, ZERO_OP);
        return;
    }
    aml_byte(aml, bytes == 1 ? BYTE_PREFIX : bytes == 2 ? WORD_PREFIX : DWORD_PREFIX);
    aml_number(aml, value, bytes);
}

void aml_name(struct aml *aml, const char *path)
{
    aml_byte(aml, NAME_OP);
    aml_put(aml, path, (uint32_t)strlen(path));
}

/* Leaves room for the length, which counts itself (20.2.4). */
static uint32_t begin(struct aml *aml)
{
    uint32_t at = aml->at;

    aml_number(aml, 0, LENGTH_BYTES);
    return at;
}

uint32_t aml_begin_device(struct aml *aml, const char *path)
{
    uint32_t at;

    aml_byte(aml, EXT_PREFIX);
    aml_byte(aml, DEVICE_OP);
    at = begin(aml);
    aml_put(aml, path, (uint32_t)strlen(path));
    return at;
}

uint32_t aml_begin_package(struct aml *aml, uint8_t elements)
{
    uint32_t at;

    aml_byte(aml, PACKAGE_OP);
    at = begin(aml);
    aml_byte(aml, elements);
    return at;
}

uint32_t aml_begin_buffer(struct aml *aml)
{
    uint32_t at;

    aml_byte(aml, BUFFER_OP);
    at = begin(aml);
    aml_byte(aml, WORD_PREFIX);
    aml_number(aml, 0, 2);
    return at;
}

void aml_end(struct aml *aml, uint32_t begin)
{
    uint32_t length = aml->at - begin;

    HV_CHECK(length <= LENGTH_MAX);
    aml->bytes[begin] = (uint8_t)(LENGTH_LEAD | (length & 0xf));
    aml->bytes[begin + 1] = (uint8_t)(length >> 4);
}

void aml_end_buffer(struct aml *aml, uint32_t begin)
{
    uint16_t size = (uint16_t)(aml->at - begin - LENGTH_BYTES - BUFFER_PREFIX);

    memcpy(aml->bytes + begin + LENGTH_BYTES + 1, &size, sizeof(size));
    aml_end(aml, begin);
}
