/*
 * The VMX instructions, one inline function each, for the files of vmx/ alone. CF or ZF set means failure
 * (SDM 3C 31.2), which goes to the cold reporter and does not return.
 */
#ifndef RV_VMX_VMCS_H
#define RV_VMX_VMCS_H

#include "hv/base/types.h"
#include "vmx/fields.h"

/* For instructions that name no field. */
#define VMCS_NO_FIELD UINT32_MAX

/* Collects the VM-instruction error of the current VMCS, if there is one, and calls vmx_fail. */
_Noreturn void vmcs_report(const char *instruction, uint32_t field, uint64_t value) __attribute__((cold));

/* INVEPT and INVVPID types (SDM 3C 31.3). */
enum vmcs_invalidate { VMCS_SINGLE_CONTEXT = 1, VMCS_ALL_CONTEXTS = 2 };

#ifdef RV_HOST
/* Host tests: test/fake/ is the processor. */
uint64_t vmcs_read(enum vmx_field field);
void vmcs_write(enum vmx_field field, uint64_t value);
void vmcs_invept(enum vmcs_invalidate type, uint64_t eptp);
void vmcs_invvpid(enum vmcs_invalidate type, uint16_t vpid);
#else
static inline uint64_t vmcs_read(enum vmx_field field)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %2, %1" : "=@ccbe"(failed), "=r"(value) : "r"((uint64_t)field) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmcs_report("VMREAD", field, 0);
    }
    return value;
}

static inline void vmcs_write(enum vmx_field field, uint64_t value)
{
    bool failed;

    __asm__ volatile("vmwrite %1, %2" : "=@ccbe"(failed) : "r"(value), "r"((uint64_t)field) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmcs_report("VMWRITE", field, value);
    }
}

/* The three that take a physical address as a memory operand. */
#define VMCS_ADDRESS_INSTRUCTION(function, mnemonic, name)                                                   \
    static inline void function(hpa_t address)                                                               \
    {                                                                                                        \
        bool failed;                                                                                         \
                                                                                                             \
        __asm__ volatile(mnemonic " %1" : "=@ccbe"(failed) : "m"(address.raw) : "memory");                   \
        if (__builtin_expect(failed, 0)) {                                                                   \
            vmcs_report(name, VMCS_NO_FIELD, address.raw);                                                   \
        }                                                                                                    \
    }

VMCS_ADDRESS_INSTRUCTION(vmcs_vmxon, "vmxon", "VMXON")
VMCS_ADDRESS_INSTRUCTION(vmcs_vmclear, "vmclear", "VMCLEAR")
VMCS_ADDRESS_INSTRUCTION(vmcs_vmptrld, "vmptrld", "VMPTRLD")

#undef VMCS_ADDRESS_INSTRUCTION

static inline void vmcs_vmxoff(void)
{
    bool failed;

    __asm__ volatile("vmxoff" : "=@ccbe"(failed)::"memory");
    if (__builtin_expect(failed, 0)) {
        vmcs_report("VMXOFF", VMCS_NO_FIELD, 0);
    }
}

struct vmcs_descriptor {
    uint64_t low;  /* INVEPT: EPTP; INVVPID: VPID */
    uint64_t high; /* INVEPT: 0; INVVPID: linear address */
};

static inline void vmcs_invept(enum vmcs_invalidate type, uint64_t eptp)
{
    struct vmcs_descriptor descriptor = {eptp, 0};
    bool failed;

    __asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((uint64_t)type) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmcs_report("INVEPT", VMCS_NO_FIELD, eptp);
    }
}

static inline void vmcs_invvpid(enum vmcs_invalidate type, uint16_t vpid)
{
    struct vmcs_descriptor descriptor = {vpid, 0};
    bool failed;

    __asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((uint64_t)type) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmcs_report("INVVPID", VMCS_NO_FIELD, vpid);
    }
}
#endif /* RV_HOST */

/* Reads a field of at most 32 bits. */
static inline uint32_t vmcs_read32(enum vmx_field field)
{
    return (uint32_t)vmcs_read(field);
}

#endif
