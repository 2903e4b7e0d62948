/*
 * The peer at the other end of the guest's wire under any frame: an answer is a frame, and the same one
 * again; what lies behind the frame's end has no influence.
 */
#include <string.h>

#include "drivers/vdev/virtio_net.h"
#include "hv/base/check.h"

#define IP_DEST 30u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t sum(const uint8_t *b, uint32_t bytes, uint32_t start)
{
    for (uint32_t i = 0; i < bytes; i++)
        start += (uint32_t)b[i] << (i % 2 ? 0 : 8);
    while (start >> 16)
        start = (start & 0xFFFF) + (start >> 16);
    return ~start & 0xFFFF;
}

static void put(uint8_t *b, uint32_t value)
{
    b[0] = (uint8_t)(value >> 8);
    b[1] = (uint8_t)value;
}

/* Makes right what a fuzzer would never find: addresses, length, checksums. */
static void mend(uint8_t *frame, uint32_t length)
{
    static const uint8_t to[] = {0x52, 0x56, 0, 0, 2, 2}, peer[] = {10, 0, 2, 2};

    memcpy(frame, to, sizeof(to));
    put(frame + 12, 0x0800);
    frame[14] = 0x45;
    put(frame + 16, length - 14);
    put(frame + 20, 0);
    memcpy(frame + IP_DEST, peer, sizeof(peer));
    put(frame + 24, 0);
    put(frame + 24, sum(frame + 14, 20, 0));
    if (frame[23] == 1) {
        put(frame + 36, 0);
        put(frame + 36, sum(frame + 34, length - 34, 0));
    } else {
        frame[23] = 17;
        put(frame + 38, length - 34);
        put(frame + 40, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t frame[VNET_FRAME], first[VNET_FRAME], second[VNET_FRAME];
    uint32_t length, answered;

    if (size < 15 || size > VNET_FRAME + 1)
        return 0;
    length = (uint32_t)size - 1;
    memset(frame, 0x55, sizeof(frame));
    memcpy(frame, data + 1, length);
    if ((data[0] & 1) && length >= 42)
        mend(frame, length);
    answered = vnet_answer(frame, length, first);
    HV_CHECK(answered == 0 || (answered >= 42 && answered <= VNET_FRAME));
    for (uint32_t i = answered; answered && i < VNET_FRAME; i++)
        HV_CHECK(first[i] == 0);
    memset(frame + length, 0xAA, sizeof(frame) - length);
    HV_CHECK(vnet_answer(frame, length, second) == answered);
    HV_CHECK(memcmp(first, second, sizeof(first)) == 0);
    if (answered && first[12] == 0x08 && first[13] == 0x00)
        HV_CHECK(sum(first + 14, 20, 0) == 0);
    return 0;
}
