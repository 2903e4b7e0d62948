/* What the run loop does about each VM exit. */
#ifndef RV_HV_EXITS_H
#define RV_HV_EXITS_H

#include "hv/vm.h"

enum exit_step {
    EXIT_RESUME,     /* handled: enter again */
    EXIT_ENDED,      /* the chunk ends: vcpu->end, vcpu->act and vcpu->completion say how */
    EXIT_TIMER,      /* the preemption timer ran out */
    EXIT_BREAKPOINT, /* the hypervisor's own breakpoint was reached */
    EXIT_NO_PAGE,    /* no private copy for the write: cut the chunk before the instruction */
};

/* Handles the exit that vmx_enter just reported. On the vCPU's CPU, interrupts off. */
enum exit_step exit_handle(struct vcpu *vcpu, const struct vmx_exit *exit);

/* Ends the chunk with an act; the instruction, `length` bytes long, retires when it has acted. */
enum exit_step exit_end(struct vcpu *vcpu, enum rec_end end, enum vcpu_act_kind act, uint32_t length);

/* Ends the guest by name: what it did is not supported. The text is cut to fit. */
enum exit_step exit_refuse(struct vcpu *vcpu, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes an APIC register: at once, or as the act that ends the chunk; the instruction has `length` bytes. */
enum exit_step exit_apic_write(struct vcpu *vcpu, uint32_t reg, uint64_t value, uint32_t length);

/* INS and OUTS (hv/string_io.c). */
enum exit_step exit_string_io(struct vcpu *vcpu, const struct vmx_exit *exit);

/* An EPT violation outside guest memory: the APIC page, or nothing (hv/mmio.c). */
enum exit_step mmio_access(struct vcpu *vcpu, const struct vmx_exit *exit);

/*
 * Before each entry: sets what the guest is to be given, or asks for a window.
 * vcpu_would_inject: whether vcpu_deliver will inject at this very place.
 */
bool vcpu_would_inject(struct vcpu *vcpu);
void vcpu_deliver(struct vcpu *vcpu);

#endif
