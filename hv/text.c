#include "hv/text.h"

#include <stdarg.h>
#include <stdio.h>

void text_say(struct text_out *out, const char *format, ...)
{
    va_list args;
    int more;

    va_start(args, format);
    more = vsnprintf(out->text + out->used, out->size - out->used, format, args);
    va_end(args);
    out->used = MIN(out->used + (size_t)MAX(more, 0), out->size - 1);
}
