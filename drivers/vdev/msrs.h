/*
 * The guest's MSRs: a closed table; an MSR that it does not name is #GP(0), reads and writes alike.
 */
#ifndef RV_DRIVERS_VDEV_MSRS_H
#define RV_DRIVERS_VDEV_MSRS_H

#include "hv/base/types.h"

/* MSR numbers (SDM 4 table 2-2). */
enum msr_number {
    VMSR_P5_MC_ADDR = 0x0,
    VMSR_P5_MC_TYPE = 0x1,
    VMSR_TSC = 0x10,
    VMSR_PLATFORM_ID = 0x17,
    VMSR_APIC_BASE = 0x1B,
    VMSR_FEATURE_CONTROL = 0x3A,
    VMSR_TSC_ADJUST = 0x3B,
    VMSR_BIOS_SIGN_ID = 0x8B,
    VMSR_MTRRCAP = 0xFE,
    VMSR_SYSENTER_CS = 0x174,
    VMSR_SYSENTER_ESP = 0x175,
    VMSR_SYSENTER_EIP = 0x176,
    VMSR_MCG_CAP = 0x179,
    VMSR_MCG_STATUS = 0x17A,
    VMSR_MISC_ENABLE = 0x1A0,
    VMSR_DEBUGCTL = 0x1D9,
    VMSR_MTRR_PHYSBASE0 = 0x200,
    VMSR_MTRR_PHYSMASK7 = 0x20F,
    VMSR_MTRR_FIX64K_00000 = 0x250,
    VMSR_MTRR_FIX16K_80000 = 0x258,
    VMSR_MTRR_FIX16K_A0000 = 0x259,
    VMSR_MTRR_FIX4K_C0000 = 0x268,
    VMSR_MTRR_FIX4K_F8000 = 0x26F,
    VMSR_PAT = 0x277,
    VMSR_MTRR_DEF_TYPE = 0x2FF,
    VMSR_TSC_DEADLINE = 0x6E0,
    VMSR_X2APIC_FIRST = 0x800,
    VMSR_X2APIC_LAST = 0x8FF,
    VMSR_EFER = 0xC0000080,
    VMSR_STAR = 0xC0000081,
    VMSR_LSTAR = 0xC0000082,
    VMSR_CSTAR = 0xC0000083,
    VMSR_FMASK = 0xC0000084,
    VMSR_FS_BASE = 0xC0000100,
    VMSR_GS_BASE = 0xC0000101,
    VMSR_KERNEL_GS_BASE = 0xC0000102,
    VMSR_TSC_AUX = 0xC0000103,
};

/* IA32_EFER (SDM 3A 2.2.1). */
#define VMSR_EFER_SCE BIT(0)
#define VMSR_EFER_LME BIT(8)
#define VMSR_EFER_LMA BIT(10)
#define VMSR_EFER_NXE BIT(11)

#define VMSR_MTRR_VARIABLE 8u  /* pairs */
#define VMSR_MTRR_FIXED    11u /* registers */

/* What the guest's RDMSR or WRMSR of an MSR is. */
enum msr_class {
    MSR_CLASS_FAULT = 0, /* #GP(0) */
    MSR_CLASS_PASS,      /* vCPU context that the CPU checks itself: may be open in the MSR bitmaps */
    MSR_CLASS_CONTEXT,   /* vCPU context whose writes must be checked: EFER, PAT */
    MSR_CLASS_STORED,    /* vmsrs_read() / vmsrs_write(): constants and ranges without effect */
    MSR_CLASS_APIC,      /* vlapic_msr_reg() */
    MSR_CLASS_TIME,      /* IA32_TSC: a read of guest time */
    MSR_CLASS_COUNT
};

/* One line of the table: MSRs first..last. */
struct msr_rule {
    const char *name;
    uint32_t first;
    uint32_t last;
    uint8_t read;  /* enum msr_class */
    uint8_t write; /* enum msr_class */
};

/*
 * The table, ordered by number without overlap; `*n` gets its length. For filling MSR bitmaps and for texts.
 */
const struct msr_rule *msr_rules(size_t *n);
/* The class of an access to `msr`; FAULT where the table has no line. */
enum msr_class msr_classify(uint32_t msr, bool write);

/*
 * The MTRRs and IA32_MISC_ENABLE: a guest can write them and read them back, without effect on anything else.
 */
struct vmsrs {
    uint64_t misc_enable;
    uint64_t mtrr_def_type;
    uint64_t mtrr_fixed[VMSR_MTRR_FIXED];           /* in the order of their numbers */
    uint64_t mtrr_variable[2 * VMSR_MTRR_VARIABLE]; /* base, mask, base, mask ... */
};

_Static_assert(sizeof(struct vmsrs) == 8 * 29, "struct vmsrs has no padding");

/* Values at reset. INIT changes none of them. */
void vmsrs_reset(struct vmsrs *m);
/*
 * What firmware leaves on every CPU before it boots something: memory is write-back, but for what lies at
 * A0000H to FFFFFH (uncached, then write-protected) and from 3 GiB to 4 GiB (uncached); all MTRRs are on.
 */
void vmsrs_firmware(struct vmsrs *m);
/* Reads an MSR whose read class is STORED; 0 for any other. */
uint64_t vmsrs_read(const struct vmsrs *m, uint32_t msr);
/* Writes one whose write class is STORED, with a value that msr_value_valid() allows; else does nothing. */
void vmsrs_write(struct vmsrs *m, uint32_t msr, uint64_t value);

/*
 * Whether WRMSR takes `value` for an MSR of write class PASS, CONTEXT or STORED: canonical addresses,
 * reserved bits, memory types. False means #GP(0), as for every other class. EFER needs msr_efer_valid()
 * besides.
 */
bool msr_value_valid(uint32_t msr, uint64_t value);
/* WRMSR of EFER from `old` with CR0 = `cr0`: LME cannot change while paging is on (SDM 3A 4.1.2). */
bool msr_efer_valid(uint64_t old, uint64_t value, uint64_t cr0);
/* What EFER becomes: LMA is the processor's, a write does not change it. */
static inline uint64_t msr_efer_merge(uint64_t old, uint64_t value)
{
    return (value & ~VMSR_EFER_LMA) | (old & VMSR_EFER_LMA);
}

/* IA32_PAT at reset (SDM 3A 12.12.4). */
#define VMSR_PAT_RESET UINT64_C(0x0007040600070406)

#endif
