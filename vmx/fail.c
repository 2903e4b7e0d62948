/* What happens when a VMX instruction fails. */
#include "hv/base/check.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <stdio.h>

/* SDM 3C 31.4, by number. */
static const char *const error_texts[] = {
    [1] = "VMCALL executed in VMX root operation",
    [2] = "VMCLEAR with invalid physical address",
    [3] = "VMCLEAR with VMXON pointer",
    [4] = "VMLAUNCH with non-clear VMCS",
    [5] = "VMRESUME with non-launched VMCS",
    [6] = "VMRESUME after VMXOFF",
    [7] = "VM entry with invalid control fields",
    [8] = "VM entry with invalid host-state fields",
    [9] = "VMPTRLD with invalid physical address",
    [10] = "VMPTRLD with VMXON pointer",
    [11] = "VMPTRLD with incorrect VMCS revision identifier",
    [12] = "VMREAD or VMWRITE from or to unsupported VMCS component",
    [13] = "VMWRITE to read-only VMCS component",
    [15] = "VMXON executed in VMX root operation",
    [16] = "VM entry with invalid executive-VMCS pointer",
    [17] = "VM entry with non-launched executive VMCS",
    [18] = "VM entry with executive-VMCS pointer not VMXON pointer",
    [19] = "VMCALL with non-clear VMCS",
    [20] = "VMCALL with invalid VM-exit control fields",
    [22] = "VMCALL with incorrect MSEG revision identifier",
    [23] = "VMXOFF under dual-monitor treatment",
    [24] = "VMCALL with invalid SMM-monitor features",
    [25] = "VM entry with invalid VM-execution control fields in executive VMCS",
    [26] = "VM entry with events blocked by MOV SS",
    [28] = "invalid operand to INVEPT or INVVPID",
};

const char *vmx_instruction_error_text(uint32_t error)
{
    const char *text = error < ARRAY_LEN(error_texts) ? error_texts[error] : NULL;

    return text ? text : "unknown";
}

/* vmcs_read would come back here if there were no current VMCS. */
static uint32_t instruction_error(void)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %2, %1"
                     : "=@ccbe"(failed), "=r"(value)
                     : "r"((uint64_t)VMCS_INSTRUCTION_ERROR)
                     : "memory");
    return failed ? 0 : (uint32_t)value;
}

_Noreturn void vmcs_report(const char *instruction, uint32_t field, uint64_t value)
{
    struct vmx_failure failure = {
        .instruction = instruction, .field = field, .value = value, .error = instruction_error()};

    failure.field_name = field == VMCS_NO_FIELD ? "none" : vmx_field_name(field);
    failure.text = failure.error ? vmx_instruction_error_text(failure.error) : "no current VMCS";
    vmx_fail(&failure);
}

__attribute__((weak)) _Noreturn void vmx_fail(const struct vmx_failure *failure)
{
    char message[200];

    snprintf(message, sizeof(message), "%s failed: field %s (0x%x), value 0x%llx, error %u (%s)",
             failure->instruction, failure->field_name, (unsigned)failure->field,
             (unsigned long long)failure->value, (unsigned)failure->error, failure->text);
    hv_check_failed(message, __FILE__, __LINE__);
}
