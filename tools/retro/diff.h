/* What the two halves of `retro diff` share: two logs side by side, and where they part. */
#ifndef RV_TOOLS_RETRO_DIFF_H
#define RV_TOOLS_RETRO_DIFF_H

#include "tools/retro/logmap.h"
#include "tools/retro/symbols.h"
#include "tools/retro/util.h"

#include <stdbool.h>
#include <stdint.h>

/* What two commits of the same seq differ in; the first that holds of these. */
enum diff_kind {
    DIFF_NONE,
    DIFF_KIND,     /* one is a chunk, the other an input */
    DIFF_INPUT,    /* other bytes came in */
    DIFF_VCPU,     /* another vCPU committed first */
    DIFF_EVENTS,   /* the chunk began with other interrupts */
    DIFF_TIME,     /* ... with another time */
    DIFF_END,      /* it ended in another way */
    DIFF_POSITION, /* ... at another place */
    DIFF_ROUND,    /* ... at the same place with other registers: another time round a loop, for example */
    DIFF_STATE,    /* all the record tells is equal, and yet memory or other state differs */
    DIFF_SHORT,    /* one of the logs has ended */
    DIFF_KIND_COUNT
};

/* One of the two logs, read commit by commit. */
struct diff_side {
    const char *path;
    struct logmap map;
    struct log_reader whole;      /* read to the end of the file or to what is damaged */
    enum log_status whole_status; /* how that ended */
    struct rec_header header;
    struct log_reader reader;
    enum log_status status; /* LOG_BLOCK while there may be more */
    struct log_block block;
    struct log_commits it;
    bool in_block;
    bool bad_record; /* in `block`: nothing behind it is read */
    uint64_t seq;    /* of `commit`; 0: there is no more */
    struct rec_commit commit;
    uint64_t last_rip[MAX_VCPUS], last_seq[MAX_VCPUS]; /* of each vCPU's last position; seq 0: none */
    struct buffer console;                             /* all of it */
};

/* Opens a log and stands before its first commit. Returns RETRO_OK, or an exit code after a message. */
int diff_open(struct diff_side *side, const char *path);
/* Goes to the next commit; false at the log's end. */
bool diff_next(struct diff_side *side);
void diff_close(struct diff_side *side);

/* What the commits that the two sides stand at differ in. Lag and duration are no difference: they tell of
 * the machine. The running digest is one only if nothing else is. */
enum diff_kind diff_commits(const struct diff_side *a, const struct diff_side *b);

/* A clause without a full stop: "another vCPU committed first". */
const char *diff_kind_text(enum diff_kind kind);
/* The short name, for programs. */
const char *diff_kind_name(enum diff_kind kind);
/* What a side's commit is, in words; freed by the caller. */
char *diff_describe(const struct diff_side *side, const struct symbols *symbols);
/* Where a vCPU was last seen before this commit; freed by the caller. */
char *diff_describe_last(const struct diff_side *side, unsigned vcpu, const struct symbols *symbols);

#endif
