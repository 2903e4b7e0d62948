#include "hv/replay_log.h"

#include "hv/msg.h"
#include "replay/log_detail.h"

#include <stdio.h>
#include <string.h>

#define TRAITS_TEXT_SIZE 256u

/*
 * Counts the commits that can be replayed; messages say why it is not the whole log. *detail: whether it
 * tells more of some than replaying needs.
 */
static bool count_commits(struct vm_replay *replay, const uint8_t *bytes, size_t size, bool *detail)
{
    struct log_reader reader;
    struct log_block block;
    enum log_status status;

    log_reader_init(&reader);
    while ((status = log_reader_next(&reader, bytes, size, &block)) == LOG_BLOCK) {
        if (block.type == LOG_TYPE_COMMITS)
            replay->count += block.count;
        *detail = *detail || block.type == LOG_TYPE_DETAIL;
    }
    if (status == LOG_ERROR && !reader.have_header) {
        hv_msg(MSG_ERROR, "log: %s at offset %llu", log_error_text(reader.error),
               (unsigned long long)reader.offset);
        return false;
    }
    if (!reader.have_header) {
        hv_msg(MSG_ERROR, "log: cut off before the end of its header");
        return false;
    }
    if (status == LOG_ERROR)
        hv_msg(MSG_WARNING, "log: %s at offset %llu: replaying what comes before",
               log_error_text(reader.error), (unsigned long long)reader.offset);
    else if (!reader.complete)
        hv_msg(MSG_WARNING, "log: %s%s; replaying its %llu commits",
               reader.aborted ? "the recorder died: " : "incomplete", reader.reason,
               (unsigned long long)replay->count);
    replay->header = reader.header;
    replay->complete = reader.complete;
    if (reader.complete)
        replay->trailer = reader.trailer;
    return true;
}

/* Decodes one block's commits from `at`; the count of good ones. */
static uint64_t decode_block(struct vm_replay *replay, const struct log_reader *reader,
                             const struct log_block *block, uint64_t at)
{
    struct log_commits it;
    enum log_step step;
    uint64_t before = at;

    log_commits_begin(&it, reader, block);
    while ((step = log_commits_next(&it, &replay->commits[at])) == LOG_COMMIT)
        at++;
    if (step == LOG_COMMITS_ERROR)
        hv_msg(MSG_WARNING, "log: %s at offset %llu", log_error_text(it.error),
               (unsigned long long)it.offset);
    return step == LOG_COMMITS_ERROR ? 0 : at - before;
}

/* Notes where the log tells more of a commit. What does not decode is only not there. */
static void index_detail(struct vm_replay *replay, const struct log_block *block)
{
    const uint8_t *at = block->payload, *end = at + block->length;
    struct log_detail detail;

    while (at < end) {
        const uint8_t *entry = at;
        if (log_detail_next(&at, end, &detail) != LOG_OK) {
            hv_msg(MSG_WARNING, "log: %s at offset %llu", log_error_text(LOG_ERROR_DETAIL),
                   (unsigned long long)block->offset);
            return;
        }
        if (detail.seq >= 1 && detail.seq <= replay->count)
            replay->detail[detail.seq - 1] = entry;
    }
}

static void index_details(struct vm_replay *replay, const uint8_t *bytes, size_t size)
{
    struct log_reader reader;
    struct log_block block;

    log_reader_init(&reader);
    while (log_reader_next(&reader, bytes, size, &block) == LOG_BLOCK) {
        if (block.type == LOG_TYPE_DETAIL)
            index_detail(replay, &block);
    }
}

static void decode(struct vm_replay *replay, const uint8_t *bytes, size_t size)
{
    struct log_reader reader;
    struct log_block block;
    uint64_t done = 0;

    log_reader_init(&reader);
    while (done < replay->count && log_reader_next(&reader, bytes, size, &block) == LOG_BLOCK) {
        uint64_t more;
        if (block.type != LOG_TYPE_COMMITS)
            continue;
        more = decode_block(replay, &reader, &block, done);
        if (!more)
            break;
        done += more;
    }
    if (done < replay->count)
        replay->complete = false;
    replay->count = done;
}

static void link_by_vcpu(struct vm_replay *replay)
{
    uint64_t last[MAX_VCPUS] = {0};

    for (uint64_t seq = 1; seq <= replay->count; seq++) {
        const struct rec_commit *commit = &replay->commits[seq - 1];
        uint32_t vcpu = commit->chunk.vcpu;
        if (commit->kind != REC_CHUNK)
            continue;
        if (last[vcpu])
            replay->next_of_vcpu[last[vcpu] - 1] = seq;
        else
            replay->first[vcpu] = seq;
        last[vcpu] = seq;
    }
}

bool replay_log_read(struct vm_replay *replay, const uint8_t *bytes, size_t size, struct mem *mem)
{
    bool detail = false;

    if (!count_commits(replay, bytes, size, &detail))
        return false;
    if (replay->count == 0) {
        hv_msg(MSG_ERROR, "log: it holds no commits: there is nothing to replay");
        return false;
    }
    replay->commits = mem_alloc(mem, replay->count * sizeof(*replay->commits), PAGE_SIZE);
    replay->next_of_vcpu = mem_alloc(mem, replay->count * sizeof(*replay->next_of_vcpu), PAGE_SIZE);
    if (detail)
        replay->detail = mem_alloc(mem, replay->count * sizeof(*replay->detail), PAGE_SIZE);
    if (!replay->commits || !replay->next_of_vcpu || (detail && !replay->detail)) {
        hv_msg(MSG_ERROR, "log: too little memory for its %llu commits", (unsigned long long)replay->count);
        return false;
    }
    decode(replay, bytes, size);
    if (detail)
        index_details(replay, bytes, size);
    link_by_vcpu(replay);
    return replay->count != 0;
}

bool replay_log_fits_machine(const struct rec_header *log, uint32_t vcpus, uint64_t memory_bytes)
{
    bool fits = true;

    if (log->semantics != REC_REPLAY_SEMANTICS) {
        hv_msg(MSG_ERROR, "log: replay semantics %u, this hypervisor has %u", log->semantics,
               REC_REPLAY_SEMANTICS);
        fits = false;
    }
    if (log->cpuid_model != CPUID_MODEL_VERSION) {
        hv_msg(MSG_ERROR, "log: CPUID model %u, this hypervisor has %u", log->cpuid_model,
               CPUID_MODEL_VERSION);
        fits = false;
    }
    if (log->vcpus != vcpus) {
        hv_msg(MSG_ERROR, "log: recorded with %u vCPUs, here are %u: use vcpus=%u", log->vcpus, vcpus,
               log->vcpus);
        fits = false;
    }
    if (log->memory_bytes != memory_bytes) {
        hv_msg(MSG_ERROR, "log: recorded with %llu KiB of memory, here are %llu: use mem=%lluK",
               (unsigned long long)log->memory_bytes >> 10, (unsigned long long)memory_bytes >> 10,
               (unsigned long long)log->memory_bytes >> 10);
        fits = false;
    }
    if (log->time_quantum != VM_TIME_QUANTUM) {
        hv_msg(MSG_ERROR, "log: time quantum %u, this hypervisor has %u", log->time_quantum, VM_TIME_QUANTUM);
        fits = false;
    }
    return fits;
}

/* The names of the traits in `mask`, as many as fit. */
static void list_traits(uint64_t mask, char *text, size_t size)
{
    size_t count, used = 0;
    const struct cpuid_feature *traits = cpuid_traits(&count);

    snprintf(text, size, "none that this version knows");
    for (size_t i = 0; i < count && used < size; i++) {
        if (mask & BIT(i))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", traits[i].name);
    }
}

/* A guest that does not ask CPUID would see the difference. */
static bool fits_traits(uint64_t log, uint64_t here)
{
    char names[TRAITS_TEXT_SIZE];

    if (log == here || log == REC_TRAITS_UNKNOWN)
        return true;
    if (log & ~here) {
        list_traits(log & ~here, names, sizeof(names));
        hv_msg(MSG_ERROR, "log: recorded on another kind of processor, with %s", names);
    }
    if (here & ~log) {
        list_traits(here & ~log, names, sizeof(names));
        hv_msg(MSG_ERROR, "log: recorded on another kind of processor, without %s", names);
    }
    return false;
}

bool replay_log_fits_guest(const struct rec_header *log, const struct rec_header *here)
{
    if (!fits_traits(log->host_traits, here->host_traits))
        return false;
    if (strcmp(log->guest_command_line, here->guest_command_line) != 0) {
        hv_msg(MSG_ERROR, "log: recorded with the guest command line \"%s\", here it is \"%s\"",
               log->guest_command_line, here->guest_command_line);
        return false;
    }
    if (log->image_digest != here->image_digest) {
        hv_msg(MSG_ERROR, "log: of another guest image: digest %016llx, here %016llx",
               (unsigned long long)log->image_digest, (unsigned long long)here->image_digest);
        return false;
    }
    return true;
}
