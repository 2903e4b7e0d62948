/*
 * What no decent program does and no machine comes back from: each kind ends in an outcome of its own, a
 * triple fault, a refusal by name, a halt for good, or never, so that only a limit ends it. The word
 * `kind=NAME` says which; without it the kinds are listed.
 */
#include <string.h>

#include "guest-images/lib/guest.h"
#include "guest-images/lib/kind.h"
#include "guest-images/lib/probe.h"
#include "guest-images/lib/try.h"

#define BEYOND_MEMORY UINT64_C(0x30000000) /* mapped, but no memory: guests of this kind have less */
#define APIC_PAGE     UINT64_C(0xFEE00000)
#define VECTOR_UD     6
#define VECTOR_DF     8

static uint64_t counter;

/* ---- Triple faults ---- */

struct table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static void load_idt(uint16_t limit, uint64_t base)
{
    struct table t = {limit, base};

    __asm__ volatile("lidt %0" : : "m"(t));
}

static void load_gdt(uint16_t limit, uint64_t base)
{
    struct table t = {limit, base};

    __asm__ volatile("lgdt %0" : : "m"(t));
}

static int triple_idt(void)
{
    load_idt(0, 0);
    __asm__ volatile("int3");
    return 1;
}

static int triple_gdt(void)
{
    load_gdt(7, 0);
    __asm__ volatile("ud2");
    return 1;
}

static int triple_cr3(void)
{
    load_cr3((uintptr_t)empty_page());
    return 1;
}

static int triple_idt_away(void)
{
    load_idt(0xFFF, PROBED);
    __asm__ volatile("ud2");
    return 1;
}

/* The stack is gone: #PF, #DF; the double fault has a stack of its own. */
static void end_well(struct trap_frame *frame)
{
    (void)frame;
    guest_exit(0);
}

static int double_fault(void)
{
    exception_set(VECTOR_DF, end_well);
    __asm__ volatile("movq %0, %%rsp; pushq %%rax" : : "r"(PROBED));
    return 1;
}

/* ---- Tables where there is no memory ---- */

static int idt_beyond(void)
{
    load_idt(0xFFF, BEYOND_MEMORY);
    __asm__ volatile("ud2");
    return 1;
}

static int idt_apic(void)
{
    load_idt(0xFFF, APIC_PAGE);
    __asm__ volatile("ud2");
    return 1;
}

static int gdt_beyond(void)
{
    load_gdt(0xFFFF, BEYOND_MEMORY);
    __asm__ volatile("movl %0, %%es" : : "r"(SEL_DATA));
    return 1;
}

static int stack_beyond(void)
{
    __asm__ volatile("movq %0, %%rsp; ud2" : : "r"(BEYOND_MEMORY + 4096));
    return 1;
}

static int stack_apic(void)
{
    __asm__ volatile("movq %0, %%rsp; pushq %%rax" : : "r"(APIC_PAGE + 0x110));
    return 1;
}

/* ---- Jumps into nothing ---- */

static void jump(uint64_t address)
{
    __asm__ volatile("jmp *%0" : : "r"(address));
}

static int jump_beyond(void)
{
    jump(BEYOND_MEMORY);
    return 1;
}

static int jump_apic(void)
{
    jump(APIC_PAGE + 0x20);
    return 1;
}

/* ---- Device memory ---- */

/* Instructions that device memory is not accessed with. */
static int mmio_sse(void)
{
    __asm__ volatile("movups (%0), %%xmm0" : : "r"(BEYOND_MEMORY) : "xmm0");
    return 1;
}

static int mmio_rep(void)
{
    uint64_t to = APIC_PAGE, count = 1024;

    __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    return 1;
}

static int mmio_cmpxchg(void)
{
    __asm__ volatile("lock cmpxchgl %%ecx, (%0)" : : "r"(APIC_PAGE + 0x80), "a"(0), "c"(0) : "memory", "cc");
    return 1;
}

/* ---- Page tables ---- */

static int table_beyond(void)
{
    probe_table((unsigned)arg_number("n", 3), BEYOND_MEMORY | PTE_PRESENT | PTE_WRITE);
    return *(volatile int *)PROBED;
}

static int table_apic(void)
{
    probe_table((unsigned)arg_number("n", 2), APIC_PAGE | PTE_PRESENT | PTE_WRITE);
    return *(volatile int *)PROBED;
}

static int cr3_beyond(void)
{
    load_cr3(BEYOND_MEMORY);
    return 1;
}

/* ---- Without end ---- */

static int cli_loop(void)
{
    __asm__ volatile("cli; 1: jmp 1b");
    return 1;
}

static int pause_loop(void)
{
    __asm__ volatile("cli; 1: pause; jmp 1b");
    return 1;
}

static int count_loop(void)
{
    __asm__ volatile("cli; 1: incq %0; jmp 1b" : "+m"(counter));
    return 1;
}

static int cli_halt(void)
{
    __asm__ volatile("cli; 1: hlt; jmp 1b");
    return 1;
}

/* Each place is in the shadow of a MOV SS, or a jump's. */
static int shadow_loop(void)
{
    __asm__ volatile("cli; movl %%ss, %%eax; 1: movl %%eax, %%ss; jmp 1b" : : : "eax");
    return 1;
}

/* The only instruction is an IRET to itself, and each sets RF. */
static int iret_loop(void)
{
    static uint64_t frame[5];

    __asm__ volatile("cli; leaq 1f(%%rip), %%rax; movq %%rax, (%0); movq %%cs, %%rax; movq %%rax, 8(%0)\n\t"
                     "pushfq; popq %%rax; orl $0x10000, %%eax; movq %%rax, 16(%0)\n\t"
                     "movq %0, 24(%0); movq %%ss, %%rax; movq %%rax, 32(%0); movq %0, %%rsp\n"
                     "1: iretq"
                     :
                     : "r"(frame)
                     : "rax", "memory");
    return 1;
}

/* A fault whose handler changes nothing. */
static void again(struct trap_frame *frame)
{
    (void)frame;
}

static int fault_loop(void)
{
    exception_set(VECTOR_UD, again);
    __asm__ volatile("ud2");
    return 1;
}

/* ---- */

static const struct kind kinds[] = {
    {"triple-idt", triple_idt},
    {"triple-gdt", triple_gdt},
    {"triple-cr3", triple_cr3},
    {"triple-away", triple_idt_away},
    {"double-fault", double_fault},
    {"idt-beyond", idt_beyond},
    {"idt-apic", idt_apic},
    {"gdt-beyond", gdt_beyond},
    {"stack-beyond", stack_beyond},
    {"stack-apic", stack_apic},
    {"jump-beyond", jump_beyond},
    {"jump-apic", jump_apic},
    {"mmio-sse", mmio_sse},
    {"mmio-rep", mmio_rep},
    {"mmio-cmpxchg", mmio_cmpxchg},
    {"table-beyond", table_beyond},
    {"table-apic", table_apic},
    {"cr3-beyond", cr3_beyond},
    {"cli", cli_loop},
    {"pause", pause_loop},
    {"count", count_loop},
    {"halt", cli_halt},
    {"shadow", shadow_loop},
    {"iret", iret_loop},
    {"fault", fault_loop},
};

int main(void)
{
    return run_kind(kinds, sizeof(kinds) / sizeof(kinds[0]));
}
