/*
 * The plain records that recorder, log codec and replayer exchange. replay/FORMAT.md says how they
 * look as bytes; here they are the decoded form, one per commit.
 *
 * A commit is either a chunk of a vCPU or an input of a device. The log is the list of commits in seq
 * order, starting at seq 1, so a record carries no seq of its own.
 */
#ifndef RV_REPLAY_RECORD_H
#define RV_REPLAY_RECORD_H

#include "hv/base/types.h"

/* How a chunk ended. All but REC_END_POSITION are found again by the exit that they name. */
enum rec_end {
    REC_END_POSITION = 0, /* cut anywhere (timer, no free frame): the position says where */
    REC_END_PAUSE,        /* the k-th PAUSE of the chunk, after it retired */
    REC_END_HLT,          /* before a HLT; the act halts the vCPU */
    REC_END_IO,           /* before a port access that a device answers */
    REC_END_MMIO,         /* before a memory-mapped access that a device answers */
    REC_END_APIC,         /* before an APIC access that others can see (ICR, EOI of a level, LDR ...) */
    REC_END_SHUTDOWN,     /* triple fault */
    REC_END_REFUSED,      /* an instruction or exit that Retrovisor refuses by name; the guest ends */
    REC_END_COUNT
};

/* An event from outside a vCPU that it takes at the begin of a chunk. */
enum rec_event_kind {
    REC_EVENT_FIXED = 0, /* edge-triggered vector into IRR */
    REC_EVENT_TIMER,     /* its own APIC timer was due; vector from the LVT */
    REC_EVENT_NMI,
    REC_EVENT_INIT,
    REC_EVENT_SIPI,   /* vector = start page */
    REC_EVENT_EXTINT, /* the vector that the 8259 pair gave */
    REC_EVENT_LEVEL,  /* level-triggered vector into IRR */
    REC_EVENT_COUNT
};

struct rec_event {
    uint8_t kind; /* enum rec_event_kind */
    uint8_t vector;
};

#define REC_MAX_EVENTS   32u
#define REC_ACCESSED_MAX 120u              /* bytes of a chunk's list of accessed bits */
#define REC_MAX_PAGE     UINT32_C(0xfffff) /* number of a guest page: addresses have 32 bits */

/* Flags of a chunk: which optional parts the record has. */
#define REC_F_TIME UINT8_C(0x01) /* time_base is valid: the chunk read or used guest time */
#define REC_F_REP  UINT8_C(0x02) /* the position is at a REP string instruction: rcx is valid */
/* position.branches is valid: in every position of a log whose header names an event, in no other. */
#define REC_F_BRANCHES UINT8_C(0x04)

/* Where a REC_END_POSITION chunk ended. */
struct rec_position {
    uint64_t rip;         /* linear: CS base + RIP */
    uint64_t rflags;      /* raw, RF included */
    uint64_t rcx;         /* with REC_F_REP */
    uint64_t duration;    /* time spent in the guest, in preemption timer ticks: a hint only */
    uint64_t branches;    /* with REC_F_BRANCHES: what the header's event counted since the chunk's begin */
    uint32_t regs_check;  /* digest of the general registers (not RCX where REC_F_REP), RIP and RFLAGS */
    uint32_t state_check; /* digest of the whole vCPU state and of the changed pages */
};

struct rec_chunk {
    uint8_t vcpu;
    uint8_t end;   /* enum rec_end */
    uint8_t flags; /* REC_F_* */
    uint8_t event_count;
    uint16_t digest;    /* slice of the running digest after this commit */
    uint16_t pages;     /* guest pages changed (statistics; saturates) */
    uint32_t lag;       /* C - 1 - E: the chunk may start on any of the last `lag` + 1 snapshots before C */
    uint64_t time_base; /* guest time of the chunk's begin, in units of the header's time quantum */
    struct rec_position position;
    uint8_t accessed_bytes;                  /* used of `accessed` */
    struct rec_event events[REC_MAX_EVENTS]; /* in the order taken */
    uint8_t accessed[REC_ACCESSED_MAX];      /* accessed bits that replay cannot know: replay/accessed.h */
};

/* Data that a device received from outside, with the seq that it commits at. */
enum rec_device {
    REC_DEVICE_CONSOLE = 0,
    REC_DEVICE_TIME,   /* a clock is due: guest time, little-endian, without its upper bytes that are 0 */
    REC_DEVICE_DATE,   /* what the real-time clock's battery kept: seconds since 1970, likewise */
    REC_DEVICE_VIRTIO, /* a device does its work in guest memory: its number on the PCI bus, one byte */
    REC_DEVICE_COUNT
};

#define REC_MAX_INPUT 256u

struct rec_input {
    uint8_t device;  /* enum rec_device */
    uint16_t length; /* bytes, 1..REC_MAX_INPUT */
    uint16_t digest; /* slice of the running digest after this commit */
    uint8_t data[REC_MAX_INPUT];
};

enum rec_kind { REC_CHUNK = 0, REC_INPUT };

struct rec_commit {
    uint8_t kind; /* enum rec_kind */
    union {
        struct rec_chunk chunk;
        struct rec_input input;
    };
};

/* What a log says about the machine it was made on; replay refuses a different one by name. */
#define REC_REPLAY_SEMANTICS 4u /* raised whenever the same log would replay differently */
#define REC_COMMAND_LINE_MAX 256u
#define REC_BUILD_ID_MAX     64u
#define REC_TRAITS_UNKNOWN   UINT64_MAX /* a log older than the field */

/* What the branches of positions are counts of. Counts of one event mean the same on every machine. */
enum rec_branch_event {
    REC_BRANCHES_NONE = 0,    /* positions have no counts */
    REC_BRANCHES_CONDITIONAL, /* conditional branches that the guest retired, taken or not */
    REC_BRANCHES_COUNT
};

struct rec_header {
    uint32_t semantics;
    uint32_t vcpus;
    uint64_t memory_bytes;
    uint64_t image_digest; /* digest of guest memory as loaded, before the first instruction */
    uint32_t cpuid_model;  /* version of the guest's CPUID model */
    uint32_t pause_limit;  /* PAUSEs that end a chunk */
    uint32_t time_stride;  /* guest time ticks a time read costs */
    uint32_t time_quantum; /* ticks in a unit of time_base; a power of two */
    uint64_t tsc_hz;       /* guest time ticks per second, 0 if not known */
    uint64_t seed;
    uint64_t host_traits; /* cpuid_host_traits() of the recording machine, or REC_TRAITS_UNKNOWN */
    uint8_t branch_event; /* enum rec_branch_event; one unknown here counts something else */
    char guest_command_line[REC_COMMAND_LINE_MAX]; /* NUL-terminated */
    char build_id[REC_BUILD_ID_MAX];               /* information only */
};

/* How a recording ended; a log without one was cut off. */
enum rec_outcome {
    REC_OUTCOME_EXIT = 0,  /* the guest wrote its exit port; status valid */
    REC_OUTCOME_SHUTDOWN,  /* triple fault */
    REC_OUTCOME_REFUSED,   /* the guest did what is refused by name */
    REC_OUTCOME_HALTED,    /* every vCPU halted for good */
    REC_OUTCOME_LIMIT,     /* a limit given by the user was reached */
    REC_OUTCOME_POWER_OFF, /* the guest switched itself off (ACPI S5) */
    REC_OUTCOME_RESET,     /* the guest asked for a reset: port CF9H, keyboard controller */
    REC_OUTCOME_COUNT
};

struct rec_trailer {
    uint8_t outcome; /* enum rec_outcome */
    uint8_t vcpu;    /* whose act ended the guest */
    uint32_t status; /* REC_OUTCOME_EXIT: the value written */
    uint64_t commits;
    uint64_t memory_digest;                 /* all of guest memory */
    uint64_t vcpu_digest[MAX_VCPUS];        /* whole state of each vCPU */
    uint64_t console_digest, console_bytes; /* the guest's console output */
    char reason[128];                       /* for people; NUL-terminated */
};

/* Counters of a run, for statistics only; names in replay/FORMAT.md. */
enum rec_counter {
    REC_COUNT_TICKS = 0, /* host TSC ticks from the guest's first instruction to its end */
    REC_COUNT_CHUNKS,
    REC_COUNT_SQUASHES,
    REC_COUNT_EXITS,
    REC_COUNT_COPIES,       /* pages copied on first write */
    REC_COUNT_COPIES_AHEAD, /* pages copied before any write */
    REC_COUNT_COMPARES,     /* pages compared */
    REC_COUNT_EQUAL_PAGES,  /* private copies found equal to their base */
    REC_COUNT_VALUE_SAVES,  /* conflicts that value validation dismissed */
    REC_COUNT_TOKENS,       /* chunks run with the commit token */
    REC_COUNT_STALLS,       /* waits for the log buffer, ring or frames */
    REC_COUNT_INVEPT,
    REC_COUNT_STEPS,       /* re-entries to leave a shadow before a cut */
    REC_COUNT_TRIES,       /* replay: runs of a chunk thrown away while looking for its end */
    REC_COUNT_HITS,        /* replay: breakpoint exits */
    REC_COUNT_GUEST_TICKS, /* preemption timer ticks spent in the guest, all vCPUs */
    /* Why chunks were squashed; together: REC_COUNT_SQUASHES. The page that a commit had changed ... */
    REC_COUNT_SQUASH_WORDS,  /* the chunk had changed the same words of it */
    REC_COUNT_SQUASH_PAGE,   /* it had changed other words of it */
    REC_COUNT_SQUASH_READ,   /* it had only read it */
    REC_COUNT_SQUASH_TABLES, /* it is known as a paging structure */
    REC_COUNT_SQUASH_OTHER,  /* no conflict: no page to write to, others wanted room, the guest ended */
    /* VM exits by reason; together: REC_COUNT_EXITS. */
    REC_COUNT_EXIT_TIMER,
    REC_COUNT_EXIT_EPT, /* EPT violations: first writes, mostly */
    REC_COUNT_EXIT_PAUSE,
    REC_COUNT_EXIT_IO,
    REC_COUNT_EXIT_HLT,
    REC_COUNT_EXIT_MSR,
    REC_COUNT_EXIT_TIME, /* RDTSC, RDTSCP */
    REC_COUNT_EXIT_CPUID,
    REC_COUNT_EXIT_REGISTERS, /* control and debug registers, XSETBV */
    REC_COUNT_EXIT_WINDOW,    /* an interrupt or NMI can be injected */
    REC_COUNT_EXIT_EXCEPTION, /* breakpoints of the search included, and host NMIs */
    REC_COUNT_EXIT_INTERRUPT, /* the host's */
    REC_COUNT_EXIT_OTHER,
    /* The sets, squashed chunks included. */
    REC_COUNT_READ_PAGES,    /* pages found accessed */
    REC_COUNT_CHANGED_PAGES, /* pages that chunks changed */
    REC_COUNT_TABLES,        /* EPT page tables looked through for accessed pages */
    REC_COUNT_CUTS,          /* chunks committed that a position ends */
    /* Host TSC ticks by what the vCPU's CPU did; together: from the vCPU's begin to its end. */
    REC_COUNT_TICKS_GUEST,    /* VM entry, guest, VM exit */
    REC_COUNT_TICKS_EXITS,    /* handling exits, delivering events, INVEPT */
    REC_COUNT_TICKS_BEGIN,    /* going to a snapshot, copying ahead, time and events */
    REC_COUNT_TICKS_STATE,    /* state into the processor and out of it, saved, put back, digested */
    REC_COUNT_TICKS_COLLECT,  /* harvest, comparing copies with their bases, digesting changes */
    REC_COUNT_TICKS_VALIDATE, /* looking for conflicts */
    REC_COUNT_TICKS_COMMIT,   /* under the order's lock, and waiting for it */
    REC_COUNT_TICKS_SQUASH,   /* copies refilled */
    REC_COUNT_TICKS_SEARCH,   /* replay: comparing a place with the recorded one */
    REC_COUNT_TICKS_ROOM,     /* waiting for room in list, ring, frames, console */
    REC_COUNT_TICKS_TOKEN,    /* waiting for the token, or for its owner */
    REC_COUNT_TICKS_TURN,     /* replay: waiting for a snapshot to start from, or the turn to commit */
    REC_COUNT_TICKS_SLEEP,    /* halted */
    REC_COUNT_COPIES_OUT,     /* policy=samsara: pages copied by commits */
    REC_COUNT_NO_FRAME,       /* chunks cut short, as hardly a frame was free */
    REC_COUNT_EXIT_PML,       /* an exit by reason: the log of written pages was full */
    REC_COUNT_MAX
};

/* What chunks were squashed over; see enum view_cause. A page's row counts them in this order. */
enum rec_cause {
    REC_CAUSE_WORDS = 0, /* the chunk had changed the same words of the page as a commit: true sharing */
    REC_CAUSE_PAGE,      /* other words of it: false sharing */
    REC_CAUSE_READ,      /* it had only read the page */
    REC_CAUSE_TABLES,    /* the page is known as a paging structure */
    REC_CAUSE_DEVICE,    /* the commit was a device's */
    REC_CAUSE_COUNT
};

#define REC_PAGES_MAX 32u
#define REC_WORD_NONE 512u                       /* behind the last 64-bit word of a page */
#define REC_BY_DEVICE (UINT32_C(1) << MAX_VCPUS) /* bits below: the vCPUs */

/* One vCPU's part in the fights over a page. */
struct rec_page_row {
    uint64_t writes; /* its commits that changed the page */
    uint64_t missed; /* so many more of its chunks may have been squashed over the page than `cause` counts */
    uint64_t cause[REC_CAUSE_COUNT]; /* its chunks that were squashed over the page */
    uint16_t by;                     /* over whose commits: a bit for each vCPU, and REC_BY_DEVICE */
    uint16_t word; /* of the page: where most of these commits first changed it, or REC_WORD_NONE */
};

/* The pages over which most chunks were squashed, the most first; statistics only. */
struct rec_pages {
    uint32_t vcpus;
    uint32_t count;    /* of `page` that are used */
    uint64_t unlisted; /* over any other page, at most so many chunks were squashed */
    struct rec_page {
        uint32_t gpn;
        struct rec_page_row row[MAX_VCPUS];
    } page[REC_PAGES_MAX];
};

#endif
