/*
 * Any text as a number or a size on retro's command line: what is taken lies where it must, and is the same
 * when it is written and read again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "tools/retro/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t low = size ? data[0] : 0, high = size > 1 ? low + ((uint64_t)data[1] << (data[1] & 31)) : low;
    char *text = xmalloc(size + 1), again[32];
    uint64_t value = 1, other = 2;

    memcpy(text, data, size);
    text[size] = 0;
    if (parse_number(text, 0, UINT64_MAX, &value)) {
        snprintf(again, sizeof(again), "%" PRIu64, value);
        HV_CHECK(parse_number(again, value, value, &other) && other == value);
    }
    if (parse_number(text + (size > 2 ? 2 : 0), low, high, &value))
        HV_CHECK(value >= low && value <= high);
    if (parse_size(text, &value)) {
        snprintf(again, sizeof(again), "%" PRIu64, value);
        HV_CHECK(parse_size(again, &other) && other == value);
    }
    free(text);
    return 0;
}
