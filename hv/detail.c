#include "hv/detail.h"

#include "hv/base/check.h"
#include "hv/base/digest.h"
#include "hv/cpu/cpu.h"
#include "hv/text.h"
#include "replay/log_detail.h"

#include <string.h>

#define RING_SIZE   (1u << 20) /* a power of two */
#define MOST_VALUES 4u         /* registers that a report names */

_Static_assert(RING_SIZE >= 4 * (MAX_VCPUS + 1) * DETAIL_ENTRY_MAX, "room for an entry of each vCPU");

bool detail_create(struct vm *vm, struct mem *mem)
{
    vm->detail.bytes = mem_alloc(mem, RING_SIZE, PAGE_SIZE);
    vm->detail.lump = mem_alloc(mem, DETAIL_LUMP, PAGE_SIZE);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->detail_entry = mem_alloc(mem, DETAIL_ENTRY_MAX, PAGE_SIZE);
        if (!vm->vcpus[i]->detail_entry)
            return false;
    }
    return vm->detail.bytes && vm->detail.lump;
}

static void take_state(const struct vcpu_state *state, struct detail_state *out)
{
    const uint64_t *words = (const uint64_t *)(const void *)state;
    const size_t lapic = offsetof(struct vcpu_state, lapic) / 8,
                 other = offsetof(struct vcpu_state, msrs) / 8;
    const struct vmx_guest_state *cpu = &state->cpu;
    const uint64_t special[] = {cpu->rip, cpu->rflags & ~RFLAGS_RF, cpu->cr0, cpu->cr2, cpu->cr3, cpu->cr4};
    struct vmx_guest_state plain = *cpu;

    _Static_assert(ARRAY_LEN(special) == DETAIL_REGISTERS - DETAIL_RIP, "a value for each");
    _Static_assert((int)GPR_COUNT == (int)DETAIL_RIP, "the general registers come first");
    memcpy(out->regs, cpu->gpr, sizeof(cpu->gpr));
    memcpy(out->regs + DETAIL_RIP, special, sizeof(special));
    plain.rflags &= ~RFLAGS_RF;
    out->part[DETAIL_PART_CPU] = digest_bytes(~UINT64_C(0), &plain, sizeof(plain));
    out->part[DETAIL_PART_XSAVE] = digest_words(~UINT64_C(0), words, sizeof(state->xsave) / 8);
    out->part[DETAIL_PART_LAPIC] = digest_words(~UINT64_C(0), words + lapic, sizeof(state->lapic) / 8);
    out->part[DETAIL_PART_OTHER] = digest_words(~UINT64_C(0), words + other, sizeof(*state) / 8 - other);
}

static const uint64_t *frame_words(const struct view *view, uint32_t frame)
{
    return frame_data(view->order->pool, frame);
}

/* ---- Recording ---- */

bool detail_has_room(const struct vm *vm)
{
    const struct vm_detail *detail = &vm->detail;
    uint64_t used =
        __atomic_load_n(&detail->head, __ATOMIC_ACQUIRE) - __atomic_load_n(&detail->tail, __ATOMIC_ACQUIRE);

    return !detail->bytes || used + (vm->vcpu_count + 1) * DETAIL_ENTRY_MAX <= RING_SIZE;
}

void detail_note(struct vcpu *vcpu)
{
    const struct view *view = &vcpu->view;
    struct detail_state state;
    struct detail_writer w;

    if (!vcpu->detail_entry)
        return;
    take_state(vcpu->state, &state);
    detail_begin(&w, vcpu->detail_entry, vcpu->index, &state);
    for (uint32_t i = 0; i < view->write_count; i++) {
        const struct view_page *page = &view->page[view->writes[i]];
        detail_page(&w, view->writes[i], frame_words(view, page->frame), frame_words(view, page->copy));
    }
    (void)detail_end(&w);
}

void detail_put(struct vcpu *vcpu, uint64_t seq)
{
    struct vm_detail *detail = &vcpu->vm->detail;
    uint32_t length;

    if (!vcpu->detail_entry)
        return;
    detail_set_seq(vcpu->detail_entry, seq);
    length = detail_length(vcpu->detail_entry);
    HV_CHECK(detail->head - __atomic_load_n(&detail->tail, __ATOMIC_ACQUIRE) + length <= RING_SIZE);
    for (uint32_t i = 0; i < length; i++)
        detail->bytes[(detail->head + i) % RING_SIZE] = vcpu->detail_entry[i];
    __atomic_store_n(&detail->head, detail->head + length, __ATOMIC_RELEASE);
}

static void copy_out(const struct vm_detail *detail, uint8_t *to, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        to[i] = detail->bytes[(detail->tail + i) % RING_SIZE];
}

uint32_t detail_take(struct vm *vm, uint8_t *to, uint32_t room, bool *waits)
{
    struct vm_detail *detail = &vm->detail;
    uint8_t start[sizeof(uint32_t)];
    uint32_t length;

    *waits = __atomic_load_n(&detail->head, __ATOMIC_ACQUIRE) != detail->tail;
    if (!*waits)
        return 0;
    copy_out(detail, start, sizeof(start));
    length = detail_length(start);
    if (length > room)
        return 0;
    copy_out(detail, to, length);
    __atomic_store_n(&detail->tail, detail->tail + length, __ATOMIC_RELEASE);
    *waits = false;
    return length;
}

/* ---- Replay ---- */

static void compare_state(struct text_out *r, const struct detail_state *expected,
                          const struct detail_state *found)
{
    unsigned named = 0;

    for (unsigned i = 0; i < DETAIL_REGISTERS; i++) {
        if (expected->regs[i] == found->regs[i] || named++ >= MOST_VALUES)
            continue;
        text_say(r, ", %s expected %#llx found %#llx", detail_register_name(i),
                 (unsigned long long)expected->regs[i], (unsigned long long)found->regs[i]);
    }
    for (unsigned i = 0; i < DETAIL_PARTS; i++) {
        if (expected->part[i] != found->part[i] && !(i == DETAIL_PART_CPU && named))
            text_say(r, ", state differs in %s", detail_part_name(i));
    }
}

/*
 * The page as recorded: what the chunk began with, and the listed words. Where not all changed words are
 * listed, those behind the last listed one are not known, and taken as found.
 */
static void expected_page(const struct log_detail_page *page, const uint64_t *base, const uint64_t *found,
                          uint64_t *out)
{
    uint32_t known = PAGE_WORDS;

    memcpy(out, base, PAGE_SIZE);
    for (uint32_t i = 0; i < page->listed; i++) {
        uint64_t value;
        uint32_t at = log_detail_word(page, i, &value);
        out[at] = value;
        known = page->listed < page->changed ? at + 1 : PAGE_WORDS;
    }
    memcpy(out + known, found + known, (PAGE_WORDS - known) * sizeof(*out));
}

static bool compare_page(struct text_out *r, struct vcpu *vcpu, const struct log_detail_page *page)
{
    const struct view *view = &vcpu->view;
    const uint64_t *found, *base;
    uint64_t *expected = vcpu->detail_scratch;

    if (page->gpn >= view->order->pages) {
        text_say(r, ", page %#x is beyond memory", page->gpn);
        return false;
    }
    found = view_data(view, page->gpn);
    base = frame_words(view, view->page[page->gpn].frame);
    expected_page(page, base, found, expected);
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (expected[i] == found[i] || view_plain_word(view, page->gpn, base[i], expected[i]) ==
                                           view_plain_word(view, page->gpn, base[i], found[i]))
            continue;
        text_say(r, ", page %#x word %#x expected %#llx found %#llx", page->gpn, i * 8,
                 (unsigned long long)expected[i], (unsigned long long)found[i]);
        return false;
    }
    return true;
}

static bool lists(struct log_detail detail, uint32_t gpn)
{
    struct log_detail_page page;

    while (log_detail_page(&detail, &page)) {
        if (page.gpn == gpn)
            return true;
    }
    return false;
}

/* A page that changed here, but not in the recording. */
static void compare_others(struct text_out *r, struct vcpu *vcpu, const struct log_detail *detail)
{
    const struct view *view = &vcpu->view;

    for (uint32_t i = 0; i < view->copy_count && detail->listed == detail->changed; i++) {
        uint32_t gpn = view->copies[i];
        const struct view_page *page = &view->page[gpn];
        if (page->copy == FRAME_NONE || frame_equal(view->order->pool, page->frame, page->copy))
            continue;
        if (lists(*detail, gpn) || view_plainly_equal(view, gpn))
            continue;
        text_say(r, ", page %#x changed, which did not", gpn);
        return;
    }
}

static bool find_entry(const struct vcpu *vcpu, struct log_detail *detail)
{
    const struct vm_replay *replay = &vcpu->vm->replay;
    const uint8_t *entry = replay->detail ? replay->detail[vcpu->seq - 1] : NULL;

    return entry && log_detail_next(&entry, entry + detail_length(entry), detail) == LOG_OK;
}

bool detail_is_logged(const struct vcpu *vcpu)
{
    struct log_detail detail;

    return find_entry(vcpu, &detail);
}

uint32_t detail_distance(const struct vcpu *vcpu)
{
    struct log_detail detail;
    uint32_t distance = 0;

    if (!find_entry(vcpu, &detail))
        return DETAIL_NO_DISTANCE;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        distance += detail.state.regs[i] != vcpu->vmx.gpr[i];
    return distance;
}

bool detail_compare(struct vcpu *vcpu, char *text, size_t size)
{
    struct text_out r = {.text = text, .size = size};
    struct log_detail detail, pages;
    struct log_detail_page page;
    struct detail_state found;

    if (!find_entry(vcpu, &detail))
        return false;
    text[0] = 0;
    take_state(vcpu->state, &found);
    compare_state(&r, &detail.state, &found);
    pages = detail;
    while (log_detail_page(&pages, &page) && compare_page(&r, vcpu, &page))
        ;
    compare_others(&r, vcpu, &detail);
    if (!r.used)
        text_say(&r, ", nothing that the log tells in detail differs");
    return true;
}
