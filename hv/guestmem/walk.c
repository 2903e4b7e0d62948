#include "hv/guestmem/walk.h"

/* SDM 3A 2.5 and 2.2.1: the bits that choose the paging mode and its rights. */
#define CR0_WP    BIT(16)
#define CR0_PG    BIT(31)
#define CR4_PSE   BIT(4)
#define CR4_PAE   BIT(5)
#define CR4_LA57  BIT(12)
#define CR4_SMEP  BIT(20)
#define CR4_SMAP  BIT(21)
#define CR4_PKE   BIT(22)
#define CR4_PKS   BIT(24)
#define EFER_LMA  BIT(10)
#define EFER_NXE  BIT(11)
#define RFLAGS_AC BIT(18)

/* Paging-structure entries, SDM 3A tables 5-4 to 5-19. */
#define PTE_P  BIT(0)
#define PTE_RW BIT(1)
#define PTE_US BIT(2)
#define PTE_PS BIT(7)
#define PTE_XD BIT(63)

/* Error code of a page fault, SDM 3A 5.7. */
#define PF_P    BIT(0)
#define PF_WR   BIT(1)
#define PF_US   BIT(2)
#define PF_RSVD BIT(3)
#define PF_ID   BIT(4)

#define ADDR_BITS_MASK(bits) (BIT(bits) - 1)
#define PAE_TOP_ADDRESS      52u /* bits from here to 62 are no address: ignored or reserved by mode */
#define LOW_32               UINT64_C(0xffffffff)

enum mode {
    MODE_NONE,
    MODE_32,
    MODE_PAE,
    MODE_4LEVEL,
};

struct walk {
    const struct walk_paging *paging;
    uint64_t linear;
    unsigned access;
    enum mode mode;
    walk_read_fn read;
    void *ctx;
    struct walk_page *page;
};

const char *walk_result_name(enum walk_result result)
{
    static const char *const names[] = {
        [WALK_OK] = "ok",
        [WALK_NOT_PRESENT] = "a paging entry is not present",
        [WALK_RESERVED] = "a paging entry has a reserved bit set",
        [WALK_DENIED] = "the paging entries forbid the access",
        [WALK_NOT_CANONICAL] = "the linear address is not canonical",
        [WALK_BEYOND_MEMORY] = "a paging entry lies beyond guest memory",
        [WALK_UNSUPPORTED] = "the guest uses 5-level paging or protection keys",
    };

    return (unsigned)result < ARRAY_LEN(names) ? names[result] : "unknown";
}

static enum mode mode_of(const struct walk_paging *paging)
{
    if ((paging->cr0 & CR0_PG) == 0)
        return MODE_NONE;
    if ((paging->cr4 & CR4_PAE) == 0)
        return MODE_32;
    return (paging->efer & EFER_LMA) != 0 ? MODE_4LEVEL : MODE_PAE;
}

static bool no_execute_in_use(const struct walk *w)
{
    return w->mode != MODE_32 && (w->paging->efer & EFER_NXE) != 0;
}

/* Fills in the error code of the page fault that the failed walk would raise. */
static enum walk_result fault(struct walk *w, enum walk_result result)
{
    uint64_t code = 0;
    bool smep = (w->paging->cr4 & CR4_SMEP) != 0;

    if (result != WALK_NOT_PRESENT)
        code |= PF_P;
    if (result == WALK_RESERVED)
        code |= PF_RSVD;
    if ((w->access & WALK_WRITE) != 0)
        code |= PF_WR;
    if ((w->access & WALK_USER) != 0)
        code |= PF_US;
    if ((w->access & WALK_FETCH) != 0 && (no_execute_in_use(w) || smep))
        code |= PF_ID;
    w->page->pf_error = (uint32_t)code;
    return result;
}

/* Rights of data accesses by supervisor code to a user page: SMAP (SDM 3A 5.6.1). */
static bool smap_allows(const struct walk *w)
{
    if ((w->paging->cr4 & CR4_SMAP) == 0 || !w->page->user)
        return true;
    return (w->access & WALK_IMPLICIT) == 0 && (w->paging->rflags & RFLAGS_AC) != 0;
}

static bool supervisor_allowed(const struct walk *w)
{
    const struct walk_page *page = w->page;

    if ((w->access & WALK_FETCH) != 0)
        return page->executable && !(page->user && (w->paging->cr4 & CR4_SMEP) != 0);
    if (!smap_allows(w))
        return false;
    return (w->access & WALK_WRITE) == 0 || page->writable || (w->paging->cr0 & CR0_WP) == 0;
}

static bool user_allowed(const struct walk *w)
{
    const struct walk_page *page = w->page;

    if (!page->user)
        return false;
    if ((w->access & WALK_FETCH) != 0)
        return page->executable;
    return (w->access & WALK_WRITE) == 0 || page->writable;
}

/* The walk is over: entry address `base` maps a page of 1 << shift bytes. */
static enum walk_result arrive(struct walk *w, uint64_t base, unsigned shift)
{
    bool allowed;

    w->page->size = BIT(shift);
    w->page->gpa = base | (w->linear & ADDR_BITS_MASK(shift));
    if ((w->access & WALK_ANY_RIGHTS) != 0)
        return WALK_OK;
    allowed = (w->access & WALK_USER) != 0 ? user_allowed(w) : supervisor_allowed(w);
    return allowed ? WALK_OK : fault(w, WALK_DENIED);
}

static void join_rights(struct walk *w, uint64_t entry)
{
    w->page->writable = w->page->writable && (entry & PTE_RW) != 0;
    w->page->user = w->page->user && (entry & PTE_US) != 0;
    if (no_execute_in_use(w) && (entry & PTE_XD) != 0)
        w->page->executable = false;
}

/* Reserved bits of a 64-bit entry that holds the address of something 1 << shift bytes large, as the
 * modes share them (SDM 3A tables 5-9 to 5-19). `leaf`: the entry maps a page. */
static uint64_t reserved_bits(const struct walk *w, unsigned shift, bool leaf)
{
    uint64_t reserved = ADDR_BITS_MASK(PAE_TOP_ADDRESS) & ~ADDR_BITS_MASK(w->paging->phys_bits);

    if (w->mode == MODE_PAE)
        reserved |= ADDR_BITS_MASK(63) & ~ADDR_BITS_MASK(PAE_TOP_ADDRESS);
    if (!no_execute_in_use(w))
        reserved |= PTE_XD;
    if (leaf && shift > PAGE_SHIFT) /* bit 12 is PAT; address bits below the page's size must be 0 */
        reserved |= ADDR_BITS_MASK(shift) & ~ADDR_BITS_MASK(PAGE_SHIFT + 1);
    return reserved;
}

static void note_entry(struct walk *w, uint64_t address)
{
    w->page->entry[w->page->entries++] = address;
}

/* One step of PAE and 4-level paging: reads the entry of level `level` (1: page table, 4: PML4) in the
 * table at *table. Sets *done where it maps a page. */
static enum walk_result step(struct walk *w, unsigned level, uint64_t *table, bool *done)
{
    unsigned shift = PAGE_SHIFT + 9 * (level - 1);
    uint64_t index = (w->linear >> shift) & 511;
    uint64_t entry;
    uint64_t reserved;

    if (!w->read(w->ctx, *table + index * sizeof(entry), &entry, sizeof(entry)))
        return WALK_BEYOND_MEMORY;
    note_entry(w, *table + index * sizeof(entry));
    if ((entry & PTE_P) == 0)
        return fault(w, WALK_NOT_PRESENT);
    *done = level == 1 || (level <= 3 && (entry & PTE_PS) != 0);
    reserved = reserved_bits(w, shift, *done);
    if (level == 4)
        reserved |= PTE_PS;
    if ((entry & reserved) != 0)
        return fault(w, WALK_RESERVED);
    join_rights(w, entry);
    *table = entry & ADDR_BITS_MASK(PAE_TOP_ADDRESS) & ~ADDR_BITS_MASK(PAGE_SHIFT);
    if (*done)
        return arrive(w, *table & ~ADDR_BITS_MASK(shift), shift);
    return WALK_OK;
}

static enum walk_result walk_down(struct walk *w, unsigned level, uint64_t table)
{
    enum walk_result result = WALK_OK;
    bool done = false;

    for (; result == WALK_OK && !done; level--)
        result = step(w, level, &table, &done);
    return result;
}

static enum walk_result walk_4level(struct walk *w)
{
    const unsigned sign = 47; /* bits 63:48 repeat this one */
    uint64_t top = w->linear >> sign;

    if (top != 0 && top != ADDR_BITS_MASK(64 - sign))
        return WALK_NOT_CANONICAL;
    return walk_down(w, 4, w->paging->cr3 & ADDR_BITS_MASK(PAE_TOP_ADDRESS) & ~ADDR_BITS_MASK(PAGE_SHIFT));
}

/* PDPTEs were checked for reserved bits when they were loaded (SDM 3A 5.4.1); they hold no rights. */
static enum walk_result walk_pae(struct walk *w)
{
    uint64_t pdpte = w->paging->pdpte[w->linear >> 30];

    if ((pdpte & PTE_P) == 0)
        return fault(w, WALK_NOT_PRESENT);
    return walk_down(w, 2, pdpte & ADDR_BITS_MASK(PAE_TOP_ADDRESS) & ~ADDR_BITS_MASK(PAGE_SHIFT));
}

/* A 4 MiB page: address bits 31:22 in place, bits 39:32 in entry bits 20:13 (PSE-36, SDM 3A table 5-4). */
static enum walk_result arrive_4m(struct walk *w, uint64_t entry)
{
    const unsigned high_at = 13;
    const unsigned shift = 22;
    unsigned high_bits = MIN(w->paging->phys_bits, 40u) - 32;
    uint64_t reserved = BIT(21) | (ADDR_BITS_MASK(21) & ~ADDR_BITS_MASK(high_at + high_bits));

    if ((entry & reserved) != 0)
        return fault(w, WALK_RESERVED);
    join_rights(w, entry);
    return arrive(
        w, ((entry >> high_at & ADDR_BITS_MASK(high_bits)) << 32) | (entry & ~ADDR_BITS_MASK(shift)), shift);
}

static enum walk_result walk_32(struct walk *w)
{
    uint32_t entry;
    uint64_t table = w->paging->cr3 & LOW_32 & ~ADDR_BITS_MASK(PAGE_SHIFT);

    if (!w->read(w->ctx, table + (w->linear >> 22) * sizeof(entry), &entry, sizeof(entry)))
        return WALK_BEYOND_MEMORY;
    note_entry(w, table + (w->linear >> 22) * sizeof(entry));
    if ((entry & PTE_P) == 0)
        return fault(w, WALK_NOT_PRESENT);
    if ((entry & PTE_PS) != 0 && (w->paging->cr4 & CR4_PSE) != 0)
        return arrive_4m(w, entry);
    join_rights(w, entry);
    table = entry & ~ADDR_BITS_MASK(PAGE_SHIFT);
    if (!w->read(w->ctx, table + (w->linear >> PAGE_SHIFT & 1023) * sizeof(entry), &entry, sizeof(entry)))
        return WALK_BEYOND_MEMORY;
    note_entry(w, table + (w->linear >> PAGE_SHIFT & 1023) * sizeof(entry));
    if ((entry & PTE_P) == 0)
        return fault(w, WALK_NOT_PRESENT);
    join_rights(w, entry);
    return arrive(w, entry & ~ADDR_BITS_MASK(PAGE_SHIFT), PAGE_SHIFT);
}

static enum walk_result walk_none(struct walk *w)
{
    w->page->size = PAGE_SIZE;
    w->page->gpa = w->linear;
    return WALK_OK;
}

enum walk_result walk_guest(const struct walk_paging *paging, uint64_t linear, unsigned access,
                            walk_read_fn read, void *ctx, struct walk_page *page)
{
    struct walk w = {.paging = paging, .linear = linear, .access = access, .read = read, .ctx = ctx};

    *page = (struct walk_page){.writable = true, .user = true, .executable = true};
    w.page = page;
    w.mode = mode_of(paging);
    if (w.mode != MODE_4LEVEL)
        w.linear &= LOW_32;
    switch (w.mode) {
    case MODE_NONE:
        return walk_none(&w);
    case MODE_32:
        return walk_32(&w);
    case MODE_PAE:
        return walk_pae(&w);
    case MODE_4LEVEL:
        break;
    }
    if ((paging->cr4 & (CR4_LA57 | CR4_PKE | CR4_PKS)) != 0)
        return WALK_UNSUPPORTED;
    return walk_4level(&w);
}
