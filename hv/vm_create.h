/* Making the guest: its memory, its vCPUs, its image, and in a replay its log. */
#ifndef RV_HV_VM_CREATE_H
#define RV_HV_VM_CREATE_H

#include "boot/multiboot2.h"
#include "hv/cmdline.h"
#include "hv/machine.h"
#include "hv/mem.h"
#include "hv/replay_log.h"
#include "hv/vm.h"

/* Information for the log only; the build sets it. */
#ifndef RETROVISOR_BUILD_ID
#define RETROVISOR_BUILD_ID "unknown"
#endif

struct vm_config {
    const struct hv_options *options;
    enum vm_mode mode;
    uint64_t seed;      /* the user's */
    const uint8_t *log; /* VM_REPLAY: log_bytes bytes; they stay the caller's */
    size_t log_bytes;
    const struct boot_info *boot;
    struct mem *mem;
    uint32_t vcpus;
    uint64_t tsc_hz;
    uint64_t entropy; /* for the guest's random numbers */
};

/* The module whose command line begins with `word`, and what follows it there; NULL: none. */
const struct boot_module *vm_find_module(const struct boot_info *boot, const char *word, const char **rest);

/*
 * Boot processor, before the vCPUs run. Anything but MACHINE_OK: a message has said what is wrong, and the
 * machine should end so.
 */
enum machine_status vm_create(const struct vm_config *config, struct vm **vm);

#endif
