/*
 * The start-up report: what the machine has of what Retrovisor needs or uses, and a verdict. Pure: raw values
 * of CPUID and MSRs go in, a list of results and lines of text come out.
 */
#ifndef RV_HV_REPORT_H
#define RV_HV_REPORT_H

#include "drivers/vdev/cpuid.h"
#include "hv/base/types.h"
#include "hv/cpu/cpu.h"
#include "hv/probe.h"
#include "vmx/caps.h"
#include "vmx/pmu.h"

#define REPORT_MAX_ITEMS  80
#define REPORT_WHERE_SIZE 32
#define REPORT_LINE_SIZE  256

/* The CPUID leaves that the report reads itself; zero for a leaf that the CPU does not have. */
struct report_cpuid {
    struct cpuid_regs vendor;    /* 0 */
    struct cpuid_regs version;   /* 1 */
    struct cpuid_regs features;  /* 7 */
    struct cpuid_regs perfmon;   /* 0xA */
    struct cpuid_regs ext_power; /* 0x80000007 */
};

struct report_input {
    struct report_cpuid cpuid;
    cpuid_host_fn host_cpuid; /* asked for what the guest's CPUID model needs */
    void *host_context;
    struct vmx_raw_caps vmx;   /* of the boot processor, IA32_FEATURE_CONTROL as it is after the set-up */
    bool pmu_msrs;             /* IA32_PERF_GLOBAL_CTRL can be read */
    bool no_pmu;               /* the user wants none */
    uint64_t pmu_capabilities; /* IA32_PERF_CAPABILITIES, 0 where there is none */
    uint32_t cpus_listed;      /* by the firmware */
    uint32_t cpus_running;
    uint32_t cpu_closed; /* first CPU whose IA32_FEATURE_CONTROL forbids VMX, or REPORT_NO_CPU */
    uint32_t
        cpu_different; /* first CPU whose VMX capabilities are not the boot processor's, or REPORT_NO_CPU */
    uint32_t vcpus_asked;  /* 0: as many as possible */
    uint64_t memory_free;  /* bytes */
    uint64_t guest_memory; /* bytes asked for */
    uint64_t tsc_khz;
};

#define REPORT_NO_CPU UINT32_MAX

struct report_item {
    const char *name;
    char where[REPORT_WHERE_SIZE]; /* "IA32_VMX_MISC", "CPUID.1:ECX" */
    uint8_t bit;                   /* in `where` */
    bool required;
    bool present;
};

struct report {
    struct vmx_caps caps;
    uint32_t count;
    uint32_t missing; /* required items that are not present, and other reasons below */
    uint32_t vcpus;   /* how many the guest gets; 0 when the machine has too few CPUs */
    struct report_item items[REPORT_MAX_ITEMS];
    bool refused_control; /* `refusal` says which one; only looked for when all items are there */
    struct vmx_refusal refusal;
    enum probe_mtf mtf; /* UNKNOWN or ABSENT when filled; a good machine may then be probed */
    struct vmx_pmu pmu; /* likewise where nothing is lacking; a try that counts wrong is to be noted */
    struct report_input input;
};

/* Decides. */
void report_fill(struct report *report, const struct report_input *input);

/* True when the machine can run a guest as it was asked to. */
static inline bool report_good(const struct report *report)
{
    return report->missing == 0;
}

/* Takes one line, no newline. important: says why the machine is refused. */
typedef void report_line_fn(void *context, bool important, const char *line);

/*
 * The report as lines: what there is (`full`: all that was looked at, else in one line), then one line for
 * each thing that is missing, then the verdict.
 */
void report_print(const struct report *report, bool full, report_line_fn *line, void *context);

#endif
