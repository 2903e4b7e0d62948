/* Host body of hv_check_failed: prints and aborts, so that a test can see the death. */
#include "hv/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void hv_check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "HV_CHECK failed: %s at %s:%d\n", expression, file, line);
    abort();
}
