#include "hv/divergence.h"

#include "hv/chunk.h"
#include "hv/cpu/cpu.h"
#include "hv/detail.h"

#include <stdarg.h>
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

static int append(char *text, size_t size, int used, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int append(char *text, size_t size, int used, const char *format, ...)
{
    va_list args;
    int more;

    if (used < 0 || (size_t)used >= size)
        return used;
    va_start(args, format);
    more = vsnprintf(text + used, size - (size_t)used, format, args);
    va_end(args);
    return used + MAX(more, 0);
}

static int expected_text(const struct vcpu *vcpu, char *text, size_t size)
{
    const struct rec_chunk *expected = vcpu->expected;
    int used = snprintf(text, size, "vCPU %u, its chunk %llu, seq %llu: expected end %s", vcpu->index,
                        (unsigned long long)vcpu->counters[REC_COUNT_CHUNKS] + 1,
                        (unsigned long long)vcpu->seq, end_names[expected->end % REC_END_COUNT]);

    if (expected->end == REC_END_POSITION)
        used = append(text, size, used, " at %#llx rflags %#llx", (unsigned long long)expected->position.rip,
                      (unsigned long long)expected->position.rflags);
    if (vcpu->vm->counts_branches && expected->flags & REC_F_BRANCHES)
        used = append(text, size, used, " after %llu conditional branches",
                      (unsigned long long)expected->position.branches);
    return append(text, size, used, ", digest %04x", expected->digest);
}

static void found_text(const struct vcpu *vcpu, char *text, size_t size, int used)
{
    const struct vcpu_found *found = &vcpu->found;

    if (!found->valid) {
        append(text, size, used, "; found no such place: now at rip %#llx",
               (unsigned long long)vcpu->state->cpu.rip);
        return;
    }
    used = append(text, size, used, "; found end %s at rip %#llx rflags %#llx rax %#llx rcx %#llx rsp %#llx",
                  end_names[found->end % REC_END_COUNT], (unsigned long long)found->cpu.rip,
                  (unsigned long long)found->cpu.rflags, (unsigned long long)found->cpu.gpr[GPR_RAX],
                  (unsigned long long)found->cpu.gpr[GPR_RCX], (unsigned long long)found->cpu.gpr[GPR_RSP]);
    if (vcpu->vm->counts_branches)
        used = append(text, size, used, ", %llu conditional branches", (unsigned long long)found->branches);
    if (found->page_count)
        used = append(text, size, used, ", %u changed pages", found->page_count);
    for (uint32_t i = 0; i < MIN(found->page_count, (uint32_t)VCPU_FOUND_PAGES); i++)
        used = append(text, size, used, " %#x", found->pages[i]);
    append(text, size, used, "%s",
           found->differences[0] ? found->differences
                                 : "; a recording with detail=on tells registers and words");
}

void divergence_report(struct vcpu *vcpu)
{
    struct vm_divergence *divergence = &vcpu->vm->divergence;
    int used;

    if (__atomic_exchange_n(&divergence->claimed, 1, __ATOMIC_ACQ_REL))
        return;
    used = expected_text(vcpu, divergence->text, sizeof(divergence->text));
    found_text(vcpu, divergence->text, sizeof(divergence->text), used);
    __atomic_store_n(&divergence->ready, 1, __ATOMIC_RELEASE);
    vm_stop(vcpu->vm);
}
