#include "guest-images/lib/trap.h"

#include <stddef.h>
#include <string.h>

#include "guest-images/lib/apic.h"
#include "guest-images/lib/console.h"
#include "guest-images/lib/smp.h"
#include "guest-images/lib/x86.h"

#define VECTOR_COUNT     256
#define FIRST_INTERRUPT  32
#define STUB_SIZE        16
#define VECTOR_NMI       2
#define VECTOR_DF        8
#define GATE_INTERRUPT   0x8E00u /* present, DPL 0, 64-bit interrupt gate; SDM 3A 6.14.1 */
#define IST_EMERGENCY    1
#define EMERGENCY_STACK  4096
#define TSS_TYPE_PRESENT 0x89u

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t flags; /* IST in bits 2:0, type and present above */
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 3A 6.14.1");

/* The 64-bit TSS, SDM 3A 7.7; the 64-bit fields lie at odd multiples of four. */
struct tss {
    uint32_t reserved0;
    uint32_t rsp[6];
    uint32_t reserved1[2];
    uint32_t ist[14]; /* IST1 to IST7, low half first */
    uint32_t reserved2[2];
    uint16_t reserved3;
    uint16_t io_map;
};
_Static_assert(sizeof(struct tss) == 104, "SDM 3A 7.7");

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

extern char vector_stubs[];
extern const uint64_t fixups_begin[][2], fixups_end[][2];
extern uint64_t gdt[];
extern char gdt_pointer[];
void trap_dispatch(struct trap_frame *frame);

static struct gate idt[VECTOR_COUNT];
static struct tss tss[GUEST_MAX_CPUS];
static char emergency_stack[GUEST_MAX_CPUS][EMERGENCY_STACK] __attribute__((aligned(16)));
static interrupt_fn handlers[VECTOR_COUNT];
static exception_fn exceptions[FIRST_INTERRUPT];

void trap_init(void)
{
    for (unsigned v = 0; v < VECTOR_COUNT; v++) {
        uintptr_t stub = (uintptr_t)vector_stubs + v * STUB_SIZE;
        bool emergency = v == VECTOR_NMI || v == VECTOR_DF;

        idt[v] = (struct gate){.offset_low = (uint16_t)stub,
                               .selector = SEL_CODE64,
                               .flags = (uint16_t)(GATE_INTERRUPT | (emergency ? IST_EMERGENCY : 0)),
                               .offset_middle = (uint16_t)(stub >> 16),
                               .offset_high = (uint32_t)(stub >> 32)};
    }
}

static void fill_tss(unsigned cpu)
{
    uint64_t base = (uintptr_t)&tss[cpu];
    uint64_t top = (uintptr_t)(emergency_stack[cpu] + EMERGENCY_STACK);
    uint64_t *descriptor = &gdt[SEL_TSS / 8 + 2 * cpu];

    tss[cpu].ist[0] = (uint32_t)top;
    tss[cpu].ist[1] = (uint32_t)(top >> 32);
    tss[cpu].io_map = sizeof(struct tss);
    descriptor[0] = (sizeof(struct tss) - 1) | (base & 0xFFFFFF) << 16 | (uint64_t)TSS_TYPE_PRESENT << 40 |
                    (base >> 24 & 0xFF) << 56;
    descriptor[1] = base >> 32;
}

void trap_init_cpu(unsigned cpu)
{
    struct table_pointer pointer = {sizeof(idt) - 1, (uintptr_t)idt};

    fill_tss(cpu);
    __asm__ volatile("lgdt (%0)" : : "r"(gdt_pointer) : "memory");
    __asm__ volatile("lidt %0" : : "m"(pointer));
    __asm__ volatile("ltr %w0" : : "r"(SEL_TSS + 16 * cpu));
}

void interrupt_set(uint8_t vector, interrupt_fn fn)
{
    if (vector < FIRST_INTERRUPT || vector == VECTOR_SPURIOUS)
        panic("vector %#x is not for interrupts", vector);
    handlers[vector] = fn;
}

void exception_set(uint8_t vector, exception_fn fn)
{
    if (vector >= FIRST_INTERRUPT)
        panic("vector %#x is not for exceptions", vector);
    exceptions[vector] = fn;
}

static _Noreturn void report(const struct trap_frame *f)
{
    panic("cpu %u vector %u error %#llx rip %#llx rsp %#llx rflags %#llx cr2 %#llx rax %#llx rcx %#llx rdi "
          "%#llx",
          cpu_id(), (unsigned)f->vector, (unsigned long long)f->error, (unsigned long long)f->rip,
          (unsigned long long)f->rsp, (unsigned long long)f->rflags, (unsigned long long)read_cr2(),
          (unsigned long long)f->rax, (unsigned long long)f->rcx, (unsigned long long)f->rdi);
}

bool trap_fix_up(struct trap_frame *frame)
{
    for (const uint64_t(*fixup)[2] = fixups_begin; fixup < fixups_end; fixup++) {
        if (frame->rip == (*fixup)[0]) {
            frame->rip = (*fixup)[1];
            frame->r11 = frame->vector;
            return true;
        }
    }
    return false;
}

/* vectors.S puts it below the frame, at a multiple of 16. */
void *trap_fxsave(struct trap_frame *frame)
{
    return (void *)(((uintptr_t)frame - FXSAVE_SIZE) & ~(uintptr_t)15);
}

/* Called by the stubs. A spurious interrupt takes no EOI (SDM 3A 10.9), nor does an exception. */
void trap_dispatch(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_SPURIOUS)
        return;
    if (frame->vector < FIRST_INTERRUPT) {
        if (exceptions[frame->vector] != NULL)
            exceptions[frame->vector](frame);
        else if (!trap_fix_up(frame))
            report(frame);
        return;
    }
    if (handlers[frame->vector] == NULL)
        report(frame);
    handlers[frame->vector]();
    apic_eoi();
}
