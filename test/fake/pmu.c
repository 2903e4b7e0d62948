/* The fake processor's PMU: counter 0, which counts conditional branches and interrupts late. */
#include "hv/base/check.h"
#include "hv/cpu/msr.h"
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

/* Both sides are switched by the entry and the exit, or the host would be counted, too. */
static bool counts(const struct fakecpu *cpu)
{
    uint64_t enabled = PERFEVTSEL_USR | PERFEVTSEL_OS | PERFEVTSEL_EN;

    if (!cpu->model.pmu || !(cpu->vmcs[VMCS_ENTRY_CONTROLS] & ENTRY_LOAD_PERF_GLOBAL_CTRL))
        return false;
    HV_CHECK(cpu->vmcs[VMCS_EXIT_CONTROLS] & EXIT_LOAD_PERF_GLOBAL_CTRL);
    HV_CHECK(cpu->pmu.global == 0 && cpu->vmcs[VMCS_HOST_PERF_GLOBAL_CTRL] == 0);
    HV_CHECK(cpu->vmcs[VMCS_GUEST_DEBUGCTL] == DEBUGCTL_FREEZE_WHILE_SMM);
    return (cpu->vmcs[VMCS_GUEST_PERF_GLOBAL_CTRL] & 1) && (cpu->pmu.select & enabled) == enabled &&
           (cpu->pmu.select & 0xffff) == FAKEPMU_EVENT;
}

void fake_retire_branch(struct fakerun *run)
{
    struct fakecpu *cpu = run->cpu;
    struct fakepmu *pmu = &cpu->pmu;

    if (!counts(cpu))
        return;
    pmu->counter = (pmu->counter + 1) & (BIT(FAKEPMU_WIDTH) - 1);
    if (pmu->counter == 0 && (pmu->select & PERFEVTSEL_INT) && pmu->open && !cpu->model.deaf)
        pmu->late = 1 + (uint32_t)(fake_random(&cpu->random) % (cpu->model.skid + 1));
}

/* The local APIC masks the entry as it takes the interrupt (SDM 3B 20.6.3). */
void fakepmu_move(struct fakepmu *pmu)
{
    if (pmu->late && --pmu->late == 0) {
        pmu->waits = true;
        pmu->open = false;
        pmu->interrupts++;
    }
}

/* A processor of a model that has all that is needed, or none of it. */
void fakepmu_find(const struct fakecpu_model *model, const struct vmx_caps *caps, struct vmx_pmu *pmu)
{
    struct vmx_pmu_input input = {.caps = caps, .vendor = "GenuineIntel"};

    if (model->pmu) {
        input.version = 0x806f4;
        input.perfmon = FAKEPMU_WIDTH << 16 | 8u << 8 | 5u;
        input.msrs = true;
        input.capabilities = PERF_CAPABILITIES_FREEZE_WHILE_SMM;
    }
    vmx_pmu_find(&input, pmu);
    HV_CHECK(model->pmu == (pmu->lack == VMX_PMU_LACKS_NOTHING));
}
