/* The main job: makes the guest, runs it on its processors, and delivers what came out. */
#ifndef RV_HV_GUEST_H
#define RV_HV_GUEST_H

#include "hv/machine.h"

struct hv_state;

/* Boot processor; the other CPUs are idle, the report is good. The status with which to end the machine. */
enum machine_status guest_run(struct hv_state *hv);

#endif
