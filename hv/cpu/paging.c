#include "hv/cpu/paging.h"

#include "hv/base/check.h"

#define TABLE_ENTRIES 512u
#define ENTRY_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define ENTRY_LARGE   BIT(7)
#define RIGHTS_MASK   (PAGING_PRESENT | PAGING_WRITE | PAGING_UNCACHED | PAGING_NO_EXECUTE)
/* A table allows everything; the leaf decides. */
#define TABLE_RIGHTS (PAGING_PRESENT | PAGING_WRITE)
#define TOP_LEVEL    4u

/* Bytes that one entry of a level maps: 4 KiB at level 1. */
static uint64_t entry_span(unsigned level)
{
    return UINT64_C(1) << (PAGE_SHIFT + 9 * (level - 1));
}

static bool can_be_leaf(const struct paging *paging, unsigned level)
{
    return level <= 2 || (level == 3 && paging->pages_1g);
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & ENTRY_LARGE) || !(entry & PAGING_PRESENT);
}

static uint64_t make_leaf(uint64_t address, unsigned level, uint64_t rights)
{
    return rights ? address | rights | (level > 1 ? ENTRY_LARGE : 0) : 0;
}

/* Replaces a leaf by a table that maps the same. */
static bool split(struct paging *paging, uint64_t *entry, unsigned level, uint64_t address)
{
    uint64_t rights = *entry & RIGHTS_MASK;
    uint64_t *table = paging->alloc(paging->context);

    if (!table) {
        return false;
    }
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        table[i] = make_leaf(address + i * entry_span(level - 1), level - 1, rights);
    }
    *entry = (uint64_t)table | TABLE_RIGHTS;
    return true;
}

/* Works on the part of [start, end) that lies in `table`, whose first address is `base`. */
static bool set_range(struct paging *paging, uint64_t *table, unsigned level, uint64_t base, uint64_t start,
                      uint64_t end, uint64_t rights)
{
    uint64_t span = entry_span(level);
    uint64_t first = start > base ? (start - base) / span : 0;

    for (uint64_t i = first; i < TABLE_ENTRIES && base + i * span < end; i++) {
        uint64_t address = base + i * span;
        bool nothing_to_do = !(table[i] & PAGING_PRESENT) && rights == 0;
        bool whole = start <= address && address + span <= end;

        if (nothing_to_do) {
            continue;
        }
        /* A table stays a table: nothing here frees memory. */
        if (whole && is_leaf(table[i], level) && can_be_leaf(paging, level)) {
            table[i] = make_leaf(address, level, rights);
            continue;
        }
        if (is_leaf(table[i], level) && !split(paging, &table[i], level, address)) {
            return false;
        }
        if (!set_range(paging, (uint64_t *)(table[i] & ENTRY_ADDRESS), level - 1, address, start, end,
                       rights)) {
            return false;
        }
    }
    return true;
}

bool paging_init(struct paging *paging, bool pages_1g, void *(*alloc)(void *context), void *context)
{
    *paging = (struct paging){.pages_1g = pages_1g, .alloc = alloc, .context = context};
    paging->root = alloc(context);
    return paging->root != NULL;
}

bool paging_set(struct paging *paging, uint64_t start, uint64_t end, uint64_t rights)
{
    HV_CHECK(start % PAGE_SIZE == 0 && end % PAGE_SIZE == 0 && start <= end && end <= PAGING_ADDRESS_END);
    return set_range(paging, paging->root, TOP_LEVEL, 0, start, end, rights);
}

uint64_t paging_get(const struct paging *paging, uint64_t address)
{
    const uint64_t *table = paging->root;

    if (address >= PAGING_ADDRESS_END) {
        return 0;
    }
    for (unsigned level = TOP_LEVEL;; level--) {
        uint64_t entry = table[address / entry_span(level) % TABLE_ENTRIES];

        if (is_leaf(entry, level)) {
            return entry & RIGHTS_MASK;
        }
        table = (const uint64_t *)(entry & ENTRY_ADDRESS);
    }
}
