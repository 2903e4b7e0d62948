#include "hv/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu/cpuid.h"
#include "vmx/controls.h"

#define CPUID_1_ECX   "CPUID.1:ECX"
#define CPUID_EXT_EDX "CPUID.80000007H:EDX"

/* The VMX features that the report shows, and whether Retrovisor can do without. `brief`: in one line. */
static const struct {
    enum vmx_feature feature;
    bool required;
    const char *brief;
} vmx_items[] = {
    {VMX_HAS_SECONDARY_CONTROLS, true, NULL},
    {VMX_HAS_EPT, true, "EPT"},
    {VMX_HAS_EPT_4LEVEL, true, NULL},
    {VMX_HAS_EPT_WRITE_BACK, true, NULL},
    {VMX_HAS_EPT_AD, true, "EPT A/D flags"},
    {VMX_HAS_EPT_2M, false, NULL},
    {VMX_HAS_INVEPT, true, NULL},
    {VMX_HAS_INVEPT_SINGLE, true, NULL},
    {VMX_HAS_INVEPT_ALL, false, NULL},
    {VMX_HAS_PREEMPTION_TIMER, true, "preemption timer"},
    {VMX_HAS_SAVE_TIMER, false, NULL},
    {VMX_HAS_UNRESTRICTED_GUEST, true, "unrestricted guest"},
    {VMX_HAS_VIRTUAL_NMIS, true, NULL},
    {VMX_HAS_PML, false, "PML"},
    {VMX_HAS_MTF, false, NULL},
    {VMX_HAS_VPID, false, "VPID"},
};

static void add(struct report *r, const char *name, const char *where, uint8_t bit, bool required,
                bool present)
{
    struct report_item *item = &r->items[r->count++];

    *item = (struct report_item){.name = name, .bit = bit, .required = required, .present = present};
    snprintf(item->where, sizeof(item->where), "%s", where);
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

/* As the SDM writes it, but for the braces: "CPUID.7:EBX", "CPUID.80000001H:ECX". */
static void format_place(char where[REPORT_WHERE_SIZE], const struct cpuid_feature *feature)
{
    static const char *const registers[] = {"EAX", "EBX", "ECX", "EDX"};

    snprintf(where, REPORT_WHERE_SIZE, feature->leaf < 10 ? "CPUID.%X:%s" : "CPUID.%XH:%s",
             (unsigned)feature->leaf, registers[feature->reg & 3]);
}

/* What the guest's CPUID model promises, the machine must have. */
static void add_processor(struct report *r)
{
    const struct report_input *in = &r->input;
    size_t count;
    const struct cpuid_feature *required = cpuid_required(&count);
    const struct cpuid_feature *missing = cpuid_missing(in->host_cpuid, in->host_context, 0);

    for (size_t i = 0; i < count; i++) {
        char where[REPORT_WHERE_SIZE];

        format_place(where, &required[i]);
        add(r, required[i].name, where, (uint8_t)required[i].bit, true, missing != &required[i]);
        if (missing == &required[i]) {
            missing = cpuid_missing(in->host_cpuid, in->host_context, i + 1);
        }
    }
    add_cpuid(r, "invariant TSC", CPUID_EXT_EDX, in->cpuid.ext_power.edx, CPUID_EXT_7_EDX_INVARIANT_TSC,
              false);
}

static void find_pmu(struct report *r)
{
    const struct report_input *in = &r->input;
    struct vmx_pmu_input input = {
        .caps = &r->caps,
        .version = in->cpuid.version.eax,
        .features = in->cpuid.features.edx,
        .perfmon = in->cpuid.perfmon.eax,
        .msrs = in->pmu_msrs,
        .capabilities = in->pmu_capabilities,
    };

    memcpy(input.vendor, &in->cpuid.vendor.ebx, 4);
    memcpy(input.vendor + 4, &in->cpuid.vendor.edx, 4);
    memcpy(input.vendor + 8, &in->cpuid.vendor.ecx, 4);
    vmx_pmu_find(&input, &r->pmu);
    if (in->no_pmu) {
        r->pmu.lack = VMX_PMU_LACKS_LEAVE;
    }
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
    find_pmu(r);
    r->vcpus = decide_vcpus(input);
    if (r->missing == 0) {
        vmx_policy_chunks(&policy);
        r->refused_control = !vmx_controls_compute(&r->caps, &policy, &controls, &r->refusal);
    }
    if (r->caps.raw.vmx && !vmx_has(&r->caps, VMX_HAS_MTF)) {
        r->mtf = PROBE_MTF_ABSENT;
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

static const char *mtf_text(enum probe_mtf mtf)
{
    static const char *const texts[] = {
        [PROBE_MTF_UNKNOWN] = "not tried",
        [PROBE_MTF_ABSENT] = "absent",
        [PROBE_MTF_DOES_NOTHING] = "advertised but does nothing",
        [PROBE_MTF_WORKS] = "works",
    };
    return texts[mtf];
}

static void print_pmu(const struct report *r, const struct printer *p)
{
    uint32_t pmu = r->input.cpuid.perfmon.eax;

    if (!CPUID_A_EAX_VERSION(pmu)) {
        print(p, false, "PMU: none (CPUID.0AH)");
        return;
    }
    print(p, false, "PMU: version %u, %u counters of %u bits (CPUID.0AH)%s", CPUID_A_EAX_VERSION(pmu),
          CPUID_A_EAX_COUNTERS(pmu), CPUID_A_EAX_WIDTH(pmu),
          r->input.pmu_msrs ? "" : ", but its MSRs do not exist");
}

/* How the ends of chunks are found again, and why so. */
static void print_way(const struct report *r, const struct printer *p)
{
    if (r->pmu.lack == VMX_PMU_LACKS_NOTHING) {
        print(p, false, "chunk ends: by counts of branches (%s)", r->pmu.event);
    } else {
        print(p, false, "chunk ends: by time, without the PMU: %s", vmx_pmu_lack_text(r->pmu.lack));
    }
}

static void print_full(const struct report *r, const struct printer *p)
{
    const struct report_input *in = &r->input;

    print(p, false, "CPUs: %u listed, %u running; TSC %u kHz", in->cpus_listed, in->cpus_running,
          (unsigned)in->tsc_khz);
    print(p, false, "memory: %u MiB free, %u MiB for the guest", (unsigned)(in->memory_free >> 20),
          (unsigned)(in->guest_memory >> 20));
    print_pmu(r, p);
    print_way(r, p);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct report_item *item = &r->items[i];

        print(p, false, "%-3s %s (%s bit %u%s)", item->present ? "yes" : "no", item->name, item->where,
              item->bit, item->required ? ", required" : "");
    }
    if (vmx_has(&r->caps, VMX_HAS_PREEMPTION_TIMER)) {
        print(p, false, "VMX-preemption timer: one tick is %u TSC ticks", 1u << r->caps.timer_shift);
    }
    if (r->caps.raw.vmx) {
        print(p, false, "monitor trap flag: %s", mtf_text(r->mtf));
    }
}

/* The VMX features that have a short name, with the probe's result. */
static void list_vmx(const struct report *r, char list[REPORT_LINE_SIZE])
{
    size_t used = 0;

    list[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(vmx_items); i++) {
        if (vmx_items[i].brief && vmx_has(&r->caps, vmx_items[i].feature)) {
            used += (size_t)snprintf(list + used, REPORT_LINE_SIZE - used, "%s, ", vmx_items[i].brief);
        }
    }
    snprintf(list + used, REPORT_LINE_SIZE - used, "MTF %s", mtf_text(r->mtf));
}

static void print_brief(const struct report *r, const struct printer *p)
{
    const struct report_input *in = &r->input;
    char vmx[REPORT_LINE_SIZE];

    list_vmx(r, vmx);
    print(p, false, "machine: %u of %u CPUs, TSC %u kHz, %u MiB free, %sPMU; VT-x: %s", in->cpus_running,
          in->cpus_listed, (unsigned)in->tsc_khz, (unsigned)(in->memory_free >> 20),
          CPUID_A_EAX_VERSION(in->cpuid.perfmon.eax) && in->pmu_msrs ? "" : "no ",
          r->caps.raw.vmx ? vmx : "none");
    if (CPUID_A_EAX_VERSION(in->cpuid.perfmon.eax)) {
        print_way(r, p);
    }
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

void report_print(const struct report *r, bool full, report_line_fn *line, void *context)
{
    struct printer p = {line, context};

    if (full) {
        print_full(r, &p);
    } else {
        print_brief(r, &p);
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
