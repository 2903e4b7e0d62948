/*
 * Numbers of the log format; replay/FORMAT.md is the contract and says what they mean.
 */
#ifndef RV_REPLAY_LOG_FORMAT_H
#define RV_REPLAY_LOG_FORMAT_H

#include "hv/base/types.h"
#include "replay/record.h"

#define LOG_VERSION_MAJOR 1u /* raised whenever an older reader would misread the bytes */
#define LOG_VERSION_MINOR 3u /* raised when something is added that an older reader may ignore */

#define LOG_MAGIC UINT32_C(0x4b425652) /* "RVBK" as bytes */

/* A block: head, payload, tail. Offsets are in bytes from the block's begin. */
#define LOG_HEAD_MAGIC  0u  /* u32 */
#define LOG_HEAD_TYPE   4u  /* u16 */
#define LOG_HEAD_FLAGS  6u  /* u16, zero but for what the type says */
#define LOG_HEAD_LENGTH 8u  /* u32, of the payload */
#define LOG_HEAD_SEQ    12u /* u32 */
#define LOG_HEAD_CRC    16u /* u32, of the 16 bytes before it */
#define LOG_HEAD_SIZE   20u
#define LOG_TAIL_SIZE   8u /* u32 CRC of head and payload, u32 length again */
#define LOG_BLOCK_EXTRA (LOG_HEAD_SIZE + LOG_TAIL_SIZE)
#define LOG_PAYLOAD_MAX 65536u

/* Block types. A reader that does not know a type skips the block where this bit is set. */
#define LOG_TYPE_OPTIONAL 0x8000u

enum log_type {
    LOG_TYPE_HEADER = 0x0001,
    LOG_TYPE_COMMITS = 0x0002,
    LOG_TYPE_TRAILER = 0x0003,
    LOG_TYPE_ABORT = 0x0004,
    LOG_TYPE_OUTPUT_COMMIT = 0x0005, /* reserved */
    LOG_TYPE_CHECKPOINT = 0x0006,    /* reserved */
    LOG_TYPE_CONSOLE = 0x8001,
    LOG_TYPE_MESSAGE = 0x8002,
    LOG_TYPE_COUNTERS = 0x8003,
    LOG_TYPE_DETAIL = 0x8004,
    LOG_TYPE_PAGES = 0x8005,
};

/* Fixed begin of a COMMITS payload. */
#define LOG_COMMITS_FIRST  0u  /* u64 seq of the first record */
#define LOG_COMMITS_DIGEST 8u  /* u64 running digest after the last record */
#define LOG_COMMITS_COUNT  16u /* u32 records */
#define LOG_COMMITS_SIZE   20u

/* Flags of a COMMITS block: its positions have counts of branches; its chunks have lists of accessed bits. */
#define LOG_COMMITS_BRANCHES 0x0001u
#define LOG_COMMITS_ACCESSED 0x0002u

/* First byte of a record. */
#define LOG_TAG_VCPU      0x07u /* or, in an input record, the device */
#define LOG_TAG_END_SHIFT 3u
#define LOG_TAG_END       0x38u
#define LOG_TAG_TIME      0x40u
#define LOG_TAG_EXT       0x80u /* a second byte follows */

/* Second byte of a record, where there is one. */
#define LOG_EXT_INPUT     0x01u
#define LOG_EXT_EVENTS    0x02u
#define LOG_EXT_REP       0x04u
#define LOG_EXT_LAG_SHIFT 3u
#define LOG_EXT_LAG_MORE  31u /* in the upper 5 bits: the lag follows as a varint */

#define LOG_EVENT_KIND 0x07u
#define LOG_EVENT_MORE 0x80u /* another event follows */

#define LOG_VARINT_MAX 10u /* bytes of a 64-bit varint at most */

/* No record is longer: tag, ext, digest, lag, time, events, position, accessed bits; or an input. */
#define LOG_RECORD_MAX                                                                                       \
    MAX(4u + 5u + 10u + 2u * REC_MAX_EVENTS + 5u * 10u + 8u + 1u + REC_ACCESSED_MAX, 4u + 2u + REC_MAX_INPUT)

#define LOG_REASON_MAX 200u /* bytes of an ABORT's reason */

/* Why a log, or a block of it, is refused. */
enum log_error {
    LOG_OK = 0,
    LOG_ERROR_MAGIC,          /* no block begins here */
    LOG_ERROR_HEAD_CRC,       /* a block's head is damaged */
    LOG_ERROR_LENGTH,         /* payload longer than LOG_PAYLOAD_MAX */
    LOG_ERROR_LENGTH_AGAIN,   /* the length at a block's end differs from the one in its head */
    LOG_ERROR_CRC,            /* a block is damaged */
    LOG_ERROR_BLOCK_GAP,      /* a block number was left out */
    LOG_ERROR_BLOCK_REPEATED, /* a block number came again */
    LOG_ERROR_FLAGS,         /* a known block has an unknown flag, or not the flag that the HEADER asks for */
    LOG_ERROR_UNKNOWN_TYPE,  /* a mandatory block of a type that this reader does not know */
    LOG_ERROR_RESERVED_TYPE, /* a mandatory block of a reserved type (OUTPUT_COMMIT, CHECKPOINT) */
    LOG_ERROR_NO_HEADER,     /* the first block is not a HEADER */
    LOG_ERROR_SECOND_HEADER, /* a HEADER that is not the first block */
    LOG_ERROR_AFTER_END,     /* something follows a TRAILER or ABORT */
    LOG_ERROR_MAJOR,         /* format of another major version */
    LOG_ERROR_HEADER_SHORT,  /* HEADER payload shorter than its fields */
    LOG_ERROR_HEADER_LONG,   /* HEADER payload longer than its fields, in the same minor version */
    LOG_ERROR_VCPUS,         /* HEADER names no vCPU, or more than MAX_VCPUS */
    LOG_ERROR_TIME_QUANTUM,  /* HEADER's time quantum is no power of two */
    LOG_ERROR_TEXT,          /* a text is longer than its limit or holds a NUL */
    LOG_ERROR_COMMIT_GAP,    /* a COMMITS block leaves out seqs */
    LOG_ERROR_COMMIT_REPEATED, /* a COMMITS block repeats seqs */
    LOG_ERROR_COMMITS_SHORT,   /* COMMITS payload too short for its fixed part or its count */
    LOG_ERROR_COMMITS_EMPTY,   /* COMMITS block without a record */
    LOG_ERROR_COMMITS_LONG,    /* bytes after the last record */
    LOG_ERROR_RECORD_SHORT,    /* a record runs past the payload's end */
    LOG_ERROR_VARINT,          /* a varint over 64 bits, over its field's range, or longer than needed */
    LOG_ERROR_RESERVED_BITS,   /* a bit that must be zero is set */
    LOG_ERROR_VCPU_RANGE,      /* a record of a vCPU that the HEADER does not have */
    LOG_ERROR_EVENT_KIND,      /* an event of an unknown kind */
    LOG_ERROR_EVENT_COUNT,     /* more than REC_MAX_EVENTS events */
    LOG_ERROR_ACCESSED,        /* a list of accessed bits that does not decode */
    LOG_ERROR_REP,             /* a REP position in a record without a position */
    LOG_ERROR_LAG,             /* a chunk that may start before the first snapshot */
    LOG_ERROR_DEVICE,          /* an input of an unknown device */
    LOG_ERROR_INPUT_LENGTH,    /* an input of no bytes or more than REC_MAX_INPUT */
    LOG_ERROR_TRAILER_LENGTH,  /* TRAILER payload of a wrong size */
    LOG_ERROR_TRAILER_COMMITS, /* TRAILER counts other commits than the log holds */
    LOG_ERROR_TRAILER_VCPUS,   /* TRAILER has other vCPUs than the HEADER */
    LOG_ERROR_OUTCOME,         /* TRAILER with an unknown outcome */
    LOG_ERROR_COUNTERS,        /* COUNTERS payload that does not decode */
    LOG_ERROR_DETAIL,          /* DETAIL payload that does not decode */
    LOG_ERROR_PAGES,           /* PAGES payload that does not decode */
    LOG_ERROR_COUNT
};

/* One line for people: what is wrong, without a full stop. Any value is allowed. */
const char *log_error_text(enum log_error error);

/* Name of a block type as in FORMAT.md, "COMMITS"; "unknown" for others. */
const char *log_type_name(uint16_t type);

/* Name of a counter as in FORMAT.md, "squashes"; NULL where `counter` is no enum rec_counter. */
const char *log_counter_name(unsigned counter);

/* Name of a cause as in FORMAT.md, "words"; NULL where `cause` is no enum rec_cause. */
const char *log_cause_name(unsigned cause);

/* Name of what positions count, "conditional branches"; NULL where `event` is no enum rec_branch_event. */
const char *log_branch_event_name(unsigned event);

/* The 16 bits of a running digest that a record holds. */
static inline uint16_t log_digest_slice(uint64_t digest)
{
    return (uint16_t)digest;
}

#endif
