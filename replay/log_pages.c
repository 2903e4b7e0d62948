#include "replay/log_pages.h"

#include "replay/log_bytes.h"
#include "replay/log_reader.h"

#define COUNTS_BYTES 2u /* of vCPUs and causes */
#define PAGE_VARINTS 1u
#define ROW_VARINTS  (4u + REC_CAUSE_COUNT)
#define BY_MAX       (2 * (uint64_t)REC_BY_DEVICE - 1)

size_t log_pages_need(const struct rec_pages *pages)
{
    size_t varints = 2 + pages->count * (PAGE_VARINTS + (size_t)pages->vcpus * ROW_VARINTS);

    return COUNTS_BYTES + varints * LOG_VARINT_MAX;
}

_Static_assert(COUNTS_BYTES +
                       LOG_VARINT_MAX * (2 + REC_PAGES_MAX * (PAGE_VARINTS + MAX_VCPUS * ROW_VARINTS)) <=
                   LOG_PAYLOAD_MAX,
               "a block holds all pages");

uint8_t *log_pages_encode(uint8_t *p, const struct rec_pages *pages)
{
    p = put8(p, (uint8_t)pages->vcpus);
    p = put8(p, REC_CAUSE_COUNT);
    p = put_varint(p, pages->unlisted);
    p = put_varint(p, pages->count);
    for (uint32_t i = 0; i < pages->count; i++) {
        p = put_varint(p, pages->page[i].gpn);
        for (uint32_t v = 0; v < pages->vcpus; v++) {
            const struct rec_page_row *row = &pages->page[i].row[v];
            p = put_varint(p, row->writes);
            p = put_varint(p, row->missed);
            p = put_varint(p, row->by);
            p = put_varint(p, row->word);
            for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
                p = put_varint(p, row->cause[k]);
        }
    }
    return p;
}

static void get_row(struct log_cursor *c, struct rec_page_row *row, unsigned causes)
{
    row->writes = get_varint(c, UINT64_MAX);
    row->missed = get_varint(c, UINT64_MAX);
    row->by = (uint16_t)get_varint(c, BY_MAX);
    row->word = (uint16_t)get_varint(c, REC_WORD_NONE);
    for (unsigned k = 0; k < causes; k++) {
        uint64_t value = get_varint(c, UINT64_MAX);
        if (k < REC_CAUSE_COUNT)
            row->cause[k] = value;
    }
}

enum log_error log_decode_pages(const struct log_block *block, struct rec_pages *pages)
{
    struct log_cursor c = {block->payload, block->payload + block->length, LOG_OK};
    unsigned vcpus = get8(&c), causes = get8(&c);

    memset(pages, 0, sizeof(*pages));
    if (!vcpus || vcpus > MAX_VCPUS)
        return LOG_ERROR_PAGES;
    pages->vcpus = vcpus;
    pages->unlisted = get_varint(&c, UINT64_MAX);
    pages->count = (uint32_t)get_varint(&c, REC_PAGES_MAX);
    for (uint32_t i = 0; i < pages->count && !c.error; i++) {
        pages->page[i].gpn = (uint32_t)get_varint(&c, UINT32_MAX);
        for (uint32_t v = 0; v < vcpus && !c.error; v++)
            get_row(&c, &pages->page[i].row[v], causes);
    }
    return c.error || c.at != c.end ? LOG_ERROR_PAGES : LOG_OK;
}
