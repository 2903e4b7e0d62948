/*
 * Bits and codes of VMX: control words, exit reasons, interruptibility, event formats, exit
 * qualifications. Order and names follow SDM 3C chapters 25 and 28 and SDM 3D appendix C.
 */
#ifndef RV_VMX_DEFS_H
#define RV_VMX_DEFS_H

#include "hv/base/types.h"

/* Pin-based VM-execution controls (SDM 3C 25.6.1). */
enum vmx_pin {
    PIN_EXTERNAL_INTERRUPT_EXITING = 1u << 0,
    PIN_NMI_EXITING = 1u << 3,
    PIN_VIRTUAL_NMIS = 1u << 5,
    PIN_PREEMPTION_TIMER = 1u << 6,
    PIN_POSTED_INTERRUPTS = 1u << 7,
};

/* Primary processor-based VM-execution controls (SDM 3C 25.6.2). */
enum vmx_primary {
    PRIMARY_INTERRUPT_WINDOW = 1u << 2,
    PRIMARY_TSC_OFFSETTING = 1u << 3,
    PRIMARY_HLT_EXITING = 1u << 7,
    PRIMARY_INVLPG_EXITING = 1u << 9,
    PRIMARY_MWAIT_EXITING = 1u << 10,
    PRIMARY_RDPMC_EXITING = 1u << 11,
    PRIMARY_RDTSC_EXITING = 1u << 12,
    PRIMARY_CR3_LOAD_EXITING = 1u << 15,
    PRIMARY_CR3_STORE_EXITING = 1u << 16,
    PRIMARY_TERTIARY_CONTROLS = 1u << 17,
    PRIMARY_CR8_LOAD_EXITING = 1u << 19,
    PRIMARY_CR8_STORE_EXITING = 1u << 20,
    PRIMARY_TPR_SHADOW = 1u << 21,
    PRIMARY_NMI_WINDOW = 1u << 22,
    PRIMARY_MOV_DR_EXITING = 1u << 23,
    PRIMARY_UNCONDITIONAL_IO = 1u << 24,
    PRIMARY_IO_BITMAPS = 1u << 25,
    PRIMARY_MONITOR_TRAP_FLAG = 1u << 27,
    PRIMARY_MSR_BITMAPS = 1u << 28,
    PRIMARY_MONITOR_EXITING = 1u << 29,
    PRIMARY_PAUSE_EXITING = 1u << 30,
    PRIMARY_SECONDARY_CONTROLS = 1u << 31,
};

/* Secondary processor-based VM-execution controls (SDM 3C 25.6.2). */
enum vmx_secondary {
    SECONDARY_APIC_ACCESSES = 1u << 0,
    SECONDARY_EPT = 1u << 1,
    SECONDARY_DESCRIPTOR_TABLE_EXITING = 1u << 2,
    SECONDARY_RDTSCP = 1u << 3,
    SECONDARY_X2APIC_MODE = 1u << 4,
    SECONDARY_VPID = 1u << 5,
    SECONDARY_WBINVD_EXITING = 1u << 6,
    SECONDARY_UNRESTRICTED_GUEST = 1u << 7,
    SECONDARY_APIC_REGISTERS = 1u << 8,
    SECONDARY_VIRTUAL_INTERRUPT_DELIVERY = 1u << 9,
    SECONDARY_PAUSE_LOOP_EXITING = 1u << 10,
    SECONDARY_RDRAND_EXITING = 1u << 11,
    SECONDARY_INVPCID = 1u << 12,
    SECONDARY_VM_FUNCTIONS = 1u << 13,
    SECONDARY_VMCS_SHADOWING = 1u << 14,
    SECONDARY_ENCLS_EXITING = 1u << 15,
    SECONDARY_RDSEED_EXITING = 1u << 16,
    SECONDARY_PML = 1u << 17,
    SECONDARY_EPT_VIOLATION_VE = 1u << 18,
    SECONDARY_CONCEAL_FROM_PT = 1u << 19,
    SECONDARY_XSAVES = 1u << 20,
    SECONDARY_PASID_TRANSLATION = 1u << 21,
    SECONDARY_MODE_BASED_EXECUTE = 1u << 22,
    SECONDARY_SUB_PAGE_WRITE = 1u << 23,
    SECONDARY_PT_GUEST_PHYSICAL = 1u << 24,
    SECONDARY_TSC_SCALING = 1u << 25,
    SECONDARY_USER_WAIT_PAUSE = 1u << 26,
    SECONDARY_PCONFIG = 1u << 27,
    SECONDARY_ENCLV_EXITING = 1u << 28,
    SECONDARY_BUS_LOCK_DETECTION = 1u << 30,
    SECONDARY_INSTRUCTION_TIMEOUT = 1u << 31,
};

/* VM-exit controls (SDM 3C 25.7.1). */
enum vmx_exit_control {
    EXIT_SAVE_DEBUG_CONTROLS = 1u << 2,
    EXIT_HOST_64BIT = 1u << 9,
    EXIT_LOAD_PERF_GLOBAL_CTRL = 1u << 12,
    EXIT_ACKNOWLEDGE_INTERRUPT = 1u << 15,
    EXIT_SAVE_PAT = 1u << 18,
    EXIT_LOAD_PAT = 1u << 19,
    EXIT_SAVE_EFER = 1u << 20,
    EXIT_LOAD_EFER = 1u << 21,
    EXIT_SAVE_PREEMPTION_TIMER = 1u << 22,
    EXIT_CLEAR_BNDCFGS = 1u << 23,
    EXIT_CONCEAL_FROM_PT = 1u << 24,
    EXIT_CLEAR_RTIT_CTL = 1u << 25,
    EXIT_CLEAR_LBR_CTL = 1u << 26,
    EXIT_CLEAR_UINV = 1u << 27,
    EXIT_LOAD_CET = 1u << 28,
    EXIT_LOAD_PKRS = 1u << 29,
    EXIT_SAVE_PERF_GLOBAL_CTRL = 1u << 30,
    EXIT_SECONDARY_CONTROLS = 1u << 31,
};

/* VM-entry controls (SDM 3C 25.8.1). */
enum vmx_entry_control {
    ENTRY_LOAD_DEBUG_CONTROLS = 1u << 2,
    ENTRY_IA32E_GUEST = 1u << 9,
    ENTRY_SMM = 1u << 10,
    ENTRY_DEACTIVATE_DUAL_MONITOR = 1u << 11,
    ENTRY_LOAD_PERF_GLOBAL_CTRL = 1u << 13,
    ENTRY_LOAD_PAT = 1u << 14,
    ENTRY_LOAD_EFER = 1u << 15,
    ENTRY_LOAD_BNDCFGS = 1u << 16,
    ENTRY_CONCEAL_FROM_PT = 1u << 17,
    ENTRY_LOAD_RTIT_CTL = 1u << 18,
    ENTRY_LOAD_UINV = 1u << 19,
    ENTRY_LOAD_CET = 1u << 20,
    ENTRY_LOAD_LBR_CTL = 1u << 21,
    ENTRY_LOAD_PKRS = 1u << 22,
};

/* Basic exit reasons (SDM 3D appendix C). */
enum vmx_exit_reason {
    VMX_EXIT_EXCEPTION_OR_NMI = 0,
    VMX_EXIT_EXTERNAL_INTERRUPT = 1,
    VMX_EXIT_TRIPLE_FAULT = 2,
    VMX_EXIT_INIT = 3,
    VMX_EXIT_SIPI = 4,
    VMX_EXIT_IO_SMI = 5,
    VMX_EXIT_OTHER_SMI = 6,
    VMX_EXIT_INTERRUPT_WINDOW = 7,
    VMX_EXIT_NMI_WINDOW = 8,
    VMX_EXIT_TASK_SWITCH = 9,
    VMX_EXIT_CPUID = 10,
    VMX_EXIT_GETSEC = 11,
    VMX_EXIT_HLT = 12,
    VMX_EXIT_INVD = 13,
    VMX_EXIT_INVLPG = 14,
    VMX_EXIT_RDPMC = 15,
    VMX_EXIT_RDTSC = 16,
    VMX_EXIT_RSM = 17,
    VMX_EXIT_VMCALL = 18,
    VMX_EXIT_VMCLEAR = 19,
    VMX_EXIT_VMLAUNCH = 20,
    VMX_EXIT_VMPTRLD = 21,
    VMX_EXIT_VMPTRST = 22,
    VMX_EXIT_VMREAD = 23,
    VMX_EXIT_VMRESUME = 24,
    VMX_EXIT_VMWRITE = 25,
    VMX_EXIT_VMXOFF = 26,
    VMX_EXIT_VMXON = 27,
    VMX_EXIT_CR_ACCESS = 28,
    VMX_EXIT_DR_ACCESS = 29,
    VMX_EXIT_IO = 30,
    VMX_EXIT_RDMSR = 31,
    VMX_EXIT_WRMSR = 32,
    VMX_EXIT_INVALID_GUEST_STATE = 33,
    VMX_EXIT_MSR_LOADING = 34,
    VMX_EXIT_MWAIT = 36,
    VMX_EXIT_MONITOR_TRAP_FLAG = 37,
    VMX_EXIT_MONITOR = 39,
    VMX_EXIT_PAUSE = 40,
    VMX_EXIT_MACHINE_CHECK_ENTRY = 41,
    VMX_EXIT_TPR_BELOW_THRESHOLD = 43,
    VMX_EXIT_APIC_ACCESS = 44,
    VMX_EXIT_VIRTUALIZED_EOI = 45,
    VMX_EXIT_GDTR_IDTR = 46,
    VMX_EXIT_LDTR_TR = 47,
    VMX_EXIT_EPT_VIOLATION = 48,
    VMX_EXIT_EPT_MISCONFIGURATION = 49,
    VMX_EXIT_INVEPT = 50,
    VMX_EXIT_RDTSCP = 51,
    VMX_EXIT_PREEMPTION_TIMER = 52,
    VMX_EXIT_INVVPID = 53,
    VMX_EXIT_WBINVD = 54,
    VMX_EXIT_XSETBV = 55,
    VMX_EXIT_APIC_WRITE = 56,
    VMX_EXIT_RDRAND = 57,
    VMX_EXIT_INVPCID = 58,
    VMX_EXIT_VMFUNC = 59,
    VMX_EXIT_ENCLS = 60,
    VMX_EXIT_RDSEED = 61,
    VMX_EXIT_PML_FULL = 62,
    VMX_EXIT_XSAVES = 63,
    VMX_EXIT_XRSTORS = 64,
    VMX_EXIT_PCONFIG = 65,
    VMX_EXIT_SPP_EVENT = 66,
    VMX_EXIT_UMWAIT = 67,
    VMX_EXIT_TPAUSE = 68,
    VMX_EXIT_LOADIWKEY = 69,
    VMX_EXIT_ENCLV = 70,
    VMX_EXIT_ENQCMD_PASID = 72,
    VMX_EXIT_ENQCMDS_PASID = 73,
    VMX_EXIT_BUS_LOCK = 74,
    VMX_EXIT_INSTRUCTION_TIMEOUT = 75,
    VMX_EXIT_SEAMCALL = 76,
    VMX_EXIT_TDCALL = 77,
    VMX_EXIT_REASON_COUNT
};

/* The exit-reason field (SDM 3C 25.9.1). */
#define VMX_REASON_BASIC       UINT32_C(0x0000FFFF)
#define VMX_REASON_BUS_LOCK    UINT32_C(0x04000000)
#define VMX_REASON_ENTRY_FAILS UINT32_C(0x80000000)

/* Interruptibility state (SDM 3C 25.4.2, table 25-3). */
#define VMX_BLOCKING_BY_STI    UINT32_C(0x01)
#define VMX_BLOCKING_BY_MOV_SS UINT32_C(0x02)
#define VMX_BLOCKING_BY_SMI    UINT32_C(0x04)
#define VMX_BLOCKING_BY_NMI    UINT32_C(0x08)
#define VMX_SHADOWS            (VMX_BLOCKING_BY_STI | VMX_BLOCKING_BY_MOV_SS)

/* Activity state (SDM 3C 25.4.2). */
enum vmx_activity {
    VMX_ACTIVE = 0,
    VMX_HALTED = 1,
    VMX_SHUTDOWN = 2,
    VMX_WAIT_FOR_SIPI = 3,
};

#define VMX_BREAKPOINTS 4u /* registers for breakpoints, DR0 to DR3 */

/*
 * Pending debug exceptions (SDM 3C 25.4.2, table 25-4): breakpoints that matched, whether one of them is
 * enabled, and BS, a single-step trap.
 */
#define VMX_PENDING_DEBUG_B       UINT64_C(0xf)
#define VMX_PENDING_DEBUG_ENABLED UINT64_C(0x1000)
#define VMX_PENDING_DEBUG_BS      UINT64_C(0x4000)

/*
 * Interruption information: VM-entry (SDM 3C 25.8.3), VM-exit (25.9.2) and IDT-vectoring (25.9.3)
 * share this format. Bit 12 has a meaning only in the VM-exit one.
 */
#define VMX_INFO_VECTOR        UINT32_C(0x000000FF)
#define VMX_INFO_TYPE          UINT32_C(0x00000700)
#define VMX_INFO_TYPE_SHIFT    8
#define VMX_INFO_ERROR_VALID   UINT32_C(0x00000800)
#define VMX_INFO_NMI_UNBLOCKED UINT32_C(0x00001000)
#define VMX_INFO_VALID         UINT32_C(0x80000000)

enum vmx_event_type {
    VMX_EVENT_EXTERNAL_INTERRUPT = 0,
    VMX_EVENT_NMI = 2,
    VMX_EVENT_HARDWARE_EXCEPTION = 3,
    VMX_EVENT_SOFTWARE_INTERRUPT = 4,            /* INT n */
    VMX_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION = 5, /* INT1 */
    VMX_EVENT_SOFTWARE_EXCEPTION = 6,            /* INT3, INTO */
    VMX_EVENT_OTHER = 7,                         /* at entry: a pending MTF exit */
};

/* Segment access rights (SDM 3C 25.4.1, table 25-2). */
#define VMX_ACCESS_TYPE      UINT32_C(0x0000F)
#define VMX_ACCESS_S         UINT32_C(0x00010)
#define VMX_ACCESS_DPL       UINT32_C(0x00060)
#define VMX_ACCESS_DPL_SHIFT 5
#define VMX_ACCESS_PRESENT   UINT32_C(0x00080)
#define VMX_ACCESS_LONG      UINT32_C(0x02000)
#define VMX_ACCESS_DB        UINT32_C(0x04000)
#define VMX_ACCESS_G         UINT32_C(0x08000)
#define VMX_ACCESS_UNUSABLE  UINT32_C(0x10000)

/* EPT pointer (SDM 3C 25.6.11). */
#define VMX_EPTP_WRITE_BACK UINT64_C(6)
#define VMX_EPTP_WALK_4     (UINT64_C(3) << 3)
#define VMX_EPTP_AD         UINT64_C(0x40)

/* The EPTP for a 4-level table at `root` (4 KiB aligned), with or without accessed and dirty bits. */
static inline uint64_t vmx_eptp(hpa_t root, bool accessed_dirty)
{
    return root.raw | VMX_EPTP_WRITE_BACK | VMX_EPTP_WALK_4 | (accessed_dirty ? VMX_EPTP_AD : 0);
}

/* General registers in the order of their encoding, which qualifications and instructions use. */
enum vmx_gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT
};

#endif
