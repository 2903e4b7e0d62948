#include "hv/divergence.h"

#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/detail.h"
#include "hv/text.h"

#include <stdio.h>

static const char *const end_names[REC_END_COUNT] = {
    [REC_END_POSITION] = "position", [REC_END_PAUSE] = "PAUSE",
    [REC_END_HLT] = "HLT",           [REC_END_IO] = "I/O",
    [REC_END_MMIO] = "MMIO",         [REC_END_APIC] = "APIC",
    [REC_END_SHUTDOWN] = "shutdown", [REC_END_REFUSED] = "refused"};

void divergence_note_state(struct vcpu *vcpu)
{
    struct vcpu_found *found = &vcpu->found;
    const struct vmx_guest_state *cpu = &vcpu->state->cpu;

    found->valid = true;
    found->end = vcpu->end;
    found->branches = vmx_pmu_count(&vcpu->vmx);
    found->cpu = *cpu;
    found->differences[0] = 0;
    (void)detail_compare(vcpu, found->differences, sizeof(found->differences));
    found->page_count = vcpu->view.write_count;
    for (uint32_t i = 0; i < MIN(found->page_count, (uint32_t)VCPU_FOUND_PAGES); i++)
        found->pages[i] = vcpu->view.writes[i];
}

/* The nearest place counts, of equally near ones the first. */
static void note_place(struct vcpu *vcpu, uint32_t distance)
{
    struct vcpu_found *found = &vcpu->found;

    if (found->valid && (found->end != REC_END_POSITION || found->distance <= distance))
        return;
    chunk_read_state(vcpu);
    divergence_note_state(vcpu);
    found->end = REC_END_POSITION;
    found->distance = distance;
    found->page_count = 0; /* the chunk goes on: they are not collected */
}

void divergence_note_place(struct vcpu *vcpu)
{
    note_place(vcpu, 0);
}

void divergence_note_near(struct vcpu *vcpu)
{
    uint32_t distance = detail_distance(vcpu);

    if (distance != DETAIL_NO_DISTANCE)
        note_place(vcpu, distance);
}

static void expected_text(const struct vcpu *vcpu, struct text_out *out)
{
    const struct rec_chunk *expected = vcpu->expected;

    text_say(out, "vCPU %u, its chunk %llu, seq %llu: expected end %s", vcpu->index,
             (unsigned long long)vcpu->counters[REC_COUNT_CHUNKS] + 1, (unsigned long long)vcpu->seq,
             end_names[expected->end % REC_END_COUNT]);

    if (expected->end == REC_END_POSITION)
        text_say(out, " at %#llx rflags %#llx", (unsigned long long)expected->position.rip,
                 (unsigned long long)expected->position.rflags);
    if (vcpu->vm->counts_branches && expected->flags & REC_F_BRANCHES)
        text_say(out, " after %llu conditional branches", (unsigned long long)expected->position.branches);
    text_say(out, ", digest %04x", expected->digest);
}

static const char no_detail[] = "; a recording with detail=on tells registers and words";

static void found_text(const struct vcpu *vcpu, struct text_out *out)
{
    const struct vcpu_found *found = &vcpu->found;

    if (!found->valid) {
        text_say(out, "; found no such place: now at rip %#llx%s", (unsigned long long)vcpu->state->cpu.rip,
                 detail_is_logged(vcpu) ? "" : no_detail);
        return;
    }
    text_say(out, "; found end %s at rip %#llx rflags %#llx rax %#llx rcx %#llx rsp %#llx",
             end_names[found->end % REC_END_COUNT], (unsigned long long)found->cpu.rip,
             (unsigned long long)found->cpu.rflags, (unsigned long long)found->cpu.gpr[GPR_RAX],
             (unsigned long long)found->cpu.gpr[GPR_RCX], (unsigned long long)found->cpu.gpr[GPR_RSP]);
    if (vcpu->vm->counts_branches)
        text_say(out, ", %llu conditional branches", (unsigned long long)found->branches);
    if (found->page_count)
        text_say(out, ", %u changed pages", found->page_count);
    for (uint32_t i = 0; i < MIN(found->page_count, (uint32_t)VCPU_FOUND_PAGES); i++)
        text_say(out, " %#x", found->pages[i]);
    text_say(out, "%s", found->differences[0] ? found->differences : no_detail);
}

void divergence_report(struct vcpu *vcpu)
{
    struct vm_divergence *divergence = &vcpu->vm->divergence;
    struct text_out out = {.text = divergence->text, .size = sizeof(divergence->text)};

    if (__atomic_exchange_n(&divergence->claimed, 1, __ATOMIC_ACQ_REL))
        return;
    expected_text(vcpu, &out);
    found_text(vcpu, &out);
    __atomic_store_n(&divergence->ready, 1, __ATOMIC_RELEASE);
    vm_stop(vcpu->vm);
}

void divergence_report_device(struct vm *vm, uint32_t slot, uint64_t seq)
{
    struct vm_divergence *divergence = &vm->divergence;

    if (__atomic_exchange_n(&divergence->claimed, 1, __ATOMIC_ACQ_REL))
        return;
    snprintf(divergence->text, sizeof(divergence->text),
             "PCI device %u, seq %llu: what it does to guest memory is not what was recorded", slot,
             (unsigned long long)seq);
    __atomic_store_n(&divergence->ready, 1, __ATOMIC_RELEASE);
    vm_stop(vm);
}
