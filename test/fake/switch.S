/*
 * void fake_switch(void **save, void *load): leaves this stack, whose pointer goes to *save, for another. What
 * the ABI wants kept is on the stacks.
 */
        .text
        .globl  fake_switch
        .type   fake_switch, @function
fake_switch:
        push    %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret
        .size   fake_switch, . - fake_switch
        .section .note.GNU-stack, "", @progbits
