/*
 * The hypervisor's own look at guest memory for a vCPU: through its view, and joining its read set, as
 * if the processor had looked (a page that a decision depends on must be validated with the rest).
 */
#ifndef RV_HV_ACCESS_H
#define RV_HV_ACCESS_H

#include "hv/guestmem/insn.h"
#include "hv/vm.h"

/* Reads `bytes` at guest-physical `address`; false where that is not guest memory. A walk_read_fn. */
bool access_read_physical(void *vcpu, uint64_t address, void *buffer, size_t bytes);

/* The instruction bytes at CS:RIP, as many as are mapped, INSN_MAX_BYTES at most. */
size_t access_fetch(struct vcpu *vcpu, uint8_t bytes[INSN_MAX_BYTES]);

/* Whether the instruction at CS:RIP is a string instruction with a REP prefix. */
bool access_at_rep(struct vcpu *vcpu);

/* The code segment's kind, for the decoders. */
enum insn_mode access_insn_mode(struct vcpu *vcpu);

/* Where a few bytes of the guest lie that no instruction of ours may fault on: at most two pages. */
struct access_span {
    uint64_t gpa[2];
    uint32_t bytes[2];
};

enum access_result {
    ACCESS_OK,
    ACCESS_FAULT,   /* #PF is set to be injected */
    ACCESS_NO_PAGE, /* a paging entry's A or D bit needs a private copy, and there is none */
    ACCESS_REFUSED, /* tables or page outside memory, or a kind of paging that the walk does not know */
};

/*
 * Translates `bytes` (1 to 8) at `linear` as a data access at the guest's privilege, and sets the A and D
 * bits as the processor would. The span is in guest memory.
 */
enum access_result access_translate(struct vcpu *vcpu, uint64_t linear, uint32_t bytes, bool write,
                                    struct access_span *span);
/*
 * Walks the guest's paging structures along a random path of present entries and sets their A bits, as a
 * processor may on a mispredicted path. Without paging, or a private copy to be had, nothing happens.
 */
void access_walk_in_vain(struct vcpu *vcpu, uint64_t path);
/* Copies to guest memory through the view, all or nothing; false: there is no private copy to be had. */
bool access_write(struct vcpu *vcpu, const struct access_span *span, const void *data);

#endif
