/*
 * Any registers over any small memory: the walk ends, reads entries whole and in place, and is the
 * same again. The input is the registers, the address, the access, then memory, repeated without end.
 */
#include <string.h>

#include "hv/base/check.h"
#include "hv/guestmem/walk.h"

#define MOST_READS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    struct walk_paging paging;
    uint64_t linear;
    uint32_t access;
    uint32_t end; /* of memory */
};

struct memory {
    const uint8_t *data;
    size_t size;
    uint64_t end;
    unsigned reads;
};

static bool read_memory(void *ctx, uint64_t address, void *buf, size_t bytes)
{
    struct memory *m = ctx;

    HV_CHECK((bytes == 4 || bytes == 8) && address % bytes == 0 && m->size >= bytes);
    HV_CHECK(++m->reads <= MOST_READS);
    if (address > m->end || bytes > m->end - address)
        return false;
    memcpy(buf, m->data + address % (m->size - bytes + 1), bytes);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned least = 32, kinds = 21; /* MAXPHYADDR: 32 to 52 */
    struct input in;
    struct walk_page page, again;
    struct memory m;
    enum walk_result result;

    if (size < sizeof(in) + 8)
        return 0;
    memcpy(&in, data, sizeof(in));
    in.paging.phys_bits = least + in.paging.phys_bits % kinds;
    m = (struct memory){data + sizeof(in), size - sizeof(in), in.end, 0};
    result = walk_guest(&in.paging, in.linear, in.access, read_memory, &m, &page);
    HV_CHECK(result <= WALK_UNSUPPORTED);
    if (result == WALK_OK)
        HV_CHECK(page.size >= PAGE_SIZE && page.gpa < BIT(52) && page.pf_error == 0);
    m.reads = 0;
    HV_CHECK(walk_guest(&in.paging, in.linear, in.access, read_memory, &m, &again) == result);
    HV_CHECK(again.gpa == page.gpa && again.pf_error == page.pf_error);
    return 0;
}
