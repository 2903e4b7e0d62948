#include "hv/control.h"

#include "hv/base/digest.h"
#include "hv/cpu/cpu.h"
#include "hv/detail.h"
#include "hv/input.h"
#include "hv/msg.h"
#include "hv/panic.h"

#include <stdio.h>
#include <string.h>

#define FLUSH_SECONDS_DIVISOR 4u /* an open block waits a quarter of a second at most */
/*
 * Without a word from the host for so long, it is not there. The link sends again after 0.5, 1, 2, 4 and then
 * every 8 seconds: on a line that loses most of it, so many tries need their time.
 */
#define ANSWER_SECONDS 40u

/* ---- Messages ---- */

static void message_sink(void *context, const char *line, size_t size)
{
    struct control_messages *messages = &((struct control *)context)->messages;
    uint64_t tail = __atomic_load_n(&messages->tail, __ATOMIC_ACQUIRE);

    if (messages->head - tail + size > CONTROL_MESSAGE_SIZE) {
        messages->lost += size;
        return;
    }
    for (size_t i = 0; i < size; i++)
        messages->bytes[(messages->head + i) % CONTROL_MESSAGE_SIZE] = line[i];
    __atomic_store_n(&messages->head, messages->head + size, __ATOMIC_RELEASE);
}

static void send_messages(struct control *c)
{
    struct control_messages *messages = &c->messages;
    uint64_t head = __atomic_load_n(&messages->head, __ATOMIC_ACQUIRE);

    while (messages->tail < head) {
        uint64_t at = messages->tail % CONTROL_MESSAGE_SIZE;
        size_t part = MIN(head - messages->tail, CONTROL_MESSAGE_SIZE - at);
        size_t sent = link_send(&c->link, LINK_STREAM_MESSAGE, messages->bytes + at, part);
        if (!sent)
            return;
        __atomic_store_n(&messages->tail, messages->tail + sent, __ATOMIC_RELEASE);
    }
}

/* ---- Log ---- */

static size_t keep(struct control_kept *kept, const uint8_t *bytes, size_t length)
{
    kept->full = kept->full || length > kept->room - kept->used;
    if (!kept->full) {
        memcpy(kept->bytes + kept->used, bytes, length);
        kept->used += length;
    }
    return length;
}

static void ship_log(struct control *c)
{
    for (;;) {
        size_t length;
        const uint8_t *bytes = log_writer_peek(&c->writer, &length);
        size_t sent = length;
        if (!length)
            return;
        if (c->log_to == CONTROL_LOG_WIRE)
            sent = link_send(&c->link, LINK_STREAM_LOG, bytes, length);
        else if (c->log_to == CONTROL_LOG_KEEP)
            sent = keep(&c->kept, bytes, length);
        if (!sent)
            return;
        log_writer_consume(&c->writer, sent);
        c->log_bytes += sent;
    }
}

static void encode_commits(struct control *c)
{
    const struct commit_slot *slot;

    while ((slot = commit_ring_peek(&c->vm->commits)) != NULL) {
        if (!log_writer_can_commit(&c->writer)) {
            ship_log(c);
            if (!log_writer_can_commit(&c->writer))
                return;
        }
        log_writer_commit(&c->writer, &slot->commit, slot->digest);
        commit_ring_drop(&c->vm->commits);
    }
}

static void flush_in_time(struct control *c)
{
    uint64_t now = rdtsc();

    if (now < c->flush_at)
        return;
    log_writer_flush(&c->writer);
    c->flush_at = now + c->tsc_hz / FLUSH_SECONDS_DIVISOR;
}

/* ---- Console ---- */

/* The log keeps the console in lumps, since each is a block of its own. */
static void lump_to_log(struct control *c)
{
    if (c->lump_used && log_writer_console(&c->writer, c->lump, c->lump_used))
        c->lump_used = 0;
}

static void move_console(struct control *c)
{
    struct vm_console *console = &c->vm->console;
    uint64_t head = __atomic_load_n(&console->head, __ATOMIC_ACQUIRE);

    while (console->tail < head) {
        uint8_t byte = console->bytes[console->tail % VM_CONSOLE_SIZE];
        if (c->lump_used == sizeof(c->lump))
            lump_to_log(c);
        if (c->lump_used == sizeof(c->lump))
            return;
        if (c->serial && !c->quiet && !link_send(&c->link, LINK_STREAM_CONSOLE, &byte, 1))
            return;
        c->lump[c->lump_used++] = byte;
        c->console_digest = digest_word(c->console_digest, byte);
        c->console_bytes++;
        __atomic_store_n(&console->tail, console->tail + 1, __ATOMIC_RELEASE);
    }
}

/* ---- Detail ---- */

/* Like the console, in lumps. */
static void details_to_log(struct control *c)
{
    if (c->details_used && log_writer_detail(&c->writer, c->details, c->details_used))
        c->details_used = 0;
}

/* True: some found no room. */
static bool move_details(struct control *c)
{
    uint32_t length;
    bool waits = false;

    while (c->details) {
        length = detail_take(c->vm, c->details + c->details_used, DETAIL_LUMP - c->details_used, &waits);
        c->details_used += length;
        if (!length && !waits)
            return false;
        if (!length)
            details_to_log(c);
        if (!length && c->details_used)
            return true;
    }
    return false;
}

/* ---- Wire ---- */

static void pump_wire(struct control *c)
{
    uint8_t in[64];
    size_t got = uart_read(c->uart, in, sizeof(in));

    if (got)
        link_receive(&c->link, in, got, rdtsc());
    if (c->wire_at == c->wire_used) {
        c->wire_used = (uint32_t)link_poll(&c->link, rdtsc(), c->wire, sizeof(c->wire));
        c->wire_at = 0;
    }
    c->wire_at += (uint32_t)uart_try_write(c->uart, c->wire + c->wire_at, c->wire_used - c->wire_at);
}

void control_poll(struct control *c)
{
    if (c->vm) {
        move_console(c);
        move_details(c);
        encode_commits(c);
        flush_in_time(c);
        ship_log(c);
    }
    if (!c->serial)
        return;
    send_messages(c);
    pump_wire(c);
}

/* ---- Input ---- */

static void deliver(void *context, enum link_stream stream, const uint8_t *bytes, size_t length)
{
    struct control *c = context;

    if (stream == LINK_STREAM_INPUT)
        link_inbox_take(&c->inbox, bytes, length);
}

void control_input(struct control *c)
{
    const uint8_t *bytes;
    size_t length;

    if (!c->serial)
        return;
    bytes = link_inbox_peek(&c->inbox, &length);
    if (length)
        link_inbox_drop(&c->inbox, input_console(c->vm, bytes, (uint32_t)length));
    link_inbox_grant(&c->inbox, &c->link);
}

/* ---- Panic ---- */

/* The other CPUs stand still: what the log has is sent, and an ABORT says that it is not complete. */
static void drain(void *context, const char *text, size_t size)
{
    struct control *c = context;
    uint64_t until = rdtsc() + c->tsc_hz * ANSWER_SECONDS;
    size_t sent = 0, sent_kept = 0;

    if (c->vm) {
        encode_commits(c);
        lump_to_log(c);
        move_details(c);
        details_to_log(c);
        log_writer_abort(&c->writer, "the hypervisor panicked");
    }
    while (rdtsc() < until) {
        ship_log(c);
        sent_kept +=
            link_send(&c->link, LINK_STREAM_LOG, c->kept.bytes + sent_kept, c->kept.used - sent_kept);
        sent += link_send(&c->link, LINK_STREAM_MESSAGE, text + sent, size - sent);
        pump_wire(c);
        if (sent == size && sent_kept == c->kept.used && link_idle(&c->link) && c->wire_at == c->wire_used)
            break;
    }
}

/* ---- Life ---- */

static bool start_link(struct control *c, struct mem *mem)
{
    struct link_config config = {.ring = mem_alloc(mem, c->buffer_size, PAGE_SIZE),
                                 .ring_size = c->buffer_size,
                                 .session = (uint32_t)(rdtsc() * 2654435761u) | 1,
                                 .rto = c->tsc_hz / 2,
                                 .wait_for_another = true,
                                 .deliver = deliver,
                                 .context = c};

    if (!config.ring)
        return false;
    link_init(&c->link, &config, rdtsc());
    msg_set_sink(message_sink, c);
    panic_set_drain(drain, c, true);
    return true;
}

_Static_assert(LOG_BUFFER_MIN >= LOG_WRITER_BUFFER_MIN, "the smallest buffer will do");

/* A block of details needs its room, too. */
static size_t buffer_size(const struct hv_options *options)
{
    return MAX(options->log_buffer, options->detail ? 2 * DETAIL_LUMP : 0);
}

struct control *control_create(struct uart *uart, const struct hv_options *options, uint64_t tsc_hz,
                               size_t keep, struct mem *mem)
{
    struct control *c = mem_alloc(mem, sizeof(*c), PAGE_SIZE);

    if (!c)
        return NULL;
    c->buffer_size = buffer_size(options);
    c->writer_buffer = mem_alloc(mem, c->buffer_size, PAGE_SIZE);
    if (keep)
        c->kept = (struct control_kept){.bytes = mem_alloc(mem, keep, PAGE_SIZE), .room = keep};
    if (!c->writer_buffer || (keep && !c->kept.bytes))
        return NULL;
    c->uart = uart;
    c->serial = options->log == LOG_SERIAL;
    c->tsc_hz = tsc_hz;
    if (c->serial && !start_link(c, mem))
        return NULL;
    return c;
}

void control_forget(struct control *c)
{
    c->vm = NULL;
    c->details = NULL;
}

void control_begin(struct control *c, struct vm *vm, enum control_log log_to)
{
    c->vm = vm;
    c->log_to = log_to;
    if (log_to == CONTROL_LOG_KEEP) {
        c->kept.used = 0;
        c->kept.full = false;
    }
    c->flush_at = rdtsc() + c->tsc_hz;
    c->log_bytes = 0;
    c->console_digest = 0;
    c->console_bytes = 0;
    c->lump_used = 0;
    c->details = vm->detail.lump;
    c->details_used = 0;
    log_writer_init(&c->writer, c->writer_buffer, c->buffer_size, 0);
    log_writer_header(&c->writer, &vm->header);
}

static void collect_counters(struct control *c, uint64_t counters[][REC_COUNT_MAX], uint64_t ticks)
{
    for (uint32_t i = 0; i < c->vm->vcpu_count; i++) {
        struct vcpu *vcpu = c->vm->vcpus[i];
        const struct view_counters *view = &vcpu->view.counters;
        vcpu->counters[REC_COUNT_TICKS] = ticks;
        vcpu->counters[REC_COUNT_COPIES] = view->copies;
        vcpu->counters[REC_COUNT_COPIES_AHEAD] = view->copies_ahead;
        vcpu->counters[REC_COUNT_COMPARES] = view->compares;
        vcpu->counters[REC_COUNT_EQUAL_PAGES] = view->equal_pages;
        vcpu->counters[REC_COUNT_VALUE_SAVES] = view->value_saves;
        vcpu->counters[REC_COUNT_READ_PAGES] = view->read_pages;
        vcpu->counters[REC_COUNT_CHANGED_PAGES] = view->changed_pages;
        vcpu->counters[REC_COUNT_COPIES_OUT] = view->copies_out;
        vcpu->counters[REC_COUNT_NO_FRAME] = view->no_frame;
        memcpy(counters[i], vcpu->counters, sizeof(vcpu->counters));
    }
}

/* The pages that the vCPUs fought over, and how often each of them changed these. */
static void collect_pages(struct control *c)
{
    const struct contention *contentions[MAX_VCPUS];

    for (uint32_t i = 0; i < c->vm->vcpu_count; i++)
        contentions[i] = &c->vm->vcpus[i]->contention;
    contention_gather(contentions, c->vm->vcpu_count, &c->pages);
    for (uint32_t i = 0; i < c->pages.count; i++) {
        for (uint32_t v = 0; v < c->pages.vcpus; v++)
            c->pages.page[i].row[v].writes = c->vm->vcpus[v]->view.page[c->pages.page[i].gpn].writes;
    }
}

static void fill_trailer(struct control *c, struct rec_trailer *trailer)
{
    struct vm *vm = c->vm;

    *trailer = (struct rec_trailer){.outcome = (uint8_t)vm->outcome.outcome,
                                    .vcpu = (uint8_t)vm->outcome.vcpu,
                                    .status = vm->outcome.status,
                                    .commits = vm->mode == VM_RECORD ? vm->order.seq : 0,
                                    .console_digest = c->console_digest,
                                    .console_bytes = c->console_bytes};
    if (vm->mode != VM_RUN)
        trailer->memory_digest = order_memory_digest(&vm->order);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        trailer->vcpu_digest[i] = vcpu_state_digest(vm->vcpus[i]->saved);
    memcpy(trailer->reason, vm->outcome.reason, sizeof(trailer->reason));
    trailer->reason[sizeof(trailer->reason) - 1] = 0;
}

static void say_result(struct control *c, const struct rec_trailer *trailer)
{
    hv_msg(MSG_INFO, "%llu commits, memory %016llx, console %llu bytes %016llx, log %llu bytes",
           (unsigned long long)c->vm->order.seq, (unsigned long long)trailer->memory_digest,
           (unsigned long long)trailer->console_bytes, (unsigned long long)trailer->console_digest,
           (unsigned long long)c->log_bytes);
    for (uint32_t i = 0; i < c->vm->vcpu_count; i++)
        hv_msg(MSG_INFO, "vCPU %u state %016llx", i, (unsigned long long)trailer->vcpu_digest[i]);
}

/* Whether the replay came to the recorded end; every difference is said. */
static enum machine_status judge_replay(struct control *c, const struct rec_trailer *found)
{
    const struct rec_trailer *log = &c->vm->replay.trailer;
    bool equal = true;

    if (!c->vm->replay.complete) {
        hv_msg(MSG_INFO, "replayed %llu commits, equal in every digest; the log ends there",
               (unsigned long long)c->vm->order.seq);
        return MACHINE_OK;
    }
    if (c->vm->order.seq != c->vm->replay.count)
        equal = false, hv_msg(MSG_ERROR, "the replay has another number of commits");
    if (found->memory_digest != log->memory_digest)
        equal = false, hv_msg(MSG_ERROR, "final memory differs");
    if (found->console_bytes != log->console_bytes || found->console_digest != log->console_digest)
        equal = false, hv_msg(MSG_ERROR, "console output differs");
    if (found->outcome != log->outcome || found->status != log->status)
        equal = false, hv_msg(MSG_ERROR, "the guest ended otherwise");
    for (uint32_t i = 0; i < c->vm->vcpu_count; i++) {
        if (found->vcpu_digest[i] != log->vcpu_digest[i])
            equal = false, hv_msg(MSG_ERROR, "final state of vCPU %u differs", i);
    }
    if (!equal || !c->quiet)
        hv_msg(equal ? MSG_INFO : MSG_ERROR, "replay %s the recording", equal ? "equals" : "differs from");
    return equal ? MACHINE_OK : MACHINE_DIVERGENCE;
}

/* Whether the host has acknowledged nothing for long, though there is something to acknowledge. */
static bool host_is_gone(struct control *c)
{
    uint64_t now = rdtsc();

    if (!c->serial || c->link.una != c->acknowledged || link_idle(&c->link)) {
        c->acknowledged = c->link.una;
        c->patience_ends = now + c->tsc_hz * ANSWER_SECONDS;
    }
    return now > c->patience_ends;
}

/* Moves things until the host has everything; false where nobody answers. */
static bool deliver_all(struct control *c)
{
    size_t left;

    if (!c->serial) {
        ship_log(c);
        return true;
    }
    for (;;) {
        control_poll(c);
        log_writer_peek(&c->writer, &left);
        if (!left && link_idle(&c->link) && c->messages.tail == c->messages.head &&
            c->wire_at == c->wire_used)
            return true;
        if (host_is_gone(c))
            return false;
    }
}

/* What the vCPUs left behind goes into the log's buffer, as far as the host takes what is there already. */
static void drain_guest(struct control *c)
{
    do
        control_poll(c);
    while ((commit_ring_peek(&c->vm->commits) || c->vm->console.tail != c->vm->console.head ||
            move_details(c)) &&
           !host_is_gone(c));
    do {
        lump_to_log(c);
        details_to_log(c);
        control_poll(c);
    } while ((c->lump_used || c->details_used) && !host_is_gone(c));
}

static enum machine_status write_end(struct control *c, uint64_t ticks)
{
    struct vm *vm = c->vm;
    uint64_t counters[MAX_VCPUS][REC_COUNT_MAX];
    enum machine_status status = MACHINE_OK;

    collect_counters(c, counters, ticks);
    while (!log_writer_counters(&c->writer, (const uint64_t(*)[REC_COUNT_MAX])counters) && !host_is_gone(c))
        control_poll(c);
    collect_pages(c);
    while (!log_writer_pages(&c->writer, &c->pages) && !host_is_gone(c))
        control_poll(c);
    if (__atomic_load_n(&vm->divergence.ready, __ATOMIC_ACQUIRE)) {
        hv_msg(MSG_ERROR, "divergence: %s", vm->divergence.text);
        log_writer_abort(&c->writer, vm->divergence.text);
        return MACHINE_DIVERGENCE;
    }
    if (commit_ring_peek(&vm->commits)) {
        log_writer_abort(&c->writer, "the host took no more of the log");
        return MACHINE_LOG_ERROR;
    }
    fill_trailer(c, &c->trailer);
    if (!c->quiet)
        say_result(c, &c->trailer);
    if (vm->mode == VM_REPLAY)
        status = judge_replay(c, &c->trailer);
    while (!host_is_gone(c) && !log_writer_trailer(&c->writer, &c->trailer))
        control_poll(c);
    return status;
}

enum machine_status control_end(struct control *c)
{
    uint64_t ticks = c->vm->tsc_end - c->vm->tsc_begin;
    enum machine_status status;

    c->acknowledged = c->link.una;
    c->patience_ends = rdtsc() + c->tsc_hz * ANSWER_SECONDS;
    drain_guest(c);
    status = write_end(c, ticks);
    if (c->log_to != CONTROL_LOG_WIRE)
        ship_log(c);
    return status;
}

void control_send_kept(struct control *c)
{
    size_t sent = 0;

    while (c->serial && sent < c->kept.used && !host_is_gone(c)) {
        sent += link_send(&c->link, LINK_STREAM_LOG, c->kept.bytes + sent, c->kept.used - sent);
        send_messages(c);
        pump_wire(c);
    }
}

enum machine_status control_close(struct control *c, enum machine_status status)
{
    c->acknowledged = c->link.una;
    c->patience_ends = rdtsc() + c->tsc_hz * ANSWER_SECONDS;
    if (!deliver_all(c)) {
        msg_set_sink(msg_plain_sink, NULL);
        hv_msg(MSG_ERROR, "nobody acknowledges the log: is retro collect running at the other end?");
        return status == MACHINE_OK ? MACHINE_LOG_ERROR : status;
    }
    msg_set_sink(msg_plain_sink, NULL);
    return status;
}
