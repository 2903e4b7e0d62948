/*
 * The engine on fake processors: guests that race are recorded, and replayed on processors that differ in
 * timing, in what their TLBs hold, and in the order in which they are served. All must come out the same.
 *
 * A run that failed is found again by its seed: build/unit/test_engine SEED [PIECE] runs just that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/fake/machine.h"

#define DIFFERENCE_BYTES 600u

static void blame(const struct fake_machine_config *c, const char *what, const char *how)
{
    const struct fake_guest *g = c->guest;

    fail_msg("%s: guest seed %llu, pieces %#x%s%s, vCPUs %u: %s", what, (unsigned long long)g->seed,
             g->pieces, g->only ? ", only " : "", g->only ? g->only : "", g->vcpus, how);
}

static uint32_t taken(const struct fake_result *r, uint32_t vcpu, uint32_t vector)
{
    return fake_guest_word(r->memory,
                           GUEST_PRIVATE + (vcpu << GUEST_PRIVATE_SHIFT) + GUEST_TAKEN + 4 * vector);
}

/* Breakpoints fire once for each time that they match. */
static void check_breakpoints(const struct fake_machine_config *c, const struct fake_result *r)
{
    for (uint32_t i = 0; i < c->guest->vcpus; i++) {
        uint32_t code = fake_guest_count(c->guest, i, "bp_code"),
                 data = fake_guest_count(c->guest, i, "bp_data");
        uint32_t all = fake_guest_count(c->guest, i, "bp_all"), rep = fake_guest_count(c->guest, i, "bp_rep");
        uint32_t port = fake_guest_count(c->guest, i, "bp_port");

        if (taken(r, i, GUEST_TAKEN_DEBUG + 1) != 5 * code + 4 * all + 2 * rep ||
            taken(r, i, GUEST_TAKEN_DEBUG + 2) != 4 * all + 4 * port ||
            taken(r, i, GUEST_TAKEN_DEBUG + 4) != 4 * data + 16 * all ||
            taken(r, i, GUEST_TAKEN_DEBUG + 6) != 2 * port ||
            taken(r, i, GUEST_TAKEN_DEBUG + 8) != 3 * data + 4 * all)
            blame(c, "breakpoints", "lost or doubled");
    }
}

/* Interrupts come once for each time they were sent, or less where several were one. */
static void check_interrupts(const struct fake_machine_config *c, const struct fake_result *r)
{
    const struct fake_guest *g = c->guest;
    uint32_t ipis = 0, nmis = 0;

    for (uint32_t i = 0; i < g->vcpus; i++) {
        uint32_t timers = fake_guest_count(g, i, "timer") + fake_guest_count(g, i, "halt");
        if (taken(r, i, 0x42) != fake_guest_count(g, i, "ipi_self") + fake_guest_count(g, i, "closed_rep"))
            blame(c, "interrupts to itself", "lost or doubled");
        if (!fake_guest_count(g, i, "timer_periodic") && taken(r, i, 0x50) > timers)
            blame(c, "timer interrupts", "too many");
        if (taken(r, i, 6) != fake_guest_count(g, i, "undefined") ||
            taken(r, i, 0x30) != fake_guest_count(g, i, "interrupt"))
            blame(c, "exceptions", "lost or doubled");
        ipis += taken(r, i, 0x40);
        nmis += taken(r, i, 2);
    }
    if (ipis > fake_guest_total(g, "ipi") + fake_guest_total(g, "pingpong") ||
        nmis > fake_guest_total(g, "nmi"))
        blame(c, "interrupts to others", "too many");
    check_breakpoints(c, r);
}

#define XMM0_OFFSET 160u

static void check_registers(const struct fake_machine_config *c, const struct fake_result *r)
{
    for (uint32_t i = 0; i < c->guest->vcpus; i++) {
        uint32_t xmm0;
        memcpy(&xmm0, &r->state[i].xsave[XMM0_OFFSET], sizeof(xmm0));
        if (xmm0 != i + 0x101 * fake_guest_count(c->guest, i, "xmm"))
            blame(c, "XMM0", "wrong");
    }
}

/* What must hold of a guest that ran to its end, whatever the order of things was. */
static void check_memory(const struct fake_machine_config *c, const struct fake_result *r)
{
    const struct fake_guest *g = c->guest;
    uint32_t locked = fake_guest_word(r->memory, GUEST_LOCKED1);

    if (r->outcome.outcome != REC_OUTCOME_EXIT || r->outcome.status != 7)
        blame(c, "the guest's end", r->outcome.reason);
    if (fake_guest_word(r->memory, GUEST_ATOMIC) != fake_guest_total(g, "atomic"))
        blame(c, "the atomic counter", "lost or doubled");
    if (locked != fake_guest_total(g, "lock") || locked != fake_guest_word(r->memory, GUEST_LOCKED2))
        blame(c, "the counters under the lock", "lost or doubled");
    if (fake_guest_word(r->memory, GUEST_HISTORY_NEXT) != fake_guest_total(g, "history"))
        blame(c, "the history", "lost or doubled");
    if (fake_guest_word(r->memory, GUEST_TSC_BACK) != 0)
        blame(c, "guest time", "went back");
    if (fake_guest_word(r->memory, GUEST_WRONG) != 0)
        blame(c, "a result", "wrong");
    if (fake_guest_word(r->memory, GUEST_TURNS) != fake_guest_total(g, "pingpong"))
        blame(c, "turns", "lost or doubled");
    check_interrupts(c, r);
}

static uint64_t sum_of(const struct fake_result *r, enum rec_counter first, enum rec_counter last)
{
    uint64_t sum = 0;

    for (unsigned i = first; i <= last; i++)
        sum += r->counters[i];
    return sum;
}

/* What is counted by cause or by reason is counted whole. */
static void check_counters(const struct fake_machine_config *c, const struct fake_result *r)
{
    if (sum_of(r, REC_COUNT_SQUASH_WORDS, REC_COUNT_SQUASH_OTHER) != r->counters[REC_COUNT_SQUASHES])
        blame(c, "squashes by cause", "not as many as squashes");
    if (sum_of(r, REC_COUNT_SQUASH_WORDS, REC_COUNT_SQUASH_TABLES) != r->fought)
        blame(c, "squashes by page", "not as many as conflicts");
    if (sum_of(r, REC_COUNT_EXIT_TIMER, REC_COUNT_EXIT_OTHER) + r->counters[REC_COUNT_EXIT_PML] !=
        r->counters[REC_COUNT_EXITS])
        blame(c, "exits by reason", "not as many as exits");
    if (!r->counters[REC_COUNT_TICKS_GUEST] || !r->counters[REC_COUNT_TICKS_COLLECT])
        blame(c, "ticks", "not counted");
}

static void check_guest(const struct fake_machine_config *c, const struct fake_result *r)
{
    check_counters(c, r);
    check_memory(c, r);
    check_registers(c, r);
}

static void compare(const struct fake_machine_config *c, const char *what, const struct fake_result *recorded,
                    struct fake_result *replayed)
{
    char text[DIFFERENCE_BYTES];

    if (fake_results_differ(recorded, replayed, text, sizeof(text)))
        blame(c, what, text);
    fake_result_delete(replayed);
}

/* The same log on processors of the same kind, served in another order. */
static void replay_alike(struct fake_machine_config c, const struct fake_result *recorded)
{
    c.seed = c.seed * 3 + 1;
    c.model.seed = c.seed;
    compare(&c, "replay", recorded, fake_replay(&c));
}

/* On others: slower at other places, with smaller TLBs, busy hosts, and less patience between commits. */
static void replay_elsewhere(struct fake_machine_config c, const struct fake_result *recorded)
{
    c.seed = c.seed * 5 + 2;
    c.model.seed = c.seed;
    c.model.evict = 60;
    c.model.speculate = 30;
    c.model.host_events = 10;
    c.model.slow = 100;
    c.model.slow_ticks = 6;
    c.model.accessed_on_violation = !c.model.accessed_on_violation;
    c.model.rep_cut_sets_rf = !c.model.rep_cut_sets_rf;
    c.model.pmu = c.seed & 4;
    c.model.skid = 20;
    c.spare_frames /= 2;
    compare(&c, "replay elsewhere", recorded, fake_replay(&c));
}

/* One chunk after the other, in the order of their commits: what the log says must be a serial execution. */
static void replay_serially(struct fake_machine_config c, const struct fake_result *recorded)
{
    c.seed = c.seed * 7 + 3;
    c.serial = true;
    compare(&c, "serial replay", recorded, fake_replay(&c));
}

/* The recording's counters are added to `counters`, unless that is NULL. */
static void check_counted(struct fake_machine_config *c, uint64_t *counters)
{
    struct fake_result *recorded = fake_record(c);

    for (unsigned i = 0; counters && i < REC_COUNT_MAX; i++)
        counters[i] += recorded->counters[i];
    check_guest(c, recorded);
    c->log = recorded->log;
    c->log_bytes = recorded->log_bytes;
    replay_alike(*c, recorded);
    replay_elsewhere(*c, recorded);
    replay_serially(*c, recorded);
    fake_result_delete(recorded);
}

static void check_pair(struct fake_machine_config *c)
{
    check_counted(c, NULL);
}

static struct fake_guest guest_of(uint64_t seed)
{
    return (struct fake_guest){
        .pieces = PIECES_ALL, .calls = 18, .rounds = 3, .seed = seed, .vcpus = 1 + (uint32_t)(seed % 3)};
}

static void run_seeds(uint64_t first, uint64_t count, uint32_t pieces, const char *only)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        guest.pieces = pieces;
        guest.only = only;
        config.model.pmu = seed & 2;
        config.model.skid = 4;
        check_pair(&config);
    }
}

static void mixed_guests(void **state)
{
    (void)state;
    run_seeds(1, 150, PIECES_ALL, NULL);
}

/* Each kind of thing by itself meets itself more often. */
static void guests_of_one_kind(void **state)
{
    (void)state;
    for (uint32_t set = 1; set < PIECES_ALL; set <<= 1)
        run_seeds(1000 + set, 12, set, NULL);
    run_seeds(2000, 20, PIECES_REP | PIECES_IPI | PIECES_TIMER | PIECES_FLAGS, NULL);
    run_seeds(2100, 20, PIECES_SHARED | PIECES_TIME, NULL);
}

static void guests_of_one_piece(void **state)
{
    (void)state;
    for (uint32_t i = 0; fake_piece_name(i, PIECES_ALL); i++)
        run_seeds(3000 + 10 * i, 3, PIECES_ALL, fake_piece_name(i, PIECES_ALL));
}

/*
 * Where nothing from outside comes in, it cannot matter where chunks end: one vCPU in short chunks and in
 * long ones ends with the same memory and the same registers.
 */
static void chunks_do_not_show(void **state)
{
    (void)state;
    for (uint64_t seed = 7000; seed < 7040; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *fine, *coarse;

        guest.vcpus = 1;
        guest.pieces =
            PIECES_SHARED | PIECES_PRIVATE | PIECES_REP | PIECES_EXITS | PIECES_PORTS | PIECES_FLAGS;
        config.chunk_ticks = 30;
        fine = fake_record(&config);
        check_guest(&config, fine);
        config.chunk_ticks = 1000000;
        config.model.seed++;
        config.pause_limit = 1000;
        coarse = fake_record(&config);
        if (memcmp(fine->memory, coarse->memory, GUEST_BYTES) != 0)
            blame(&config, "memory", "depends on the chunks");
        if (vcpu_state_digest(&fine->state[0]) != vcpu_state_digest(&coarse->state[0]))
            blame(&config, "registers", "depend on the chunks");
        fake_result_delete(fine);
        fake_result_delete(coarse);
    }
}

/* Two vCPUs that sleep until the other wakes them. */
static void waking_each_other(void **state)
{
    (void)state;
    for (uint64_t seed = 8000; seed < 8010; seed++) {
        struct fake_guest guest = {.only = "pingpong", .calls = 8, .rounds = 3, .seed = seed, .vcpus = 2};
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        check_pair(&config);
    }
}

/* The entropy device with a buffer for each ring, as a driver would have set it up; messages go to vCPU 0. */
static void set_up_device(struct vm *vm, void *context)
{
    uint8_t *memory = vm->mode == VM_RUN ? vm->run_memory : vm->pool.base;
    struct virtio *v = vports_function(&vm->ports, VIRTIO_SLOT_RNG);
    static const uint32_t writes[][3] = {
        {0x08, 4, 1},
        {0x0C, 4, 1}, /* VIRTIO_F_VERSION_1 */
        {0x14, 1, 11},
        {0x20, 4, GUEST_RING_DESC},
        {0x28, 4, GUEST_RING_AVAIL},
        {0x30, 4, GUEST_RING_USED},
        {0x1A, 2, 0},
        {0x1C, 2, 1},
        {0x14, 1, 15},
        {VIRTIO_BAR_MSIX, 4, 0xFEE00000},
        {VIRTIO_BAR_MSIX + 8, 4, 0x41},
        {VIRTIO_BAR_MSIX + 12, 4, 0},
    };

    (void)context;
    virtio_config_write(&vm->ports.pci.bus, VIRTIO_SLOT_RNG, 0x04, 2, 6);
    virtio_config_write(&vm->ports.pci.bus, VIRTIO_SLOT_RNG, 0x9A, 2, VIRTIO_MSIX_ENABLE);
    for (size_t i = 0; i < ARRAY_LEN(writes); i++)
        virtio_bar_write(v, writes[i][0], writes[i][1], writes[i][2]);
    for (uint32_t i = 0; i < GUEST_RING_SIZE; i++) {
        uint32_t desc[4] = {GUEST_RING_DATA + GUEST_RING_BUFFER * i, 0, GUEST_RING_BUFFER,
                            2 /* to be written */};
        uint16_t head = (uint16_t)i;
        memcpy(memory + GUEST_RING_DESC + 16 * i, desc, sizeof(desc));
        memcpy(memory + GUEST_RING_AVAIL + 4 + 2 * i, &head, sizeof(head));
    }
}

static uint32_t ring_index(const struct fake_result *r, uint32_t ring)
{
    return fake_guest_word(r->memory, ring) >> 16;
}

/* What the device has put into the buffers that it has given back is the generator's, and nothing else is. */
static void check_device(const struct fake_machine_config *c, const struct fake_result *r)
{
    uint32_t used = ring_index(r, GUEST_RING_USED);
    struct vrandom random;

    vrandom_seed(&random, 12345, MAX_VCPUS);
    if (ring_index(r, GUEST_RING_AVAIL) != fake_guest_total(c->guest, "device") ||
        used > ring_index(r, GUEST_RING_AVAIL))
        blame(c, "the device's queue", "wrong");
    for (uint32_t i = 0; i < 2 * GUEST_RING_SIZE; i++) {
        uint64_t expected = i < 2 * used ? vrandom_next(&random) : 0, found;
        memcpy(&found, r->memory + GUEST_RING_DATA + 8 * i, sizeof(found));
        if (found != expected)
            blame(c, "the device's data", "wrong");
    }
}

/* A device writes the pages that all vCPUs read and write. */
static void device_in_guest_memory(void **state)
{
    uint64_t counters[REC_COUNT_MAX] = {0};
    uint32_t used = 0, interrupts = 0;

    (void)state;
    for (uint64_t seed = 8100; seed < 8140; seed++) {
        struct fake_guest guest = {
            .only = "device", .calls = 8, .rounds = 4, .seed = seed, .vcpus = 1 + (uint32_t)(seed % 3)};
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *recorded;

        config.prepare = set_up_device;
        config.spare_frames = seed % 4 ? 64 : 0;
        recorded = fake_record(&config);
        check_device(&config, recorded);
        used += ring_index(recorded, GUEST_RING_USED);
        interrupts += taken(recorded, 0, 0x41);
        for (unsigned i = 0; i < REC_COUNT_MAX; i++)
            counters[i] += recorded->counters[i];
        check_guest(&config, recorded);
        config.log = recorded->log;
        config.log_bytes = recorded->log_bytes;
        replay_alike(config, recorded);
        replay_elsewhere(config, recorded);
        replay_serially(config, recorded);
        fake_result_delete(recorded);
        recorded = fake_run(&config);
        check_device(&config, recorded);
        fake_result_delete(recorded);
    }
    assert_true(used > 100 && interrupts > 50);
    assert_true(counters[REC_COUNT_SQUASHES] > 0);
}

/* mode=run, where nothing is recorded and memory is shared. Registers stay in the processor. */
static void just_running(void **state)
{
    (void)state;
    for (uint64_t seed = 9000; seed < 9020; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *ran = fake_run(&config);

        check_memory(&config, ran);
        fake_result_delete(ran);
    }
}

/* Chunks that may change few pages, and hardly a frame to spare: chunks end early, and wait. */
static void short_of_memory(void **state)
{
    uint64_t counters[REC_COUNT_MAX] = {0};

    (void)state;
    for (uint64_t seed = 4000; seed < 4030; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        config.chunk_pages = 24;
        config.spare_frames = seed % 2 ? 0 : 8;
        config.chunk_ticks = 1500;
        check_counted(&config, counters);
    }
    assert_true(counters[REC_COUNT_STALLS] > 0);
}

/* The pages that string I/O needs are lacking now and then: before its value is stored, before bits are
 * marked. */
static void string_io_short_of_memory(void **state)
{
    static const char *const pieces[] = {"ins", "outs"};

    (void)state;
    for (uint64_t seed = 4100; seed < 4108; seed++) {
        struct fake_guest guest = {
            .only = pieces[seed % 2], .calls = 12, .rounds = 2, .seed = seed, .vcpus = 1 + seed / 2 % 3};
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        config.chunk_pages = 6 + seed / 4 % 4 * 2;
        config.spare_frames = 0;
        config.chunk_ticks = 1500;
        check_pair(&config);
    }
}

struct switches {
    const char *name;
    uint32_t view_policy;
    bool fixed_length, no_guess;
};

/* What must not happen where it is turned off, and must where only that shows that it is. */
static void check_switch(const struct fake_machine_config *c, const struct fake_result *r,
                         const struct switches *s)
{
    if (!(s->view_policy & VIEW_VALUE) && r->counters[REC_COUNT_VALUE_SAVES])
        blame(c, s->name, "a conflict was dismissed by value");
    if (!(s->view_policy & VIEW_AHEAD) && r->counters[REC_COUNT_COPIES_AHEAD])
        blame(c, s->name, "a page was copied ahead");
    if ((s->view_policy & VIEW_COPY_OUT) && !r->counters[REC_COUNT_COPIES_OUT])
        blame(c, s->name, "no commit copied a page");
}

/* Recorded under it, replayed under the defaults and under it. */
static void check_switches(struct fake_machine_config c, const struct switches *s)
{
    struct fake_machine_config defaults = c;
    struct fake_result *recorded;

    c.view_policy = s->view_policy;
    c.fixed_length = s->fixed_length;
    c.no_guess = s->no_guess;
    recorded = fake_record(&c);
    check_guest(&c, recorded);
    check_switch(&c, recorded, s);
    c.log = defaults.log = recorded->log;
    c.log_bytes = defaults.log_bytes = recorded->log_bytes;
    replay_alike(c, recorded);
    replay_elsewhere(c, recorded);
    replay_elsewhere(defaults, recorded);
    replay_serially(defaults, recorded);
    fake_result_delete(recorded);
}

/* Each improvement by itself, all together, and random sets of them, turned off. */
static void improvements_turned_off(void **state)
{
    static const struct switches each[] = {
        {.name = "off=value", .view_policy = VIEW_DEFAULT & ~VIEW_VALUE},
        {.name = "off=equal", .view_policy = VIEW_DEFAULT & ~VIEW_EQUAL},
        {.name = "off=ahead", .view_policy = VIEW_DEFAULT & ~VIEW_AHEAD},
        {.name = "off=keep", .view_policy = VIEW_DEFAULT & ~VIEW_KEEP},
        {.name = "off=adapt", .view_policy = VIEW_DEFAULT, .fixed_length = true},
        {.name = "off=guess", .view_policy = VIEW_DEFAULT, .no_guess = true},
        {.name = "policy=samsara", .view_policy = VIEW_COPY_OUT, .fixed_length = true},
    };

    (void)state;
    for (uint64_t seed = 10000; seed < 10021; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct switches some = {.name = "some off",
                                .view_policy = (uint32_t)(seed * 7 % 32),
                                .fixed_length = seed & 1,
                                .no_guess = seed & 2};

        check_switches(config, &each[seed % ARRAY_LEN(each)]);
        some.view_policy &= ~(uint32_t)VIEW_COPY_OUT;
        check_switches(config, &some);
        if (seed % 4 == 0) { /* hardly a frame to spare */
            config.chunk_pages = 24;
            config.spare_frames = seed % 8;
            check_switches(config, &each[ARRAY_LEN(each) - 1]);
        }
    }
}

/* The write set from the processor's log of pages: the same as from the D bits, and whenever the log is full.
 */
static void written_pages_by_log(void **state)
{
    uint64_t counters[REC_COUNT_MAX] = {0};

    (void)state;
    for (uint64_t seed = 11000; seed < 11012; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *by_bits = fake_record(&config), *by_log;

        config.pml = true;
        by_log = fake_record(&config);
        if (by_log->log_bytes != by_bits->log_bytes ||
            memcmp(by_log->log, by_bits->log, by_log->log_bytes) != 0)
            blame(&config, "pml=on", "another log than by D bits");
        config.log = by_bits->log;
        config.log_bytes = by_bits->log_bytes;
        replay_alike(config, by_bits);
        fake_result_delete(by_bits);
        fake_result_delete(by_log);
        config.model.log_room = 1 + seed % 5;
        check_counted(&config, counters);
    }
    assert_true(counters[REC_COUNT_EXIT_PML] > 0);
}

static void console_input(void **state)
{
    (void)state;
    for (uint64_t seed = 5000; seed < 5010; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        guest.pieces = PIECES_PORTS | PIECES_SHARED;
        config.input = 40;
        check_pair(&config);
    }
}

/*
 * Truly in parallel: what happens when is up to the host, what comes out is not. Few rounds, as on a busy
 * host a vCPU may spin for long until the other's thread gets a processor.
 */
static void in_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 6000; seed < 6004; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        guest.rounds = 3;
        guest.vcpus = 2 + seed % 2;
        config.threads = true;
        check_pair(&config);
    }
}

/* The paging structures are known from walks before the guest's first chunk. */
static void know_tables(struct vm *vm, void *context)
{
    (void)context;
    for (uint32_t i = 0; i < vm->vcpu_count && vm->mode == VM_RECORD; i++) {
        for (uint32_t at = 0; at < GUEST_TABLES_BYTES; at += PAGE_SIZE)
            view_note_table(&vm->vcpus[i]->view, (GUEST_TABLES + at) >> PAGE_SHIFT);
    }
}

/* The log on processors that walk elsewhere, more often, or never. */
static void replay_with_walks(struct fake_machine_config c, uint32_t walks,
                              const struct fake_result *recorded)
{
    c.model.walks = walks;
    replay_alike(c, recorded);
    replay_elsewhere(c, recorded);
    replay_serially(c, recorded);
}

/*
 * Page walks that set accessed bits where no instruction asks for it: on pages that the guest stores to, in
 * the same entries even, and on those that it leaves alone. Which, is never the same in two runs; memory
 * comes out as recorded, bit for bit.
 */
static void walks_in_vain(void **state)
{
    (void)state;
    for (uint64_t seed = 11000; seed < 11024; seed++) {
        struct fake_guest guest = {
            .only = "tables", .calls = 14, .rounds = 3, .seed = seed, .vcpus = 1 + (uint32_t)(seed % 3)};
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);
        struct fake_result *recorded;

        config.model.walks = seed % 4 ? 40 : 0;
        config.prepare = know_tables;
        if (seed % 8 == 7)
            config.chunk_pages = 24; /* pages lack now and then */
        recorded = fake_record(&config);
        check_guest(&config, recorded);
        config.log = recorded->log;
        config.log_bytes = recorded->log_bytes;
        replay_with_walks(config, 0, recorded);
        replay_with_walks(config, 15, recorded);
        replay_with_walks(config, 150, recorded);
        fake_result_delete(recorded);
    }
}

/* All kinds of noise at once, and each alone: rare orders, and nothing of it in a replay. */
static void noisy_recordings(void **state)
{
    (void)state;
    for (uint64_t seed = 10000; seed < 10060; seed++) {
        struct fake_guest guest = guest_of(seed);
        struct fake_machine_config config = fake_machine_defaults(&guest, seed);

        config.noise = seed % 2 ? NOISE_ALL : UINT32_C(1) << seed / 2 % 5;
        check_pair(&config);
    }
}

/* What noise is for: with it there are squashes without conflicts, and chunks with the token. */
static void noise_does_what_it_says(void **state)
{
    struct fake_guest guest = {.pieces = PIECES_PRIVATE, .calls = 18, .rounds = 6, .seed = 11000, .vcpus = 1};
    struct fake_machine_config config = fake_machine_defaults(&guest, 11000);
    struct fake_result *calm, *noisy;

    (void)state;
    config.model.host_events = 0;
    calm = fake_record(&config);
    config.noise = NOISE_ALL;
    noisy = fake_record(&config);
    assert_int_equal(calm->counters[REC_COUNT_SQUASHES], 0);
    assert_int_equal(calm->counters[REC_COUNT_EXIT_INTERRUPT], 0);
    assert_true(noisy->counters[REC_COUNT_SQUASHES] > 0);
    assert_true(noisy->counters[REC_COUNT_SQUASH_OTHER] == noisy->counters[REC_COUNT_SQUASHES]);
    assert_true(noisy->counters[REC_COUNT_EXIT_INTERRUPT] > 0);
    fake_result_delete(calm);
    fake_result_delete(noisy);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_guests),
        cmocka_unit_test(guests_of_one_kind),
        cmocka_unit_test(guests_of_one_piece),
        cmocka_unit_test(chunks_do_not_show),
        cmocka_unit_test(waking_each_other),
        cmocka_unit_test(device_in_guest_memory),
        cmocka_unit_test(just_running),
        cmocka_unit_test(short_of_memory),
        cmocka_unit_test(string_io_short_of_memory),
        cmocka_unit_test(console_input),
        cmocka_unit_test(written_pages_by_log),
        cmocka_unit_test(in_threads),
        cmocka_unit_test(walks_in_vain),
        cmocka_unit_test(noisy_recordings),
        cmocka_unit_test(noise_does_what_it_says),
        cmocka_unit_test(improvements_turned_off),
    };

    if (argc > 1) {
        run_seeds(strtoull(argv[1], NULL, 0), 1, PIECES_ALL, argc > 2 ? argv[2] : NULL);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
