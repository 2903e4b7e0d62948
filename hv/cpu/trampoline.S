/*
 * Runs on an application processor, copied to a page below 1 MiB: real mode (CS = page >> 4, IP = 0) to
 * 32-bit protected mode to 64-bit mode. It is one page that knows its own place by CS only; the far jumps'
 * targets and all data come from trampoline_params, which hv/cpu/trampoline.c fills in.
 */
#define CR0_PE          0x00000001
#define CR0_PG          0x80000000
#define CR0_WP_NE_MP    0x00010022
#define CR4_PAE         0x20
#define MSR_EFER        0xC0000080
#define EFER_LME_NXE    0x900
#define DATA32          0x10

/* Offsets in struct trampoline_params. */
#define P_GDTR          0
#define P_FAR32         8
#define P_FAR64         16
#define P_CR3           24
#define P_STACK         32
#define P_CPU           40
#define P_ENTRY         48
#define P_SIZE          56

#define OFFSET(symbol)  (symbol - trampoline_start)

    .section .rodata
    .globl trampoline_start, trampoline_end, trampoline_code32, trampoline_code64
    .globl trampoline_gdt, trampoline_params
    .balign 16
trampoline_start:
    .code16
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx                   /* the page's address, for the code below */
    lgdtl OFFSET(trampoline_params) + P_GDTR
    movl %cr0, %eax
    andl $0x9FFFFFFF, %eax          /* INIT leaves CD and NW set */
    orl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl *(OFFSET(trampoline_params) + P_FAR32)

    .code32
trampoline_code32:
    movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    leal OFFSET(trampoline_params)(%ebx), %ebx
    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl P_CR3(%ebx), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl %cr0, %eax
    orl $CR0_PG | CR0_WP_NE_MP, %eax
    movl %eax, %cr0
    ljmpl *P_FAR64(%ebx)

    .code64
trampoline_code64:
    movl %ebx, %ebx
    movq P_STACK(%rbx), %rsp
    movq P_CPU(%rbx), %rdi
    xorl %ebp, %ebp
    call *P_ENTRY(%rbx)
1:  cli
    hlt
    jmp 1b

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF        /* 32-bit code */
    .quad 0x00CF93000000FFFF        /* data */
    .quad 0x00AF9B000000FFFF        /* 64-bit code */
    .balign 8
trampoline_params:
    .skip P_SIZE
trampoline_end:

    .section .note.GNU-stack, "", @progbits
