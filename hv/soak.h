/*
 * mode=soak: the guest is recorded into memory, the log replayed and compared, again and again in one boot,
 * with the next seed each time. So it shows that everything starts afresh, too: all that a round has made is
 * taken back.
 */
#ifndef RV_HV_SOAK_H
#define RV_HV_SOAK_H

#include "hv/machine.h"

struct hv_state;

/*
 * Boot processor; the other CPUs are idle, the report is good. Goes on until a limit of the options is
 * reached or a round fails; that round's log is then sent to the host. The status with which to end the
 * machine.
 */
enum machine_status soak_run(struct hv_state *hv);

#endif
