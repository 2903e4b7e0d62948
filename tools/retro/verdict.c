#include "tools/retro/verdict.h"
#include "tools/retro/names.h"
#include "tools/retro/retro.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The names of hv/machine.h, which end the hypervisor's last line. */
static const struct {
    const char *name;
    int code;
} statuses[] = {
    {"ok", RETRO_OK},
    {"refused", RETRO_MACHINE},
    {"bad-command-line", RETRO_USAGE},
    {"bad-boot", RETRO_MACHINE},
    {"bad-guest", RETRO_GUEST},
    {"bad-log", RETRO_MISMATCH},
    {"divergence", RETRO_NOT_EQUAL},
    {"log-error", RETRO_IO},
    {"panic", RETRO_EMULATOR},
};

static int code_of_status(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if (strcmp(statuses[i].name, name) == 0)
            return statuses[i].code;
    }
    return RETRO_EMULATOR;
}

static int code_of_trailer(const struct rec_trailer *t)
{
    if (t->outcome == REC_OUTCOME_EXIT)
        return t->status == 0 ? RETRO_OK : RETRO_GUEST;
    return t->outcome == REC_OUTCOME_LIMIT || t->outcome == REC_OUTCOME_POWER_OFF ? RETRO_OK : RETRO_GUEST;
}

int verdict_of_status(const struct collector *c)
{
    return c->status[0] ? code_of_status(c->status) : RETRO_OK;
}

int verdict_of_run(const struct collector *c)
{
    int code = verdict_of_status(c);

    if (code != RETRO_OK)
        return code;
    if (c->reader.complete)
        return code_of_trailer(&c->reader.trailer);
    return c->reader.aborted || !c->status[0] ? RETRO_EMULATOR : RETRO_OK;
}

char *describe_trailer(const struct rec_trailer *t)
{
    const char *colon = t->reason[0] ? ": " : "";

    switch (t->outcome) {
    case REC_OUTCOME_EXIT:
        return xprintf("guest ended with status %" PRIu32, t->status);
    case REC_OUTCOME_SHUTDOWN:
        return xprintf("guest shut down (triple fault) on vCPU %u%s%s", t->vcpu, colon, t->reason);
    case REC_OUTCOME_REFUSED:
        return xprintf("guest refused on vCPU %u%s%s", t->vcpu, colon, t->reason);
    case REC_OUTCOME_HALTED:
        return xprintf("every vCPU halted for good%s%s", colon, t->reason);
    case REC_OUTCOME_LIMIT:
        return xprintf("limit reached%s%s", colon, t->reason);
    case REC_OUTCOME_POWER_OFF:
        return xprintf("guest switched itself off on vCPU %u%s%s", t->vcpu, colon, t->reason);
    case REC_OUTCOME_RESET:
        return xprintf("guest reset itself on vCPU %u%s%s", t->vcpu, colon, t->reason);
    default:
        return xprintf("unknown outcome %u", t->outcome);
    }
}

char *describe_run(const struct collector *c)
{
    if (verdict_of_status(c) != RETRO_OK && !c->reader.aborted)
        return xprintf("hypervisor ended with status %s", c->status);
    if (c->reader.complete)
        return describe_trailer(&c->reader.trailer);
    if (c->reader.aborted)
        return xprintf("aborted: %s", c->reader.reason);
    return c->status[0]
               ? xprintf("hypervisor ended with status %s, without saying how the guest ended", c->status)
               : xprintf("no result");
}

/* Finds the first byte that differs; false where the texts are equal. */
static bool texts_differ(const struct buffer *a, const struct buffer *b, size_t *at)
{
    size_t common = MIN(a->length, b->length), i = 0;

    while (i < common && a->data[i] == b->data[i])
        i++;
    *at = i;
    return i < common || a->length != b->length;
}

bool compare_results(const struct rec_trailer *recorded, const struct buffer *recorded_text,
                     const struct rec_trailer *replayed, const struct buffer *replayed_text, unsigned vcpus,
                     struct comparison *d)
{
    bool differs;

    *d = (struct comparison){
        .memory = recorded->memory_digest != replayed->memory_digest,
        /* A report holds no commits of its own, and may say 0. */
        .commits = replayed->commits && recorded->commits != replayed->commits,
        .outcome = recorded->outcome != replayed->outcome || recorded->status != replayed->status,
        .console = recorded->console_digest != replayed->console_digest ||
                   recorded->console_bytes != replayed->console_bytes,
    };
    /* A text shorter than its trailer says was not sent in full: nothing to compare with. */
    if (recorded_text->length == recorded->console_bytes && replayed_text->length == replayed->console_bytes)
        d->text = texts_differ(recorded_text, replayed_text, &d->text_at);
    differs = d->memory || d->commits || d->outcome || d->console || d->text;
    for (unsigned i = 0; i < vcpus; i++) {
        d->vcpu[i] = recorded->vcpu_digest[i] != replayed->vcpu_digest[i];
        differs |= d->vcpu[i];
    }
    return !differs;
}

static void print_digests(const char *what, uint64_t recorded, uint64_t replayed)
{
    note("%s: recorded %016" PRIx64 ", replayed %016" PRIx64, what, recorded, replayed);
}

void print_differences(const struct comparison *d, const struct rec_trailer *recorded,
                       const struct rec_trailer *replayed, unsigned vcpus)
{
    char name[32];

    if (d->memory)
        print_digests("memory digest", recorded->memory_digest, replayed->memory_digest);
    for (unsigned i = 0; i < vcpus; i++) {
        snprintf(name, sizeof name, "digest of vCPU %u", i);
        if (d->vcpu[i])
            print_digests(name, recorded->vcpu_digest[i], replayed->vcpu_digest[i]);
    }
    if (d->console)
        note("console: recorded %" PRIu64 " bytes, digest %016" PRIx64 "; replayed %" PRIu64
             " bytes, digest %016" PRIx64,
             recorded->console_bytes, recorded->console_digest, replayed->console_bytes,
             replayed->console_digest);
    if (d->text)
        note("console texts differ from byte %zu on", d->text_at);
    if (d->commits)
        note("commits: recorded %" PRIu64 ", replayed %" PRIu64, recorded->commits, replayed->commits);
    if (d->outcome)
        note("outcome: recorded %s (status %" PRIu32 "), replayed %s (status %" PRIu32 ")",
             outcome_name(recorded->outcome), recorded->status, outcome_name(replayed->outcome),
             replayed->status);
}
