/* One recording, for who makes many of them. */
#ifndef RV_TOOLS_RETRO_RECORD_H
#define RV_TOOLS_RETRO_RECORD_H

#include "tools/retro/machine.h"

/* Does what `retro record -o OUTPUT` does with these options, and returns its exit code. */
int record_guest(const struct machine_options *machine, const char *output);

#endif
