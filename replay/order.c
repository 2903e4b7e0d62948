#include "replay/order.h"

#include "hv/base/check.h"
#include "hv/base/digest.h"

/* What remains in use when every actor is at rest and parked, and what a chunk asks for to begin. */
uint64_t order_least_frames(const struct order_config *config)
{
    uint64_t copies = config->recording ? config->chunk_pages / 2 : config->chunk_pages;

    return config->pages + config->vcpus * copies + config->frames_low;
}

bool order_init(struct commit_order *order, const struct order_config *config)
{
    HV_CHECK((config->ring_size & (config->ring_size - 1)) == 0);
    HV_CHECK(config->ring_size >= 2 * (config->vcpus + 1) * config->chunk_pages);
    HV_CHECK(config->vcpus <= ORDER_MAX_ACTORS);
    *order = (struct commit_order){.table = config->table,
                                   .pages = config->pages,
                                   .ring = config->ring,
                                   .ring_size = config->ring_size,
                                   .chunk_pages = config->chunk_pages,
                                   .vcpus = config->vcpus,
                                   .frames_low = config->frames_low,
                                   .token = ORDER_NO_VCPU,
                                   .pool = config->pool};
    if (config->pool->count < order_least_frames(config))
        return false;
    for (uint32_t i = 0; i < config->pages; i++) {
        uint32_t frame = frame_alloc(config->pool, true);
        if (frame == FRAME_NONE)
            return false;
        order->table[i] = (struct page_entry){.frame = frame};
    }
    for (uint32_t i = 0; i < config->vcpus; i++)
        order->place[i] = (struct view_place){.resting = true, .parked = true};
    return true;
}

/* The position that every view still following the list is past. Caller holds the lock. */
static uint64_t slowest(const struct commit_order *order)
{
    uint64_t least = order->head;

    for (uint32_t i = 0; i < order->vcpus; i++) {
        const struct view_place *place = &order->place[i];
        uint64_t position = __atomic_load_n(&place->position, __ATOMIC_ACQUIRE);
        if (!place->parked && position < least)
            least = position;
    }
    return least;
}

static void reclaim(struct commit_order *order)
{
    uint64_t limit = slowest(order);

    while (order->tail < limit) {
        frame_free(order->pool, order_entry(order, order->tail)->old_frame);
        __atomic_store_n(&order->tail, order->tail + 1, __ATOMIC_RELEASE);
    }
}

/* Parks the resting vCPUs that hold back more than `allowed` entries. Caller holds the lock. */
static void park_laggards(struct commit_order *order, uint64_t allowed)
{
    for (uint32_t i = 0; i < order->vcpus; i++) {
        struct view_place *place = &order->place[i];
        if (place->resting && order->head - place->position > allowed)
            place->parked = true;
    }
}

static bool frames_short(const struct commit_order *order)
{
    return frames_free(order->pool) < order->frames_low;
}

/*
 * Far from full needs no lock: what is to be freed by then is freed in one go. The tail is read first, so
 * that what is appended meanwhile counts. Where room was wanted, the lock is taken to say that there is some.
 */
static bool has_plenty(const struct commit_order *order, uint64_t need)
{
    uint64_t tail = __atomic_load_n(&order->tail, __ATOMIC_ACQUIRE);
    uint64_t head = __atomic_load_n(&order->head, __ATOMIC_ACQUIRE);

    return head - tail + need <= order->ring_size / 2 && frames_free(order->pool) >= 2 * order->frames_low &&
           !order_room_wanted(order);
}

bool order_has_room(struct commit_order *order)
{
    uint64_t need = (uint64_t)(order->vcpus + 1) * order->chunk_pages;
    bool room;

    if (has_plenty(order, need))
        return true;
    spin_lock(&order->lock);
    reclaim(order);
    if (order->head - order->tail + need > order->ring_size / 2) {
        park_laggards(order, order->ring_size / 4);
        reclaim(order);
    }
    if (frames_short(order)) {
        park_laggards(order, 0);
        reclaim(order);
    }
    room = order->head - order->tail + need <= order->ring_size && !frames_short(order);
    __atomic_store_n(&order->room_wanted, !room, __ATOMIC_RELAXED);
    spin_unlock(&order->lock);
    return room;
}

void order_rest(struct commit_order *order, uint32_t vcpu)
{
    spin_lock(&order->lock);
    order->place[vcpu].resting = true;
    spin_unlock(&order->lock);
}

bool order_wake(struct commit_order *order, uint32_t vcpu)
{
    bool in_place;

    /* Nobody else ends the rest, and only a resting view can have been parked. */
    if (!order->place[vcpu].resting)
        return true;
    spin_lock(&order->lock);
    in_place = !order->place[vcpu].parked;
    if (in_place)
        order->place[vcpu].resting = false;
    spin_unlock(&order->lock);
    return in_place;
}

void order_advance(struct commit_order *order, uint32_t vcpu, uint64_t position)
{
    __atomic_store_n(&order->place[vcpu].position, position, __ATOMIC_RELEASE);
}

uint64_t order_rejoin(struct commit_order *order, uint32_t vcpu)
{
    struct view_place *place = &order->place[vcpu];
    uint64_t position;

    spin_lock(&order->lock);
    position = order->head;
    place->position = position;
    place->resting = false;
    place->parked = false;
    spin_unlock(&order->lock);
    return position;
}

void order_read_entries(struct commit_order *order, uint32_t first, uint32_t count,
                        struct page_entry *entries)
{
    HV_CHECK(first <= order->pages && count <= order->pages - first);
    spin_lock(&order->lock);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = order->table[first + i];
    spin_unlock(&order->lock);
}

void order_append(struct commit_order *order, uint64_t seq, uint32_t vcpu, uint32_t gpn, uint32_t frame)
{
    struct page_entry *page = &order->table[gpn];

    HV_CHECK(order->head - order->tail < order->ring_size);
    order->ring[order->head & (order->ring_size - 1)] =
        (struct commit_entry){.seq = seq, .gpn = gpn, .frame = frame, .old_frame = page->frame, .vcpu = vcpu};
    page->frame = frame;
    __atomic_store_n(&page->seq, seq, __ATOMIC_RELEASE); /* validation looks at it without the lock */
    __atomic_store_n(&order->head, order->head + 1, __ATOMIC_RELEASE);
}

uint64_t order_next_digest(const struct commit_order *order, uint64_t seq, uint64_t commit_digest)
{
    uint64_t mixed = digest_word(commit_digest, seq);

    /* Twice, the second time turned round: so that every bit of the commit reaches the few that a record has.
     */
    return digest_word(digest_word(order->digest, mixed), mixed >> 32 | mixed << 32);
}

void order_publish(struct commit_order *order, uint64_t seq, uint64_t commit_digest)
{
    HV_CHECK(seq == order->seq + 1);
    order->digest = order_next_digest(order, seq, commit_digest);
    __atomic_store_n(&order->seq, seq, __ATOMIC_RELEASE);
}

bool order_take_token(struct commit_order *order, uint32_t vcpu)
{
    bool taken;

    spin_lock(&order->lock);
    taken = order->token == ORDER_NO_VCPU || order->token == vcpu;
    if (taken)
        order->token = vcpu;
    spin_unlock(&order->lock);
    return taken;
}

void order_drop_token(struct commit_order *order, uint32_t vcpu)
{
    spin_lock(&order->lock);
    if (order->token == vcpu)
        order->token = ORDER_NO_VCPU;
    spin_unlock(&order->lock);
}

bool order_may_commit(const struct commit_order *order, uint32_t vcpu)
{
    uint32_t token = __atomic_load_n(&order->token, __ATOMIC_ACQUIRE);

    return token == ORDER_NO_VCPU || token == vcpu;
}

uint64_t order_memory_digest(const struct commit_order *order)
{
    uint64_t d = 1;

    for (uint32_t i = 0; i < order->pages; i++)
        d = digest_words(d, frame_data(order->pool, order->table[i].frame), PAGE_SIZE / 8);
    return d;
}
