/* JSON forms of headers, trailers, counters and verdicts. */
#include "tools/retro/names.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

json_t *json_hex(uint64_t value)
{
    return json_sprintf("%016" PRIx64, value);
}

json_t *json_u64(uint64_t value)
{
    if (value > INT64_MAX)
        return json_sprintf("%" PRIu64, value);
    return json_integer((json_int_t)value);
}

json_t *json_bytes(const uint8_t *bytes, size_t length)
{
    char *hex = xmalloc(2 * length + 1);

    for (size_t i = 0; i < length; i++)
        sprintf(hex + 2 * i, "%02x", bytes[i]);
    json_t *string = json_stringn(hex, 2 * length);
    free(hex);
    return string;
}

json_t *json_text(const char *text)
{
    json_t *string = json_string(text);

    if (string)
        return string;
    char *copy = xprintf("%s", text);
    for (char *p = copy; *p; p++) {
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    }
    string = json_string(copy);
    free(copy);
    return string;
}

json_t *json_of_header(const struct rec_header *h)
{
    json_t *o = json_object();

    json_object_set_new(o, "semantics", json_integer(h->semantics));
    json_object_set_new(o, "vcpus", json_integer(h->vcpus));
    json_object_set_new(o, "memory_bytes", json_u64(h->memory_bytes));
    json_object_set_new(o, "image_digest", json_hex(h->image_digest));
    json_object_set_new(o, "cpuid_model", json_integer(h->cpuid_model));
    json_object_set_new(o, "pause_limit", json_integer(h->pause_limit));
    json_object_set_new(o, "time_stride", json_integer(h->time_stride));
    json_object_set_new(o, "time_quantum", json_integer(h->time_quantum));
    json_object_set_new(o, "tsc_hz", json_u64(h->tsc_hz));
    json_object_set_new(o, "seed", json_u64(h->seed));
    if (h->host_traits != REC_TRAITS_UNKNOWN)
        json_object_set_new(o, "host_traits", json_hex(h->host_traits));
    json_object_set_new(o, "branch_event", json_integer(h->branch_event));
    json_object_set_new(o, "guest_command_line", json_text(h->guest_command_line));
    json_object_set_new(o, "build_id", json_text(h->build_id));
    return o;
}

json_t *json_of_trailer(const struct rec_trailer *t, unsigned vcpus)
{
    json_t *o = json_object(), *digests = json_array();

    json_object_set_new(o, "outcome", json_string(outcome_name(t->outcome)));
    json_object_set_new(o, "vcpu", json_integer(t->vcpu));
    json_object_set_new(o, "status", json_integer(t->status));
    json_object_set_new(o, "commits", json_u64(t->commits));
    json_object_set_new(o, "memory_digest", json_hex(t->memory_digest));
    for (unsigned i = 0; i < vcpus; i++)
        json_array_append_new(digests, json_hex(t->vcpu_digest[i]));
    json_object_set_new(o, "vcpu_digests", digests);
    json_object_set_new(o, "console_digest", json_hex(t->console_digest));
    json_object_set_new(o, "console_bytes", json_u64(t->console_bytes));
    json_object_set_new(o, "reason", json_text(t->reason));
    return o;
}

json_t *json_of_counters(uint64_t counters[MAX_VCPUS][REC_COUNT_MAX], unsigned vcpus)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < vcpus; i++) {
        json_t *o = json_object();
        for (unsigned k = 0; k < REC_COUNT_MAX; k++)
            json_object_set_new(o, log_counter_name(k), json_u64(counters[i][k]));
        json_array_append_new(list, o);
    }
    return list;
}

json_t *json_of_comparison(const struct comparison *d, unsigned vcpus)
{
    json_t *list = json_array();

    if (d->memory)
        json_array_append_new(list, json_string("memory"));
    for (unsigned i = 0; i < vcpus; i++) {
        if (d->vcpu[i])
            json_array_append_new(list, json_sprintf("vcpu%u", i));
    }
    if (d->console || d->text)
        json_array_append_new(list, json_string("console"));
    if (d->commits)
        json_array_append_new(list, json_string("commits"));
    if (d->outcome)
        json_array_append_new(list, json_string("outcome"));
    return list;
}

json_t *json_of_run(const char *command, int code, struct collector *c)
{
    unsigned vcpus = c->reader.header.vcpus;
    json_t *o = json_object();

    json_object_set_new(o, "command", json_string(command));
    json_object_set_new(o, "code", json_integer(code));
    json_object_set_new(o, "verdict", json_string(retro_exit_name(code)));
    json_object_set_new(o, "status", json_text(c->status));
    json_object_set_new(o, "seconds", json_real(now() - c->display.begin));
    json_object_set_new(o, "log_bytes", json_integer((json_int_t)c->log.size));
    json_object_set_new(o, "console_bytes_received", json_integer((json_int_t)c->console.length));
    if (c->reader.have_header)
        json_object_set_new(o, "header", json_of_header(&c->reader.header));
    if (c->have_counters)
        json_object_set_new(o, "counters", json_of_counters(c->counters, vcpus));
    if (c->reader.complete)
        json_object_set_new(o, "trailer", json_of_trailer(&c->reader.trailer, vcpus));
    if (c->reader.aborted)
        json_object_set_new(o, "abort", json_text(c->reader.reason));
    return o;
}

void json_print(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    fflush(stdout);
    json_decref(object);
}
