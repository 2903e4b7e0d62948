/*
 * The guest's port map under any sequence of INs, OUTs and received bytes: reads stay inside their size,
 * there is at most one exit, and the UART keeps its invariants.
 */
#include <string.h>

#include "drivers/vdev/ports.h"
#include "hv/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action { IN, OUT, RECEIVE, ACTIONS };

struct step {
    uint8_t action;
    uint8_t size;
    uint16_t port;
    uint32_t value;
};

_Static_assert(sizeof(struct step) == 8, "steps are read as bytes");

static void check_uart(const struct vuart *u)
{
    HV_CHECK(u->rx_count <= ((u->fcr & 1) != 0 ? VUART_FIFO_SIZE : 1));
    for (uint32_t i = u->rx_count; i < VUART_FIFO_SIZE; i++)
        HV_CHECK(u->rx[i] == 0);
    HV_CHECK(u->ier <= 0x0F && u->mcr <= 0x1F && u->msr_delta <= 0x0F);
    for (uint32_t i = 0; i < sizeof(u->reserved); i++)
        HV_CHECK(u->reserved[i] == 0);
    (void)vuart_irq(u);
}

static void do_out(struct vports *p, const struct step *s)
{
    uint8_t exited = p->exited;
    struct vports_effect e;

    memset(&e, 0xAA, sizeof(e));
    vports_out(p, s->port, s->size, s->value, &e);
    HV_CHECK(e.kind <= VPORTS_EXIT);
    HV_CHECK(e.kind != VPORTS_CONSOLE || e.value <= UINT8_MAX);
    HV_CHECK((e.kind == VPORTS_EXIT) == (p->exited != exited));
    HV_CHECK(p->exited >= exited);
}

static void do_in(struct vports *p, const struct step *s)
{
    uint32_t value = vports_in(p, s->port, s->size);

    HV_CHECK(s->size >= 4 || value >> 8 * s->size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vports p;
    struct step s;

    vports_reset(&p);
    for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
        memcpy(&s, data, sizeof(s));
        if (s.action % ACTIONS == IN)
            do_in(&p, &s);
        else if (s.action % ACTIONS == OUT)
            do_out(&p, &s);
        else
            (void)vports_receive(&p, (uint8_t)s.value);
        check_uart(&p.uart);
    }
    return 0;
}
