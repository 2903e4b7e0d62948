/*
 * Constants that the assembler files, the linker script and the C files share: plain macros only.
 */
#ifndef RV_GUEST_LAYOUT_H
#define RV_GUEST_LAYOUT_H

/* Selectors of the one GDT; each CPU's TSS takes two entries from SEL_TSS on. */
#define SEL_CODE32 0x08
#define SEL_DATA   0x10
#define SEL_CODE64 0x18
#define SEL_TSS    0x20

#define GUEST_MAX_CPUS   16
#define GUEST_STACK_SIZE 32768

/* Where the real-mode start code of the application processors goes; the SIPI vector is its page number. */
#define TRAMPOLINE_ADDRESS 0x8000

#define MB2_HEADER_MAGIC 0xE85250D6 /* Multiboot2 3.1.1 */
#define MB2_BOOT_MAGIC   0x36D76289 /* Multiboot2 3.3: EAX at the entry */

#define CR0_PE 0x00000001
#define CR0_MP 0x00000002
#define CR0_ET 0x00000010
#define CR0_NE 0x00000020
#define CR0_WP 0x00010000
#define CR0_PG 0x80000000

#define CR4_PAE        0x00000020
#define CR4_OSFXSR     0x00000200
#define CR4_OSXMMEXCPT 0x00000400
#define CR4_OSXSAVE    0x00040000

#define MSR_EFER 0xC0000080
#define EFER_LME 0x00000100
#define EFER_NXE 0x00000800

/* Paging-structure entries, SDM 3A 4.5. */
#define PTE_PRESENT    0x001
#define PTE_WRITE      0x002
#define PTE_WRITE_THRU 0x008
#define PTE_NO_CACHE   0x010
#define PTE_ACCESSED   0x020
#define PTE_DIRTY      0x040
#define PTE_LARGE      0x080

#define FXSAVE_SIZE 512

#endif
