/* VM exits for MSRs and control registers: what is kept, and which are faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/exit_rig.h"

/* ---- MSRs ---- */

static enum exit_step rdmsr_exit(uint32_t index)
{
    return handle((struct vmx_exit){.reason = VMX_EXIT_RDMSR, .msr = {.index = index}}, 2);
}

static enum exit_step wrmsr_exit(uint32_t index, uint64_t value)
{
    return handle((struct vmx_exit){.reason = VMX_EXIT_WRMSR, .msr = {.index = index, .value = value}}, 2);
}

static void assert_msr(uint32_t index, uint64_t value)
{
    assert_int_equal(rdmsr_exit(index), EXIT_RESUME);
    assert_retired(2);
    assert_int_equal(*reg(GPR_RDX) << 32 | *reg(GPR_RAX), value);
}

static void msrs_are_kept(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t value;
    } kept[] = {{VMSR_LSTAR, UINT64_C(0xffff800012345678)},
                {VMSR_STAR, UINT64_C(0x123456789)},
                {VMSR_PAT, UINT64_C(0x0606060606060606)},
                {VMSR_SYSENTER_ESP, 0x1234},
                {VMSR_KERNEL_GS_BASE, UINT64_C(0x7fff00000000)},
                {VMSR_TSC_AUX, 3},
                {VMSR_MTRR_PHYSBASE0, 6},
                {VMSR_EFER, VMSR_EFER_LME | VMSR_EFER_NXE}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        assert_int_equal(wrmsr_exit(kept[i].index, kept[i].value), EXIT_RESUME);
        assert_retired(2);
    }
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        assert_msr(kept[i].index, kept[i].value);
}

static void msr_faults(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t value;
    } bad[] = {{0x123456, 0},       {VMSR_LSTAR, UINT64_C(0x8000000000000000)}, {VMSR_PAT, 2},
               {VMSR_EFER, BIT(1)}, {VMSR_APIC_BASE, UINT64_C(0xfee00400)}, /* x2APIC without enable */
               {0x808, 0}, /* x2APIC register in xAPIC mode */
               {VMSR_TSC, 5}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(wrmsr_exit(bad[i].index, bad[i].value), EXIT_RESUME);
        assert_fault(VECTOR_GP);
    }
    assert_int_equal(rdmsr_exit(0x123456), EXIT_RESUME);
    assert_fault(VECTOR_GP);
    assert_int_equal(rdmsr_exit(0x802), EXIT_RESUME);
    assert_fault(VECTOR_GP);
}

static void efer_keeps_what_paging_needs(void **state)
{
    (void)state;
    wrmsr_exit(VMSR_EFER, VMSR_EFER_LME);
    assert_retired(2);
    vmx_set_cr4(&vcpu->vmx, CR4_PAE);
    vmx_set_cr0(&vcpu->vmx, CR0_PE | CR0_PG);
    assert_msr(VMSR_EFER, VMSR_EFER_LME | VMSR_EFER_LMA);
    wrmsr_exit(VMSR_EFER, 0);
    assert_fault(VECTOR_GP);
    wrmsr_exit(VMSR_EFER, VMSR_EFER_LME | VMSR_EFER_SCE); /* LMA is the processor's */
    assert_retired(2);
    assert_msr(VMSR_EFER, VMSR_EFER_LME | VMSR_EFER_LMA | VMSR_EFER_SCE);
}

static void time_as_an_msr(void **state)
{
    (void)state;
    assert_msr(VMSR_TSC, vcpu->time_base + vm->time_stride);
    assert_true(vcpu->time_used);
}

/* x2APIC registers: local ones at once, the ICR to others at the chunk's end. */
static void apic_msrs(void **state)
{
    (void)state;
    assert_int_equal(wrmsr_exit(VMSR_APIC_BASE, UINT64_C(0xfee00d00)), EXIT_ENDED);
    assert_int_equal(vcpu->act.kind, ACT_APIC_WRITE);
    vlapic_write(&vcpu->state->lapic, vcpu->act.reg, vcpu->act.value, 0);
    assert_int_equal(wrmsr_exit(0x808, 0x30), EXIT_RESUME);
    assert_retired(2);
    assert_msr(0x808, 0x30);
    assert_int_equal(wrmsr_exit(0x830, UINT64_C(0x100004041)), EXIT_ENDED);
    assert_int_equal(vcpu->end, REC_END_APIC);
    assert_int_equal(vcpu->act.reg, VLAPIC_ICR);
    assert_int_equal(vcpu->act.value, UINT64_C(0x100004041));
    assert_int_equal(vcpu->completion.length, 2);
    assert_int_equal(wrmsr_exit(0x808, 0x100), EXIT_RESUME);
    assert_fault(VECTOR_GP);
}

/* ---- Control registers ---- */

static void move_to_cr(uint8_t cr, uint64_t value)
{
    *reg(GPR_RDX) = value;
    assert_int_equal(handle((struct vmx_exit){.reason = VMX_EXIT_CR_ACCESS,
                                              .cr = {.cr = cr, .kind = VMX_MOV_TO_CR, .gpr = GPR_RDX}},
                            3),
                     EXIT_RESUME);
}

static void cr0_rules(void **state)
{
    static const uint64_t bad[] = {CR0_PG, CR0_PE | CR0_NW};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        move_to_cr(0, bad[i]);
        assert_fault(VECTOR_GP);
    }
    move_to_cr(0, CR0_PE | CR0_TS | CR0_CD | CR0_NW);
    assert_retired(3);
    assert_int_equal(vmx_get_cr0(&vcpu->vmx), CR0_PE | CR0_TS | CR0_CD | CR0_NW | CR0_ET);
    /* The real register stays cached, whatever the guest reads. */
    assert_int_equal(fakecpu_this->vmcs[VMCS_GUEST_CR0] & (CR0_CD | CR0_NW), 0);
    handle((struct vmx_exit){.reason = VMX_EXIT_CR_ACCESS, .cr = {.kind = VMX_CLTS}}, 2);
    assert_retired(2);
    assert_int_equal(vmx_get_cr0(&vcpu->vmx) & CR0_TS, 0);
    handle((struct vmx_exit){.reason = VMX_EXIT_CR_ACCESS, .cr = {.kind = VMX_LMSW, .source = 0xa}}, 3);
    assert_retired(3);
    assert_int_equal(vmx_get_cr0(&vcpu->vmx) & 0xf, CR0_PE | CR0_MP | CR0_TS); /* PE stays */
}

static void long_mode_needs_pae(void **state)
{
    (void)state;
    wrmsr_exit(VMSR_EFER, VMSR_EFER_LME);
    assert_retired(2);
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_fault(VECTOR_GP);
    move_to_cr(4, CR4_PAE);
    assert_retired(3);
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_retired(3);
    assert_int_equal(vmx_get_efer(&vcpu->vmx) & VMSR_EFER_LMA, VMSR_EFER_LMA);
    move_to_cr(4, 0);
    assert_fault(VECTOR_GP);
}

/* VM entry would refuse either (SDM 3C 27.3.1.2). */
static void long_mode_needs_segments(void **state)
{
    uint64_t *vmcs = fakecpu_this->vmcs;
    uint64_t cs = vmcs[VMCS_GUEST_CS_ACCESS], tr = vmcs[VMCS_GUEST_TR_ACCESS];

    (void)state;
    wrmsr_exit(VMSR_EFER, VMSR_EFER_LME);
    assert_retired(2);
    move_to_cr(4, CR4_PAE);
    assert_retired(3);
    vmcs[VMCS_GUEST_CS_ACCESS] = cs | VMX_ACCESS_LONG;
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_fault(VECTOR_GP);
    vmcs[VMCS_GUEST_CS_ACCESS] = cs;
    vmcs[VMCS_GUEST_TR_ACCESS] = (tr & ~UINT64_C(0xf)) | 3; /* a busy 16-bit TSS */
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_fault(VECTOR_GP);
    vmcs[VMCS_GUEST_TR_ACCESS] = tr;
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_retired(3);
}

static void cr4_rules(void **state)
{
    (void)state;
    move_to_cr(4, CR4_VMXE);
    assert_fault(VECTOR_GP);
    move_to_cr(4, CR4_PSE | CR4_OSXSAVE);
    assert_retired(3);
    assert_int_equal(vmx_get_cr4(&vcpu->vmx), CR4_PSE | CR4_OSXSAVE);
}

static void pae_paging_loads_its_entries(void **state)
{
    uint64_t entries[4] = {0x6001, 0, 0x7001, 0};

    (void)state;
    memcpy(fake_bench_memory(bench, 0x8020), entries, sizeof(entries));
    vmx_set_cr3(&vcpu->vmx, 0x8020);
    move_to_cr(4, CR4_PAE);
    assert_retired(3);
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_retired(3);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vmx_get_pdpte(&vcpu->vmx, i), entries[i]);
    move_to_cr(0, CR0_PE);
    assert_retired(3);
    entries[2] |= BIT(1); /* reserved */
    memcpy(fake_bench_memory(bench, 0x8020), entries, sizeof(entries));
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_fault(VECTOR_GP);
    vmx_set_cr3(&vcpu->vmx, 0x80000000); /* no memory there */
    move_to_cr(0, CR0_PE | CR0_PG);
    assert_fault(VECTOR_GP);
}

static void task_priority(void **state)
{
    (void)state;
    move_to_cr(8, 16);
    assert_fault(VECTOR_GP);
    move_to_cr(8, 9);
    assert_retired(3);
    assert_int_equal(vcpu->state->lapic.tpr, 0x90);
    handle((struct vmx_exit){.reason = VMX_EXIT_CR_ACCESS,
                             .cr = {.cr = 8, .kind = VMX_MOV_FROM_CR, .gpr = GPR_RBX}},
           3);
    assert_retired(3);
    assert_int_equal(*reg(GPR_RBX), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(msrs_are_kept),
        TEST(msr_faults),
        TEST(efer_keeps_what_paging_needs),
        TEST(time_as_an_msr),
        TEST(apic_msrs),
        TEST(cr0_rules),
        TEST(long_mode_needs_pae),
        TEST(long_mode_needs_segments),
        TEST(cr4_rules),
        TEST(pae_paging_loads_its_entries),
        TEST(task_priority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
