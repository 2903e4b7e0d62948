#include "test/fake/details.h"

#include "hv/base/check.h"
#include "hv/detail.h"
#include "replay/log_detail.h"

void fake_details_create(struct vm *vm, uint8_t *room)
{
    uint64_t start = (uint64_t)(uintptr_t)room;
    struct mem mem = {0};

    HV_CHECK(mem_add(&mem, start, start + FAKE_DETAILS_BYTES));
    HV_CHECK(detail_create(vm, &mem));
}

void fake_details_move(struct vm *vm, struct log_writer *writer, void (*ship)(void *context), void *context)
{
    uint8_t entry[DETAIL_ENTRY_MAX];
    uint32_t length;
    bool waits;

    while ((length = detail_take(vm, entry, sizeof(entry), &waits)) != 0) {
        ship(context);
        HV_CHECK(log_writer_detail(writer, entry, length));
    }
    HV_CHECK(!waits);
}
