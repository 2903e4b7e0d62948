/*
 * VMX at run time: turning it on, a vCPU's VMCS, entering the guest.
 *
 * Everything here is privileged and belongs to the physical CPU that it runs on: a vCPU is pinned to one
 * CPU, and every function that takes a struct vmx_vcpu runs on that CPU, after vmx_vcpu_init, with
 * interrupts off. No locks are needed. A VMX instruction that fails ends in vmx_fail.
 */
#ifndef RV_VMX_VMX_H
#define RV_VMX_VMX_H

#include "hv/base/types.h"
#include "vmx/caps.h"
#include "vmx/controls.h"
#include "vmx/defs.h"
#include "vmx/exit.h"
#include "vmx/guest_state.h"
#include "vmx/pmu.h"

/* A 4 KiB page of host memory under both of its addresses. */
struct vmx_page {
    void *va;
    hpa_t pa;
};

/* ---- Failures ---- */

struct vmx_failure {
    const char *instruction; /* "VMWRITE" */
    uint32_t field;          /* VMCS field encoding (VMREAD, VMWRITE), else UINT32_MAX */
    const char *field_name;  /* "VMCS_GUEST_RIP"; "none" */
    uint64_t value;          /* VMWRITE: the value; VMPTRLD, VMCLEAR, VMXON: the address; INVEPT: the EPTP */
    uint32_t error;          /* VM-instruction error number (SDM 3C 31.4); 0 if there was no current VMCS */
    const char *text;        /* what the number means */
};

/*
 * Called when a VMX instruction fails: a defect of ours or of the machine, never the guest's doing. There is
 * a weak definition in vmx/ that stops the machine with a message; another one may replace it.
 */
_Noreturn void vmx_fail(const struct vmx_failure *failure);
/* The text of a VM-instruction error number; "unknown" for one that the manual does not list. */
const char *vmx_instruction_error_text(uint32_t error);

/* ---- Per CPU ---- */

/* Reads this CPU's capability MSRs. Works, and says so, on a CPU without VMX. */
void vmx_read_raw_caps(struct vmx_raw_caps *raw);

enum vmx_on_result {
    VMX_ON_OK,
    VMX_ON_NO_VMX,       /* CPUID.1:ECX.VMX is clear */
    VMX_ON_LOCKED,       /* IA32_FEATURE_CONTROL is locked with VMX disabled */
    VMX_ON_NOT_WRITABLE, /* IA32_FEATURE_CONTROL is open, yet the write did not take */
    VMX_ON_CR_FIXED,     /* this CPU's CR0 or CR4 cannot be what VMX wants */
    VMX_ON_DIFFERENT,    /* this CPU's capabilities are not those of `caps` */
};
const char *vmx_on_result_text(enum vmx_on_result result);

/*
 * Enters VMX operation on this CPU (SDM 3C 24.7): IA32_FEATURE_CONTROL is set and locked where open, CR0 and
 * CR4 get their fixed bits, VMXON. `region` is a page of this CPU's own, kept until vmx_cpu_off.
 */
enum vmx_on_result vmx_cpu_on(const struct vmx_caps *caps, struct vmx_page region);
/* Leaves VMX operation. The VMCSs of this CPU must have been put away by vmx_vcpu_clear. */
void vmx_cpu_off(void);

/* ---- A vCPU ---- */

struct vmx_vcpu_pages {
    struct vmx_page vmcs;
    struct vmx_page msr_bitmap;
    struct vmx_page pml; /* used if the controls have PML; may be {0} otherwise */
};

struct vmx_vcpu {
    /*
     * Guest general registers between exit and entry, in the order of enum vmx_gpr. gpr[GPR_RSP] is a copy
     * of the VMCS field, fresh after every exit and load: read it here, change it with vmx_set_gpr.
     */
    uint64_t gpr[GPR_COUNT];
    uint64_t host_rsp; /* what HOST_RSP holds; used by entry.S */
    uint64_t launched; /* VMRESUME rather than VMLAUNCH; used by entry.S */

    uint64_t dr[GUEST_DR_COUNT];                 /* the guest's debug registers as it sees them */
    uint64_t real_dr[VMX_BREAKPOINTS], real_dr7; /* what the real ones hold, and the VMCS */
    /* The guest's MSRs as the real ones hold them; GUEST_MSR_KERNEL_GS_BASE alone may be stale. */
    uint64_t msr[GUEST_MSR_COUNT];
    uint64_t cr0_shadow, cr4_shadow; /* what the VMCS holds */
    struct vmx_exit_raw raw;         /* of the last exit */
    struct vmx_controls controls; /* the control words as they are in the VMCS, but for ENTRY_IA32E_GUEST */
    struct vmx_vcpu_pages pages;
    uint64_t eptp;
    uint64_t breakpoint; /* linear address of the hypervisor's own */
    uint64_t step_rip;   /* before the step, and the interruptibility, of which a shadow may be made up */
    uint32_t step_blocking;
    uint8_t breakpoint_register; /* which real one it is in, unless stepping */
    bool breakpoint_armed;
    bool executes;                               /* some breakpoint on instructions is enabled */
    bool step_wanted;                            /* by whoever armed it */
    bool stepping;                               /* no register is free for it, or wanted */
    bool step_entered, step_forged, step_window; /* of the last entry: see vmx_step_begin */
    bool stepped;                                /* it ended at a step's end */
    struct vmx_pmu_counter pmu;
    uint32_t timer_shift;
    uint16_t vpid;
    bool has_tsc_aux;
    bool invept_single; /* the CPU has the single-context kind */
};

/*
 * Makes `vcpu` a vCPU of this CPU and its VMCS current, with control fields, host state (as
 * vmx_vcpu_load_host) and the parts of the guest state that never change. `vpid` (1..65535) counts only where
 * the controls have VPIDs. Guest state proper comes by vmx_guest_load, the EPTP by vmx_set_eptp, before the
 * first entry. In the MSR bitmap, FS, GS and kernel GS base are open and all else exits; the caller may open
 * more MSRs of vmx_get_msr by msr_bitmap_allow.
 */
void vmx_vcpu_init(struct vmx_vcpu *vcpu, const struct vmx_caps *caps, const struct vmx_controls *controls,
                   const struct vmx_vcpu_pages *pages, uint16_t vpid);
/* Takes the host state from this CPU as it is now: CR0, CR3, CR4, EFER, PAT, FS and GS base, GDT, IDT, TR. */
void vmx_vcpu_load_host(struct vmx_vcpu *vcpu);
/* Puts the VMCS away (VMCLEAR); vmx_vcpu_init may take it up again, on any CPU. */
void vmx_vcpu_clear(struct vmx_vcpu *vcpu);

/*
 * Runs the guest until an exit, which is decoded into *exit; its raw words stay in vcpu->raw. An entry that
 * the CPU refuses for the guest's state has exit->entry_failed; one refused for our controls ends in
 * vmx_fail. An NMI exit is host_nmi: the hypervisor's own NMI handler has run, and NMIs are open
 * again, when this returns. An external interrupt that
 * caused an exit is still pending in the local APIC: the caller opens interrupts to take it. Guest DR7 and
 * DEBUGCTL are switched; FPU and SIMD registers are not touched.
 */
void vmx_enter(struct vmx_vcpu *vcpu, struct vmx_exit *exit);

/* ---- Guest state ---- */

/* Writes the whole state to where the guest's entry finds it. `state` must be one that VM entry accepts. */
void vmx_guest_load(struct vmx_vcpu *vcpu, const struct vmx_guest_state *state);
/* Notes what the real MSRs of enum vmx_guest_msr hold; vmx_vcpu_init does it. */
void vmx_guest_take_msrs(struct vmx_vcpu *vcpu);
/* Reads the whole state, canonical. Between exit and the next entry only. */
void vmx_guest_save(struct vmx_vcpu *vcpu, struct vmx_guest_state *state);

uint64_t vmx_get_rip(struct vmx_vcpu *vcpu);
void vmx_set_rip(struct vmx_vcpu *vcpu, uint64_t rip);
uint64_t vmx_get_rflags(struct vmx_vcpu *vcpu);
void vmx_set_rflags(struct vmx_vcpu *vcpu, uint64_t rflags);
/* Sets or clears RFLAGS.RF: with it set, the next instruction runs over a breakpoint on itself (SDM
 * 3B 18.3.1.1). */
void vmx_resume_flag(struct vmx_vcpu *vcpu, bool set);
/* Sets any general register, RSP included (where vcpu->gpr alone would not do). */
void vmx_set_gpr(struct vmx_vcpu *vcpu, enum vmx_gpr gpr, uint64_t value);
uint32_t vmx_get_interruptibility(struct vmx_vcpu *vcpu);
void vmx_set_interruptibility(struct vmx_vcpu *vcpu, uint32_t interruptibility);
enum vmx_activity vmx_get_activity(struct vmx_vcpu *vcpu);
void vmx_set_activity(struct vmx_vcpu *vcpu, enum vmx_activity activity);
uint64_t vmx_get_pending_debug(struct vmx_vcpu *vcpu);
void vmx_set_pending_debug(struct vmx_vcpu *vcpu, uint64_t pending);
void vmx_get_segment(struct vmx_vcpu *vcpu, enum vmx_segment_index index, struct vmx_segment *segment);
uint64_t vmx_get_cs_base(struct vmx_vcpu *vcpu);
/* True if CS.L and EFER.LMA are set: addresses and RIP are 64 bits wide. */
bool vmx_in_64bit_code(struct vmx_vcpu *vcpu);
unsigned vmx_get_cpl(struct vmx_vcpu *vcpu);
/* CS base + RIP, cut to 32 bits outside 64-bit code: what a breakpoint compares with. */
uint64_t vmx_get_linear_rip(struct vmx_vcpu *vcpu);

/* Control registers as the guest sees them. */
uint64_t vmx_get_cr0(struct vmx_vcpu *vcpu);
uint64_t vmx_get_cr2(struct vmx_vcpu *vcpu);
uint64_t vmx_get_cr3(struct vmx_vcpu *vcpu);
uint64_t vmx_get_cr4(struct vmx_vcpu *vcpu);
/*
 * These store; checks (#GP conditions) and PDPTEs are the caller's. A change of CR0.PG with EFER.LME switches
 * EFER.LMA as the processor does (SDM 3A 10.8.5).
 */
void vmx_set_cr0(struct vmx_vcpu *vcpu, uint64_t value);
void vmx_set_cr2(struct vmx_vcpu *vcpu, uint64_t value);
void vmx_set_cr3(struct vmx_vcpu *vcpu, uint64_t value);
void vmx_set_cr4(struct vmx_vcpu *vcpu, uint64_t value);
uint64_t vmx_get_efer(struct vmx_vcpu *vcpu);
void vmx_set_efer(struct vmx_vcpu *vcpu, uint64_t value);
/* index 0..3. */
uint64_t vmx_get_pdpte(struct vmx_vcpu *vcpu, unsigned index);
void vmx_set_pdpte(struct vmx_vcpu *vcpu, unsigned index, uint64_t value);

/*
 * The guest's value of an MSR that lives here: FS and GS base, SYSENTER, EFER, PAT, and enum vmx_guest_msr.
 * False for any other MSR.
 */
bool vmx_get_msr(struct vmx_vcpu *vcpu, uint32_t index, uint64_t *value);
/* Writes one; the caller has made sure that WRMSR takes the value (reserved bits, canonical addresses, LMA
 * kept). */
bool vmx_set_msr(struct vmx_vcpu *vcpu, uint32_t index, uint64_t value);

/*
 * Ends an instruction that was emulated: RIP moves past it (vcpu->raw.instruction_length), RF and the STI and
 * MOV SS shadows end, and a single-step trap becomes pending if TF is set (SDM 3C 25.4.2, 27.3.1.5).
 */
void vmx_skip_instruction(struct vmx_vcpu *vcpu);

/* ---- Events ---- */

/* Has the next entry deliver *event (it must be valid), in place of any event set before. */
void vmx_inject(struct vmx_vcpu *vcpu, const struct vmx_event *event);
/* A hardware exception; `error` counts for vectors that have an error code (SDM 3A table 6-1). */
void vmx_inject_exception(struct vmx_vcpu *vcpu, uint8_t vector, uint32_t error);
void vmx_inject_interrupt(struct vmx_vcpu *vcpu, uint8_t vector);
void vmx_inject_nmi(struct vmx_vcpu *vcpu);
/* The event set for the next entry; info lacks VMX_INFO_VALID if none is. */
void vmx_get_event(struct vmx_vcpu *vcpu, struct vmx_event *event);
/* Applies vmx_reinject_event to the last exit. True if an event is to be delivered again. */
bool vmx_reinject(struct vmx_vcpu *vcpu);
/* Whether the guest, as it is, takes an external interrupt (or an NMI) at the next entry (SDM 3C 27.3.1.5).
 */
bool vmx_can_take_interrupt(struct vmx_vcpu *vcpu);
bool vmx_can_take_nmi(struct vmx_vcpu *vcpu);
/* Exit as soon as the guest could take an interrupt, or an NMI. */
void vmx_interrupt_window(struct vmx_vcpu *vcpu, bool on);
void vmx_nmi_window(struct vmx_vcpu *vcpu, bool on);

/* ---- Time ---- */

/* The guest exits after `ticks` more preemption timer ticks (at once for 0). Unit: TSC ticks >>
 * vcpu->timer_shift. */
void vmx_set_timer(struct vmx_vcpu *vcpu, uint32_t ticks);
/* Ticks left at the last exit; 0 if the timer had run out. */
uint32_t vmx_timer_left(struct vmx_vcpu *vcpu);
/* Stops (or, by vmx_set_timer, starts) the timer. */
void vmx_timer_off(struct vmx_vcpu *vcpu);

/* ---- Memory ---- */

/* vmx_eptp() makes the value. No INVEPT is done here. */
void vmx_set_eptp(struct vmx_vcpu *vcpu, uint64_t eptp);
/* Forgets this CPU's translations made through `eptp` (SDM 3C 29.4.3.1), by the all-context kind where there
 * is no other. */
void vmx_invept_single(struct vmx_vcpu *vcpu, uint64_t eptp);
void vmx_invept_all(void);
/* Forgets the vCPU's linear translations; does nothing where it has no VPID (entries and exits do it then).
 */
void vmx_invvpid(struct vmx_vcpu *vcpu);
/* The pages logged by the processor since the last call, the newest first, at most 512; the log is empty
 * again and *gpas valid until the next entry. Only if the controls have PML. */
unsigned vmx_pml_take(struct vmx_vcpu *vcpu, const uint64_t **gpas);

/* ---- Debug registers (vmx/debug.c) ---- */

/* Of a vCPU on its CPU, whose VMCS is current: brings the real registers into a known state. */
void vmx_debug_init(struct vmx_vcpu *vcpu);
/* After a change of vcpu->dr: loads the real registers. */
void vmx_debug_load(struct vmx_vcpu *vcpu);
/* Whether the guest enables all four registers, or any. */
bool vmx_debug_all_used(const struct vmx_vcpu *vcpu);
bool vmx_debug_any_used(const struct vmx_vcpu *vcpu);
/* The guest's breakpoints on the instruction at RIP, as bits of DR6. RF and shadows are not looked at. */
uint64_t vmx_debug_here(struct vmx_vcpu *vcpu);
/*
 * An instruction that the hypervisor executes accesses memory, or a port: what breakpoints match becomes
 * pending, to be delivered when it has retired. `bytes` is 1 to 8.
 */
void vmx_debug_access(struct vmx_vcpu *vcpu, uint64_t linear, uint32_t bytes, bool write);
void vmx_debug_port(struct vmx_vcpu *vcpu, uint16_t port, uint32_t bytes);
/* Whether a debug trap comes before anything else. */
bool vmx_debug_pending(struct vmx_vcpu *vcpu);
/* Gives the guest a #DB with these causes, bits of DR6: DR6 and DR7 change, the exception is set to be
 * injected. */
void vmx_debug_raise(struct vmx_vcpu *vcpu, uint64_t causes);
/* The same for a #DB that exited (the last exit), INT1 too, without what is not the guest's. */
void vmx_deliver_debug(struct vmx_vcpu *vcpu, const struct vmx_exit_exception *exception);

/* ---- Stopping at an exact place ---- */

/*
 * An execute breakpoint at `linear`, seen only by the hypervisor. It fires before the instruction;
 * vmx_resume_flag(true) passes over one (SDM 3B 18.2.4, 18.3.1.1). It takes a real register that the guest
 * leaves free, and follows the guest's own changes. Where there is none, or with `step`, each entry runs one
 * instruction, or one iteration of a REP: such a breakpoint fires without regard to RF, in a REP too.
 */
void vmx_breakpoint_arm(struct vmx_vcpu *vcpu, uint64_t linear, bool step);
void vmx_breakpoint_disarm(struct vmx_vcpu *vcpu);
/* True if the last exit is a hit of the armed breakpoint; if, with the exit handled, the guest has just come
 * to it in single steps. */
bool vmx_breakpoint_hit(const struct vmx_vcpu *vcpu, const struct vmx_exit *exit);
bool vmx_breakpoint_stepped(struct vmx_vcpu *vcpu);

/*
 * Around each entry, by vmx_enter. A step is an NMI window that a made-up shadow of MOV SS keeps shut for one
 * instruction (SDM 3C 26.2, 27.7.6). While NMIs are blocked there is no window: the guest runs to the IRET.
 */
void vmx_step_begin(struct vmx_vcpu *vcpu);
void vmx_step_end(struct vmx_vcpu *vcpu);

#endif
