/* The CPUID instruction in the form that drivers/vdev/cpuid.h asks the host in. */
#ifndef RV_HV_HOST_CPUID_H
#define RV_HV_HOST_CPUID_H

#include "drivers/vdev/cpuid.h"

/* A cpuid_host_fn: CPUID with EAX = leaf, ECX = subleaf on this CPU. `context` is not used. */
struct cpuid_answer host_cpuid(void *context, uint32_t leaf, uint32_t subleaf);

#endif
