#include "tools/retro/pages.h"
#include "tools/retro/retro.h"
#include "tools/retro/verdict.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAMES_SHOWN = 80, NAMES_JSON = 1024 };

/* All vCPUs together. A damaged log may hold any numbers: sums wrap. */
struct total {
    uint64_t squashed, missed, writes;
    uint64_t cause[REC_CAUSE_COUNT];
};

static uint64_t squashed(const struct rec_page_row *row)
{
    uint64_t sum = 0;

    for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
        sum += row->cause[k];
    return sum;
}

static struct total total_of(const struct rec_page *page, unsigned vcpus)
{
    struct total t = {0};

    for (unsigned v = 0; v < vcpus; v++) {
        t.squashed += squashed(&page->row[v]);
        t.missed += page->row[v].missed;
        t.writes += page->row[v].writes;
        for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
            t.cause[k] += page->row[v].cause[k];
    }
    return t;
}

/* The word that most conflicts were about, as the vCPU knows that had most of them and knows one; or
 * REC_WORD_NONE. */
static unsigned word_of(const struct rec_page *page, unsigned vcpus)
{
    unsigned word = REC_WORD_NONE;
    uint64_t most = 0;

    for (unsigned v = 0; v < vcpus; v++) {
        if (page->row[v].word == REC_WORD_NONE || squashed(&page->row[v]) <= most)
            continue;
        most = squashed(&page->row[v]);
        word = page->row[v].word;
    }
    return word;
}

static uint64_t address_of(const struct rec_page *page)
{
    return (uint64_t)page->gpn * PAGE_SIZE;
}

/* " 0:12<1,dev": 12 chunks of vCPU 0, over commits of vCPU 1 and of a device. */
static void print_vcpus(const struct rec_page *page, unsigned vcpus)
{
    for (unsigned v = 0; v < vcpus; v++) {
        const struct rec_page_row *row = &page->row[v];
        char separator = '<';

        if (!squashed(row))
            continue;
        printf(" %u:%" PRIu64, v, squashed(row));
        for (unsigned bit = 0; bit <= MAX_VCPUS; bit++) {
            if (!(row->by >> bit & 1))
                continue;
            if (bit < MAX_VCPUS)
                printf("%c%u", separator, bit);
            else
                printf("%cdev", separator);
            separator = ',';
        }
    }
}

/* " @28 counters+0x28 [counters,seed]": where most of it happened, and what else is there. */
static void print_place(const struct rec_page *page, unsigned vcpus, const struct symbols *symbols)
{
    unsigned word = word_of(page, vcpus);
    char name[SYMBOL_TEXT_MAX], names[NAMES_SHOWN];

    if (word != REC_WORD_NONE)
        printf(" @%x", word * 8);
    if (word != REC_WORD_NONE && *symbols_find(symbols, address_of(page) + (uint64_t)word * 8, name))
        printf(" %s", name);
    if (*symbols_on_page(symbols, address_of(page), names, sizeof names))
        printf(" [%s]", names);
}

void pages_print(const struct rec_pages *pages, const struct symbols *symbols)
{
    printf("pages that chunks were squashed over, all vCPUs together; over another one at most %" PRIu64 "\n",
           pages->unlisted);
    printf("  %10s %9s %8s", "address", "squashed", "missed");
    for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
        printf(" %8s", log_cause_name(k));
    printf(" %9s  by vCPU, place\n", "written");
    for (unsigned i = 0; i < MIN(pages->count, (uint32_t)PAGES_SHOWN); i++) {
        const struct rec_page *page = &pages->page[i];
        struct total t = total_of(page, pages->vcpus);

        printf("  %10" PRIx64 " %9" PRIu64 " %8" PRIu64, address_of(page), t.squashed, t.missed);
        for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
            printf(" %8" PRIu64, t.cause[k]);
        printf(" %9" PRIu64 " ", t.writes);
        print_vcpus(page, pages->vcpus);
        print_place(page, pages->vcpus, symbols);
        putchar('\n');
    }
}

static json_t *json_of_row(const struct rec_page_row *row)
{
    json_t *o = json_object(), *causes = json_object(), *by = json_array();

    for (unsigned k = 0; k < REC_CAUSE_COUNT; k++)
        json_object_set_new(causes, log_cause_name(k), json_u64(row->cause[k]));
    for (unsigned bit = 0; bit <= MAX_VCPUS; bit++) {
        if (row->by >> bit & 1)
            json_array_append_new(by, bit < MAX_VCPUS ? json_integer(bit) : json_string("device"));
    }
    json_object_set_new(o, "squashed", causes);
    json_object_set_new(o, "missed", json_u64(row->missed));
    json_object_set_new(o, "by", by);
    json_object_set_new(o, "writes", json_u64(row->writes));
    if (row->word != REC_WORD_NONE)
        json_object_set_new(o, "word", json_sprintf("%x", row->word * 8));
    return o;
}

static void add_names(json_t *o, const struct rec_page *page, unsigned vcpus, const struct symbols *symbols)
{
    char name[SYMBOL_TEXT_MAX], names[NAMES_JSON];
    unsigned word = word_of(page, vcpus);

    json_object_set_new(o, "address", json_hex(address_of(page)));
    if (word != REC_WORD_NONE && *symbols_find(symbols, address_of(page) + (uint64_t)word * 8, name))
        json_object_set_new(o, "symbol", json_string(name));
    if (*symbols_on_page(symbols, address_of(page), names, sizeof names))
        json_object_set_new(o, "symbols", json_string(names));
}

json_t *pages_json(const struct rec_pages *pages, const struct symbols *symbols)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < pages->count; i++) {
        const struct rec_page *page = &pages->page[i];
        json_t *o = json_object(), *vcpus = json_array();

        for (unsigned v = 0; v < pages->vcpus; v++)
            json_array_append_new(vcpus, json_of_row(&page->row[v]));
        json_object_set_new(o, "page", json_integer(page->gpn));
        json_object_set_new(o, "vcpus", vcpus);
        if (symbols)
            add_names(o, page, pages->vcpus, symbols);
        json_array_append_new(list, o);
    }
    return list;
}
