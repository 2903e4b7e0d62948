#include "hv/probe.h"

#include <string.h>

#include "ept/view.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "hv/mem.h"
#include "vmx/vmx.h"

#define NOP         0x90
#define HLT         0xF4
#define NOPS        16u                /* then HLT, which exits as well */
#define BOUND_TICKS UINT64_C(10000000) /* TSC ticks: far more than the guest needs */
#define TRIES       16u                /* interrupts of the host may come between */
#define BRANCHES    1000u              /* what a sound counter counts */
#define SLICE_TICKS 64u                /* TSC ticks by which the guest's slices of time grow */
#define SLICES      256u

struct throw_away {
    struct vmx_page vmxon;
    struct vmx_vcpu_pages pages;
    uint8_t *code;
    void *tables;
    struct ept_view ept;
    struct vmx_controls controls;
    struct vmx_guest_state state;
    struct vmx_vcpu vcpu;
    const struct vmx_pmu *pmu; /* what is counted, or NULL */
    enum probe_mtf mtf;
    bool counts_right;
};

/* What VMX operation and exits change on this CPU (SDM 3C 24.7, 28.5). */
struct host_registers {
    uint64_t cr0, cr4, flags;
    struct table_register gdt, idt;
};

static void keep_host(struct host_registers *host)
{
    host->flags = irq_save();
    host->cr0 = read_cr0();
    host->cr4 = read_cr4();
    sgdt(&host->gdt);
    sidt(&host->idt);
}

static void put_host_back(const struct host_registers *host)
{
    lgdt(&host->gdt);
    lidt(&host->idt);
    write_cr4(host->cr4);
    write_cr0(host->cr0);
    irq_restore(host->flags);
}

static bool take_page(struct mem *mem, struct vmx_page *page)
{
    page->va = mem_alloc(mem, PAGE_SIZE, PAGE_SIZE);
    page->pa = hpa((uint64_t)page->va);
    return page->va != NULL;
}

static bool take_memory(struct throw_away *guest, struct mem *mem)
{
    guest->code = mem_alloc(mem, PAGE_SIZE, PAGE_SIZE);
    guest->tables = mem_alloc(mem, ept_view_bytes(PAGE_SIZE), PAGE_SIZE);
    return guest->code && guest->tables && take_page(mem, &guest->vmxon) &&
           take_page(mem, &guest->pages.vmcs) && take_page(mem, &guest->pages.msr_bitmap);
}

/* One page of memory; real mode at its begin. */
static void make_guest(struct throw_away *guest, const struct vmx_caps *caps)
{
    struct vmx_vcpu *vcpu = &guest->vcpu;
    struct vmx_guest_state *state = &guest->state;

    ept_view_init(&guest->ept, guest->tables, PAGE_SIZE, 0);
    ept_map(&guest->ept, 0, hpa((uint64_t)guest->code), false);
    vmx_vcpu_init(vcpu, caps, &guest->controls, &guest->pages, 1);
    vmx_set_eptp(vcpu, ept_eptp(&guest->ept));
    vmx_guest_reset(state);
    vmx_guest_sipi(state, 0);
    /* Registers that are not switched stay as they are. */
    state->cr2 = read_cr2();
    state->star = vcpu->msr[GUEST_MSR_STAR];
    state->lstar = vcpu->msr[GUEST_MSR_LSTAR];
    state->cstar = vcpu->msr[GUEST_MSR_CSTAR];
    state->fmask = vcpu->msr[GUEST_MSR_FMASK];
    state->kernel_gs_base = vcpu->msr[GUEST_MSR_KERNEL_GS_BASE];
    state->tsc_aux = vcpu->msr[GUEST_MSR_TSC_AUX];
    vmx_guest_load(vcpu, state);
}

static void open_interrupts(void)
{
    cpu_sti();
    cpu_pause();
    cpu_cli();
}

static void try_mtf(struct throw_away *guest)
{
    struct vmx_vcpu *vcpu = &guest->vcpu;
    struct vmx_exit exit;

    for (unsigned i = 0; i < TRIES; i++) {
        vmx_set_timer(vcpu, (uint32_t)(BOUND_TICKS >> vcpu->timer_shift));
        vmx_invept_single(vcpu, vcpu->eptp);
        vmx_enter(vcpu, &exit);
        if (exit.entry_failed) {
            return;
        }
        if (exit.reason == VMX_EXIT_EXTERNAL_INTERRUPT) {
            open_interrupts();
        } else if (!exit.host_nmi) {
            break;
        }
    }
    if (exit.reason == VMX_EXIT_MONITOR_TRAP_FLAG && vmx_get_rip(vcpu) == 1) {
        guest->mtf = PROBE_MTF_WORKS;
    } else if (exit.reason == VMX_EXIT_HLT) {
        /* It has run on to the HLT: so the guest was one, and only the flag failed. */
        guest->mtf = PROBE_MTF_DOES_NOTHING;
    }
}

/* The loop, cut into slices: neither the entries and exits nor the branches between them may count. */
static void try_pmu(struct throw_away *guest)
{
    struct vmx_vcpu *vcpu = &guest->vcpu;
    struct vmx_exit exit;

    vmx_pmu_begin(vcpu, guest->pmu);
    for (uint32_t i = 1; i <= SLICES; i++) {
        vmx_set_timer(vcpu, i * SLICE_TICKS >> vcpu->timer_shift);
        vmx_invept_single(vcpu, vcpu->eptp);
        vmx_enter(vcpu, &exit);
        if (exit.entry_failed || exit.reason == VMX_EXIT_HLT) {
            break;
        }
        if (exit.reason == VMX_EXIT_EXTERNAL_INTERRUPT) {
            open_interrupts();
        }
    }
    guest->counts_right =
        !exit.entry_failed && exit.reason == VMX_EXIT_HLT && vmx_pmu_count(vcpu) == BRANCHES;
    vmx_pmu_end(vcpu);
}

/* Runs `attempt` with the guest on this CPU, and puts all back. False: that could not be. */
static bool with_guest(struct throw_away *guest, const struct vmx_caps *caps,
                       void (*attempt)(struct throw_away *guest))
{
    struct host_registers host;
    bool on;

    keep_host(&host);
    on = vmx_cpu_on(caps, guest->vmxon) == VMX_ON_OK;
    if (on) {
        make_guest(guest, caps);
        attempt(guest);
        vmx_invept_single(&guest->vcpu, guest->vcpu.eptp);
        vmx_vcpu_clear(&guest->vcpu);
        vmx_cpu_off();
    }
    put_host_back(&host);
    return on;
}

/* Memory and controls; what is taken from the copy `scratch` is still free in the original. */
static bool prepare_guest(struct throw_away *guest, const struct vmx_caps *caps, struct mem *scratch)
{
    struct vmx_policy policy;
    struct vmx_refusal refusal;

    vmx_policy_run(&policy);
    policy.count_branches = guest->pmu != NULL;
    if (!vmx_controls_compute(caps, &policy, &guest->controls, &refusal) || !take_memory(guest, scratch)) {
        return false;
    }
    memset(guest->code, HLT, PAGE_SIZE);
    return true;
}

enum probe_mtf probe_mtf(const struct vmx_caps *caps, const struct mem *mem)
{
    struct mem scratch = *mem;
    struct throw_away guest;

    if (!vmx_has(caps, VMX_HAS_MTF)) {
        return PROBE_MTF_ABSENT;
    }
    memset(&guest, 0, sizeof(guest));
    if (!prepare_guest(&guest, caps, &scratch)) {
        return PROBE_MTF_UNKNOWN;
    }
    memset(guest.code, NOP, NOPS);
    guest.controls.word[VMX_WORD_PRIMARY] |= PRIMARY_MONITOR_TRAP_FLAG;
    return with_guest(&guest, caps, try_mtf) ? guest.mtf : PROBE_MTF_UNKNOWN;
}

static bool counts_in_guest(const struct vmx_pmu *pmu, const struct vmx_caps *caps, const struct mem *mem)
{
    /* MOV CX, BRANCHES; LOOP to itself; then HLT */
    static const uint8_t code[] = {0xB9, BRANCHES & 0xFF, BRANCHES >> 8, 0xE2, 0xFE};
    struct mem scratch = *mem;
    struct throw_away guest;

    memset(&guest, 0, sizeof(guest));
    guest.pmu = pmu;
    if (!prepare_guest(&guest, caps, &scratch)) {
        return false;
    }
    memcpy(guest.code, code, sizeof(code));
    return with_guest(&guest, caps, try_pmu) && guest.counts_right;
}

/* Straight code but for the loop's branch. */
static uint64_t count_branches(void)
{
    uint64_t left = BRANCHES;

    wrmsr(IA32_PMC0, 0);
    wrmsr(IA32_PERF_GLOBAL_CTRL, BIT(0));
    __asm__ volatile("1: decq %0\n\tjnz 1b" : "+r"(left)::"cc");
    wrmsr(IA32_PERF_GLOBAL_CTRL, 0);
    return rdmsr(IA32_PMC0);
}

/* In the hypervisor, where it is simplest; false also where an MSR refuses what it should take. */
static bool counts_here(const struct vmx_pmu *pmu)
{
    uint64_t select = pmu->select | PERFEVTSEL_USR | PERFEVTSEL_OS | PERFEVTSEL_EN;
    uint64_t flags = irq_save(), debugctl = rdmsr(IA32_DEBUGCTL);
    bool right = wrmsr_safe(IA32_DEBUGCTL, debugctl | DEBUGCTL_FREEZE_WHILE_SMM) &&
                 wrmsr_safe(IA32_PERF_GLOBAL_CTRL, 0) && wrmsr_safe(IA32_PERFEVTSEL0, select);

    for (unsigned i = 0; right && i < TRIES; i++) {
        right = count_branches() == BRANCHES;
    }
    (void)wrmsr_safe(IA32_PERFEVTSEL0, 0);
    wrmsr(IA32_DEBUGCTL, debugctl);
    irq_restore(flags);
    return right;
}

bool probe_pmu(const struct vmx_pmu *pmu, const struct vmx_caps *caps, const struct mem *mem)
{
    return counts_here(pmu) && counts_in_guest(pmu, caps, mem);
}
