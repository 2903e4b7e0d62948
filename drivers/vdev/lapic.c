/* The register file of the virtual local APIC: what each access is, reads, writes. See lapic.h. */
#include "drivers/vdev/lapic.h"
#include "drivers/vdev/cpuid.h"
#include "drivers/vdev/lapic_timer.h"

#define MSR_X2APIC_BASE       UINT32_C(0x800)
#define MSR_X2APIC_END        UINT32_C(0x900)
#define MSR_IA32_APIC_BASE    UINT32_C(0x1B)
#define MSR_IA32_TSC_DEADLINE UINT32_C(0x6E0)

#define LOW_HALF  UINT64_C(0xFFFFFFFF)
#define HIGH_HALF (~LOW_HALF)

/* Version 14H, LVT entries 0..5, no EOI broadcast suppression (SDM 3A 11.4.8). */
#define VERSION_VALUE   UINT32_C(0x00050014)
#define SVR_RESET       UINT32_C(0xFF)
#define XAPIC_ID_SHIFT  24
#define XAPIC_LDR_BITS  UINT32_C(0xFF000000)
#define XAPIC_DEST_BITS UINT32_C(0xFF000000)
#define DFR_ONES        UINT32_C(0x0FFFFFFF)
#define BASE_PAGE_BITS  ((BIT(CPUID_MODEL_PHYS_BITS) - 1) & ~PAGE_MASK)

/* What a guest may do with a register in each form of access. */
#define X_READ   UINT8_C(1) /* xAPIC */
#define X_WRITE  UINT8_C(2)
#define X_EXISTS UINT8_C(4) /* no error even where it cannot be read or written */
#define M_READ   UINT8_C(8) /* x2APIC MSR */
#define M_WRITE  UINT8_C(16)
#define RW_BOTH  (X_READ | X_WRITE | M_READ | M_WRITE)
#define R_BOTH   (X_READ | X_EXISTS | M_READ)

struct reg_rule {
    uint8_t access;
    uint32_t bits; /* that a write may set; 0 for those that only signal */
};

static const struct reg_rule rules[VLAPIC_SELF_IPI + 1] = {
    [VLAPIC_ID] = {R_BOTH, 0},
    [VLAPIC_VERSION] = {R_BOTH, 0},
    [VLAPIC_TPR] = {RW_BOTH, 0xFF},
    [VLAPIC_APR] = {X_READ | X_EXISTS, 0},
    [VLAPIC_PPR] = {R_BOTH, 0},
    [VLAPIC_EOI] = {X_WRITE | X_EXISTS | M_WRITE, 0},
    [VLAPIC_RRD] = {X_READ | X_EXISTS, 0},
    [VLAPIC_LDR] = {X_READ | X_WRITE | M_READ, XAPIC_LDR_BITS},
    [VLAPIC_DFR] = {X_READ | X_WRITE, ~DFR_ONES},
    [VLAPIC_SVR] = {RW_BOTH, 0x3FF},
    [VLAPIC_ISR... VLAPIC_ISR + 7] = {R_BOTH, 0},
    [VLAPIC_TMR... VLAPIC_TMR + 7] = {R_BOTH, 0},
    [VLAPIC_IRR... VLAPIC_IRR + 7] = {R_BOTH, 0},
    [VLAPIC_ESR] = {RW_BOTH, 0},
    [VLAPIC_ICR] = {RW_BOTH, 0xCDFFF},
    [VLAPIC_ICR_HIGH] = {X_READ | X_WRITE, XAPIC_DEST_BITS},
    [VLAPIC_LVT_TIMER] = {RW_BOTH, 0x710FF},
    [VLAPIC_LVT_THERMAL] = {RW_BOTH, 0x117FF},
    [VLAPIC_LVT_PERF] = {RW_BOTH, 0x117FF},
    [VLAPIC_LVT_LINT0] = {RW_BOTH, 0x1F7FF},
    [VLAPIC_LVT_LINT1] = {RW_BOTH, 0x1F7FF},
    [VLAPIC_LVT_ERROR] = {RW_BOTH, 0x110FF},
    [VLAPIC_TIMER_INITIAL] = {RW_BOTH, 0xFFFFFFFF},
    [VLAPIC_TIMER_CURRENT] = {R_BOTH, 0},
    [VLAPIC_TIMER_DIVIDE] = {RW_BOTH, 0xB},
    [VLAPIC_SELF_IPI] = {M_WRITE, 0xFF},
};

/* Bits of an LVT entry that software cannot write: delivery status and remote IRR. */
#define LVT_READ_ONLY UINT32_C(0x5000)

static const struct reg_rule *rule_of(uint32_t reg)
{
    static const struct reg_rule none = {0, 0};

    return reg < ARRAY_LEN(rules) ? &rules[reg] : &none;
}

static uint32_t *lvt_of(struct vlapic *v, uint32_t reg)
{
    switch (reg) {
    case VLAPIC_LVT_TIMER:
        return &v->lvt_timer;
    case VLAPIC_LVT_THERMAL:
        return &v->lvt_thermal;
    case VLAPIC_LVT_PERF:
        return &v->lvt_perf;
    case VLAPIC_LVT_LINT0:
        return &v->lvt_lint0;
    case VLAPIC_LVT_LINT1:
        return &v->lvt_lint1;
    case VLAPIC_LVT_ERROR:
        return &v->lvt_error;
    default:
        return NULL;
    }
}

/* Logical x2APIC ID: cluster and bit, from the ID (SDM 3A 11.12.10.2). */
static uint32_t x2apic_ldr(uint32_t id)
{
    return (id >> 4) << 16 | UINT32_C(1) << (id & 15);
}

void vlapic_init_reset(struct vlapic *v)
{
    struct vlapic fresh = {.id = v->id, .apic_base = v->apic_base, .svr = SVR_RESET, .dfr = UINT32_MAX};

    for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg++)
        *lvt_of(&fresh, reg) = VLAPIC_LVT_MASKED;
    if (vlapic_x2apic(v))
        fresh.ldr = x2apic_ldr(v->id);
    *v = fresh;
}

void vlapic_reset(struct vlapic *v, uint32_t id, bool bsp)
{
    v->id = id;
    v->apic_base = VLAPIC_BASE_DEFAULT | VLAPIC_BASE_EN | (bsp ? VLAPIC_BASE_BSP : 0);
    vlapic_init_reset(v);
}

uint64_t vlapic_page(const struct vlapic *v)
{
    return vlapic_enabled(v) && !vlapic_x2apic(v) ? v->apic_base & BASE_PAGE_BITS : UINT64_MAX;
}

uint32_t vlapic_mmio_reg(uint32_t offset, uint32_t size)
{
    return size == 4 && offset < PAGE_SIZE && offset % 16 == 0 ? offset / 16 : (uint32_t)VLAPIC_BAD_OFFSET;
}

uint32_t vlapic_msr_reg(const struct vlapic *v, uint32_t msr)
{
    if (msr == MSR_IA32_APIC_BASE)
        return VLAPIC_APIC_BASE;
    if (msr == MSR_IA32_TSC_DEADLINE)
        return VLAPIC_TSC_DEADLINE;
    if (msr >= MSR_X2APIC_BASE && msr < MSR_X2APIC_END && vlapic_x2apic(v))
        return msr - MSR_X2APIC_BASE;
    return VLAPIC_NO_REG;
}

enum vlapic_class vlapic_read_class(const struct vlapic *v, uint32_t reg)
{
    if (reg == VLAPIC_NO_REG)
        return VLAPIC_CLASS_FAULT;
    if (reg > VLAPIC_REG_MAX || !vlapic_x2apic(v))
        return VLAPIC_CLASS_LOCAL;
    return rule_of(reg)->access & M_READ ? VLAPIC_CLASS_LOCAL : VLAPIC_CLASS_FAULT;
}

/* Reserved bits and the mode transitions of SDM 3A figure 11-27. */
static bool apic_base_valid(const struct vlapic *v, uint64_t value)
{
    bool enable = value & VLAPIC_BASE_EN;
    bool extend = value & VLAPIC_BASE_EXTD;

    if (value & ~(BASE_PAGE_BITS | VLAPIC_BASE_BSP | VLAPIC_BASE_EN | VLAPIC_BASE_EXTD))
        return false;
    if (extend && !enable)
        return false;
    if (vlapic_x2apic(v) && enable && !extend)
        return false; /* back to xAPIC only by way of disabled */
    return vlapic_enabled(v) || !extend;
}

/* Whether the x2APIC register may be written with `value`: it exists and no reserved bit is set. */
static bool x2apic_write_valid(uint32_t reg, uint64_t value)
{
    const struct reg_rule *rule = rule_of(reg);
    uint64_t bits = rule->bits;

    if (!(rule->access & M_WRITE))
        return false;
    if (reg == VLAPIC_ICR)
        bits |= HIGH_HALF;
    if (reg == VLAPIC_LVT_TIMER && (value & VLAPIC_LVT_MODE) == VLAPIC_LVT_MODE)
        return false;
    return (value & ~bits) == 0;
}

/* The ICR that a write of its (low) register makes. */
static uint64_t icr_after(const struct vlapic *v, uint64_t value)
{
    uint64_t low = value & rule_of(VLAPIC_ICR)->bits & ~VLAPIC_ICR_BUSY;

    return low | ((vlapic_x2apic(v) ? value : v->icr) & HIGH_HALF);
}

/* Whether `icr` is a fixed interrupt that no other APIC can be a target of: IDs are unique and read-only. */
static bool icr_to_self(const struct vlapic *v, uint64_t icr)
{
    uint64_t shorthand = icr & VLAPIC_ICR_SHORTHAND_MASK;
    uint64_t dest = vlapic_x2apic(v) ? icr >> 32 : icr >> 56;

    if ((icr >> VLAPIC_ICR_MODE_SHIFT & VLAPIC_ICR_MODE_MASK) != VLAPIC_FIXED)
        return false;
    return shorthand == VLAPIC_ICR_TO_SELF ||
           (shorthand == 0 && !(icr & VLAPIC_ICR_LOGICAL) && dest == v->id);
}

static bool top_isr_is_level(const struct vlapic *v)
{
    int vector = vlapic_in_service(v);

    return vector >= 0 && vlapic_is_level(v, (uint8_t)vector);
}

static bool icr_is_act(const struct vlapic *v, uint64_t value)
{
    uint64_t icr = icr_after(v, value);

    return vlapic_icr_sends(icr) && !icr_to_self(v, icr);
}

enum vlapic_class vlapic_write_class(const struct vlapic *v, uint32_t reg, uint64_t value)
{
    bool act = false;

    if (reg == VLAPIC_NO_REG || (reg == VLAPIC_APIC_BASE && !apic_base_valid(v, value)))
        return VLAPIC_CLASS_FAULT;
    if (reg <= VLAPIC_REG_MAX && vlapic_x2apic(v) && !x2apic_write_valid(reg, value))
        return VLAPIC_CLASS_FAULT;
    if (reg == VLAPIC_APIC_BASE)
        act = ((value ^ v->apic_base) & ~VLAPIC_BASE_BSP) != 0;
    else if (reg == VLAPIC_SVR)
        act = ((value ^ v->svr) & VLAPIC_SVR_ENABLE) != 0;
    else if (reg == VLAPIC_LDR || reg == VLAPIC_DFR)
        act = true;
    else if (reg == VLAPIC_EOI)
        act = top_isr_is_level(v);
    else if (reg == VLAPIC_ICR)
        act = icr_is_act(v, value);
    return act ? VLAPIC_CLASS_ACT : VLAPIC_CLASS_LOCAL;
}

bool vlapic_uses_time(const struct vlapic *v, uint32_t reg, bool is_write)
{
    if ((v->lvt_timer & VLAPIC_LVT_MODE) == VLAPIC_LVT_MODE_DEADLINE)
        return false; /* the guest names the moment itself, and the counters are dead */
    if (is_write)
        return reg == VLAPIC_TIMER_INITIAL || reg == VLAPIC_TIMER_DIVIDE;
    return reg == VLAPIC_TIMER_CURRENT;
}

static uint64_t read_register(const struct vlapic *v, uint32_t reg, uint64_t now)
{
    bool x2 = vlapic_x2apic(v);

    switch (reg) {
    case VLAPIC_ID:
        return x2 ? v->id : v->id << XAPIC_ID_SHIFT;
    case VLAPIC_VERSION:
        return VERSION_VALUE;
    case VLAPIC_TPR:
        return v->tpr;
    case VLAPIC_PPR:
        return vlapic_ppr(v);
    case VLAPIC_LDR:
        return v->ldr;
    case VLAPIC_DFR:
        return v->dfr;
    case VLAPIC_SVR:
        return v->svr;
    case VLAPIC_ISR ... VLAPIC_ISR + 7:
        return v->isr[reg - VLAPIC_ISR];
    case VLAPIC_TMR ... VLAPIC_TMR + 7:
        return v->tmr[reg - VLAPIC_TMR];
    case VLAPIC_IRR ... VLAPIC_IRR + 7:
        return v->irr[reg - VLAPIC_IRR];
    case VLAPIC_ESR:
        return v->esr;
    case VLAPIC_ICR:
        return x2 ? v->icr : v->icr & LOW_HALF;
    case VLAPIC_ICR_HIGH:
        return v->icr >> 32;
    case VLAPIC_TIMER_INITIAL:
        return v->timer_initial;
    case VLAPIC_TIMER_CURRENT:
        return vlapic_timer_current(v, now);
    case VLAPIC_TIMER_DIVIDE:
        return v->timer_divide;
    default:
        return 0;
    }
}

uint64_t vlapic_read(struct vlapic *v, uint32_t reg, uint64_t now)
{
    const uint32_t *lvt = lvt_of(v, reg);

    if (reg == VLAPIC_APIC_BASE)
        return v->apic_base;
    if (reg == VLAPIC_TSC_DEADLINE)
        return (v->lvt_timer & VLAPIC_LVT_MODE) == VLAPIC_LVT_MODE_DEADLINE ? v->deadline : 0;
    if (reg > VLAPIC_REG_MAX)
        return 0;
    if (!vlapic_x2apic(v) && !(rule_of(reg)->access & (X_READ | X_EXISTS)))
        vlapic_error(v, VLAPIC_ESR_ILLEGAL_REGISTER);
    return lvt != NULL ? *lvt : read_register(v, reg, now);
}

/* Switching off loses all state; switching to x2APIC form changes only the logical ID. */
static void write_apic_base(struct vlapic *v, uint64_t value)
{
    bool was_x2apic = vlapic_x2apic(v);
    bool was_enabled = vlapic_enabled(v);

    v->apic_base = (value & ~VLAPIC_BASE_BSP) | (v->apic_base & VLAPIC_BASE_BSP);
    if (!vlapic_enabled(v) && was_enabled)
        vlapic_init_reset(v);
    else if (vlapic_x2apic(v) && !was_x2apic)
        v->ldr = x2apic_ldr(v->id);
}

/* While the APIC is disabled by software, all LVT entries are masked and stay so (SDM 3A 11.4.7.2). */
static void write_svr(struct vlapic *v, uint32_t value)
{
    v->svr = value & rule_of(VLAPIC_SVR)->bits;
    if (v->svr & VLAPIC_SVR_ENABLE)
        return;
    for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg++)
        *lvt_of(v, reg) |= VLAPIC_LVT_MASKED;
}

static void write_lvt(struct vlapic *v, uint32_t reg, uint32_t value)
{
    value &= rule_of(reg)->bits & ~LVT_READ_ONLY;
    if (!(v->svr & VLAPIC_SVR_ENABLE))
        value |= VLAPIC_LVT_MASKED;
    if (reg == VLAPIC_LVT_TIMER)
        vlapic_timer_mode_change(v, value & VLAPIC_LVT_MODE);
    *lvt_of(v, reg) = value;
}

static void write_icr(struct vlapic *v, uint64_t value)
{
    uint32_t mode;

    v->icr = icr_after(v, value);
    mode = v->icr >> VLAPIC_ICR_MODE_SHIFT & VLAPIC_ICR_MODE_MASK;
    if ((mode == VLAPIC_FIXED || mode == VLAPIC_LOWEST) && (v->icr & VLAPIC_ICR_VECTOR) < VLAPIC_FIRST_VECTOR)
        vlapic_error(v, VLAPIC_ESR_SEND_ILLEGAL);
    else if (vlapic_icr_sends(v->icr) && icr_to_self(v, v->icr))
        vlapic_accept(v, (uint8_t)v->icr);
}

static void write_self_ipi(struct vlapic *v, uint8_t vector)
{
    if (vector < VLAPIC_FIRST_VECTOR)
        vlapic_error(v, VLAPIC_ESR_SEND_ILLEGAL);
    else
        vlapic_accept(v, vector);
}

static void write_register(struct vlapic *v, uint32_t reg, uint64_t value, uint64_t now)
{
    uint32_t low = (uint32_t)value;

    switch (reg) {
    case VLAPIC_TPR:
        v->tpr = low & rule_of(reg)->bits;
        break;
    case VLAPIC_EOI:
        vlapic_eoi(v);
        break;
    case VLAPIC_LDR:
        v->ldr = low & XAPIC_LDR_BITS;
        break;
    case VLAPIC_DFR:
        v->dfr = low | DFR_ONES;
        break;
    case VLAPIC_SVR:
        write_svr(v, low);
        break;
    case VLAPIC_ESR:
        v->esr = v->esr_pending;
        v->esr_pending = 0;
        break;
    case VLAPIC_ICR:
        write_icr(v, value);
        break;
    case VLAPIC_ICR_HIGH:
        v->icr = (v->icr & LOW_HALF) | (uint64_t)(low & XAPIC_DEST_BITS) << 32;
        break;
    case VLAPIC_TIMER_INITIAL:
        vlapic_timer_write_initial(v, low, now);
        break;
    case VLAPIC_TIMER_DIVIDE:
        vlapic_timer_write_divide(v, low & rule_of(reg)->bits, now);
        break;
    case VLAPIC_SELF_IPI:
        write_self_ipi(v, (uint8_t)low);
        break;
    default:
        write_lvt(v, reg, low);
        break;
    }
}

void vlapic_write(struct vlapic *v, uint32_t reg, uint64_t value, uint64_t now)
{
    uint8_t access = rule_of(reg)->access;
    bool x2 = vlapic_x2apic(v);

    if (reg == VLAPIC_APIC_BASE)
        write_apic_base(v, value);
    else if (reg == VLAPIC_TSC_DEADLINE)
        vlapic_timer_write_deadline(v, value);
    else if (access & (x2 ? M_WRITE : X_WRITE))
        write_register(v, reg, value, now);
    else if (reg <= VLAPIC_REG_MAX && !x2 && !(access & X_EXISTS))
        vlapic_error(v, VLAPIC_ESR_ILLEGAL_REGISTER);
}
