#include "hv/cpu/descriptor.h"

#include "hv/cpu/cpu.h"
#include "hv/cpu/msr.h"
#include "hv/cpu/percpu.h"
#include "hv/cpu/trap.h"

#define DESCRIPTOR_CODE64 UINT64_C(0x00AF9B000000FFFF) /* present, DPL 0, L, accessed */
#define DESCRIPTOR_DATA   UINT64_C(0x00CF93000000FFFF) /* present, DPL 0, writable, accessed */
#define DESCRIPTOR_TSS    UINT64_C(0x0000890000000000) /* present, DPL 0, available 64-bit TSS */
#define GATE_INTERRUPT    0x8E                         /* present, DPL 0, interrupts masked */

void descriptors_build_idt(struct cpu_system *system)
{
    for (unsigned vector = 0; vector < IDT_ENTRIES; vector++) {
        uint64_t entry = (uint64_t)trap_stubs + vector * TRAP_STUB_SIZE;

        system->idt[vector] = (struct idt_gate){
            .offset_low = (uint16_t)entry,
            .offset_middle = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
            .selector = SELECTOR_CODE,
            .type = GATE_INTERRUPT,
        };
    }
    system->idt[VECTOR_DF].ist = IST_DOUBLE_FAULT;
    system->idt[VECTOR_NMI].ist = IST_NMI;
    system->idt[VECTOR_MC].ist = IST_MACHINE_CHECK;
}

static void build_gdt(struct percpu *cpu)
{
    uint64_t base = (uint64_t)&cpu->priv.tss;
    uint64_t *gdt = cpu->priv.gdt;

    gdt[0] = 0;
    gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE64;
    gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    gdt[SELECTOR_TSS / 8] =
        DESCRIPTOR_TSS | (sizeof(struct tss) - 1) | ((base & 0xFFFFFF) << 16) | (((base >> 24) & 0xFF) << 56);
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
}

void descriptors_load(struct percpu *cpu)
{
    struct table_register gdtr = {sizeof(cpu->priv.gdt) - 1, (uint64_t)cpu->priv.gdt};
    struct table_register idtr = {sizeof(cpu->pub.system->idt) - 1, (uint64_t)cpu->pub.system->idt};

    build_gdt(cpu);
    for (unsigned slot = 1; slot < IST_COUNT; slot++) {
        cpu->priv.tss.ist[slot - 1] = (uint64_t)(cpu->priv.ist_stacks[slot - 1] + CPU_IST_SIZE);
    }
    cpu->priv.tss.io_map_base = sizeof(struct tss);

    lgdt(&gdtr);
    segments_reload(SELECTOR_CODE, SELECTOR_DATA);
    ltr(SELECTOR_TSS);
    lidt(&idtr);
    /* After the segment loads, which clear the base. */
    wrmsr(IA32_GS_BASE, (uint64_t)cpu);
    wrmsr(IA32_FS_BASE, 0);
}
