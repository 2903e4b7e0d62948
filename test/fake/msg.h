/* What the hypervisor said last, in host tests. */
#ifndef RV_TEST_FAKE_MSG_H
#define RV_TEST_FAKE_MSG_H

#include "hv/msg.h"

extern char fake_last_message[MSG_LINE_SIZE];

#endif
