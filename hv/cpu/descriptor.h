/* Segment descriptors, the TSS and interrupt gates of 64-bit mode (SDM 3A 3.4.5, 6.14, 7.2.3, 7.7). */
#ifndef RV_HV_CPU_DESCRIPTOR_H
#define RV_HV_CPU_DESCRIPTOR_H

#include "hv/base/types.h"

struct percpu;
struct cpu_system;

/* Selectors of the hypervisor; CPL 0 only. A TSS descriptor takes two entries. */
#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18
#define GDT_ENTRIES   5
#define IDT_ENTRIES   256

/* SDM 3A figure 7-11. */
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "SDM 3A 7.7");

/* SDM 3A figure 6-8. */
struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "SDM 3A 6.14.1");

/* Fills the table that all CPUs share. Once, before descriptors_load. */
void descriptors_build_idt(struct cpu_system *system);

/* Gives the running CPU its own GDT and TSS, the shared IDT, and its per-CPU block in GS. */
void descriptors_load(struct percpu *cpu);

#endif
