#include "hv/cpu/trampoline.h"

#include <string.h>

#include "hv/base/check.h"

/* What the code in trampoline.S reads, at the symbol trampoline_params; offsets are repeated there. */
struct trampoline_params {
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint16_t reserved;
    uint32_t far32_offset;
    uint16_t far32_selector;
    uint16_t reserved1;
    uint32_t far64_offset;
    uint16_t far64_selector;
    uint16_t reserved2;
    uint32_t cr3;
    uint32_t reserved3;
    uint64_t stack;
    uint64_t cpu;
    uint64_t entry;
} __attribute__((packed));
_Static_assert(sizeof(struct trampoline_params) == 56, "hv/cpu/trampoline.S");

extern const char trampoline_start[];
extern const char trampoline_end[];
extern const char trampoline_code32[];
extern const char trampoline_code64[];
extern const char trampoline_gdt[];
extern const char trampoline_params[];

#define TRAMPOLINE_CODE32   0x08
#define TRAMPOLINE_CODE64   0x18
#define TRAMPOLINE_GDT_SIZE 32
#define LOW_MEMORY_END      (1u << 20)

static uint32_t relocated(uint64_t low_page, const char *symbol)
{
    return (uint32_t)(low_page + (uint64_t)(symbol - trampoline_start));
}

void trampoline_install(uint64_t low_page, uint64_t cr3, void *stack_top, struct percpu *cpu,
                        void (*entry)(struct percpu *cpu))
{
    struct trampoline_params params = {
        .gdt_limit = TRAMPOLINE_GDT_SIZE - 1,
        .gdt_base = relocated(low_page, trampoline_gdt),
        .far32_offset = relocated(low_page, trampoline_code32),
        .far32_selector = TRAMPOLINE_CODE32,
        .far64_offset = relocated(low_page, trampoline_code64),
        .far64_selector = TRAMPOLINE_CODE64,
        .cr3 = (uint32_t)cr3,
        .stack = (uint64_t)stack_top,
        .cpu = (uint64_t)cpu,
        .entry = (uint64_t)entry,
    };

    HV_CHECK(low_page % PAGE_SIZE == 0 && low_page != 0 && low_page < LOW_MEMORY_END);
    HV_CHECK(cr3 <= UINT32_MAX);
    HV_CHECK(trampoline_end - trampoline_start <= (ptrdiff_t)PAGE_SIZE);
    memcpy((void *)low_page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    memcpy((void *)(uint64_t)relocated(low_page, trampoline_params), &params, sizeof(params));
}
