#include "hv/mem.h"

#include <string.h>

#include "hv/base/check.h"

static void delete_range(struct mem *mem, uint32_t at)
{
    memmove(&mem->ranges[at], &mem->ranges[at + 1], (mem->count - at - 1) * sizeof(mem->ranges[0]));
    mem->count--;
}

/* The caller has made sure of room. */
static void insert_range(struct mem *mem, uint32_t at, uint64_t start, uint64_t end)
{
    memmove(&mem->ranges[at + 1], &mem->ranges[at], (mem->count - at) * sizeof(mem->ranges[0]));
    mem->ranges[at] = (struct mem_range){start, end};
    mem->count++;
}

bool mem_add(struct mem *mem, uint64_t start, uint64_t end)
{
    uint32_t at = 0;

    if (start > UINT64_MAX - PAGE_MASK) {
        return true;
    }
    start = ALIGN_UP(start, (uint64_t)PAGE_SIZE);
    end &= ~PAGE_MASK;
    if (start >= end) {
        return true;
    }
    while (at < mem->count && mem->ranges[at].end < start) {
        at++;
    }
    if (mem->count == MEM_MAX_RANGES && (at == mem->count || mem->ranges[at].start > end)) {
        return false;
    }
    /* Swallow every range that overlaps or touches. */
    while (at < mem->count && mem->ranges[at].start <= end) {
        start = MIN(start, mem->ranges[at].start);
        end = MAX(end, mem->ranges[at].end);
        delete_range(mem, at);
    }
    insert_range(mem, at, start, end);
    return true;
}

bool mem_remove(struct mem *mem, uint64_t start, uint64_t end)
{
    uint32_t at = 0;

    if (start >= end) {
        return true;
    }
    start &= ~PAGE_MASK;
    end = end > UINT64_MAX - PAGE_MASK ? ~PAGE_MASK : ALIGN_UP(end, (uint64_t)PAGE_SIZE);
    while (at < mem->count && mem->ranges[at].end <= start) {
        at++;
    }
    while (at < mem->count && mem->ranges[at].start < end) {
        struct mem_range *r = &mem->ranges[at];

        if (r->start < start && r->end > end) {
            if (mem->count == MEM_MAX_RANGES) {
                return false;
            }
            insert_range(mem, at + 1, end, r->end);
            r->end = start;
            return true;
        }
        if (r->start >= start && r->end <= end) {
            delete_range(mem, at);
        } else if (r->start < start) {
            r->end = start;
            at++;
        } else {
            r->start = end;
            at++;
        }
    }
    return true;
}

bool mem_take(struct mem *mem, uint64_t bytes, uint64_t align, uint64_t *address)
{
    HV_CHECK(align >= PAGE_SIZE && (align & (align - 1)) == 0);
    if (bytes == 0 || bytes > UINT64_MAX - PAGE_MASK) {
        return false;
    }
    bytes = ALIGN_UP(bytes, (uint64_t)PAGE_SIZE);
    for (uint32_t i = 0; i < mem->count; i++) {
        const struct mem_range *r = &mem->ranges[i];
        uint64_t start;

        if (r->start > UINT64_MAX - (align - 1)) {
            continue;
        }
        start = ALIGN_UP(r->start, align);
        if (start >= r->end || r->end - start < bytes) {
            continue;
        }
        if (mem_remove(mem, start, start + bytes)) {
            *address = start;
            return true;
        }
    }
    return false;
}

void *mem_alloc(struct mem *mem, uint64_t bytes, uint64_t align)
{
    uint64_t address;

    if (!mem_take(mem, bytes, align, &address)) {
        return NULL;
    }
    return memset((void *)address, 0, ALIGN_UP(bytes, (uint64_t)PAGE_SIZE));
}

uint64_t mem_free_bytes(const struct mem *mem)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < mem->count; i++) {
        sum += mem->ranges[i].end - mem->ranges[i].start;
    }
    return sum;
}
