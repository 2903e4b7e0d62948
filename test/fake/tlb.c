#include "test/fake/tlb.h"

#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"

/* Of the tables, as the manual has them: on purpose not taken from ept/view.h. */
#define ENTRY_R         BIT(0)
#define ENTRY_W         BIT(1)
#define ENTRY_X         BIT(2)
#define ENTRY_RIGHTS    (ENTRY_R | ENTRY_W | ENTRY_X)
#define ENTRY_LEAF      BIT(7)
#define ENTRY_A         BIT(8)
#define ENTRY_D         BIT(9)
#define ENTRY_ADDRESS   UINT64_C(0x000ffffffffff000)
#define ENTRY_TYPE(e)   ((e) >> 3 & 7)
#define EPTP_WALK(e)    ((e) >> 3 & 7)
#define EPTP_AD_BIT     BIT(6)
#define PAGES_PER_TABLE 512u

struct walk {
    struct faketlb *tlb;
    struct faketlb_context *context;
    uint32_t gpn;
    bool ad; /* A and D bits are in use */
    bool write;
    uint8_t needed;    /* rights */
    uint64_t *used[4]; /* entries used, root first */
    unsigned used_count;
    uint8_t rights; /* joined so far */
};

void faketlb_init(struct faketlb *tlb, uint32_t pages, uint64_t phys_offset)
{
    memset(tlb, 0, sizeof(*tlb));
    tlb->pages = pages;
    tlb->phys_offset = phys_offset;
}

void faketlb_free(struct faketlb *tlb)
{
    for (unsigned i = 0; i < FAKETLB_CONTEXTS; i++) {
        free(tlb->context[i].page);
        free(tlb->context[i].table);
    }
    memset(tlb, 0, sizeof(*tlb));
}

static struct faketlb_context *find_context(struct faketlb *tlb, uint64_t eptp)
{
    for (unsigned i = 0; i < FAKETLB_CONTEXTS; i++)
        if (tlb->context[i].eptp == eptp)
            return &tlb->context[i];
    return NULL;
}

static struct faketlb_context *get_context(struct faketlb *tlb, uint64_t eptp)
{
    struct faketlb_context *context = find_context(tlb, eptp);

    if (context != NULL)
        return context;
    context = find_context(tlb, 0);
    HV_CHECK(context != NULL);
    context->eptp = eptp;
    context->pages = tlb->pages;
    context->page = calloc(tlb->pages, sizeof(*context->page));
    context->table = calloc(tlb->pages / PAGES_PER_TABLE + 1, sizeof(*context->table));
    HV_CHECK(context->page != NULL && context->table != NULL);
    return context;
}

static uint64_t *table_at(const struct faketlb *tlb, uint64_t entry)
{
    return (uint64_t *)(uintptr_t)((entry & ENTRY_ADDRESS) - tlb->phys_offset);
}

/* SDM 29.3.3.1, for what this machine supports: no execute-only pages, no 1 GiB pages. */
static bool misconfigured(uint64_t entry, unsigned level, bool leaf)
{
    const uint64_t reserved_type = 7;
    uint64_t type = ENTRY_TYPE(entry);

    if ((entry & ENTRY_R) == 0)
        return true;
    if (level >= 3)
        return (entry & 0xf8) != 0;
    if (!leaf)
        return (entry & 0x78) != 0;
    if (level == 2 && (entry & ENTRY_ADDRESS & (PAGE_2M - 1)) != 0)
        return true;
    return type == 2 || type == 3 || type == reserved_type;
}

static void forget_page(struct walk *w)
{
    w->context->page[w->gpn].valid = false;
}

static enum faketlb_result violation(struct walk *w)
{
    forget_page(w);
    if (w->ad && w->tlb->accessed_on_violation)
        for (unsigned i = 0; i < w->used_count; i++)
            *w->used[i] |= ENTRY_A;
    return FAKETLB_VIOLATION;
}

/*
 * A walk that has to set a bit needs an index within the log; where it sets D, it logs the page and the index
 * goes down, to FFFFH after 0 (29.3.6).
 */
static bool log_lets(struct walk *w, const uint64_t *leaf)
{
    struct faketlb_log *log = &w->tlb->log;
    bool dirties = w->write && (*leaf & ENTRY_D) == 0, sets = dirties;

    for (unsigned i = 0; i < w->used_count; i++)
        sets = sets || (*w->used[i] & ENTRY_A) == 0;
    if (!log->page || !sets)
        return true;
    if (*log->index >= PAGES_PER_TABLE || *log->index + log->room < PAGES_PER_TABLE)
        return false;
    if (dirties) {
        log->page[*log->index] = (uint64_t)w->gpn << PAGE_SHIFT;
        *log->index = (*log->index - 1) & 0xffff;
    }
    return true;
}

/* The walk found its leaf: sets the bits in memory and remembers the translation. */
static enum faketlb_result finish(struct walk *w, uint64_t frame)
{
    uint64_t *leaf = w->used[w->used_count - 1];
    struct faketlb_entry *page = &w->context->page[w->gpn];

    if ((w->rights & w->needed) != w->needed)
        return violation(w);
    if (w->ad && !log_lets(w, leaf))
        return FAKETLB_LOG_FULL;
    if (w->ad) {
        for (unsigned i = 0; i < w->used_count; i++)
            *w->used[i] |= ENTRY_A;
        if (w->write)
            *leaf |= ENTRY_D;
    }
    *page = (struct faketlb_entry){
        .frame = frame,
        .rights = w->rights,
        .valid = true,
        .dirty = !w->ad || (*leaf & ENTRY_D) != 0,
    };
    return FAKETLB_OK;
}

/* Uses the entry of `level` in `table`: FAKETLB_OK means that *next is what it says. */
static enum faketlb_result use_entry(struct walk *w, uint64_t *table, unsigned level, uint64_t *next,
                                     bool *leaf)
{
    uint64_t *entry = &table[w->gpn >> (9 * (level - 1)) & (PAGES_PER_TABLE - 1)];

    if ((*entry & ENTRY_RIGHTS) == 0)
        return violation(w);
    *leaf = level == 1 || (level == 2 && (*entry & ENTRY_LEAF) != 0);
    if (misconfigured(*entry, level, *leaf))
        return FAKETLB_MISCONFIG;
    w->used[w->used_count++] = entry;
    w->rights &= (uint8_t)(*entry & ENTRY_RIGHTS);
    *next = *entry;
    return FAKETLB_OK;
}

/* A walk in memory, from the root or, where one is remembered, from the pointer to the page table: then
 * the upper entries are neither read nor marked. */
static enum faketlb_result walk_tables(struct walk *w, uint64_t eptp)
{
    uint64_t *remembered = &w->context->table[w->gpn / PAGES_PER_TABLE];
    unsigned level = *remembered != 0 ? 1 : 4;
    uint64_t next = *remembered != 0 ? *remembered : eptp;
    bool leaf = false;

    w->tlb->walks++;
    if (*remembered != 0)
        w->rights &= (uint8_t)(*remembered & ENTRY_RIGHTS);
    for (; !leaf; level--) {
        enum faketlb_result result = use_entry(w, table_at(w->tlb, next), level, &next, &leaf);

        if (result != FAKETLB_OK)
            return result;
        /* Remembered only where the walk really marks it accessed, at its end. */
        if (level == 1 && w->used_count == 4 && (w->rights & w->needed) == w->needed)
            *remembered = *w->used[2];
        if (leaf && level == 2)
            next = (next & ENTRY_ADDRESS & ~(uint64_t)(PAGE_2M - 1)) | (uint64_t)(w->gpn % PAGES_PER_TABLE)
                                                                           << PAGE_SHIFT;
    }
    return finish(w, next & ENTRY_ADDRESS);
}

static uint8_t rights_for(enum faketlb_access access)
{
    if (access == FAKETLB_FETCH)
        return ENTRY_X;
    return access == FAKETLB_WRITE ? ENTRY_W : ENTRY_R;
}

enum faketlb_result faketlb_access(struct faketlb *tlb, uint64_t eptp, uint32_t gpn,
                                   enum faketlb_access access, uint64_t *frame)
{
    struct walk w = {.tlb = tlb, .gpn = gpn, .rights = ENTRY_RIGHTS, .write = access == FAKETLB_WRITE};
    enum faketlb_result result = FAKETLB_OK;
    struct faketlb_entry *page;

    HV_CHECK((eptp & 7) == 6 && EPTP_WALK(eptp) == 3);
    if (gpn >= tlb->pages)
        return FAKETLB_VIOLATION;
    w.context = get_context(tlb, eptp);
    w.ad = (eptp & EPTP_AD_BIT) != 0;
    w.needed = rights_for(access);
    page = &w.context->page[gpn];
    if (page->valid && (page->rights & w.needed) != w.needed) {
        result = violation(&w);
    } else if (page->valid && (!w.write || page->dirty)) {
        tlb->hits++;
    } else {
        result = walk_tables(&w, eptp); /* nothing remembered, or D is still to be set in memory */
    }
    if (result == FAKETLB_OK && frame != NULL)
        *frame = page->frame;
    return result;
}

static void forget(struct faketlb_context *context)
{
    memset(context->page, 0, context->pages * sizeof(*context->page));
    memset(context->table, 0, (context->pages / PAGES_PER_TABLE + 1) * sizeof(*context->table));
}

void faketlb_invept(struct faketlb *tlb, uint64_t eptp)
{
    struct faketlb_context *context = find_context(tlb, eptp);

    tlb->invepts++;
    if (context != NULL && eptp != 0)
        forget(context);
}

void faketlb_invept_all(struct faketlb *tlb)
{
    tlb->invepts++;
    for (unsigned i = 0; i < FAKETLB_CONTEXTS; i++)
        if (tlb->context[i].eptp != 0)
            forget(&tlb->context[i]);
}

void faketlb_evict(struct faketlb *tlb, uint64_t eptp, uint32_t gpn)
{
    struct faketlb_context *context = find_context(tlb, eptp);

    if (context != NULL && eptp != 0 && gpn < context->pages)
        context->page[gpn].valid = false;
}
