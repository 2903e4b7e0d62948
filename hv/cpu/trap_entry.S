/*
 * Entry stubs of all 256 vectors. Each pushes what the CPU did not (an error code of 0), its vector, and
 * the general registers: struct trap_frame. Only general registers are used by the handlers, so SIMD
 * state, which may be a guest's, stays as it is.
 */
#define STUB_SIZE 16
#define FRAME_SKIP 16   /* vector and error code */

    .text
    .globl trap_stubs
    .balign STUB_SIZE
trap_stubs:
    .set vector, 0
    .rept 256
    .balign STUB_SIZE
    /* SDM 3A table 6-1: these push an error code themselves. */
    .if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && vector != 14 && vector != 17 && vector != 21
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

    .balign STUB_SIZE
trap_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx                 /* kept by the callee */
    andq $-16, %rsp
    call trap_handle
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $FRAME_SKIP, %rsp
    iretq

/* void segments_reload(uint16_t code, uint16_t data) */
    .globl segments_reload
segments_reload:
    movl %esi, %ds
    movl %esi, %es
    movl %esi, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    popq %rax
    movzwl %di, %edi
    pushq %rdi
    pushq %rax
    lretq

    .section .note.GNU-stack, "", @progbits
