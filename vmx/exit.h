/*
 * Pure. VM exits decoded: raw VMCS words in, a plain struct out (SDM 3C 28.2, tables 28-1 to 28-19),
 * and the rules for an exit that interrupted the delivery of an event.
 */
#ifndef RV_VMX_EXIT_H
#define RV_VMX_EXIT_H

#include "hv/base/types.h"
#include "vmx/defs.h"
#include "vmx/guest_state.h"

/*
 * What the CPU said. Only fields that the exit reason defines are filled (see vmx_exit_needs). Of the others,
 * instruction length, qualification and IDT-vectoring info are 0; the rest means nothing.
 */
struct vmx_exit_raw {
    uint32_t reason;             /* exit-reason field, all 32 bits */
    uint32_t instruction_length; /* bytes */
    uint32_t instruction_info;
    uint32_t interruption_info;
    uint32_t interruption_error;
    uint32_t idt_vectoring_info;
    uint32_t idt_vectoring_error;
    uint32_t idt_instruction_length; /* as instruction_length, where the IDT-vectoring info needs it */
    uint64_t qualification;
    uint64_t gpa;
    uint64_t gla;
    uint64_t rip;
    uint64_t rax, rcx, rdx; /* operands of RDMSR, WRMSR, XSETBV */
};

/* Which fields besides reason, rip and IDT-vectoring info an exit reason defines. */
#define VMX_NEED_QUALIFICATION UINT32_C(0x01)
#define VMX_NEED_LENGTH        UINT32_C(0x02)
#define VMX_NEED_INFO          UINT32_C(0x04)
#define VMX_NEED_INTERRUPTION  UINT32_C(0x08)
#define VMX_NEED_GPA           UINT32_C(0x10)
#define VMX_NEED_GLA           UINT32_C(0x20)
#define VMX_NEED_OPERANDS      UINT32_C(0x40) /* RAX, RCX, RDX */

/* The VMX_NEED_* set of an exit-reason field; 0 for reasons that do not exist. */
uint32_t vmx_exit_needs(uint32_t reason);
/* The name of a basic exit reason, "reserved" where there is none. Never NULL. */
const char *vmx_exit_name(uint32_t reason);

struct vmx_exit_io {
    uint16_t port;
    uint8_t size; /* bytes: 1, 2, 4 */
    bool in;
    bool string;     /* INS or OUTS */
    bool rep;        /* with REP */
    bool immediate;  /* the port is an operand, not DX */
    uint8_t segment; /* string: enum vmx_segment_index of the memory operand */
    uint8_t address; /* string: address size in bytes: 2, 4, 8 */
    uint64_t gla;    /* string: linear address of the (next) memory operand */
};

enum vmx_cr_kind { VMX_MOV_TO_CR, VMX_MOV_FROM_CR, VMX_CLTS, VMX_LMSW };

struct vmx_exit_cr {
    uint8_t cr;      /* 0, 3, 4, 8 */
    uint8_t kind;    /* enum vmx_cr_kind */
    uint8_t gpr;     /* enum vmx_gpr, for both MOVs */
    bool memory;     /* LMSW with a memory operand */
    uint16_t source; /* LMSW: the value */
};

struct vmx_exit_ept {
    gpa_t gpa;
    gva_t gla; /* if gla_valid */
    bool gla_valid;
    bool read, write, fetch;             /* what was tried; may be several */
    bool readable, writable, executable; /* what the entries allow */
    bool page_walk;                      /* the access was to a guest paging structure, by the page walker */
    bool nmi_unblocking;                 /* bit 12; vmx_reinject_event uses it */
};

struct vmx_exit_exception {
    uint8_t vector;
    uint8_t type; /* enum vmx_event_type */
    bool error_valid;
    bool nmi_unblocking;
    uint32_t error;
    uint64_t qualification; /* #PF: the linear address. #DB: DR6 bits, see vmx_debug_status */
};

struct vmx_exit_dr {
    uint8_t dr;  /* 0..7; 4 and 5 mean 6 and 7, or #UD; the exit comes before all faults (SDM 3C 26.1.3) */
    uint8_t gpr; /* enum vmx_gpr */
    bool from;   /* MOV from DR */
};

struct vmx_exit_msr {
    uint32_t index; /* ECX */
    uint64_t value; /* EDX:EAX, writes only */
};

enum vmx_task_switch_source { VMX_TASK_CALL, VMX_TASK_IRET, VMX_TASK_JMP, VMX_TASK_GATE };

struct vmx_exit_task_switch {
    uint16_t selector;
    uint8_t source; /* enum vmx_task_switch_source */
};

struct vmx_exit_random {
    uint8_t gpr;  /* enum vmx_gpr: the destination */
    uint8_t size; /* bytes: 2, 4, 8 */
};

struct vmx_exit {
    uint32_t reason;             /* basic (enum vmx_exit_reason) */
    bool entry_failed;           /* the guest did not run: its state or an MSR was refused (SDM 3C 27.8) */
    bool host_nmi;               /* an NMI that the host received; the guest knows nothing of it */
    uint32_t instruction_length; /* bytes; 0 where the reason defines none */
    uint64_t rip;                /* of the guest: at the instruction for fault-like exits */
    union {
        struct vmx_exit_io io;                   /* VMX_EXIT_IO */
        struct vmx_exit_cr cr;                   /* VMX_EXIT_CR_ACCESS */
        struct vmx_exit_ept ept;                 /* VMX_EXIT_EPT_VIOLATION, _MISCONFIGURATION (gpa alone) */
        struct vmx_exit_exception exception;     /* VMX_EXIT_EXCEPTION_OR_NMI */
        struct vmx_exit_dr dr;                   /* VMX_EXIT_DR_ACCESS */
        struct vmx_exit_msr msr;                 /* VMX_EXIT_RDMSR, _WRMSR; XSETBV: index is the XCR */
        struct vmx_exit_task_switch task_switch; /* VMX_EXIT_TASK_SWITCH */
        struct vmx_exit_random random;           /* VMX_EXIT_RDRAND, _RDSEED */
        gva_t invlpg;                            /* VMX_EXIT_INVLPG */
        uint64_t qualification;                  /* all others */
    };
};

/* Decodes an exit. Every value of every word is accepted: the CPU made them. */
void vmx_exit_decode(const struct vmx_exit_raw *raw, struct vmx_exit *exit);

/*
 * What an exit leaves to be done before the guest may go on, if its handler resolves the cause and runs the
 * same instruction again: inject *event, if valid, and set the interruptibility state that is returned.
 *
 * - An exit during the delivery of an event must deliver it again (SDM 3C 25.9.3, 28.2.4). An NMI being
 *   delivered must not find NMIs blocked (27.2.1.3, 31.7.1.2).
 * - A fault or EPT violation of an IRET that had already unblocked NMIs must block them again
 * (28.2.3, 31.7.1.2).
 *
 * `interruptibility` is the guest's as saved by the exit.
 */
uint32_t vmx_reinject_event(const struct vmx_exit_raw *raw, uint32_t interruptibility,
                            struct vmx_event *event);

/*
 * DR6 after a #DB with these causes, in the bits of DR6 (SDM 3B 18.2.3): B0-B3 are set anew, BD and BS only
 * ever set, as are the others.
 */
uint64_t vmx_debug_status(uint64_t dr6, uint64_t causes);

/* RIP after an instruction of `length` bytes at `rip`: wraps at 32 bits outside 64-bit code. */
uint64_t vmx_next_rip(uint64_t rip, uint32_t length, bool code_64bit);

#endif
