/*
 * The other end of the guest's wire: a host that answers ARP (RFC 826), DHCP (RFC 2131, 2132), ICMP echo (RFC
 * 792) and UDP echo (RFC 862), and nothing else. It has no state. See virtio_net.h.
 */
#include "drivers/vdev/virtio_net.h"

#include <string.h>

/* Ethernet */
#define ETH_SOURCE   6u
#define ETH_TYPE     12u
#define ETH_BYTES    14u
#define ETH_TYPE_IP  0x0800u
#define ETH_TYPE_ARP 0x0806u

/* ARP for IPv4 on Ethernet, from the frame's begin on */
#define ARP_OPERATION 20u
#define ARP_SENDER    22u /* MAC, IP */
#define ARP_SENDER_IP 28u
#define ARP_TARGET    32u
#define ARP_TARGET_IP 38u
#define ARP_END       42u
#define ARP_REQUEST   1u
#define ARP_REPLY     2u

/* IPv4 (RFC 791), from the frame's begin on */
#define IP_LENGTH     16u
#define IP_ID         18u
#define IP_FRAGMENT   20u
#define IP_TTL        22u
#define IP_PROTOCOL   23u
#define IP_CHECKSUM   24u
#define IP_SOURCE     26u
#define IP_DEST       30u
#define IP_END        34u
#define IP_BYTES      (IP_END - ETH_BYTES)
#define IP_FRAGMENTED 0x3FFFu /* more fragments, or an offset */
#define IP_ICMP       1u
#define IP_UDP        17u
#define IP_BROADCAST  UINT32_C(0xFFFFFFFF)

/* ICMP and UDP, from the frame's begin on */
#define ICMP_TYPE     34u
#define ICMP_CHECKSUM 36u
#define ICMP_END      42u
#define ICMP_REQUEST  8u
#define UDP_SOURCE    34u
#define UDP_DEST      36u
#define UDP_LENGTH    38u
#define UDP_CHECKSUM  40u
#define UDP_END       42u
#define UDP_HEADER    8u
#define PORT_ECHO     7u
#define PORT_SERVER   67u
#define PORT_CLIENT   68u

/* DHCP, from the frame's begin on */
#define DHCP_OP        42u
#define DHCP_XID       46u
#define DHCP_FLAGS     52u
#define DHCP_CIADDR    54u
#define DHCP_YIADDR    58u
#define DHCP_SIADDR    62u
#define DHCP_CHADDR    70u
#define DHCP_MAGIC     278u
#define DHCP_OPTIONS   282u
#define DHCP_LEAST     342u /* end of a message of 300 bytes, as BOOTP relays expect (RFC 1542 2.1) */
#define DHCP_COOKIE    UINT32_C(0x63825363)
#define DHCP_BROADCAST 0x8000u
#define DHCP_FOREVER   UINT32_C(0xFFFFFFFF)

enum dhcp_option {
    OPTION_PAD = 0,
    OPTION_MASK = 1,
    OPTION_ROUTER = 3,
    OPTION_REQUESTED = 50,
    OPTION_LEASE = 51,
    OPTION_TYPE = 53,
    OPTION_SERVER = 54,
    OPTION_END = 255,
};

enum dhcp_type {
    DHCP_DISCOVER = 1,
    DHCP_OFFER = 2,
    DHCP_REQUEST = 3,
    DHCP_ACK = 5,
    DHCP_NAK = 6,
    DHCP_INFORM = 8
};

/* A locally administered address. */
static const uint8_t peer_mac[VNET_MAC_BYTES] = {0x52, 0x56, 0x00, 0x00, 0x02, 0x02};
static const uint8_t all_macs[VNET_MAC_BYTES] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

static uint32_t get16(const uint8_t *b)
{
    return (uint32_t)b[0] << 8 | b[1];
}

static uint32_t get32(const uint8_t *b)
{
    return get16(b) << 16 | get16(b + 2);
}

static void put16(uint8_t *b, uint32_t value)
{
    b[0] = (uint8_t)(value >> 8);
    b[1] = (uint8_t)value;
}

static void put32(uint8_t *b, uint32_t value)
{
    put16(b, value >> 16);
    put16(b + 2, value);
}

/* The Internet checksum (RFC 1071) of at most 64 KiB, with `sum` of what comes before; 0 over what carries
 * its own. */
static uint32_t checksum(uint32_t sum, const uint8_t *b, uint32_t bytes)
{
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        sum += get16(b + i);
    if (bytes % 2)
        sum += (uint32_t)b[bytes - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return ~sum & 0xFFFF;
}

/* UDP's checksum covers parts of the IP header, too (RFC 768). */
static uint32_t udp_checksum(const uint8_t *frame)
{
    uint32_t length = get16(frame + UDP_LENGTH);
    uint32_t sum = IP_UDP + length;

    for (uint32_t i = IP_SOURCE; i < IP_END; i += 2)
        sum += get16(frame + i);
    return checksum(sum, frame + UDP_SOURCE, length);
}

/* Ethernet and IP headers of an answer whose packet is `length` bytes of IP. */
static void put_headers(uint8_t *answer, const uint8_t *to_mac, uint32_t to, uint32_t length,
                        uint8_t protocol)
{
    memcpy(answer, to_mac, VNET_MAC_BYTES);
    memcpy(answer + ETH_SOURCE, peer_mac, VNET_MAC_BYTES);
    put16(answer + ETH_TYPE, ETH_TYPE_IP);
    memset(answer + ETH_BYTES, 0, IP_BYTES);
    answer[ETH_BYTES] = 0x45; /* version 4, header of 5 words */
    put16(answer + IP_LENGTH, length);
    answer[IP_TTL] = 64;
    answer[IP_PROTOCOL] = protocol;
    put32(answer + IP_SOURCE, VNET_PEER_IP);
    put32(answer + IP_DEST, to);
    put16(answer + IP_CHECKSUM, checksum(0, answer + ETH_BYTES, IP_BYTES));
}

static uint32_t answer_arp(const uint8_t *frame, uint32_t length, uint8_t *answer)
{
    /* hardware type 1, protocol type 0800H, address lengths 6 and 4 */
    static const uint8_t kind[] = {0x00, 0x01, 0x08, 0x00, 6, 4};

    if (length < ARP_END || memcmp(frame + ETH_BYTES, kind, sizeof(kind)) != 0 ||
        get16(frame + ARP_OPERATION) != ARP_REQUEST || get32(frame + ARP_TARGET_IP) != VNET_PEER_IP)
        return 0;
    memcpy(answer, frame + ARP_SENDER, VNET_MAC_BYTES);
    memcpy(answer + ETH_SOURCE, peer_mac, VNET_MAC_BYTES);
    memcpy(answer + ETH_TYPE, frame + ETH_TYPE, ARP_OPERATION - ETH_TYPE);
    put16(answer + ARP_OPERATION, ARP_REPLY);
    memcpy(answer + ARP_SENDER, peer_mac, VNET_MAC_BYTES);
    put32(answer + ARP_SENDER_IP, VNET_PEER_IP);
    memcpy(answer + ARP_TARGET, frame + ARP_SENDER, ARP_TARGET - ARP_SENDER);
    return ARP_END;
}

/* `end`: of the IP packet in the frame; so for all below. */
static uint32_t answer_ping(const uint8_t *frame, uint32_t end, uint8_t *answer)
{
    if (end < ICMP_END || get32(frame + IP_DEST) != VNET_PEER_IP || frame[ICMP_TYPE] != ICMP_REQUEST ||
        frame[ICMP_TYPE + 1] != 0 || checksum(0, frame + ICMP_TYPE, end - ICMP_TYPE) != 0)
        return 0;
    put_headers(answer, frame + ETH_SOURCE, get32(frame + IP_SOURCE), end - ETH_BYTES, IP_ICMP);
    memcpy(answer + ICMP_TYPE, frame + ICMP_TYPE, end - ICMP_TYPE);
    answer[ICMP_TYPE] = 0;
    put16(answer + ICMP_CHECKSUM, 0);
    put16(answer + ICMP_CHECKSUM, checksum(0, answer + ICMP_TYPE, end - ICMP_TYPE));
    return end;
}

/* Addresses and ports change places: the checksum stays what it is. */
static uint32_t answer_echo(const uint8_t *frame, uint32_t end, uint8_t *answer)
{
    if (get32(frame + IP_DEST) != VNET_PEER_IP)
        return 0;
    put_headers(answer, frame + ETH_SOURCE, get32(frame + IP_SOURCE), end - ETH_BYTES, IP_UDP);
    memcpy(answer + UDP_SOURCE, frame + UDP_DEST, 2);
    memcpy(answer + UDP_DEST, frame + UDP_SOURCE, 2);
    memcpy(answer + UDP_LENGTH, frame + UDP_LENGTH, end - UDP_LENGTH);
    return end;
}

struct dhcp_request {
    uint32_t type;      /* 0: none */
    uint32_t requested; /* addresses, 0: none */
    uint32_t server;
};

static void parse_options(const uint8_t *at, const uint8_t *end, struct dhcp_request *request)
{
    while (at < end && *at != OPTION_END) {
        uint32_t length;
        if (*at == OPTION_PAD) {
            at++;
            continue;
        }
        if (end - at < 2 || end - at - 2 < at[1])
            return;
        length = at[1];
        if (*at == OPTION_TYPE && length == 1)
            request->type = at[2];
        else if (*at == OPTION_REQUESTED && length == 4)
            request->requested = get32(at + 2);
        else if (*at == OPTION_SERVER && length == 4)
            request->server = get32(at + 2);
        at += 2 + length;
    }
}

/* The type of the answer (RFC 2131 4.3), 0: none. */
static uint32_t dhcp_decide(const struct dhcp_request *request, uint32_t ciaddr)
{
    uint32_t wanted = request->requested ? request->requested : ciaddr;

    switch (request->type) {
    case DHCP_DISCOVER:
        return DHCP_OFFER;
    case DHCP_REQUEST:
        if (request->server && request->server != VNET_PEER_IP)
            return 0;
        return wanted == VNET_GUEST_IP ? DHCP_ACK : DHCP_NAK;
    case DHCP_INFORM:
        return DHCP_ACK;
    default:
        return 0;
    }
}

static uint8_t *put_option(uint8_t *at, enum dhcp_option option, uint32_t value)
{
    *at++ = (uint8_t)option;
    *at++ = 4;
    put32(at, value);
    return at + 4;
}

static void put_options(uint8_t *at, uint32_t type, bool lease)
{
    *at++ = OPTION_TYPE;
    *at++ = 1;
    *at++ = (uint8_t)type;
    at = put_option(at, OPTION_SERVER, VNET_PEER_IP);
    if (lease)
        at = put_option(at, OPTION_LEASE, DHCP_FOREVER);
    if (type != DHCP_NAK) {
        at = put_option(at, OPTION_MASK, VNET_NETMASK);
        at = put_option(at, OPTION_ROUTER, VNET_PEER_IP);
    }
    *at = OPTION_END;
}

/* Where to: RFC 2131 4.1. Who has no address yet hears one frame with its MAC, or wants a broadcast. */
static void put_dhcp_headers(uint8_t *answer, const uint8_t *frame, uint32_t type)
{
    uint32_t ciaddr = get32(frame + DHCP_CIADDR);
    uint32_t sum;

    if (type == DHCP_NAK || (!ciaddr && (get16(frame + DHCP_FLAGS) & DHCP_BROADCAST)))
        put_headers(answer, all_macs, IP_BROADCAST, DHCP_LEAST - ETH_BYTES, IP_UDP);
    else
        put_headers(answer, frame + DHCP_CHADDR, ciaddr ? ciaddr : VNET_GUEST_IP, DHCP_LEAST - ETH_BYTES,
                    IP_UDP);
    put16(answer + UDP_SOURCE, PORT_SERVER);
    put16(answer + UDP_DEST, PORT_CLIENT);
    put16(answer + UDP_LENGTH, DHCP_LEAST - UDP_SOURCE);
    put16(answer + UDP_CHECKSUM, 0);
    sum = udp_checksum(answer);
    put16(answer + UDP_CHECKSUM, sum ? sum : 0xFFFF);
}

static uint32_t answer_dhcp(const uint8_t *frame, uint32_t end, uint8_t *answer)
{
    static const uint8_t kind[] = {1, 1, 6}; /* a request, Ethernet, 6 bytes of address */
    struct dhcp_request request = {0};
    uint32_t type;
    bool lease;

    if (end < DHCP_OPTIONS || memcmp(frame + DHCP_OP, kind, sizeof(kind)) != 0 ||
        get32(frame + DHCP_MAGIC) != DHCP_COOKIE)
        return 0;
    parse_options(frame + DHCP_OPTIONS, frame + end, &request);
    type = dhcp_decide(&request, get32(frame + DHCP_CIADDR));
    if (!type)
        return 0;
    lease = type != DHCP_NAK && request.type != DHCP_INFORM;
    memcpy(answer + DHCP_OP, frame + DHCP_OP, sizeof(kind));
    answer[DHCP_OP] = 2; /* a reply */
    memcpy(answer + DHCP_XID, frame + DHCP_XID, 4);
    memcpy(answer + DHCP_FLAGS, frame + DHCP_FLAGS, 2);
    if (type != DHCP_NAK) {
        memcpy(answer + DHCP_CIADDR, frame + DHCP_CIADDR, 4);
        put32(answer + DHCP_SIADDR, VNET_PEER_IP);
    }
    if (lease)
        put32(answer + DHCP_YIADDR, VNET_GUEST_IP);
    memcpy(answer + DHCP_CHADDR, frame + DHCP_CHADDR, VNET_MAC_BYTES);
    put32(answer + DHCP_MAGIC, DHCP_COOKIE);
    put_options(answer + DHCP_OPTIONS, type, lease);
    put_dhcp_headers(answer, frame, type);
    return DHCP_LEAST;
}

static uint32_t answer_udp(const uint8_t *frame, uint32_t end, uint8_t *answer)
{
    if (end < UDP_END || get16(frame + UDP_LENGTH) != end - UDP_SOURCE)
        return 0;
    if (get16(frame + UDP_CHECKSUM) && udp_checksum(frame) != 0)
        return 0;
    if (get16(frame + UDP_DEST) == PORT_ECHO)
        return answer_echo(frame, end, answer);
    if (get16(frame + UDP_DEST) == PORT_SERVER && get16(frame + UDP_SOURCE) == PORT_CLIENT)
        return answer_dhcp(frame, end, answer);
    return 0;
}

/* Packets with options and fragments are not answered. */
static uint32_t answer_ip(const uint8_t *frame, uint32_t length, uint8_t *answer)
{
    uint32_t total;

    if (length < IP_END || frame[ETH_BYTES] != 0x45 || checksum(0, frame + ETH_BYTES, IP_BYTES) != 0)
        return 0;
    total = get16(frame + IP_LENGTH);
    if (total < IP_BYTES || total > length - ETH_BYTES || (get16(frame + IP_FRAGMENT) & IP_FRAGMENTED))
        return 0;
    if (frame[IP_PROTOCOL] == IP_ICMP)
        return answer_ping(frame, ETH_BYTES + total, answer);
    return frame[IP_PROTOCOL] == IP_UDP ? answer_udp(frame, ETH_BYTES + total, answer) : 0;
}

uint32_t vnet_answer(const uint8_t *frame, uint32_t length, uint8_t answer[VNET_FRAME])
{
    memset(answer, 0, VNET_FRAME);
    if (length < ETH_BYTES ||
        (memcmp(frame, peer_mac, VNET_MAC_BYTES) != 0 && memcmp(frame, all_macs, VNET_MAC_BYTES) != 0))
        return 0;
    if (get16(frame + ETH_TYPE) == ETH_TYPE_ARP)
        return answer_arp(frame, length, answer);
    return get16(frame + ETH_TYPE) == ETH_TYPE_IP ? answer_ip(frame, length, answer) : 0;
}
