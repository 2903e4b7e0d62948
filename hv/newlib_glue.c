/*
 * What newlib's printf family refers to but never reaches when it only formats into buffers: there are no
 * files and no heap here.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

#include "hv/base/check.h"

void *sbrk(ptrdiff_t increment);
_Noreturn void abort(void);

void *sbrk(ptrdiff_t increment)
{
    (void)increment;
    errno = ENOMEM;
    return (void *)-1;
}

_Noreturn void abort(void)
{
    hv_check_failed("abort", __FILE__, __LINE__);
}
