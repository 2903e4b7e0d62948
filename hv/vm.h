/*
 * The guest as a whole, and its vCPUs: what the run loop works on.
 *
 * struct vm is shared. Fields that the commit order protects change only under order.lock, in seq
 * order; what is constant once the vCPUs run says so; the rest is atomic. struct vcpu belongs to the CPU
 * that its vCPU is pinned to, but for its inbound queue (see replay/inbound.h).
 */
#ifndef RV_HV_VM_H
#define RV_HV_VM_H

#include "drivers/vdev/lapic.h"
#include "drivers/vdev/ports.h"
#include "ept/view.h"
#include "hv/base/types.h"
#include "hv/noise.h"
#include "hv/vcpu_state.h"
#include "replay/commit_ring.h"
#include "replay/contention.h"
#include "replay/inbound.h"
#include "replay/log_reader.h"
#include "replay/order.h"
#include "replay/record.h"
#include "replay/view.h"
#include "vmx/vmx.h"

#define VM_TIME_QUANTUM 1024u      /* unit of logged time bases, in guest time ticks */
#define VM_NO_PAUSE_END UINT32_MAX /* a pause_limit: PAUSE ends no chunk, and causes no exit */

enum vm_mode {
    VM_RUN,
    VM_RECORD,
    VM_REPLAY,
};

/* Bytes of the guest's console on their way to the control plane. Producers hold order.lock. */
#define VM_CONSOLE_SIZE (64u << 10)
struct vm_console {
    uint64_t head;
    uint64_t tail;
    uint8_t bytes[VM_CONSOLE_SIZE];
};

/* Entries of replay/log_detail.h on their way to the control plane. Producers hold order.lock. */
struct vm_detail {
    uint8_t *bytes; /* NULL: no detail is wanted */
    uint8_t *lump;  /* DETAIL_LUMP bytes, for the control plane to gather them in */
    uint64_t head;
    uint64_t tail;
};

/* Why the guest stopped; written once, under order.lock. */
struct vm_outcome {
    uint32_t decided; /* atomic: 1 once the rest is valid */
    uint32_t outcome; /* enum rec_outcome */
    uint32_t vcpu;
    uint32_t status;
    uint64_t seq;
    char reason[128];
};

/* A replay that went another way; written once, by whoever sees it first. */
struct vm_divergence {
    uint32_t claimed; /* atomic */
    uint32_t ready;   /* atomic: 1 once the text is complete */
    char text[512];
};

struct vcpu;
struct dma;

/* The log that is replayed: an index of its commits, made before the vCPUs run. */
struct vm_replay {
    struct rec_commit *commits; /* commit seq is commits[seq - 1] */
    uint64_t *next_of_vcpu;     /* seq of the same vCPU's next commit, 0: none */
    uint64_t first[MAX_VCPUS];  /* seq of each vCPU's first commit, 0: none */
    const uint8_t **detail;     /* of each commit: its entry in the log, or NULL; NULL: the log has none */
    uint64_t count;
    struct rec_header header;
    struct rec_trailer trailer;
    bool complete; /* the log has a trailer */
};

struct vm {
    /* Constant while vCPUs run. */
    enum vm_mode mode;
    uint32_t vcpu_count;
    uint64_t memory_bytes;
    uint64_t tsc_hz;
    uint64_t seed; /* of the guest's random numbers */
    uint32_t pause_limit;
    uint32_t time_stride;
    uint64_t chunk_ticks; /* target length of a chunk, TSC ticks */
    uint64_t chunk_min;
    /* Replay: preemption timer ticks after which a chunk has gone astray. */
    uint64_t astray_ticks;
    uint32_t rep_step;    /* preemption timer ticks, once the CPU's rate is known; see position.h */
    uint32_t skid;        /* branches, see POSITION_SKID */
    bool verify;          /* digest every chunk */
    uint32_t log_buffer;  /* bytes */
    bool least_frames;    /* recording: the pool is as small as can be */
    uint64_t limit;       /* recording: the commit that ends the guest; 0: none */
    uint64_t limit_ticks; /* record, run: host TSC ticks after which the guest ends; 0: none */
    bool adapt;           /* chunks get shorter after squashes */
    bool guess;           /* replay: the breakpoint is armed late */
    bool serial;          /* replay: one chunk at a time, in the order of commits */
    uint32_t view_policy; /* enum view_policy, or'd */
    bool pml;             /* the write set comes from page-modification logs */
    uint64_t tsc_start;   /* host TSC at guest time 0 */
    uint64_t tsc_begin;   /* host TSC when the vCPUs were started, and when the last one stopped */
    uint64_t tsc_end;
    const struct vmx_caps *caps;
    struct vmx_controls controls;
    struct vmx_pmu pmu;
    bool counts_branches; /* the PMU is used: see position_choose_way() */
    uint8_t *run_memory;  /* mode=run: guest memory, contiguous */
    struct vcpu *vcpus[MAX_VCPUS];
    struct vm_replay replay;
    struct rec_header header; /* of this run */

    struct frame_pool pool;
    struct commit_order order;
    struct commit_ring commits;

    /* Under order.lock. */
    struct vports ports;
    struct vlapic_dest dests[MAX_VCPUS];
    uint64_t time_given; /* latest guest time that a committed chunk was given */
    uint64_t intr_seq;   /* commit since which `intr` is what it is */
    struct vm_console console;
    struct vm_detail detail;
    struct vm_outcome outcome;

    struct dma *dma; /* the control plane's; see hv/dma.h */

    /* Atomic; these change under order.lock. */
    uint32_t device_work;     /* 1: a device has something to do in guest memory */
    uint32_t intr;            /* INTR of the 8259 pair: its vector, or'd with 100H; 0: not raised */
    uint64_t device_deadline; /* guest time at which a clock has an interrupt to raise, or TICKS_NEVER */

    /* Atomic. */
    struct vm_divergence divergence;
    uint32_t stop;    /* vCPUs return from their loops */
    uint32_t running; /* vCPUs that have not yet */
    uint32_t halted;  /* vCPUs that wait for an interrupt and have none */
};

/* What a chunk's end asks to be done once it is committed. */
enum vcpu_act_kind {
    ACT_NONE,
    ACT_IN,
    ACT_OUT,
    ACT_APIC_WRITE,
    ACT_MMIO_READ,  /* of 4 bytes: what the register gets */
    ACT_MMIO_WRITE, /* the same */
    ACT_HALT,
    ACT_END, /* the guest ends: outcome and reason in the act */
};

struct vcpu_act {
    uint8_t kind;
    uint8_t size;    /* IN, OUT: bytes */
    uint8_t outcome; /* END: enum rec_outcome */
    uint16_t port;   /* IN, OUT */
    uint32_t reg;    /* APIC_WRITE: enum vlapic_reg; MMIO: offset in the I/O APIC's page */
    uint64_t value;  /* OUT, APIC_WRITE, MMIO_WRITE */
    char reason[96]; /* END */
};

/* What a failed attempt to replay a chunk came to. */
#define VCPU_FOUND_PAGES 8u
#define VCPU_FOUND_TEXT  256u
struct vcpu_found {
    bool valid;
    uint8_t end;
    uint32_t page_count;
    uint32_t pages[VCPU_FOUND_PAGES];
    uint64_t branches;
    struct vmx_guest_state cpu;
    uint32_t distance;                 /* of a place: general registers that differ */
    char differences[VCPU_FOUND_TEXT]; /* from what the log tells in detail; empty: it does not */
};

struct vcpu {
    struct vmx_vcpu vmx;
    struct vm *vm;
    uint32_t index;
    uint32_t cpu;             /* index of its physical CPU */
    uint32_t waiting;         /* atomic: it sleeps, and wants a kick when something comes in */
    uint32_t idle;            /* atomic: it sleeps, and no timer of its own will wake it */
    uint32_t takes_intr;      /* atomic: it sleeps, and an interrupt of the 8259 pair will wake it */
    struct vmx_page pages[4]; /* VMXON region, VMCS, MSR bitmap, PML */
    struct ept_view ept;      /* record, replay */
    uint64_t eptp;
    struct view view;
    uint32_t *accessed; /* harvest buffer, one entry per guest page */

    struct vcpu_state *state; /* now; its `cpu` and `xsave` parts only between chunks */
    struct vcpu_state *saved; /* as the last committed chunk left it */
    bool loaded;              /* the VMCS holds state->cpu */
    bool xstate_loaded;       /* the processor holds the SIMD state */
    bool irq_check;           /* the APIC may have something to deliver */

    /* The chunk under way. */
    uint64_t time_base; /* ticks */
    uint64_t time_reads;
    bool time_used;
    uint8_t end; /* enum rec_end */
    uint32_t pauses;
    uint64_t spent;       /* preemption timer ticks that the chunk ran before the timer was last set */
    uint32_t timer_given; /* what it was set to */
    struct vcpu_act act;
    struct vcpu_completion completion; /* of the act */
    struct rec_event events[REC_MAX_EVENTS];
    uint32_t event_count;
    uint32_t events_inbound; /* of them from the inbound queue: the first ones */
    bool wants_intr; /* record, run: the chunk ends where an interrupt of the 8259 pair can be taken */
    struct rec_position position;
    bool at_rep;
    uint8_t *detail_entry; /* of the chunk, where detail is wanted; DETAIL_ENTRY_MAX bytes */

    /* Recording: lengths in preemption timer ticks. */
    uint64_t length;   /* of the next chunk */
    uint32_t squashes; /* in a row */
    uint32_t uncut;    /* of them, those that found no place to end */
    uint32_t hurry;    /* so many chunks more stay as short as the last one was */
    struct noise noise;
    bool token; /* it has the commit token */

    /* Replay. */
    uint64_t seq; /* of the chunk to replay; 0: none left */
    const struct rec_chunk *expected;
    uint64_t margin;         /* how long before the recorded duration's end the breakpoint is armed */
    uint64_t margin_learned; /* what the next chunk tries first */
    uint32_t guesses;        /* failed ones for this chunk */
    uint64_t skid;           /* how many branches before the recorded count the breakpoint is armed */
    struct vcpu_found found;
    uint64_t detail_scratch[PAGE_SIZE / 8]; /* a page as recorded */
    bool flush;                             /* INVEPT before every entry */
    bool passed;                            /* this place was compared: go on */

    struct inbound inbound; /* produced under order.lock */
    uint64_t counters[REC_COUNT_MAX];
    struct contention contention; /* what its chunks were squashed over */
    uint32_t phase;               /* enum rec_counter: which of its ticks count now; see hv/phase.h */
    uint64_t phase_since;
};

static inline bool vm_stopping(const struct vm *vm)
{
    return __atomic_load_n(&vm->stop, __ATOMIC_ACQUIRE) != 0;
}

static inline void vm_stop(struct vm *vm)
{
    __atomic_store_n(&vm->stop, 1, __ATOMIC_RELEASE);
}

/* Guest time of the vCPU now, in ticks; each call is a time read of the chunk. */
uint64_t vcpu_read_time(struct vcpu *vcpu);

#endif
