/*
 * The multiboot2 header, and the way from GRUB's 32-bit protected mode into hv_main in 64-bit mode.
 *
 * GRUB enters with EAX = magic, EBX = boot information, paging off, interrupts masked (Multiboot2
 * specification 3.3). The first page tables map 4 GiB to itself with 2 MiB pages, all rights; hv_main
 * replaces them once it knows the memory map.
 */
#define MB2_MAGIC         0xE85250D6
#define MB2_ARCH_I386     0
#define MB2_TAG_END       0
#define MB2_TAG_REQUEST   1
#define MB2_TAG_ALIGN     6
#define MB2_OPTIONAL      1

#define CR0_PE_MP_NE_WP   0x00010023
#define CR0_PG            0x80000000
#define CR4_PAE           0x20
#define MSR_EFER          0xC0000080
#define EFER_LME_NXE      0x900
#define PTE_P_W           0x3
#define PTE_P_W_PS        0x83
#define BOOT_STACK_SIZE   65536
#define PAGE              4096

    .section .multiboot2, "a"
    .balign 8
header:
    .long MB2_MAGIC, MB2_ARCH_I386, header_end - header
    .long -(MB2_MAGIC + MB2_ARCH_I386 + (header_end - header))
    .balign 8
1:  .short MB2_TAG_REQUEST, MB2_OPTIONAL
    .long 2f - 1b
    .long 1, 3, 6, 14, 15
2:  .balign 8
    .short MB2_TAG_ALIGN, 0
    .long 8
    .balign 8
    .short MB2_TAG_END, 0
    .long 8
header_end:

    .code32
    .text
    .globl boot_entry
boot_entry:
    cli
    cld
    movl %eax, %edi                 /* first and second argument of hv_main */
    movl %ebx, %esi

    movl $boot_pdpt + PTE_P_W, boot_pml4
    movl $boot_pds + PTE_P_W, %eax
    xorl %ecx, %ecx
1:  movl %eax, boot_pdpt(, %ecx, 8)
    addl $PAGE, %eax
    incl %ecx
    cmpl $4, %ecx
    jb 1b

    movl $PTE_P_W_PS, %eax
    xorl %ecx, %ecx
1:  movl %eax, boot_pds(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $4 * 512, %ecx
    jb 1b

    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PG | CR0_PE_MP_NE_WP, %eax
    movl %eax, %cr0
    lgdt boot_gdtr
    ljmp $8, $boot_entry64

    .code64
boot_entry64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    leaq boot_stack_top(%rip), %rsp
    xorl %ebp, %ebp
    movl %edi, %edi                 /* upper halves are undefined after the mode switch */
    movl %esi, %esi
    call hv_main
1:  cli
    hlt
    jmp 1b

    .section .rodata
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        /* 64-bit code */
    .quad 0x00CF93000000FFFF        /* data */
boot_gdt_end:
boot_gdtr:
    .short boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .bss
    .balign PAGE
boot_pml4:
    .skip PAGE
boot_pdpt:
    .skip PAGE
boot_pds:
    .skip 4 * PAGE
    .globl boot_stack_guard
boot_stack_guard:                   /* becomes unmapped: a stack overflow is a #DF */
    .skip PAGE
    .skip BOOT_STACK_SIZE
boot_stack_top:
