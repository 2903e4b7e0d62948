/*
 * A virtual local APIC: xAPIC and x2APIC forms, timer, IPIs (SDM 3A chapter 11).
 *
 * A vCPU's own APIC is part of its state: squashed, replayed and digested with it. Hence no pointers,
 * no padding, and time is an argument (`now`, guest time in ticks of the guest's TSC, which is also the
 * timer's bus clock). No function here takes a lock or touches another vCPU.
 *
 * A register access goes in two steps. vlapic_read_class() / vlapic_write_class() decide: LOCAL accesses
 * may happen inside a chunk; an ACT is seen by others, so the chunk ends before the instruction and the
 * access happens in commit order; FAULT is a #GP(0). Then vlapic_read() / vlapic_write() apply and
 * cannot fail. An ICR write of class ACT stores the register only: the caller sends the IPI, by
 * vlapic_route() with the value of vlapic_icr() after the write, and the sender itself may be among the
 * targets.
 *
 * Not modelled: CMCI, focus processor, EOI broadcast suppression, SMI. Of LINT0 and LINT1 only ExtINT at
 * LINT0 has a meaning; the rest is stored.
 */
#ifndef RV_DRIVERS_VDEV_LAPIC_H
#define RV_DRIVERS_VDEV_LAPIC_H

#include "hv/base/types.h"

/* Register index: offset in the xAPIC page / 16 = x2APIC MSR - 800H (SDM 3A tables 12-1 and 12-6). */
enum vlapic_reg {
    VLAPIC_ID = 0x02,
    VLAPIC_VERSION = 0x03,
    VLAPIC_TPR = 0x08,
    VLAPIC_APR = 0x09,
    VLAPIC_PPR = 0x0A,
    VLAPIC_EOI = 0x0B,
    VLAPIC_RRD = 0x0C,
    VLAPIC_LDR = 0x0D,
    VLAPIC_DFR = 0x0E,
    VLAPIC_SVR = 0x0F,
    VLAPIC_ISR = 0x10, /* eight of each, 32 vectors a register */
    VLAPIC_TMR = 0x18,
    VLAPIC_IRR = 0x20,
    VLAPIC_ESR = 0x28,
    VLAPIC_LVT_CMCI = 0x2F,
    VLAPIC_ICR = 0x30,
    VLAPIC_ICR_HIGH = 0x31, /* xAPIC only */
    VLAPIC_LVT_TIMER = 0x32,
    VLAPIC_LVT_THERMAL = 0x33,
    VLAPIC_LVT_PERF = 0x34,
    VLAPIC_LVT_LINT0 = 0x35,
    VLAPIC_LVT_LINT1 = 0x36,
    VLAPIC_LVT_ERROR = 0x37,
    VLAPIC_TIMER_INITIAL = 0x38,
    VLAPIC_TIMER_CURRENT = 0x39,
    VLAPIC_TIMER_DIVIDE = 0x3E,
    VLAPIC_SELF_IPI = 0x3F, /* x2APIC only */
    VLAPIC_REG_MAX = 0xFF,
    /* MSRs outside the x2APIC range, under the same access functions. */
    VLAPIC_APIC_BASE = 0x100,    /* IA32_APIC_BASE, 1BH */
    VLAPIC_TSC_DEADLINE = 0x101, /* IA32_TSC_DEADLINE, 6E0H */
    VLAPIC_BAD_OFFSET = 0x1FE,   /* MMIO that is no register access: reads 0, writes nothing */
    VLAPIC_NO_REG = 0x1FF,       /* an MSR that is no register: #GP */
};

/* IA32_APIC_BASE (SDM 3A 11.4.4, 11.12.1). */
#define VLAPIC_BASE_BSP     BIT(8)
#define VLAPIC_BASE_EXTD    BIT(10)
#define VLAPIC_BASE_EN      BIT(11)
#define VLAPIC_BASE_DEFAULT UINT64_C(0xFEE00000)

/* Local vector table entries and timer modes (SDM 3A 11.5.1). */
#define VLAPIC_LVT_VECTOR        UINT32_C(0xFF)
#define VLAPIC_LVT_MASKED        UINT32_C(0x10000)
#define VLAPIC_LVT_MODE          UINT32_C(0x60000)
#define VLAPIC_LVT_MODE_ONESHOT  UINT32_C(0x00000)
#define VLAPIC_LVT_MODE_PERIODIC UINT32_C(0x20000)
#define VLAPIC_LVT_MODE_DEADLINE UINT32_C(0x40000)

#define VLAPIC_SVR_ENABLE UINT32_C(0x100)

/* Error status (SDM 3A 11.5.3). */
#define VLAPIC_ESR_SEND_ILLEGAL     UINT32_C(0x20)
#define VLAPIC_ESR_RECEIVE_ILLEGAL  UINT32_C(0x40)
#define VLAPIC_ESR_ILLEGAL_REGISTER UINT32_C(0x80)

/* Interrupt command (SDM 3A 11.6.1). */
#define VLAPIC_ICR_VECTOR         UINT64_C(0xFF)
#define VLAPIC_ICR_MODE_SHIFT     8
#define VLAPIC_ICR_MODE_MASK      7u
#define VLAPIC_ICR_LOGICAL        BIT(11)
#define VLAPIC_ICR_BUSY           BIT(12)
#define VLAPIC_ICR_ASSERT         BIT(14)
#define VLAPIC_ICR_LEVEL          BIT(15)
#define VLAPIC_ICR_SHORTHAND_MASK (BIT(18) | BIT(19))
#define VLAPIC_ICR_TO_SELF        BIT(18)
#define VLAPIC_ICR_TO_ALL         BIT(19)
#define VLAPIC_ICR_TO_OTHERS      (BIT(18) | BIT(19))

/* Delivery modes of the ICR and of the LVT. */
enum vlapic_mode {
    VLAPIC_FIXED = 0,
    VLAPIC_LOWEST = 1,
    VLAPIC_SMI = 2,
    VLAPIC_RESERVED3 = 3,
    VLAPIC_NMI = 4,
    VLAPIC_INIT = 5,
    VLAPIC_SIPI = 6,
    VLAPIC_EXTINT = 7,
};

#define VLAPIC_FIRST_VECTOR 16u        /* lower ones are illegal (SDM 3A 11.5.2) */
#define VLAPIC_NEVER        UINT64_MAX /* vlapic_next_deadline(): disarmed */

/* One vCPU's APIC. Everything is guest state; reserved fields are 0. */
struct vlapic {
    uint64_t apic_base;   /* IA32_APIC_BASE */
    uint64_t icr;         /* xAPIC: high register in bits 63:32 */
    uint64_t deadline;    /* guest time when the timer is due; 0: disarmed */
    uint32_t id;          /* the vCPU number; read-only for the guest */
    uint32_t tpr;         /* CR8 is its bits 7:4 */
    uint32_t svr;         /* spurious vector, software enable */
    uint32_t ldr;         /* as read in the present mode (x2APIC: derived from id) */
    uint32_t dfr;         /* xAPIC only */
    uint32_t esr;         /* as last latched by a write of ESR */
    uint32_t esr_pending; /* errors since then */
    uint32_t lvt_timer;
    uint32_t lvt_thermal;
    uint32_t lvt_perf;
    uint32_t lvt_lint0;
    uint32_t lvt_lint1;
    uint32_t lvt_error;
    uint32_t timer_initial;
    uint32_t timer_divide; /* divide configuration register, raw */
    uint32_t reserved;
    uint32_t irr[8];
    uint32_t isr[8];
    uint32_t tmr[8];
};

_Static_assert(offsetof(struct vlapic, id) == 24, "struct vlapic has no padding before id");
_Static_assert(offsetof(struct vlapic, irr) == 88, "struct vlapic has no padding before irr");
_Static_assert(sizeof(struct vlapic) == 184, "struct vlapic has no padding");

/* What a register access is to the caller. */
enum vlapic_class {
    VLAPIC_CLASS_LOCAL = 0, /* may happen inside a chunk */
    VLAPIC_CLASS_ACT,       /* others can see it: end the chunk first */
    VLAPIC_CLASS_FAULT,     /* #GP(0), nothing else happens */
};

/* Power-up state (SDM 3A 11.4.7.1) of vCPU `id` (< MAX_VCPUS), in xAPIC form at the default address. */
void vlapic_reset(struct vlapic *v, uint32_t id, bool bsp);
/* State after INIT (SDM 3A 11.4.7.3): as power-up, but id and IA32_APIC_BASE stay, hence the mode too. */
void vlapic_init_reset(struct vlapic *v);

/* The mode, from IA32_APIC_BASE. */
static inline bool vlapic_enabled(const struct vlapic *v)
{
    return (v->apic_base & VLAPIC_BASE_EN) != 0;
}

static inline bool vlapic_x2apic(const struct vlapic *v)
{
    return (v->apic_base & VLAPIC_BASE_EXTD) != 0;
}

/* The guest-physical address of the xAPIC page, or UINT64_MAX where the APIC claims none (off or x2APIC). */
uint64_t vlapic_page(const struct vlapic *v);

/*
 * The register of an access to the xAPIC page at `offset` (< 4096) of `size` bytes. VLAPIC_BAD_OFFSET unless
 * it is 4 bytes at a multiple of 16 (SDM 3A 11.4.1 leaves others undefined): those read 0 and write nothing.
 */
uint32_t vlapic_mmio_reg(uint32_t offset, uint32_t size);
/*
 * The register of an MSR: 1BH, 6E0H, and 800H-8FFH in x2APIC mode. VLAPIC_NO_REG for any other number
 * and for 800H-8FFH outside x2APIC mode (#GP, by the class functions as well).
 */
uint32_t vlapic_msr_reg(const struct vlapic *v, uint32_t msr);

/* Whether reading `reg` needs anything of the caller. Never ACT. */
enum vlapic_class vlapic_read_class(const struct vlapic *v, uint32_t reg);
/* The same for writing `value`; for MMIO the upper half of `value` is 0. */
enum vlapic_class vlapic_write_class(const struct vlapic *v, uint32_t reg, uint64_t value);
/* Whether the access depends on `now`, so that the caller must count a read of guest time. */
bool vlapic_uses_time(const struct vlapic *v, uint32_t reg, bool is_write);

/*
 * Reads `reg`; the class was not FAULT. Not const: in xAPIC form reading a reserved register sets an error.
 * Only the low half is meaningful for MMIO.
 */
uint64_t vlapic_read(struct vlapic *v, uint32_t reg, uint64_t now);
/* Writes `reg`; the class was LOCAL, or ACT and its turn has come. IPIs to itself are accepted here. */
void vlapic_write(struct vlapic *v, uint32_t reg, uint64_t value, uint64_t now);

/* Timer (SDM 3A 11.5.4). Due: armed and `now` has reached the deadline. */
static inline bool vlapic_timer_due(const struct vlapic *v, uint64_t now)
{
    return v->deadline != 0 && now >= v->deadline;
}

/*
 * The timer ends a count: IRR by the LVT unless masked; one-shot and deadline disarm, periodic re-arms past
 * `now` (periods missed are lost). Does nothing unless due.
 */
void vlapic_timer_fire(struct vlapic *v, uint64_t now);

/* When the timer is due next, or VLAPIC_NEVER. */
static inline uint64_t vlapic_next_deadline(const struct vlapic *v)
{
    return v->deadline != 0 ? v->deadline : VLAPIC_NEVER;
}

/* An edge-triggered fixed interrupt arrives: into IRR; dropped if disabled; vectors below 16 set ESR. */
void vlapic_accept(struct vlapic *v, uint8_t vector);
/* The same, level-triggered: TMR remembers, and its end is an ACT that the I/O APIC hears of. */
void vlapic_accept_level(struct vlapic *v, uint8_t vector);
/* The highest vector in service, or -1; whether it was level-triggered. */
int vlapic_in_service(const struct vlapic *v);
bool vlapic_is_level(const struct vlapic *v, uint8_t vector);
/*
 * Whether an 8259's INTR at LINT0 reaches the processor: by an LVT entry that is ExtINT, or past an APIC that
 * is off (SDM 3A 11.4.3).
 */
bool vlapic_takes_extint(const struct vlapic *v);
/* The vector that the APIC offers to the processor (IRR over PPR), or -1. */
int vlapic_pending(const struct vlapic *v);
/* The processor takes `vector`, the value of vlapic_pending(): IRR to ISR. */
void vlapic_deliver(struct vlapic *v, uint8_t vector);
/* End of interrupt: the highest vector leaves ISR. As a register write it may be an ACT, see there. */
void vlapic_eoi(struct vlapic *v);
/* The APIC found the errors VLAPIC_ESR_*: the first since ESR was written raises the LVT error interrupt. */
void vlapic_error(struct vlapic *v, uint32_t errors);
/* Processor priority (SDM 3A 11.8.3.1), 0..255. */
uint32_t vlapic_ppr(const struct vlapic *v);

/* CR8 (SDM 3A 11.8.6): task priority class 0..15. A write of a larger value is #GP, the caller's. */
static inline uint64_t vlapic_cr8(const struct vlapic *v)
{
    return v->tpr >> 4;
}

static inline void vlapic_set_cr8(struct vlapic *v, uint64_t cr8)
{
    v->tpr = (uint32_t)(cr8 & 15) << 4;
}

/* The ICR as vlapic_route() wants it. */
static inline uint64_t vlapic_icr(const struct vlapic *v)
{
    return v->icr;
}

/* The part of an APIC that decides where IPIs of others go. */
struct vlapic_dest {
    uint32_t id;
    uint32_t ldr;
    uint32_t dfr;
    uint32_t flags; /* VLAPIC_DEST_* */
};

_Static_assert(sizeof(struct vlapic_dest) == 16, "struct vlapic_dest has no padding");

#define VLAPIC_DEST_PRESENT UINT32_C(1) /* IA32_APIC_BASE.EN */
#define VLAPIC_DEST_ENABLED UINT32_C(2) /* SVR software enable */
#define VLAPIC_DEST_X2APIC  UINT32_C(4)

/* What of `v` others see. Must be refreshed after each ACT, reset and INIT, before later acts route. */
struct vlapic_dest vlapic_dest(const struct vlapic *v);

/* Whether the ICR value `icr` sends anything at all: valid mode, shorthand and vector. */
bool vlapic_icr_sends(uint64_t icr);

/*
 * Where an IPI goes. Apply: FIXED vlapic_accept(); NMI pend one; INIT, SIPI (page = vector) the vCPU's state.
 */
struct vlapic_targets {
    uint32_t targets; /* bit i: dests[i]; 0: nothing is sent */
    uint8_t mode;     /* VLAPIC_FIXED, _NMI, _INIT or _SIPI; lowest priority has become FIXED */
    uint8_t vector;
    uint16_t reserved;
};

_Static_assert(sizeof(struct vlapic_targets) == 8, "struct vlapic_targets has no padding");

/*
 * Routes the ICR value `icr` written by dests[source], among `n` (<= 32) APICs (SDM 3A 11.6.2, 11.12.10).
 * Lowest priority takes the lowest numbered candidate. Illegal vectors, reserved modes, SMI, INIT
 * de-assert and combinations that SDM table 11-3 calls invalid reach nobody.
 */
struct vlapic_targets vlapic_route(const struct vlapic_dest *dests, uint32_t n, uint32_t source,
                                   uint64_t icr);
/*
 * The same for a message of an I/O APIC: `icr` in xAPIC form, destination in bits 63:56. Modes that only
 * processors send, SMI and ExtINT reach nobody.
 */
struct vlapic_targets vlapic_route_bus(const struct vlapic_dest *dests, uint32_t n, uint64_t icr);

#endif
