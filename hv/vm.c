#include "hv/vm_create.h"

#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/cpuid.h"
#include "hv/detail.h"
#include "hv/devices.h"
#include "hv/dma.h"
#include "hv/guestmem/linux_boot.h"
#include "hv/guestmem/loader.h"
#include "hv/host_cpuid.h"
#include "hv/msg.h"
#include "hv/position.h"

#include <string.h>

/* The longest chunk that the command line allows, doubled by chaos. */
#define ASTRAY_TICKS (UINT64_C(1) << 33)

#define CHUNK_PAGES     1024u               /* most pages that a chunk changes: 4 MiB */
#define BYTES_PER_SLOT  64u                 /* of the log's buffer, for each commit on its way there */
#define FRAMES_LOW      256u                /* with fewer free ones per vCPU no chunk begins */
#define CHAOS_WITH_SEED 20u                 /* percent */
#define HOST_RESERVED   (UINT64_C(8) << 20) /* memory left for everything but frames */

_Static_assert(VIRTIO_PLAN_WRITES <= CHUNK_PAGES / 2, "a device's plan is one commit");

/* Who has a view: the vCPUs, and the devices together. */
static uint32_t actors(const struct vm *vm)
{
    return vm->vcpu_count + 1;
}

/*
 * With fewer free frames than this no chunk begins. A recorded chunk that finds none is cut; a replayed one
 * must find all that it needs, or it would begin again and again.
 */
static uint32_t frames_low(const struct vm *vm)
{
    return actors(vm) * (vm->mode == VM_REPLAY ? CHUNK_PAGES : FRAMES_LOW / 2);
}

static uint32_t ring_size(uint32_t vcpus)
{
    uint32_t size = 1024;

    while (size < 4 * (vcpus + 1) * CHUNK_PAGES)
        size *= 2;
    return size;
}

/* Records that wait to be encoded: a small buffer for the log makes vCPUs wait early. */
static uint32_t commit_slots(const struct vm *vm)
{
    return vm->log_buffer / BYTES_PER_SLOT;
}

const struct boot_module *vm_find_module(const struct boot_info *boot, const char *word, const char **rest)
{
    size_t length = strlen(word);

    for (uint32_t i = 0; i < boot->module_count; i++) {
        const char *line = boot->modules[i].cmdline;
        if (strncmp(line, word, length) == 0 && (line[length] == 0 || line[length] == ' ')) {
            *rest = line + length + (line[length] == ' ');
            return &boot->modules[i];
        }
    }
    return NULL;
}

/* ---- Memory ---- */

/* What the page table, the views and the rings take, which are made after the frames. */
static uint64_t memory_for_tables(const struct vm *vm)
{
    uint64_t pages = vm->memory_bytes / PAGE_SIZE;
    uint64_t of_view = pages * (sizeof(struct view_page) + (vm->pml ? 2 : 1) * sizeof(uint32_t)) +
                       ept_view_bytes(vm->memory_bytes);

    return HOST_RESERVED + pages * sizeof(struct page_entry) + actors(vm) * of_view +
           ring_size(actors(vm)) * sizeof(struct commit_entry) +
           commit_slots(vm) * sizeof(struct commit_slot);
}

static struct order_config order_config(struct vm *vm)
{
    return (struct order_config){.pool = &vm->pool,
                                 .pages = (uint32_t)(vm->memory_bytes / PAGE_SIZE),
                                 .ring_size = ring_size(actors(vm)),
                                 .chunk_pages = CHUNK_PAGES,
                                 .recording = vm->mode == VM_RECORD,
                                 .vcpus = actors(vm),
                                 .frames_low = frames_low(vm)};
}

/* AVX itself is a requirement, as a part of XCR0 (SDM 1 14.3, 14.7.1). */
static bool host_has_avx2(void)
{
    return host_cpuid(NULL, 0, 0).eax >= CPUID_FEATURES &&
           (host_cpuid(NULL, CPUID_FEATURES, 0).ebx & CPUID_7_EBX_AVX2);
}

/* Frames: every page twice over would be plenty; what a chunk of each vCPU can change is the least. */
static bool make_frames(struct vm *vm, struct mem *mem)
{
    uint32_t pages = (uint32_t)(vm->memory_bytes / PAGE_SIZE);
    uint32_t least = pages + frames_low(vm) + actors(vm) * (CHUNK_PAGES + FRAMES_LOW);
    uint64_t free = mem_free_bytes(mem);
    uint64_t want = (uint64_t)least + ring_size(actors(vm));
    uint64_t tables = memory_for_tables(vm);
    uint64_t have = free > tables ? (free - tables) / (PAGE_SIZE + sizeof(uint32_t)) : 0;
    uint32_t count = (uint32_t)MIN(want, have);
    struct order_config order = order_config(vm);
    uint64_t base;
    uint32_t *stack;

    if (count < least) {
        hv_msg(MSG_ERROR, "too little memory: a guest of %llu MiB needs %llu MiB, %llu MiB are free",
               (unsigned long long)(vm->memory_bytes >> 20),
               (unsigned long long)(least * (uint64_t)PAGE_SIZE + tables) >> 20,
               (unsigned long long)(free >> 20));
        return false;
    }
    if (vm->least_frames)
        count = (uint32_t)order_least_frames(&order);
    stack = mem_alloc(mem, (uint64_t)count * sizeof(*stack), PAGE_SIZE);
    if (!stack || !mem_take(mem, (uint64_t)count * PAGE_SIZE, PAGE_SIZE, &base))
        return false;
    /* The first ones are guest memory as loaded, the others get their content before they are used. */
    memset((void *)base, 0, vm->memory_bytes);
    frames_init(&vm->pool, (uint8_t *)base, stack, count, vm->mode == VM_REPLAY ? FRAMES_LOW : 0);
    vm->pool.wide = host_has_avx2();
    return true;
}

static bool make_order(struct vm *vm, struct mem *mem)
{
    struct order_config config = order_config(vm);
    struct commit_slot *slots = mem_alloc(mem, commit_slots(vm) * sizeof(*slots), PAGE_SIZE);

    config.table = mem_alloc(mem, config.pages * sizeof(*config.table), PAGE_SIZE);
    config.ring = mem_alloc(mem, config.ring_size * sizeof(*config.ring), PAGE_SIZE);
    if (!slots || !config.table || !config.ring)
        return false;
    commit_ring_init(&vm->commits, slots, commit_slots(vm));
    return order_init(&vm->order, &config);
}

static bool make_memory(struct vm *vm, struct mem *mem)
{
    if (vm->mode == VM_RUN) {
        vm->run_memory = mem_alloc(mem, vm->memory_bytes, PAGE_2M);
        if (!vm->run_memory)
            hv_msg(MSG_ERROR, "too little memory for a guest of %llu MiB",
                   (unsigned long long)vm->memory_bytes >> 20);
        return vm->run_memory != NULL;
    }
    return make_frames(vm, mem) && make_order(vm, mem);
}

/* ---- vCPUs ---- */

static struct vmx_page page_of(void *address)
{
    return (struct vmx_page){.va = address, .pa = hpa((uint64_t)address)};
}

static void view_map(void *context, uint32_t gpn, uint32_t frame, bool writable)
{
    struct vcpu *vcpu = context;

    ept_map(&vcpu->ept, gpn, hpa((uint64_t)frame_data(&vcpu->vm->pool, frame)), writable);
}

static void view_make_private(void *context, uint32_t gpn, uint32_t frame)
{
    struct vcpu *vcpu = context;

    ept_make_private(&vcpu->ept, gpn, hpa((uint64_t)frame_data(&vcpu->vm->pool, frame)));
}

static bool make_view(struct vm *vm, struct vcpu *vcpu, struct mem *mem)
{
    struct view_ops ops = {.ctx = vcpu, .map = view_map, .make_private = view_make_private};
    uint32_t pages = vm->order.pages;
    void *tables = mem_alloc(mem, ept_view_bytes(vm->memory_bytes), PAGE_SIZE);
    struct view_page *page = mem_alloc(mem, pages * sizeof(*page), PAGE_SIZE);
    uint32_t *copies = mem_alloc(mem, CHUNK_PAGES * sizeof(*copies), PAGE_SIZE);
    uint32_t *writes = mem_alloc(mem, CHUNK_PAGES * sizeof(*writes), PAGE_SIZE);

    vcpu->accessed = mem_alloc(mem, pages * sizeof(*vcpu->accessed), PAGE_SIZE);
    if (!tables || !page || !copies || !writes || !vcpu->accessed)
        return false;
    ept_view_init(&vcpu->ept, tables, vm->memory_bytes, 0);
    view_init(&vcpu->view, &vm->order, vcpu->index, &ops, page, copies, writes);
    if (vm->pml) {
        uint32_t *written = mem_alloc(mem, pages * sizeof(*written), PAGE_SIZE);

        if (!written)
            return false;
        ept_log_writes(&vcpu->ept, written);
    }
    vcpu->view.from_reserve = vm->mode == VM_REPLAY;
    vcpu->view.policy = vm->view_policy;
    vcpu->eptp = ept_eptp(&vcpu->ept);
    return true;
}

static struct vcpu *make_vcpu(struct vm *vm, uint32_t index, struct mem *mem)
{
    struct vcpu *vcpu = mem_alloc(mem, sizeof(*vcpu), PAGE_SIZE);

    if (!vcpu)
        return NULL;
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->cpu = index + 1;
    vcpu->state = mem_alloc(mem, sizeof(*vcpu->state), PAGE_SIZE);
    vcpu->saved = mem_alloc(mem, sizeof(*vcpu->saved), PAGE_SIZE);
    for (unsigned i = 0; i < ARRAY_LEN(vcpu->pages); i++) {
        vcpu->pages[i] = page_of(mem_alloc(mem, PAGE_SIZE, PAGE_SIZE));
        if (!vcpu->pages[i].va)
            return NULL;
    }
    if (!vcpu->state || !vcpu->saved)
        return NULL;
    vcpu_state_reset(vcpu->state, index, vm->seed);
    vm->dests[index] = vlapic_dest(&vcpu->state->lapic);
    vcpu->length = vm->chunk_ticks;
    if (vm->mode != VM_RUN && !make_view(vm, vcpu, mem))
        return NULL;
    return vcpu;
}

static bool make_dma(struct vm *vm, struct mem *mem)
{
    struct dma_memory memory = {.dma = mem_alloc(mem, sizeof(struct dma), PAGE_SIZE)};
    uint32_t pages = vm->order.pages;

    if (!memory.dma)
        return false;
    if (vm->mode != VM_RUN) {
        memory.page = mem_alloc(mem, pages * sizeof(*memory.page), PAGE_SIZE);
        memory.accessed = mem_alloc(mem, pages * sizeof(*memory.accessed), PAGE_SIZE);
        memory.touched = mem_alloc(mem, pages, PAGE_SIZE);
        memory.copies = mem_alloc(mem, CHUNK_PAGES * sizeof(*memory.copies), PAGE_SIZE);
        memory.writes = mem_alloc(mem, CHUNK_PAGES * sizeof(*memory.writes), PAGE_SIZE);
        if (!memory.page || !memory.accessed || !memory.touched || !memory.copies || !memory.writes)
            return false;
    }
    dma_init(vm, &memory);
    return true;
}

/* A seed alone asks for a recording of its own, too. */
static void set_noise(struct vm *vm, const struct vm_config *config)
{
    const struct hv_options *options = config->options;
    uint32_t chaos = options->chaos || !config->seed ? options->chaos : CHAOS_WITH_SEED;

    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        noise_init(&vm->vcpus[i]->noise, config->seed, i, options->noise, chaos);
}

static bool make_vcpus(struct vm *vm, struct mem *mem)
{
    void *run_tables = NULL;

    if (vm->mode == VM_RUN) {
        run_tables = mem_alloc(mem, ept_run_bytes(vm->memory_bytes), PAGE_SIZE);
        if (!run_tables)
            return false;
    }
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i] = make_vcpu(vm, i, mem);
        if (!vm->vcpus[i])
            return false;
        if (run_tables)
            vm->vcpus[i]->eptp = ept_run_init(run_tables, vm->memory_bytes, 0, hpa((uint64_t)vm->run_memory));
    }
    return true;
}

/* ---- The guest ---- */

/* As the Multiboot2 specification says (3.3): 32-bit protected mode, no paging. */
static void enter_multiboot2(struct vmx_guest_state *cpu, const struct loaded_guest *loaded)
{
    vmx_guest_flat_segments(cpu, false);
    cpu->cr0 |= CR0_PE;
    cpu->gpr[GPR_RAX] = LOADER_EAX;
    cpu->gpr[GPR_RBX] = loaded->info_gpa;
}

/* As Linux' 64-bit boot protocol says; caches are on, as any boot loader leaves them. */
static void enter_linux(struct vmx_guest_state *cpu, const struct loaded_guest *loaded)
{
    static const uint8_t data[] = {SEGMENT_ES, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};

    vmx_guest_flat_segments(cpu, true);
    cpu->segment[SEGMENT_CS].selector = LINUX_BOOT_CS;
    for (size_t i = 0; i < ARRAY_LEN(data); i++)
        cpu->segment[data[i]].selector = LINUX_BOOT_DS;
    cpu->segment[SEGMENT_TR].selector = 0;
    cpu->gdtr = (struct vmx_table){.base = loaded->gdt_gpa, .limit = loaded->gdt_bytes - 1};
    cpu->cr0 = CR0_PE | CR0_ET | CR0_PG;
    cpu->cr3 = loaded->cr3;
    cpu->cr4 = CR4_PAE;
    cpu->efer = VMSR_EFER_LME | VMSR_EFER_LMA;
    cpu->gpr[GPR_RSI] = loaded->info_gpa;
}

/* Firmware has been on all CPUs before the boot vCPU comes here. */
static void set_entry(struct vm *vm, const struct loaded_guest *loaded)
{
    struct vmx_guest_state *cpu = &vm->vcpus[0]->state->cpu;

    if (loaded->kind == LOAD_KIND_LINUX)
        enter_linux(cpu, loaded);
    else
        enter_multiboot2(cpu, loaded);
    cpu->rip = loaded->entry;
    vmx_guest_canonicalize(cpu);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vmsrs_firmware(&vm->vcpus[i]->state->msrs);
        memcpy(vm->vcpus[i]->saved, vm->vcpus[i]->state, sizeof(*vm->vcpus[i]->saved));
    }
}

static bool load(struct vm *vm, const struct boot_info *boot, struct loaded_guest *loaded)
{
    const char *command_line, *ignored;
    const struct boot_module *guest = vm_find_module(boot, "guest", &command_line);
    const struct boot_module *initrd = vm_find_module(boot, "initrd", &ignored);
    struct load_request request = {.image = (const uint8_t *)guest->start,
                                   .image_bytes = guest->end - guest->start,
                                   .command_line = command_line,
                                   .vcpus = vm->vcpu_count};
    uint8_t *memory = vm->mode == VM_RUN ? vm->run_memory : vm->pool.base;
    enum load_result result;

    if (initrd) {
        request.initrd = (const uint8_t *)initrd->start;
        request.initrd_bytes = initrd->end - initrd->start;
    }
    result = load_guest(&request, memory, vm->memory_bytes, loaded);
    if (result == LOAD_OK)
        return true;
    hv_msg(MSG_ERROR, "guest image: %s (%llu)", load_result_name(result), (unsigned long long)loaded->detail);
    return false;
}

static uint32_t view_policy(const struct hv_options *options)
{
    uint32_t off = options->off;

    if (options->policy == POLICY_SAMSARA)
        return VIEW_COPY_OUT;
    return (off & FEATURE_VALUE ? 0 : VIEW_VALUE) | (off & FEATURE_EQUAL ? 0 : VIEW_EQUAL) |
           (off & FEATURE_AHEAD ? 0 : VIEW_AHEAD) | (off & FEATURE_KEEP ? 0 : VIEW_KEEP);
}

/* What of the improvements is on. Replay follows any log, whatever was on when that was made. */
static void set_policy(struct vm *vm, const struct hv_options *options)
{
    uint32_t samsara = options->policy == POLICY_SAMSARA ? FEATURE_PAUSE | FEATURE_ADAPT : 0;
    uint32_t off = options->off | samsara;

    vm->view_policy = view_policy(options);
    vm->pause_limit = off & FEATURE_PAUSE ? VM_NO_PAUSE_END : options->pause;
    vm->adapt = !(off & FEATURE_ADAPT);
    vm->guess = !(off & FEATURE_GUESS);
    vm->serial = options->serial;
    vm->pml = options->pml && vm->mode != VM_RUN;
}

static void set_options(struct vm *vm, const struct vm_config *config)
{
    const struct hv_options *options = config->options;

    vm->mode = config->mode;
    vm->vcpu_count = config->vcpus;
    vm->memory_bytes = options->guest_memory;
    vm->tsc_hz = config->tsc_hz;
    /* Recorded once, in the header; from then on everything random is a function of it. */
    vm->seed = vrandom_mix(config->seed, config->entropy);
    vm->time_stride = options->stride;
    vm->chunk_ticks = options->chunk;
    vm->chunk_min = MIN(options->min_chunk, options->chunk);
    vm->rep_step = POSITION_REP_STEP;
    vm->skid = POSITION_SKID;
    vm->astray_ticks = ASTRAY_TICKS;
    vm->verify = options->verify;
    vm->log_buffer = options->log_buffer;
    vm->least_frames = options->least_frames && config->mode == VM_RECORD;
    vm->limit = options->limit;
    vm->limit_ticks = config->tsc_hz / 1000 * options->limit_ms;
    set_policy(vm, options);
}

/* In a replay, what shapes the guest comes from the log, not from the command line. */
static void take_header(struct vm *vm, const struct rec_header *header)
{
    vm->pause_limit = header->pause_limit;
    vm->time_stride = header->time_stride;
    vm->tsc_hz = header->tsc_hz;
    vm->seed = header->seed;
}

static void make_header(struct vm *vm, const char *command_line)
{
    struct rec_header *header = &vm->header;

    *header = (struct rec_header){.semantics = REC_REPLAY_SEMANTICS,
                                  .vcpus = vm->vcpu_count,
                                  .memory_bytes = vm->memory_bytes,
                                  .cpuid_model = CPUID_MODEL_VERSION,
                                  .pause_limit = vm->pause_limit,
                                  .time_stride = vm->time_stride,
                                  .time_quantum = VM_TIME_QUANTUM,
                                  .tsc_hz = vm->tsc_hz,
                                  .seed = vm->seed,
                                  .host_traits = cpuid_host_traits(host_cpuid, NULL)};
    strncpy(header->guest_command_line, command_line, sizeof(header->guest_command_line) - 1);
    strncpy(header->build_id, RETROVISOR_BUILD_ID, sizeof(header->build_id) - 1);
    if (vm->mode != VM_RUN)
        header->image_digest = order_memory_digest(&vm->order);
}

static enum machine_status build(struct vm *vm, const struct vm_config *config)
{
    const char *command_line;
    const struct boot_module *guest = vm_find_module(config->boot, "guest", &command_line);
    struct loaded_guest loaded = {0};

    if (!guest) {
        hv_msg(MSG_ERROR, "no guest: add a module whose command line begins with the word guest");
        return MACHINE_BAD_GUEST;
    }
    if (vm->mode == VM_REPLAY) {
        if (!replay_log_read(&vm->replay, config->log, config->log_bytes, config->mem))
            return MACHINE_BAD_LOG;
        if (!replay_log_fits_machine(&vm->replay.header, vm->vcpu_count, vm->memory_bytes))
            return MACHINE_BAD_LOG;
        take_header(vm, &vm->replay.header);
    }
    devices_reset(vm);
    if (!make_memory(vm, config->mem) || !make_vcpus(vm, config->mem) || !make_dma(vm, config->mem) ||
        (vm->mode == VM_RECORD && config->options->detail && !detail_create(vm, config->mem))) {
        hv_msg(MSG_ERROR, "not enough memory for the guest");
        return MACHINE_REFUSED;
    }
    if (!load(vm, config->boot, &loaded))
        return MACHINE_BAD_GUEST;
    set_entry(vm, &loaded);
    for (uint32_t i = 0; i < vm->vcpu_count && vm->mode != VM_RUN; i++)
        view_join(&vm->vcpus[i]->view);
    if (vm->mode != VM_RUN)
        view_join(&vm->dma->view);
    set_noise(vm, config);
    make_header(vm, command_line);
    if (vm->mode == VM_REPLAY && !replay_log_fits_guest(&vm->replay.header, &vm->header))
        return MACHINE_BAD_LOG;
    return MACHINE_OK;
}

enum machine_status vm_create(const struct vm_config *config, struct vm **out)
{
    struct vm *vm = mem_alloc(config->mem, sizeof(*vm), PAGE_SIZE);

    if (!vm)
        return MACHINE_REFUSED;
    set_options(vm, config);
    *out = vm;
    return build(vm, config);
}
