#include "hv/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu/cpuid.h"
#include "vmx/controls.h"

#define CPUID_1_ECX   "CPUID.1:ECX"
#define CPUID_7_EBX   "CPUID.7:EBX"
#define CPUID_EXT_EDX "CPUID.80000007H:EDX"

/* The VMX features that the report shows, and whether Retrovisor can do without. */
static const struct {
    enum vmx_feature feature;
    bool required;
} vmx_items[] = {
    {VMX_HAS_SECONDARY_CONTROLS, true},
    {VMX_HAS_EPT, true},
    {VMX_HAS_EPT_4LEVEL, true},
    {VMX_HAS_EPT_WRITE_BACK, true},
    {VMX_HAS_EPT_AD, true},
    {VMX_HAS_EPT_2M, false},
    {VMX_HAS_INVEPT, true},
    {VMX_HAS_INVEPT_SINGLE, true},
    {VMX_HAS_INVEPT_ALL, false},
    {VMX_HAS_PREEMPTION_TIMER, true},
    {VMX_HAS_SAVE_TIMER, false},
    {VMX_HAS_UNRESTRICTED_GUEST, true},
    {VMX_HAS_VIRTUAL_NMIS, true},
    {VMX_HAS_PML, false},
    {VMX_HAS_MTF, false},
    {VMX_HAS_VPID, false},
};

static void add(struct report *r, const char *name, const char *where, uint8_t bit, bool required,
                bool present)
{
    r->items[r->count++] = (struct report_item){name, where, bit, required, present};
    r->missing += required && !present;
}

static void add_cpuid(struct report *r, const char *name, const char *where, uint32_t value, uint64_t mask,
                      bool required)
{
    add(r, name, where, (uint8_t)__builtin_ctzll(mask), required, value & mask);
}

static void add_vmx(struct report *r)
{
    uint64_t ignored;

    add_cpuid(r, "VMX", CPUID_1_ECX, r->input.cpuid.version.ecx, CPUID_1_ECX_VMX, true);
    if (!r->caps.raw.vmx) {
        return; /* the rest would only repeat it */
    }
    add(r, "VMX outside SMX allowed by the firmware", "IA32_FEATURE_CONTROL", 2, true,
        vmx_feature_control(r->caps.raw.feature_control, &ignored) == VMX_CONTROL_READY &&
            r->input.cpu_closed == REPORT_NO_CPU);
    for (size_t i = 0; i < ARRAY_LEN(vmx_items); i++) {
        const struct vmx_feature_info *info = vmx_feature_info(vmx_items[i].feature);

        add(r, info->name, info->msr, info->bit, vmx_items[i].required,
            vmx_has(&r->caps, vmx_items[i].feature));
    }
}

static void add_processor(struct report *r)
{
    uint32_t ecx = r->input.cpuid.version.ecx, ebx = r->input.cpuid.features.ebx;

    add_cpuid(r, "XSAVE", CPUID_1_ECX, ecx, CPUID_1_ECX_XSAVE, true);
    add_cpuid(r, "AVX", CPUID_1_ECX, ecx, CPUID_1_ECX_AVX, false);
    add_cpuid(r, "SSE4.2 (CRC32)", CPUID_1_ECX, ecx, CPUID_1_ECX_SSE4_2, false);
    add_cpuid(r, "RDRAND", CPUID_1_ECX, ecx, CPUID_1_ECX_RDRAND, false);
    add_cpuid(r, "RDSEED", CPUID_7_EBX, ebx, CPUID_7_EBX_RDSEED, false);
    add_cpuid(r, "invariant TSC", CPUID_EXT_EDX, r->input.cpuid.ext_power.edx, CPUID_EXT_7_EDX_INVARIANT_TSC,
              false);
}

/* The guest's vCPUs have a CPU each, and the control plane one more. */
static uint32_t decide_vcpus(const struct report_input *input)
{
    uint32_t room = MIN(input->cpus_running - 1, MAX_VCPUS);

    if (input->cpus_running < 2 || input->vcpus_asked > room) {
        return 0;
    }
    return input->vcpus_asked ? input->vcpus_asked : room;
}

void report_fill(struct report *r, const struct report_input *input)
{
    struct vmx_policy policy;
    struct vmx_controls controls;

    memset(r, 0, sizeof(*r));
    r->input = *input;
    vmx_caps_fill(&r->caps, &input->vmx);
    add_vmx(r);
    add_processor(r);
    r->vcpus = decide_vcpus(input);
    if (r->missing == 0) {
        vmx_policy_chunks(&policy);
        r->refused_control = !vmx_controls_compute(&r->caps, &policy, &controls, &r->refusal);
    }
    r->missing += r->refused_control;
    r->missing += r->vcpus == 0;
    r->missing += input->memory_free < input->guest_memory;
    r->missing += input->cpu_different != REPORT_NO_CPU;
}

struct printer {
    report_line_fn *line;
    void *context;
};

__attribute__((format(printf, 3, 4))) static void print(const struct printer *p, bool important,
                                                        const char *format, ...)
{
    char line[REPORT_LINE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    p->line(p->context, important, line);
}

static void print_machine(const struct report *r, const struct printer *p)
{
    const struct report_input *in = &r->input;
    uint32_t pmu = in->cpuid.perfmon.eax;

    print(p, false, "CPUs: %u listed, %u running; TSC %u kHz", in->cpus_listed, in->cpus_running,
          (unsigned)in->tsc_khz);
    print(p, false, "memory: %u MiB free, %u MiB for the guest", (unsigned)(in->memory_free >> 20),
          (unsigned)(in->guest_memory >> 20));
    if (!CPUID_A_EAX_VERSION(pmu)) {
        print(p, false, "PMU: none (CPUID.0AH)");
        return;
    }
    print(p, false, "PMU: version %u, %u counters of %u bits (CPUID.0AH)%s", CPUID_A_EAX_VERSION(pmu),
          CPUID_A_EAX_COUNTERS(pmu), CPUID_A_EAX_WIDTH(pmu),
          in->pmu_msrs ? "" : ", but its MSRs do not exist");
}

static void print_missing(const struct report *r, const struct printer *p)
{
    const struct report_input *in = &r->input;

    for (uint32_t i = 0; i < r->count; i++) {
        const struct report_item *item = &r->items[i];

        if (item->required && !item->present) {
            print(p, true, "missing: %s (%s bit %u)", item->name, item->where, item->bit);
        }
    }
    if (in->cpu_closed != REPORT_NO_CPU) {
        print(p, true,
              "IA32_FEATURE_CONTROL of CPU %u is locked without VMX: allow VT-x in the firmware's set-up",
              in->cpu_closed);
    }
    if (in->cpu_different != REPORT_NO_CPU) {
        print(p, true, "CPU %u has other VMX capabilities than CPU 0", in->cpu_different);
    }
    if (r->refused_control) {
        print(p, true, "missing: %s: %s cannot be %s (%s bit %u)", r->refusal.control, r->refusal.name,
              r->refusal.wanted ? "set" : "clear", r->refusal.msr, r->refusal.bit);
    }
    if (r->vcpus == 0) {
        uint32_t vcpus = MAX(in->vcpus_asked, 1u);

        print(p, true, "%u vCPUs need %u CPUs, the machine has %u", vcpus, vcpus + 1, in->cpus_running);
    }
    if (in->memory_free < in->guest_memory) {
        print(p, true, "the guest's memory of %u MiB does not fit into %u MiB",
              (unsigned)(in->guest_memory >> 20), (unsigned)(in->memory_free >> 20));
    }
}

void report_print(const struct report *r, report_line_fn *line, void *context)
{
    struct printer p = {line, context};

    print_machine(r, &p);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct report_item *item = &r->items[i];

        print(&p, false, "%-3s %s (%s bit %u%s)", item->present ? "yes" : "no", item->name, item->where,
              item->bit, item->required ? ", required" : "");
    }
    if (vmx_has(&r->caps, VMX_HAS_PREEMPTION_TIMER)) {
        print(&p, false, "VMX-preemption timer: one tick is %u TSC ticks", 1u << r->caps.timer_shift);
    }
    print_missing(r, &p);
    if (report_good(r)) {
        print(&p, false, "verdict: this machine can record and replay, %u vCPUs", r->vcpus);
    } else if (!r->caps.raw.vmx) {
        print(&p, true, "verdict: refused: no VT-x");
    } else {
        print(&p, true, "verdict: refused: %u requirements are missing", r->missing);
    }
}
