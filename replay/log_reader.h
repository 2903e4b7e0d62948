/*
 * Reads a log from memory, which may still be growing. Safe on any bytes: nothing is read out of bounds,
 * every call ends, and what is wrong has a name and an offset.
 *
 *     log_reader_init(&r);
 *     while ((status = log_reader_next(&r, bytes, size, &block)) == LOG_BLOCK)
 *         if (block.type == LOG_TYPE_COMMITS) {
 *             log_commits_begin(&it, &r, &block);
 *             while ((step = log_commits_next(&it, &commit)) == LOG_COMMIT)
 *                 use(it.seq, &commit);
 *             if (step == LOG_COMMITS_ERROR) refuse(it.error, it.offset);
 *         }
 */
#ifndef RV_REPLAY_LOG_READER_H
#define RV_REPLAY_LOG_READER_H

#include "replay/log_format.h"
#include "replay/log_writer.h"

enum log_status {
    LOG_BLOCK,     /* *block is the next block */
    LOG_NEED_MORE, /* the bytes end inside a block, or after one: ask again when there are more */
    LOG_END,       /* a TRAILER or ABORT was read, and nothing follows */
    LOG_ERROR,     /* reader.error at reader.offset; stays so */
};

struct log_block {
    uint16_t type;  /* enum log_type, or an unknown optional type (to be ignored) */
    uint16_t flags; /* of an unknown optional type, or LOG_COMMITS_* */
    uint32_t number;
    uint64_t offset; /* of the block in the log */
    uint32_t length; /* of the payload */
    const uint8_t *payload;
    /* COMMITS only: */
    uint64_t first;  /* seq of the first record */
    uint64_t digest; /* running digest after the last record */
    uint32_t count;  /* records, at least 1 */
};

struct log_reader {
    uint64_t offset; /* of the next block: all before it is whole and sound. Of the bad one on LOG_ERROR */
    uint32_t block;  /* number of the next block */
    uint64_t next;   /* seq of the next commit */
    enum log_error error;
    bool have_header;
    bool complete;            /* TRAILER read: trailer is valid */
    bool aborted;             /* ABORT read: reason is valid */
    struct rec_header header; /* valid once have_header */
    struct rec_trailer trailer;
    char reason[LOG_REASON_MAX + 1]; /* of the ABORT; NUL-terminated */
    uint16_t minor;                  /* minor version of the log's format */
    uint16_t bad_type;               /* with LOG_ERROR_UNKNOWN_TYPE and LOG_ERROR_RESERVED_TYPE */
};

void log_reader_init(struct log_reader *r);

/*
 * Finds the next block. `bytes` holds the log from its begin, `size` bytes of it; between calls the log
 * may have moved and grown, but not changed. Each block's CRC, order and fixed fields are checked here, the
 * records inside a COMMITS block by log_commits_next(). HEADER, TRAILER and ABORT are decoded into `r`.
 *
 * LOG_NEED_MORE at the end of a file that grows no more: the log was cut off at r->offset.
 */
enum log_status log_reader_next(struct log_reader *r, const uint8_t *bytes, size_t size,
                                struct log_block *block);

enum log_step {
    LOG_COMMIT,        /* one more, its seq in it.seq */
    LOG_COMMITS_END,   /* the block held all it should */
    LOG_COMMITS_ERROR, /* it.error at it.offset; stays so */
};

/* Walks the records of one COMMITS block. The block's bytes must stay in place meanwhile. */
struct log_commits {
    const uint8_t *payload;
    uint32_t length, at; /* `at`: next byte to decode */
    uint32_t count, done;
    uint64_t first;
    uint64_t seq;    /* of the commit last returned */
    uint64_t offset; /* in the log, of the record last returned or found bad */
    uint64_t base;   /* of the payload in the log */
    uint32_t vcpus;
    enum log_error error;
    struct log_codec_state state;
};

/* `block` must be a COMMITS block that log_reader_next() returned for `r`. */
void log_commits_begin(struct log_commits *it, const struct log_reader *r, const struct log_block *block);

/* Decodes one record into *commit. Fields that the log does not hold (`pages`, and those whose flag or
 * end kind says so) are 0; of events and input.data only those that the record has are written. */
enum log_step log_commits_next(struct log_commits *it, struct rec_commit *commit);

/*
 * Decodes a COUNTERS block into counters[vcpu][counter]; counters and vCPUs that it lacks are 0,
 * those that this version does not know are dropped. `*vcpus` gets the number of vCPUs it has.
 */
enum log_error log_decode_counters(const struct log_block *block, uint64_t counters[MAX_VCPUS][REC_COUNT_MAX],
                                   unsigned *vcpus);

#endif
