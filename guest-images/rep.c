/*
 * String instructions with REP over many pages: MOVS, STOS, CMPS, SCAS and LODS, by bytes and by quadwords,
 * upwards and downwards, at odd addresses. Each CPU works on memory of its own and checks by C code what came
 * of it; in the end all copy into the same pages at once, whose content depends on the interleaving. `n` is
 * the number of rounds.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define AREA_BYTES   (24 * (size_t)PAGE_BYTES)
#define SHARED_BYTES (8 * (size_t)PAGE_BYTES)
#define DEFAULT_N    3
#define SHARED_TIMES 6
#define QUAD         sizeof(uint64_t)

/* What one CPU works on; `source` ends with room for odd starts. */
struct areas {
    uint8_t source[AREA_BYTES], target[AREA_BYTES];
    uint64_t hash, errors;
};

static struct areas *areas;
static uint8_t *shared;
static uint64_t rounds, seed;

/* Each goes up from the first element, or down from the last with DF set; counts are in elements. */
static void movs_bytes(void *to, const void *from, size_t count, bool down)
{
    if (down)
        __asm__ volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(count) : : "memory", "cc");
    else
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static void movs_quads(void *to, const void *from, size_t count, bool down)
{
    if (down)
        __asm__ volatile("std; rep movsq; cld" : "+D"(to), "+S"(from), "+c"(count) : : "memory", "cc");
    else
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static void stos_bytes(void *to, uint8_t value, size_t count, bool down)
{
    if (down)
        __asm__ volatile("std; rep stosb; cld" : "+D"(to), "+c"(count) : "a"(value) : "memory", "cc");
    else
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static void stos_quads(void *to, uint64_t value, size_t count, bool down)
{
    if (down)
        __asm__ volatile("std; rep stosq; cld" : "+D"(to), "+c"(count) : "a"(value) : "memory", "cc");
    else
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

/* Bytes, or quadwords, left when the first difference was passed. */
static size_t cmps_bytes(const void *a, const void *b, size_t count)
{
    __asm__ volatile("repe cmpsb" : "+S"(a), "+D"(b), "+c"(count) : : "memory", "cc");
    return count;
}

static size_t cmps_quads_down(const void *a, const void *b, size_t count)
{
    __asm__ volatile("std; repe cmpsq; cld" : "+S"(a), "+D"(b), "+c"(count) : : "memory", "cc");
    return count;
}

static size_t scas_bytes(const void *at, uint8_t value, size_t count)
{
    __asm__ volatile("repne scasb" : "+D"(at), "+c"(count) : "a"(value) : "memory", "cc");
    return count;
}

static size_t scas_quads_down(const void *at, uint64_t value, size_t count)
{
    __asm__ volatile("std; repne scasq; cld" : "+D"(at), "+c"(count) : "a"(value) : "memory", "cc");
    return count;
}

/* The last quadword loaded. */
static uint64_t lods_quads(const void *from, size_t count)
{
    uint64_t value = 0;

    __asm__ volatile("rep lodsq" : "+a"(value), "+S"(from), "+c"(count) : : "memory");
    return value;
}

static void fill(struct areas *a, uint64_t *state)
{
    for (size_t i = 0; i < AREA_BYTES; i += QUAD) {
        uint64_t value = random_next(state) | UINT64_C(0x0101010101010101); /* no byte is zero */

        memcpy(a->source + i, &value, QUAD);
    }
}

static void add_area(struct areas *a, const uint8_t *area)
{
    uint64_t value;

    for (size_t i = 0; i < AREA_BYTES; i += QUAD) {
        memcpy(&value, area + i, QUAD);
        a->hash = hash_add(a->hash, value);
    }
}

/* Copies both ways, with a target that is not aligned to what is copied, and over itself. */
static void copies(struct areas *a, size_t odd)
{
    size_t bytes = AREA_BYTES - 2 * PAGE_BYTES, quads = bytes / QUAD;

    movs_bytes(a->target + odd, a->source, bytes, false);
    a->errors += memcmp(a->target + odd, a->source, bytes) != 0;
    movs_quads(a->target, a->source + odd, quads, false);
    a->errors += memcmp(a->target, a->source + odd, bytes) != 0;
    movs_quads(a->target + odd + bytes - QUAD, a->source + bytes - QUAD, quads, true);
    a->errors += memcmp(a->target + odd, a->source, bytes) != 0;
    movs_bytes(a->target + PAGE_BYTES + odd + bytes - 1, a->target + odd + bytes - 1, bytes, true);
    a->errors += memcmp(a->target + PAGE_BYTES + odd, a->source, bytes) != 0;
    add_area(a, a->target);
}

static void searches(struct areas *a, size_t odd)
{
    size_t bytes = AREA_BYTES - PAGE_BYTES, quads = bytes / QUAD, place = bytes / 2 + odd;

    movs_quads(a->target, a->source, AREA_BYTES / QUAD, false);
    a->errors += cmps_bytes(a->source, a->target, bytes) != 0;
    a->target[place] = 0;
    a->errors += cmps_bytes(a->source, a->target, bytes) != bytes - place - 1;
    a->errors += scas_bytes(a->target, 0, bytes) != bytes - place - 1;
    a->errors += cmps_quads_down(a->source + bytes - QUAD, a->target + bytes - QUAD, quads) != place / QUAD;
    stos_quads(a->target + place / QUAD * QUAD, 0, 1, false);
    a->errors += scas_quads_down(a->target + bytes - QUAD, 0, quads) != place / QUAD;
    a->hash = hash_add(a->hash, lods_quads(a->source, quads));
    add_area(a, a->target);
}

static void stores(struct areas *a, size_t odd)
{
    size_t bytes = AREA_BYTES - PAGE_BYTES;

    stos_bytes(a->target + odd, (uint8_t)(odd + 1), bytes, false);
    a->errors += scas_bytes(a->target + odd, 0, bytes) != 0;
    add_area(a, a->target);
    stos_quads(a->target + odd + bytes - QUAD, odd * HASH_PRIME, bytes / QUAD, true);
    add_area(a, a->target);
    stos_bytes(a->target + bytes - 1, (uint8_t)odd, bytes, true);
    add_area(a, a->target);
}

static void work(void *arg)
{
    struct areas *a = &areas[cpu_id()];
    uint64_t state = random_seed(seed, cpu_id());

    (void)arg;
    a->hash = HASH_START;
    fill(a, &state);
    for (uint64_t i = 0; i < rounds; i++) {
        size_t odd = 1 + random_next(&state) % (PAGE_BYTES - QUAD);

        copies(a, odd);
        searches(a, odd);
        stores(a, odd);
    }
    wait_for_all();
    for (unsigned i = 0; i < SHARED_TIMES; i++)
        movs_bytes(shared, a->source + i, SHARED_BYTES, false);
}

int main(void)
{
    uint64_t hash = HASH_START, mixed = HASH_START, errors = 0;

    rounds = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    areas = memory_pages(sizeof(*areas) * cpu_count());
    shared = memory_pages(SHARED_BYTES);
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        hash = hash_add(hash, areas[i].hash);
        errors += areas[i].errors;
    }
    for (size_t i = 0; i < SHARED_BYTES; i++)
        mixed = hash_add(mixed, shared[i]);
    say("result: rep cpus %u errors %llu hash %016llx\n", cpu_count(), (ull)errors, (ull)hash);
    say("race: rep shared pages %016llx\n", (ull)mixed);
    return errors != 0;
}
