/* Events through the guest's IDT (SDM 3A 6.12, 21.1.4), without changes of privilege; and IRET. */
#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

#define GATE_TRAP 0xfu /* type of a 32-bit trap gate; interrupt gates clear IF */
#define IRET_CHANGES                                                                                         \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF |         \
     RFLAGS_OF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)

/* Where the handler is. */
struct target {
    uint32_t selector, offset;
    bool keep_if;
};

static bool find_target(struct fakerun *run, uint8_t vector, struct target *target)
{
    uint32_t table = (uint32_t)run->cpu->vmcs[VMCS_GUEST_IDTR_BASE];
    uint16_t entry[4];

    if (!fake_protected(run)) {
        if (!fake_read(run, table + vector * 4u, entry, 4))
            return false;
        *target = (struct target){.selector = entry[1], .offset = entry[0]};
        return true;
    }
    if (!fake_read(run, table + vector * 8u, entry, 8))
        return false;
    FAKE_KNOWN(entry[2] & 0x8000); /* present */
    *target = (struct target){.selector = entry[1],
                              .offset = entry[0] | (uint32_t)entry[3] << 16,
                              .keep_if = (entry[2] >> 8 & 0xf) == GATE_TRAP};
    return true;
}

/* Pushes a whole frame or nothing; what a processor that gives up halfway has written, it writes again. */
static bool push_frame(struct fakerun *run, const uint32_t *values, uint32_t count)
{
    uint32_t size = fake_protected(run) ? 4 : 2;
    uint32_t base = fake_segment_base(run, SEGMENT_SS), sp = run->r[GPR_RSP];

    for (uint32_t i = 1; i <= count; i++) {
        if (!fake_probe_write(run, base + sp - i * size, size, false))
            return false;
    }
    for (uint32_t i = 1; i <= count; i++) {
        bool written = fake_write(run, base + sp - i * size, &values[i - 1], size);
        HV_CHECK(written);
    }
    run->r[GPR_RSP] = sp - count * size;
    return true;
}

static bool is_software(uint32_t type)
{
    return type >= VMX_EVENT_SOFTWARE_INTERRUPT && type <= VMX_EVENT_SOFTWARE_EXCEPTION;
}

static void begin_handler(struct fakerun *run, const struct target *target)
{
    uint64_t *vmcs = run->cpu->vmcs;

    run->rip = target->offset;
    run->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC);
    if (!target->keep_if)
        run->rflags &= ~RFLAGS_IF;
    vmcs[VMCS_GUEST_CS_SELECTOR] = target->selector;
    if (!fake_protected(run))
        vmcs[VMCS_GUEST_CS_BASE] = target->selector << 4;
}

bool fake_deliver(struct fakerun *run, uint32_t info, uint32_t error, uint32_t length)
{
    uint32_t type = (info & VMX_INFO_TYPE) >> VMX_INFO_TYPE_SHIFT;
    uint8_t vector = info & VMX_INFO_VECTOR;
    uint32_t frame[4] = {(uint32_t)run->rflags, (uint32_t)run->cpu->vmcs[VMCS_GUEST_CS_SELECTOR],
                         run->rip + (is_software(type) ? length : 0), error};
    struct target target;

    run->vectoring = info & ~VMX_INFO_NMI_UNBLOCKED;
    run->vectoring_error = error;
    run->vectoring_length = length;
    run->interruptibility &= ~VMX_SHADOWS;
    run->pending_debug = run->matched = 0;
    if (type == VMX_EVENT_NMI)
        run->interruptibility |= VMX_BLOCKING_BY_NMI;
    if (!find_target(run, vector, &target) || !push_frame(run, frame, info & VMX_INFO_ERROR_VALID ? 4 : 3))
        return false;
    begin_handler(run, &target);
    fake_debug_retire(run, false);
    run->in_rep = false;
    run->vectoring = 0;
    return true;
}

enum fakestep fake_iret(struct fakerun *run, const struct fakeinsn *insn)
{
    uint32_t base = fake_segment_base(run, SEGMENT_SS), size = insn->size, value[3] = {0};
    uint64_t changes = size == 2 ? IRET_CHANGES & 0xffff : IRET_CHANGES;

    for (uint32_t i = 0; i < ARRAY_LEN(value); i++) {
        if (!fake_read(run, base + run->r[GPR_RSP] + i * size, &value[i], size))
            return FAKE_EXIT;
    }
    run->r[GPR_RSP] += (uint32_t)ARRAY_LEN(value) * size;
    run->rip = value[0];
    run->cpu->vmcs[VMCS_GUEST_CS_SELECTOR] = (uint16_t)value[1];
    if (!fake_protected(run))
        run->cpu->vmcs[VMCS_GUEST_CS_BASE] = (value[1] & 0xffff) << 4;
    run->rflags = (run->rflags & ~changes) | (value[2] & changes);
    run->interruptibility &= ~VMX_BLOCKING_BY_NMI;
    return FAKE_JUMPED;
}
