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

struct throw_away {
    struct vmx_page vmxon;
    struct vmx_vcpu_pages pages;
    uint8_t *code;
    void *tables;
    struct ept_view ept;
    struct vmx_controls controls;
    struct vmx_guest_state state;
    struct vmx_vcpu vcpu;
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

    memset(guest->code, HLT, PAGE_SIZE);
    memset(guest->code, NOP, NOPS);
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

static enum probe_mtf try_it(struct vmx_vcpu *vcpu)
{
    struct vmx_exit exit;

    for (unsigned i = 0; i < TRIES; i++) {
        vmx_set_timer(vcpu, (uint32_t)(BOUND_TICKS >> vcpu->timer_shift));
        vmx_invept_single(vcpu, vcpu->eptp);
        vmx_enter(vcpu, &exit);
        if (exit.entry_failed) {
            return PROBE_MTF_UNKNOWN;
        }
        if (exit.reason == VMX_EXIT_EXTERNAL_INTERRUPT) {
            open_interrupts();
        } else if (!exit.host_nmi) {
            break;
        }
    }
    if (exit.reason == VMX_EXIT_MONITOR_TRAP_FLAG && vmx_get_rip(vcpu) == 1) {
        return PROBE_MTF_WORKS;
    }
    /* It has run on to the HLT: so the guest was one, and only the flag failed. */
    return exit.reason == VMX_EXIT_HLT ? PROBE_MTF_DOES_NOTHING : PROBE_MTF_UNKNOWN;
}

static enum probe_mtf run_guest(struct throw_away *guest, const struct vmx_caps *caps)
{
    enum probe_mtf result;

    if (vmx_cpu_on(caps, guest->vmxon) != VMX_ON_OK) {
        return PROBE_MTF_UNKNOWN;
    }
    make_guest(guest, caps);
    result = try_it(&guest->vcpu);
    vmx_invept_single(&guest->vcpu, guest->vcpu.eptp);
    vmx_vcpu_clear(&guest->vcpu);
    vmx_cpu_off();
    return result;
}

enum probe_mtf probe_mtf(const struct vmx_caps *caps, const struct mem *mem)
{
    struct mem scratch = *mem; /* what is taken from the copy is still free in the original */
    struct throw_away guest;
    struct vmx_policy policy;
    struct vmx_refusal refusal;
    struct host_registers host;
    enum probe_mtf result;

    if (!vmx_has(caps, VMX_HAS_MTF)) {
        return PROBE_MTF_ABSENT;
    }
    memset(&guest, 0, sizeof(guest));
    vmx_policy_run(&policy);
    if (!vmx_controls_compute(caps, &policy, &guest.controls, &refusal) || !take_memory(&guest, &scratch)) {
        return PROBE_MTF_UNKNOWN;
    }
    guest.controls.word[VMX_WORD_PRIMARY] |= PRIMARY_MONITOR_TRAP_FLAG;
    keep_host(&host);
    result = run_guest(&guest, caps);
    put_host_back(&host);
    return result;
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

bool probe_pmu(const struct vmx_pmu *pmu)
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
