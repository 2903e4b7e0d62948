/* Exits handled one by one, on a vCPU of a machine that does not run. */
#ifndef RV_TEST_UNIT_EXIT_RIG_H
#define RV_TEST_UNIT_EXIT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "drivers/vdev/cpuid.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/exits.h"
#include "test/fake/machine.h"
#include "vmx/fields.h"

#define HERE 0x5000u

static struct fake_bench *bench;
static struct vm *vm;
static struct vcpu *vcpu;
static struct fake_guest guest = {.only = "work", .calls = 1, .rounds = 1, .vcpus = 2};

static inline int begin(void **state)
{
    struct fake_machine_config config = fake_machine_defaults(&guest, 1);

    (void)state;
    bench = fake_bench_new(&config);
    vm = fake_bench_vm(bench);
    vcpu = vm->vcpus[0];
    vmx_set_rip(&vcpu->vmx, HERE);
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    fake_bench_delete(bench);
    return 0;
}

static inline uint64_t *reg(enum vmx_gpr gpr)
{
    return &vcpu->vmx.gpr[gpr];
}

/* An exit of an instruction of `length` bytes. */
static inline enum exit_step handle(struct vmx_exit exit, uint32_t length)
{
    exit.instruction_length = length;
    exit.rip = vmx_get_rip(&vcpu->vmx);
    vcpu->vmx.raw = (struct vmx_exit_raw){.reason = exit.reason, .instruction_length = length};
    return exit_handle(vcpu, &exit);
}

static inline enum exit_step handle_plain(uint32_t reason, uint32_t length)
{
    return handle((struct vmx_exit){.reason = reason}, length);
}

/* The instruction is done, and RIP is behind it. */
static inline void assert_retired(uint32_t length)
{
    struct vmx_event event;

    vmx_get_event(&vcpu->vmx, &event);
    assert_int_equal(event.info & VMX_INFO_VALID, 0);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), HERE + length);
    vmx_set_rip(&vcpu->vmx, HERE);
}

/* A fault waits to be injected, and RIP is at the instruction. */
static inline void assert_fault(uint8_t vector)
{
    struct vmx_event event;

    vmx_get_event(&vcpu->vmx, &event);
    assert_int_equal(event.info & (VMX_INFO_VALID | VMX_INFO_VECTOR), VMX_INFO_VALID | vector);
    assert_int_equal((event.info & VMX_INFO_TYPE) >> VMX_INFO_TYPE_SHIFT, VMX_EVENT_HARDWARE_EXCEPTION);
    assert_int_equal((event.info & VMX_INFO_ERROR_VALID) != 0, vector == VECTOR_GP);
    assert_int_equal(event.error, 0);
    assert_int_equal(vmx_get_rip(&vcpu->vmx), HERE);
    fakecpu_this->vmcs[VMCS_ENTRY_INTERRUPTION_INFO] = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

#endif
