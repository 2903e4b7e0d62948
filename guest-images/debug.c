/*
 * Debug exceptions. Each CPU has breakpoints on instructions, on data and on ports, first some and then all
 * four registers at once, steps through instructions that the machine has to emulate, and executes INT3 and
 * INT1. The handlers note what came, where and in which order. All CPUs count in one word meanwhile. `n` is
 * the number of rounds.
 */
#include "guest-images/lib/guest.h"

#define DEFAULT_N    60
#define VECTOR_DB    1
#define VECTOR_BP    3
#define VECTOR_UD    6
#define RFLAGS_RF    (UINT64_C(1) << 16)
#define CR4_DE       UINT64_C(8)
#define DEBUG_PORT   0x80 /* nothing that anyone minds */
#define DR6_CLEAR    UINT64_C(0xFFFF0FF0)
#define DR6_TRAPS    UINT64_C(0xF)
#define DR6_BD       UINT64_C(0x2000)
#define DR6_BS       UINT64_C(0x4000)
#define DR7_CLEAR    UINT64_C(0x400)
#define DR7_GD       UINT64_C(0x2000)
#define ASKED_DETECT 1u /* what the next #DB is to be */
#define ASKED_INT1   2u
#define WATCH_WORD   8 /* bytes from one watched word to the next */

/* What comes in each round. */
#define LOOPS       6u /* calls of debug_loop */
#define LOOP_ROUNDS 8u
#define CODE        (LOOP_ROUNDS * (1 + 2 + 4 + 1))
#define DATA        (LOOP_ROUNDS * (2 + 2 + 3) + 2)
#define PORTS       3u

/* SDM 3B 18.2.4. */
enum { ON_EXECUTE = 0, ON_WRITE = 1, ON_PORT = 2, ON_ACCESS = 3 };
enum { LENGTH_1 = 0, LENGTH_2 = 1, LENGTH_8 = 2, LENGTH_4 = 3 };

extern const char debug_code[], debug_at0[], debug_at1[], debug_at2[], debug_at3[];
/* `words`: what is watched; `shared`: the word in which all count. */
void debug_loop(uint64_t *words, uint64_t *shared);
void debug_string(void *to);
void debug_ports(void);
void debug_steps(void *to);
void debug_iret(void);
void debug_soft(void);

/* RIPs are noted as distances from debug_code. */
__asm__(".text\n"
        "debug_code:\n"
        "debug_loop:\n"
        "    movl $8, %ecx\n"
        "debug_at0:\n"
        "    addq $1, (%rdi)\n"
        "debug_at1:\n"
        "    movq 8(%rdi), %rax; movw %ax, 16(%rdi); movb %al, 27(%rdi)\n"
        "debug_at2:\n"
        "    lock incq (%rsi)\n"
        "    movl $20, %eax\n"
        "1:  decl %eax; jnz 1b\n"
        "debug_at3:\n"
        "    decl %ecx; jnz debug_at0; ret\n"
        "debug_string:\n"
        "    movl $24, %ecx; movl $7, %eax; cld; rep stosb; ret\n"
        "debug_ports:\n"
        "    movb $0, %al; outb %al, $0x80; inb $0x80, %al; movl $0x7F, %edx; outw %ax, %dx\n"
        "    outb %al, $0x81; ret\n"
        /* From the instruction behind POPF to the one behind the other POPF. */
        "debug_steps:\n"
        "    pushq %rbx; pushfq; orq $0x100, (%rsp); popfq\n"
        "    nop; xorl %eax, %eax; xorl %ecx, %ecx; cpuid; rdtsc; outb %al, $0x80; inb $0x80, %al\n"
        "    movl $0x80, %edx; movl $0xC0000082, %ecx; rdmsr; wrmsr; movq %cr3, %rax; movq %rax, %cr3\n"
        "    movl $3, %ecx; movb $1, %al; rep stosb; movq %dr3, %rax\n"
        "    pushfq; andq $~0x100, (%rsp); popfq\n"
        "    popq %rbx; ret\n"
        /* IRET sets TF, and clears it. */
        "debug_iret:\n"
        "    movq %rsp, %rdx; movl %ss, %eax; pushq %rax; pushq %rdx; pushfq; orq $0x100, (%rsp)\n"
        "    movl %cs, %eax; pushq %rax; leaq 1f(%rip), %rax; pushq %rax; iretq\n"
        "1:  nop; movq %rsp, %rdx; movl %ss, %eax; pushq %rax; pushq %rdx; pushfq; andq $~0x100, (%rsp)\n"
        "    movl %cs, %eax; pushq %rax; leaq 2f(%rip), %rax; pushq %rax; iretq\n"
        "2:  ret\n"
        "debug_soft:\n"
        "    int3; ret\n");

struct state {
    volatile uint64_t words[8];
    uint64_t filler[56]; /* the handler's own words are not near those that are watched */
    uint64_t code, data, ports, steps, soft, int1, detected, errors, hash, asked;
} __attribute__((aligned(PAGE_BYTES)));

static struct state states[GUEST_MAX_CPUS];
static uint64_t shared, rounds;

static void set_address(unsigned n, uint64_t address)
{
    switch (n) {
    case 0:
        __asm__ volatile("movq %0, %%dr0" : : "r"(address));
        break;
    case 1:
        __asm__ volatile("movq %0, %%dr1" : : "r"(address));
        break;
    case 2:
        __asm__ volatile("movq %0, %%dr2" : : "r"(address));
        break;
    default:
        __asm__ volatile("movq %0, %%dr3" : : "r"(address));
        break;
    }
}

static void set_dr7(uint64_t value)
{
    __asm__ volatile("movq %0, %%dr7" : : "r"(value) : "memory");
}

static void set_dr6(uint64_t value)
{
    __asm__ volatile("movq %0, %%dr6" : : "r"(value));
}

static uint64_t dr6(void)
{
    uint64_t value;

    __asm__ volatile("movq %%dr6, %0" : "=r"(value));
    return value;
}

static uint64_t dr7(void)
{
    uint64_t value;

    __asm__ volatile("movq %%dr7, %0" : "=r"(value));
    return value;
}

static unsigned kind_of(uint64_t control, unsigned n)
{
    return control >> (16 + 4 * n) & 3;
}

/* What matched of those that are enabled: others may be told, too. */
static uint64_t matches(uint64_t status, uint64_t control)
{
    uint64_t hits = 0;

    for (unsigned n = 0; n < 4; n++) {
        if (control >> 2 * n & 3)
            hits |= status & UINT64_C(1) << n;
    }
    return hits;
}

static void count(struct state *self, struct trap_frame *frame, uint64_t hits, uint64_t control)
{
    const uint64_t addresses[] = {(uintptr_t)debug_at0, (uintptr_t)debug_at1, (uintptr_t)debug_at2,
                                  (uintptr_t)debug_at3};

    for (unsigned n = 0; n < 4; n++) {
        if (!(hits >> n & 1))
            continue;
        if (kind_of(control, n) == ON_EXECUTE) {
            self->code++;
            self->errors += frame->rip != addresses[n] || (frame->rflags & RFLAGS_RF);
            frame->rflags |= RFLAGS_RF;
        } else if (kind_of(control, n) == ON_PORT) {
            self->ports++;
        } else {
            self->data++;
        }
    }
}

static void on_debug(struct trap_frame *frame)
{
    struct state *self = &states[cpu_id()];
    uint64_t control = dr7(), status, hits;

    if (self->asked == ASKED_DETECT) {
        self->errors += (control & DR7_GD) || !(dr6() & DR6_BD);
        self->detected++;
        self->asked = 0;
        set_dr6(DR6_CLEAR);
        return;
    }
    status = dr6();
    hits = matches(status, control);
    set_dr6(DR6_CLEAR);
    count(self, frame, hits, control);
    self->steps += (status & DR6_BS) != 0;
    if (self->asked == ASKED_INT1) {
        self->errors += hits || (status & DR6_BS) || (control & DR7_GD);
        self->int1++;
        self->asked = 0;
        return;
    }
    self->hash =
        hash_add(self->hash, (hits | (status & DR6_BS)) << 32 | (frame->rip - (uintptr_t)debug_code));
}

static void on_int3(struct trap_frame *frame)
{
    struct state *self = &states[cpu_id()];

    self->soft++;
    self->hash = hash_add(self->hash, frame->rip - (uintptr_t)debug_code);
}

static uint64_t setting(unsigned n, unsigned kind, unsigned length)
{
    return UINT64_C(1) << (2 * n + n % 2) | (uint64_t)(length << 2 | kind) << (16 + 4 * n);
}

static uint64_t watch(struct state *self, unsigned n, unsigned word, unsigned kind, unsigned length)
{
    set_address(n, (uintptr_t)self->words + word * WATCH_WORD);
    return setting(n, kind, length);
}

static uint64_t stop_at(unsigned n, const char *place)
{
    set_address(n, (uintptr_t)place);
    return setting(n, ON_EXECUTE, LENGTH_1);
}

static void run_loop(struct state *self, uint64_t control)
{
    set_dr7(DR7_CLEAR | control);
    debug_loop((uint64_t *)self->words, &shared);
    set_dr7(DR7_CLEAR);
}

static void run_breakpoints(struct state *self)
{
    run_loop(self, stop_at(0, debug_at0));
    run_loop(self, stop_at(0, debug_at0) | stop_at(2, debug_at2));
    run_loop(self, watch(self, 1, 0, ON_WRITE, LENGTH_8) | watch(self, 3, 1, ON_ACCESS, LENGTH_4));
    run_loop(self, watch(self, 0, 2, ON_WRITE, LENGTH_2) | watch(self, 2, 3, ON_ACCESS, LENGTH_4) |
                       watch(self, 1, 1, ON_WRITE, LENGTH_1));
    /* All four. */
    run_loop(self,
             stop_at(0, debug_at0) | stop_at(1, debug_at1) | stop_at(2, debug_at2) | stop_at(3, debug_at3));
    run_loop(self, watch(self, 0, 0, ON_WRITE, LENGTH_8) | watch(self, 1, 1, ON_ACCESS, LENGTH_8) |
                       stop_at(2, debug_at2) | watch(self, 3, 2, ON_WRITE, LENGTH_1));
    set_dr7(DR7_CLEAR | watch(self, 0, 5, ON_WRITE, LENGTH_2));
    debug_string((uint8_t *)self->words + 4 * WATCH_WORD - 4);
    set_dr7(DR7_CLEAR);
}

/* With CR4.DE, DR4 is not there; without, R/W = 2 means nothing. */
static void run_ports(struct state *self)
{
    uint64_t vector, cr4 = read_cr4();

    write_cr4(cr4 | CR4_DE);
    __asm__ volatile(NO_TRAP_IN_R11 "1: movq %%dr4, %%rax; 2: movq %%r11, %0;" TRAP_FIXUP(1b, 2b)
                     : "=r"(vector)
                     :
                     : "rax", "r11");
    self->errors += vector != VECTOR_UD;
    set_address(1, DEBUG_PORT);
    set_dr7(DR7_CLEAR | setting(1, ON_PORT, LENGTH_1));
    debug_ports();
    set_dr7(DR7_CLEAR);
    write_cr4(cr4);
}

/* General detect and INT1 are not in all emulators. INT1 sets no bit of DR6. */
static void run_rare(struct state *self)
{
    self->asked = ASKED_INT1;
    __asm__ volatile("1: .byte 0xF1; 2:;" TRAP_FIXUP(1b, 2b) : : : "r11", "memory");
    self->asked = ASKED_DETECT;
    set_dr7(DR7_CLEAR | DR7_GD);
    (void)dr7();
    self->asked = 0;
    set_dr7(DR7_CLEAR);
}

static void work(void *arg)
{
    struct state *self = &states[cpu_id()];

    (void)arg;
    self->hash = HASH_START;
    set_dr6(DR6_CLEAR);
    for (uint64_t i = 0; i < rounds; i++) {
        run_breakpoints(self);
        run_ports(self);
        debug_steps((void *)&self->words[6]);
        debug_iret();
        debug_soft();
        run_rare(self);
    }
}

int main(void)
{
    struct state sum = {.hash = HASH_START};
    bool detected = true, int1 = true;

    rounds = arg_number("n", DEFAULT_N);
    exception_set(VECTOR_DB, on_debug);
    exception_set(VECTOR_BP, on_int3);
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        sum.code += states[i].code;
        sum.data += states[i].data;
        sum.ports += states[i].ports;
        sum.steps += states[i].steps;
        sum.soft += states[i].soft;
        sum.errors += states[i].errors;
        sum.hash = hash_add(sum.hash, states[i].hash);
        detected = detected && states[i].detected == rounds;
        int1 = int1 && states[i].int1 == rounds;
    }
    sum.errors += shared != LOOPS * LOOP_ROUNDS * rounds * cpu_count();
    sum.errors += sum.code != CODE * rounds * cpu_count() || sum.data != DATA * rounds * cpu_count();
    sum.errors += sum.ports != PORTS * rounds * cpu_count() || sum.soft != rounds * cpu_count();
    say("result: debug cpus %u code %llu data %llu ports %llu steps %llu soft %llu errors %llu hash "
        "%016llx\n",
        cpu_count(), (ull)sum.code, (ull)sum.data, (ull)sum.ports, (ull)sum.steps, (ull)sum.soft,
        (ull)sum.errors, (ull)sum.hash);
    if (detected)
        say("result: debug general detect came\n");
    if (int1)
        say("result: debug INT1 came\n");
    return sum.errors != 0;
}
