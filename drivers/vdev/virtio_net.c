/* The network device (virtio 5.1). See virtio.h and virtio_net.h. */
#include "drivers/vdev/virtio_plan.h"

#include <string.h>

#define HEADER_BYTES      12u /* struct virtio_net_hdr with num_buffers (virtio 5.1.6) */
#define HEADER_BUFFERS    10u
#define FRAME_BYTES_LEAST 14u

bool vnet_receive(struct virtio_net *net, const uint8_t *frame, uint32_t length)
{
    struct vnet_frame *slot = &net->frame[(net->first + net->count) % VNET_FRAMES];

    if (net->count == VNET_FRAMES) {
        net->dropped++;
        return false;
    }
    slot->length = (uint16_t)length;
    memcpy(slot->bytes, frame, length);
    net->count++;
    return true;
}

static void drop_first(struct virtio_net *net)
{
    memset(&net->frame[net->first], 0, sizeof(net->frame[0]));
    net->first = (uint8_t)((net->first + 1) % VNET_FRAMES);
    net->count--;
}

/* A frame from the guest. What is no frame is lost, as on a wire. */
enum virtio_step virtio_net_send(const struct virtio_planner *p)
{
    const struct virtio_chain *chain = &p->plan->chain;
    enum virtio_step step = virtio_take(p, VNET_QUEUE_TX);
    uint8_t frame[VNET_FRAME], answer[VNET_FRAME];
    uint32_t length = 0;

    if (step != VIRTIO_DONE)
        return step;
    if (chain->readable >= HEADER_BYTES + FRAME_BYTES_LEAST && chain->readable <= HEADER_BYTES + VNET_FRAME) {
        length = (uint32_t)chain->readable - HEADER_BYTES;
        if (!virtio_gather(p, HEADER_BYTES, frame, length))
            return VIRTIO_BROKEN;
        length = vnet_answer(frame, length, answer);
    }
    step = virtio_give(p, VNET_QUEUE_TX, 0);
    if (step == VIRTIO_DONE && length)
        vnet_receive(&p->plan->after.net, answer, length);
    return step;
}

/* A waiting frame for the guest. */
enum virtio_step virtio_net_deliver(const struct virtio_planner *p)
{
    struct virtio_plan *plan = p->plan;
    struct virtio_net *net = &plan->after.net;
    const struct vnet_frame *frame = &net->frame[net->first];
    enum virtio_step step;
    uint32_t bytes, at;

    if (net->count == 0)
        return VIRTIO_LATER;
    step = virtio_take(p, VNET_QUEUE_RX);
    if (step != VIRTIO_DONE)
        return step;
    bytes = HEADER_BYTES + frame->length;
    if (plan->chain.writable < bytes) /* a driver without VIRTIO_NET_F_MRG_RXBUF has room for any frame */
        return VIRTIO_BROKEN;
    if (!virtio_reserve(plan, bytes, &at))
        return VIRTIO_LATER;
    memset(plan->data + at, 0, HEADER_BYTES);
    plan->data[at + HEADER_BUFFERS] = 1;
    memcpy(plan->data + at + HEADER_BYTES, frame->bytes, frame->length);
    step = virtio_scatter(p, 0, at, bytes);
    if (step == VIRTIO_DONE)
        step = virtio_give(p, VNET_QUEUE_RX, bytes);
    if (step == VIRTIO_DONE)
        drop_first(net);
    return step;
}
