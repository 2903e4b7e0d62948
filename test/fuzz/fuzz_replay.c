/*
 * Forged logs that decode, given to the whole replay engine on the fake machine: a real recording with some
 * records changed in any way that the format allows. A replay must end in a divergence that it names, not
 * before the first commit that was changed, or come out as it was recorded; nothing else.
 *
 * Input: which recording, how the replay is served, then the changes, CHANGE_BYTES each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "replay/accessed.h"
#include "replay/log_codec.h"
#include "test/fake/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDINGS    6u
#define COMMITS_MAX   4096u
#define CHANGES_MAX   8u
#define CHANGE_BYTES  12u
#define WRITER_BYTES  (1u << 20)
#define BLOCK_PAYLOAD 1024u

/* A recording, and its log as records. */
struct recording {
    struct fake_guest guest;
    struct fake_machine_config config;
    struct fake_result *result; /* NULL: not made yet */
    struct rec_header header;
    struct rec_trailer trailer;
    struct rec_commit commits[COMMITS_MAX];
    uint64_t count;
};

struct change {
    uint64_t seq, value;
    uint8_t what;
};

static struct recording recordings[RECORDINGS];

static void decode(struct recording *recording)
{
    struct fake_result *result = recording->result;
    struct log_reader reader;
    struct log_block block;
    struct log_commits it;

    log_reader_init(&reader);
    while (log_reader_next(&reader, result->log, result->log_bytes, &block) == LOG_BLOCK) {
        if (block.type != LOG_TYPE_COMMITS)
            continue;
        log_commits_begin(&it, &reader, &block);
        while (recording->count < COMMITS_MAX &&
               log_commits_next(&it, &recording->commits[recording->count]) == LOG_COMMIT)
            recording->count++;
    }
    HV_CHECK(reader.complete && recording->count == result->commits);
    recording->header = reader.header;
    recording->trailer = reader.trailer;
}

static struct recording *take_recording(uint32_t index)
{
    struct recording *recording = &recordings[index];
    uint64_t seed = 40 + index;

    if (recording->result)
        return recording;
    recording->guest = (struct fake_guest){
        .pieces = PIECES_ALL, .calls = 5, .rounds = 1, .seed = seed, .vcpus = 1 + index % 3};
    recording->config = fake_machine_defaults(&recording->guest, seed);
    recording->config.input = 5;
    recording->config.model.pmu = index % 2;
    recording->result = fake_record(&recording->config);
    decode(recording);
    return recording;
}

/* ---- Changes ---- */

static void change_events(struct rec_chunk *chunk, uint64_t value)
{
    struct rec_event event = {.kind = (uint8_t)(value % REC_EVENT_COUNT), .vector = (uint8_t)(value >> 8)};
    uint32_t at = (uint32_t)(value >> 16) % REC_MAX_EVENTS;

    if (at < chunk->event_count)
        chunk->events[at] = event;
    else if (chunk->event_count < REC_MAX_EVENTS)
        chunk->events[chunk->event_count++] = event;
}

static void change_end(struct rec_chunk *chunk, uint64_t value)
{
    chunk->end = (uint8_t)(value % REC_END_COUNT);
    if (chunk->end != REC_END_POSITION)
        chunk->flags &= (uint8_t)~REC_F_REP;
}

static void change_time(struct rec_chunk *chunk, uint64_t value)
{
    chunk->flags ^= value & 1 ? 0 : REC_F_TIME;
    chunk->time_base = chunk->flags & REC_F_TIME ? value >> 1 : 0;
}

static void change_position(struct rec_chunk *chunk, uint8_t what, uint64_t value)
{
    struct rec_position *position = &chunk->position;

    if (chunk->end != REC_END_POSITION)
        return;
    switch (what % 8) {
    case 0:
        position->rip += value;
        break;
    case 1:
        position->rflags ^= value;
        break;
    case 2:
        position->duration = value;
        break;
    case 3:
        position->rcx = value;
        break;
    case 4:
        position->regs_check ^= (uint32_t)value;
        break;
    case 5:
        position->state_check ^= (uint32_t)value;
        break;
    case 6:
        position->branches = chunk->flags & REC_F_BRANCHES ? value : 0;
        break;
    default:
        chunk->flags ^= REC_F_REP;
        break;
    }
}

/* Another list, if it is one: a byte changed, added or taken away. */
static void change_accessed(struct rec_chunk *chunk, uint64_t value)
{
    uint8_t bytes[REC_ACCESSED_MAX], length = chunk->accessed_bytes;

    memcpy(bytes, chunk->accessed, sizeof(bytes));
    if (value & 1 || !length) {
        length = (uint8_t)MIN(length + 4u, REC_ACCESSED_MAX);
        bytes[length - 4] = (uint8_t)(value >> 8 & 0x7f);
        bytes[length - 3] = 1;
        bytes[length - 2] = (uint8_t)(value >> 16 & 0x7f);
        bytes[length - 1] = (uint8_t)(value >> 24 & 0x7f);
    } else {
        bytes[(value >> 8) % length] ^= (uint8_t)(value >> 16);
    }
    if (!accessed_valid(bytes, length))
        return;
    memcpy(chunk->accessed, bytes, sizeof(bytes));
    chunk->accessed_bytes = length;
}

static void change_chunk(struct rec_chunk *chunk, const struct change *change, uint32_t vcpus)
{
    switch (change->what % 16) {
    case 0:
        chunk->lag = (uint32_t)(change->value % change->seq);
        break;
    case 1:
        chunk->vcpu = (uint8_t)(change->value % vcpus);
        break;
    case 2:
        change_end(chunk, change->value);
        break;
    case 3:
        chunk->digest ^= (uint16_t)change->value;
        break;
    case 4:
        change_time(chunk, change->value);
        break;
    case 5:
        chunk->event_count = (uint8_t)(change->value % (chunk->event_count + 1u));
        break;
    case 6:
        change_events(chunk, change->value);
        break;
    case 7:
        change_accessed(chunk, change->value);
        break;
    default:
        change_position(chunk, change->what % 16, change->value);
        break;
    }
}

static void change_input(struct rec_input *input, const struct change *change)
{
    input->length = (uint16_t)(1 + change->value % REC_MAX_INPUT);
    input->data[change->what % input->length] ^= (uint8_t)(change->value >> 16);
}

/* Changes one record, or moves another one to its place. */
static void apply(struct rec_commit *commits, uint64_t count, const struct change *change, uint32_t vcpus)
{
    struct rec_commit *commit = &commits[change->seq - 1];

    if (change->what >= 0xf0) {
        struct rec_commit other = commits[change->value % count];
        commits[change->value % count] = *commit;
        *commit = other;
    } else if (commit->kind == REC_CHUNK) {
        change_chunk(&commit->chunk, change, vcpus);
    } else {
        change_input(&commit->input, change);
    }
}

/* What the format asks for whatever else a record says. */
static void mend(struct rec_chunk *chunk, uint64_t seq, uint32_t branch_event)
{
    chunk->lag = (uint32_t)MIN(chunk->lag, seq - 1);
    chunk->flags &= (uint8_t)~REC_F_BRANCHES;
    if (branch_event && chunk->end == REC_END_POSITION)
        chunk->flags |= REC_F_BRANCHES;
}

static uint64_t change_log(const struct recording *recording, struct rec_commit *commits, const uint8_t *data,
                           size_t size)
{
    uint64_t first = recording->count + 1;

    memcpy(commits, recording->commits, recording->count * sizeof(*commits));
    for (uint32_t i = 0; i < CHANGES_MAX && size >= CHANGE_BYTES;
         i++, size -= CHANGE_BYTES, data += CHANGE_BYTES) {
        struct change change = {.what = data[3]};
        uint16_t place;
        memcpy(&place, data, sizeof(place));
        memcpy(&change.value, data + 4, sizeof(change.value));
        change.seq = 1 + place % recording->count;
        first = MIN(first,
                    change.what >= 0xf0 ? MIN(change.seq, change.value % recording->count + 1) : change.seq);
        apply(commits, recording->count, &change, recording->guest.vcpus);
    }
    for (uint64_t seq = 1; seq <= recording->count; seq++) {
        if (commits[seq - 1].kind == REC_CHUNK)
            mend(&commits[seq - 1].chunk, seq, recording->header.branch_event);
    }
    return first;
}

static size_t write_log(const struct recording *recording, const struct rec_commit *commits, uint8_t *bytes)
{
    struct log_writer writer;
    size_t length;

    log_writer_init(&writer, bytes, WRITER_BYTES, BLOCK_PAYLOAD);
    HV_CHECK(log_writer_header(&writer, &recording->header));
    for (uint64_t i = 0; i < recording->count; i++)
        HV_CHECK(log_writer_commit(&writer, &commits[i], 0));
    log_writer_flush(&writer);
    HV_CHECK(log_writer_trailer(&writer, &recording->trailer));
    log_writer_peek(&writer, &length);
    return length;
}

/* ---- Replay ---- */

static void judge(const struct recording *recording, const struct fake_result *replayed, uint64_t first)
{
    char text[600], where[40];

    if (!replayed->diverged) {
        if (fake_results_differ(recording->result, replayed, text, sizeof(text))) {
            fprintf(stderr, "changed from seq %llu on, nothing reported, and different: %s\n",
                    (unsigned long long)first, text);
            HV_CHECK(!"a difference that is not reported");
        }
        return;
    }
    snprintf(where, sizeof(where), "seq %llu:", (unsigned long long)replayed->commits + 1);
    if (replayed->commits + 1 < first || !strstr(replayed->divergence, where)) {
        fprintf(stderr, "changed from seq %llu on, %llu commits replayed: %s\n", (unsigned long long)first,
                (unsigned long long)replayed->commits, replayed->divergence);
        HV_CHECK(!"a report of something else");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rec_commit commits[COMMITS_MAX];
    static uint8_t bytes[WRITER_BYTES];
    struct recording *recording;
    struct fake_machine_config config;
    struct fake_result *replayed;
    uint64_t first;

    if (size < 2 + CHANGE_BYTES)
        return 0;
    recording = take_recording(data[0] % RECORDINGS);
    config = recording->config;
    config.seed = config.model.seed = data[1];
    config.model.strange_code = true;
    first = change_log(recording, commits, data + 2, size - 2);
    config.log = bytes;
    config.log_bytes = write_log(recording, commits, bytes);
    replayed = fake_replay(&config);
    judge(recording, replayed, first);
    fake_result_delete(replayed);
    return 0;
}
