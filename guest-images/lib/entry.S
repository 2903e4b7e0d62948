/*
 * Start of a guest: the multiboot2 header, the way from 32-bit protected mode into long mode (for the
 * first CPU and for those that the trampoline brings), page tables and GDT.
 */
#include "guest-images/lib/layout.h"

    .section .multiboot, "a"
    .balign 8
header:
    .long MB2_HEADER_MAGIC
    .long 0 /* architecture: i386, protected mode */
    .long header_end - header
    .long -(MB2_HEADER_MAGIC + (header_end - header))
    .short 0 /* the end tag */
    .short 0
    .long 8
header_end:

    .section .text.entry, "ax"
    .code32
    .globl guest_entry
guest_entry:
    cli
    cld
    cmpl $MB2_BOOT_MAGIC, %eax
    jne not_multiboot2
    movl %ebx, boot_information
    xorl %edi, %edi
    lgdt gdt_pointer
    ljmp $SEL_CODE32, $enter_long_mode
not_multiboot2:
    hlt
    jmp not_multiboot2

    /* An application processor arrives here from the trampoline, in flat 32-bit protected mode. */
    .globl ap_entry
ap_entry:
    movl $1, %edi

    /* EDI: 0 on the first CPU, 1 on the others. CR0 is set as a whole: INIT leaves CD and NW set. */
enter_long_mode:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    movl %eax, %cr4
    movl $page_map, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl $(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
    movl %eax, %cr0
    ljmp $SEL_CODE64, $in_long_mode

    .code64
in_long_mode:
    fninit
    xorl %ebp, %ebp
    testl %edi, %edi
    jnz 1f
    leaq boot_stack_top(%rip), %rsp
    movl boot_information(%rip), %edi
    call start_first_cpu
    ud2
1:  /* One application processor starts at a time: its stack and its number wait in ap_start. */
    movq ap_start(%rip), %rsp
    movq ap_start + 8(%rip), %rdi
    call start_other_cpu
    ud2

    /* Copied to TRAMPOLINE_ADDRESS; SIPI enters it in real mode with CS = TRAMPOLINE_ADDRESS >> 4. */
    .section .rodata.trampoline, "a"
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline
    movl %cr0, %eax
    orl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $ap_entry
    .balign 4
trampoline_gdt_pointer:
    .short gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .data
    .balign 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF /* SEL_CODE32: flat, 4 GiB */
    .quad 0x00CF93000000FFFF /* SEL_DATA */
    .quad 0x00AF9B000000FFFF /* SEL_CODE64 */
    .fill GUEST_MAX_CPUS * 2, 8, 0
gdt_end:
    .balign 4
    .globl gdt_pointer
gdt_pointer:
    .short gdt_end - gdt - 1
    .long gdt
    .long 0 /* upper half of the base, for a load in 64-bit mode */
boot_information:
    .long 0

    /* Identity map: the first GiB by 2 MiB pages, and the APIC area 0xFEC00000-0xFEFFFFFF uncached. */
    .balign 4096
page_map:
    .quad page_pointers + PTE_PRESENT + PTE_WRITE
    .fill 511, 8, 0
page_pointers:
    .quad page_low + PTE_PRESENT + PTE_WRITE
    .quad 0
    .quad 0
    .quad page_apic + PTE_PRESENT + PTE_WRITE
    .fill 508, 8, 0
page_low:
    .set address, 0
    .rept 512
    .quad address + PTE_PRESENT + PTE_WRITE + PTE_LARGE
    .set address, address + 0x200000
    .endr
page_apic:
    .fill 502, 8, 0
    .quad 0xFEC00000 + PTE_PRESENT + PTE_WRITE + PTE_WRITE_THRU + PTE_NO_CACHE + PTE_LARGE
    .quad 0xFEE00000 + PTE_PRESENT + PTE_WRITE + PTE_WRITE_THRU + PTE_NO_CACHE + PTE_LARGE
    .fill 8, 8, 0

    .bss
    .balign 4096
    .fill GUEST_STACK_SIZE, 1, 0
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
