/*
 * A whole machine for host tests: the engine of hv/ with a guest, one fake processor for each vCPU, and what
 * stands in for the control plane. It records a guest into a log, or replays one.
 */
#ifndef RV_TEST_FAKE_MACHINE_H
#define RV_TEST_FAKE_MACHINE_H

#include "hv/vm.h"
#include "test/fake/guest.h"
#include "test/fake/processor.h"

#define FAKE_CONSOLE_MAX 65536u

struct fake_machine_config {
    const struct fake_guest *guest;
    struct fakecpu_model model;
    uint64_t seed; /* of switching between tasks, and of chunk lengths */
    uint32_t chunk_ticks, chunk_min, chaos, pause_limit;
    uint32_t skid;         /* of the first guess, branches; the processor's own is in `model` */
    uint32_t chunk_pages;  /* most pages that a chunk may change */
    uint32_t spare_frames; /* beyond the least that order_init() takes */
    uint32_t noise;        /* recording: NOISE_* */
    bool threads;          /* not switched in one thread */
    uint32_t input;        /* recording: bytes of console input, at random times */
    uint64_t limit;        /* recording: the commit that ends it, or 0 */
    bool detail;           /* recording: the log tells registers and words */
    bool pml;              /* page-modification logging */
    uint32_t view_policy;  /* enum view_policy, or'd */
    bool fixed_length;     /* not shorter after squashes */
    bool no_guess;         /* replay: the breakpoint is armed from the begin */
    bool serial;           /* replay: each chunk alone, on the snapshot just before it */
    const uint8_t *log;    /* replay */
    size_t log_bytes;
    /* To be done before the vCPUs run, with the log read; or NULL. */
    void (*prepare)(struct vm *vm, void *context);
    void *context;
};

/* A configuration that suits most tests. */
struct fake_machine_config fake_machine_defaults(const struct fake_guest *guest, uint64_t seed);

struct fake_result {
    uint8_t memory[GUEST_BYTES];
    uint32_t vcpus;
    struct vcpu_state state[MAX_VCPUS];
    struct vm_outcome outcome;
    uint64_t commits, digest;         /* the running one */
    uint64_t counters[REC_COUNT_MAX]; /* of all vCPUs together */
    uint64_t fought;         /* squashes that all vCPUs' contentions know of, or know that they miss */
    uint64_t instructions;   /* executed, those of squashed chunks too */
    uint64_t pmu_interrupts; /* of all processors */
    uint32_t console_bytes;
    uint8_t console[FAKE_CONSOLE_MAX];
    bool diverged;
    char divergence[512];
    uint8_t *log; /* recording */
    size_t log_bytes;
};

/* All stop the test on what should never happen. The result is freed by fake_result_delete(). */
struct fake_result *fake_record(const struct fake_machine_config *config);
struct fake_result *fake_replay(const struct fake_machine_config *config);
/* mode=run: neither; memory is shared. */
struct fake_result *fake_run(const struct fake_machine_config *config);
void fake_result_delete(struct fake_result *result);

/*
 * A recording machine that does not run: the calling thread is on vCPU 0's processor, whose first chunk has
 * begun. For tests of single functions.
 */
struct fake_bench;
struct fake_bench *fake_bench_new(const struct fake_machine_config *config);
void fake_bench_delete(struct fake_bench *bench);
struct vm *fake_bench_vm(struct fake_bench *bench);
/* Guest memory as vCPU 0's chunk sees it, for writing; the page becomes its own. */
uint8_t *fake_bench_memory(struct fake_bench *bench, uint32_t address);

/* Words the first difference between two results into `text`; false where they are equal. */
bool fake_results_differ(const struct fake_result *a, const struct fake_result *b, char *text, size_t size);

#endif
