/* The network device, and the peer that answers what the guest sends. */
#include "test/unit/virtio_rig.h"

#define RX       VNET_QUEUE_RX
#define TX       VNET_QUEUE_TX
#define NET_H    12u      /* bytes of the device's header before a frame */
#define OUT_B    RIG_DATA /* the guest's buffers */
#define IN_B(i)  (RIG_DATA + 0x1000 + 0x800 * (i))
#define GUEST_IP 0x0A00020Fu
#define PEER_IP  0x0A000202u

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t everyone[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

static struct rig rig;

/* ---- Frames, made without the code under test ---- */

struct frame {
    uint32_t length;
    uint8_t b[1600];
};

static void put_be(uint8_t *b, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint64_t get_be(const uint8_t *b, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes; i++)
        value = value << 8 | b[i];
    return value;
}

static uint32_t ones_sum(const uint8_t *b, uint32_t bytes)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < bytes; i++)
        sum += (uint32_t)b[i] << (i % 2 ? 0 : 8);
    return sum;
}

static uint32_t fold(uint32_t sum)
{
    while (sum > 0xFFFF)
        sum = sum % 0x10000 + sum / 0x10000;
    return 0xFFFF - sum;
}

static void put_ip_checksum(struct frame *f)
{
    put_be(f->b + 24, 0, 2);
    put_be(f->b + 24, fold(ones_sum(f->b + 14, 20)), 2);
}

static uint32_t udp_sum(const uint8_t *b, uint32_t bytes)
{
    return fold(17 + bytes + ones_sum(b + 26, 8) + ones_sum(b + 34, bytes));
}

static struct frame ip(const uint8_t *to, uint8_t protocol, const uint8_t *payload, uint32_t bytes)
{
    struct frame f = {.length = 34 + bytes};

    memcpy(f.b, to, 6);
    memcpy(f.b + 6, guest_mac, 6);
    put_be(f.b + 12, 0x0800, 2);
    f.b[14] = 0x45;
    put_be(f.b + 16, 20 + bytes, 2);
    put_be(f.b + 18, 0x1234, 4); /* ID; not a fragment */
    put_be(f.b + 20, 0x4000, 2);
    f.b[22] = 7;
    f.b[23] = protocol;
    put_be(f.b + 26, GUEST_IP, 4);
    put_be(f.b + 30, PEER_IP, 4);
    put_ip_checksum(&f);
    memcpy(f.b + 34, payload, bytes);
    return f;
}

static void peer_mac(uint8_t *mac)
{
    static const uint8_t bytes[6] = {0x52, 0x56, 0, 0, 2, 2};

    memcpy(mac, bytes, 6);
}

static struct frame ping(uint32_t data)
{
    uint8_t icmp[1500] = {8, 0, 0, 0, 0xAB, 0xCD, 0, 1}, mac[6];

    peer_mac(mac);
    for (uint32_t i = 8; i < 8 + data; i++)
        icmp[i] = (uint8_t)(i * 3);
    put_be(icmp + 2, fold(ones_sum(icmp, 8 + data)), 2);
    return ip(mac, 1, icmp, 8 + data);
}

static struct frame udp(uint32_t from, uint32_t to, const uint8_t *payload, uint32_t bytes)
{
    uint8_t datagram[1500] = {0}, mac[6];
    struct frame f;

    peer_mac(mac);
    put_be(datagram, from, 2);
    put_be(datagram + 2, to, 2);
    put_be(datagram + 4, 8 + bytes, 2);
    memcpy(datagram + 8, payload, bytes);
    f = ip(mac, 17, datagram, 8 + bytes);
    put_be(f.b + 40, udp_sum(f.b, 8 + bytes), 2);
    return f;
}

static struct frame arp(uint32_t target)
{
    struct frame f = {.length = 60};

    memcpy(f.b, everyone, 6);
    memcpy(f.b + 6, guest_mac, 6);
    put_be(f.b + 12, 0x0806, 2);
    put_be(f.b + 14, 0x0001080006040001, 8);
    memcpy(f.b + 22, guest_mac, 6);
    put_be(f.b + 28, GUEST_IP, 4);
    put_be(f.b + 38, target, 4);
    return f;
}

static struct frame dhcp(const uint8_t *options, uint32_t bytes, uint32_t flags, uint32_t ciaddr)
{
    uint8_t m[600] = {1, 1, 6, 0, 0xDE, 0xAD, 0xBE, 0xEF};
    struct frame f;

    put_be(m + 10, flags, 2);
    put_be(m + 12, ciaddr, 4);
    memcpy(m + 28, guest_mac, 6);
    put_be(m + 236, 0x63825363, 4);
    memcpy(m + 240, options, bytes);
    f = udp(68, 67, m, 240 + bytes);
    memcpy(f.b, everyone, 6);
    return f;
}

static struct frame answer(const struct frame *f)
{
    struct frame a;

    memset(&a, 0, sizeof(a));
    a.length = vnet_answer(f->b, f->length, a.b);
    assert_true(a.length <= VNET_FRAME);
    return a;
}

static void assert_good_ip(const struct frame *a, uint32_t to)
{
    assert_int_equal(fold(ones_sum(a->b + 14, 20)), 0);
    assert_int_equal(get_be(a->b + 12, 3), 0x080045);
    assert_int_equal(get_be(a->b + 16, 2), a->length - 14);
    assert_int_equal(get_be(a->b + 26, 4), PEER_IP);
    assert_int_equal(get_be(a->b + 30, 4), to);
    if (a->b[23] == 17)
        assert_int_equal(udp_sum(a->b, a->length - 34), 0);
}

/* ---- The peer ---- */

static void test_arp(void **state)
{
    struct frame f = arp(PEER_IP), a = answer(&f);
    uint8_t mac[6];

    (void)state;
    peer_mac(mac);
    assert_int_equal(a.length, 42);
    assert_memory_equal(a.b, guest_mac, 6);
    assert_memory_equal(a.b + 6, mac, 6);
    assert_int_equal(get_be(a.b + 20, 2), 2);
    assert_memory_equal(a.b + 22, mac, 6);
    assert_int_equal(get_be(a.b + 28, 4), PEER_IP);
    assert_memory_equal(a.b + 32, guest_mac, 6);
    assert_int_equal(get_be(a.b + 38, 4), GUEST_IP);
    f = arp(GUEST_IP); /* is the guest's address free? nobody says no */
    assert_int_equal(answer(&f).length, 0);
    f = arp(PEER_IP);
    f.b[21] = 2; /* a reply */
    assert_int_equal(answer(&f).length, 0);
    f = arp(PEER_IP);
    f.length = 41;
    assert_int_equal(answer(&f).length, 0);
}

static void test_ping(void **state)
{
    static const uint32_t sizes[] = {0, 1, 56, 1472};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct frame f = ping(sizes[i]), a = answer(&f);
        assert_int_equal(a.length, f.length);
        assert_good_ip(&a, GUEST_IP);
        assert_int_equal(a.b[34], 0);
        assert_int_equal(fold(ones_sum(a.b + 34, a.length - 34)), 0);
        assert_memory_equal(a.b + 38, f.b + 38, f.length - 38);
    }
}

/* A frame is padded to 60 bytes on the wire: the packet's own length counts. */
static void test_padding(void **state)
{
    struct frame f = ping(0), a;

    (void)state;
    f.length = 60;
    memset(f.b + 42, 0xEE, 18);
    a = answer(&f);
    assert_int_equal(a.length, 42);
}

static void test_udp_echo(void **state)
{
    struct frame f = udp(5000, 7, (const uint8_t *)"hello", 5), a = answer(&f);

    (void)state;
    assert_int_equal(a.length, f.length);
    assert_good_ip(&a, GUEST_IP);
    assert_int_equal(get_be(a.b + 34, 4), 7u << 16 | 5000);
    assert_memory_equal(a.b + 42, "hello", 5);
    put_be(f.b + 40, 0, 2); /* without a checksum */
    a = answer(&f);
    assert_int_equal(a.length, f.length);
    assert_int_equal(get_be(a.b + 40, 2), 0);
    f = udp(5000, 8, (const uint8_t *)"hello", 5);
    assert_int_equal(answer(&f).length, 0);
}

/* What is damaged, in pieces, for others, or short has no answer. */
static void test_unanswered(void **state)
{
    struct frame f;

    (void)state;
    for (uint32_t length = 0; length < ping(8).length; length++) {
        f = ping(8);
        f.length = length;
        assert_int_equal(answer(&f).length, 0);
    }
    for (uint32_t at = 14; at < ping(8).length; at++) { /* any bit: one of the checksums notices */
        f = ping(8);
        f.b[at] ^= 0x10;
        assert_int_equal(answer(&f).length, 0);
    }
    for (uint32_t at = 26; at < 47; at++) {
        f = udp(5000, 7, (const uint8_t *)"hello", 5);
        f.b[at] ^= 0x10;
        assert_int_equal(answer(&f).length, 0);
    }
    f = ping(8);
    put_be(f.b + 20, 0x2000, 2); /* more fragments */
    put_ip_checksum(&f);
    assert_int_equal(answer(&f).length, 0);
    f = ping(8);
    put_be(f.b + 30, PEER_IP + 1, 4);
    put_ip_checksum(&f);
    assert_int_equal(answer(&f).length, 0);
    f = ping(8);
    f.b[5] ^= 1; /* another's MAC */
    assert_int_equal(answer(&f).length, 0);
    f = ping(8);
    put_be(f.b + 12, 0x86DD, 2); /* IPv6 */
    assert_int_equal(answer(&f).length, 0);
}

/* The value of `option` in an answer, of `bytes`; fails if it is not there. */
static uint64_t option(const struct frame *a, uint32_t code, uint32_t bytes)
{
    const uint8_t *at = a->b + 282;

    while (at < a->b + a->length && *at != 255) {
        if (*at == code) {
            assert_int_equal(at[1], bytes);
            return get_be(at + 2, bytes);
        }
        at += 2 + at[1];
    }
    return UINT64_MAX;
}

static void test_dhcp_discover(void **state)
{
    static const uint8_t options[] = {0, 0, 53, 1, 1, 55, 3, 1, 3, 6, 255};
    struct frame f = dhcp(options, sizeof(options), 0, 0), a = answer(&f);

    (void)state;
    assert_int_equal(a.length, 342);
    assert_good_ip(&a, GUEST_IP);
    assert_memory_equal(a.b, guest_mac, 6);
    assert_int_equal(get_be(a.b + 34, 4), 67u << 16 | 68);
    assert_int_equal(a.b[42], 2);
    assert_int_equal(get_be(a.b + 46, 4), 0xDEADBEEF);
    assert_int_equal(get_be(a.b + 58, 4), GUEST_IP);
    assert_memory_equal(a.b + 70, guest_mac, 6);
    assert_int_equal(option(&a, 53, 1), 2);
    assert_int_equal(option(&a, 54, 4), PEER_IP);
    assert_int_equal(option(&a, 51, 4), 0xFFFFFFFF);
    assert_int_equal(option(&a, 1, 4), 0xFFFFFF00);
    assert_int_equal(option(&a, 3, 4), PEER_IP);
    f = dhcp(options, sizeof(options), 0x8000, 0);
    a = answer(&f);
    assert_good_ip(&a, 0xFFFFFFFF);
    assert_memory_equal(a.b, everyone, 6);
    assert_int_equal(get_be(a.b + 52, 2), 0x8000);
}

static void test_dhcp_request(void **state)
{
    static const uint8_t good[] = {53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2, 255};
    static const uint8_t wrong[] = {53, 1, 3, 50, 4, 10, 0, 2, 16, 255};
    static const uint8_t other[] = {53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 3, 255};
    static const uint8_t renew[] = {53, 1, 3, 255};
    static const uint8_t inform[] = {53, 1, 8, 255};
    static const uint8_t release[] = {53, 1, 7, 255};
    struct frame f = dhcp(good, sizeof(good), 0, 0), a = answer(&f);

    (void)state;
    assert_int_equal(option(&a, 53, 1), 5);
    assert_int_equal(get_be(a.b + 58, 4), GUEST_IP);
    f = dhcp(wrong, sizeof(wrong), 0, 0);
    a = answer(&f);
    assert_int_equal(option(&a, 53, 1), 6);
    assert_int_equal(get_be(a.b + 58, 4), 0);
    assert_int_equal(option(&a, 51, 4), UINT64_MAX);
    assert_good_ip(&a, 0xFFFFFFFF);
    f = dhcp(other, sizeof(other), 0, 0);
    assert_int_equal(answer(&f).length, 0);
    f = dhcp(renew, sizeof(renew), 0, GUEST_IP);
    a = answer(&f);
    assert_int_equal(option(&a, 53, 1), 5);
    assert_good_ip(&a, GUEST_IP);
    f = dhcp(inform, sizeof(inform), 0, GUEST_IP + 1);
    a = answer(&f);
    assert_int_equal(option(&a, 53, 1), 5);
    assert_int_equal(get_be(a.b + 58, 4), 0);
    assert_int_equal(option(&a, 51, 4), UINT64_MAX);
    assert_good_ip(&a, GUEST_IP + 1);
    f = dhcp(release, sizeof(release), 0, GUEST_IP);
    assert_int_equal(answer(&f).length, 0);
}

/* Options that say they are longer than the message. */
static void test_dhcp_bad_options(void **state)
{
    static const uint8_t cut[] = {53}, lies[] = {53, 200, 1}, odd[] = {53, 2, 1, 1, 255};
    struct frame f = dhcp(cut, sizeof(cut), 0, 0);

    (void)state;
    assert_int_equal(answer(&f).length, 0);
    f = dhcp(lies, sizeof(lies), 0, 0);
    assert_int_equal(answer(&f).length, 0);
    f = dhcp(odd, sizeof(odd), 0, 0);
    assert_int_equal(answer(&f).length, 0);
    f = dhcp(cut, 0, 0, 0);
    assert_int_equal(answer(&f).length, 0);
}

/* ---- The device ---- */

static struct rig *net(void)
{
    rig_start(&rig, VIRTIO_SLOT_NET, RIG_SIZE);
    return &rig;
}

static void offer_rx(struct rig *r, uint32_t i, uint32_t bytes)
{
    desc(r, RX, i, IN_B(i), bytes, DESC_WRITE, 0);
    offer(r, RX, i);
    notify(r, RX);
}

static void send(struct rig *r, const struct frame *f)
{
    memset(r->memory + OUT_B, 0, NET_H);
    memcpy(r->memory + OUT_B + NET_H, f->b, f->length);
    desc(r, TX, 0, OUT_B, NET_H, DESC_NEXT, 1);
    desc(r, TX, 1, OUT_B + NET_H, f->length, 0, 0);
    offer(r, TX, 0);
    notify(r, TX);
}

static void test_ping_through_the_device(void **state)
{
    struct rig *r = net();
    struct frame f = ping(56), a = answer(&f);

    (void)state;
    offer_rx(r, 0, 1526);
    offer_rx(r, 1, 1526);
    assert_false(virtio_has_work(r->v)); /* no frame waits */
    for (uint32_t i = 0; i < 2; i++) {
        send(r, &f);
        assert_int_equal(run(r), 1);
        assert_int_equal(used_index(r, TX), i + 1);
        assert_int_equal(used_index(r, RX), i + 1);
        assert_int_equal(used_head(r, RX, i), i);
        assert_int_equal(used_length(r, RX, i), NET_H + a.length);
        assert_memory_equal(r->memory + IN_B(i) + NET_H, a.b, a.length);
        assert_int_equal(get(r->memory + IN_B(i), 8), 0);
        assert_int_equal(get(r->memory + IN_B(i) + 8, 4), 1u << 16); /* num_buffers */
    }
    assert_int_equal(r->v->net.count, 0);
}

/* Answers wait for buffers; what does not fit any more is lost. */
static void test_frames_wait(void **state)
{
    struct rig *r = net();
    struct frame f = ping(1472);

    (void)state;
    for (uint32_t i = 0; i < VNET_FRAMES + 3; i++) {
        send(r, &f);
        assert_int_equal(run(r), 1);
    }
    assert_int_equal(r->v->net.count, VNET_FRAMES);
    assert_int_equal(r->v->net.dropped, 3);
    assert_int_equal(used_index(r, RX), 0);
    for (uint32_t i = 0; i < VNET_FRAMES; i++)
        offer_rx(r, i, 1526);
    run(r);
    assert_int_equal(used_index(r, RX), VNET_FRAMES);
    assert_int_equal(r->v->net.count, 0);
    assert_memory_equal(r->memory + IN_B(7) + NET_H + 38, f.b + 38, f.length - 38);
}

/* From outside: with buffers that were there before. */
static void test_receive(void **state)
{
    struct rig *r = net();
    struct frame f = ping(100);

    (void)state;
    offer_rx(r, 0, 1526);
    offer_rx(r, 1, 1526);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(vnet_receive(&r->v->net, f.b, f.length));
        assert_int_equal(run(r), 1);
        assert_memory_equal(r->memory + IN_B(i) + NET_H, f.b, f.length);
    }
    assert_true(vnet_receive(&r->v->net, f.b, f.length));
    assert_int_equal(run(r), 1); /* finds no buffer */
    assert_int_equal(r->v->net.count, 1);
    offer_rx(r, 2, 1526);
    assert_int_equal(run(r), 1);
    assert_int_equal(used_index(r, RX), 3);
}

static void test_frames_that_are_none(void **state)
{
    static const uint32_t lengths[] = {0, 13, VNET_FRAME + 1, 100000, UINT32_MAX - 16};
    struct rig *r = net();

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(lengths); i++) {
        desc(r, TX, 0, OUT_B, NET_H, DESC_NEXT, 1);
        desc(r, TX, 1, OUT_B + NET_H, lengths[i], 0, 0);
        offer(r, TX, 0);
        notify(r, TX);
        assert_int_equal(run(r), 1);
        assert_int_equal(used_index(r, TX), i + 1);
        assert_int_equal(used_length(r, TX, i), 0);
    }
    desc(r, TX, 2, OUT_B, 4, 0, 0); /* not even a header */
    offer(r, TX, 2);
    notify(r, TX);
    run(r);
    assert_int_equal(used_index(r, TX), ARRAY_LEN(lengths) + 1);
    assert_int_equal(reg(r, 0x14, 1), 15);
}

static void test_broken_rings(void **state)
{
    struct frame f = ping(8);
    struct rig *r = net();

    (void)state;
    offer_rx(r, 0, 40); /* too small for any frame of this kind */
    send(r, &f);
    run(r);
    assert_int_equal(used_index(r, TX), 1);
    assert_int_equal(used_index(r, RX), 0);
    assert_int_equal(reg(r, 0x14, 1), 15 | VIRTIO_S_NEEDS_RESET);
    r = net();
    desc(r, TX, 0, RIG_BYTES, NET_H + 60, 0, 0);
    offer(r, TX, 0);
    notify(r, TX);
    run(r);
    assert_int_equal(reg(r, 0x14, 1), 15 | VIRTIO_S_NEEDS_RESET);
}

static void test_reset_drops_frames(void **state)
{
    struct frame f = ping(8);
    struct rig *r = net();

    (void)state;
    send(r, &f);
    run(r);
    assert_int_equal(r->v->net.count, 1);
    set_reg(r, 0x14, 1, 0);
    assert_int_equal(r->v->net.count, 0);
    assert_memory_equal(r->v->net.mac, guest_mac, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arp),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_udp_echo),
        cmocka_unit_test(test_unanswered),
        cmocka_unit_test(test_dhcp_discover),
        cmocka_unit_test(test_dhcp_request),
        cmocka_unit_test(test_dhcp_bad_options),
        cmocka_unit_test(test_ping_through_the_device),
        cmocka_unit_test(test_frames_wait),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_frames_that_are_none),
        cmocka_unit_test(test_broken_rings),
        cmocka_unit_test(test_reset_drops_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
