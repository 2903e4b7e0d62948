/*
 * A parallel sort of 16 MiB: 8 MiB of records and as much for merging. CPUs fill blocks as they come, sort a
 * part each, and merge the parts pairwise, all CPUs at work in each round. The outcome is the same however
 * they interleave; who filled which block is not. `n` is the number of records.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N     (UINT64_C(1) << 18)
#define BLOCK_RECORDS 1024
#define SHORT_RUN     12

struct record {
    uint64_t key, payload[3];
};

static struct record *records, *merged;
static uint64_t total, seed;
static unsigned parts; /* CPUs that sort and merge: a power of two */
static atomic_uint_least64_t next_block;
static uint64_t *block_owner;

static void fill_blocks(void)
{
    uint64_t block, end;

    while ((block = atomic_fetch_add(&next_block, 1)) * BLOCK_RECORDS < total) {
        uint64_t state = random_seed(seed, block);

        block_owner[block] = cpu_id();
        end = (block + 1) * BLOCK_RECORDS;
        for (uint64_t i = block * BLOCK_RECORDS; i < end && i < total; i++) {
            records[i].key = random_next(&state);
            records[i].payload[0] = records[i].payload[1] = records[i].payload[2] = ~records[i].key;
        }
    }
}

static void insertion_sort(struct record *r, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        struct record moving = r[i];
        uint64_t at = i;

        for (; at > 0 && r[at - 1].key > moving.key; at--)
            r[at] = r[at - 1];
        r[at] = moving;
    }
}

/* Splits around the middle record's key (Hoare): afterwards r[0..result) <= pivot <= r[result..count). */
static uint64_t split(struct record *r, uint64_t count)
{
    uint64_t pivot = r[(count - 1) / 2].key;
    uint64_t low = 0, high = count - 1;

    for (;;) {
        while (r[low].key < pivot)
            low++;
        while (r[high].key > pivot)
            high--;
        if (low >= high)
            return high + 1;
        struct record kept = r[low];

        r[low++] = r[high];
        r[high--] = kept;
    }
}

/* Recurs into the smaller side only, so the depth stays below log2(count). */
static void quick_sort(struct record *r, uint64_t count)
{
    while (count > SHORT_RUN) {
        uint64_t left = split(r, count);

        if (left < count - left) {
            quick_sort(r, left);
            r += left;
            count -= left;
        } else {
            quick_sort(r + left, count - left);
            count = left;
        }
    }
    insertion_sort(r, count);
}

/* How many of the first `rank` records of the merge of a and b come from a. */
static uint64_t rank_in_first(const struct record *a, uint64_t na, const struct record *b, uint64_t nb,
                              uint64_t rank)
{
    uint64_t low = rank > nb ? rank - nb : 0;
    uint64_t high = rank < na ? rank : na;

    while (low < high) {
        uint64_t i = (low + high) / 2;

        if (a[i].key <= b[rank - i - 1].key)
            low = i + 1;
        else
            high = i;
    }
    return low;
}

/* Writes records [from, to) of the merge of a and b to out. */
static void merge_range(const struct record *a, uint64_t na, const struct record *b, uint64_t nb,
                        struct record *out, uint64_t from, uint64_t to)
{
    uint64_t i = rank_in_first(a, na, b, nb, from);
    uint64_t j = from - i;

    for (; from < to; from++) {
        if (j == nb || (i < na && a[i].key <= b[j].key))
            out[from] = a[i++];
        else
            out[from] = b[j++];
    }
}

static uint64_t part_start(uint64_t part)
{
    return total * part / parts;
}

/* In each round `width` parts have become sorted runs; the CPUs of two neighbours share the work of their
 * merge. */
static void merge_rounds(unsigned me)
{
    struct record *from = records, *to = merged;

    for (unsigned width = 1; width < parts; width *= 2) {
        unsigned first = me / (2 * width) * (2 * width);
        uint64_t a = part_start(first), b = part_start(first + width), end = part_start(first + 2 * width);
        unsigned mine = me - first;

        if (me < parts)
            merge_range(from + a, b - a, from + b, end - b, to + a, (end - a) * mine / (2 * width),
                        (end - a) * (mine + 1) / (2 * width));
        wait_for_all();
        struct record *other = from;

        from = to;
        to = other;
    }
}

static void work(void *arg)
{
    unsigned me = cpu_id();

    (void)arg;
    fill_blocks();
    wait_for_all();
    if (me < parts)
        quick_sort(records + part_start(me), part_start(me + 1) - part_start(me));
    wait_for_all();
    merge_rounds(me);
}

int main(void)
{
    uint64_t blocks, hash = HASH_START, owners = HASH_START, wrong = 0;
    const struct record *sorted;
    unsigned rounds = 0;

    total = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    blocks = (total + BLOCK_RECORDS - 1) / BLOCK_RECORDS;
    records = memory_pages(total * sizeof(*records));
    merged = memory_pages(total * sizeof(*merged));
    block_owner = memory_pages(blocks * sizeof(*block_owner));
    for (parts = 1; parts * 2 <= cpu_count(); parts *= 2)
        rounds++;
    run_on_all(work, NULL);
    sorted = rounds % 2 ? merged : records;
    for (uint64_t i = 0; i < total; i++) {
        wrong += sorted[i].payload[2] != ~sorted[i].key || (i > 0 && sorted[i - 1].key > sorted[i].key);
        hash = hash_add(hash, sorted[i].key);
    }
    for (uint64_t i = 0; i < blocks; i++)
        owners = hash_add(owners, block_owner[i]);
    say("result: sort records %llu wrong %llu hash %016llx\n", (ull)total, (ull)wrong, (ull)hash);
    say("race: sort block owners %016llx\n", (ull)owners);
    return wrong != 0;
}
