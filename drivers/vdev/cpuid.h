/*
 * The guest's CPUID model (SDM 2A, CPUID), version 2: fixed, so that a log replays on another machine.
 *
 * Every CPUID exits and is answered from here; nothing comes from the host. A machine must have what the
 * model promises (cpuid_required()), and features that the model hides but VMX cannot take away
 * (cpuid_traits()) are named in the log, so that replay can refuse a machine where a guest that ignores CPUID
 * would see a difference.
 */
#ifndef RV_DRIVERS_VDEV_CPUID_H
#define RV_DRIVERS_VDEV_CPUID_H

#include "hv/base/types.h"

#define CPUID_MODEL_VERSION     2u
#define CPUID_MODEL_PHYS_BITS   36u /* guest-physical address width: what every VT-x machine with EPT has */
#define CPUID_MODEL_LINEAR_BITS 48u
#define CPUID_MODEL_XSAVE_BYTES 832u /* XSAVE area with x87, SSE and AVX state */
#define CPUID_HYPERVISOR_LEAF   UINT32_C(0x40000000)
#define CPUID_MODEL_XCR0        UINT64_C(0x7)

/*
 * CR4 bits that the guest may set; any other is #GP(0). VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT
 * FSGSBASE OSXSAVE SMEP SMAP. CR4.VMXE and SMXE are not among them.
 */
#define CPUID_MODEL_CR4 UINT64_C(0x3507FF)

/* CR0: bits that exist (PE MP EM TS ET NE WP AM NW CD PG); others are reserved (SDM 3A 2.5). */
#define CPUID_MODEL_CR0 UINT64_C(0xE005003F)

/* RFLAGS, DR6, DR7 need no model: they have the architectural bits. */

struct cpuid_answer {
    uint32_t eax, ebx, ecx, edx;
};

/* What the answer depends on besides leaf and subleaf: all of it is guest state or in the log's header. */
struct cpuid_context {
    uint64_t cr4;          /* leaf 1 OSXSAVE */
    uint64_t xcr0;         /* leaf 0DH size in use */
    uint64_t tsc_hz;       /* guest time ticks per second, 0 if not known: leaves 15H, 16H */
    uint32_t vcpu;         /* initial APIC ID, < n_vcpus */
    uint32_t n_vcpus;      /* 1..MAX_VCPUS */
    uint32_t apic_enabled; /* IA32_APIC_BASE.EN: leaf 1 APIC */
    uint32_t reserved;
};

/* The answer to CPUID with EAX = leaf, ECX = subleaf. Any leaf is answered; unknown ones with zeros. */
struct cpuid_answer cpuid_model(uint32_t leaf, uint32_t subleaf, const struct cpuid_context *c);

/* XSETBV(0) with `value`: false means #GP(0) (SDM 1 13.3). */
bool cpuid_xcr0_valid(uint64_t value);
/* MOV to CR4 with `value`: whether only bits of the model are set (consistency with paging is the CPU's). */
bool cpuid_cr4_valid(uint64_t value);

/* One feature bit of the host's CPUID. */
struct cpuid_feature {
    const char *name; /* the SDM's */
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t bit; /* 0..31 */
    uint32_t reg; /* enum cpuid_reg */
};

enum cpuid_reg { CPUID_REG_EAX = 0, CPUID_REG_EBX, CPUID_REG_ECX, CPUID_REG_EDX };

/* Host CPUID as a function, so that tests can lie. `context` is passed through. */
typedef struct cpuid_answer (*cpuid_host_fn)(void *context, uint32_t leaf, uint32_t subleaf);

/* The host features that the model needs; `*n` gets their number. */
const struct cpuid_feature *cpuid_required(size_t *n);
/* The first of them that the host lacks, from index `from`; NULL if none. Leaves past the host's maximum
 * count as 0. */
const struct cpuid_feature *cpuid_missing(cpuid_host_fn host, void *context, size_t from);

/*
 * Features that a guest can use without CPUID's leave, as no VMX control forbids them; at most 63. Entry i is
 * bit i of the mask, and stays so for ever: the mask is in logs.
 */
const struct cpuid_feature *cpuid_traits(size_t *n);
/* The mask of those that the host has, for the log's header. */
uint64_t cpuid_host_traits(cpuid_host_fn host, void *context);

#endif
