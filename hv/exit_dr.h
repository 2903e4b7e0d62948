/* MOV to and from the debug registers. */
#ifndef RV_HV_EXIT_DR_H
#define RV_HV_EXIT_DR_H

#include "hv/exits.h"

/* Handles a MOV DR exit. */
enum exit_step exit_dr_access(struct vcpu *vcpu, const struct vmx_exit *exit);

#endif
