/*
 * Page tables that change all the time. All CPUs share a window of 256 pages in tables of the guest's own.
 * Whoever holds the lock maps, unmaps, remaps a page or changes its rights, flushes its own TLB by INVLPG and
 * those of the others by IPI; the others look at pages meanwhile, and none may see the old mapping once the
 * shoot-down is over. Then each CPU, in pages of its own, reads A and D bits back, is refused what the rights
 * do not allow, and splits and joins a large page. `n` is the number of changes by each CPU.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define DEFAULT_N     300
#define WINDOW        UINT64_C(0x8000000000) /* the second entry of the PML4 */
#define PAGES         256
#define FRAMES        512
#define PRIVATE_PAGES 16 /* of each CPU, behind the shared ones: GUEST_MAX_CPUS * 16 = 256 */
#define LOOKS         8  /* between two changes */
#define LARGE_BYTES   (UINT64_C(2) << 20)
#define ENTRIES       512
#define PTE_NX        (UINT64_C(1) << 63)
#define VECTOR_SHOOT  0x40
#define VECTOR_PF     14
#define ERROR_PRESENT 0x01u
#define ERROR_WRITE   0x02u
#define ERROR_FETCH   0x10u
#define OPCODE_RET    0xC3
#define NOT_MAPPED    0
#define MAPPED        1 /* what `expected` holds: NOT_MAPPED, or 2 * frame + MAPPED, and WRITABLE above */
#define WRITABLE      (1u << 16)

typedef void (*code_fn)(void);

struct table {
    _Atomic uint64_t entry[ENTRIES];
} __attribute__((aligned(PAGE_BYTES)));

/* Odd while the page's mapping changes; what it should be while even. */
struct expectation {
    atomic_uint version, mapping;
};

struct state {
    uint64_t changes, looks, skipped, stale, wrong, hash, shot;
    volatile uint64_t error, address; /* of the last page fault */
    uint64_t faults;
} __attribute__((aligned(PAGE_BYTES)));

static struct table pointers, directory, pages;
static struct table splits[GUEST_MAX_CPUS];
static struct expectation expected[PAGES];
static struct state states[GUEST_MAX_CPUS];
static uint8_t *frames, *large_frames;
static uint64_t changes, seed;
static struct lock mapper;
static _Atomic uint64_t shoot_address;
static atomic_uint shot;

static void on_page_fault(struct trap_frame *frame)
{
    struct state *self = &states[cpu_id()];

    self->faults++;
    self->error = frame->error;
    self->address = read_cr2();
    if (frame->rip == self->address) { /* a fetch: back to the caller */
        memcpy(&frame->rip, (const void *)frame->rsp, sizeof(frame->rip));
        frame->rsp += sizeof(frame->rip);
        return;
    }
    if (!trap_fix_up(frame))
        panic("page fault at %#llx, address %#llx, error %#llx", (ull)frame->rip, (ull)self->address,
              (ull)frame->error);
}

static void on_shoot(void)
{
    invlpg(atomic_load(&shoot_address));
    states[cpu_id()].shot++;
    atomic_fetch_add(&shot, 1);
}

/* The shoot-down: afterwards no CPU has a translation of the page that is older. The caller holds the lock.
 */
static void flush_everywhere(uint64_t address)
{
    atomic_store(&shoot_address, address);
    atomic_store(&shot, 0);
    invlpg(address);
    if (cpu_count() > 1)
        ipi_send_others(VECTOR_SHOOT);
    while (atomic_load(&shot) != cpu_count() - 1)
        cpu_relax();
}

/* Reads a word of the window. Returns NO_TRAP or the vector. */
static uint64_t try_read(uint64_t address, uint64_t *value)
{
    register uint64_t vector __asm__("r11");
    uint64_t seen = 0;

    __asm__ volatile(NO_TRAP_IN_R11 "1: movq (%2), %0; 2:" TRAP_FIXUP(1b, 2b)
                     : "+&r"(seen), "=&r"(vector)
                     : "r"(address)
                     : "memory");
    *value = seen;
    return vector;
}

static uint64_t try_write(uint64_t address, uint64_t value)
{
    register uint64_t vector __asm__("r11");

    __asm__ volatile(NO_TRAP_IN_R11 "1: movq %1, (%2); 2:" TRAP_FIXUP(1b, 2b)
                     : "=&r"(vector)
                     : "r"(value), "r"(address)
                     : "memory");
    return vector;
}

/* Calls what is at `address`; on_page_fault() returns for it where the fetch faults. */
static uint64_t try_call(uint64_t address)
{
    struct state *self = &states[cpu_id()];
    uint64_t faults = self->faults;
    code_fn fn;

    memcpy(&fn, &address, sizeof(fn));
    fn();
    return self->faults == faults ? NO_TRAP : VECTOR_PF;
}

static uint8_t *frame_of(unsigned number)
{
    return frames + (uint64_t)number * PAGE_BYTES;
}

/* One random change of a random shared page. */
static void change(struct state *self, uint64_t *random)
{
    unsigned page = random_next(random) % PAGES, what = random_next(random) % 4;
    unsigned frame = random_next(random) % FRAMES;
    struct expectation *e = &expected[page];
    unsigned mapping;

    lock_take(&mapper);
    mapping = atomic_load(&e->mapping);
    if (what == 0)
        mapping = NOT_MAPPED;
    else if (what == 1 && mapping != NOT_MAPPED)
        mapping ^= WRITABLE;
    else
        mapping = (frame << 1 | MAPPED) | (what == 2 ? WRITABLE : 0);
    atomic_fetch_add(&e->version, 1);
    if (mapping == NOT_MAPPED)
        atomic_store(&pages.entry[page], 0);
    else
        atomic_store(&pages.entry[page], (uintptr_t)frame_of((mapping & ~WRITABLE) >> 1) | PTE_PRESENT |
                                             (mapping & WRITABLE ? PTE_WRITE : 0));
    flush_everywhere(WINDOW + (uint64_t)page * PAGE_BYTES);
    atomic_store(&e->mapping, mapping);
    atomic_fetch_add(&e->version, 1);
    lock_drop(&mapper);
    self->changes++;
}

/* Looks at a shared page as a program would. Only where nobody changed it meanwhile is it known what must
 * come. */
static void look(struct state *self, uint64_t *random)
{
    unsigned page = random_next(random) % PAGES;
    struct expectation *e = &expected[page];
    uint64_t address = WINDOW + (uint64_t)page * PAGE_BYTES, value, read, written;
    unsigned version = atomic_load(&e->version), mapping = atomic_load(&e->mapping);
    bool wrong;

    read = try_read(address, &value);
    /* Each CPU has a word of its own in each frame. */
    written = try_write(address + 8 + 8 * cpu_id(), random_next(random));
    self->looks++;
    if (version % 2 != 0 || atomic_load(&e->version) != version) {
        self->skipped++;
        return;
    }
    if (mapping == NOT_MAPPED)
        wrong = read != VECTOR_PF || written != VECTOR_PF;
    else
        wrong = read != NO_TRAP || value != (mapping & ~WRITABLE) >> 1 ||
                (written == NO_TRAP) != ((mapping & WRITABLE) != 0);
    self->stale += wrong;
}

static void churn(struct state *self, uint64_t *random)
{
    for (uint64_t i = 0; i < changes; i++) {
        change(self, random);
        for (unsigned k = 0; k < LOOKS; k++)
            look(self, random);
    }
}

/* A and D after a random mix of reads and writes. What was not touched may have A set by speculation, never
 * D. */
static void check_bits(struct state *self, uint64_t first, uint64_t *random)
{
    uint64_t base = WINDOW + first * PAGE_BYTES, touched = random_next(random), value;

    for (unsigned i = 0; i < PRIVATE_PAGES; i++) {
        atomic_fetch_and(&pages.entry[first + i], ~(uint64_t)(PTE_ACCESSED | PTE_DIRTY));
        invlpg(base + i * PAGE_BYTES);
    }
    for (unsigned i = 0; i < PRIVATE_PAGES; i++) {
        if (touched >> (2 * i) & 1)
            self->wrong += try_read(base + i * PAGE_BYTES, &value) != NO_TRAP;
        if (touched >> (2 * i) & 2)
            self->wrong += try_write(base + i * PAGE_BYTES, i) != NO_TRAP;
    }
    for (unsigned i = 0; i < PRIVATE_PAGES; i++) {
        uint64_t entry = atomic_load(&pages.entry[first + i]);
        bool accessed = touched >> (2 * i) & 3, dirty = touched >> (2 * i) & 2;

        self->wrong += (accessed && !(entry & PTE_ACCESSED)) || dirty != ((entry & PTE_DIRTY) != 0);
        self->hash = hash_add(self->hash, (entry & PTE_DIRTY) | (accessed ? entry & PTE_ACCESSED : 0));
    }
}

static void expect_fault(struct state *self, uint64_t vector, uint64_t address, uint64_t error)
{
    self->wrong += vector != VECTOR_PF || self->address != address || self->error != error;
    self->hash = hash_add(self->hash, self->error);
}

/* What rights refuse, and the error codes of it (SDM 3A 4.7). */
static void check_rights(struct state *self, uint64_t page)
{
    uint64_t address = WINDOW + page * PAGE_BYTES, kept = atomic_load(&pages.entry[page]), value;

    *(uint8_t *)address = OPCODE_RET;
    self->wrong += try_call(address) != NO_TRAP;
    atomic_store(&pages.entry[page], kept & ~(uint64_t)PTE_WRITE);
    invlpg(address);
    expect_fault(self, try_write(address, 1), address, ERROR_PRESENT | ERROR_WRITE);
    atomic_store(&pages.entry[page], kept | PTE_NX);
    invlpg(address);
    expect_fault(self, try_call(address), address, ERROR_PRESENT | ERROR_FETCH);
    atomic_store(&pages.entry[page], 0);
    invlpg(address);
    expect_fault(self, try_read(address, &value), address, 0);
    expect_fault(self, try_write(address, 1), address, ERROR_WRITE);
    expect_fault(self, try_call(address), address, ERROR_FETCH);
    atomic_store(&pages.entry[page], kept);
    /* From not present to present no flush is needed (SDM 3A 4.10.4.3). */
    self->wrong += try_read(address, &value) != NO_TRAP;
}

/* A large page becomes 512 small ones, one of which is another; then they become one again. */
static void check_split(struct state *self, uint64_t *random)
{
    _Atomic uint64_t *entry = &directory.entry[1 + cpu_id()];
    struct table *split = &splits[cpu_id()];
    uint64_t base = WINDOW + (1 + cpu_id()) * LARGE_BYTES, value;
    unsigned other = random_next(random) % ENTRIES, frame = random_next(random) % FRAMES;

    for (unsigned i = 0; i < ENTRIES; i++)
        atomic_store_explicit(&split->entry[i], ((uintptr_t)large_frames + i * PAGE_BYTES) | PTE_PRESENT,
                              memory_order_relaxed);
    atomic_store(&split->entry[other], (uintptr_t)frame_of(frame) | PTE_PRESENT);
    atomic_store(entry, (uintptr_t)large_frames | PTE_PRESENT | PTE_LARGE);
    self->wrong += try_read(base + other * PAGE_BYTES, &value) != NO_TRAP || value != other;
    atomic_store(entry, (uintptr_t)split | PTE_PRESENT | PTE_WRITE);
    invlpg(base);
    for (unsigned i = other & ~3u; i < (other | 3); i++) {
        self->wrong += try_read(base + i * PAGE_BYTES, &value) != NO_TRAP;
        self->wrong += value != (i == other ? frame : i);
        self->hash = hash_add(self->hash, value);
    }
    atomic_store(entry, (uintptr_t)large_frames | PTE_PRESENT | PTE_LARGE);
    write_cr3(read_cr3());
    self->wrong += try_read(base + other * PAGE_BYTES, &value) != NO_TRAP || value != other;
    atomic_store(entry, 0);
    write_cr3(read_cr3());
    expect_fault(self, try_read(base, &value), base, 0);
}

static void work(void *arg)
{
    struct state *self = &states[cpu_id()];
    uint64_t random = random_seed(seed, cpu_id()), first = PAGES + (uint64_t)cpu_id() * PRIVATE_PAGES;

    (void)arg;
    self->hash = HASH_START;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    wait_for_all();
    interrupts_on();
    churn(self, &random);
    wait_for_all();
    for (uint64_t i = 0; i < changes; i++) {
        check_bits(self, first, &random);
        check_rights(self, first + i % PRIVATE_PAGES);
        check_split(self, &random);
    }
    interrupts_off();
}

/* The window in the tables that CR3 points at, in the start-up library's PML4. */
static void make_tables(void)
{
    uint8_t *room = memory_pages(2 * LARGE_BYTES);
    struct table *top;
    uint64_t cr3 = read_cr3(), number;

    frames = memory_pages((FRAMES + GUEST_MAX_CPUS * PRIVATE_PAGES) * (uint64_t)PAGE_BYTES);
    large_frames = room + (-(uintptr_t)room & (LARGE_BYTES - 1));
    for (unsigned i = 0; i < ENTRIES; i++) {
        number = i;
        memcpy(large_frames + (uint64_t)i * PAGE_BYTES, &number, sizeof(number));
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        number = i;
        memcpy(frame_of(i), &number, sizeof(number));
    }
    for (unsigned i = 0; i < GUEST_MAX_CPUS * PRIVATE_PAGES; i++)
        pages.entry[PAGES + i] = (uintptr_t)frame_of(FRAMES + i) | PTE_PRESENT | PTE_WRITE;
    directory.entry[0] = (uintptr_t)&pages | PTE_PRESENT | PTE_WRITE;
    pointers.entry[0] = (uintptr_t)&directory | PTE_PRESENT | PTE_WRITE;
    top = (struct table *)cr3;
    top->entry[1] = (uintptr_t)&pointers | PTE_PRESENT | PTE_WRITE;
}

int main(void)
{
    uint64_t made = 0, looks = 0, skipped = 0, stale = 0, wrong = 0, shots = 0, hash = HASH_START;

    changes = arg_number("n", DEFAULT_N);
    seed = arg_number("seed", 1);
    make_tables();
    interrupt_set(VECTOR_SHOOT, on_shoot);
    exception_set(VECTOR_PF, on_page_fault);
    run_on_all(work, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        made += states[i].changes;
        looks += states[i].looks;
        skipped += states[i].skipped;
        stale += states[i].stale;
        wrong += states[i].wrong;
        shots += states[i].shot;
        hash = hash_add(hash, states[i].hash);
    }
    for (unsigned i = 0; i < PAGES; i++)
        skipped = hash_add(skipped, atomic_load(&expected[i].mapping));
    say("result: ptchurn cpus %u changes %llu looks %llu shot %llu stale %llu wrong %llu bits %016llx\n",
        cpu_count(), (ull)made, (ull)looks, (ull)shots, (ull)stale, (ull)wrong, (ull)hash);
    say("race: ptchurn looks skipped and last mappings %016llx\n", (ull)skipped);
    return stale + wrong != 0;
}
