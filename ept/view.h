/*
 * A view: one vCPU's own EPT over guest memory, which is contiguous from guest-physical address 0
 * (SDM 3C 29.3). Every page has a 4 KiB leaf; the page tables lie one behind the other, so that all
 * leaves form one flat array and a lookup needs no walk. What lies past guest memory (device pages,
 * the local APIC page) is never present: an access there is an EPT violation.
 *
 * Locks: none. A view belongs to one vCPU; all functions must run on the CPU of that vCPU, outside
 * VMX non-root operation, so the processor changes no A or D bit meanwhile.
 *
 * A page number that a guest supplied must be compared with view->pages before it is used here: a
 * page number out of range stops the machine.
 */
#ifndef RV_EPT_VIEW_H
#define RV_EPT_VIEW_H

#include "hv/base/types.h"

/* EPT entries, SDM 3C tables 29-1 to 29-7. */
enum ept_bits {
    EPT_R = 1u << 0,
    EPT_W = 1u << 1,
    EPT_X = 1u << 2,
    EPT_MEMTYPE_SHIFT = 3, /* leaves only: bits 5:3 */
    EPT_MEMTYPE_WB = 6,
    EPT_IGNORE_PAT = 1u << 6, /* leaves only */
    EPT_LEAF = 1u << 7,       /* page directory entry that maps 2 MiB */
    EPT_A = 1u << 8,
    EPT_D = 1u << 9, /* leaves only */
};
#define EPT_ADDR_MASK UINT64_C(0x000ffffffffff000)
#define EPT_RWX       (EPT_R | EPT_W | EPT_X)
#define EPT_ENTRIES   512u /* per table */

/* EPT pointer, SDM 3C 25.6.11, table 25-9. */
enum eptp_bits {
    EPTP_MEMTYPE_WB = 6,
    EPTP_WALK_4 = 3u << 3, /* bits 5:3: walk length less 1 */
    EPTP_AD = 1u << 6,
};

/* Guest memory ends below the devices' addresses. */
#define EPT_MAX_GUEST_BYTES UINT64_C(0xc0000000)

struct ept_view {
    uint64_t *leaf; /* one entry per guest page; `pages` of them are used */
    uint64_t *pd;   /* one entry per page table, flat */
    uint64_t *pdpt;
    uint64_t *pml4;
    uint64_t phys_offset; /* physical address of a table = its pointer + this */
    uint32_t pages;       /* guest pages: valid page numbers are below this */
    uint32_t tables;      /* page tables of 512 leaves */
    /* True: INVEPT (single-context, this EPTP) is due before the vCPU is entered again (29.4.3.3). The
     * caller calls ept_invalidated() after it has executed it. */
    bool needs_invept;
    /* Page-modification logging: what was written since the last harvest comes from here, not from the D
     * bits. NULL: it is off. `pages` entries: a page is logged when its D bit becomes set, so at most once.
     */
    uint32_t *written;
    uint32_t written_count;
    uint64_t maps;         /* leaves written by ept_map and ept_make_private */
    uint64_t quiet_remaps; /* of these: over a present leaf that no translation can have been cached of */
};

/* Bytes that the tables of a view over `guest_bytes` (a multiple of 4 KiB, 1 page to
 * EPT_MAX_GUEST_BYTES) take. */
size_t ept_view_bytes(uint64_t guest_bytes);
/* Makes an empty view (no page present) in `tables` (page-aligned, ept_view_bytes(guest_bytes) bytes);
 * physical address = pointer value + phys_offset. INVEPT is due, as the tables may have been another's. */
void ept_view_init(struct ept_view *view, void *tables, uint64_t guest_bytes, uint64_t phys_offset);
/* The EPT pointer: write-back, 4 levels, A and D bits on (25.6.11). */
uint64_t ept_eptp(const struct ept_view *view);

/* Maps page `gpn` to the frame at `frame` (page-aligned), readable and executable and, if asked,
 * writable; write-back; A and D clear: for use between chunks. */
void ept_map(struct ept_view *view, uint32_t gpn, hpa_t frame, bool writable);
/* In the middle of a chunk: maps present page `gpn` to the chunk's private copy, writable. A and D bits
 * are KEPT: the chunk may have read the page already, and it may end before the store is executed again. */
void ept_make_private(struct ept_view *view, uint32_t gpn, hpa_t frame);
/* Makes present page `gpn` writable where it is; A and D stay. Needs no INVEPT (29.4.3.3: rights grew),
 * but a translation cached earlier may still raise one violation, which drops it: the caller that finds
 * the page writable then just goes on. */
void ept_make_writable(struct ept_view *view, uint32_t gpn);
/* Makes present page `gpn` read-only where it is; A and D stay. */
void ept_make_readonly(struct ept_view *view, uint32_t gpn);
/* Makes page `gpn` not present. */
void ept_unmap(struct ept_view *view, uint32_t gpn);
/* Notes an access that the hypervisor itself makes for the vCPU, as the processor would (A on all
 * levels, and D for a write): the page joins the chunk's sets. Page `gpn` must be present. */
void ept_touch(struct ept_view *view, uint32_t gpn, bool write);
/* The caller has executed INVEPT for this view's EPTP. */
void ept_invalidated(struct ept_view *view);

bool ept_present(const struct ept_view *view, uint32_t gpn);
bool ept_writable(const struct ept_view *view, uint32_t gpn);
bool ept_accessed(const struct ept_view *view, uint32_t gpn);
bool ept_dirty(const struct ept_view *view, uint32_t gpn);
/* The frame's physical address; 0 if the page is not present. */
hpa_t ept_hpa(const struct ept_view *view, uint32_t gpn);

/* From now on writes are logged in `written`, `view->pages` entries that stay the caller's (SDM 3C 29.3.6).
 */
void ept_log_writes(struct ept_view *view, uint32_t *written);
/* The processor has logged a write to page `gpn`. Before the harvest, in any order. */
void ept_note_written(struct ept_view *view, uint32_t gpn);

/* What a harvest found, in rising order of page numbers. */
#define EPT_PAGE_DIRTY UINT32_C(0x80000000)
struct ept_harvest {
    uint32_t *page;    /* given: accessed pages, page number | EPT_PAGE_DIRTY where written */
    uint32_t capacity; /* given: entries at `page`; view->pages is always enough */
    bool wide;         /* given: there is AVX2, and the SIMD registers are free (hv/base/changes.h) */
    uint32_t count;    /* entries filled in */
    uint32_t tables;   /* page tables that were scanned */
    bool full;         /* the array is full and accessed pages are left: call again for the rest */
};

/* Collects the accessed pages below entries whose A bit is set, and clears A and D there. Sets
 * needs_invept if it cleared a bit. Returns out->count. Where writes are logged, D bits are not looked at,
 * and `capacity` must be enough. */
uint32_t ept_harvest(struct ept_view *view, struct ept_harvest *out);

/* mode=run: no chunks, no A and D bits, one 2 MiB leaf per 2 MiB of guest memory, all rights. */
size_t ept_run_bytes(uint64_t guest_bytes);
/* Builds the tables in `tables` (page-aligned, ept_run_bytes(guest_bytes) bytes) and returns the EPT
 * pointer. Guest-physical 0 is `base`; `base` and `guest_bytes` are multiples of 2 MiB. */
uint64_t ept_run_init(void *tables, uint64_t guest_bytes, uint64_t phys_offset, hpa_t base);

#endif
