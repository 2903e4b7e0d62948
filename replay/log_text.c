/* Names and texts of the log format. */
#include "replay/log_format.h"

static const char *const error_text[LOG_ERROR_COUNT] = {
    [LOG_OK] = "no error",
    [LOG_ERROR_MAGIC] = "no block begins here",
    [LOG_ERROR_HEAD_CRC] = "the head of a block is damaged",
    [LOG_ERROR_LENGTH] = "a block is longer than allowed",
    [LOG_ERROR_LENGTH_AGAIN] = "the two lengths of a block differ",
    [LOG_ERROR_CRC] = "a block is damaged",
    [LOG_ERROR_BLOCK_GAP] = "a block is missing",
    [LOG_ERROR_BLOCK_REPEATED] = "a block comes a second time",
    [LOG_ERROR_FLAGS] =
        "a block has a flag that this version does not know, or lacks one that the HEADER asks for",
    [LOG_ERROR_UNKNOWN_TYPE] = "a mandatory block of a type that this version does not know",
    [LOG_ERROR_RESERVED_TYPE] = "a mandatory block of a type that is reserved for later versions",
    [LOG_ERROR_NO_HEADER] = "the first block is not a HEADER",
    [LOG_ERROR_SECOND_HEADER] = "a second HEADER",
    [LOG_ERROR_AFTER_END] = "something follows the log's last block",
    [LOG_ERROR_MAJOR] = "the log has another major format version",
    [LOG_ERROR_HEADER_SHORT] = "the HEADER is too short",
    [LOG_ERROR_HEADER_LONG] = "the HEADER is too long",
    [LOG_ERROR_VCPUS] = "the HEADER has an impossible number of vCPUs",
    [LOG_ERROR_TIME_QUANTUM] = "the HEADER's time quantum is not a power of two",
    [LOG_ERROR_TEXT] = "a text is too long or holds a NUL",
    [LOG_ERROR_COMMIT_GAP] = "commits are missing between two blocks",
    [LOG_ERROR_COMMIT_REPEATED] = "commits come a second time",
    [LOG_ERROR_COMMITS_SHORT] = "a COMMITS block is too short for its records",
    [LOG_ERROR_COMMITS_EMPTY] = "a COMMITS block has no record",
    [LOG_ERROR_COMMITS_LONG] = "a COMMITS block has bytes after its last record",
    [LOG_ERROR_RECORD_SHORT] = "a record runs past its block's end",
    [LOG_ERROR_VARINT] = "a number is out of range or not in its shortest form",
    [LOG_ERROR_RESERVED_BITS] = "a reserved bit is set",
    [LOG_ERROR_VCPU_RANGE] = "a vCPU that the HEADER does not have",
    [LOG_ERROR_EVENT_KIND] = "an event of an unknown kind",
    [LOG_ERROR_EVENT_COUNT] = "too many events in a chunk",
    [LOG_ERROR_ACCESSED] = "a list of accessed bits does not decode",
    [LOG_ERROR_REP] = "a REP position in a chunk without a position",
    [LOG_ERROR_LAG] = "a chunk that begins before the first snapshot",
    [LOG_ERROR_DEVICE] = "an input of an unknown device",
    [LOG_ERROR_INPUT_LENGTH] = "an input that is empty or too long",
    [LOG_ERROR_TRAILER_LENGTH] = "the TRAILER has a wrong length",
    [LOG_ERROR_TRAILER_COMMITS] = "the TRAILER counts other commits than the log holds",
    [LOG_ERROR_TRAILER_VCPUS] = "the TRAILER has other vCPUs than the HEADER",
    [LOG_ERROR_OUTCOME] = "the TRAILER has an unknown outcome",
    [LOG_ERROR_COUNTERS] = "a COUNTERS block does not decode",
    [LOG_ERROR_DETAIL] = "a DETAIL block does not decode",
    [LOG_ERROR_PAGES] = "a PAGES block does not decode",
};

static const char *const counter_name[REC_COUNT_MAX] = {
    [REC_COUNT_TICKS] = "ticks",
    [REC_COUNT_CHUNKS] = "chunks",
    [REC_COUNT_SQUASHES] = "squashes",
    [REC_COUNT_EXITS] = "exits",
    [REC_COUNT_COPIES] = "copies",
    [REC_COUNT_COPIES_AHEAD] = "copies-ahead",
    [REC_COUNT_COMPARES] = "compares",
    [REC_COUNT_EQUAL_PAGES] = "equal-pages",
    [REC_COUNT_VALUE_SAVES] = "value-saves",
    [REC_COUNT_TOKENS] = "tokens",
    [REC_COUNT_STALLS] = "stalls",
    [REC_COUNT_INVEPT] = "invept",
    [REC_COUNT_STEPS] = "steps",
    [REC_COUNT_TRIES] = "tries",
    [REC_COUNT_HITS] = "hits",
    [REC_COUNT_GUEST_TICKS] = "guest-ticks",
    [REC_COUNT_SQUASH_WORDS] = "squash-words",
    [REC_COUNT_SQUASH_PAGE] = "squash-page",
    [REC_COUNT_SQUASH_READ] = "squash-read",
    [REC_COUNT_SQUASH_TABLES] = "squash-tables",
    [REC_COUNT_SQUASH_OTHER] = "squash-other",
    [REC_COUNT_EXIT_TIMER] = "exit-timer",
    [REC_COUNT_EXIT_EPT] = "exit-ept",
    [REC_COUNT_EXIT_PAUSE] = "exit-pause",
    [REC_COUNT_EXIT_IO] = "exit-io",
    [REC_COUNT_EXIT_HLT] = "exit-hlt",
    [REC_COUNT_EXIT_MSR] = "exit-msr",
    [REC_COUNT_EXIT_TIME] = "exit-time",
    [REC_COUNT_EXIT_CPUID] = "exit-cpuid",
    [REC_COUNT_EXIT_REGISTERS] = "exit-registers",
    [REC_COUNT_EXIT_WINDOW] = "exit-window",
    [REC_COUNT_EXIT_EXCEPTION] = "exit-exception",
    [REC_COUNT_EXIT_INTERRUPT] = "exit-interrupt",
    [REC_COUNT_EXIT_OTHER] = "exit-other",
    [REC_COUNT_READ_PAGES] = "read-pages",
    [REC_COUNT_CHANGED_PAGES] = "changed-pages",
    [REC_COUNT_TABLES] = "tables",
    [REC_COUNT_CUTS] = "cuts",
    [REC_COUNT_TICKS_GUEST] = "ticks-guest",
    [REC_COUNT_TICKS_EXITS] = "ticks-exits",
    [REC_COUNT_TICKS_BEGIN] = "ticks-begin",
    [REC_COUNT_TICKS_STATE] = "ticks-state",
    [REC_COUNT_TICKS_COLLECT] = "ticks-collect",
    [REC_COUNT_TICKS_VALIDATE] = "ticks-validate",
    [REC_COUNT_TICKS_COMMIT] = "ticks-commit",
    [REC_COUNT_TICKS_SQUASH] = "ticks-squash",
    [REC_COUNT_TICKS_SEARCH] = "ticks-search",
    [REC_COUNT_TICKS_ROOM] = "ticks-room",
    [REC_COUNT_TICKS_TOKEN] = "ticks-token",
    [REC_COUNT_TICKS_TURN] = "ticks-turn",
    [REC_COUNT_TICKS_SLEEP] = "ticks-sleep",
    [REC_COUNT_COPIES_OUT] = "copies-out",
    [REC_COUNT_NO_FRAME] = "no-frame",
    [REC_COUNT_EXIT_PML] = "exit-pml",
};

const char *log_error_text(enum log_error error)
{
    if ((unsigned)error >= LOG_ERROR_COUNT || !error_text[error])
        return "unknown error";
    return error_text[error];
}

const char *log_counter_name(unsigned counter)
{
    return counter < REC_COUNT_MAX ? counter_name[counter] : NULL;
}

const char *log_cause_name(unsigned cause)
{
    static const char *const names[REC_CAUSE_COUNT] = {
        [REC_CAUSE_WORDS] = "words",   [REC_CAUSE_PAGE] = "page",     [REC_CAUSE_READ] = "read",
        [REC_CAUSE_TABLES] = "tables", [REC_CAUSE_DEVICE] = "device",
    };

    return cause < REC_CAUSE_COUNT ? names[cause] : NULL;
}

const char *log_branch_event_name(unsigned event)
{
    static const char *const names[REC_BRANCHES_COUNT] = {
        [REC_BRANCHES_NONE] = "none",
        [REC_BRANCHES_CONDITIONAL] = "conditional branches",
    };

    return event < REC_BRANCHES_COUNT ? names[event] : NULL;
}

const char *log_type_name(uint16_t type)
{
    switch (type) {
    case LOG_TYPE_HEADER:
        return "HEADER";
    case LOG_TYPE_COMMITS:
        return "COMMITS";
    case LOG_TYPE_TRAILER:
        return "TRAILER";
    case LOG_TYPE_ABORT:
        return "ABORT";
    case LOG_TYPE_OUTPUT_COMMIT:
        return "OUTPUT_COMMIT";
    case LOG_TYPE_CHECKPOINT:
        return "CHECKPOINT";
    case LOG_TYPE_CONSOLE:
        return "CONSOLE";
    case LOG_TYPE_MESSAGE:
        return "MESSAGE";
    case LOG_TYPE_COUNTERS:
        return "COUNTERS";
    case LOG_TYPE_DETAIL:
        return "DETAIL";
    case LOG_TYPE_PAGES:
        return "PAGES";
    default:
        return "unknown";
    }
}
