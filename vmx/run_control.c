/* What is set between entries: events, windows, the timer, EPT. */
#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <string.h>

#define PML_ENTRIES 512u
#define PML_LAST    511u

/* Vectors that push an error code (SDM 3A table 6-1). */
#define WITH_ERROR                                                                                           \
    (BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) | BIT(VECTOR_PF) |   \
     BIT(VECTOR_AC))
/* Exceptions that are no faults: the pushed RFLAGS has RF as it was (SDM 3B 18.3.1.1). */
#define NO_FAULT (BIT(VECTOR_DB) | BIT(VECTOR_BP) | BIT(VECTOR_OF) | BIT(VECTOR_DF) | BIT(VECTOR_MC))

static uint32_t event_info(uint8_t vector, enum vmx_event_type type)
{
    return VMX_INFO_VALID | ((uint32_t)type << VMX_INFO_TYPE_SHIFT) | vector;
}

void vmx_inject(struct vmx_vcpu *vcpu, const struct vmx_event *event)
{
    uint32_t interruptibility = vmx_get_interruptibility(vcpu);
    uint32_t info = event->info;

    HV_CHECK(info & VMX_INFO_VALID);
    /* Real mode pushes no error code, and entry refuses one (SDM 3C 27.2.1.3). */
    if (!(vmcs_read(VMCS_GUEST_CR0) & CR0_PE)) {
        info &= ~VMX_INFO_ERROR_VALID;
    }
    vmcs_write(VMCS_ENTRY_INTERRUPTION_INFO, info);
    vmcs_write(VMCS_ENTRY_EXCEPTION_ERROR, event->error);
    vmcs_write(VMCS_ENTRY_INSTRUCTION_LENGTH, event->instruction_length);
    /* No shadow outlives a delivery, and entry refuses some events inside one (SDM 3C 27.3.1.5, 27.7.1). */
    if (interruptibility & VMX_SHADOWS) {
        vmx_set_interruptibility(vcpu, interruptibility & ~VMX_SHADOWS);
    }
}

void vmx_inject_exception(struct vmx_vcpu *vcpu, uint8_t vector, uint32_t error)
{
    struct vmx_event event = {.info = event_info(vector, VMX_EVENT_HARDWARE_EXCEPTION)};

    HV_CHECK(vector < 32);
    if (WITH_ERROR & BIT(vector)) {
        event.info |= VMX_INFO_ERROR_VALID;
        event.error = error;
    }
    if (!(NO_FAULT & BIT(vector))) {
        vmx_resume_flag(vcpu, true); /* the CPU would set RF in the image that it pushes */
    }
    vmx_inject(vcpu, &event);
}

void vmx_inject_interrupt(struct vmx_vcpu *vcpu, uint8_t vector)
{
    struct vmx_event event = {.info = event_info(vector, VMX_EVENT_EXTERNAL_INTERRUPT)};

    vmx_inject(vcpu, &event);
}

void vmx_inject_nmi(struct vmx_vcpu *vcpu)
{
    struct vmx_event event = {.info = event_info(VECTOR_NMI, VMX_EVENT_NMI)};

    vmx_inject(vcpu, &event);
}

void vmx_get_event(struct vmx_vcpu *vcpu, struct vmx_event *event)
{
    (void)vcpu;
    event->info = vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO);
    if (!(event->info & VMX_INFO_VALID)) {
        *event = (struct vmx_event){0};
        return;
    }
    event->error = vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR);
    event->instruction_length = vmcs_read32(VMCS_ENTRY_INSTRUCTION_LENGTH);
}

bool vmx_reinject(struct vmx_vcpu *vcpu)
{
    uint32_t before = vmx_get_interruptibility(vcpu);
    struct vmx_event event;
    uint32_t after = vmx_reinject_event(&vcpu->raw, before, &event);

    if (after != before) {
        vmx_set_interruptibility(vcpu, after);
    }
    if (!(event.info & VMX_INFO_VALID)) {
        return false;
    }
    vmx_inject(vcpu, &event);
    return true;
}

static bool event_pending(void)
{
    return (vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO) & VMX_INFO_VALID) != 0;
}

static bool awake_enough(struct vmx_vcpu *vcpu)
{
    enum vmx_activity activity = vmx_get_activity(vcpu);

    return activity == VMX_ACTIVE || activity == VMX_HALTED;
}

bool vmx_can_take_interrupt(struct vmx_vcpu *vcpu)
{
    return (vmx_get_rflags(vcpu) & RFLAGS_IF) && !(vmx_get_interruptibility(vcpu) & VMX_SHADOWS) &&
           awake_enough(vcpu) && !event_pending() && !vmx_debug_pending(vcpu);
}

bool vmx_can_take_nmi(struct vmx_vcpu *vcpu)
{
    return !(vmx_get_interruptibility(vcpu) & (VMX_SHADOWS | VMX_BLOCKING_BY_NMI)) && awake_enough(vcpu) &&
           !event_pending() && !vmx_debug_pending(vcpu);
}

/* Sets or clears one bit of a control word that may change between entries. */
static void switch_control(struct vmx_vcpu *vcpu, enum vmx_word word, enum vmx_field field, uint32_t bit,
                           bool on)
{
    uint32_t before = vcpu->controls.word[word];
    uint32_t after = on ? before | bit : before & ~bit;

    if (after != before) {
        vcpu->controls.word[word] = after;
        vmcs_write(field, after);
    }
}

void vmx_interrupt_window(struct vmx_vcpu *vcpu, bool on)
{
    switch_control(vcpu, VMX_WORD_PRIMARY, VMCS_PRIMARY_CONTROLS, PRIMARY_INTERRUPT_WINDOW, on);
}

void vmx_nmi_window(struct vmx_vcpu *vcpu, bool on)
{
    switch_control(vcpu, VMX_WORD_PRIMARY, VMCS_PRIMARY_CONTROLS, PRIMARY_NMI_WINDOW, on);
}

static void switch_timer(struct vmx_vcpu *vcpu, bool on)
{
    if (((vcpu->controls.word[VMX_WORD_PIN] & PIN_PREEMPTION_TIMER) != 0) == on) {
        return;
    }
    switch_control(vcpu, VMX_WORD_EXIT, VMCS_EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER, on);
    switch_control(vcpu, VMX_WORD_PIN, VMCS_PIN_CONTROLS, PIN_PREEMPTION_TIMER, on);
}

void vmx_set_timer(struct vmx_vcpu *vcpu, uint32_t ticks)
{
    switch_timer(vcpu, true);
    vmcs_write(VMCS_GUEST_PREEMPTION_TIMER, ticks);
}

uint32_t vmx_timer_left(struct vmx_vcpu *vcpu)
{
    (void)vcpu;
    return vmcs_read32(VMCS_GUEST_PREEMPTION_TIMER);
}

void vmx_timer_off(struct vmx_vcpu *vcpu)
{
    switch_timer(vcpu, false);
}

void vmx_set_eptp(struct vmx_vcpu *vcpu, uint64_t eptp)
{
    vcpu->eptp = eptp;
    vmcs_write(VMCS_EPTP, eptp);
}

void vmx_invept_single(struct vmx_vcpu *vcpu, uint64_t eptp)
{
    if (vcpu->invept_single) {
        vmcs_invept(VMCS_SINGLE_CONTEXT, eptp);
    } else {
        vmcs_invept(VMCS_ALL_CONTEXTS, 0);
    }
}

void vmx_invept_all(void)
{
    vmcs_invept(VMCS_ALL_CONTEXTS, 0);
}

void vmx_invvpid(struct vmx_vcpu *vcpu)
{
    if (vcpu->controls.word[VMX_WORD_SECONDARY] & SECONDARY_VPID) {
        vmcs_invvpid(VMCS_SINGLE_CONTEXT, vcpu->vpid);
    }
}

/* SDM 3C 29.3.6: the CPU fills the page downwards, and the index is that of the next free entry. */
unsigned vmx_pml_take(struct vmx_vcpu *vcpu, const uint64_t **gpas)
{
    uint16_t index = (uint16_t)vmcs_read(VMCS_PML_INDEX);
    unsigned first = index >= PML_ENTRIES ? 0 : index + 1u;

    *gpas = (const uint64_t *)vcpu->pages.pml.va + first;
    vmcs_write(VMCS_PML_INDEX, PML_LAST);
    return PML_ENTRIES - first;
}

void vmx_skip_instruction(struct vmx_vcpu *vcpu)
{
    uint64_t rip = vmx_get_rip(vcpu);
    uint64_t rflags = vmx_get_rflags(vcpu);
    uint32_t interruptibility = vmx_get_interruptibility(vcpu);
    uint64_t next = rip + vcpu->raw.instruction_length;

    /* RIP wraps at 32 bits outside 64-bit code, where its upper half is 0: seldom does the mode matter. */
    if (next >> 32 && !(rip >> 32)) {
        next = vmx_next_rip(rip, vcpu->raw.instruction_length, vmx_in_64bit_code(vcpu));
    }
    vmx_set_rip(vcpu, next);
    if (rflags & RFLAGS_RF) {
        vmx_set_rflags(vcpu, rflags & ~RFLAGS_RF);
    }
    if (interruptibility & VMX_SHADOWS) {
        vmx_set_interruptibility(vcpu, interruptibility & ~VMX_SHADOWS);
    }
    if (rflags & RFLAGS_TF) {
        vmx_set_pending_debug(vcpu, vmx_get_pending_debug(vcpu) | VMX_PENDING_DEBUG_BS);
    }
}
