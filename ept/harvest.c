/* The walk at a chunk's end: which pages it accessed and which it wrote (SDM 3C 29.3.5). */
#include "ept/view.h"

#include "hv/base/changes.h"
#include "hv/base/check.h"

#define GROUP 8u /* leaves looked at together: one cache line */

static uint64_t or_of_group(const uint64_t *e)
{
    return e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7];
}

/* Takes the A and D bits of one group of leaves. False: the array is full. */
static bool harvest_group(struct ept_view *view, uint32_t first, struct ept_harvest *out)
{
    uint64_t dirty = view->written ? 0 : EPT_D;

    for (uint32_t gpn = first; gpn < first + GROUP; gpn++) {
        uint64_t entry = view->leaf[gpn];

        if ((entry & EPT_A) == 0)
            continue;
        if (out->count == out->capacity)
            return false;
        out->page[out->count++] = gpn | ((entry & dirty) != 0 ? EPT_PAGE_DIRTY : 0u);
        view->leaf[gpn] = entry & ~(uint64_t)(EPT_A | EPT_D);
    }
    return true;
}

/* Takes the leaves of a part of a table. False: the array is full. */
static bool harvest_part(struct ept_view *view, uint32_t first, uint32_t count, struct ept_harvest *out)
{
    for (uint32_t gpn = first; gpn < first + count; gpn += GROUP)
        if ((or_of_group(view->leaf + gpn) & EPT_A) != 0 && !harvest_group(view, gpn, out))
            return false;
    return true;
}

static bool harvest_table(struct ept_view *view, uint32_t table, struct ept_harvest *out)
{
    uint32_t first = table * EPT_ENTRIES;

    out->tables++;
    if (!out->wide)
        return harvest_part(view, first, EPT_ENTRIES, out);
    for (uint32_t gpn = first; gpn < first + EPT_ENTRIES; gpn += CHANGES_BLOCK)
        if (changes_block_has_wide(view->leaf + gpn, EPT_A) && !harvest_part(view, gpn, CHANGES_BLOCK, out))
            return false;
    return true;
}

/* Upper levels lose their A bit only when everything below them was taken: a call that found the array
 * full can be continued. */
static bool harvest_directory(struct ept_view *view, uint32_t directory, struct ept_harvest *out)
{
    uint32_t end = MIN((directory + 1) * EPT_ENTRIES, view->tables);

    for (uint32_t table = directory * EPT_ENTRIES; table < end; table++) {
        if ((view->pd[table] & EPT_A) == 0)
            continue;
        if (!harvest_table(view, table, out))
            return false;
        view->pd[table] &= ~(uint64_t)EPT_A;
    }
    return true;
}

/* Where page `gpn` is among those found, which rise. A page is never dirty without being accessed. */
static uint32_t find(const struct ept_harvest *out, uint32_t gpn)
{
    uint32_t low = 0, high = out->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if ((out->page[middle] & ~EPT_PAGE_DIRTY) < gpn)
            low = middle + 1;
        else
            high = middle;
    }
    HV_CHECK(low < out->count && (out->page[low] & ~EPT_PAGE_DIRTY) == gpn);
    return low;
}

static void mark_written(struct ept_view *view, struct ept_harvest *out)
{
    for (uint32_t i = 0; i < view->written_count; i++)
        out->page[find(out, view->written[i])] |= EPT_PAGE_DIRTY;
    view->written_count = 0;
}

uint32_t ept_harvest(struct ept_view *view, struct ept_harvest *out)
{
    uint32_t directories = (view->tables + EPT_ENTRIES - 1) / EPT_ENTRIES;

    out->count = 0;
    out->tables = 0;
    out->full = false;
    if ((view->pml4[0] & EPT_A) == 0)
        return 0;
    /* Some A bit is cleared below, or is asked to be by a further call: a translation that is cached
     * now would let later accesses go unseen (29.4.3.3). */
    view->needs_invept = true;
    for (uint32_t i = 0; i < directories; i++) {
        if ((view->pdpt[i] & EPT_A) == 0)
            continue;
        if (!harvest_directory(view, i, out)) {
            HV_CHECK(!view->written);
            out->full = true;
            return out->count;
        }
        view->pdpt[i] &= ~(uint64_t)EPT_A;
    }
    view->pml4[0] &= ~(uint64_t)EPT_A;
    if (view->written)
        mark_written(view, out);
    return out->count;
}
