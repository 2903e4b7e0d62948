/* What hv/cpu/ offers, for host tests: the fake processor's own registers, its clock, its local APIC. */
#include "hv/cpu/cpu.h"

#include <string.h>

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/msr.h"
#include "test/fake/processor.h"

static uint64_t *msr_at(uint32_t msr)
{
    static const uint32_t known[] = {IA32_STAR,  IA32_LSTAR,          IA32_CSTAR,
                                     IA32_FMASK, IA32_KERNEL_GS_BASE, IA32_TSC_AUX};

    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i] == msr)
            return &fakecpu_this->msr[i];
    }
    HV_CHECK(!"a known MSR");
    return NULL;
}

/* Of the PMU, or NULL. */
static uint64_t *pmu_msr_at(uint32_t msr)
{
    struct fakepmu *pmu = &fakecpu_this->pmu;

    switch (msr) {
    case IA32_PERFEVTSEL0:
        return &pmu->select;
    case IA32_PMC0:
        return &pmu->counter;
    case IA32_PERF_GLOBAL_CTRL:
        return &pmu->global;
    default:
        return NULL;
    }
}

uint64_t rdmsr(uint32_t msr)
{
    HV_CHECK(!pmu_msr_at(msr) || fakecpu_this->model.pmu);
    return pmu_msr_at(msr) ? *pmu_msr_at(msr) : *msr_at(msr);
}

/* IA32_PMCx takes 32 bits and extends the sign (SDM 3B 20.2.8). */
void wrmsr(uint32_t msr, uint64_t value)
{
    HV_CHECK(!pmu_msr_at(msr) || fakecpu_this->model.pmu);
    if (msr == IA32_PMC0) {
        HV_CHECK(value <= UINT32_MAX);
        value = (uint64_t)(int64_t)(int32_t)value & (BIT(FAKEPMU_WIDTH) - 1);
    }
    if (msr == IA32_PERF_GLOBAL_OVF_CTRL)
        HV_CHECK(value == 1 && fakecpu_this->model.pmu);
    else if (pmu_msr_at(msr))
        *pmu_msr_at(msr) = value;
    else
        *msr_at(msr) = value;
}

uint64_t read_cr2(void)
{
    return fakecpu_this->cr2;
}

void write_cr2(uint64_t value)
{
    fakecpu_this->cr2 = value;
}

void write_dr0(uint64_t value)
{
    fakecpu_this->dr[0] = value;
}

void write_dr1(uint64_t value)
{
    fakecpu_this->dr[1] = value;
}

void write_dr2(uint64_t value)
{
    fakecpu_this->dr[2] = value;
}

void write_dr3(uint64_t value)
{
    fakecpu_this->dr[3] = value;
}

uint64_t xgetbv(uint32_t xcr)
{
    HV_CHECK(xcr == 0);
    return fakecpu_this->xcr0;
}

void xsetbv(uint32_t xcr, uint64_t value)
{
    HV_CHECK(xcr == 0 && (value & 1) && !(value & ~UINT64_C(7)));
    fakecpu_this->xcr0 = value;
}

/* XSTATE_BV is the only part of the header that a standard-form XSAVE writes; it is as it likes. */
void xsave(void *area, uint64_t components)
{
    struct fakecpu *cpu = fakecpu_this;
    uint64_t in_use = fake_random(&cpu->random) & 7;

    fakecpu_yield();
    HV_CHECK(((uintptr_t)area & 63) == 0 && components == cpu->xcr0);
    memcpy(area, cpu->xstate, 512);
    memcpy((uint8_t *)area + 512, &in_use, sizeof(in_use));
    memcpy((uint8_t *)area + 576, cpu->xstate + 576, FAKECPU_XSTATE_BYTES - 576);
}

void xrstor(const void *area, uint64_t components)
{
    struct fakecpu *cpu = fakecpu_this;
    uint64_t in_use;

    fakecpu_yield();
    HV_CHECK(((uintptr_t)area & 63) == 0 && components == cpu->xcr0);
    memcpy(&in_use, (const uint8_t *)area + 512, sizeof(in_use));
    HV_CHECK(in_use == components); /* or a component would get its initial state instead */
    memcpy(cpu->xstate, area, FAKECPU_XSTATE_BYTES);
}

uint64_t rdtsc(void)
{
    fakecpu_yield();
    return __atomic_add_fetch(fakecpu_this->clock, 1, __ATOMIC_RELAXED);
}

void cpu_pause(void)
{
    fakecpu_yield();
}

void cpu_cli(void)
{
    fakecpu_this->interrupts_open = false;
}

void cpu_sti(void)
{
    fakecpu_this->interrupts_open = true;
    fakecpu_this->pmu.waits = false;
}

void cpu_int_nmi(void)
{
    HV_CHECK(!fakecpu_this->interrupts_open);
}

static bool interrupt_waits(struct fakecpu *cpu)
{
    uint64_t now = __atomic_add_fetch(cpu->clock, 1, __ATOMIC_RELAXED);

    return __atomic_exchange_n(&cpu->kick, 0, __ATOMIC_ACQ_REL) || (cpu->timer && now >= cpu->timer);
}

/* Time flies while everybody sleeps: each look at the clock moves it. */
void cpu_sti_hlt(void)
{
    cpu_sti();
    while (!interrupt_waits(fakecpu_this))
        fakecpu_yield();
}

void apic_send_fixed(uint32_t cpu_index, uint8_t vector)
{
    (void)vector;
    HV_CHECK(cpu_index < FAKECPU_MAX && fakecpu_all[cpu_index]);
    __atomic_store_n(&fakecpu_all[cpu_index]->kick, 1, __ATOMIC_RELEASE);
}

void apic_counter_open(void)
{
    HV_CHECK(fakecpu_this->model.pmu);
    fakecpu_this->pmu.open = true;
}

void apic_timer_arm(uint64_t tsc)
{
    fakecpu_this->timer = tsc;
}

void apic_timer_stop(void)
{
    fakecpu_this->timer = 0;
}
