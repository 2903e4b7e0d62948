#include "replay/view.h"

#include "hv/base/changes.h"
#include "hv/base/check.h"

void view_init(struct view *view, struct commit_order *order, uint32_t actor, const struct view_ops *ops,
               struct view_page *page, uint32_t *copies, uint32_t *writes)
{
    *view = (struct view){.order = order,
                          .ops = *ops,
                          .page = page,
                          .copies = copies,
                          .writes = writes,
                          .actor = actor,
                          .chunk = 1,
                          .policy = VIEW_DEFAULT};
    for (uint32_t i = 0; i < order->pages; i++)
        page[i] = (struct view_page){.frame = FRAME_NONE, .copy = FRAME_NONE};
}

static void map_committed(struct view *view, uint32_t gpn)
{
    view->ops.map(view->ops.ctx, gpn, view->page[gpn].frame, false);
}

static void drop_copy(struct view *view, uint32_t gpn)
{
    frame_free(view->order->pool, view->page[gpn].copy);
    view->page[gpn].copy = FRAME_NONE;
    view->stale_copies = true;
}

/* The page has a newer committed version: a private copy of the old one is worthless. */
static void refresh(struct view *view, uint32_t gpn, uint32_t frame, uint64_t seq)
{
    struct view_page *page = &view->page[gpn];

    if (page->copy != FRAME_NONE)
        drop_copy(view, gpn);
    page->frame = frame;
    page->seq = seq;
    map_committed(view, gpn);
}

/*
 * Applies the commit list up to seq S. An entry not newer than what the view has is its own commit, or
 * one that its own commit superseded.
 */
static void follow(struct view *view, uint64_t seq)
{
    struct commit_order *order = view->order;
    uint64_t head = __atomic_load_n(&order->head, __ATOMIC_ACQUIRE);
    uint64_t position = view->position;

    for (; position < head; position++) {
        const struct commit_entry *entry = order_entry(order, position);
        if (entry->seq > seq)
            break;
        if (entry->seq > view->page[entry->gpn].seq)
            refresh(view, entry->gpn, entry->frame, entry->seq);
    }
    view->position = position;
    view->snapshot = seq;
    order_advance(order, view->actor, position);
}

#define REBUILD_BATCH 32u /* pages whose entries are read under one lock */

/*
 * A parked view held back no frames, so nothing it maps can be trusted. It joins at the present head,
 * so that every frame it reads from the table now stays; an entry that is newer than the head then is
 * met again when the list is followed, and skipped.
 */
static void rebuild(struct view *view)
{
    struct commit_order *order = view->order;

    view->counters.rebuilds++;
    view->position = order_rejoin(order, view->actor);
    for (uint32_t first = 0, count; first < order->pages; first += count) {
        struct page_entry entries[REBUILD_BATCH];
        count = MIN(order->pages - first, REBUILD_BATCH);
        order_read_entries(order, first, count, entries);
        for (uint32_t i = 0; i < count; i++) {
            struct view_page *page = &view->page[first + i];
            if (page->frame == FRAME_NONE || entries[i].seq != page->seq)
                refresh(view, first + i, entries[i].frame, entries[i].seq);
        }
    }
}

void view_join(struct view *view)
{
    rebuild(view);
    order_rest(view->order, view->actor);
}

static void compact_copies(struct view *view)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < view->copy_count; i++) {
        if (view_has_copy(view, view->copies[i]))
            view->copies[kept++] = view->copies[i];
    }
    view->copy_count = kept;
    view->stale_copies = false;
}

/*
 * A chunk that is cut for want of pages may have come nowhere: its copies stay in any case, or the next one
 * would come nowhere, too.
 */
static bool keeps_copies(const struct view *view)
{
    return (view->policy & VIEW_KEEP) || view->cut_short;
}

/* Gives back the copies that the last chunk did not write, oldest habits first; or all, if none is to stay.
 */
static void cool_copies(struct view *view)
{
    bool keep = keeps_copies(view);

    for (uint32_t i = 0; i < view->copy_count; i++) {
        uint32_t gpn = view->copies[i];
        struct view_page *page = &view->page[gpn];
        bool used = page->mark == view->chunk;
        if (page->copy == FRAME_NONE || (used && keep))
            continue;
        if (!used && page->heat > 0)
            page->heat--;
        if (!keep || page->heat == 0) {
            drop_copy(view, gpn);
            map_committed(view, gpn);
        }
    }
}

/*
 * Copies that a chunk may have. Replay may have kept other copies than the recording had, but they must
 * not end a chunk early: so recording takes one half of the room at most, and replay keeps one half free.
 */
static uint32_t copy_limit(const struct view *view)
{
    uint32_t room = view->order->chunk_pages;

    return view->from_reserve ? room : room / 2;
}

static void trim_copies(struct view *view)
{
    while (view->copy_count > view->order->chunk_pages / 2) {
        uint32_t gpn = view->copies[--view->copy_count];
        drop_copy(view, gpn);
        map_committed(view, gpn);
    }
    view->stale_copies = false;
}

static bool make_copy(struct view *view, uint32_t gpn, enum frame_simd simd)
{
    struct view_page *page = &view->page[gpn];
    uint32_t frame = frame_alloc(view->order->pool, view->from_reserve);

    if (frame == FRAME_NONE)
        return false;
    frame_copy(view->order->pool, frame, page->frame, simd);
    page->copy = frame;
    view->copies[view->copy_count++] = gpn;
    return true;
}

/* Pages written chunk after chunk get their copy now, which saves the exit of the first write. */
static void copy_ahead(struct view *view)
{
    uint32_t limit = view->policy & VIEW_AHEAD ? view->order->chunk_pages / 4 : 0;

    for (uint32_t i = 0; i < view->write_count && view->copy_count < limit; i++) {
        uint32_t gpn = view->writes[i];
        if (view_has_copy(view, gpn) || view->page[gpn].heat < VIEW_HEAT_AHEAD)
            continue;
        if (!make_copy(view, gpn, FRAME_SIMD_FREE))
            return;
        view->ops.map(view->ops.ctx, gpn, view->page[gpn].copy, true);
        view->counters.copies_ahead++;
    }
}

static void next_chunk_number(struct view *view)
{
    if (++view->chunk == 0) {
        for (uint32_t i = 0; i < view->order->pages; i++)
            view->page[i].mark = 0;
        view->chunk = 1;
    }
}

uint64_t view_begin(struct view *view)
{
    if (!order_wake(view->order, view->actor))
        rebuild(view);
    cool_copies(view);
    follow(view, order_seq(view->order));
    if (view->stale_copies)
        compact_copies(view);
    trim_copies(view);
    copy_ahead(view);
    next_chunk_number(view);
    view->conflict.cause = VIEW_CAUSE_NONE;
    view->cut_short = false;
    view->write_count = 0;
    view->validated = view->position;
    view->newest = view->last_commit;
    return view->snapshot;
}

#define NEARLY 32u /* pages: more than an instruction and an event's delivery write */

/* The chunk has to end: it has all its copies, or the pool has no more frames. */
static void end_short(struct view *view, bool has_copies)
{
    if (!view->cut_short && !has_copies)
        view->counters.no_frame++;
    view->cut_short = true;
}

bool view_nearly_full(struct view *view)
{
    bool has_copies = view->copy_count + NEARLY >= copy_limit(view);

    if (!has_copies && frames_free(view->order->pool) >= NEARLY * view->order->vcpus)
        return false;
    end_short(view, has_copies);
    return true;
}

enum view_fault view_write_fault(struct view *view, uint32_t gpn)
{
    HV_CHECK(gpn < view->order->pages && !view_has_copy(view, gpn));
    if (view->copy_count >= copy_limit(view) || !make_copy(view, gpn, FRAME_SIMD_GUEST)) {
        end_short(view, view->copy_count >= copy_limit(view));
        return view->copy_count >= copy_limit(view) ? VIEW_FAULT_FULL : VIEW_FAULT_NO_FRAME;
    }
    view->ops.make_private(view->ops.ctx, gpn, view->page[gpn].copy);
    view->counters.copies++;
    return VIEW_FAULT_COPIED;
}

/* ---- Accessed bits ---- */

bool view_listed(const struct view *view, const uint8_t **at, struct accessed_page *page)
{
    if (!*at)
        *at = view->accessed.bytes;
    while (accessed_next(at, view->accessed.bytes + view->accessed.used, page)) {
        if (page->gpn < view->order->pages)
            return true;
    }
    return false;
}

/* Page gpn as the chunk's list has it; false: it is not there. */
static bool find_listed(const struct view *view, uint32_t gpn, struct accessed_page *page)
{
    const uint8_t *at = NULL;

    *page = (struct accessed_page){0};
    while (view->accessed.used && view_listed(view, &at, page)) {
        if (page->gpn == gpn)
            return true;
    }
    return false;
}

void view_expect_accessed(struct view *view, const uint8_t *bytes, uint32_t length)
{
    HV_CHECK(length <= sizeof(view->accessed.bytes));
    for (uint32_t i = 0; i < length; i++)
        view->accessed.bytes[i] = bytes[i];
    view->accessed.used = length;
    view->settles = true;
}

uint64_t view_plain_word(const struct view *view, uint32_t gpn, uint64_t base, uint64_t word)
{
    struct accessed_page page;

    return accessed_plain(base, word, find_listed(view, gpn, &page));
}

bool view_plainly_equal(const struct view *view, uint32_t gpn)
{
    const uint64_t *base = frame_data(view->order->pool, view->page[gpn].frame), *copy = view_data(view, gpn);

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (base[i] != copy[i] && view_plain_word(view, gpn, base[i], copy[i]) != base[i])
            return false;
    }
    return true;
}

/*
 * Recording: whether page gpn, which has changed, goes to the list, and is there now. A page that was a
 * paging structure, and alone has more surprising bits than a record holds, is none any more.
 */
static bool list_accessed(struct view *view, uint32_t gpn, const uint64_t *base, const uint64_t *copy)
{
    struct view_page *page = &view->page[gpn];
    uint32_t look = accessed_look(base, copy);
    bool alone = view->accessed.used == 0;

    if (!(look & ACCESSED_ALONE) && !(page->table && (look & ACCESSED_STORED)))
        return false;
    if (accessed_append(&view->accessed, gpn, base, copy))
        return true;
    if (alone && !(look & ACCESSED_ALONE)) {
        page->table = false;
        return false;
    }
    view->accessed_full = true;
    return true;
}

/* The digest of a page that has changed, without the bits that a list tells. */
static uint64_t plain_digest(const struct view *view, uint32_t gpn, bool listed)
{
    const struct view_page *page = &view->page[gpn];
    const uint64_t *base = frame_data(view->order->pool, page->frame);
    const uint64_t *copy = frame_data(view->order->pool, page->copy);

    struct changes changes = {0};

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t word = accessed_plain(base[i], copy[i], listed);
        if (word != base[i])
            changes_add_word(&changes, word, i);
    }
    return changes_digest(&changes, ~(uint64_t)gpn);
}

/* Of a dirty page, as if it had no list. *soft: some words may have changed in accessed bits alone. */
static uint64_t whole_digest(const struct view *view, uint32_t gpn, enum frame_simd simd, bool *soft)
{
    const struct view_page *page = &view->page[gpn];

    return frame_change_digest(view->order->pool, page->frame, page->copy, ~(uint64_t)gpn, simd, soft);
}

/* 0 where nothing but accessed bits has changed. *equal: the private copy is just as its base. */
static uint64_t change_digest(const struct view *view, uint32_t gpn, bool listed, bool *equal,
                              enum frame_simd simd)
{
    bool soft;
    uint64_t digest = whole_digest(view, gpn, simd, &soft);

    *equal = !digest;
    return !*equal && (listed || soft) ? plain_digest(view, gpn, listed) : digest;
}

/* ---- The sets ---- */

/* Replay: the bits of a dirty page become the recorded ones; most pages have none that could differ. */
static uint64_t settled_digest(const struct view *view, uint32_t gpn, bool *equal)
{
    const struct view_page *page = &view->page[gpn];
    const struct frame_pool *pool = view->order->pool;
    struct accessed_page listed;
    bool is_listed = find_listed(view, gpn, &listed), soft = false;
    uint64_t digest = is_listed ? 0 : whole_digest(view, gpn, FRAME_SIMD_FREE, &soft);

    *equal = !digest;
    if (!is_listed && !soft)
        return digest;
    accessed_settle(frame_data(pool, page->frame), frame_data(pool, page->copy), is_listed ? &listed : NULL);
    return change_digest(view, gpn, is_listed, equal, FRAME_SIMD_FREE);
}

/* Recording: finds out whether the page must be listed. */
static uint64_t listing_digest(struct view *view, uint32_t gpn, bool *equal)
{
    const struct view_page *page = &view->page[gpn];
    const struct frame_pool *pool = view->order->pool;
    bool soft;
    uint64_t digest = whole_digest(view, gpn, FRAME_SIMD_FREE, &soft);

    *equal = !digest;
    if (!*equal && (soft || page->table) &&
        list_accessed(view, gpn, frame_data(pool, page->frame), frame_data(pool, page->copy)))
        return plain_digest(view, gpn, true);
    return digest;
}

/* A dirty private page: a change, unless it came out equal to its base. */
static void collect_written(struct view *view, uint32_t gpn)
{
    struct view_page *page = &view->page[gpn];
    uint64_t digest;
    bool equal;

    HV_CHECK(page->copy != FRAME_NONE);
    view->counters.compares++;
    digest = view->settles ? settled_digest(view, gpn, &equal) : listing_digest(view, gpn, &equal);
    if (equal) {
        view->counters.equal_pages++;
        /* Counted as a write, it adds nothing to the digest: a replay need not do the same. */
        if (view->policy & VIEW_EQUAL)
            return;
    }
    if (page->heat < VIEW_HEAT_MAX)
        page->heat++;
    view->write_digest += digest;
    view->writes[view->write_count++] = gpn;
}

void view_collect(struct view *view, const uint32_t *accessed, uint32_t count)
{
    view->write_count = 0;
    view->write_digest = 0;
    view->accessed_full = false;
    if (!view->settles)
        view->accessed = (struct accessed_list){0};
    view->counters.read_pages += count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t gpn = accessed[i] & ~VIEW_DIRTY;
        struct view_page *page = &view->page[gpn];
        page->mark = view->chunk;
        view->newest = MAX(view->newest, page->seq);
        if (accessed[i] & VIEW_DIRTY)
            collect_written(view, gpn);
    }
    view->counters.changed_pages += view->write_count;
}

uint64_t view_write_digest(const struct view *view)
{
    return view->write_digest;
}

uint64_t view_peek_digest(const struct view *view, bool (*dirty)(void *ctx, uint32_t gpn), void *ctx,
                          enum frame_simd simd)
{
    struct accessed_page listed;
    uint64_t sum = 0;
    bool equal;

    for (uint32_t i = 0; i < view->copy_count; i++) {
        uint32_t gpn = view->copies[i];
        const struct view_page *page = &view->page[gpn];
        if (page->copy == FRAME_NONE || !dirty(ctx, gpn))
            continue;
        sum += change_digest(view, gpn, find_listed(view, gpn, &listed), &equal, simd);
    }
    return sum;
}

static bool in_read_set(const struct view *view, const struct commit_entry *entry)
{
    return view->page[entry->gpn].mark == view->chunk;
}

/* What the chunk and the commit of `entry` had to do with each other. */
static enum view_cause cause_of(const struct view *view, const struct commit_entry *entry)
{
    const struct view_page *page = &view->page[entry->gpn];
    const struct frame_pool *pool = view->order->pool;

    if (page->table)
        return VIEW_CAUSE_TABLE;
    if (page->copy == FRAME_NONE || frame_equal(pool, page->copy, page->frame))
        return VIEW_CAUSE_READ;
    return frames_change_same(pool, page->frame, page->copy, entry->frame) < FRAME_WORDS ? VIEW_CAUSE_WORDS
                                                                                         : VIEW_CAUSE_PAGE;
}

static void note_conflict(struct view *view, const struct commit_entry *entry)
{
    const struct view_page *page = &view->page[entry->gpn];
    const struct frame_pool *pool = view->order->pool;
    enum view_cause cause = cause_of(view, entry);

    view->conflict = (struct view_conflict){
        .cause = cause,
        .gpn = entry->gpn,
        .actor = entry->vcpu,
        .word = cause == VIEW_CAUSE_WORDS ? frames_change_same(pool, page->frame, page->copy, entry->frame)
                                          : frames_first_difference(pool, page->frame, entry->frame)};
}

enum view_verdict view_validate(struct view *view)
{
    struct commit_order *order = view->order;
    uint64_t head = __atomic_load_n(&order->head, __ATOMIC_ACQUIRE);

    for (; view->validated < head; view->validated++) {
        const struct commit_entry *entry = order_entry(order, view->validated);
        if (!in_read_set(view, entry))
            continue;
        if (!(view->policy & VIEW_VALUE)) {
            note_conflict(view, entry);
            return VIEW_CONFLICT;
        }
        /* Only the newest version counts; if there is a newer one, its entry is still to come. */
        if (__atomic_load_n(&order->table[entry->gpn].seq, __ATOMIC_ACQUIRE) > entry->seq)
            continue;
        view->counters.compares++;
        if (!frame_equal(order->pool, entry->frame, view->page[entry->gpn].frame)) {
            note_conflict(view, entry);
            return VIEW_CONFLICT;
        }
        view->counters.value_saves++;
        view->newest = MAX(view->newest, entry->seq);
    }
    return VIEW_VALID;
}

enum view_enter view_commit_enter(struct view *view, uint64_t *seq)
{
    struct commit_order *order = view->order;
    uint64_t position;

    spin_lock(&order->lock);
    for (position = view->validated; position < order->head; position++) {
        if (in_read_set(view, order_entry(order, position))) {
            spin_unlock(&order->lock);
            return VIEW_AGAIN;
        }
    }
    view->validated = position;
    if (!order_may_commit(order, view->actor)) {
        spin_unlock(&order->lock);
        return VIEW_BARRED;
    }
    *seq = order->seq + 1;
    return VIEW_ENTERED;
}

void view_commit_enter_at(struct view *view, uint64_t seq)
{
    spin_lock(&view->order->lock);
    HV_CHECK(view->order->seq + 1 == seq);
}

bool view_writes_newest(const struct view *view)
{
    for (uint32_t i = 0; i < view->write_count; i++) {
        if (view->page[view->writes[i]].frame != view->order->table[view->writes[i]].frame)
            return false;
    }
    return true;
}

void view_commit_abandon(struct view *view)
{
    spin_unlock(&view->order->lock);
}

/*
 * VIEW_COPY_OUT: the page goes into a frame of its own, as if memory were shared, and the copy is given back.
 * Without a free frame the copy itself is committed: a commit cannot fail.
 */
static void copy_out(struct view *view, struct view_page *page)
{
    struct frame_pool *pool = view->order->pool;
    uint32_t frame = frame_alloc(pool, view->from_reserve);

    if (frame == FRAME_NONE)
        return;
    frame_copy(pool, frame, page->copy, FRAME_SIMD_FREE);
    frame_free(pool, page->copy);
    page->copy = frame;
    view->counters.copies_out++;
}

void view_commit_leave(struct view *view, uint64_t seq, uint64_t commit_digest)
{
    struct commit_order *order = view->order;

    for (uint32_t i = 0; i < view->write_count; i++) {
        struct view_page *page = &view->page[view->writes[i]];
        if (view->policy & VIEW_COPY_OUT)
            copy_out(view, page);
        order_append(order, seq, view->actor, view->writes[i], page->copy);
    }
    order_publish(order, seq, commit_digest);
    spin_unlock(&order->lock);

    for (uint32_t i = 0; i < view->write_count; i++) {
        struct view_page *page = &view->page[view->writes[i]];
        page->frame = page->copy;
        page->copy = FRAME_NONE;
        page->seq = seq;
        page->writes++;
        map_committed(view, view->writes[i]);
    }
    view->stale_copies = view->stale_copies || view->write_count > 0;
    view->last_commit = seq;
}

/* The copies stay, with the base's content again: the chunk will most likely write the same pages. */
void view_squash(struct view *view)
{
    for (uint32_t i = 0; i < view->write_count && keeps_copies(view); i++) {
        struct view_page *page = &view->page[view->writes[i]];
        frame_copy(view->order->pool, page->copy, page->frame, FRAME_SIMD_FREE);
    }
    view->write_count = 0;
}

bool view_overtaken(const struct view *view)
{
    const struct commit_order *order = view->order;
    uint64_t head = __atomic_load_n(&order->head, __ATOMIC_ACQUIRE);

    if (order->place[view->actor].resting)
        return true;
    for (uint64_t position = view->validated; position < head; position++) {
        const struct commit_entry *entry = order_entry(order, position);
        if (entry->vcpu != view->actor && in_read_set(view, entry))
            return true;
    }
    return false;
}
