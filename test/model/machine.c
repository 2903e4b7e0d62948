/* What scripts do to memory: through a view, and serially, which is the truth. */
#include <string.h>

#include "test/model/model.h"

static void absorb(struct machine *machine, uint64_t value)
{
    machine->acc = (machine->acc ^ value) * UINT64_C(0xd1342543de82ef95) + 1;
    machine->acc ^= machine->acc >> 32;
}

void machine_event(struct machine *machine, uint8_t vector)
{
    absorb(machine, UINT64_C(0x1000) + vector);
}

static enum op_result store(struct machine *machine, const struct op *op, const struct access *access)
{
    uint64_t value;

    if (!access->prepare(access->ctx, op->page))
        return OP_REFUSED;
    if (op->kind == OP_CONST) {
        value = op->arg;
    } else if (op->kind == OP_WRITE) {
        absorb(machine, machine->pc); /* never the same value twice */
        value = machine->acc | 1;
    } else {
        value = access->read(access->ctx, op->page, op->word);
        if (op->kind == OP_ADD) {
            absorb(machine, value);
            value += op->arg;
        }
    }
    access->write(access->ctx, op->page, op->word, value);
    machine->pc++;
    return OP_ON;
}

enum op_result machine_step(struct machine *machine, const struct op *script, const struct access *access)
{
    const struct op *op = &script[machine->pc];
    enum op_result result = OP_ON;

    switch ((enum op_kind)op->kind) {
    case OP_END:
        return OP_OVER;
    case OP_READ:
        absorb(machine, access->read(access->ctx, op->page, op->word));
        machine->pc++;
        break;
    case OP_SKIP:
        machine->pc += access->read(access->ctx, op->page, op->word) & 1 ? 2 : 1;
        break;
    case OP_WRITE:
    case OP_CONST:
    case OP_ADD:
    case OP_SILENT:
        result = store(machine, op, access);
        break;
    case OP_CUT:
    case OP_IPI:
        machine->pc++;
        return OP_OVER;
    }
    if (result == OP_ON && script[machine->pc].kind == OP_END)
        return OP_OVER;
    return result;
}

/* Through the mappings, as a processor would. */

static bool view_prepare(void *ctx, uint32_t page)
{
    struct actor *actor = ctx;

    if (actor->map[page].writable)
        return true;
    if (view_write_fault(&actor->view, page) != VIEW_FAULT_COPIED)
        return false;
    if (!actor->map[page].writable)
        model_fail("page %u is not writable after its fault", page);
    return true;
}

static uint64_t *view_word(struct actor *actor, uint32_t page, uint32_t word)
{
    if (!actor->map[page].present)
        model_fail("page %u is not mapped", page);
    actor->map[page].accessed = true;
    return (uint64_t *)frame_data(&world.pool, actor->map[page].frame) + word;
}

static uint64_t view_read(void *ctx, uint32_t page, uint32_t word)
{
    return *view_word(ctx, page, word);
}

static void view_write(void *ctx, uint32_t page, uint32_t word, uint64_t value)
{
    struct actor *actor = ctx;

    *view_word(actor, page, word) = value;
    actor->map[page].dirty = true;
}

enum op_result actor_step(struct actor *actor)
{
    const struct access access = {
        .prepare = view_prepare, .read = view_read, .write = view_write, .ctx = actor};
    const struct op *script = world.scenario->script[actor - world.actor];
    const struct op *op = &script[actor->now.pc];
    enum op_result result = machine_step(&actor->now, script, &access);

    if (result == OP_OVER && op->kind == OP_IPI) {
        actor->acts = true;
        actor->target = op->arg;
    }
    return result;
}

/* The walk at the chunk's end, in rising order of pages. */
void actor_collect(struct actor *actor)
{
    uint32_t accessed[M_PAGES], count = 0;

    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++) {
        struct mapping *m = &actor->map[gpn];
        if (m->accessed)
            accessed[count++] = gpn | (m->dirty ? VIEW_DIRTY : 0);
        m->accessed = m->dirty = false;
    }
    view_collect(&actor->view, accessed, count);
}

/* The serial execution. */

struct serial {
    struct moment *now;
    uint32_t accessed; /* one bit per page */
};

static bool serial_prepare(void *ctx, uint32_t page)
{
    (void)ctx;
    (void)page;
    return true;
}

static uint64_t serial_read(void *ctx, uint32_t page, uint32_t word)
{
    struct serial *serial = ctx;

    serial->accessed |= 1u << page;
    return serial->now->word[page][word];
}

static void serial_write(void *ctx, uint32_t page, uint32_t word, uint64_t value)
{
    struct serial *serial = ctx;

    serial->accessed |= 1u << page;
    serial->now->word[page][word] = value;
}

/* The events that the chunk took are the next that were posted, and caused before its snapshot. */
static void serial_events(uint32_t actor, const struct chunk_record *record)
{
    for (uint32_t i = 0; i < record->events; i++) {
        uint32_t k = world.taken_count[actor]++;
        if (k >= world.posted_count[actor] || world.posted[actor][k].vector != record->event[i] ||
            world.posted[actor][k].seq > record->snapshot)
            model_fail("actor %u took an event that is not the next one", actor);
        machine_event(&world.serial[actor], record->event[i]);
    }
}

/* E as defined: the latest of the actor's own commit before, and of the versions that the chunk read. */
static uint64_t serial_newest(const struct serial *serial, uint64_t seq, uint64_t own)
{
    uint64_t newest = own;

    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++)
        if (serial->accessed & 1u << gpn)
            newest = MAX(newest, world.moment[seq - 1].version[gpn]);
    return newest;
}

/* Executes the chunk on the memory as of seq - 1, and compares what the recorder says of it. */
void serial_commit(uint64_t seq, struct chunk_record *record)
{
    struct serial serial = {.now = &world.moment[seq]};
    const struct access access = {
        .prepare = serial_prepare, .read = serial_read, .write = serial_write, .ctx = &serial};
    uint32_t actor = record->actor;
    struct machine *machine = &world.serial[actor];

    *serial.now = world.moment[seq - 1];
    serial_events(actor, record);
    while (machine->pc < record->end_pc)
        machine_step(machine, world.scenario->script[actor], &access);
    if (machine->pc != record->after.pc || machine->acc != record->after.acc)
        model_fail("commit %u of actor %u is not what a serial execution gives", (unsigned)seq, actor);
    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++)
        if (memcmp(serial.now->word[gpn], world.moment[seq - 1].word[gpn], sizeof(serial.now->word[gpn])) !=
            0)
            serial.now->version[gpn] = seq;
    if (record->newest != serial_newest(&serial, seq, record->own))
        model_fail("commit %u of actor %u: E is %u, should be %u", (unsigned)seq, actor,
                   (unsigned)record->newest, (unsigned)serial_newest(&serial, seq, record->own));
}

void serial_memory_check(uint64_t seq)
{
    for (uint32_t gpn = 0; gpn < M_PAGES; gpn++) {
        const struct page_entry *entry = &world.table[gpn];
        if (entry->seq != world.moment[seq].version[gpn])
            model_fail("page %u: version %u is committed, should be %u", gpn, (unsigned)entry->seq,
                       (unsigned)world.moment[seq].version[gpn]);
        if (memcmp(frame_data(&world.pool, entry->frame), world.moment[seq].word[gpn], M_WORDS * 8) != 0)
            model_fail("page %u: what commit %u left is not what a serial execution gives", gpn,
                       (unsigned)seq);
    }
}
