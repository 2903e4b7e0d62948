/*
 * The hypervisor's own look at guest memory for a vCPU: through its view, and joining its read set, as
 * if the processor had looked (a page that a decision depends on must be validated with the rest).
 */
#ifndef RV_HV_ACCESS_H
#define RV_HV_ACCESS_H

#include "hv/guestmem/insn.h"
#include "hv/vm.h"

/* Reads `bytes` at guest-physical `address`; false where that is not guest memory. A walk_read_fn. */
bool access_read_physical(void *vcpu, uint64_t address, void *buffer, size_t bytes);

/* The instruction bytes at CS:RIP, as many as are mapped, INSN_MAX_BYTES at most. */
size_t access_fetch(struct vcpu *vcpu, uint8_t bytes[INSN_MAX_BYTES]);

/* The code segment's kind, for the decoders. */
enum insn_mode access_insn_mode(struct vcpu *vcpu);

#endif
