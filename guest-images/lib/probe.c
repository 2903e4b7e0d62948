#include "guest-images/lib/probe.h"

#include "guest-images/lib/guest.h"

#define ADDRESS_BITS UINT64_C(0x000FFFFFFFFFF000)

uint64_t *empty_page(void)
{
    return memory_pages(PAGE_BYTES);
}

void load_cr3(uint64_t value)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

static uint64_t *root(void)
{
    uint64_t cr3;

    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    return (uint64_t *)(uintptr_t)(cr3 & ADDRESS_BITS);
}

void probe_table(unsigned level, uint64_t entry)
{
    uint64_t *table = root();

    for (unsigned i = 3; i > level; i--) {
        uint64_t *next = empty_page();
        table[i == 3] = (uintptr_t)next | PTE_PRESENT | PTE_WRITE;
        table = next;
    }
    table[level == 3] = entry;
    load_cr3((uintptr_t)root());
}
