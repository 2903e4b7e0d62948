#include "hv/host_cpuid.h"

#include "hv/cpu/cpu.h"

struct cpuid_answer host_cpuid(void *context, uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs regs = cpuid_count(leaf, subleaf);

    (void)context;
    return (struct cpuid_answer){regs.eax, regs.ebx, regs.ecx, regs.edx};
}
