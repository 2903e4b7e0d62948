/*
 * The hypervisor's command line: words `name=value` between spaces. Pure. hv/README.md documents the words
 * for users; an unknown word or a bad value is an error that names the word.
 */
#ifndef RV_HV_CMDLINE_H
#define RV_HV_CMDLINE_H

#include "hv/base/types.h"
#include "hv/noise.h"

enum hv_mode {
    MODE_RECORD, /* the default */
    MODE_REPLAY,
    MODE_RUN,  /* neither: the guest runs without chunks */
    MODE_SOAK, /* records and replays, seed after seed, in one boot */
};

/* Where the log goes. */
enum hv_log {
    LOG_SERIAL,
    LOG_NONE, /* made and thrown away */
};

/* How the machine ends. */
enum hv_end {
    END_HALT,
    END_REBOOT,
    END_BOCHS,          /* 'D' to port 0x8900 */
    END_ISA_DEBUG_EXIT, /* QEMU's isa-debug-exit at port 0x501 */
};

/* Ways to make the start-up code show what it does, for tests: hv/selftest.h. */
enum hv_selftest {
    SELFTEST_NONE,
    SELFTEST_CPUS,  /* interrupts, NMIs and timers between all CPUs, then goes on */
    SELFTEST_TRAP,  /* an invalid instruction on the last CPU */
    SELFTEST_CHECK, /* a failed HV_CHECK */
    SELFTEST_STACK, /* a stack overflow on the last CPU */
    SELFTEST_WRITE, /* a store into the hypervisor's text */
};

/* How chunks are recorded. */
enum hv_policy {
    POLICY_RETROVISOR,
    POLICY_SAMSARA, /* pages copied at commits, none of the improvements: for comparison */
};

/* The improvements, each of which can be turned off, alone or with others. */
enum hv_feature {
    FEATURE_VALUE = 1u << 0, /* no conflict where the content is what the chunk saw */
    FEATURE_EQUAL = 1u << 1, /* a page that came out equal is no write */
    FEATURE_AHEAD = 1u << 2, /* copies ahead of the first write */
    FEATURE_KEEP = 1u << 3,  /* copies that were not committed stay */
    FEATURE_PAUSE = 1u << 4, /* PAUSEs end chunks */
    FEATURE_ADAPT = 1u << 5, /* chunks get shorter after squashes */
    FEATURE_GUESS = 1u << 6, /* replay: the breakpoint is armed late */
};

#define CMDLINE_WORD_SIZE 64

/* A power of two. The least holds what a log cannot do without, the most is far from what memory has. */
#define LOG_BUFFER_MIN (8u << 10)
#define LOG_BUFFER_MAX (16u << 20)

struct hv_options {
    enum hv_mode mode;
    enum hv_log log;
    enum hv_end end;
    uint64_t guest_memory; /* bytes, a multiple of 2 MiB */
    uint32_t vcpus;        /* 0: as many as there are CPUs but one, at most MAX_VCPUS */
    uint32_t chunk;        /* target length of a chunk, TSC ticks */
    uint32_t min_chunk;    /* a chunk is never made shorter, TSC ticks */
    uint32_t pause;        /* this many PAUSEs end a chunk */
    uint32_t stride;       /* TSC ticks of guest time per read of the time */
    uint32_t chaos;        /* seeded variation of the chunk length, percent, 0 to 90 */
    uint32_t baud;         /* of COM1 */
    uint32_t log_buffer;   /* bytes of the log that wait for the line, and as many on it */
    uint64_t seed;
    uint32_t noise;    /* NOISE_*: what else the seed stirs up in recordings */
    uint64_t limit;    /* recording: ends with this commit; 0: no limit */
    uint32_t limit_ms; /* recording, run: ends after so many milliseconds; 0: no limit */
    uint32_t count;    /* mode=soak: rounds, 0: no limit */
    uint32_t seconds;  /* mode=soak: no round begins after them, 0: no limit */
    enum hv_selftest selftest;
    bool detail; /* the log says what each chunk changed */
    enum hv_policy policy;
    uint32_t off;      /* enum hv_feature, or'd */
    bool pml;          /* the write set by page-modification logging */
    bool serial;       /* replay: one chunk at a time */
    bool least_frames; /* recording: no more host pages than it can do with */
    bool verify;       /* compute and check digests */
    bool full_report;  /* the start-up report lists all that was looked at */
    bool msg_port_e9;  /* messages go to port 0xE9 as well */
    bool no_pmu;       /* chunk ends are found again without the PMU */
    bool xapic;        /* use xAPIC mode even where the CPU has x2APIC */
};

enum cmdline_error {
    CMDLINE_OK,
    CMDLINE_UNKNOWN_WORD,
    CMDLINE_BAD_VALUE,
};

/* What an empty command line means. */
struct hv_options cmdline_defaults(void);

/*
 * Parses the line into *options (defaults first). On error the word is copied, cut to fit, to `word` and
 * *options is what the words before it made.
 */
enum cmdline_error cmdline_parse(const char *line, struct hv_options *options, char word[CMDLINE_WORD_SIZE]);

/* The word that selects it: "record", "serial"... */
const char *cmdline_mode_name(enum hv_mode mode);

#endif
