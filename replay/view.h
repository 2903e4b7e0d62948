/*
 * One actor's view of guest memory (a vCPU's, or a device's): a snapshot of committed memory, the
 * private copies of the chunk under way, and its read and write sets. It knows page and frame numbers
 * only; what maps them (a vCPU's EPT) is told through view_ops.
 *
 * Life of a chunk:
 *     view_begin -> run (view_write_fault ...) -> view_collect -> view_validate -> view_commit_enter
 *     -> view_commit_leave, or view_squash instead from view_collect on.
 * A view belongs to one CPU; only view_commit_enter/leave take the order's lock. Where a chunk is not
 * running, from view_collect to the next view_begin, SIMD registers are made use of (FRAME_SIMD_FREE): the
 * guest's are saved by then, and are loaded after view_begin.
 */
#ifndef RV_REPLAY_VIEW_H
#define RV_REPLAY_VIEW_H

#include "replay/accessed.h"
#include "replay/order.h"

struct view_page {
    uint64_t seq;   /* commit that made `frame` */
    uint32_t frame; /* committed version that the snapshot holds */
    uint32_t copy;  /* private copy that is mapped instead, or FRAME_NONE */
    uint32_t mark;  /* chunk number that last had the page in its read set */
    uint8_t heat;   /* how often it was written lately, 0..VIEW_HEAT_MAX */
    bool table;     /* it was seen as a paging structure */
    uint8_t reserved[2];
    uint64_t writes; /* commits of this actor that changed it: for statistics */
};

#define VIEW_HEAT_MAX   6u
#define VIEW_HEAT_AHEAD 3u /* from here on a page is copied before the first write */

struct view_ops {
    void *ctx;
    /* Between chunks: maps page gpn to the frame; any mapping it had is replaced, its A and D bits are clear.
     */
    void (*map)(void *ctx, uint32_t gpn, uint32_t frame, bool writable);
    /* Within a chunk: maps page gpn to its new private copy; that it was read already must not be forgotten.
     */
    void (*make_private)(void *ctx, uint32_t gpn, uint32_t frame);
};

struct view_counters {
    uint64_t copies, copies_ahead, compares, equal_pages, value_saves, rebuilds;
    uint64_t read_pages, changed_pages, copies_out;
    uint64_t no_frame; /* chunks cut short, as hardly a frame was free */
};

/* What a conflict was about: how the chunk had used the page that a commit has changed. */
enum view_cause {
    VIEW_CAUSE_NONE,  /* there was none */
    VIEW_CAUSE_WORDS, /* it had changed the same words */
    VIEW_CAUSE_PAGE,  /* it had changed other words */
    VIEW_CAUSE_READ,  /* it had only read it */
    VIEW_CAUSE_TABLE, /* it is a paging structure of the guest */
};

/* The conflict of a chunk, for statistics. */
struct view_conflict {
    enum view_cause cause;
    /* Where there was one: */
    uint32_t gpn;
    uint32_t actor; /* whose commit it was */
    uint32_t word;  /* the first that the commit changed; VIEW_CAUSE_WORDS: that the chunk had changed, too */
};

/* What a view does to save copies, exits and squashes. All but the last are on unless said otherwise. */
enum view_policy {
    VIEW_VALUE = 1u << 0, /* a page with the content that the chunk saw is no conflict, whatever its commit */
    VIEW_EQUAL = 1u << 1, /* a private copy that equals its base is no write */
    VIEW_AHEAD = 1u << 2, /* pages written chunk after chunk are copied before the first write */
    VIEW_KEEP = 1u << 3,  /* copies that were not committed stay for the next chunk */
    VIEW_COPY_OUT =
        1u << 4, /* a commit copies each changed page, under the lock, in place of swapping frames */
    VIEW_DEFAULT = VIEW_VALUE | VIEW_EQUAL | VIEW_AHEAD | VIEW_KEEP,
};

/* A page in an access list: its number, and whether it was written. */
#define VIEW_DIRTY UINT32_C(0x80000000)

struct view {
    struct commit_order *order;
    struct view_ops ops;
    struct view_page *page; /* order->pages entries */
    uint32_t *copies;       /* pages that have a private copy; room for order->chunk_pages */
    uint32_t *writes;       /* pages that the chunk changed, ascending; room for order->chunk_pages */
    uint64_t position;      /* commit list entries before it are in the snapshot */
    uint64_t snapshot;      /* S: seq of the snapshot */
    uint64_t validated;     /* commit list entries before it are checked against the read set */
    uint64_t newest;        /* E so far: latest commit that the chunk depends on */
    uint64_t last_commit;   /* seq of this actor's previous commit */
    uint32_t actor;         /* index of the vCPU or device */
    uint32_t chunk;         /* number of the chunk, never 0 */
    uint32_t copy_count;
    uint32_t write_count;
    uint64_t write_digest; /* of the write set */
    /* Accessed bits: recording, those that the chunk's record must list; replay, those that it lists. */
    struct accessed_list accessed;
    bool accessed_full; /* recording: the record cannot hold them: squash, and run a shorter chunk */
    bool settles;       /* replay: the bits are made the recorded ones */
    struct view_conflict conflict; /* of the chunk */
    bool cut_short;                /* the chunk lacked pages, or nearly did */
    bool stale_copies;             /* `copies` names pages without a copy */
    bool from_reserve;             /* replay: takes frames of the reserve too */
    uint32_t policy;               /* enum view_policy, or'd; constant once chunks run */
    struct view_counters counters;
};

/* Memory for the arrays comes from the caller: page[order->pages], copies and writes[chunk_pages]. */
void view_init(struct view *view, struct commit_order *order, uint32_t actor, const struct view_ops *ops,
               struct view_page *page, uint32_t *copies, uint32_t *writes);

/*
 * Before the guest runs, on any CPU: maps committed memory now, which the first view_begin() would do else.
 * The view rests then, and is not parked.
 */
void view_join(struct view *view);

/* Brings the view to the present seq, copies ahead, and starts a chunk. Returns S. */
uint64_t view_begin(struct view *view);

enum view_fault {
    VIEW_FAULT_COPIED,   /* the page is private and writable now */
    VIEW_FAULT_NO_FRAME, /* the pool is empty: end the chunk before the instruction */
    VIEW_FAULT_FULL,     /* the chunk has changed as many pages as it may: likewise */
};
/* The chunk is about to write page gpn (< order->pages), which has no private copy yet. */
enum view_fault view_write_fault(struct view *view, uint32_t gpn);

static inline bool view_has_copy(const struct view *view, uint32_t gpn)
{
    return view->page[gpn].copy != FRAME_NONE;
}

/* Page gpn (< order->pages) is a paging structure of the guest, as a walk has shown. It stays one. */
static inline void view_note_table(struct view *view, uint32_t gpn)
{
    view->page[gpn].table = true;
}

/* Whether a write fault will soon find no room or no frame: a good time to end the chunk. It is noted. */
bool view_nearly_full(struct view *view);

/* The bytes of page gpn as the chunk sees them. */
static inline void *view_data(const struct view *view, uint32_t gpn)
{
    const struct view_page *page = &view->page[gpn];

    return frame_data(view->order->pool, page->copy != FRAME_NONE ? page->copy : page->frame);
}

/*
 * The chunk is over and accessed these pages (ascending, VIEW_DIRTY on those written): makes the read
 * set and the write set, which leaves out private copies that equal their base.
 */
void view_collect(struct view *view, const uint32_t *accessed, uint32_t count);

/*
 * Replay, after view_begin(): the list of accessed bits in the chunk's record. Before view_collect() the
 * chunk must have written (or seem to have) every page that view_listed() tells, one after the other: *at
 * and *page are zero at first. Page numbers beyond memory are left out.
 */
void view_expect_accessed(struct view *view, const uint8_t *bytes, uint32_t length);
bool view_listed(const struct view *view, const uint8_t **at, struct accessed_page *page);
/* Whether page gpn, which has a private copy, has changed in accessed bits at most. */
bool view_plainly_equal(const struct view *view, uint32_t gpn);
/* A word of page gpn as the digest sees it: `base` at the chunk's begin, `word` now. */
uint64_t view_plain_word(const struct view *view, uint32_t gpn, uint64_t base, uint64_t word);

/*
 * Digest of the write set: the sum of a digest per page, so that the order of the pages does not matter
 * and a chunk still running can be looked at (view_peek_digest).
 */
uint64_t view_write_digest(const struct view *view);

/* The same while the chunk runs: `dirty` says whether page gpn was written so far. */
uint64_t view_peek_digest(const struct view *view, bool (*dirty)(void *ctx, uint32_t gpn), void *ctx,
                          enum frame_simd simd);

enum view_verdict {
    VIEW_VALID,
    VIEW_CONFLICT, /* a page of the read set changed: squash; view->conflict says how it was used */
};
/* Checks the read set against what was committed meanwhile; compares contents, takes no lock. */
enum view_verdict view_validate(struct view *view);

enum view_enter {
    VIEW_ENTERED, /* order->lock is held; *seq is the chunk's; E is view->newest */
    VIEW_AGAIN,   /* something relevant was committed since: validate again */
    VIEW_BARRED,  /* someone else has the token: wait */
};
enum view_enter view_commit_enter(struct view *view, uint64_t *seq);
/* Publishes the commit and releases order->lock. Replay enters without validation. */
void view_commit_leave(struct view *view, uint64_t seq, uint64_t commit_digest);
/* Releases order->lock without a commit; the chunk can still be squashed. */
void view_commit_abandon(struct view *view);
/* Replay: enters where it is this chunk's turn (order->seq == seq - 1, which the caller has seen). */
void view_commit_enter_at(struct view *view, uint64_t seq);
/*
 * Replay, with order->lock held: whether each page to be committed was made from its newest version. The log
 * says from which commit on a chunk may start; if that is not true, the page is a later one's overwritten.
 */
bool view_writes_newest(const struct view *view);

/* After a commit, before the next view_begin: whether a page that the chunk read was committed by
 * another since then. A view that rested cannot tell, and says yes. */
bool view_overtaken(const struct view *view);

/* Throws the chunk's writes away; view_collect was called. The next view_begin starts afresh. */
void view_squash(struct view *view);

#endif
