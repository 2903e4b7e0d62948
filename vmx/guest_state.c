#include "vmx/guest_state.h"

#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "vmx/fields.h"

#include <string.h>

#define FIELD(text, place_, id_, member)                                                                     \
    {                                                                                                        \
        .name = (text), .place = (place_), .id = (id_), .offset = offsetof(struct vmx_guest_state, member),  \
        .width = sizeof(((struct vmx_guest_state *)0)->member)                                               \
    }
#define GPR(text, index)            FIELD(text, VMX_IN_GPR, index, gpr[index])
#define VMCS(text, field, member)   FIELD(text, VMX_IN_VMCS, field, member)
#define MSR(text, index, member)    FIELD(text, VMX_IN_MSR, index, member)
#define MEMORY(text, index, member) FIELD(text, VMX_IN_MEMORY, index, member)
#define SEGMENT(text, upper)                                                                                 \
    VMCS(text ".base", VMCS_GUEST_##upper##_BASE, segment[SEGMENT_##upper].base),                            \
        VMCS(text ".limit", VMCS_GUEST_##upper##_LIMIT, segment[SEGMENT_##upper].limit),                     \
        VMCS(text ".access", VMCS_GUEST_##upper##_ACCESS, segment[SEGMENT_##upper].access),                  \
        VMCS(text ".selector", VMCS_GUEST_##upper##_SELECTOR, segment[SEGMENT_##upper].selector)

const struct vmx_field_map vmx_guest_fields[] = {
    GPR("RAX", GPR_RAX),
    GPR("RCX", GPR_RCX),
    GPR("RDX", GPR_RDX),
    GPR("RBX", GPR_RBX),
    VMCS("RSP", VMCS_GUEST_RSP, gpr[GPR_RSP]),
    GPR("RBP", GPR_RBP),
    GPR("RSI", GPR_RSI),
    GPR("RDI", GPR_RDI),
    GPR("R8", GPR_R8),
    GPR("R9", GPR_R9),
    GPR("R10", GPR_R10),
    GPR("R11", GPR_R11),
    GPR("R12", GPR_R12),
    GPR("R13", GPR_R13),
    GPR("R14", GPR_R14),
    GPR("R15", GPR_R15),
    VMCS("RIP", VMCS_GUEST_RIP, rip),
    VMCS("RFLAGS", VMCS_GUEST_RFLAGS, rflags),
    FIELD("CR0", VMX_IN_CR0, 0, cr0),
    FIELD("CR2", VMX_IN_CR2, 0, cr2),
    VMCS("CR3", VMCS_GUEST_CR3, cr3),
    FIELD("CR4", VMX_IN_CR4, 0, cr4),
    MEMORY("DR0", GUEST_DR0, dr[0]),
    MEMORY("DR1", GUEST_DR1, dr[1]),
    MEMORY("DR2", GUEST_DR2, dr[2]),
    MEMORY("DR3", GUEST_DR3, dr[3]),
    MEMORY("DR6", GUEST_DR6, dr6),
    MEMORY("DR7", GUEST_DR7, dr7),
    SEGMENT("ES", ES),
    SEGMENT("CS", CS),
    SEGMENT("SS", SS),
    SEGMENT("DS", DS),
    SEGMENT("FS", FS),
    SEGMENT("GS", GS),
    SEGMENT("LDTR", LDTR),
    SEGMENT("TR", TR),
    VMCS("GDTR.base", VMCS_GUEST_GDTR_BASE, gdtr.base),
    VMCS("GDTR.limit", VMCS_GUEST_GDTR_LIMIT, gdtr.limit),
    VMCS("IDTR.base", VMCS_GUEST_IDTR_BASE, idtr.base),
    VMCS("IDTR.limit", VMCS_GUEST_IDTR_LIMIT, idtr.limit),
    VMCS("IA32_EFER", VMCS_GUEST_EFER, efer),
    VMCS("IA32_PAT", VMCS_GUEST_PAT, pat),
    VMCS("IA32_SYSENTER_CS", VMCS_GUEST_SYSENTER_CS, sysenter_cs),
    VMCS("IA32_SYSENTER_ESP", VMCS_GUEST_SYSENTER_ESP, sysenter_esp),
    VMCS("IA32_SYSENTER_EIP", VMCS_GUEST_SYSENTER_EIP, sysenter_eip),
    MSR("IA32_STAR", GUEST_MSR_STAR, star),
    MSR("IA32_LSTAR", GUEST_MSR_LSTAR, lstar),
    MSR("IA32_CSTAR", GUEST_MSR_CSTAR, cstar),
    MSR("IA32_FMASK", GUEST_MSR_FMASK, fmask),
    MSR("IA32_KERNEL_GS_BASE", GUEST_MSR_KERNEL_GS_BASE, kernel_gs_base),
    MSR("IA32_TSC_AUX", GUEST_MSR_TSC_AUX, tsc_aux),
    VMCS("PDPTE0", VMCS_GUEST_PDPTE0, pdpte[0]),
    VMCS("PDPTE1", VMCS_GUEST_PDPTE1, pdpte[1]),
    VMCS("PDPTE2", VMCS_GUEST_PDPTE2, pdpte[2]),
    VMCS("PDPTE3", VMCS_GUEST_PDPTE3, pdpte[3]),
    VMCS("interruptibility", VMCS_GUEST_INTERRUPTIBILITY, interruptibility),
    VMCS("activity", VMCS_GUEST_ACTIVITY, activity),
    VMCS("pending debug exceptions", VMCS_GUEST_PENDING_DEBUG, pending_debug),
    VMCS("event", VMCS_ENTRY_INTERRUPTION_INFO, event.info),
    VMCS("event error code", VMCS_ENTRY_EXCEPTION_ERROR, event.error),
    VMCS("event instruction length", VMCS_ENTRY_INSTRUCTION_LENGTH, event.instruction_length),
};
const size_t vmx_guest_field_count = ARRAY_LEN(vmx_guest_fields);

/* Access rights of a segment that is there: type, S, P; data and code are read-write and accessed. */
#define ACCESS_DATA     (VMX_ACCESS_PRESENT | VMX_ACCESS_S | UINT32_C(0x3))
#define ACCESS_CODE     (VMX_ACCESS_PRESENT | VMX_ACCESS_S | UINT32_C(0xB))
#define ACCESS_LDT      (VMX_ACCESS_PRESENT | UINT32_C(0x2))
#define ACCESS_BUSY_TSS (VMX_ACCESS_PRESENT | UINT32_C(0xB))
#define LIMIT_64K       UINT32_C(0xFFFF)
#define LIMIT_4G        UINT32_C(0xFFFFFFFF)
#define LIMIT_TSS       UINT32_C(0x67)

#define RESET_CS_SELECTOR UINT64_C(0xF000)
#define RESET_CS_BASE     UINT64_C(0xFFFF0000)
#define RESET_RIP         UINT64_C(0xFFF0)
#define RESET_DR6         UINT64_C(0xFFFF0FF0)
#define RESET_DR7         UINT64_C(0x400)

#define FLAT_CODE UINT64_C(0x08)
#define FLAT_DATA UINT64_C(0x10)
#define FLAT_TSS  UINT64_C(0x18)

_Static_assert(sizeof(struct vmx_guest_state) ==
                   8 * (GPR_COUNT + 6 + 6) + SEGMENT_COUNT * sizeof(struct vmx_segment) +
                       2 * sizeof(struct vmx_table) + 8 * (5 + GUEST_MSR_COUNT + 4) + 2 * 4 + 8 +
                       sizeof(struct vmx_event),
               "no hidden padding: the state is digested as bytes");

uint64_t vmx_field_get(const struct vmx_guest_state *state, const struct vmx_field_map *map)
{
    const uint8_t *at = (const uint8_t *)state + map->offset;
    uint32_t narrow;
    uint64_t wide;

    if (map->width == sizeof(narrow)) {
        memcpy(&narrow, at, sizeof(narrow));
        return narrow;
    }
    memcpy(&wide, at, sizeof(wide));
    return wide;
}

void vmx_field_set(struct vmx_guest_state *state, const struct vmx_field_map *map, uint64_t value)
{
    uint8_t *at = (uint8_t *)state + map->offset;
    uint32_t narrow = (uint32_t)value;

    if (map->width == sizeof(narrow)) {
        memcpy(at, &narrow, sizeof(narrow));
    } else {
        memcpy(at, &value, sizeof(value));
    }
}

const struct vmx_field_map *vmx_guest_difference(const struct vmx_guest_state *a,
                                                 const struct vmx_guest_state *b)
{
    for (size_t i = 0; i < vmx_guest_field_count; i++) {
        const struct vmx_field_map *map = &vmx_guest_fields[i];

        if (vmx_field_get(a, map) != vmx_field_get(b, map)) {
            return map;
        }
    }
    return NULL;
}

/*
 * An unusable segment keeps what software can still see of it: the selector, the DPL of SS (it is the CPL)
 * and the bases of FS and GS (64-bit mode uses them).
 */
static void canonicalize_segment(struct vmx_segment *segment, enum vmx_segment_index index)
{
    if (!(segment->access & VMX_ACCESS_UNUSABLE)) {
        return;
    }
    segment->limit = 0;
    if (index != SEGMENT_FS && index != SEGMENT_GS) {
        segment->base = 0;
    }
    segment->access = VMX_ACCESS_UNUSABLE | (index == SEGMENT_SS ? segment->access & VMX_ACCESS_DPL : 0);
}

static void canonicalize_event(struct vmx_event *event)
{
    uint32_t type = (event->info & VMX_INFO_TYPE) >> VMX_INFO_TYPE_SHIFT;

    if (!(event->info & VMX_INFO_VALID)) {
        memset(event, 0, sizeof(*event));
        return;
    }
    if (!(event->info & VMX_INFO_ERROR_VALID)) {
        event->error = 0;
    }
    if (type < VMX_EVENT_SOFTWARE_INTERRUPT || type > VMX_EVENT_SOFTWARE_EXCEPTION) {
        event->instruction_length = 0;
    }
}

void vmx_guest_canonicalize(struct vmx_guest_state *state)
{
    bool pae_paging = (state->cr0 & CR0_PG) && (state->cr4 & CR4_PAE) && !(state->efer & EFER_LMA);

    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        canonicalize_segment(&state->segment[i], (enum vmx_segment_index)i);
    }
    if (!pae_paging) {
        memset(state->pdpte, 0, sizeof(state->pdpte));
    }
    canonicalize_event(&state->event);
}

static void real_mode_segment(struct vmx_segment *segment, uint32_t access)
{
    *segment = (struct vmx_segment){.limit = LIMIT_64K, .access = access};
}

void vmx_guest_reset(struct vmx_guest_state *state)
{
    memset(state, 0, sizeof(*state));
    state->rip = RESET_RIP;
    state->rflags = RFLAGS_ONE;
    state->cr0 = CR0_CD | CR0_NW | CR0_ET;
    state->dr6 = RESET_DR6;
    state->dr7 = RESET_DR7;
    state->pat = PAT_RESET_VALUE;
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++) {
        real_mode_segment(&state->segment[i], ACCESS_DATA);
    }
    real_mode_segment(&state->segment[SEGMENT_CS], ACCESS_CODE);
    state->segment[SEGMENT_CS].selector = RESET_CS_SELECTOR;
    state->segment[SEGMENT_CS].base = RESET_CS_BASE;
    real_mode_segment(&state->segment[SEGMENT_LDTR], ACCESS_LDT);
    real_mode_segment(&state->segment[SEGMENT_TR], ACCESS_BUSY_TSS);
    state->gdtr.limit = LIMIT_64K;
    state->idtr.limit = LIMIT_64K;
}

void vmx_guest_sipi(struct vmx_guest_state *state, uint8_t page)
{
    state->segment[SEGMENT_CS].selector = (uint64_t)page << 8;
    state->segment[SEGMENT_CS].base = (uint64_t)page << PAGE_SHIFT;
    state->rip = 0;
    state->activity = VMX_ACTIVE;
}

void vmx_guest_flat_segments(struct vmx_guest_state *state, bool is_64bit)
{
    uint32_t mode = VMX_ACCESS_G | (is_64bit ? VMX_ACCESS_LONG : VMX_ACCESS_DB);
    static const uint8_t data[] = {SEGMENT_ES, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};

    for (size_t i = 0; i < ARRAY_LEN(data); i++) {
        state->segment[data[i]] = (struct vmx_segment){
            .limit = LIMIT_4G, .access = ACCESS_DATA | VMX_ACCESS_G | VMX_ACCESS_DB, .selector = FLAT_DATA};
    }
    state->segment[SEGMENT_CS] =
        (struct vmx_segment){.limit = LIMIT_4G, .access = ACCESS_CODE | mode, .selector = FLAT_CODE};
    state->segment[SEGMENT_LDTR] = (struct vmx_segment){.access = VMX_ACCESS_UNUSABLE};
    state->segment[SEGMENT_TR] =
        (struct vmx_segment){.limit = LIMIT_TSS, .access = ACCESS_BUSY_TSS, .selector = FLAT_TSS};
}
