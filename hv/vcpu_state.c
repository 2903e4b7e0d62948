#include "hv/vcpu_state.h"

#include "hv/base/changes.h"
#include "hv/base/digest.h"
#include "hv/cpu/cpu.h"

#include <string.h>

_Static_assert(sizeof(struct vcpu_state) == CPUID_MODEL_XSAVE_BYTES + sizeof(struct vmx_guest_state) +
                                                sizeof(struct vlapic) + sizeof(struct vmsrs) +
                                                sizeof(struct vrandom) + sizeof(struct vcpu_completion) + 64,
               "struct vcpu_state has no padding");
_Static_assert(sizeof(struct vcpu_state) % 64 == 0, "whole words, whole alignment units");
_Static_assert(sizeof(struct vcpu_state) / 8 <= CHANGES_WORDS, "a key for each word");

#define FIELD(name, member)                                                                                  \
    {                                                                                                        \
        name, offsetof(struct vcpu_state, member), sizeof(((struct vcpu_state *)0)->member)                  \
    }

const struct vcpu_field vcpu_fields[] = {
    FIELD("XSAVE area", xsave),
    FIELD("general registers", cpu.gpr),
    FIELD("RIP", cpu.rip),
    FIELD("RFLAGS", cpu.rflags),
    FIELD("CR0", cpu.cr0),
    FIELD("CR2", cpu.cr2),
    FIELD("CR3", cpu.cr3),
    FIELD("CR4", cpu.cr4),
    FIELD("DR0-3", cpu.dr),
    FIELD("DR6", cpu.dr6),
    FIELD("DR7", cpu.dr7),
    FIELD("segments", cpu.segment),
    FIELD("GDTR", cpu.gdtr),
    FIELD("IDTR", cpu.idtr),
    FIELD("IA32_EFER", cpu.efer),
    FIELD("IA32_PAT", cpu.pat),
    FIELD("IA32_SYSENTER_CS", cpu.sysenter_cs),
    FIELD("IA32_SYSENTER_ESP", cpu.sysenter_esp),
    FIELD("IA32_SYSENTER_EIP", cpu.sysenter_eip),
    FIELD("IA32_STAR", cpu.star),
    FIELD("IA32_LSTAR", cpu.lstar),
    FIELD("IA32_CSTAR", cpu.cstar),
    FIELD("IA32_FMASK", cpu.fmask),
    FIELD("IA32_KERNEL_GS_BASE", cpu.kernel_gs_base),
    FIELD("IA32_TSC_AUX", cpu.tsc_aux),
    FIELD("PDPTEs", cpu.pdpte),
    FIELD("interruptibility", cpu.interruptibility),
    FIELD("activity in the VMCS", cpu.activity),
    FIELD("pending debug exceptions", cpu.pending_debug),
    FIELD("event to be injected", cpu.event),
    FIELD("local APIC", lapic),
    FIELD("stored MSRs", msrs),
    FIELD("random generator", random),
    FIELD("pending completion", completion),
    FIELD("XCR0", xcr0),
    FIELD("time reads", time_reads),
    FIELD("activity", activity),
    FIELD("pending NMIs", nmi_pending),
    FIELD("interrupt of the 8259", extint),
    FIELD("reserved half", reserved32),
    FIELD("reserved", reserved),
};
const size_t vcpu_field_count = ARRAY_LEN(vcpu_fields);

/* The parts of the XSAVE area's legacy region and header (SDM 1 13.4) that have meanings of their own. */
#define XSAVE_FCW          0u
#define XSAVE_MXCSR        24u
#define XSAVE_HEADER       512u
#define XSAVE_HEADER_BYTES 64u
#define FCW_RESET          UINT16_C(0x0040) /* SDM 3A table 10-1 */
#define MXCSR_RESET        UINT32_C(0x1f80)
#define XCR0_RESET         UINT64_C(1) /* x87: always on (SDM 3A 2.6) */

void vcpu_state_reset(struct vcpu_state *state, uint32_t id, uint64_t seed)
{
    uint16_t fcw = FCW_RESET;
    uint32_t mxcsr = MXCSR_RESET;

    memset(state, 0, sizeof(*state));
    memcpy(&state->xsave[XSAVE_FCW], &fcw, sizeof(fcw));
    memcpy(&state->xsave[XSAVE_MXCSR], &mxcsr, sizeof(mxcsr));
    vmx_guest_reset(&state->cpu);
    vlapic_reset(&state->lapic, id, id == 0);
    vmsrs_reset(&state->msrs);
    vrandom_seed(&state->random, seed, id);
    state->xcr0 = XCR0_RESET;
    state->activity = id == 0 ? VCPU_RUNNING : VCPU_WAIT_SIPI;
    vcpu_state_canonicalize(state);
}

void vcpu_state_init(struct vcpu_state *state)
{
    struct vmx_guest_state old = state->cpu;

    vmx_guest_reset(&state->cpu);
    state->cpu.pat = old.pat;
    state->cpu.sysenter_cs = old.sysenter_cs;
    state->cpu.sysenter_esp = old.sysenter_esp;
    state->cpu.sysenter_eip = old.sysenter_eip;
    state->cpu.star = old.star;
    state->cpu.lstar = old.lstar;
    state->cpu.cstar = old.cstar;
    state->cpu.fmask = old.fmask;
    state->cpu.kernel_gs_base = old.kernel_gs_base;
    state->cpu.tsc_aux = old.tsc_aux;
    vlapic_init_reset(&state->lapic);
    memset(&state->completion, 0, sizeof(state->completion));
    state->nmi_pending = 0;
    state->extint = 0;
    /* The bootstrap processor starts again at the reset vector, the others wait (SDM 3A 9.4.1). */
    state->activity = state->lapic.apic_base & VLAPIC_BASE_BSP ? VCPU_RUNNING : VCPU_WAIT_SIPI;
}

/* The bits of breakpoints that the guest does not enable may be anything (SDM 3C table 25-4). */
static void canonicalize_pending_debug(struct vmx_guest_state *cpu)
{
    uint64_t pending = cpu->pending_debug & VMX_PENDING_DEBUG_BS;

    for (unsigned n = 0; n < VMX_BREAKPOINTS; n++) {
        if ((cpu->pending_debug & BIT(n)) && (cpu->dr7 >> 2 * n & 3))
            pending |= BIT(n) | VMX_PENDING_DEBUG_ENABLED;
    }
    if (!(cpu->pending_debug & VMX_PENDING_DEBUG_ENABLED))
        pending &= VMX_PENDING_DEBUG_BS;
    cpu->pending_debug = pending;
}

void vcpu_state_canonicalize(struct vcpu_state *state)
{
    uint64_t xstate_bv = CPUID_MODEL_XCR0;

    /* XSAVE writes every component asked for, so that all of them can be called in use (SDM 1 13.7). */
    memset(&state->xsave[XSAVE_HEADER], 0, XSAVE_HEADER_BYTES);
    memcpy(&state->xsave[XSAVE_HEADER], &xstate_bv, sizeof(xstate_bv));
    canonicalize_pending_debug(&state->cpu);
    vmx_guest_canonicalize(&state->cpu);
}

uint64_t vcpu_state_digest(const struct vcpu_state *state)
{
    const uint64_t *words = (const uint64_t *)(const void *)state;
    size_t rflags = offsetof(struct vcpu_state, cpu.rflags) / 8;
    uint64_t d = digest_words(~UINT64_C(0), words, rflags);

    d = digest_word(d, state->cpu.rflags & ~RFLAGS_RF);
    return digest_words(d, words + rflags + 1, sizeof(*state) / 8 - rflags - 1);
}

uint64_t vcpu_state_change_digest(const struct vcpu_state *before, const struct vcpu_state *state)
{
    const uint64_t *old = (const uint64_t *)(const void *)before,
                   *new = (const uint64_t *)(const void *)state;
    const uint32_t rflags = offsetof(struct vcpu_state, cpu.rflags) / 8;
    struct changes changes = {0};

    changes_add(&changes, old, new, 0, rflags);
    if ((old[rflags] ^ new[rflags]) & ~RFLAGS_RF)
        changes_add_word(&changes, new[rflags] & ~RFLAGS_RF, rflags);
    changes_add(&changes, old, new, rflags + 1, sizeof(*state) / 8);
    return changes_digest(&changes, ~UINT64_C(0));
}

const struct vcpu_field *vcpu_state_difference(const struct vcpu_state *a, const struct vcpu_state *b,
                                               uint32_t *word)
{
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;

    for (size_t i = 0; i < vcpu_field_count; i++) {
        const struct vcpu_field *field = &vcpu_fields[i];
        for (uint32_t at = 0; at < field->size; at++) {
            if (x[field->offset + at] != y[field->offset + at]) {
                *word = at / 8;
                return field;
            }
        }
    }
    return NULL;
}
