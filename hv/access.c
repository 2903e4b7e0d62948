#include "hv/access.h"

#include "drivers/vdev/cpuid.h"
#include "hv/cpu/cpu.h"
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

enum insn_mode access_insn_mode(struct vcpu *vcpu)
{
    struct vmx_segment cs;

    if (vmx_in_64bit_code(&vcpu->vmx))
        return INSN_MODE_64;
    vmx_get_segment(&vcpu->vmx, SEGMENT_CS, &cs);
    return cs.access & VMX_ACCESS_DB ? INSN_MODE_32 : INSN_MODE_16;
}
