#include "hv/prepare.h"

#include <string.h>

#include "hv/cpu/cpuid.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/smp.h"
#include "hv/host_cpuid.h"
#include "hv/probe.h"
#include "hv/state.h"
#include "vmx/vmx.h"

/* On every CPU: opens what is open, then notes what there is. */
static void prepare_this_cpu(struct percpu *cpu)
{
    struct vmx_raw_caps *raw = &hv_state.raw_caps[cpu->pub.index];
    uint64_t value;

    vmx_read_raw_caps(raw);
    if (raw->vmx && vmx_feature_control(raw->feature_control, &value) == VMX_CONTROL_OPEN &&
        wrmsr_safe(IA32_FEATURE_CONTROL, value)) {
        raw->feature_control = rdmsr(IA32_FEATURE_CONTROL);
    }
}

static void prepare_all(struct hv_state *hv)
{
    for (uint32_t i = 1; i < hv->cpus.count; i++) {
        if (smp_is_idle(&hv->cpus, i)) {
            smp_run(&hv->cpus, i, prepare_this_cpu);
            while (!smp_is_idle(&hv->cpus, i)) {
                cpu_pause();
            }
        }
    }
    prepare_this_cpu(&hv->cpus.cpus[0]);
}

static struct cpuid_regs cpuid_if(uint32_t leaf)
{
    uint32_t max_leaf = cpuid(leaf & CPUID_EXT_MAX).eax;

    return leaf <= max_leaf ? cpuid(leaf) : (struct cpuid_regs){0};
}

/* First CPU that may not use VMX. */
static uint32_t find_closed(const struct hv_state *hv)
{
    uint64_t ignored;

    for (uint32_t i = 0; i < hv->cpus.count; i++) {
        const struct vmx_raw_caps *raw = &hv->raw_caps[i];

        if (hv->cpus.cpus[i].pub.online && raw->vmx &&
            vmx_feature_control(raw->feature_control, &ignored) != VMX_CONTROL_READY) {
            return i;
        }
    }
    return REPORT_NO_CPU;
}

static uint32_t find_different(const struct hv_state *hv)
{
    for (uint32_t i = 1; i < hv->cpus.count; i++) {
        struct vmx_raw_caps raw = hv->raw_caps[i];

        raw.feature_control = hv->raw_caps[0].feature_control; /* looked at above */
        if (hv->cpus.cpus[i].pub.online && memcmp(&raw, &hv->raw_caps[0], sizeof(raw)) != 0) {
            return i;
        }
    }
    return REPORT_NO_CPU;
}

void prepare_cpus(struct hv_state *hv)
{
    struct report_input input = {
        .cpuid =
            {
                .vendor = cpuid_if(CPUID_VENDOR),
                .version = cpuid_if(CPUID_VERSION),
                .features = cpuid_if(CPUID_FEATURES),
                .perfmon = cpuid_if(CPUID_PERFMON),
                .ext_power = cpuid_if(CPUID_EXT_POWER),
            },
        .host_cpuid = host_cpuid,
        .cpus_listed = hv->acpi.count + hv->acpi.left_out,
        .vcpus_asked = hv->options.vcpus,
        .memory_free = mem_free_bytes(&hv->mem),
        .guest_memory = hv->options.guest_memory,
        .tsc_khz = hv->cpus.tsc_khz,
        .no_pmu = hv->options.no_pmu,
    };

    uint64_t ignored;

    prepare_all(hv);
    input.pmu_msrs = rdmsr_safe(IA32_PERF_GLOBAL_CTRL, &ignored);
    if (input.cpuid.version.ecx & CPUID_1_ECX_PDCM) {
        (void)rdmsr_safe(IA32_PERF_CAPABILITIES, &input.pmu_capabilities);
    }
    for (uint32_t i = 0; i < hv->cpus.count; i++) {
        input.cpus_running += hv->cpus.cpus[i].pub.online;
    }
    input.vmx = hv->raw_caps[0];
    input.cpu_closed = find_closed(hv);
    input.cpu_different = find_different(hv);
    report_fill(&hv->report, &input);
    if (report_good(&hv->report)) {
        hv->report.mtf = probe_mtf(&hv->report.caps, &hv->mem);
        if (hv->report.pmu.lack == VMX_PMU_LACKS_NOTHING &&
            !probe_pmu(&hv->report.pmu, &hv->report.caps, &hv->mem)) {
            hv->report.pmu.lack = VMX_PMU_LACKS_RIGHT_COUNTS;
        }
    }
}
