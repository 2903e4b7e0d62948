/* What entry.S and the C code around it share. Constants here are also read by the assembler. */
#ifndef RV_VMX_ENTRY_H
#define RV_VMX_ENTRY_H

/* Offsets in struct vmx_vcpu; vmx/enter.c checks them. */
#define VCPU_GPR(n)            ((n)*8)
#define VCPU_HOST_RSP          128
#define VCPU_LAUNCHED          136
#define VMCS_HOST_RSP_ENCODING 0x6C14

#ifndef __ASSEMBLER__
#include "hv/base/types.h"

struct vmx_vcpu;

/* Enters the guest; 0 after an exit, 1 if VMLAUNCH, VMRESUME or the VMWRITE of HOST_RSP failed. */
uint64_t vmx_run(struct vmx_vcpu *vcpu);
/* Where exits arrive (HOST_RIP). Not to be called. */
extern const char vmx_exit_stub[];
#endif

#endif
