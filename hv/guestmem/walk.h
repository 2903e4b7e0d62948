/*
 * Pure. The guest's own paging, walked in software: linear address to guest-physical address in every
 * paging mode that a guest can be in (SDM 3A chapter 5). It never writes: A and D bits of the guest's
 * entries stay as they are.
 */
#ifndef RV_HV_GUESTMEM_WALK_H
#define RV_HV_GUESTMEM_WALK_H

#include "hv/base/types.h"

enum walk_result {
    WALK_OK,
    WALK_NOT_PRESENT,   /* an entry's P bit is clear */
    WALK_RESERVED,      /* an entry has a reserved bit set */
    WALK_DENIED,        /* the entries forbid the access */
    WALK_NOT_CANONICAL, /* 64-bit mode: the linear address is not canonical */
    WALK_BEYOND_MEMORY, /* an entry lies where guest memory does not: the read callback refused */
    WALK_UNSUPPORTED,   /* 5-level paging, protection keys */
};
const char *walk_result_name(enum walk_result result);

/* What the walk is for; flags may be joined. WALK_READ alone asks for a supervisor's data read. */
enum walk_access {
    WALK_READ = 0,
    WALK_WRITE = 1u << 0,
    WALK_FETCH = 1u << 1,
    WALK_USER = 1u << 2,      /* CPL is 3 and the access is not an implicit supervisor access */
    WALK_IMPLICIT = 1u << 3,  /* supervisor access to a system structure: RFLAGS.AC does not help */
    WALK_ANY_RIGHTS = 1u << 4 /* do not check rights: only where the address leads */
};

/* The registers that paging depends on. */
struct walk_paging {
    uint64_t cr0;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    uint64_t rflags;
    uint64_t pdpte[4];  /* used in PAE paging: as the processor loaded them */
    unsigned phys_bits; /* MAXPHYADDR of the guest's CPUID model, 32 to 52 */
};

struct walk_page {
    uint64_t gpa;      /* of the address asked for, not of its page */
    uint64_t size;     /* of the page that maps it; 4 KiB without paging */
    bool writable;     /* R/W set on all levels */
    bool user;         /* U/S set on all levels */
    bool executable;   /* XD set on no level, or not in use */
    uint64_t entry[4]; /* addresses of the entries walked through, the last one maps the page */
    uint32_t entries;
    uint32_t pf_error; /* results NOT_PRESENT, RESERVED, DENIED: the error code of the page fault (5.7) */
};

/* Copies `bytes` (4 or 8, naturally aligned) from guest-physical `address`; false: not guest memory. */
typedef bool (*walk_read_fn)(void *ctx, uint64_t address, void *buf, size_t bytes);

/* Translates linear address `linear` (outside 4-level paging only its low 32 bits count) for the `access`
 * (enum walk_access flags). *page is filled in whole on WALK_OK; on a failure only pf_error means
 * anything. Whether the resulting address is guest memory is for the caller to check. */
enum walk_result walk_guest(const struct walk_paging *paging, uint64_t linear, unsigned access,
                            walk_read_fn read, void *ctx, struct walk_page *page);

#endif
