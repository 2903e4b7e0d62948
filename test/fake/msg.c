/* hv_msg for host tests: keeps the last line, prints nothing. */
#include "hv/msg.h"

#include <stdarg.h>
#include <stdio.h>

#include "test/fake/msg.h"

char fake_last_message[MSG_LINE_SIZE];

void hv_msg(enum msg_level level, const char *format, ...)
{
    va_list arguments;

    (void)level;
    va_start(arguments, format);
    vsnprintf(fake_last_message, sizeof(fake_last_message), format, arguments);
    va_end(arguments);
}
