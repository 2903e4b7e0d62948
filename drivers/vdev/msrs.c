/* The guest's MSRs. See msrs.h. */
#include "drivers/vdev/msrs.h"
#include "drivers/vdev/cpuid.h"

#include <string.h>

#define FAULT   MSR_CLASS_FAULT
#define PASS    MSR_CLASS_PASS
#define CONTEXT MSR_CLASS_CONTEXT
#define STORED  MSR_CLASS_STORED
#define APIC    MSR_CLASS_APIC
#define TIME    MSR_CLASS_TIME

static const struct msr_rule rules[] = {
    {"IA32_P5_MC_ADDR, IA32_P5_MC_TYPE", VMSR_P5_MC_ADDR, VMSR_P5_MC_TYPE, STORED, FAULT},
    {"IA32_TIME_STAMP_COUNTER", VMSR_TSC, VMSR_TSC, TIME, FAULT},
    {"IA32_PLATFORM_ID", VMSR_PLATFORM_ID, VMSR_PLATFORM_ID, STORED, FAULT},
    {"IA32_APIC_BASE", VMSR_APIC_BASE, VMSR_APIC_BASE, APIC, APIC},
    {"IA32_FEATURE_CONTROL", VMSR_FEATURE_CONTROL, VMSR_FEATURE_CONTROL, STORED, FAULT},
    {"IA32_TSC_ADJUST", VMSR_TSC_ADJUST, VMSR_TSC_ADJUST, STORED, STORED},
    {"IA32_BIOS_SIGN_ID", VMSR_BIOS_SIGN_ID, VMSR_BIOS_SIGN_ID, STORED, STORED},
    {"IA32_MTRRCAP", VMSR_MTRRCAP, VMSR_MTRRCAP, STORED, FAULT},
    {"IA32_SYSENTER_CS, _ESP, _EIP", VMSR_SYSENTER_CS, VMSR_SYSENTER_EIP, PASS, PASS},
    {"IA32_MCG_CAP", VMSR_MCG_CAP, VMSR_MCG_CAP, STORED, FAULT},
    {"IA32_MCG_STATUS", VMSR_MCG_STATUS, VMSR_MCG_STATUS, STORED, STORED},
    {"IA32_MISC_ENABLE", VMSR_MISC_ENABLE, VMSR_MISC_ENABLE, STORED, STORED},
    {"IA32_DEBUGCTL", VMSR_DEBUGCTL, VMSR_DEBUGCTL, STORED, STORED},
    {"IA32_MTRR_PHYSBASE, _PHYSMASK", VMSR_MTRR_PHYSBASE0, VMSR_MTRR_PHYSMASK7, STORED, STORED},
    {"IA32_MTRR_FIX64K", VMSR_MTRR_FIX64K_00000, VMSR_MTRR_FIX64K_00000, STORED, STORED},
    {"IA32_MTRR_FIX16K", VMSR_MTRR_FIX16K_80000, VMSR_MTRR_FIX16K_A0000, STORED, STORED},
    {"IA32_MTRR_FIX4K", VMSR_MTRR_FIX4K_C0000, VMSR_MTRR_FIX4K_F8000, STORED, STORED},
    {"IA32_PAT", VMSR_PAT, VMSR_PAT, CONTEXT, CONTEXT},
    {"IA32_MTRR_DEF_TYPE", VMSR_MTRR_DEF_TYPE, VMSR_MTRR_DEF_TYPE, STORED, STORED},
    {"IA32_TSC_DEADLINE", VMSR_TSC_DEADLINE, VMSR_TSC_DEADLINE, APIC, APIC},
    {"x2APIC", VMSR_X2APIC_FIRST, VMSR_X2APIC_LAST, APIC, APIC},
    {"IA32_EFER", VMSR_EFER, VMSR_EFER, CONTEXT, CONTEXT},
    {"IA32_STAR, _LSTAR, _CSTAR, _FMASK", VMSR_STAR, VMSR_FMASK, PASS, PASS},
    {"IA32_FS_BASE, _GS_BASE, _KERNEL_GS_BASE", VMSR_FS_BASE, VMSR_KERNEL_GS_BASE, PASS, PASS},
    {"IA32_TSC_AUX", VMSR_TSC_AUX, VMSR_TSC_AUX, PASS, PASS},
};

const struct msr_rule *msr_rules(size_t *n)
{
    *n = ARRAY_LEN(rules);
    return rules;
}

enum msr_class msr_classify(uint32_t msr, bool write)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (msr >= rules[i].first && msr <= rules[i].last)
            return write ? rules[i].write : rules[i].read;
    }
    return MSR_CLASS_FAULT;
}

#define FEATURE_CONTROL_LOCKED BIT(0)                                  /* without VMX and SMX */
#define BIOS_SIGN_VALUE        (UINT64_C(1) << 32)                     /* a microcode revision */
#define MTRRCAP_VALUE          (VMSR_MTRR_VARIABLE | BIT(8) | BIT(10)) /* fixed ranges and WC */

/* IA32_MISC_ENABLE: fast strings (the guest's to switch), no BTS, no PEBS; no MONITOR, no SpeedStep. */
#define MISC_FAST_STRINGS BIT(0)
#define MISC_ENABLE_VALUE (MISC_FAST_STRINGS | BIT(11) | BIT(12))

void vmsrs_reset(struct vmsrs *m)
{
    memset(m, 0, sizeof(*m));
    m->misc_enable = MISC_ENABLE_VALUE;
}

#define PHYS_ADDRESS_BITS ((BIT(CPUID_MODEL_PHYS_BITS) - 1) & ~PAGE_MASK)
#define MTRR_MASK_VALID   BIT(11)
#define MTRR_DEF_ENABLES  (BIT(10) | BIT(11))

/* Memory types in all eight bytes of a fixed-range MTRR (SDM 3A 12.11.1). */
#define FIXED_UC 0
#define FIXED_WP UINT64_C(0x0505050505050505)
#define FIXED_WB UINT64_C(0x0606060606060606)

#define DEF_TYPE_WB   UINT64_C(0x06)
#define DEVICES_BASE  UINT64_C(0xC0000000) /* and type UC */
#define DEVICES_BYTES UINT64_C(0x40000000)

void vmsrs_firmware(struct vmsrs *m)
{
    m->mtrr_fixed[0] = FIXED_WB; /* 0 to 7FFFFH */
    m->mtrr_fixed[1] = FIXED_WB; /* 80000H to 9FFFFH */
    m->mtrr_fixed[2] = FIXED_UC; /* A0000H to BFFFFH */
    for (uint32_t i = 3; i < VMSR_MTRR_FIXED; i++)
        m->mtrr_fixed[i] = FIXED_WP;
    m->mtrr_variable[0] = DEVICES_BASE;
    m->mtrr_variable[1] = (PHYS_ADDRESS_BITS & ~(DEVICES_BYTES - 1)) | MTRR_MASK_VALID;
    m->mtrr_def_type = MTRR_DEF_ENABLES | DEF_TYPE_WB;
}

/* The index of a fixed-range MTRR in the order of numbers, or -1. */
static int fixed_index(uint32_t msr)
{
    if (msr == VMSR_MTRR_FIX64K_00000)
        return 0;
    if (msr == VMSR_MTRR_FIX16K_80000 || msr == VMSR_MTRR_FIX16K_A0000)
        return 1 + (int)(msr - VMSR_MTRR_FIX16K_80000);
    if (msr >= VMSR_MTRR_FIX4K_C0000 && msr <= VMSR_MTRR_FIX4K_F8000)
        return 3 + (int)(msr - VMSR_MTRR_FIX4K_C0000);
    return -1;
}

/* Where a writable MSR lives, or NULL. */
static uint64_t *slot_of(struct vmsrs *m, uint32_t msr)
{
    if (msr == VMSR_MISC_ENABLE)
        return &m->misc_enable;
    if (msr == VMSR_MTRR_DEF_TYPE)
        return &m->mtrr_def_type;
    if (msr >= VMSR_MTRR_PHYSBASE0 && msr <= VMSR_MTRR_PHYSMASK7)
        return &m->mtrr_variable[msr - VMSR_MTRR_PHYSBASE0];
    return fixed_index(msr) >= 0 ? &m->mtrr_fixed[fixed_index(msr)] : NULL;
}

uint64_t vmsrs_read(const struct vmsrs *m, uint32_t msr)
{
    /* The cast only shares slot_of(); nothing is written here. */
    const uint64_t *slot = slot_of((struct vmsrs *)m, msr);

    if (slot != NULL)
        return *slot;
    switch (msr) {
    case VMSR_FEATURE_CONTROL:
        return FEATURE_CONTROL_LOCKED;
    case VMSR_BIOS_SIGN_ID:
        return BIOS_SIGN_VALUE;
    case VMSR_MTRRCAP:
        return MTRRCAP_VALUE;
    default:
        return 0;
    }
}

void vmsrs_write(struct vmsrs *m, uint32_t msr, uint64_t value)
{
    uint64_t *slot = slot_of(m, msr);

    if (slot != NULL && msr_value_valid(msr, value))
        *slot = value;
}

static bool canonical(uint64_t address)
{
    uint64_t upper = address >> (CPUID_MODEL_LINEAR_BITS - 1);

    return upper == 0 || upper == UINT64_MAX >> (CPUID_MODEL_LINEAR_BITS - 1);
}

/* Memory types (SDM 3A 12.3): UC, WC, WT, WP, WB; PAT also has UC-. */
#define MTRR_TYPES UINT32_C(0x73)
#define PAT_TYPES  UINT32_C(0xF3)

/* Whether each of the low `n` bytes of `value` is a memory type of the set `types`. */
static bool types_valid(uint64_t value, uint32_t n, uint32_t types)
{
    for (uint32_t i = 0; i < n; i++, value >>= 8) {
        if ((value & 0xFF) > 7 || !(types >> (value & 7) & 1))
            return false;
    }
    return true;
}

static bool mtrr_valid(uint32_t msr, uint64_t value)
{
    if (msr == VMSR_MTRR_DEF_TYPE)
        return !(value & ~(MTRR_DEF_ENABLES | 0xFF)) && types_valid(value, 1, MTRR_TYPES);
    if (fixed_index(msr) >= 0)
        return types_valid(value, 8, MTRR_TYPES);
    if (msr & 1)
        return !(value & ~(PHYS_ADDRESS_BITS | MTRR_MASK_VALID));
    return !(value & ~(PHYS_ADDRESS_BITS | 0xFF)) && types_valid(value, 1, MTRR_TYPES);
}

static bool stored_valid(uint32_t msr, uint64_t value)
{
    switch (msr) {
    case VMSR_BIOS_SIGN_ID:
        return true; /* written with 0 before CPUID loads it; the value is ignored */
    case VMSR_MISC_ENABLE:
        return ((value ^ MISC_ENABLE_VALUE) & ~MISC_FAST_STRINGS) == 0;
    case VMSR_TSC_ADJUST: /* guest time is the log's */
    case VMSR_MCG_STATUS:
    case VMSR_DEBUGCTL:
        return value == 0;
    default:
        return mtrr_valid(msr, value);
    }
}

static bool context_valid(uint32_t msr, uint64_t value)
{
    switch (msr) {
    case VMSR_EFER:
        return !(value & ~(VMSR_EFER_SCE | VMSR_EFER_LME | VMSR_EFER_LMA | VMSR_EFER_NXE));
    case VMSR_PAT:
        return types_valid(value, 8, PAT_TYPES);
    case VMSR_SYSENTER_ESP:
    case VMSR_SYSENTER_EIP:
    case VMSR_LSTAR:
    case VMSR_CSTAR:
    case VMSR_FS_BASE:
    case VMSR_GS_BASE:
    case VMSR_KERNEL_GS_BASE:
        return canonical(value);
    case VMSR_FMASK:
    case VMSR_TSC_AUX:
        return value >> 32 == 0;
    default: /* IA32_SYSENTER_CS, IA32_STAR: any */
        return true;
    }
}

bool msr_value_valid(uint32_t msr, uint64_t value)
{
    switch (msr_classify(msr, true)) {
    case MSR_CLASS_PASS:
    case MSR_CLASS_CONTEXT:
        return context_valid(msr, value);
    case MSR_CLASS_STORED:
        return stored_valid(msr, value);
    default:
        return false;
    }
}

#define CR0_PG BIT(31)

bool msr_efer_valid(uint64_t old, uint64_t value, uint64_t cr0)
{
    return msr_value_valid(VMSR_EFER, value) && (!(cr0 & CR0_PG) || !((old ^ value) & VMSR_EFER_LME));
}
