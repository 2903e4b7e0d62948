/* Text that grows in a buffer of the caller's, and is cut where that is full. Pure. */
#ifndef RV_HV_TEXT_H
#define RV_HV_TEXT_H

#include "hv/base/types.h"

struct text_out {
    char *text;  /* always ends with a NUL once something was said */
    size_t size; /* bytes there; at least 1 */
    size_t used; /* without the NUL */
};

/* Appends what printf would print. */
void text_say(struct text_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
