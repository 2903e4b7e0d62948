#include "hv/access.h"

#include "drivers/vdev/cpuid.h"
#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/trap.h"
#include "hv/guestmem/walk.h"

#include <string.h>

/* Page gpn's bytes for reading; the page joins the read set. */
static const uint8_t *page_bytes(struct vcpu *vcpu, uint32_t gpn)
{
    if (vcpu->vm->mode == VM_RUN)
        return vcpu->vm->run_memory + (uint64_t)gpn * PAGE_SIZE;
    ept_touch(&vcpu->ept, gpn, false);
    return view_data(&vcpu->view, gpn);
}

bool access_read_physical(void *context, uint64_t address, void *buffer, size_t bytes)
{
    struct vcpu *vcpu = context;
    uint8_t *out = buffer;

    if (address >= vcpu->vm->memory_bytes || bytes > vcpu->vm->memory_bytes - address)
        return false;
    while (bytes) {
        uint32_t offset = address & PAGE_MASK;
        size_t part = MIN(bytes, (size_t)PAGE_SIZE - offset);
        memcpy(out, page_bytes(vcpu, (uint32_t)(address >> PAGE_SHIFT)) + offset, part);
        address += part;
        out += part;
        bytes -= part;
    }
    return true;
}

static void paging_of(struct vcpu *vcpu, struct walk_paging *paging)
{
    *paging = (struct walk_paging){.cr0 = vmx_get_cr0(&vcpu->vmx),
                                   .cr3 = vmx_get_cr3(&vcpu->vmx),
                                   .cr4 = vmx_get_cr4(&vcpu->vmx),
                                   .efer = vmx_get_efer(&vcpu->vmx),
                                   .rflags = vmx_get_rflags(&vcpu->vmx),
                                   .phys_bits = CPUID_MODEL_PHYS_BITS};
    for (unsigned i = 0; i < 4; i++)
        paging->pdpte[i] = vmx_get_pdpte(&vcpu->vmx, i);
}

size_t access_fetch(struct vcpu *vcpu, uint8_t bytes[INSN_MAX_BYTES])
{
    struct walk_paging paging;
    uint64_t linear = vmx_get_linear_rip(&vcpu->vmx);
    size_t have = 0;

    paging_of(vcpu, &paging);
    while (have < INSN_MAX_BYTES) {
        struct walk_page page;
        size_t part = MIN(INSN_MAX_BYTES - have, (size_t)(PAGE_SIZE - ((linear + have) & PAGE_MASK)));
        if (walk_guest(&paging, linear + have, WALK_FETCH | WALK_ANY_RIGHTS, access_read_physical, vcpu,
                       &page) != WALK_OK)
            break;
        if (!access_read_physical(vcpu, page.gpa, bytes + have, part))
            break;
        have += part;
    }
    return have;
}

/* ---- Accesses that the hypervisor makes for an instruction ---- */

#define PTE_ACCESSED 0x20u
#define PTE_DIRTY    0x40u

/* Page gpn's bytes for writing, or NULL. */
static uint8_t *writable_bytes(struct vcpu *vcpu, uint32_t gpn)
{
    if (vcpu->vm->mode == VM_RUN)
        return vcpu->vm->run_memory + (uint64_t)gpn * PAGE_SIZE;
    if (!view_has_copy(&vcpu->view, gpn)) {
        if (view_write_fault(&vcpu->view, gpn) != VIEW_FAULT_COPIED)
            return NULL;
        if (view_nearly_full(&vcpu->view))
            chunk_end_soon(vcpu);
    }
    return view_data(&vcpu->view, gpn);
}

static void written(struct vcpu *vcpu, uint32_t gpn)
{
    if (vcpu->vm->mode != VM_RUN)
        ept_touch(&vcpu->ept, gpn, true);
}

/*
 * A and D bits as the processor's walk would leave them (SDM 3A 5.8). First all pages are made writable, then
 * bits are set: a chunk that is cut for want of a page must not hold half of them, or a replay would not find
 * the place. False: there is no page; only where `set` is false.
 */
static bool mark_entries(struct vcpu *vcpu, const struct walk_page *page, bool write, bool set)
{
    for (uint32_t i = 0; i < page->entries; i++) {
        uint8_t bits = PTE_ACCESSED | (write && i + 1 == page->entries ? PTE_DIRTY : 0), now = 0;
        uint32_t gpn = (uint32_t)(page->entry[i] >> PAGE_SHIFT);
        uint8_t *bytes;
        (void)access_read_physical(vcpu, page->entry[i], &now, 1);
        if ((now & bits) == bits)
            continue;
        bytes = writable_bytes(vcpu, gpn);
        if (!bytes)
            return false;
        if (!set)
            continue;
        __atomic_fetch_or(bytes + (page->entry[i] & PAGE_MASK), bits, __ATOMIC_SEQ_CST);
        written(vcpu, gpn);
    }
    return true;
}

static enum access_result page_fault(struct vcpu *vcpu, uint64_t linear, const struct walk_page *page)
{
    vmx_set_cr2(&vcpu->vmx, linear);
    vmx_inject_exception(&vcpu->vmx, VECTOR_PF, page->pf_error);
    return ACCESS_FAULT;
}

enum access_result access_translate(struct vcpu *vcpu, uint64_t linear, uint32_t bytes, bool write,
                                    struct access_span *span)
{
    unsigned access = (write ? WALK_WRITE : WALK_READ) | (vmx_get_cpl(&vcpu->vmx) == 3 ? WALK_USER : 0);
    struct walk_paging paging;
    struct walk_page page[2];

    paging_of(vcpu, &paging);
    *span = (struct access_span){0};
    span->bytes[0] = MIN(bytes, PAGE_SIZE - (uint32_t)(linear & PAGE_MASK));
    span->bytes[1] = bytes - span->bytes[0];
    for (uint32_t i = 0; i < 2 && span->bytes[i]; i++) {
        uint64_t next = linear + (i ? span->bytes[0] : 0);
        uint64_t at = vmx_in_64bit_code(&vcpu->vmx) ? next : (uint32_t)next;
        enum walk_result result = walk_guest(&paging, at, access, access_read_physical, vcpu, &page[i]);
        if (result == WALK_NOT_PRESENT || result == WALK_RESERVED || result == WALK_DENIED)
            return page_fault(vcpu, at, &page[i]);
        if (result != WALK_OK || page[i].gpa >= vcpu->vm->memory_bytes)
            return ACCESS_REFUSED;
        span->gpa[i] = page[i].gpa;
    }
    for (uint32_t i = 0; i < 2 && span->bytes[i]; i++) {
        if (!mark_entries(vcpu, &page[i], write, false))
            return ACCESS_NO_PAGE;
    }
    for (uint32_t i = 0; i < 2 && span->bytes[i]; i++)
        (void)mark_entries(vcpu, &page[i], write, true);
    return ACCESS_OK;
}

#define PTE_PRESENT 0x01u
#define PTE_LARGE   0x80u
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)
#define PATH_BITS   10u /* of a path, for each level */

/* A present entry of the table, the next from a random one on; 0: there is none. */
static uint64_t present_entry(struct vcpu *vcpu, uint64_t table, uint32_t bytes, uint64_t from)
{
    uint32_t entries = PAGE_SIZE / bytes;
    const uint8_t *page;

    if (table >= vcpu->vm->memory_bytes)
        return 0;
    page = page_bytes(vcpu, (uint32_t)(table >> PAGE_SHIFT));
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t at = (uint32_t)((from + i) % entries) * bytes;
        if (page[at] & PTE_PRESENT)
            return table + at;
    }
    return 0;
}

void access_walk_in_vain(struct vcpu *vcpu, uint64_t path)
{
    struct walk_paging paging;
    struct walk_page walk = {0};
    uint32_t bytes, levels;
    uint64_t table;

    paging_of(vcpu, &paging);
    if (!(paging.cr0 & CR0_PG))
        return;
    bytes = paging.cr4 & CR4_PAE ? 8 : 4;
    levels = paging.efer & EFER_LMA ? 4 : 2; /* those of PAE's PDPTEs have no A bits */
    table = bytes == 8 && levels == 2 ? paging.pdpte[path & 3] : paging.cr3 | PTE_PRESENT;
    for (; levels > 0 && (table & PTE_PRESENT); levels--, path >>= PATH_BITS) {
        uint64_t entry = present_entry(vcpu, table & PTE_ADDRESS, bytes, path), value = 0;
        if (!entry)
            break;
        walk.entry[walk.entries++] = entry;
        view_note_table(&vcpu->view, (uint32_t)(entry >> PAGE_SHIFT));
        (void)access_read_physical(vcpu, entry, &value, bytes);
        if ((value & PTE_LARGE) && levels < 4)
            break;
        table = value;
    }
    if (mark_entries(vcpu, &walk, false, false))
        (void)mark_entries(vcpu, &walk, false, true);
}

bool access_write(struct vcpu *vcpu, const struct access_span *span, const void *data)
{
    uint8_t *to[2] = {NULL, NULL};

    for (uint32_t i = 0; i < 2 && span->bytes[i]; i++) {
        to[i] = writable_bytes(vcpu, (uint32_t)(span->gpa[i] >> PAGE_SHIFT));
        if (!to[i])
            return false;
    }
    for (uint32_t i = 0; i < 2 && span->bytes[i]; i++) {
        memcpy(to[i] + (span->gpa[i] & PAGE_MASK), (const uint8_t *)data + (i ? span->bytes[0] : 0),
               span->bytes[i]);
        written(vcpu, (uint32_t)(span->gpa[i] >> PAGE_SHIFT));
    }
    return true;
}

enum insn_mode access_insn_mode(struct vcpu *vcpu)
{
    struct vmx_segment cs;

    if (vmx_in_64bit_code(&vcpu->vmx))
        return INSN_MODE_64;
    vmx_get_segment(&vcpu->vmx, SEGMENT_CS, &cs);
    return cs.access & VMX_ACCESS_DB ? INSN_MODE_32 : INSN_MODE_16;
}

bool access_at_rep(struct vcpu *vcpu)
{
    uint8_t bytes[INSN_MAX_BYTES];
    size_t count = access_fetch(vcpu, bytes);
    struct insn_rep rep;

    return insn_rep_string(bytes, count, access_insn_mode(vcpu), &rep);
}
