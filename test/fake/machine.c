#include "test/fake/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/acts.h"
#include "hv/base/check.h"
#include "hv/chunk.h"
#include "hv/devices.h"
#include "hv/dma.h"
#include "hv/input.h"
#include "hv/mem.h"
#include "hv/position.h"
#include "hv/record.h"
#include "hv/replay.h"
#include "hv/replay_log.h"
#include "hv/run.h"
#include "hv/sleep.h"
#include "replay/log_writer.h"
#include "test/fake/details.h"
#include "test/fake/schedule.h"
#include "vmx/vmcs.h"

#define ASTRAY_TICKS 1000000u
#define PAGES        (GUEST_BYTES / PAGE_SIZE)
#define RING_ENTRIES 1024u
#define COMMIT_SLOTS 64u
#define FRAMES_LOW   8u /* per vCPU */
#define WRITER_BYTES 32768u
#define LOG_MEMORY   (UINT64_C(1) << 18) /* and so much for each byte of log: */
#define LOG_EXPANDS  160u
#define LIVE_OBJECTS 256u

struct machine {
    const struct fake_machine_config *config;
    struct vm *vm;
    struct fakecpu *cpu[MAX_VCPUS];
    uint64_t run_eptp; /* mode=run */
    uint64_t clock;
    uint64_t random;
    struct log_writer writer;
    uint8_t *writer_buffer;
    struct fake_result *result;
    size_t log_room;
    uint32_t input_left;
    void *objects[LIVE_OBJECTS];
    uint32_t object_count;
};

struct fake_machine_config fake_machine_defaults(const struct fake_guest *guest, uint64_t seed)
{
    return (struct fake_machine_config){.guest = guest,
                                        .model = {.seed = seed,
                                                  .evict = 2,
                                                  .speculate = 2,
                                                  .host_events = 1,
                                                  .log_room = 512,
                                                  .slow = 20,
                                                  .slow_ticks = 15,
                                                  .accessed_on_violation = seed & 1,
                                                  .rep_cut_sets_rf = seed & 2},
                                        .seed = seed,
                                        .chunk_ticks = 60 + (uint32_t)(seed * 37 % 500),
                                        .chunk_min = 20,
                                        .chaos = 60,
                                        .pause_limit = 8,
                                        .chunk_pages = 32,
                                        .skid = 4,
                                        .view_policy = VIEW_DEFAULT,
                                        .spare_frames = 64};
}

/* ---- Making it ---- */

/* Objects of their own, so that the sanitizers see what leaves one. */
static void *make_dirty(struct machine *m, size_t bytes)
{
    void *object = NULL;

    HV_CHECK(m->object_count < LIVE_OBJECTS);
    HV_CHECK(posix_memalign(&object, PAGE_SIZE, bytes) == 0);
    m->objects[m->object_count++] = object;
    return object;
}

static void *make(struct machine *m, size_t bytes)
{
    return memset(make_dirty(m, bytes), 0, bytes);
}

static void make_memory(struct machine *m, bool replaying)
{
    const struct fake_machine_config *c = m->config;
    struct vm *vm = m->vm;
    struct order_config order = {.pool = &vm->pool,
                                 .pages = PAGES,
                                 .ring_size = RING_ENTRIES,
                                 .chunk_pages = c->chunk_pages,
                                 .recording = !replaying,
                                 .vcpus = vm->vcpu_count + 1,
                                 .frames_low = (vm->vcpu_count + 1) * FRAMES_LOW};
    uint32_t frames = (uint32_t)order_least_frames(&order) + c->spare_frames;

    frames_init(&vm->pool, make(m, (size_t)frames * PAGE_SIZE), make(m, frames * sizeof(uint32_t)), frames,
                replaying ? FRAMES_LOW : 0);
    vm->pool.wide = __builtin_cpu_supports("avx2");
    order.table = make(m, PAGES * sizeof(*order.table));
    order.ring = make(m, RING_ENTRIES * sizeof(*order.ring));
    commit_ring_init(&vm->commits, make(m, COMMIT_SLOTS * sizeof(struct commit_slot)), COMMIT_SLOTS);
    HV_CHECK(order_init(&vm->order, &order));
    fake_guest_load(c->guest, vm->pool.base);
}

/* mode=run maps 2 MiB at a time. */
static void make_run_memory(struct machine *m)
{
    void *memory = NULL;

    HV_CHECK(posix_memalign(&memory, PAGE_2M, PAGE_2M) == 0);
    m->objects[m->object_count++] = memory;
    memset(memory, 0, PAGE_2M);
    m->vm->run_memory = memory;
    m->vm->memory_bytes = PAGE_2M;
    m->run_eptp = ept_run_init(make(m, ept_run_bytes(PAGE_2M)), PAGE_2M, 0, hpa((uint64_t)(uintptr_t)memory));
    fake_guest_load(m->config->guest, memory);
}

static void view_map(void *context, uint32_t gpn, uint32_t frame, bool writable)
{
    struct vcpu *vcpu = context;

    ept_map(&vcpu->ept, gpn, hpa((uint64_t)(uintptr_t)frame_data(&vcpu->vm->pool, frame)), writable);
}

static void view_make_private(void *context, uint32_t gpn, uint32_t frame)
{
    struct vcpu *vcpu = context;

    ept_make_private(&vcpu->ept, gpn, hpa((uint64_t)(uintptr_t)frame_data(&vcpu->vm->pool, frame)));
}

static void make_view(struct machine *m, struct vcpu *vcpu)
{
    struct view_ops ops = {.ctx = vcpu, .map = view_map, .make_private = view_make_private};
    uint32_t chunk_pages = m->config->chunk_pages;

    ept_view_init(&vcpu->ept, make(m, ept_view_bytes(GUEST_BYTES)), GUEST_BYTES, 0);
    view_init(&vcpu->view, &m->vm->order, vcpu->index, &ops, make(m, PAGES * sizeof(struct view_page)),
              make(m, chunk_pages * sizeof(uint32_t)), make(m, chunk_pages * sizeof(uint32_t)));
    if (m->vm->pml) {
        void *log = make(m, PAGE_SIZE);

        vcpu->vmx.pages.pml = (struct vmx_page){log, hpa((uint64_t)(uintptr_t)log)};
        ept_log_writes(&vcpu->ept, make(m, PAGES * sizeof(uint32_t)));
    }
    vcpu->view.from_reserve = m->vm->mode == VM_REPLAY;
    vcpu->view.policy = m->config->view_policy;
    vcpu->eptp = ept_eptp(&vcpu->ept);
}

static void make_dma(struct machine *m)
{
    uint32_t chunk_pages = m->config->chunk_pages;
    struct dma_memory memory = {.dma = make(m, sizeof(struct dma)),
                                .page = make(m, PAGES * sizeof(struct view_page)),
                                .accessed = make(m, PAGES * sizeof(uint32_t)),
                                .touched = make(m, PAGES),
                                .copies = make(m, chunk_pages * sizeof(uint32_t)),
                                .writes = make(m, chunk_pages * sizeof(uint32_t))};

    dma_init(m->vm, &memory);
}

static void make_vcpu(struct machine *m, uint32_t index)
{
    struct vm *vm = m->vm;
    struct vcpu *vcpu = make(m, sizeof(*vcpu));

    vm->vcpus[index] = vcpu;
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->cpu = index + 1;
    vcpu->state = make(m, sizeof(*vcpu->state));
    vcpu->saved = make(m, sizeof(*vcpu->saved));
    vcpu->accessed = make(m, PAGES * sizeof(*vcpu->accessed));
    vcpu_state_reset(vcpu->state, index, vm->seed);
    fake_guest_state(vcpu->state, index);
    memcpy(vcpu->saved, vcpu->state, sizeof(*vcpu->saved));
    vm->dests[index] = vlapic_dest(&vcpu->state->lapic);
    vcpu->length = vm->chunk_ticks;
    noise_init(&vcpu->noise, m->config->seed, index, m->config->noise, m->config->chaos);
    vcpu->eptp = m->run_eptp;
    if (vm->mode != VM_RUN)
        make_view(m, vcpu);
    m->cpu[index] =
        fakecpu_new(vcpu->cpu, (uint32_t)(vm->memory_bytes / PAGE_SIZE), &m->config->model, &m->clock);
}

static void make_vm(struct machine *m, enum vm_mode mode)
{
    const struct fake_machine_config *c = m->config;
    struct vm *vm = m->vm = make(m, sizeof(*vm));

    vm->mode = mode;
    vm->vcpu_count = c->guest->vcpus;
    vm->memory_bytes = GUEST_BYTES;
    vm->tsc_hz = 1000000;
    vm->seed = 12345;
    vm->pause_limit = c->pause_limit;
    vm->time_stride = 20;
    vm->chunk_ticks = c->chunk_ticks;
    vm->chunk_min = c->chunk_min;
    vm->rep_step = 3;
    vm->skid = c->skid;
    vm->astray_ticks = ASTRAY_TICKS;
    vm->verify = true;
    vm->limit = c->limit;
    vm->adapt = !c->fixed_length;
    vm->guess = !c->no_guess;
    vm->serial = c->serial;
    vm->pml = c->pml;
    devices_reset(vm);
    if (mode == VM_RUN)
        make_run_memory(m);
    else
        make_memory(m, mode == VM_REPLAY);
    vm->header = (struct rec_header){.semantics = REC_REPLAY_SEMANTICS,
                                     .vcpus = vm->vcpu_count,
                                     .memory_bytes = GUEST_BYTES,
                                     .image_digest = mode == VM_RUN ? 0 : order_memory_digest(&vm->order),
                                     .cpuid_model = CPUID_MODEL_VERSION,
                                     .pause_limit = vm->pause_limit,
                                     .time_stride = vm->time_stride,
                                     .time_quantum = VM_TIME_QUANTUM,
                                     .tsc_hz = vm->tsc_hz,
                                     .seed = vm->seed};
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        make_vcpu(m, i);
    make_dma(m);
    vm->running = vm->vcpu_count;
    /* The TSC begins anywhere; guest time begins at 0. */
    m->clock = c->seed % 100000 + 1;
    vm->tsc_start = mode == VM_RUN ? 0 : m->clock;
}

/* ---- vCPUs ---- */

/* A processor that can do everything. */
static void fill_caps(struct vmx_caps *caps)
{
    *caps = (struct vmx_caps){.raw = {.vmx = true, .rdtscp = true, .rdrand = true, .rdseed = true},
                              .features = ~UINT64_C(0)};
    caps->raw.cr0_fixed0 = UINT64_C(0x80000021);
    caps->raw.cr0_fixed1 = UINT64_C(0xffffffff);
    caps->raw.cr4_fixed0 = UINT64_C(0x2000);
    caps->raw.cr4_fixed1 = UINT64_C(0x3767ff);
    for (unsigned i = 0; i < VMX_WORD_COUNT; i++)
        caps->may_be_1[i] = UINT32_MAX;
}

static void make_log(struct vcpu *vcpu)
{
    vmcs_write(VMCS_PML_ADDRESS, vcpu->vmx.pages.pml.pa.raw);
    vmcs_write(VMCS_PML_INDEX, 511);
    fakecpu_this->tlb.log = (struct faketlb_log){.page = vcpu->vmx.pages.pml.va,
                                                 .index = &fakecpu_this->vmcs[VMCS_PML_INDEX],
                                                 .room = fakecpu_this->model.log_room};
}

/* In place of vmx_vcpu_init(), which is all privileged instructions. */
static void make_vmcs(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = &vcpu->vmx;
    struct vmx_policy policy;
    struct vmx_refusal refusal;
    struct vmx_caps caps;

    fill_caps(&caps);
    vmx_policy_chunks(&policy);
    policy.count_branches = vcpu->vm->counts_branches;
    policy.pml = vcpu->vm->pml;
    policy.exit_pause = vcpu->vm->pause_limit != VM_NO_PAUSE_END;
    HV_CHECK(vmx_controls_compute(&caps, &policy, &vmx->controls, &refusal));
    vmx->has_tsc_aux = vmx->invept_single = true;
    vmcs_write(VMCS_PIN_CONTROLS, vmx->controls.word[VMX_WORD_PIN]);
    vmcs_write(VMCS_PRIMARY_CONTROLS, vmx->controls.word[VMX_WORD_PRIMARY]);
    vmcs_write(VMCS_SECONDARY_CONTROLS, vmx->controls.word[VMX_WORD_SECONDARY]);
    vmcs_write(VMCS_EXIT_CONTROLS, vmx->controls.word[VMX_WORD_EXIT]);
    vmcs_write(VMCS_ENTRY_CONTROLS, vmx->controls.word[VMX_WORD_ENTRY]);
    vmcs_write(VMCS_EXCEPTION_BITMAP, vmx->controls.exception_bitmap);
    vmcs_write(VMCS_CR0_MASK, vmx->controls.cr0_mask);
    vmcs_write(VMCS_CR4_MASK, vmx->controls.cr4_mask);
    if (vcpu->vm->pml)
        make_log(vcpu);
    vmx_guest_take_msrs(vmx);
    vmx_debug_init(vmx);
    vmx_set_eptp(vmx, vcpu->eptp);
    if (vcpu->vm->counts_branches)
        vmx_pmu_begin(vmx, &vcpu->vm->pmu);
}

static void choose_way(struct machine *m)
{
    struct vmx_caps caps;
    struct vmx_pmu pmu;

    fill_caps(&caps);
    fakepmu_find(&m->config->model, &caps, &pmu);
    position_choose_way(m->vm, &pmu);
}

static void vcpu_task(void *context)
{
    struct vcpu *vcpu = context;

    make_vmcs(vcpu);
    if (vcpu->vm->mode == VM_RECORD)
        record_vcpu(vcpu);
    else if (vcpu->vm->mode == VM_REPLAY)
        replay_vcpu(vcpu);
    else
        run_vcpu(vcpu);
    __atomic_sub_fetch(&vcpu->vm->running, 1, __ATOMIC_ACQ_REL);
}

/* ---- The control plane ---- */

static void keep_log(struct machine *m)
{
    struct fake_result *result = m->result;
    size_t length;
    const uint8_t *bytes = log_writer_peek(&m->writer, &length);

    if (result->log_bytes + length > m->log_room) {
        m->log_room = 2 * (result->log_bytes + length);
        result->log = realloc(result->log, m->log_room);
        HV_CHECK(result->log);
    }
    if (length)
        memcpy(result->log + result->log_bytes, bytes, length);
    result->log_bytes += length;
    log_writer_consume(&m->writer, length);
}

static void move_commits(struct machine *m)
{
    struct vm *vm = m->vm;
    const struct commit_slot *slot;

    while ((slot = commit_ring_peek(&vm->commits)) != NULL) {
        keep_log(m);
        HV_CHECK(log_writer_can_commit(&m->writer));
        HV_CHECK(log_writer_commit(&m->writer, &slot->commit, slot->digest));
        commit_ring_drop(&vm->commits);
    }
}

static void ship_log(void *m)
{
    keep_log(m);
}

static void move_console(struct machine *m)
{
    struct vm_console *console = &m->vm->console;
    uint64_t head = __atomic_load_n(&console->head, __ATOMIC_ACQUIRE);

    while (console->tail < head) {
        HV_CHECK(m->result->console_bytes < FAKE_CONSOLE_MAX);
        m->result->console[m->result->console_bytes++] = console->bytes[console->tail % VM_CONSOLE_SIZE];
        __atomic_store_n(&console->tail, console->tail + 1, __ATOMIC_RELEASE);
    }
}

static void give_input(struct machine *m)
{
    uint8_t byte = (uint8_t)('A' + m->input_left % 26);

    if (m->vm->mode == VM_REPLAY) {
        input_replay(m->vm);
        return;
    }
    dma_poll(m->vm);
    if (m->input_left && fake_random(&m->random) % 64 == 0)
        m->input_left -= input_console(m->vm, &byte, 1);
}

static void control_task(void *context)
{
    struct machine *m = context;
    struct vm *vm = m->vm;
    uint32_t turns = 0;

    while (__atomic_load_n(&vm->running, __ATOMIC_ACQUIRE)) {
        move_commits(m);
        move_console(m);
        fake_details_move(vm, &m->writer, ship_log, m);
        give_input(m);
        if (vm_stopping(vm)) {
            sleep_wake_all(vm);
        } else if (vm->mode != VM_REPLAY && ++turns % 64 == 0 && sleep_for_good(vm)) {
            spin_lock(&vm->order.lock);
            act_end_guest(vm, 0, REC_OUTCOME_HALTED, 0, "all halted");
            spin_unlock(&vm->order.lock);
        }
        fakecpu_yield();
    }
    move_commits(m);
    move_console(m);
    fake_details_move(vm, &m->writer, ship_log, m);
}

/* ---- A run ---- */

static void run_tasks(struct machine *m)
{
    struct fake_task tasks[MAX_VCPUS + 1];
    uint32_t count = m->vm->vcpu_count;

    if (m->config->prepare)
        m->config->prepare(m->vm, m->config->context);

    for (uint32_t i = 0; i < count; i++)
        tasks[i] = (struct fake_task){vcpu_task, m->vm->vcpus[i], m->cpu[i]};
    tasks[count] = (struct fake_task){control_task, m, NULL};
    if (m->config->threads)
        fake_run_threads(tasks, count + 1);
    else
        fake_run_switched(tasks, count + 1, m->config->seed, &m->vm->order.lock);
}

static void fill_result(struct machine *m)
{
    struct fake_result *result = m->result;
    struct vm *vm = m->vm;

    for (uint32_t i = 0; i < PAGES; i++)
        memcpy(result->memory + i * PAGE_SIZE,
               vm->mode == VM_RUN ? vm->run_memory + i * PAGE_SIZE
                                  : frame_data(&vm->pool, vm->order.table[i].frame),
               PAGE_SIZE);
    result->vcpus = vm->vcpu_count;
    result->outcome = vm->outcome;
    result->commits = vm->order.seq;
    result->digest = vm->order.digest;
    result->diverged = vm->divergence.ready;
    memcpy(result->divergence, vm->divergence.text, sizeof(result->divergence));
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *vcpu = vm->vcpus[i];
        result->state[i] = vm->mode == VM_RUN ? *vcpu->state : *vcpu->saved;
        result->instructions += m->cpu[i]->instructions;
        for (uint32_t j = 0; j < vcpu->contention.used; j++)
            result->fought += vcpu->contention.slot[j].counted + vcpu->contention.slot[j].missed;
        result->pmu_interrupts += m->cpu[i]->pmu.interrupts;
        for (uint32_t j = 0; j < REC_COUNT_MAX; j++)
            result->counters[j] += vcpu->counters[j];
        result->counters[REC_COUNT_COPIES_OUT] += vcpu->view.counters.copies_out;
        result->counters[REC_COUNT_NO_FRAME] += vcpu->view.counters.no_frame;
        result->counters[REC_COUNT_COPIES] += vcpu->view.counters.copies;
        result->counters[REC_COUNT_COPIES_AHEAD] += vcpu->view.counters.copies_ahead;
        result->counters[REC_COUNT_EQUAL_PAGES] += vcpu->view.counters.equal_pages;
        result->counters[REC_COUNT_VALUE_SAVES] += vcpu->view.counters.value_saves;
    }
}

static void destroy(struct machine *m)
{
    for (uint32_t i = 0; i < m->vm->vcpu_count; i++)
        fakecpu_delete(m->cpu[i]);
    while (m->object_count)
        free(m->objects[--m->object_count]);
    free(m->writer_buffer);
}

static struct fake_result *new_result(void)
{
    struct fake_result *result = NULL;

    HV_CHECK(posix_memalign((void **)&result, 64, sizeof(*result)) == 0);
    memset(result, 0, sizeof(*result));
    return result;
}

static void begin(struct machine *m, const struct fake_machine_config *config)
{
    *m = (struct machine){.config = config, .random = config->seed ^ 0x1234567, .input_left = config->input};
    m->result = new_result();
}

struct fake_result *fake_record(const struct fake_machine_config *config)
{
    struct rec_trailer trailer = {0};
    struct machine m;

    begin(&m, config);
    make_vm(&m, VM_RECORD);
    choose_way(&m);
    if (config->detail)
        fake_details_create(m.vm, make(&m, FAKE_DETAILS_BYTES));
    m.writer_buffer = malloc(WRITER_BYTES);
    HV_CHECK(m.writer_buffer);
    log_writer_init(&m.writer, m.writer_buffer, WRITER_BYTES, 1024);
    HV_CHECK(log_writer_header(&m.writer, &m.vm->header));
    run_tasks(&m);
    fill_result(&m);
    log_writer_flush(&m.writer);
    keep_log(&m);
    trailer.outcome = (uint8_t)m.vm->outcome.outcome;
    trailer.vcpu = (uint8_t)m.vm->outcome.vcpu;
    memcpy(trailer.reason, m.vm->outcome.reason, sizeof(trailer.reason));
    trailer.commits = m.vm->order.seq;
    HV_CHECK(log_writer_trailer(&m.writer, &trailer));
    keep_log(&m);
    destroy(&m);
    return m.result;
}

/* The log as the hypervisor reads it. */
static void read_log(struct machine *m, struct mem *mem)
{
    const struct fake_machine_config *c = m->config;
    struct vm_replay *replay = &m->vm->replay;
    uint64_t room = ALIGN_UP(LOG_MEMORY + c->log_bytes * LOG_EXPANDS, (uint64_t)PAGE_SIZE);
    uint64_t start = (uint64_t)(uintptr_t)make_dirty(m, room);

    *mem = (struct mem){0};
    HV_CHECK(mem_add(mem, start, start + room));
    HV_CHECK(replay_log_read(replay, c->log, c->log_bytes, mem));
    HV_CHECK(replay_log_fits_machine(&replay->header, m->vm->vcpu_count, GUEST_BYTES));
    HV_CHECK(replay_log_fits_guest(&replay->header, &m->vm->header));
}

struct fake_result *fake_replay(const struct fake_machine_config *config)
{
    struct machine m;
    struct mem mem;

    begin(&m, config);
    make_vm(&m, VM_REPLAY);
    read_log(&m, &mem);
    choose_way(&m);
    run_tasks(&m);
    replay_take_outcome(m.vm);
    fill_result(&m);
    destroy(&m);
    return m.result;
}

struct fake_result *fake_run(const struct fake_machine_config *config)
{
    struct machine m;

    begin(&m, config);
    make_vm(&m, VM_RUN);
    run_tasks(&m);
    fill_result(&m);
    destroy(&m);
    return m.result;
}

void fake_result_delete(struct fake_result *result)
{
    free(result->log);
    free(result);
}

/* ---- A machine that does not run ---- */

struct fake_bench {
    struct machine machine;
};

struct fake_bench *fake_bench_new(const struct fake_machine_config *config)
{
    struct fake_bench *bench = calloc(1, sizeof(*bench));
    struct machine *m = &bench->machine;

    HV_CHECK(bench);
    begin(m, config);
    make_vm(m, VM_RECORD);
    choose_way(m);
    if (config->prepare)
        config->prepare(m->vm, config->context);
    fakecpu_this = m->cpu[0];
    make_vmcs(m->vm->vcpus[0]);
    chunk_snapshot(m->vm->vcpus[0]);
    HV_CHECK(chunk_start(m->vm->vcpus[0]));
    return bench;
}

void fake_bench_delete(struct fake_bench *bench)
{
    fakecpu_this = NULL;
    destroy(&bench->machine);
    fake_result_delete(bench->machine.result);
    free(bench);
}

struct vm *fake_bench_vm(struct fake_bench *bench)
{
    return bench->machine.vm;
}

uint8_t *fake_bench_memory(struct fake_bench *bench, uint32_t address)
{
    struct view *view = &bench->machine.vm->vcpus[0]->view;
    uint32_t gpn = address >> PAGE_SHIFT;

    if (!view_has_copy(view, gpn))
        HV_CHECK(view_write_fault(view, gpn) == VIEW_FAULT_COPIED);
    return (uint8_t *)view_data(view, gpn) + (address & PAGE_MASK);
}

/* ---- Comparing ---- */
