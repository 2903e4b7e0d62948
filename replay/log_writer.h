/*
 * Writes a log into a buffer of the caller's, block by block. The caller takes finished blocks out at
 * the front and sends or stores them; commits gather in an open block until it is large enough or
 * flushed. Only finished blocks are ever handed out.
 *
 * Nothing here locks: the caller holds one lock (or is alone) for all calls on a writer. No call blocks
 * or allocates; a call that finds no room changes nothing and returns false.
 */
#ifndef RV_REPLAY_LOG_WRITER_H
#define RV_REPLAY_LOG_WRITER_H

#include "replay/log_format.h"

#define LOG_BLOCK_TARGET_DEFAULT 4096u
/* Smallest buffer: a HEADER, an open COMMITS block, and what is kept back for an ABORT. */
#define LOG_WRITER_BUFFER_MIN 8192u

struct log_writer {
    uint8_t *buffer;
    size_t size;
    size_t start;    /* first byte not yet consumed */
    size_t ready;    /* end of the last finished block */
    size_t used;     /* end of what is written; more than `ready` while a COMMITS block is open */
    size_t target;   /* an open COMMITS block is closed when its payload reaches this */
    uint32_t block;  /* number of the next block */
    uint32_t count;  /* records in the open COMMITS block, 0: none is open */
    uint64_t next;   /* seq of the next commit */
    uint64_t digest; /* running digest after the last commit */
    uint64_t total;  /* bytes of finished blocks since the log's begin */
    uint32_t vcpus;  /* from the header; 0 before it is written */
    bool counts;     /* from the header: positions have counts of branches */
    bool ended;      /* TRAILER or ABORT written: nothing may follow */
    /* Codec state of the open block; see FORMAT.md, "State". */
    struct log_codec_state {
        bool counts;   /* of the block: positions have counts of branches */
        bool accessed; /* of the block: chunks have lists of accessed bits */
        uint64_t time;
        uint64_t rip[MAX_VCPUS];
        uint64_t duration[MAX_VCPUS];
        uint64_t branches[MAX_VCPUS];
        uint64_t last[MAX_VCPUS]; /* index + 1 of the vCPU's last record in this block, 0: none */
    } state;
};

/*
 * Begins an empty log in `buffer` of `size` bytes (>= LOG_WRITER_BUFFER_MIN; a target larger than a
 * quarter of it or than LOG_PAYLOAD_MAX / 2 is lowered). `target` is the payload size, in bytes, at which
 * a COMMITS block is closed, 0 for LOG_BLOCK_TARGET_DEFAULT.
 */
void log_writer_init(struct log_writer *w, uint8_t *buffer, size_t size, size_t target);

/* Writes the HEADER; must be the first block. Texts must be NUL-terminated. */
bool log_writer_header(struct log_writer *w, const struct rec_header *header);

/* True where the next log_writer_commit() of any record will find room: check this before committing. */
bool log_writer_can_commit(const struct log_writer *w);

/*
 * Appends a commit, whose seq is w->next before the call; `digest` is the full running digest after it.
 * The record must be well formed (vCPU of the header, end, event kinds and count in range, lag < seq,
 * REC_F_REP only with REC_END_POSITION): this is the hypervisor's own data, so HV_CHECK says so.
 * `pages` is not in the log; time_base and rcx only with their flag; position only with REC_END_POSITION.
 */
bool log_writer_commit(struct log_writer *w, const struct rec_commit *commit, uint64_t digest);

/* Finishes the open COMMITS block, if any. Always finds room. */
void log_writer_flush(struct log_writer *w);

/*
 * Guest console bytes and hypervisor messages, as blocks of their own; they finish an open COMMITS block,
 * so give them in lumps. `length` is 0..LOG_PAYLOAD_MAX; 0 writes nothing.
 */
bool log_writer_console(struct log_writer *w, const void *bytes, size_t length);
bool log_writer_message(struct log_writer *w, const char *text, size_t length);

/* Entries of replay/log_detail.h, as a DETAIL block. */
bool log_writer_detail(struct log_writer *w, const void *entries, size_t length);

/* Counters of the header's vCPUs, counters[vcpu][enum rec_counter]. */
bool log_writer_counters(struct log_writer *w, const uint64_t counters[][REC_COUNT_MAX]);

/* The pages over which most chunks were squashed, of the header's vCPUs; none writes nothing. */
bool log_writer_pages(struct log_writer *w, const struct rec_pages *pages);

/* The log is complete. trailer->commits must equal the commits written. */
bool log_writer_trailer(struct log_writer *w, const struct rec_trailer *trailer);

/*
 * The recorder dies: finishes the open block and says why (`reason` is cut to LOG_REASON_MAX bytes).
 * Room for it is kept back from all other calls, so it returns false only where the log has ended.
 */
bool log_writer_abort(struct log_writer *w, const char *reason);

/* Bytes of finished blocks that wait at the front; `*length` is 0 where there are none. Valid until the
 * next call on the writer. */
const uint8_t *log_writer_peek(const struct log_writer *w, size_t *length);

/* Drops `length` bytes at the front (at most what log_writer_peek() showed). */
void log_writer_consume(struct log_writer *w, size_t length);

#endif
