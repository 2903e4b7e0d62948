#include "replay/accessed.h"

#include "hv/base/changes.h"
#include "replay/log_bytes.h"

#define PRESENT   UINT32_C(0x01)
#define LARGE     UINT32_C(0x80)
#define A_BIT     UINT64_C(0x20)
#define A_HIGH    (A_BIT << 32) /* of the second 4-byte entry in a word */
#define A_BITS    CHANGES_SOFT
#define ADDRESS   UINT32_C(0xfffff000)
#define PAGE_RUNS (PAGE_SIZE / 4u / 2u) /* in a page at most */
/* Of a page: number, count of runs, and each run's two numbers. */
#define PAGE_BYTES_MAX (2u * LOG_VARINT_MAX + REC_ACCESSED_MAX + 4u)
_Static_assert(A_BITS == (A_BIT | A_HIGH), "what the digest's pass looks for");

/* Of one half of a word. Small numbers are no entries, but for one of a large page at 0. */
static bool is_entry(uint32_t half)
{
    return (half & PRESENT) && (half & (LARGE | ADDRESS));
}

uint64_t accessed_mask(uint64_t word)
{
    return (is_entry((uint32_t)word) ? A_BIT : 0) | (is_entry((uint32_t)(word >> 32)) ? A_HIGH : 0);
}

/* Nearly every word that differs does so in other bits as well. */
static bool alone(uint64_t base, uint64_t word)
{
    uint64_t differs = base ^ word;

    return differs && !(differs & ~A_BITS) && !(differs & ~accessed_mask(word));
}

uint64_t accessed_plain(uint64_t base, uint64_t word, bool listed)
{
    if (base == word || alone(base, word))
        return base;
    return listed ? word & ~accessed_mask(word) : word;
}

uint32_t accessed_look(const uint64_t *base, const uint64_t *copy)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (base[i] == copy[i])
            continue;
        if (alone(base[i], copy[i]))
            found |= ACCESSED_ALONE;
        else if (!(found & ACCESSED_STORED) && accessed_mask(copy[i]))
            found |= ACCESSED_STORED;
    }
    return found;
}

/* A replay takes it that an entry that was not stored has its old A bits, and a stored one has them set. */
static uint64_t expected_bits(uint64_t base, uint64_t word, uint64_t mask)
{
    return (base ^ word) & ~mask ? mask : base & mask;
}

/* ---- Writing ---- */

/* The bits of a listed page that are not as expected. */
static uint64_t surprise(uint64_t base, uint64_t word)
{
    uint64_t mask;

    if (base == word)
        return 0;
    mask = accessed_mask(word);
    return (word & mask) ^ expected_bits(base, word, mask);
}

static uint32_t entry_bytes_of(const uint64_t *base, const uint64_t *copy)
{
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (surprise(base[i], copy[i]) & A_HIGH)
            return 4;
    }
    return 8;
}

static bool entry_surprises(const uint64_t *base, const uint64_t *copy, uint32_t entry, uint32_t bytes)
{
    uint32_t word = entry * bytes / 8;
    uint64_t bit = bytes == 4 && entry % 2 ? A_HIGH : A_BIT;

    return surprise(base[word], copy[word]) & bit;
}

/* The runs of such entries, at `p`, which has room for PAGE_BYTES_MAX; *count of them. NULL: too many for a
 * record. */
static uint8_t *put_runs(uint8_t *p, const uint64_t *base, const uint64_t *copy, uint32_t bytes,
                         uint32_t *count)
{
    const uint8_t *start = p;
    uint32_t entries = PAGE_SIZE / bytes, next = 0;

    *count = 0;
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t first = i;
        while (i < entries && entry_surprises(base, copy, i, bytes))
            i++;
        if (i == first)
            continue;
        if (p - start > (ptrdiff_t)REC_ACCESSED_MAX)
            return NULL;
        ++*count;
        p = put_varint(p, first - next);
        p = put_varint(p, i - first - 1);
        next = i + 1;
    }
    return p;
}

bool accessed_append(struct accessed_list *list, uint32_t gpn, const uint64_t *base, const uint64_t *copy)
{
    uint32_t bytes = entry_bytes_of(base, copy), count;
    uint8_t of_runs[PAGE_BYTES_MAX], head[2 * LOG_VARINT_MAX];
    const uint8_t *end = put_runs(of_runs, base, copy, bytes, &count);
    uint8_t *p = put_varint(head, 2 * (uint64_t)(gpn - list->next) + (bytes == 8));

    if (!end)
        return false;
    p = put_varint(p, count);
    if (list->used + (size_t)(p - head) + (size_t)(end - of_runs) > sizeof(list->bytes))
        return false;
    put_bytes(put_bytes(list->bytes + list->used, head, (size_t)(p - head)), of_runs,
              (size_t)(end - of_runs));
    list->used += (uint32_t)((p - head) + (end - of_runs));
    list->next = gpn + 1;
    return true;
}

/* ---- Reading ---- */

bool accessed_run(struct accessed_page *page, uint32_t *next, uint32_t *first, uint32_t *count)
{
    struct log_cursor c = {page->runs, page->end, LOG_OK};

    if (page->runs == page->end)
        return false;
    *first = *next + (uint32_t)get_varint(&c, PAGE_SIZE);
    *count = (uint32_t)get_varint(&c, PAGE_SIZE) + 1;
    *next = *first + *count + 1;
    page->runs = c.at;
    return !c.error && *first + *count <= PAGE_SIZE / page->entry_bytes;
}

/* The page behind what was read; its number is counted from `next` on. */
static bool read_page(struct log_cursor *c, uint32_t next, struct accessed_page *page)
{
    uint64_t key = get_varint(c, UINT32_MAX), runs = get_varint(c, PAGE_RUNS);
    uint32_t at = 0, first, count;
    struct accessed_page all;

    if (c->error || key / 2 + next > REC_MAX_PAGE)
        return false;
    *page = (struct accessed_page){
        .gpn = next + (uint32_t)(key / 2), .entry_bytes = key % 2 ? 8 : 4, .runs = c->at, .end = c->end};
    all = *page;
    for (; runs; runs--) {
        if (!accessed_run(&all, &at, &first, &count))
            return false;
    }
    c->at = page->end = all.runs;
    return true;
}

bool accessed_next(const uint8_t **at, const uint8_t *end, struct accessed_page *page)
{
    struct log_cursor c = {*at, end, LOG_OK};

    if (*at == end || !read_page(&c, page->gpn + (page->entry_bytes != 0), page))
        return false;
    *at = c.at;
    return true;
}

bool accessed_valid(const uint8_t *bytes, uint32_t length)
{
    const uint8_t *at = bytes, *end = bytes + length;
    struct accessed_page page = {0};

    while (accessed_next(&at, end, &page))
        ;
    return at == end;
}

/* ---- Replay ---- */

static void turn(uint64_t *copy, uint32_t entry, uint32_t bytes)
{
    uint64_t *word = &copy[entry * bytes / 8];
    uint64_t bit = bytes == 4 && entry % 2 ? A_HIGH : A_BIT;

    *word ^= bit & accessed_mask(*word);
}

void accessed_settle(const uint64_t *base, uint64_t *copy, const struct accessed_page *page)
{
    struct accessed_page runs;
    uint32_t next = 0, first, count;

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (base[i] == copy[i])
            continue;
        if (alone(base[i], copy[i]))
            copy[i] = base[i];
        else if (page)
            copy[i] |= accessed_mask(copy[i]);
    }
    if (!page)
        return;
    for (runs = *page; accessed_run(&runs, &next, &first, &count);) {
        for (uint32_t i = first; i < first + count; i++)
            turn(copy, i, page->entry_bytes);
    }
}
