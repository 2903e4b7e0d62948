#include "hv/msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/state.h"

#define PORT_E9 0xE9 /* Bochs' and QEMU's debug console */

static const char *prefix(enum msg_level level)
{
    switch (level) {
    case MSG_ERROR:
        return "retrovisor: error: ";
    case MSG_WARNING:
        return "retrovisor: warning: ";
    default:
        return "retrovisor: ";
    }
}

/* Moves past what a printf wrote into `room` bytes, which may be less than it wanted to. */
static size_t advance(int wanted, size_t room)
{
    return wanted < 0 ? 0 : MIN((size_t)wanted, room - 1);
}

void hv_msg(enum msg_level level, const char *format, ...)
{
    char line[MSG_LINE_SIZE];
    size_t room = sizeof(line) - 1; /* one byte for the newline */
    size_t used = advance(snprintf(line, room, "%s", prefix(level)), room);
    struct msg *msg = &hv_state.msg;
    va_list arguments;

    va_start(arguments, format);
    used += advance(vsnprintf(line + used, room - used, format, arguments), room - used);
    va_end(arguments);
    line[used++] = '\n';

    spin_lock(&msg->lock);
    if (msg->sink) {
        msg->sink(msg->context, line, used);
    }
    spin_unlock(&msg->lock);
}

void msg_set_sink(msg_sink_fn *sink, void *context)
{
    spin_lock(&hv_state.msg.lock);
    hv_state.msg.sink = sink;
    hv_state.msg.context = context;
    spin_unlock(&hv_state.msg.lock);
}

void msg_plain_sink(void *context, const char *line, size_t size)
{
    (void)context;
    uart_write(&hv_state.com1, line, size);
    if (hv_state.options.msg_port_e9) {
        for (size_t i = 0; i < size; i++) {
            out8(PORT_E9, (uint8_t)line[i]);
        }
    }
}
