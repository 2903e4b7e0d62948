#include "vmx/guest_state.h"

#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "vmx/fields.h"
#include "vmx/guest_fields.h"

#include <string.h>

/* The place of a field of each kind. */
#define PLACE_VMCS     VMX_IN_VMCS
#define PLACE_PDPTE    VMX_IN_VMCS
#define PLACE_EVENT    VMX_IN_VMCS
#define PLACE_GPR      VMX_IN_GPR
#define PLACE_CR0      VMX_IN_CR0
#define PLACE_CR2      VMX_IN_CR2
#define PLACE_CR4      VMX_IN_CR4
#define PLACE_MEMORY   VMX_IN_MEMORY
#define PLACE_MSR      VMX_IN_MSR
#define PLACE_LIVE_MSR VMX_IN_MSR

#define ENTRY(kind, text, id_, member)                                                                       \
    {.name = (text),                                                                                         \
     .place = PLACE_##kind,                                                                                  \
     .id = (id_),                                                                                            \
     .offset = offsetof(struct vmx_guest_state, member),                                                     \
     .width = sizeof(((struct vmx_guest_state *)0)->member)},

const struct vmx_field_map vmx_guest_fields[] = {VMX_GUEST_FIELDS(ENTRY)};
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
static void clear_unusable(struct vmx_segment *segment, enum vmx_segment_index index)
{
    segment->limit = 0;
    if (index != SEGMENT_FS && index != SEGMENT_GS) {
        segment->base = 0;
    }
    segment->access = VMX_ACCESS_UNUSABLE | (index == SEGMENT_SS ? segment->access & VMX_ACCESS_DPL : 0);
}

/* Called for each segment by name, so that the compiler unrolls it: this runs once a chunk. */
static inline void canonicalize_segment(struct vmx_guest_state *state, enum vmx_segment_index index)
{
    if (state->segment[index].access & VMX_ACCESS_UNUSABLE) {
        clear_unusable(&state->segment[index], index);
    }
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

bool vmx_guest_pae_paging(const struct vmx_guest_state *state)
{
    return (state->cr0 & CR0_PG) && (state->cr4 & CR4_PAE) && !(state->efer & EFER_LMA);
}

void vmx_guest_canonicalize(struct vmx_guest_state *state)
{
    canonicalize_segment(state, SEGMENT_ES);
    canonicalize_segment(state, SEGMENT_CS);
    canonicalize_segment(state, SEGMENT_SS);
    canonicalize_segment(state, SEGMENT_DS);
    canonicalize_segment(state, SEGMENT_FS);
    canonicalize_segment(state, SEGMENT_GS);
    canonicalize_segment(state, SEGMENT_LDTR);
    canonicalize_segment(state, SEGMENT_TR);
    if (!vmx_guest_pae_paging(state)) {
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
