/*
 * The hypervisor's messages: one line each, from any CPU. Not from NMI handlers, and not while panicking
 * (hv/panic.h has its own way out).
 */
#ifndef RV_HV_MSG_H
#define RV_HV_MSG_H

#include "hv/base/spinlock.h"
#include "hv/base/types.h"

#define MSG_LINE_SIZE 512 /* longer lines are cut */

enum msg_level {
    MSG_ERROR,
    MSG_WARNING,
    MSG_INFO,
};

/* Takes one whole line of `size` bytes, newline included. Called with the message lock held. */
typedef void msg_sink_fn(void *context, const char *line, size_t size);

/* Zeroed: messages are dropped. */
struct msg {
    struct spinlock lock;
    msg_sink_fn *sink;
    void *context;
};

/* Replaces the sink; waits for lines under way. */
void msg_set_sink(msg_sink_fn *sink, void *context);

/* Formats like printf (no floating point), puts "retrovisor: " in front and a newline at the end. */
void hv_msg(enum msg_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first sink: plain text to COM1 and, where enabled, to port 0xE9. Needs no lock of its own. */
void msg_plain_sink(void *context, const char *line, size_t size);

#endif
