/*
 * The network device's own state, and who is at the other end of its wire. See virtio.h.
 *
 * The guest is alone on its network with one peer, which answers at once: ARP, DHCP, ICMP echo, and UDP to
 * port 7 (echo, RFC 862). So ping and DHCP work, and there is receive traffic, without an outside.
 */
#ifndef RV_DRIVERS_VDEV_VIRTIO_NET_H
#define RV_DRIVERS_VDEV_VIRTIO_NET_H

#include "hv/base/types.h"

#define VNET_FRAME     1514u /* bytes of an Ethernet frame, without its check sequence */
#define VNET_FRAMES    8u    /* frames that wait for the guest to provide buffers */
#define VNET_QUEUE_RX  0u
#define VNET_QUEUE_TX  1u
#define VNET_MAC_BYTES 6u

/* Addresses, as numbers: 10.0.2.2 and what it gives the guest, 10.0.2.15 of a /24 network. */
#define VNET_PEER_IP  UINT32_C(0x0A000202)
#define VNET_GUEST_IP UINT32_C(0x0A00020F)
#define VNET_NETMASK  UINT32_C(0xFFFFFF00)

struct vnet_frame {
    uint16_t length; /* bytes; those behind are 0 */
    uint8_t bytes[VNET_FRAME];
};

struct virtio_net {
    uint8_t mac[VNET_MAC_BYTES];
    uint8_t first;    /* oldest of the waiting frames */
    uint8_t count;    /* of them */
    uint64_t dropped; /* frames that came when VNET_FRAMES were waiting */
    struct vnet_frame frame[VNET_FRAMES];
};

_Static_assert(sizeof(struct vnet_frame) == VNET_FRAME + 2, "struct vnet_frame has no padding");
_Static_assert(sizeof(struct virtio_net) == 16 + VNET_FRAMES * sizeof(struct vnet_frame),
               "struct virtio_net has no padding");

/* A frame (14..VNET_FRAME bytes) arrives, as a change of the device. False: no room, it is lost. */
bool vnet_receive(struct virtio_net *net, const uint8_t *frame, uint32_t length);
/* The peer's answer to a frame that the guest sent; its length in bytes, 0: none. Fills all of `answer`. */
uint32_t vnet_answer(const uint8_t *frame, uint32_t length, uint8_t answer[VNET_FRAME]);

#endif
