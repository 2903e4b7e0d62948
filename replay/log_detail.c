#include "replay/log_detail.h"

#include "hv/base/check.h"
#include "replay/log_bytes.h"

/* An entry: offsets from its begin. Pages follow. */
#define ENTRY_LENGTH  0u  /* u32, of the whole entry */
#define ENTRY_VCPU    4u  /* u8, then a zero */
#define ENTRY_LISTED  6u  /* u16 pages */
#define ENTRY_SEQ     8u  /* u64 */
#define ENTRY_CHANGED 16u /* u32 pages, then four zeros */
#define ENTRY_REGS    24u
#define ENTRY_PARTS   (ENTRY_REGS + 8u * DETAIL_REGISTERS)
#define ENTRY_SIZE    (ENTRY_PARTS + 8u * DETAIL_PARTS)

/* A page: gpn, words changed, words listed, then the words. */
#define PAGE_HEAD  8u
#define WORD_BYTES 10u /* u16 index, u64 value */
#define PAGE_WORDS (PAGE_SIZE / 8u)

_Static_assert(ENTRY_SIZE + PAGE_HEAD + WORD_BYTES * DETAIL_WORDS_MAX <= DETAIL_ENTRY_MAX, "one page fits");
_Static_assert(DETAIL_ENTRY_MAX <= LOG_PAYLOAD_MAX, "an entry fits into a block");

const char *detail_register_name(unsigned reg)
{
    static const char *const names[DETAIL_REGISTERS] = {
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi",    "rdi", "r8",  "r9",  "r10",
        "r11", "r12", "r13", "r14", "r15", "rip", "rflags", "cr0", "cr2", "cr3", "cr4"};

    return reg < DETAIL_REGISTERS ? names[reg] : "unknown";
}

const char *detail_part_name(unsigned part)
{
    static const char *const names[DETAIL_PARTS] = {"cpu", "xsave", "lapic", "other"};

    return part < DETAIL_PARTS ? names[part] : "unknown";
}

/* ---- Writing ---- */

void detail_begin(struct detail_writer *w, uint8_t *buffer, uint32_t vcpu, const struct detail_state *state)
{
    uint8_t *p = buffer + ENTRY_REGS;

    *w = (struct detail_writer){.buffer = buffer};
    memset(buffer, 0, ENTRY_REGS);
    buffer[ENTRY_VCPU] = (uint8_t)vcpu;
    for (unsigned i = 0; i < DETAIL_REGISTERS; i++)
        p = put64(p, state->regs[i]);
    for (unsigned i = 0; i < DETAIL_PARTS; i++)
        p = put64(p, state->part[i]);
    w->at = p;
}

void detail_page(struct detail_writer *w, uint32_t gpn, const uint64_t *old, const uint64_t *new)
{
    uint8_t *head = w->at, *p = head + PAGE_HEAD;
    uint16_t changed = 0, listed = 0;

    w->changed++;
    if (DETAIL_ENTRY_MAX - (size_t)(head - w->buffer) < PAGE_HEAD + WORD_BYTES * DETAIL_WORDS_MAX)
        return;
    for (uint16_t i = 0; i < PAGE_WORDS; i++) {
        if (old[i] == new[i])
            continue;
        changed++;
        if (listed == DETAIL_WORDS_MAX)
            continue;
        p = put64(put16(p, i), new[i]);
        listed++;
    }
    put16(put16(put32(head, gpn), changed), listed);
    w->listed++;
    w->at = p;
}

uint32_t detail_end(struct detail_writer *w)
{
    uint32_t length = (uint32_t)(w->at - w->buffer);

    put32(w->buffer + ENTRY_LENGTH, length);
    put16(w->buffer + ENTRY_LISTED, w->listed);
    put32(w->buffer + ENTRY_CHANGED, w->changed);
    return length;
}

void detail_set_seq(uint8_t *entry, uint64_t seq)
{
    put64(entry + ENTRY_SEQ, seq);
}

uint32_t detail_length(const uint8_t *entry)
{
    return load32(entry + ENTRY_LENGTH);
}

/* ---- Reading ---- */

/* One page at the cursor; the cursor's error says whether it is one. */
static void get_page(struct log_cursor *c, struct log_detail_page *page)
{
    page->gpn = get32(c);
    page->changed = get16(c);
    page->listed = get16(c);
    page->words = get_bytes(c, (size_t)page->listed * WORD_BYTES);
    if (!c->error && (page->changed > PAGE_WORDS || page->listed > page->changed))
        c->error = LOG_ERROR_DETAIL;
    for (uint32_t i = 0, last = 0; !c->error && i < page->listed; i++) {
        uint32_t index = load16(page->words + (size_t)i * WORD_BYTES);
        if (index >= PAGE_WORDS || (i && index <= last))
            c->error = LOG_ERROR_DETAIL;
        last = index;
    }
}

static bool pages_are_sound(const struct log_detail *detail)
{
    struct log_cursor c = {detail->at, detail->end, LOG_OK};
    struct log_detail_page page;

    for (uint32_t i = 0; i < detail->listed && !c.error; i++)
        get_page(&c, &page);
    return !c.error && c.at == c.end && detail->listed <= detail->changed;
}

enum log_error log_detail_next(const uint8_t **at, const uint8_t *end, struct log_detail *detail)
{
    const uint8_t *entry = *at;
    size_t left = (size_t)(end - entry);
    uint32_t length;

    if (left < ENTRY_SIZE)
        return LOG_ERROR_DETAIL;
    length = load32(entry + ENTRY_LENGTH);
    if (length < ENTRY_SIZE || length > left)
        return LOG_ERROR_DETAIL;
    *detail = (struct log_detail){.seq = load64(entry + ENTRY_SEQ),
                                  .vcpu = entry[ENTRY_VCPU],
                                  .changed = load32(entry + ENTRY_CHANGED),
                                  .listed = load16(entry + ENTRY_LISTED),
                                  .at = entry + ENTRY_SIZE,
                                  .end = entry + length};
    for (unsigned i = 0; i < DETAIL_REGISTERS; i++)
        detail->state.regs[i] = load64(entry + ENTRY_REGS + 8 * i);
    for (unsigned i = 0; i < DETAIL_PARTS; i++)
        detail->state.part[i] = load64(entry + ENTRY_PARTS + 8 * i);
    *at = entry + length;
    return pages_are_sound(detail) ? LOG_OK : LOG_ERROR_DETAIL;
}

bool log_detail_page(struct log_detail *detail, struct log_detail_page *page)
{
    struct log_cursor c = {detail->at, detail->end, LOG_OK};

    if (detail->at == detail->end)
        return false;
    get_page(&c, page);
    detail->at = c.at;
    return !c.error;
}

uint32_t log_detail_word(const struct log_detail_page *page, uint32_t i, uint64_t *value)
{
    const uint8_t *word = page->words + (size_t)i * WORD_BYTES;

    *value = load64(word + 2);
    return load16(word);
}
