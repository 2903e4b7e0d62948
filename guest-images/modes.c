/*
 * A tour through the processor's modes: compatibility mode, protected mode without paging, with 32-bit paging
 * and 4 MiB pages, with PAE paging, 16-bit protected mode, real mode with INT n, and back to 64-bit mode.
 * Something is computed in each, by instructions that 64-bit mode does not have, and checked. All CPUs go at
 * once, interrupts off. `n` is the number of tours of each.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N     2000
#define LOW_BASE      0x10000u /* below 1 MiB, beyond the trampoline: a page for each CPU */
#define LOW_VARIABLES 0x800    /* offsets in that page */
#define LOW_VECTORS   0xA00
#define REAL_VECTOR   0x21
#define INT_COUNT     16
#define LARGE_PAGES   1024
#define PAE_PAGES     512
#define PAE_ENTRIES   4

/* What the code below knows by its offsets. */
struct tour {
    uint64_t rsp, cr3;
    uint8_t gdtr[16], idtr[16], own_gdtr[16];
    uint32_t input, compat, flat, large_pages, pae;
    uint32_t large_directory, pae_pointers, unused;
    uint64_t gdt[6]; /* null, SEL_CODE32, SEL_DATA, SEL_CODE64, and 16-bit code (20H) and data (28H) */
} __attribute__((aligned(PAGE_BYTES)));
_Static_assert(offsetof(struct tour, own_gdtr) == 48 && offsetof(struct tour, input) == 64 &&
                   offsetof(struct tour, large_directory) == 84 && offsetof(struct tour, gdt) == 96,
               "tour_start and what follows");

/* At LOW_VARIABLES. */
struct low_variables {
    uint16_t input, protected16, real, unused;
    uint16_t entry_offset, entry_segment;
    uint16_t vectors_limit;
    uint32_t vectors_base;
} __attribute__((packed));

extern const char tour_low[], tour_low_end[], tour_real[], tour_interrupt[];
void tour_start(struct tour *tour);

/* RDI, then EBX: struct tour. Only EBX, ESP and memory are carried from mode to mode. FS and GS stay
 * untouched. */
__asm__(".text\n"
        "tour_start:\n"
        "    pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15; pushfq\n"
        "    movq %rdi, %rbx; movq %rsp, (%rbx); movq %cr3, %rax; movq %rax, 8(%rbx)\n"
        "    sgdt 16(%rbx); sidt 32(%rbx); lgdt 48(%rbx)\n"
        "    pushq $0x08; pushq $tour_compat; lretq\n"
        ".code32\n"
        "tour_compat:\n"
        "    movl $0x10, %eax; movl %eax, %ds; movl %eax, %es; movl %eax, %ss\n"
        "    movl 64(%ebx), %eax; call tour_compute; movl %eax, 68(%ebx)\n"
        /* No paging: that leaves long mode, too. */
        "    movl %cr0, %eax; andl $0x7FFFFFFF, %eax; movl %eax, %cr0\n"
        "    movl $0xC0000080, %ecx; rdmsr; andl $~0x100, %eax; wrmsr\n"
        "    movl 68(%ebx), %eax; call tour_compute; movl %eax, 72(%ebx)\n"
        /* 32-bit paging: CR4.PSE without PAE. */
        "    movl %cr4, %eax; andl $~0x20, %eax; orl $0x10, %eax; movl %eax, %cr4\n"
        "    movl 84(%ebx), %eax; movl %eax, %cr3\n"
        "    movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0\n"
        "    movl 72(%ebx), %eax; call tour_compute; movl %eax, 76(%ebx)\n"
        "    movl %cr0, %eax; andl $0x7FFFFFFF, %eax; movl %eax, %cr0\n"
        /* PAE paging. */
        "    movl %cr4, %eax; andl $~0x10, %eax; orl $0x20, %eax; movl %eax, %cr4\n"
        "    movl 88(%ebx), %eax; movl %eax, %cr3\n"
        "    movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0\n"
        "    movl 76(%ebx), %eax; call tour_compute; movl %eax, 80(%ebx)\n"
        "    movl %cr0, %eax; andl $0x7FFFFFFF, %eax; movl %eax, %cr0\n"
        "    ljmp $0x20, $0\n"
        /* Back: long mode is entered from here. */
        "tour_back:\n"
        "    movl $0x10, %eax; movl %eax, %ds; movl %eax, %es; movl %eax, %ss\n"
        "    movl (%ebx), %esp; movl 8(%ebx), %eax; movl %eax, %cr3\n"
        "    movl $0xC0000080, %ecx; rdmsr; orl $0x100, %eax; wrmsr\n"
        "    movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0\n"
        "    ljmp $0x18, $tour_end\n"
        /* EAX := 16 times (EAX * 1664525 + 1013904223, AAM, INC, ROL 7). AAM and this INC exist in 32-bit
           code only. */
        "tour_compute:\n"
        "    movl $16, %ecx\n"
        "1:  imull $1664525, %eax, %eax; addl $1013904223, %eax\n"
        "    aam; .byte 0x40; roll $7, %eax\n"
        "    pushal; xorl %eax, %eax; popal\n"
        "    loop 1b; ret\n"
        ".code64\n"
        "tour_end:\n"
        "    movl %ebx, %ebx; movq (%rbx), %rsp; lgdt 16(%rbx); lidt 32(%rbx)\n"
        "    popfq; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret\n"
        /* Copied to the CPU's low page; offsets count from its begin. */
        ".section .rodata\n"
        ".code16\n"
        "tour_low:\n"
        "    movw $0x28, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss; movw $0xFF0, %sp\n"
        "    movw 0x800, %ax; call tour_compute16; movw %ax, 0x802\n"
        "    movl %cr0, %eax; andl $0xFFFFFFFE, %eax; movl %eax, %cr0\n"
        "    ljmpw *0x808\n"
        "tour_real:\n"
        "    movw %cs, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss; movw $0xFF0, %sp\n"
        "    lidtl 0x80C; movw 0x802, %ax; movw $16, %dx\n"
        "1:  call tour_compute16; int $0x21; decw %dx; jnz 1b\n"
        "    movw %ax, 0x804\n"
        "    movl %cr0, %eax; orl $1, %eax; movl %eax, %cr0\n"
        "    ljmpl $0x08, $tour_back\n"
        "tour_compute16:\n"
        "    movw $16, %cx\n"
        "1:  imulw $25173, %ax, %ax; addw $13849, %ax; aam; incw %ax; rolw $3, %ax\n"
        "    loop 1b; ret\n"
        "tour_interrupt:\n"
        "    xorw $0x5A5A, %ax; pushf; popw %cx; andw $0x200, %cx; addw %cx, %ax; iretw\n"
        "tour_low_end:\n"
        ".code64\n"
        ".text\n");

static struct tour tours[GUEST_MAX_CPUS];
static uint32_t large_directory[LARGE_PAGES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t pae_directory[PAE_PAGES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t pae_pointers[PAE_ENTRIES] __attribute__((aligned(32)));
static uint64_t hashes[GUEST_MAX_CPUS], errors[GUEST_MAX_CPUS];
static uint64_t rounds, seed;

/* What tour_compute and tour_compute16 do. */
static uint32_t expect32(uint32_t x)
{
    for (unsigned i = 0; i < 16; i++) {
        x = x * 1664525 + 1013904223;
        x = (x & 0xFFFF0000) | (x & 0xFF) / 10 << 8 | (x & 0xFF) % 10;
        x++;
        x = x << 7 | x >> 25;
    }
    return x;
}

static uint16_t expect16(uint16_t x)
{
    for (unsigned i = 0; i < 16; i++) {
        x = (uint16_t)(x * 25173u + 13849u);
        x = (uint16_t)((x & 0xFF) / 10 << 8 | (x & 0xFF) % 10);
        x++;
        x = (uint16_t)(x << 3 | x >> 13);
    }
    return x;
}

/* INT clears IF, so the handler adds nothing for it. */
static uint16_t expect_real(uint16_t x)
{
    for (unsigned i = 0; i < INT_COUNT; i++)
        x = expect16(x) ^ 0x5A5A;
    return x;
}

static uint8_t *low_page(unsigned cpu)
{
    return (uint8_t *)(uintptr_t)(LOW_BASE + cpu * PAGE_BYTES);
}

static uint64_t segment16(uint64_t base, uint64_t type)
{
    return 0xFFFF | (base & 0xFFFFFF) << 16 | type << 40 | base >> 24 << 56;
}

/* Everything that stays the same from tour to tour. */
static void prepare(unsigned cpu)
{
    struct tour *tour = &tours[cpu];
    uint8_t *low = low_page(cpu);
    uint32_t base = LOW_BASE + cpu * PAGE_BYTES;
    struct low_variables variables = {.entry_offset = (uint16_t)(tour_real - tour_low),
                                      .entry_segment = (uint16_t)(base >> 4),
                                      .vectors_limit = 4 * (REAL_VECTOR + 1) - 1,
                                      .vectors_base = base + LOW_VECTORS};
    uint16_t vector[2] = {(uint16_t)(tour_interrupt - tour_low), (uint16_t)(base >> 4)};
    uint16_t limit = sizeof(tour->gdt) - 1;
    uint64_t gdt = (uintptr_t)tour->gdt;

    memcpy(low, tour_low, (size_t)(tour_low_end - tour_low));
    memcpy(low + LOW_VARIABLES, &variables, sizeof(variables));
    memcpy(low + LOW_VECTORS + 4 * REAL_VECTOR, vector, sizeof(vector));
    tour->gdt[1] = 0x00CF9B000000FFFF;
    tour->gdt[2] = 0x00CF93000000FFFF;
    tour->gdt[3] = 0x00AF9B000000FFFF;
    tour->gdt[4] = segment16(base, 0x9B);
    tour->gdt[5] = segment16(base, 0x93);
    memcpy(tour->own_gdtr, &limit, sizeof(limit));
    memcpy(tour->own_gdtr + sizeof(limit), &gdt, sizeof(gdt));
    tour->large_directory = (uint32_t)(uintptr_t)large_directory;
    tour->pae_pointers = (uint32_t)(uintptr_t)pae_pointers;
}

/* Identity maps in the two formats that long mode does not use. */
static void make_tables(void)
{
    for (unsigned i = 0; i < LARGE_PAGES; i++)
        large_directory[i] = i << 22 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
    for (unsigned i = 0; i < PAE_PAGES; i++)
        pae_directory[i] = (uint64_t)i << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
    pae_pointers[0] = (uintptr_t)pae_directory | PTE_PRESENT;
}

static void check(unsigned cpu)
{
    const struct tour *tour = &tours[cpu];
    struct low_variables low;

    memcpy(&low, low_page(cpu) + LOW_VARIABLES, sizeof(low));
    errors[cpu] += tour->compat != expect32(tour->input);
    errors[cpu] += tour->flat != expect32(tour->compat);
    errors[cpu] += tour->large_pages != expect32(tour->flat);
    errors[cpu] += tour->pae != expect32(tour->large_pages);
    errors[cpu] += low.protected16 != expect16(low.input);
    errors[cpu] += low.real != expect_real(low.protected16);
    hashes[cpu] = hash_add(hash_add(hashes[cpu], tour->pae), low.real);
}

static void work(void *arg)
{
    unsigned cpu = cpu_id();
    uint64_t random = random_seed(seed, cpu);
    uint16_t input;

    (void)arg;
    hashes[cpu] = HASH_START;
    prepare(cpu);
    for (uint64_t i = 0; i < rounds; i++) {
        tours[cpu].input = (uint32_t)random_next(&random);
        input = (uint16_t)random_next(&random);
        memcpy(low_page(cpu) + LOW_VARIABLES, &input, sizeof(input));
        tour_start(&tours[cpu]);
        check(cpu);
    }
}

int main(void)
{
    uint64_t hash = HASH_START, wrong = 0;

    rounds = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    make_tables();
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        hash = hash_add(hash, hashes[i]);
        wrong += errors[i];
    }
    say("result: modes cpus %u tours %llu wrong %llu hash %016llx\n", cpu_count(), (ull)rounds * cpu_count(),
        (ull)wrong, (ull)hash);
    return wrong != 0;
}
