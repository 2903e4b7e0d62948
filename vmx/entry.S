/*
 * Entering the guest and coming back. General registers only: FPU and SIMD registers are the guest's at all
 * times.
 */
#include "vmx/entry.h"

        .text

/*
 * uint64_t vmx_run(struct vmx_vcpu *vcpu)
 *
 * 0 after an exit, 1 if the VM-entry instruction failed. The stack at an exit: vcpu, then the callee-saved
 * registers, then the return address.
 */
        .globl  vmx_run
        .type   vmx_run, @function
vmx_run:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi

        /* The stack is nearly always as deep as the last time: a compare is cheaper than a VMWRITE. */
        cmpq    %rsp, VCPU_HOST_RSP(%rdi)
        je      1f
        movl    $VMCS_HOST_RSP_ENCODING, %eax
        vmwrite %rsp, %rax
        jbe     3f
        movq    %rsp, VCPU_HOST_RSP(%rdi)
1:
        cmpq    $0, VCPU_LAUNCHED(%rdi)         /* the flags survive the loads below */
        movq    VCPU_GPR(0)(%rdi), %rax
        movq    VCPU_GPR(1)(%rdi), %rcx
        movq    VCPU_GPR(2)(%rdi), %rdx
        movq    VCPU_GPR(3)(%rdi), %rbx
        movq    VCPU_GPR(5)(%rdi), %rbp
        movq    VCPU_GPR(6)(%rdi), %rsi
        movq    VCPU_GPR(8)(%rdi), %r8
        movq    VCPU_GPR(9)(%rdi), %r9
        movq    VCPU_GPR(10)(%rdi), %r10
        movq    VCPU_GPR(11)(%rdi), %r11
        movq    VCPU_GPR(12)(%rdi), %r12
        movq    VCPU_GPR(13)(%rdi), %r13
        movq    VCPU_GPR(14)(%rdi), %r14
        movq    VCPU_GPR(15)(%rdi), %r15
        movq    VCPU_GPR(7)(%rdi), %rdi
        je      2f
        vmresume
        jmp     3f
2:
        vmlaunch
3:
        movl    $1, %eax
        addq    $8, %rsp
        jmp     4f

        /* HOST_RIP. RSP is what it was at the entry. */
        .globl  vmx_exit_stub
        .type   vmx_exit_stub, @function
vmx_exit_stub:
        pushq   %rdi
        movq    8(%rsp), %rdi
        movq    %rax, VCPU_GPR(0)(%rdi)
        movq    %rcx, VCPU_GPR(1)(%rdi)
        movq    %rdx, VCPU_GPR(2)(%rdi)
        movq    %rbx, VCPU_GPR(3)(%rdi)
        movq    %rbp, VCPU_GPR(5)(%rdi)
        movq    %rsi, VCPU_GPR(6)(%rdi)
        movq    %r8, VCPU_GPR(8)(%rdi)
        movq    %r9, VCPU_GPR(9)(%rdi)
        movq    %r10, VCPU_GPR(10)(%rdi)
        movq    %r11, VCPU_GPR(11)(%rdi)
        movq    %r12, VCPU_GPR(12)(%rdi)
        movq    %r13, VCPU_GPR(13)(%rdi)
        movq    %r14, VCPU_GPR(14)(%rdi)
        movq    %r15, VCPU_GPR(15)(%rdi)
        popq    VCPU_GPR(7)(%rdi)
        addq    $8, %rsp
        xorl    %eax, %eax
4:
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   vmx_run, . - vmx_run

        .section .note.GNU-stack, "", @progbits
