/*
 * The control plane, on the boot processor while the vCPUs run on the others: it encodes commit records
 * into the log, moves log, guest console and messages over the serial link to the host, and console input
 * from there to the guest.
 */
#ifndef RV_HV_CONTROL_H
#define RV_HV_CONTROL_H

#include "drivers/uart.h"
#include "hv/cmdline.h"
#include "hv/machine.h"
#include "hv/mem.h"
#include "hv/vm.h"
#include "replay/link.h"
#include "replay/link_input.h"
#include "replay/log_writer.h"

#define CONTROL_MESSAGE_SIZE (16u << 10)
#define CONTROL_CONSOLE_LUMP 1024u

/* Messages of the hypervisor on their way to the link; filled by any CPU under the message lock. */
struct control_messages {
    uint64_t head, tail;
    uint64_t lost; /* bytes that found no room */
    char bytes[CONTROL_MESSAGE_SIZE];
};

/* Where a run's log goes. */
enum control_log {
    CONTROL_LOG_WIRE, /* over the link */
    CONTROL_LOG_KEEP, /* into memory */
    CONTROL_LOG_DROP, /* nowhere */
};

/* A log kept in memory. */
struct control_kept {
    uint8_t *bytes;
    size_t room;
    size_t used;
    bool full; /* there was more than the room takes */
};

struct control {
    struct vm *vm;
    struct uart *uart;
    bool serial; /* log=serial: there is a link */
    bool quiet;  /* neither console nor result of the run go over the link */
    enum control_log log_to;
    struct control_kept kept;
    size_t buffer_size; /* of the log's writer, and of the link */
    uint8_t *writer_buffer;
    struct link link;
    struct link_inbox inbox; /* console input on its way to the guest */
    struct log_writer writer;
    uint64_t tsc_hz;
    uint64_t flush_at;     /* host TSC when an open block is sent as it is */
    uint64_t acknowledged; /* link's last frame known to the host, and until when more may take */
    uint64_t patience_ends;
    uint64_t log_bytes; /* of the run's log, wherever they went */
    uint64_t console_digest;
    uint64_t console_bytes;
    uint32_t lump_used;
    uint8_t lump[CONTROL_CONSOLE_LUMP];
    uint32_t details_used;
    uint8_t *details; /* DETAIL_LUMP bytes, where the log has detail */
    uint32_t wire_used, wire_at;
    uint8_t wire[256]; /* bytes that the UART did not take yet */
    struct control_messages messages;
    struct rec_pages pages;     /* of the run, once it has ended */
    struct rec_trailer trailer; /* of the run, once it has ended */
};

/*
 * `options`: whether there is a link, and the size of its buffers. `tsc_hz`: this machine's, for time-outs.
 * Takes over messages and panics. `keep`: room for logs kept in memory, bytes. NULL: no memory.
 */
struct control *control_create(struct uart *uart, const struct hv_options *options, uint64_t tsc_hz,
                               size_t keep, struct mem *mem);

/* The guest's memory is about to be taken back: nothing of it may be touched until the next control_begin().
 */
void control_forget(struct control *control);

/* Before a guest's vCPUs start: begins its log with a header. KEEP forgets what was kept. */
void control_begin(struct control *control, struct vm *vm, enum control_log log_to);

/* One turn of everything but input; never waits. */
void control_poll(struct control *control);

/* Gives the guest what input has come over the link, as far as it takes it, and asks the host for more. For
 * recording and mode=run, while the vCPUs run. */
void control_input(struct control *control);

/*
 * The vCPUs have stopped: takes what is left, and ends the log with counters and trailer, or an ABORT. The
 * status with which the machine should end, if nothing else comes.
 */
enum machine_status control_end(struct control *control);

/* Sends the log kept in memory; the last log of a link. */
void control_send_kept(struct control *control);

/*
 * Waits until the host has acknowledged all, or nobody answers for a while; the link is then closed. The
 * status with which the machine should end, `status` where nothing went wrong here.
 */
enum machine_status control_close(struct control *control, enum machine_status status);

#endif
