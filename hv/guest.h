/* The main job: makes the guest, runs it on its processors, and delivers what came out. */
#ifndef RV_HV_GUEST_H
#define RV_HV_GUEST_H

#include "hv/control.h"
#include "hv/machine.h"
#include "hv/vm_create.h"

struct hv_state;

/* Boot processor; the other CPUs are idle, the report is good. The status with which to end the machine. */
enum machine_status guest_run(struct hv_state *hv);

/* What the command line asks for, with the guest's image from the boot information. */
struct vm_config guest_config(struct hv_state *hv, enum vm_mode mode);

/* Makes the guest. Anything but MACHINE_OK: a message has said what is wrong. */
enum machine_status guest_make(struct hv_state *hv, const struct vm_config *config, struct vm **vm);

/*
 * Runs a guest just made to its end, and ends its log; its CPUs are then idle. The control plane gets the
 * run's trailer and, as `log_to` says, its log. `deadline`: host TSC at which a guest that has not ended
 * makes the hypervisor panic, 0 for never. The status with which to end the machine, if nothing else is to
 * come.
 */
enum machine_status guest_execute(struct hv_state *hv, struct vm *vm, struct control *control,
                                  enum control_log log_to, uint64_t deadline);

#endif
