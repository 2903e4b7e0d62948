#include "hv/panic.h"

#include <stdarg.h>
#include <stdio.h>

#include "hv/base/check.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/machine.h"
#include "hv/state.h"

#define STOP_WAIT_US 10000
#define STACK_WORDS  16
#define LINE_SIZE    160

/* Adds one line to the text; what does not fit is left out. */
__attribute__((format(printf, 1, 2))) static void print(const char *format, ...)
{
    struct panic *p = &hv_state.panic;
    size_t room = sizeof(p->text) - p->used;
    va_list arguments;
    int wanted;

    va_start(arguments, format);
    wanted = vsnprintf(p->text + p->used, room, format, arguments);
    va_end(arguments);
    if (wanted > 0) {
        p->used += MIN((size_t)wanted, room - 1);
    }
}

static void print_registers(const struct trap_frame *f)
{
    print("rip=%016lx rsp=%016lx rflags=%08lx cs=%lx ss=%lx\n", f->rip, f->rsp, f->rflags, f->cs, f->ss);
    print("rax=%016lx rbx=%016lx rcx=%016lx rdx=%016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi=%016lx rdi=%016lx rbp=%016lx r8 =%016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
    print("r9 =%016lx r10=%016lx r11=%016lx r12=%016lx\n", f->r9, f->r10, f->r11, f->r12);
    print("r13=%016lx r14=%016lx r15=%016lx\n", f->r13, f->r14, f->r15);
}

extern const char image_end[];
extern const char image_rodata_end[];

/* The stack that a stack pointer points into: the CPU's own, one of its IST stacks, or the boot stack. */
static bool find_stack(const struct percpu *cpu, uint64_t *rsp, uint64_t *end)
{
    uint64_t ist = (uint64_t)cpu->priv.ist_stacks, guard = (uint64_t)cpu->priv.guard;
    uint64_t stack = (uint64_t)cpu->priv.stack;

    if (*rsp >= guard && *rsp < stack) {
        print("stack overflow\n");
        *rsp = stack;
    }
    if (*rsp >= ist && *rsp < guard) {
        *end = ist + sizeof(cpu->priv.ist_stacks);
    } else if (*rsp >= stack && *rsp < stack + CPU_STACK_SIZE) {
        *end = stack + CPU_STACK_SIZE;
    } else if (*rsp >= (uint64_t)image_rodata_end && *rsp < (uint64_t)image_end &&
               paging_get(&hv_state.paging, *rsp)) {
        *end = (uint64_t)image_end;
    } else {
        return false;
    }
    return *rsp % sizeof(uint64_t) == 0;
}

static void print_stack(const struct percpu *cpu, uint64_t rsp)
{
    uint64_t end;

    if (!find_stack(cpu, &rsp, &end)) {
        print("the stack pointer is outside of all stacks\n");
        return;
    }
    for (unsigned i = 0; i < STACK_WORDS && rsp + 8 <= end; i++, rsp += 8) {
        print("%s%016lx", i == 0 ? "stack " : i % 4 == 0 ? "\nstack " : " ", *(const uint64_t *)rsp);
    }
    print("\n");
}

static void stop_others(struct percpu *cpu)
{
    struct cpu_system *system = cpu->pub.system;

    __atomic_store_n(&system->stopping, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < system->count; i++) {
        if (i != cpu->pub.index && system->cpus[i].pub.online) {
            apic_send_nmi(i);
        }
    }
    cpu_delay_us(system, STOP_WAIT_US);
    for (uint32_t i = 0; i < system->count; i++) {
        if (i != cpu->pub.index && system->cpus[i].pub.online && !system->cpus[i].pub.stopped) {
            print("cpu %u did not stop\n", i);
        }
    }
}

static _Noreturn void halt(void)
{
    for (;;) {
        cpu_cli();
        cpu_hlt();
    }
}

/* True once per machine; the others wait for the NMI. A second time on one CPU means: trapped while
 * panicking. */
static void enter(struct percpu *cpu)
{
    cpu_cli();
    if (cpu->priv.panicking) {
        halt();
    }
    cpu->priv.panicking = 1;
    if (__atomic_exchange_n(&hv_state.panic.taken, 1, __ATOMIC_ACQ_REL)) {
        /* An NMI cannot come while one is handled, so say it here. */
        __atomic_store_n(&cpu->pub.stopped, 1, __ATOMIC_RELEASE);
        halt();
    }
}

static _Noreturn void finish(struct percpu *cpu, const struct trap_frame *frame)
{
    struct panic *p = &hv_state.panic;

    if (frame) {
        print_registers(frame);
    }
    print("cr0=%lx cr2=%lx cr3=%lx cr4=%lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
    print_stack(cpu, frame ? frame->rsp : (uint64_t)__builtin_frame_address(0));
    print("retrovisor: end status=%s\n", machine_status_name(MACHINE_PANIC));
    if (!p->drain || !p->drain_prints) {
        msg_plain_sink(NULL, p->text, p->used);
    }
    if (p->drain) {
        p->drain(p->context, p->text, p->used);
    }
    machine_stop(MACHINE_PANIC);
}

/* Before the boot processor has its block: no GS, no traps, no other CPUs. */
static _Noreturn void panic_early(const char *reason)
{
    print("retrovisor: panic at start-up: %s\nretrovisor: end status=%s\n", reason,
          machine_status_name(MACHINE_PANIC));
    msg_plain_sink(NULL, hv_state.panic.text, hv_state.panic.used);
    machine_stop(MACHINE_PANIC);
}

_Noreturn void panic(const struct trap_frame *frame, const char *format, ...)
{
    struct percpu *cpu;
    char reason[LINE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (!hv_state.cpus.cpus || !hv_state.cpus.cpus[0].pub.online) {
        panic_early(reason);
    }
    cpu = this_cpu();
    enter(cpu);
    print("retrovisor: panic: cpu %u (apic id %u): %s\n", cpu->pub.index, cpu->pub.apic_id, reason);
    stop_others(cpu);
    finish(cpu, frame);
}

void panic_unexpected_trap(const struct trap_frame *frame)
{
    panic(frame, "unexpected %s (vector %lu), error code %lx", trap_name(frame->vector), frame->vector,
          frame->error);
}

void panic_set_drain(panic_drain_fn *drain, void *context, bool drain_prints)
{
    hv_state.panic.drain = drain;
    hv_state.panic.context = context;
    hv_state.panic.drain_prints = drain_prints;
}

_Noreturn void hv_check_failed(const char *expression, const char *file, int line)
{
    panic(NULL, "check failed: %s (%s:%d)", expression, file, line);
}
