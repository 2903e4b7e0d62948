/* Named feature bits of CPUID, SDM 2A "CPUID". Pure definitions. */
#ifndef RV_HV_CPU_CPUID_H
#define RV_HV_CPU_CPUID_H

#include "hv/base/types.h"

enum cpuid_leaf {
    CPUID_VENDOR = 0x0,
    CPUID_VERSION = 0x1,
    CPUID_THERMAL = 0x6,
    CPUID_FEATURES = 0x7,
    CPUID_PERFMON = 0xA,
    CPUID_TOPOLOGY = 0xB,
    CPUID_XSAVE = 0xD,
    CPUID_TSC = 0x15,
    CPUID_FREQUENCY = 0x16,
};
#define CPUID_HYPERVISOR  0x40000000u
#define CPUID_EXT_MAX     0x80000000u
#define CPUID_EXT_VERSION 0x80000001u
#define CPUID_EXT_POWER   0x80000007u
#define CPUID_EXT_ADDRESS 0x80000008u

/* Leaf 1, ECX. */
#define CPUID_1_ECX_SSE3         BIT(0)
#define CPUID_1_ECX_PCLMULQDQ    BIT(1)
#define CPUID_1_ECX_MONITOR      BIT(3)
#define CPUID_1_ECX_VMX          BIT(5)
#define CPUID_1_ECX_SMX          BIT(6)
#define CPUID_1_ECX_SSSE3        BIT(9)
#define CPUID_1_ECX_CX16         BIT(13)
#define CPUID_1_ECX_PDCM         BIT(15)
#define CPUID_1_ECX_PCID         BIT(17)
#define CPUID_1_ECX_SSE4_1       BIT(19)
#define CPUID_1_ECX_SSE4_2       BIT(20)
#define CPUID_1_ECX_X2APIC       BIT(21)
#define CPUID_1_ECX_MOVBE        BIT(22)
#define CPUID_1_ECX_POPCNT       BIT(23)
#define CPUID_1_ECX_TSC_DEADLINE BIT(24)
#define CPUID_1_ECX_AES          BIT(25)
#define CPUID_1_ECX_XSAVE        BIT(26)
#define CPUID_1_ECX_OSXSAVE      BIT(27)
#define CPUID_1_ECX_AVX          BIT(28)
#define CPUID_1_ECX_F16C         BIT(29)
#define CPUID_1_ECX_RDRAND       BIT(30)
#define CPUID_1_ECX_HYPERVISOR   BIT(31)

/* Leaf 1, EDX. */
#define CPUID_1_EDX_FPU  BIT(0)
#define CPUID_1_EDX_TSC  BIT(4)
#define CPUID_1_EDX_MSR  BIT(5)
#define CPUID_1_EDX_APIC BIT(9)
#define CPUID_1_EDX_PAT  BIT(16)
#define CPUID_1_EDX_FXSR BIT(24)
#define CPUID_1_EDX_SSE  BIT(25)
#define CPUID_1_EDX_SSE2 BIT(26)

/* Leaf 6, EAX. */
#define CPUID_6_EAX_ARAT BIT(2)

/* Leaf 7, subleaf 0. */
#define CPUID_7_EBX_FSGSBASE BIT(0)
#define CPUID_7_EBX_BMI1     BIT(3)
#define CPUID_7_EBX_HLE      BIT(4)
#define CPUID_7_EBX_AVX2     BIT(5)
#define CPUID_7_EBX_SMEP     BIT(7)
#define CPUID_7_EBX_BMI2     BIT(8)
#define CPUID_7_EBX_ERMS     BIT(9)
#define CPUID_7_EBX_INVPCID  BIT(10)
#define CPUID_7_EBX_RTM      BIT(11)
#define CPUID_7_EBX_AVX512F  BIT(16)
#define CPUID_7_EBX_RDSEED   BIT(18)
#define CPUID_7_EBX_ADX      BIT(19)
#define CPUID_7_EBX_SMAP     BIT(20)
#define CPUID_7_ECX_UMIP     BIT(2)
#define CPUID_7_ECX_WAITPKG  BIT(5)
#define CPUID_7_ECX_RDPID    BIT(22)
#define CPUID_7_EDX_HYBRID   BIT(15)

/* Leaf 0xA: version in EAX[7:0], general counters in EAX[15:8], their width in EAX[23:16]. */
#define CPUID_A_EAX_VERSION(eax)  ((eax)&0xFF)
#define CPUID_A_EAX_COUNTERS(eax) (((eax) >> 8) & 0xFF)
#define CPUID_A_EAX_WIDTH(eax)    (((eax) >> 16) & 0xFF)

/* Extended leaves. */
#define CPUID_EXT_1_EDX_SYSCALL       BIT(11)
#define CPUID_EXT_1_EDX_NX            BIT(20)
#define CPUID_EXT_1_EDX_1G            BIT(26)
#define CPUID_EXT_1_EDX_RDTSCP        BIT(27)
#define CPUID_EXT_1_EDX_LM            BIT(29)
#define CPUID_EXT_7_EDX_INVARIANT_TSC BIT(8)

#endif
