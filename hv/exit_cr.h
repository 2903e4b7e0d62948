/* MOV to and from control registers, CLTS and LMSW, where they exit (SDM 3A 2.5, SDM 2B MOV). */
#ifndef RV_HV_EXIT_CR_H
#define RV_HV_EXIT_CR_H

#include "hv/exits.h"

enum exit_step exit_cr_access(struct vcpu *vcpu, const struct vmx_exit *exit);

#endif
