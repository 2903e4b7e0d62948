/*
 * The part of a vCPU's state that VMX holds for it: what lies in the VMCS, in registers that VM entry
 * does not touch (CR2, SYSCALL and SWAPGS MSRs), and in the general registers' save area.
 *
 * One list, vmx/guest_fields.h, makes load and save, and the table vmx_guest_fields for whatever else has to
 * go over the state field by field (naming a difference, say). Not in here, because others own it: CR8 and
 * the local APIC, XCR0 and the XSAVE area, IA32_APIC_BASE and guest time. The real IA32_DEBUGCTL is never the
 * guest's.
 */
#ifndef RV_VMX_GUEST_STATE_H
#define RV_VMX_GUEST_STATE_H

#include "hv/base/types.h"
#include "vmx/defs.h"

struct vmx_segment {
    uint64_t base;
    uint32_t limit;
    uint32_t access; /* VMX_ACCESS_* (SDM 3C table 25-2) */
    uint64_t selector;
};
_Static_assert(sizeof(struct vmx_segment) == 24, "no hidden padding");

struct vmx_table {
    uint64_t base;
    uint64_t limit;
};
_Static_assert(sizeof(struct vmx_table) == 16, "no hidden padding");

enum vmx_segment_index {
    SEGMENT_ES,
    SEGMENT_CS,
    SEGMENT_SS,
    SEGMENT_DS,
    SEGMENT_FS,
    SEGMENT_GS,
    SEGMENT_LDTR,
    SEGMENT_TR,
    SEGMENT_COUNT
};

/*
 * An event that the next VM entry delivers: the three VM-entry fields (SDM 3C 25.8.3). None if `info`
 * lacks VMX_INFO_VALID; then all three are 0 in a canonical state.
 */
struct vmx_event {
    uint32_t info;
    uint32_t error;              /* with VMX_INFO_ERROR_VALID */
    uint64_t instruction_length; /* bytes, for software interrupts and exceptions: 1..15 (0 where allowed) */
};
_Static_assert(sizeof(struct vmx_event) == 16, "no hidden padding");

/*
 * Two states are the same exactly when their bytes are, given that both are canonical (see
 * vmx_guest_canonicalize); vmx_guest_save gives canonical ones. The struct has no padding at all.
 */
struct vmx_guest_state {
    uint64_t gpr[GPR_COUNT]; /* enum vmx_gpr; gpr[GPR_RSP] is RSP */
    uint64_t rip;
    uint64_t rflags;
    uint64_t cr0; /* as the guest reads it: bits that VMX forces in the real register do not show */
    uint64_t cr2;
    uint64_t cr3;
    uint64_t cr4;   /* as the guest reads it */
    uint64_t dr[4]; /* the debug registers as the guest sees them; vmx/debug.c loads the real ones */
    uint64_t dr6;
    uint64_t dr7;
    struct vmx_segment segment[SEGMENT_COUNT];
    struct vmx_table gdtr;
    struct vmx_table idtr;
    uint64_t efer; /* LMA included */
    uint64_t pat;
    uint64_t sysenter_cs;
    uint64_t sysenter_esp;
    uint64_t sysenter_eip;
    uint64_t star;
    uint64_t lstar;
    uint64_t cstar;
    uint64_t fmask;
    uint64_t kernel_gs_base;
    uint64_t tsc_aux;
    uint64_t pdpte[4]; /* PAE paging only, else 0 */
    uint32_t interruptibility;
    uint32_t activity; /* enum vmx_activity */
    uint64_t pending_debug;
    struct vmx_event event; /* to be injected by the next entry */
};

/* Where the machine keeps a field of the state. */
enum vmx_place {
    VMX_IN_VMCS,   /* the VMCS field `id` */
    VMX_IN_GPR,    /* vcpu->gpr[id] */
    VMX_IN_MSR,    /* enum vmx_guest_msr `id`: the real MSR, as the hypervisor uses none of them */
    VMX_IN_CR0,    /* GUEST_CR0 where the guest owns the bit, the read shadow where it does not */
    VMX_IN_CR2,    /* the real CR2 */
    VMX_IN_CR4,    /* like VMX_IN_CR0 */
    VMX_IN_MEMORY, /* vcpu->dr[id]: debug registers 0-3, then DR6, DR7 */
};

/* MSRs that belong to the guest, that instructions use without an exit, and that VM entry leaves alone. */
enum vmx_guest_msr {
    GUEST_MSR_STAR,
    GUEST_MSR_LSTAR,
    GUEST_MSR_CSTAR,
    GUEST_MSR_FMASK,
    GUEST_MSR_KERNEL_GS_BASE,
    GUEST_MSR_TSC_AUX,
    GUEST_MSR_COUNT
};

/* Indexes of vcpu->dr. */
enum vmx_debug_register { GUEST_DR0, GUEST_DR1, GUEST_DR2, GUEST_DR3, GUEST_DR6, GUEST_DR7, GUEST_DR_COUNT };

struct vmx_field_map {
    const char *name; /* as in the SDM, for people: "CS.base", "CR3" */
    uint8_t place;    /* enum vmx_place */
    uint8_t width;    /* bytes in the struct: 4 or 8 */
    uint16_t offset;  /* in struct vmx_guest_state */
    uint32_t id;      /* meaning depends on place */
};

/* Every byte of struct vmx_guest_state belongs to exactly one entry, in ascending offsets. */
extern const struct vmx_field_map vmx_guest_fields[];
extern const size_t vmx_guest_field_count;

/* The value of field `map` in `state`, zero-extended. */
uint64_t vmx_field_get(const struct vmx_guest_state *state, const struct vmx_field_map *map);
/* Sets field `map` in `state`; `value` is cut to the field's width. */
void vmx_field_set(struct vmx_guest_state *state, const struct vmx_field_map *map, uint64_t value);

/* The first field where the states differ, or NULL if they are equal. */
const struct vmx_field_map *vmx_guest_difference(const struct vmx_guest_state *a,
                                                 const struct vmx_guest_state *b);

/*
 * Clears what a VM exit leaves undefined (SDM 3C 28.3.2, 28.3.1): parts of unusable segments, PDPTEs
 * outside PAE paging, an event that is not valid.
 */
void vmx_guest_canonicalize(struct vmx_guest_state *state);

/* The state after INIT or power-up (SDM 3A 10.1.1): real mode at F000:FFF0. EDX (the CPU's signature) is 0.
 */
void vmx_guest_reset(struct vmx_guest_state *state);
/* After INIT, makes the state start at vector `page` of a startup IPI: CS:IP = page << 8 : 0 (SDM 3A 9.4.4).
 */
void vmx_guest_sipi(struct vmx_guest_state *state, uint8_t page);
/*
 * Flat 64-bit or 32-bit protected-mode segments (selectors CS 8, data 0x10, TR 0x18), as a loader hands
 * them to a kernel; EFER, CR0, CR3 and CR4 are left to the caller.
 */
void vmx_guest_flat_segments(struct vmx_guest_state *state, bool is_64bit);

/* Whether the state's paging uses the PDPTE fields (SDM 3A 4.4.1). */
bool vmx_guest_pae_paging(const struct vmx_guest_state *state);

/* Current privilege level: DPL of SS (SDM 3C 25.4.1). */
static inline unsigned vmx_guest_cpl(const struct vmx_guest_state *state)
{
    return (state->segment[SEGMENT_SS].access & VMX_ACCESS_DPL) >> VMX_ACCESS_DPL_SHIFT;
}

#endif
