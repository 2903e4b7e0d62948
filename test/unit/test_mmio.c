/*
 * Memory-mapped accesses: the arithmetic against the host processor's own, and each kind of instruction
 * against the APIC page and against addresses where nothing is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* In whole, for its arithmetic. */
#include "hv/mmio.c"

#include "drivers/vdev/lapic.h"
#include "test/fake/machine.h"

#define TPR     (GUEST_APIC + 0x80)
#define NOWHERE 0xd0000010u

static struct fake_bench *bench;
static struct vcpu *vcpu;
static struct fake_guest guest = {.only = "work", .calls = 1, .rounds = 1, .vcpus = 1};

static int begin(void **state)
{
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);

    (void)state;
    bench = fake_bench_new(&config);
    vcpu = fake_bench_vm(bench)->vcpus[0];
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_bench_delete(bench);
    return 0;
}

/* ---- Arithmetic ---- */

#define HOST_OP(name, type, insn)                                                                            \
    static uint64_t name(uint64_t *a, uint64_t b)                                                            \
    {                                                                                                        \
        type x = (type)*a;                                                                                   \
        uint64_t flags;                                                                                      \
                                                                                                             \
        __asm__(insn " %2, %0\n\tpushfq\n\tpopq %1" : "+r"(x), "=r"(flags) : "r"((type)b) : "cc", "memory"); \
        *a = x;                                                                                              \
        return flags;                                                                                        \
    }
#define HOST_OPS(op, insn)                                                                                   \
    HOST_OP(host_##op##1, uint8_t, insn)                                                                     \
    HOST_OP(host_##op##2, uint16_t, insn)                                                                    \
    HOST_OP(host_##op##4, uint32_t, insn)                                                                    \
    HOST_OP(host_##op##8, uint64_t, insn)
HOST_OPS(add, "add")
HOST_OPS(sub, "sub")
HOST_OPS(and, "and")
HOST_OPS(or, "or")
HOST_OPS(xor, "xor")

typedef uint64_t host_op(uint64_t *a, uint64_t b);
#define ROW(op)                                                                                              \
    {                                                                                                        \
        host_##op##1, host_##op##2, host_##op##4, host_##op##8                                               \
    }

static const struct {
    enum insn_op op;
    host_op *host[4];
} operations[] = {{INSN_OP_ADD, ROW(add)}, {INSN_OP_SUB, ROW(sub)},  {INSN_OP_CMP, ROW(sub)},
                  {INSN_OP_AND, ROW(and)}, {INSN_OP_TEST, ROW(and)}, {INSN_OP_OR, ROW(or)},
                  {INSN_OP_XOR, ROW(xor)}};

/* AF is undefined after logic operations. */
static uint64_t defined(enum insn_op op)
{
    bool sums = op == INSN_OP_ADD || op == INSN_OP_SUB || op == INSN_OP_CMP;

    return sums ? ARITHMETIC_FLAGS : ARITHMETIC_FLAGS & ~RFLAGS_AF;
}

static uint64_t operand(uint64_t *random, unsigned bytes)
{
    static const uint64_t corners[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000};
    uint64_t value = fake_random(random);

    if (value % 4 == 0)
        value = corners[fake_random(random) % ARRAY_LEN(corners)];
    else if (value % 4 == 1)
        value = UINT64_MAX - corners[fake_random(random) % ARRAY_LEN(corners)];
    return value & mask_of(bytes);
}

static void arithmetic_as_the_host(void **state)
{
    uint64_t random = 99;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned which = (unsigned)(fake_random(&random) % ARRAY_LEN(operations)),
                 log = (unsigned)(fake_random(&random) % 4);
        unsigned bytes = 1u << log;
        uint64_t a = operand(&random, bytes), b = operand(&random, bytes), result = a;
        struct arithmetic r = compute(operations[which].op, a, b, bytes);
        uint64_t flags = operations[which].host[log](&result, b);

        assert_int_equal(r.value, result);
        assert_int_equal(r.flags & defined(operations[which].op), flags & defined(operations[which].op));
    }
}

/* ---- Instructions ---- */

/* Has the vCPU execute these bytes, which access `address`. */
static enum exit_step run_bytes(uint64_t address, const uint8_t *bytes, size_t count)
{
    struct vmx_exit exit = {.reason = VMX_EXIT_EPT_VIOLATION,
                            .ept = {.gpa = gpa(address), .gla = gva(address), .gla_valid = true}};

    memcpy(fake_bench_memory(bench, GUEST_MAIN), bytes, count);
    vmx_set_rip(&vcpu->vmx, GUEST_MAIN);
    vmx_set_rflags(&vcpu->vmx, RFLAGS_ONE | RFLAGS_RF);
    return mmio_access(vcpu, &exit);
}

#define RUN(address, ...)                                                                                    \
    run_bytes(address, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint64_t *reg(enum vmx_gpr gpr)
{
    return &vcpu->vmx.gpr[gpr];
}

static void loads(void **state)
{
    (void)state;
    vcpu->state->lapic.tpr = 0x95;
    *reg(GPR_RAX) = UINT64_C(0x1111111122222222);
    assert_int_equal(RUN(TPR, 0x8b, 0x03), EXIT_RESUME); /* mov (%ebx), %eax */
    assert_int_equal(*reg(GPR_RAX), 0x95);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN + 2);
    assert_int_equal(vmx_get_rflags(&vcpu->vmx) & RFLAGS_RF, 0);

    *reg(GPR_RAX) = UINT64_C(0x1111111122222222);
    RUN(NOWHERE, 0x8a, 0x23); /* mov (%ebx), %ah */
    assert_int_equal(*reg(GPR_RAX), UINT64_C(0x111111112222ff22));
    RUN(NOWHERE, 0x66, 0x8b, 0x03); /* mov (%ebx), %ax */
    assert_int_equal(*reg(GPR_RAX), UINT64_C(0x111111112222ffff));
    RUN(NOWHERE, 0x0f, 0xb6, 0x03); /* movzx byte, %eax */
    assert_int_equal(*reg(GPR_RAX), 0xff);
    RUN(NOWHERE, 0x0f, 0xbe, 0x03); /* movsx byte, %eax */
    assert_int_equal(*reg(GPR_RAX), 0xffffffff);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN + 3);
    RUN(NOWHERE, 0x66, 0x0f, 0xb6, 0x03); /* movzx byte, %ax */
    assert_int_equal(*reg(GPR_RAX), 0xffff00ff);
}

static void stores(void **state)
{
    (void)state;
    *reg(GPR_RCX) = 0x33;
    assert_int_equal(RUN(TPR, 0x89, 0x0b), EXIT_RESUME); /* mov %ecx, (%ebx) */
    assert_int_equal(vcpu->state->lapic.tpr, 0x33);
    RUN(TPR, 0xc7, 0x03, 0x44, 0, 0, 0); /* movl $0x44, (%ebx) */
    assert_int_equal(vcpu->state->lapic.tpr, 0x44);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN + 6);
    RUN(TPR, 0x88, 0x0b); /* a byte: no register access */
    assert_int_equal(vcpu->state->lapic.tpr, 0x44);
    assert_int_equal(RUN(NOWHERE, 0x89, 0x0b), EXIT_RESUME);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN + 2);
}

static void read_modify_write(void **state)
{
    (void)state;
    vcpu->state->lapic.tpr = 0x41;
    *reg(GPR_RCX) = 0xffffffc0;
    RUN(TPR, 0xf0, 0x01, 0x0b); /* lock add %ecx, (%ebx) */
    assert_int_equal(vcpu->state->lapic.tpr, 1);
    assert_int_equal(vmx_get_rflags(&vcpu->vmx) & ARITHMETIC_FLAGS, RFLAGS_CF);
    RUN(TPR, 0x87, 0x0b); /* xchg */
    assert_int_equal(*reg(GPR_RCX), 1);
    assert_int_equal(vcpu->state->lapic.tpr, 0xc0);
    RUN(TPR, 0x3b, 0x0b); /* cmp (%ebx), %ecx */
    assert_int_equal(vmx_get_rflags(&vcpu->vmx) & RFLAGS_CF, RFLAGS_CF);
    RUN(TPR, 0x39, 0x0b); /* cmp %ecx, (%ebx) */
    assert_int_equal(vmx_get_rflags(&vcpu->vmx) & RFLAGS_CF, 0);
    RUN(TPR, 0x0b, 0x0b); /* or (%ebx), %ecx */
    assert_int_equal(*reg(GPR_RCX), 0xc1);
    assert_int_equal(vcpu->state->lapic.tpr, 0xc0);
}

/* A store that others see ends the chunk; what the instruction does to registers waits with it. */
static void acts(void **state)
{
    (void)state;
    *reg(GPR_RCX) = 0xc4041;
    assert_int_equal(RUN(GUEST_APIC + 0x300, 0x89, 0x0b), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_APIC);
    assert_int_equal(vcpu->act.kind, ACT_APIC_WRITE);
    assert_int_equal(vcpu->act.reg, VLAPIC_ICR);
    assert_int_equal(vcpu->act.value, 0xc4041);
    assert_int_equal(vcpu->completion.length, 2);
    assert_int_equal(vcpu->completion.gpr_mask, 0);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN); /* not yet */

    vcpu->state->lapic.icr = 0xc4000;
    assert_int_equal(RUN(GUEST_APIC + 0x300, 0x87, 0x0b), EXIT_ENDED); /* xchg */
    assert_int_equal(vcpu->completion.gpr, GPR_RCX);
    assert_int_equal(vcpu->completion.gpr_mask, UINT64_MAX);
    assert_int_equal(vcpu->completion.gpr_value, 0xc4000);
    assert_int_equal(*reg(GPR_RCX), 0xc4041);

    *reg(GPR_RCX) = 0x41;
    assert_int_equal(RUN(GUEST_APIC + 0x300, 0x09, 0x0b), EXIT_ENDED); /* or */
    assert_int_equal(vcpu->act.value, 0xc4041);
    assert_int_equal(vcpu->completion.flags_mask, ARITHMETIC_FLAGS);
    assert_int_equal(vcpu->completion.flags_value, RFLAGS_PF);
    assert_int_equal(vcpu->completion.gpr_mask, 0);
}

static void unknown_instructions_are_refused(void **state)
{
    (void)state;
    assert_int_equal(RUN(TPR, 0xf3, 0xab), EXIT_ENDED); /* rep stos */
    assert_int_equal(vcpu->end, REC_END_REFUSED);
    assert_int_equal(vcpu->act.kind, ACT_END);
    assert_non_null(strstr(vcpu->act.reason, "f3 ab"));
    assert_int_equal(vmx_get_rip(&vcpu->vmx), GUEST_MAIN);
}

/* The timer's count is a read of guest time, the rest is not. */
static void time_is_counted(void **state)
{
    (void)state;
    RUN(TPR, 0x8b, 0x03);
    assert_false(vcpu->time_used);
    RUN(GUEST_APIC + 0x380, 0xc7, 0x03, 0x10, 0x27, 0, 0);
    assert_true(vcpu->time_used);
    assert_int_equal(vcpu->time_reads, 1);
    RUN(GUEST_APIC + 0x390, 0x8b, 0x03);
    assert_int_equal(vcpu->time_reads, 2);
    assert_int_equal(vcpu->state->time_reads, 2);
}

/* ---- The I/O APIC, and the window of the PCI functions ---- */

static void ioapic_accesses_are_acts(void **state)
{
    (void)state;
    vcpu->vmx.gpr[GPR_RCX] = 0x1234567800000010;
    assert_int_equal(RUN(VPLAT_IOAPIC + 0x10, 0x89, 0x08), EXIT_ENDED); /* mov %ecx, (%rax) */
    assert_int_equal(vcpu->end, REC_END_MMIO);
    assert_int_equal(vcpu->act.kind, ACT_MMIO_WRITE);
    assert_int_equal(vcpu->act.reg, VPLAT_IOAPIC + 0x10);
    assert_int_equal(vcpu->act.value, 0x10);
    assert_int_equal(vcpu->completion.length, 2);
    assert_int_equal(vcpu->completion.gpr_mask, 0);
    assert_true(vcpu->time_used);
    assert_int_equal(RUN(VPLAT_IOAPIC, 0x8b, 0x10), EXIT_ENDED); /* mov (%rax), %edx */
    assert_int_equal(vcpu->act.kind, ACT_MMIO_READ);
    assert_int_equal(vcpu->act.reg, VPLAT_IOAPIC);
    assert_int_equal(vcpu->completion.gpr, GPR_RDX);
    assert_int_equal(vcpu->completion.gpr_mask, UINT64_MAX); /* the upper half becomes 0 */
}

static void ioapic_other_sizes_reach_nothing(void **state)
{
    (void)state;
    vcpu->vmx.gpr[GPR_RDX] = 0;
    assert_int_equal(RUN(VPLAT_IOAPIC, 0x8a, 0x10), EXIT_RESUME); /* mov (%rax), %dl */
    assert_int_equal(vcpu->vmx.gpr[GPR_RDX], 0xff);
    assert_int_equal(RUN(VPLAT_IOAPIC, 0x66, 0x89, 0x08), EXIT_RESUME); /* mov %cx, (%rax) */
}

static void window_accesses_are_acts(void **state)
{
    (void)state;
    vcpu->vmx.gpr[GPR_RCX] = 0x123456789ABCDEF0;
    assert_int_equal(RUN(VPLAT_PCI_MEMORY + 0x1014, 0x88, 0x08), EXIT_ENDED); /* mov %cl, (%rax) */
    assert_int_equal(vcpu->end, REC_END_MMIO);
    assert_int_equal(vcpu->act.kind, ACT_MMIO_WRITE);
    assert_int_equal(vcpu->act.reg, VPLAT_PCI_MEMORY + 0x1014);
    assert_int_equal(vcpu->act.size, 1);
    assert_int_equal(vcpu->act.value, 0xF0);
    assert_false(vcpu->time_used);
    assert_int_equal(RUN(VPLAT_PCI_MEMORY, 0x66, 0x8b, 0x10), EXIT_ENDED); /* mov (%rax), %dx */
    assert_int_equal(vcpu->act.kind, ACT_MMIO_READ);
    assert_int_equal(vcpu->act.size, 2);
    assert_int_equal(vcpu->completion.gpr, GPR_RDX);
    assert_int_equal(vcpu->completion.gpr_mask, 0xFFFF);
    assert_int_equal(RUN(VPLAT_PCI_MEMORY, 0x0f, 0xb6, 0x10), EXIT_ENDED); /* movzbl (%rax), %edx */
    assert_int_equal(vcpu->act.size, 1);
    assert_int_equal(vcpu->completion.gpr_mask, UINT64_MAX);
    /* Behind the window there is nothing. */
    assert_int_equal(RUN(VPLAT_PCI_MEMORY - 8, 0x8b, 0x10), EXIT_RESUME);
}

static void device_memory_refuses_what_reads_and_writes(void **state)
{
    (void)state;
    assert_int_equal(RUN(VPLAT_IOAPIC + 0x10, 0x09, 0x08), EXIT_ENDED); /* or %ecx, (%rax) */
    assert_int_equal(vcpu->end, REC_END_REFUSED);
    assert_non_null(strstr(vcpu->act.reason, "device memory at 0xfec00010"));
    assert_int_equal(RUN(VPLAT_PCI_MEMORY, 0x0f, 0xbe, 0x10), EXIT_ENDED); /* movsbl (%rax), %edx */
    assert_int_equal(vcpu->end, REC_END_REFUSED);
    assert_int_equal(RUN(VPLAT_PCI_MEMORY, 0x8a, 0x30), EXIT_ENDED); /* mov (%rax), %dh */
    assert_int_equal(vcpu->end, REC_END_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_as_the_host),
        cmocka_unit_test_setup_teardown(loads, begin, end),
        cmocka_unit_test_setup_teardown(stores, begin, end),
        cmocka_unit_test_setup_teardown(read_modify_write, begin, end),
        cmocka_unit_test_setup_teardown(acts, begin, end),
        cmocka_unit_test_setup_teardown(unknown_instructions_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(time_is_counted, begin, end),
        cmocka_unit_test_setup_teardown(ioapic_accesses_are_acts, begin, end),
        cmocka_unit_test_setup_teardown(ioapic_other_sizes_reach_nothing, begin, end),
        cmocka_unit_test_setup_teardown(window_accesses_are_acts, begin, end),
        cmocka_unit_test_setup_teardown(device_memory_refuses_what_reads_and_writes, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
