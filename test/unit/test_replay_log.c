/* The log as a replay reads it: indexed by vCPU, as far as it is sound, and refused by name where it does not
 * fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/vdev/cpuid.h"
#include "hv/replay_log.h"
#include "replay/log_writer.h"
#include "test/fake/msg.h"
#include "test/unit/log_random.h"

#define VCPUS   3u
#define COMMITS 200u
#define BYTES   (256u << 10)
#define ROOM    (1u << 20)

static uint8_t bytes[BYTES];
static size_t size, header_size;
static struct rec_commit written[COMMITS];
static void *room;
static struct mem mem;
static struct vm_replay replay;

static void write_log(uint32_t commits, bool trailer)
{
    struct rec_header header = plain_header(VCPUS);
    struct rec_trailer end = {.outcome = REC_OUTCOME_EXIT, .commits = commits};
    struct log_writer writer;
    uint64_t state = 7;

    log_writer_init(&writer, bytes, BYTES, 512);
    assert_true(log_writer_header(&writer, &header));
    log_writer_peek(&writer, &header_size);
    for (uint32_t i = 0; i < commits; i++) {
        random_commit(&written[i], &state, VCPUS, i + 1);
        assert_true(log_writer_commit(&writer, &written[i], i));
    }
    log_writer_flush(&writer);
    if (trailer)
        assert_true(log_writer_trailer(&writer, &end));
    log_writer_peek(&writer, &size);
}

static int begin(void **state)
{
    (void)state;
    assert_int_equal(posix_memalign(&room, PAGE_SIZE, ROOM), 0);
    memset(&mem, 0, sizeof(mem));
    memset(&replay, 0, sizeof(replay));
    assert_true(mem_add(&mem, (uint64_t)(uintptr_t)room, (uint64_t)(uintptr_t)room + ROOM));
    fake_last_message[0] = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(room);
    return 0;
}

static void assert_said(const char *words)
{
    if (!strstr(fake_last_message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, fake_last_message);
}

static void indexed_by_vcpu(void **state)
{
    uint32_t chunks = 0, found = 0;

    (void)state;
    write_log(COMMITS, true);
    assert_true(replay_log_read(&replay, bytes, size, &mem));
    assert_int_equal(replay.count, COMMITS);
    assert_true(replay.complete);
    for (uint32_t i = 0; i < COMMITS; i++)
        chunks += written[i].kind == REC_CHUNK;
    for (uint8_t vcpu = 0; vcpu < VCPUS; vcpu++) {
        uint64_t before = 0;
        for (uint64_t seq = replay.first[vcpu]; seq; seq = replay.next_of_vcpu[seq - 1]) {
            assert_true(seq > before);
            assert_int_equal(replay.commits[seq - 1].kind, REC_CHUNK);
            assert_int_equal(replay.commits[seq - 1].chunk.vcpu, vcpu);
            assert_int_equal(replay.commits[seq - 1].chunk.digest, written[seq - 1].chunk.digest);
            before = seq;
            found++;
        }
    }
    assert_int_equal(found, chunks);
}

static void cut_off_anywhere(void **state)
{
    uint64_t before = 0;

    (void)state;
    write_log(COMMITS, true);
    for (size_t part = header_size; part < size; part += 97) {
        uint64_t count;
        end(NULL);
        begin(NULL);
        if (!replay_log_read(&replay, bytes, part, &mem)) {
            assert_said("no commits");
            continue;
        }
        count = replay.count;
        assert_true(count >= before && count <= COMMITS);
        if (part < size - 1)
            assert_false(replay.complete);
        for (uint32_t vcpu = 0; vcpu < VCPUS; vcpu++)
            assert_true(replay.first[vcpu] <= count);
        before = count;
    }
    assert_true(before > COMMITS / 2);
}

static void nothing_to_replay(void **state)
{
    (void)state;
    write_log(0, true);
    assert_false(replay_log_read(&replay, bytes, size, &mem));
    assert_said("no commits");
    assert_false(replay_log_read(&replay, bytes, header_size - 1, &mem));
    assert_said("header");
    bytes[0] ^= 1;
    assert_false(replay_log_read(&replay, bytes, size, &mem));
    assert_said("offset 0");
}

/* A damaged block ends it; what was before is good. */
static void damaged(void **state)
{
    (void)state;
    write_log(COMMITS, true);
    bytes[size / 2] ^= 0x10;
    assert_true(replay_log_read(&replay, bytes, size, &mem));
    assert_said("replaying what comes before");
    assert_true(replay.count > 0 && replay.count < COMMITS);
    assert_false(replay.complete);
}

static void too_little_memory(void **state)
{
    struct mem little = {0};

    (void)state;
    write_log(COMMITS, true);
    assert_true(mem_add(&little, (uint64_t)(uintptr_t)room, (uint64_t)(uintptr_t)room + PAGE_SIZE));
    assert_false(replay_log_read(&replay, bytes, size, &little));
    assert_said("too little memory");
}

static struct rec_header fitting(void)
{
    struct rec_header header = plain_header(2);

    header.time_quantum = VM_TIME_QUANTUM;
    header.cpuid_model = CPUID_MODEL_VERSION;
    return header;
}

static void machines(void **state)
{
    struct rec_header log = fitting();

    (void)state;
    assert_true(replay_log_fits_machine(&log, 2, log.memory_bytes));
    assert_false(replay_log_fits_machine(&log, 3, log.memory_bytes));
    assert_said("use vcpus=2");
    assert_false(replay_log_fits_machine(&log, 2, log.memory_bytes + PAGE_SIZE));
    assert_said("use mem=262144K");
    log.semantics++;
    assert_false(replay_log_fits_machine(&log, 2, log.memory_bytes));
    assert_said("semantics");
    log = fitting();
    log.cpuid_model++;
    assert_false(replay_log_fits_machine(&log, 2, log.memory_bytes));
    assert_said("CPUID model");
    log = fitting();
    log.time_quantum *= 2;
    assert_false(replay_log_fits_machine(&log, 2, log.memory_bytes));
    assert_said("time quantum");
}

static void guests(void **state)
{
    struct rec_header log = fitting(), here = log;

    (void)state;
    assert_true(replay_log_fits_guest(&log, &here));
    here.image_digest ^= 1;
    assert_false(replay_log_fits_guest(&log, &here));
    assert_said("another guest image");
    here = log;
    here.guest_command_line[0] = 'X';
    assert_false(replay_log_fits_guest(&log, &here));
    assert_said("Xounters");
}

/* Each trait by its name, whichever of the machines has it. */
static void processors(void **state)
{
    const struct cpuid_feature *traits;
    size_t count;

    (void)state;
    traits = cpuid_traits(&count);
    for (size_t i = 0; i < count; i++) {
        struct rec_header log = fitting(), here = log;
        here.host_traits ^= BIT(i);
        assert_false(replay_log_fits_guest(&log, &here));
        assert_said(traits[i].name);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(indexed_by_vcpu), TEST(cut_off_anywhere),  TEST(nothing_to_replay),
        TEST(damaged),         TEST(too_little_memory), TEST(machines),
        TEST(guests),          TEST(processors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
