#include "guest-images/lib/try.h"

#include <string.h>

#include "guest-images/lib/console.h"
#include "guest-images/lib/trap.h"

#define VECTOR_NMI 2
#define VECTOR_DF  8
#define RET        0xC3

/* Where a fault in them goes on. */
struct catcher {
    uint64_t rip, rsp;
    uint32_t vector;
};

static volatile struct catcher catcher;

static void caught(struct trap_frame *frame)
{
    uint64_t rip = catcher.rip;

    if (rip == 0)
        panic("vector %u at %#llx, which nobody tried", (unsigned)frame->vector,
              (unsigned long long)frame->rip);
    catcher.rip = 0;
    catcher.vector = (uint32_t)frame->vector;
    frame->rip = rip;
    frame->rsp = catcher.rsp;
    frame->rflags &= ~UINT64_C(0x40500); /* AC, DF and TF */
}

/* Calls the code, with interrupts off; the exception that came of it, or NO_FAULT. CPU 0 only. */
static uint32_t try_code(const void *code, struct registers *r)
{
    catcher.vector = NO_FAULT;
    __asm__ volatile("pushq %%rbp; pushq %%rbx\n\t"
                     "leaq 1f(%%rip), %%rbx; movq %%rbx, %[rip]; movq %%rsp, %[rsp]\n\t"
                     "call *%%rsi\n"
                     "1: cld; popq %%rbx; popq %%rbp"
                     : "+a"(r->rax), "+c"(r->rcx), "+d"(r->rdx), "+D"(r->rdi),
                       "+S"(code), [rip] "=m"(catcher.rip), [rsp] "=m"(catcher.rsp)
                     :
                     : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    catcher.rip = 0;
    return catcher.vector;
}

void catch_all(void)
{
    for (uint8_t vector = 0; vector < 32; vector++) {
        if (vector != VECTOR_NMI && vector != VECTOR_DF)
            exception_set(vector, caught);
    }
}

static uint64_t hash;

void note(uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x100000001B3);
}

uint32_t try_bytes(const uint8_t *bytes, size_t count, struct registers *r)
{
    static uint8_t code[32];
    uint32_t vector;

    memcpy(code, bytes, count);
    code[count] = RET;
    vector = try_code(code, r);
    note(vector);
    return vector;
}

uint64_t try_hash(void)
{
    return hash;
}
