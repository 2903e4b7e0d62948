/* The log that a replay follows: read whole, checked against the machine and the guest. */
#ifndef RV_HV_REPLAY_LOG_H
#define RV_HV_REPLAY_LOG_H

#include "hv/mem.h"
#include "hv/vm.h"

/*
 * Indexes the commits of the `size` bytes at `bytes`, up to the last whole block. False: a message has named
 * what is wrong. A damaged log is replayed as far as it is sound.
 */
bool replay_log_read(struct vm_replay *replay, const uint8_t *bytes, size_t size, struct mem *mem);

/* Whether the log was made on a machine like this one; messages name each difference. */
bool replay_log_fits_machine(const struct rec_header *log, uint32_t vcpus, uint64_t memory_bytes);
/*
 * Whether the guest as loaded is the recorded one, and this machine has what the recording one had of the
 * features that CPUID hides and VMX cannot forbid (cpuid_traits()). Messages name each difference.
 */
bool replay_log_fits_guest(const struct rec_header *log, const struct rec_header *here);

#endif
