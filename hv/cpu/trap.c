#include "hv/cpu/trap.h"

#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/percpu.h"

/* What CPU_FIXUP writes: a fault at `instruction` goes on at `target`. */
struct fixup {
    uint64_t instruction;
    uint64_t target;
};
_Static_assert(sizeof(struct fixup) == 16, "hv/cpu/cpu.h, CPU_FIXUP");

extern const struct fixup fixup_table_start[];
extern const struct fixup fixup_table_end[];

static bool fix_up(struct trap_frame *frame)
{
    for (const struct fixup *f = fixup_table_start; f < fixup_table_end; f++) {
        if (f->instruction == frame->rip) {
            frame->rip = f->target;
            return true;
        }
    }
    return false;
}

void trap_interrupt(uint8_t vector)
{
    struct percpu_public *pub = &this_cpu()->pub;

    switch (vector) {
    case VECTOR_KICK:
        pub->kicks++;
        break;
    case VECTOR_TIMER:
        pub->timer_interrupts++;
        break;
    case VECTOR_COUNTER:
        pub->counter_interrupts++;
        break;
    default:
        /* A spurious interrupt sets no bit in ISR, so it must not be ended (SDM 3A 11.9). */
        pub->spurious_interrupts++;
        return;
    }
    apic_eoi();
}

void trap_nmi(void)
{
    struct percpu *cpu = this_cpu();

    cpu->pub.nmis++;
    if (!__atomic_load_n(&cpu->pub.system->stopping, __ATOMIC_ACQUIRE)) {
        return;
    }
    __atomic_store_n(&cpu->pub.stopped, 1, __ATOMIC_RELEASE);
    for (;;) {
        cpu_cli();
        cpu_hlt();
    }
}

void trap_handle(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_NMI) {
        trap_nmi();
    } else if (frame->vector == VECTOR_KICK || frame->vector == VECTOR_TIMER ||
               frame->vector == VECTOR_COUNTER || frame->vector == VECTOR_SPURIOUS) {
        trap_interrupt((uint8_t)frame->vector);
    } else if (frame->vector != VECTOR_GP || !fix_up(frame)) {
        this_cpu()->pub.system->unexpected_trap(frame);
    }
}

const char *trap_name(uint64_t vector)
{
    static const char *const names[] = {
        [VECTOR_DE] = "#DE", [VECTOR_DB] = "#DB", [VECTOR_NMI] = "NMI", [VECTOR_BP] = "#BP",
        [VECTOR_OF] = "#OF", [VECTOR_BR] = "#BR", [VECTOR_UD] = "#UD",  [VECTOR_NM] = "#NM",
        [VECTOR_DF] = "#DF", [VECTOR_TS] = "#TS", [VECTOR_NP] = "#NP",  [VECTOR_SS] = "#SS",
        [VECTOR_GP] = "#GP", [VECTOR_PF] = "#PF", [VECTOR_MF] = "#MF",  [VECTOR_AC] = "#AC",
        [VECTOR_MC] = "#MC", [VECTOR_XM] = "#XM",
    };

    return vector < ARRAY_LEN(names) && names[vector] ? names[vector] : "interrupt";
}
