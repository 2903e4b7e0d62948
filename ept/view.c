#include "ept/view.h"

#include <string.h>

#include "hv/base/check.h"

#define PAGES_PER_2M 512u
#define BYTES_PER_1G (UINT64_C(1) << 30)

/*
 * Every leaf: readable, executable, write-back whatever the guest's PAT says (SDM 3C 29.3.7.2). Frames are
 * reached through the hypervisor's write-back mapping, too, and a guest's WC or UC mapping of the same memory
 * would not be kept coherent with that.
 */
#define LEAF_BASE (EPT_R | EPT_X | ((uint64_t)EPT_MEMTYPE_WB << EPT_MEMTYPE_SHIFT) | EPT_IGNORE_PAT)

static uint32_t tables_for(uint64_t guest_bytes)
{
    return (uint32_t)((guest_bytes + PAGE_2M - 1) / PAGE_2M);
}

static uint32_t directories_for(uint64_t guest_bytes)
{
    return (uint32_t)((guest_bytes + BYTES_PER_1G - 1) / BYTES_PER_1G);
}

static void check_range(const struct ept_view *view, uint32_t gpn)
{
    HV_CHECK(gpn < view->pages);
}

size_t ept_view_bytes(uint64_t guest_bytes)
{
    HV_CHECK(guest_bytes != 0 && guest_bytes <= EPT_MAX_GUEST_BYTES && (guest_bytes & PAGE_MASK) == 0);
    return (size_t)(2 + directories_for(guest_bytes) + tables_for(guest_bytes)) * PAGE_SIZE;
}

static uint64_t table_entry(const void *table, uint64_t phys_offset)
{
    uint64_t address = (uint64_t)(uintptr_t)table + phys_offset;

    HV_CHECK((address & ~EPT_ADDR_MASK) == 0);
    return address | EPT_RWX;
}

void ept_view_init(struct ept_view *view, void *tables, uint64_t guest_bytes, uint64_t phys_offset)
{
    size_t bytes = ept_view_bytes(guest_bytes);
    uint32_t directories = directories_for(guest_bytes);

    HV_CHECK(((uintptr_t)tables & PAGE_MASK) == 0);
    memset(tables, 0, bytes);
    memset(view, 0, sizeof(*view));
    view->pml4 = tables;
    view->pdpt = view->pml4 + EPT_ENTRIES;
    view->pd = view->pdpt + EPT_ENTRIES;
    view->leaf = view->pd + (size_t)directories * EPT_ENTRIES;
    view->phys_offset = phys_offset;
    view->pages = (uint32_t)(guest_bytes >> PAGE_SHIFT);
    view->tables = tables_for(guest_bytes);
    view->needs_invept = true;

    view->pml4[0] = table_entry(view->pdpt, phys_offset);
    for (uint32_t i = 0; i < directories; i++)
        view->pdpt[i] = table_entry(view->pd + (size_t)i * EPT_ENTRIES, phys_offset);
    for (uint32_t i = 0; i < view->tables; i++)
        view->pd[i] = table_entry(view->leaf + (size_t)i * EPT_ENTRIES, phys_offset);
}

uint64_t ept_eptp(const struct ept_view *view)
{
    return ((uint64_t)(uintptr_t)view->pml4 + view->phys_offset) | EPTP_MEMTYPE_WB | EPTP_WALK_4 | EPTP_AD;
}

/*
 * Replaces a leaf. The processor caches a translation only after it has set A in the leaf (as 4.10.2.3
 * says of ordinary paging, and 29.3.5 and 29.4.2 of EPT), and A is cleared only by the functions here,
 * which ask for INVEPT then. So a leaf with A clear is cached nowhere, or INVEPT is due already.
 * Otherwise rights taken away, another frame and bits cleared all need INVEPT (29.4.3.3). That the
 * violation that led here has dropped the translations of its own linear address is not enough:
 * another linear address may lead to the same page.
 */
static void replace_leaf(struct ept_view *view, uint32_t gpn, uint64_t entry)
{
    uint64_t old = view->leaf[gpn];
    uint64_t lost = old & ~entry & (EPT_A | EPT_D | EPT_RWX);

    view->leaf[gpn] = entry;
    if ((old & EPT_A) == 0)
        return;
    if (((old ^ entry) & EPT_ADDR_MASK) != 0 || lost != 0)
        view->needs_invept = true;
}

static void count_map(struct ept_view *view, uint32_t gpn)
{
    view->maps++;
    if ((view->leaf[gpn] & (EPT_R | EPT_A)) == EPT_R)
        view->quiet_remaps++;
}

static uint64_t leaf_for(hpa_t frame, bool writable)
{
    HV_CHECK((frame.raw & ~EPT_ADDR_MASK) == 0);
    return frame.raw | LEAF_BASE | (writable ? EPT_W : 0u);
}

void ept_map(struct ept_view *view, uint32_t gpn, hpa_t frame, bool writable)
{
    check_range(view, gpn);
    count_map(view, gpn);
    replace_leaf(view, gpn, leaf_for(frame, writable));
}

void ept_make_private(struct ept_view *view, uint32_t gpn, hpa_t frame)
{
    check_range(view, gpn);
    HV_CHECK(ept_present(view, gpn));
    count_map(view, gpn);
    replace_leaf(view, gpn, leaf_for(frame, true) | (view->leaf[gpn] & (EPT_A | EPT_D)));
}

void ept_make_writable(struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    HV_CHECK(ept_present(view, gpn));
    replace_leaf(view, gpn, view->leaf[gpn] | EPT_W);
}

void ept_make_readonly(struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    HV_CHECK(ept_present(view, gpn));
    replace_leaf(view, gpn, view->leaf[gpn] & ~(uint64_t)EPT_W);
}

void ept_unmap(struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    replace_leaf(view, gpn, 0);
}

void ept_touch(struct ept_view *view, uint32_t gpn, bool write)
{
    check_range(view, gpn);
    HV_CHECK(ept_present(view, gpn));
    if (write && view->written && (view->leaf[gpn] & EPT_D) == 0)
        ept_note_written(view, gpn);
    view->leaf[gpn] |= EPT_A | (write ? EPT_D : 0u);
    view->pd[gpn / PAGES_PER_2M] |= EPT_A;
    view->pdpt[gpn / (PAGES_PER_2M * EPT_ENTRIES)] |= EPT_A;
    view->pml4[0] |= EPT_A;
}

void ept_log_writes(struct ept_view *view, uint32_t *written)
{
    view->written = written;
    view->written_count = 0;
}

void ept_note_written(struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    HV_CHECK(view->written_count < view->pages);
    view->written[view->written_count++] = gpn;
}

void ept_invalidated(struct ept_view *view)
{
    view->needs_invept = false;
}

bool ept_present(const struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    return (view->leaf[gpn] & EPT_R) != 0;
}

bool ept_writable(const struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    return (view->leaf[gpn] & EPT_W) != 0;
}

bool ept_accessed(const struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    return (view->leaf[gpn] & EPT_A) != 0;
}

bool ept_dirty(const struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    return (view->leaf[gpn] & EPT_D) != 0;
}

hpa_t ept_hpa(const struct ept_view *view, uint32_t gpn)
{
    check_range(view, gpn);
    return hpa(view->leaf[gpn] & EPT_ADDR_MASK);
}

size_t ept_run_bytes(uint64_t guest_bytes)
{
    HV_CHECK(guest_bytes != 0 && guest_bytes <= EPT_MAX_GUEST_BYTES && guest_bytes % PAGE_2M == 0);
    return (size_t)(2 + directories_for(guest_bytes)) * PAGE_SIZE;
}

uint64_t ept_run_init(void *tables, uint64_t guest_bytes, uint64_t phys_offset, hpa_t base)
{
    size_t bytes = ept_run_bytes(guest_bytes);
    uint64_t *pml4 = tables;
    uint64_t *pdpt = pml4 + EPT_ENTRIES;
    uint64_t *pd = pdpt + EPT_ENTRIES;

    HV_CHECK(((uintptr_t)tables & PAGE_MASK) == 0);
    HV_CHECK(base.raw % PAGE_2M == 0 && (base.raw & ~EPT_ADDR_MASK) == 0);
    memset(tables, 0, bytes);
    pml4[0] = table_entry(pdpt, phys_offset);
    for (uint32_t i = 0; i < directories_for(guest_bytes); i++)
        pdpt[i] = table_entry(pd + (size_t)i * EPT_ENTRIES, phys_offset);
    for (uint64_t at = 0; at < guest_bytes; at += PAGE_2M)
        pd[at / PAGE_2M] = (base.raw + at) | LEAF_BASE | EPT_W | EPT_LEAF;
    return ((uint64_t)(uintptr_t)pml4 + phys_offset) | EPTP_MEMTYPE_WB | EPTP_WALK_4;
}
