#include "guest-images/lib/memory.h"

#include <string.h>
#include <unistd.h>

#include "guest-images/lib/console.h"

#define PAGE_BYTES   4096u
#define MEMORY_LIMIT (UINT64_C(48) << 20)

extern char guest_image_end[];
static uintptr_t next, limit;
void *sbrk(ptrdiff_t bytes);

void memory_init(uint64_t end)
{
    next = (uintptr_t)guest_image_end;
    limit = end < MEMORY_LIMIT ? end : MEMORY_LIMIT;
    if (limit < next)
        panic("the memory map has no memory above the image");
}

/* Newlib's malloc takes its memory from here. */
void *sbrk(ptrdiff_t bytes)
{
    void *old = (void *)next;

    if (bytes < 0 || (uintptr_t)bytes > limit - next)
        return (void *)-1;
    next += (uintptr_t)bytes;
    return old;
}

void *memory_pages(size_t bytes)
{
    char *start;

    next = (next + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
    start = sbrk((ptrdiff_t)((bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1)));
    if (start == (void *)-1)
        panic("no memory for %lu bytes", (unsigned long)bytes);
    return memset(start, 0, bytes);
}
