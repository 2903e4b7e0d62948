#include "hv/soak.h"

#include "hv/cpu/cpu.h"
#include "hv/guest.h"
#include "hv/state.h"

#define LOG_ROOM      (UINT64_C(8) << 20) /* bytes for the log of a round */
#define ROUND_SECONDS 600u                /* a guest that has not ended by then does not end */

struct soak {
    struct hv_state *hv;
    struct control *control;
    struct mem mark; /* free memory before the first round */
    uint64_t tsc_hz;
    uint64_t end; /* host TSC after which no round begins, 0: none */
};

/* What a round came to. */
struct round {
    uint64_t number; /* from 1 */
    uint64_t seed;
    enum machine_status status;
    const char *result; /* a word for programs */
    struct rec_trailer recorded;
    uint64_t squashes, record_ticks, replay_ticks;
};

static uint64_t squashes_of(const struct vm *vm)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        sum += vm->vcpus[i]->counters[REC_COUNT_SQUASHES];
    return sum;
}

/* Takes back all that the last guest was made of, and makes and runs another. */
static enum machine_status run_one(struct soak *soak, const struct vm_config *config, enum control_log log_to,
                                   struct vm **vm)
{
    uint64_t deadline = rdtsc() + soak->tsc_hz * ROUND_SECONDS;
    enum machine_status status;

    control_forget(soak->control);
    soak->hv->mem = soak->mark;
    status = guest_make(soak->hv, config, vm);
    if (status != MACHINE_OK)
        return status;
    return guest_execute(soak->hv, *vm, soak->control, log_to, deadline);
}

static bool record(struct soak *soak, struct round *round)
{
    struct vm_config config = guest_config(soak->hv, VM_RECORD);
    struct vm *vm;

    config.seed = round->seed;
    round->result = "not-recorded";
    round->status = run_one(soak, &config, CONTROL_LOG_KEEP, &vm);
    if (round->status != MACHINE_OK)
        return false;
    round->recorded = soak->control->trailer;
    round->squashes = squashes_of(vm);
    round->record_ticks = vm->tsc_end - vm->tsc_begin;
    if (soak->control->kept.full) {
        hv_msg(MSG_ERROR, "soak: the log needs more than %llu MiB: give the guest less to do",
               (unsigned long long)LOG_ROOM >> 20);
        round->status = MACHINE_LOG_ERROR;
        return false;
    }
    /* The log is sent, and tells the host how the guest ended. */
    round->result = "guest-ended-badly";
    return round->recorded.outcome == REC_OUTCOME_LIMIT || round->recorded.outcome == REC_OUTCOME_POWER_OFF ||
           (round->recorded.outcome == REC_OUTCOME_EXIT && round->recorded.status == 0);
}

static bool replay(struct soak *soak, struct round *round)
{
    struct vm_config config = guest_config(soak->hv, VM_REPLAY);
    struct vm *vm;

    config.log = soak->control->kept.bytes;
    config.log_bytes = soak->control->kept.used;
    round->result = "different";
    round->status = run_one(soak, &config, CONTROL_LOG_DROP, &vm);
    if (round->status != MACHINE_OK)
        return false;
    round->replay_ticks = vm->tsc_end - vm->tsc_begin;
    round->result = "equal";
    return true;
}

/* One line, for people and programs: tools/soak reads it. */
static void say_round(const struct round *round, size_t log_bytes)
{
    hv_msg(round->status == MACHINE_OK ? MSG_INFO : MSG_ERROR,
           "soak round=%llu seed=%llu commits=%llu squashes=%llu log=%llu record=%llu replay=%llu result=%s",
           (unsigned long long)round->number, (unsigned long long)round->seed,
           (unsigned long long)round->recorded.commits, (unsigned long long)round->squashes,
           (unsigned long long)log_bytes, (unsigned long long)round->record_ticks,
           (unsigned long long)round->replay_ticks, round->result);
}

static bool goes_on(const struct soak *soak, uint64_t rounds)
{
    uint32_t count = soak->hv->options.count;

    return (!count || rounds < count) && (!soak->end || rdtsc() < soak->end);
}

static enum machine_status rounds(struct soak *soak)
{
    uint64_t number = 0;

    while (goes_on(soak, number)) {
        struct round round = {.seed = soak->hv->options.seed + number, .number = number + 1};
        bool good = record(soak, &round) && replay(soak, &round);
        say_round(&round, soak->control->kept.used);
        if (!good) {
            control_send_kept(soak->control);
            return round.status;
        }
        number++;
    }
    hv_msg(MSG_INFO, "soak: %llu rounds, all equal", (unsigned long long)number);
    return MACHINE_OK;
}

enum machine_status soak_run(struct hv_state *hv)
{
    struct soak *soak = mem_alloc(&hv->mem, sizeof(*soak), PAGE_SIZE);

    if (!soak)
        return MACHINE_REFUSED;
    soak->hv = hv;
    soak->tsc_hz = hv->cpus.tsc_khz * 1000;
    if (hv->options.seconds)
        soak->end = rdtsc() + soak->tsc_hz * hv->options.seconds;
    soak->control = control_create(&hv->com1, &hv->options, soak->tsc_hz, LOG_ROOM, &hv->mem);
    if (!soak->control) {
        hv_msg(MSG_ERROR, "not enough memory for the logs of mode=soak");
        return MACHINE_REFUSED;
    }
    soak->control->quiet = true;
    soak->mark = hv->mem;
    return control_close(soak->control, rounds(soak));
}
