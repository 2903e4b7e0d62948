/*
 * The DETAIL block of a log: what commits changed, so that a replay that differs can say where. Optional,
 * large, and not needed to replay. FORMAT.md says how it looks as bytes.
 *
 * A payload is a row of entries, one a chunk. Writing an entry:
 *     detail_begin -> detail_page for each changed page -> detail_end (-> detail_set_seq)
 * Reading is safe on any bytes.
 */
#ifndef RV_REPLAY_LOG_DETAIL_H
#define RV_REPLAY_LOG_DETAIL_H

#include "replay/log_format.h"

/* Registers of an entry: the sixteen general ones in the order of enum vmx_gpr, then these. */
enum detail_register {
    DETAIL_RIP = 16,
    DETAIL_RFLAGS,
    DETAIL_CR0,
    DETAIL_CR2,
    DETAIL_CR3,
    DETAIL_CR4,
    DETAIL_REGISTERS
};

/* Parts of the vCPU's state of which an entry has a digest. */
enum detail_part {
    DETAIL_PART_CPU,   /* what the processor holds but SIMD: the registers above, segments, MSRs ... */
    DETAIL_PART_XSAVE, /* x87, SSE, AVX */
    DETAIL_PART_LAPIC,
    DETAIL_PART_OTHER,
    DETAIL_PARTS
};

#define DETAIL_ENTRY_MAX 16384u /* bytes of an entry */
#define DETAIL_WORDS_MAX 64u    /* words of a page that are listed */

/* The names of both, as in FORMAT.md: "rax", "xsave". */
const char *detail_register_name(unsigned reg);
const char *detail_part_name(unsigned part);

/* What an entry says of the vCPU at the chunk's end. */
struct detail_state {
    uint64_t regs[DETAIL_REGISTERS];
    uint64_t part[DETAIL_PARTS];
};

struct detail_writer {
    uint8_t *buffer; /* DETAIL_ENTRY_MAX bytes */
    uint8_t *at;
    uint16_t listed;  /* pages in the entry */
    uint32_t changed; /* pages that detail_page() was called for */
};

/* Begins an entry in `buffer` of DETAIL_ENTRY_MAX bytes. */
void detail_begin(struct detail_writer *w, uint8_t *buffer, uint32_t vcpu, const struct detail_state *state);
/* Page gpn was `old` and became `new` (PAGE_SIZE / 8 words each). Where the entry is full it is only counted.
 */
void detail_page(struct detail_writer *w, uint32_t gpn, const uint64_t *old, const uint64_t *new);
/* Completes the entry; its bytes. */
uint32_t detail_end(struct detail_writer *w);
/* The commit's number, which is known last. */
void detail_set_seq(uint8_t *entry, uint64_t seq);
/* Bytes of a complete entry. */
uint32_t detail_length(const uint8_t *entry);

/* An entry as read. */
struct log_detail {
    uint64_t seq;
    uint32_t vcpu;
    struct detail_state state;
    uint32_t changed;  /* pages that the chunk changed */
    uint32_t listed;   /* pages that the entry lists */
    const uint8_t *at; /* of the next page to read */
    const uint8_t *end;
};

struct log_detail_page {
    uint32_t gpn;
    uint32_t changed; /* words of the page that the chunk changed */
    uint32_t listed;  /* of these, words that are listed: the first ones */
    const uint8_t *words;
};

/*
 * Reads the entry at *at, which moves behind it; `end` is the payload's. LOG_OK, or LOG_ERROR_DETAIL where
 * the bytes are no entry. The payload ends where *at == end.
 */
enum log_error log_detail_next(const uint8_t **at, const uint8_t *end, struct log_detail *detail);
/* The next page of an entry that was read; false: there is none. */
bool log_detail_page(struct log_detail *detail, struct log_detail_page *page);
/* Listed word i (< page->listed): its index in the page, and its value after the chunk. */
uint32_t log_detail_word(const struct log_detail_page *page, uint32_t i, uint64_t *value);

#endif
