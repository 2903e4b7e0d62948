/*
 * A processor's EPT walks with a TLB that remembers: translations, and pointers to page tables, stay
 * until they are invalidated, however the tables in memory change. So a forgotten INVEPT shows: an
 * old frame is reached, or an A or D bit is not set (SDM 3C 29.3 and 29.4).
 *
 * It walks tables whose physical addresses are pointer values plus a fixed offset, maps 4 KiB and 2
 * MiB leaves, and sets A and D bits where the EPT pointer asks for it. Host tests only.
 */
#ifndef RV_TEST_FAKE_TLB_H
#define RV_TEST_FAKE_TLB_H

#include "hv/base/types.h"

enum faketlb_result {
    FAKETLB_OK,
    FAKETLB_VIOLATION, /* EPT violation: not present, or the right is missing */
    FAKETLB_LOG_FULL,  /* page-modification log full (29.3.6) */
    FAKETLB_MISCONFIG, /* EPT misconfiguration: reserved bits, write without read, memory type */
};

enum faketlb_access {
    FAKETLB_READ = 0,
    FAKETLB_WRITE = 1,
    FAKETLB_FETCH = 2, /* instead of a data access */
};

/* One remembered translation of a guest page under one EPT pointer. */
struct faketlb_entry {
    uint64_t frame;
    uint8_t rights; /* R, W, X as in the entries, joined over the levels */
    bool valid;
    bool dirty; /* the leaf's D bit is known to be set */
};

#define FAKETLB_CONTEXTS 16u

/* The page-modification log. */
struct faketlb_log {
    uint64_t *page;  /* NULL: it is off */
    uint64_t *index; /* the VMCS field: of the next entry, downwards */
    uint32_t room;   /* entries that it takes, 512 by the manual; fewer make it full more often */
};

struct faketlb_context {
    uint64_t eptp; /* 0: free */
    uint32_t pages;
    struct faketlb_entry *page;
    uint64_t *table; /* per 2 MiB: the remembered entry that points to a page table; 0: none */
};

struct faketlb {
    uint64_t phys_offset;
    uint32_t pages; /* guest pages that each context can remember */
    /* A violation on a present page may set A on what was used: real processors may do either. */
    bool accessed_on_violation;
    struct faketlb_log log;
    uint64_t hits;
    uint64_t walks;
    uint64_t invepts;
    struct faketlb_context context[FAKETLB_CONTEXTS];
};

/* For guests of at most `pages` pages; a table's pointer = its physical address - phys_offset. */
void faketlb_init(struct faketlb *tlb, uint32_t pages, uint64_t phys_offset);
void faketlb_free(struct faketlb *tlb);

/* An access by the guest to page `gpn` under `eptp`; on FAKETLB_OK *frame (may be NULL) is the physical
 * address of the page's frame. A violation drops what was remembered of the page, as 29.4.3.1 says. A
 * page number past what the TLB remembers is a violation. */
enum faketlb_result faketlb_access(struct faketlb *tlb, uint64_t eptp, uint32_t gpn,
                                   enum faketlb_access access, uint64_t *frame);

/* INVEPT, single-context: forgets all of `eptp`. */
void faketlb_invept(struct faketlb *tlb, uint64_t eptp);
/* INVEPT, all-context. */
void faketlb_invept_all(struct faketlb *tlb);
/* What a processor may do at any time: forgets one page's translation. */
void faketlb_evict(struct faketlb *tlb, uint64_t eptp, uint32_t gpn);

#endif
