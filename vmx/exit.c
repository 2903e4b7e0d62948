#include "vmx/exit.h"

#include "hv/cpu/trap.h"

#include <string.h>

#define Q VMX_NEED_QUALIFICATION
#define L VMX_NEED_LENGTH
#define I VMX_NEED_INFO
#define E VMX_NEED_INTERRUPTION
#define P VMX_NEED_GPA
#define A VMX_NEED_GLA
#define R VMX_NEED_OPERANDS

/* Which fields mean something, by basic exit reason (SDM 3C 28.2.1-28.2.5, tables 28-1 to 28-7). */
static const struct {
    const char *name;
    uint32_t needs;
} reasons[VMX_EXIT_REASON_COUNT] = {
    [VMX_EXIT_EXCEPTION_OR_NMI] = {"exception or NMI", Q | L | E},
    [VMX_EXIT_EXTERNAL_INTERRUPT] = {"external interrupt", E},
    [VMX_EXIT_TRIPLE_FAULT] = {"triple fault", 0},
    [VMX_EXIT_INIT] = {"INIT signal", 0},
    [VMX_EXIT_SIPI] = {"startup IPI", Q},
    [VMX_EXIT_IO_SMI] = {"I/O system-management interrupt", 0},
    [VMX_EXIT_OTHER_SMI] = {"other SMI", 0},
    [VMX_EXIT_INTERRUPT_WINDOW] = {"interrupt window", 0},
    [VMX_EXIT_NMI_WINDOW] = {"NMI window", 0},
    [VMX_EXIT_TASK_SWITCH] = {"task switch", Q | L},
    [VMX_EXIT_CPUID] = {"CPUID", L},
    [VMX_EXIT_GETSEC] = {"GETSEC", L},
    [VMX_EXIT_HLT] = {"HLT", L},
    [VMX_EXIT_INVD] = {"INVD", L},
    [VMX_EXIT_INVLPG] = {"INVLPG", Q | L},
    [VMX_EXIT_RDPMC] = {"RDPMC", L},
    [VMX_EXIT_RDTSC] = {"RDTSC", L},
    [VMX_EXIT_RSM] = {"RSM", L},
    [VMX_EXIT_VMCALL] = {"VMCALL", L},
    [VMX_EXIT_VMCLEAR] = {"VMCLEAR", Q | L | I},
    [VMX_EXIT_VMLAUNCH] = {"VMLAUNCH", L},
    [VMX_EXIT_VMPTRLD] = {"VMPTRLD", Q | L | I},
    [VMX_EXIT_VMPTRST] = {"VMPTRST", Q | L | I},
    [VMX_EXIT_VMREAD] = {"VMREAD", Q | L | I},
    [VMX_EXIT_VMRESUME] = {"VMRESUME", L},
    [VMX_EXIT_VMWRITE] = {"VMWRITE", Q | L | I},
    [VMX_EXIT_VMXOFF] = {"VMXOFF", L},
    [VMX_EXIT_VMXON] = {"VMXON", Q | L | I},
    [VMX_EXIT_CR_ACCESS] = {"control-register access", Q | L},
    [VMX_EXIT_DR_ACCESS] = {"MOV DR", Q | L},
    [VMX_EXIT_IO] = {"I/O instruction", Q | L | I | A},
    [VMX_EXIT_RDMSR] = {"RDMSR", L | R},
    [VMX_EXIT_WRMSR] = {"WRMSR", L | R},
    [VMX_EXIT_INVALID_GUEST_STATE] = {"VM-entry failure, invalid guest state", Q},
    [VMX_EXIT_MSR_LOADING] = {"VM-entry failure, MSR loading", Q},
    [VMX_EXIT_MWAIT] = {"MWAIT", Q | L},
    [VMX_EXIT_MONITOR_TRAP_FLAG] = {"monitor trap flag", 0},
    [VMX_EXIT_MONITOR] = {"MONITOR", L},
    [VMX_EXIT_PAUSE] = {"PAUSE", L},
    [VMX_EXIT_MACHINE_CHECK_ENTRY] = {"VM-entry failure, machine check", 0},
    [VMX_EXIT_TPR_BELOW_THRESHOLD] = {"TPR below threshold", 0},
    [VMX_EXIT_APIC_ACCESS] = {"APIC access", Q | L},
    [VMX_EXIT_VIRTUALIZED_EOI] = {"virtualized EOI", Q},
    [VMX_EXIT_GDTR_IDTR] = {"access to GDTR or IDTR", Q | L | I},
    [VMX_EXIT_LDTR_TR] = {"access to LDTR or TR", Q | L | I},
    [VMX_EXIT_EPT_VIOLATION] = {"EPT violation", Q | P | A},
    [VMX_EXIT_EPT_MISCONFIGURATION] = {"EPT misconfiguration", P},
    [VMX_EXIT_INVEPT] = {"INVEPT", Q | L | I},
    [VMX_EXIT_RDTSCP] = {"RDTSCP", L},
    [VMX_EXIT_PREEMPTION_TIMER] = {"VMX-preemption timer", 0},
    [VMX_EXIT_INVVPID] = {"INVVPID", Q | L | I},
    [VMX_EXIT_WBINVD] = {"WBINVD", L},
    [VMX_EXIT_XSETBV] = {"XSETBV", L | R},
    [VMX_EXIT_APIC_WRITE] = {"APIC write", Q},
    [VMX_EXIT_RDRAND] = {"RDRAND", L | I},
    [VMX_EXIT_INVPCID] = {"INVPCID", Q | L | I},
    [VMX_EXIT_VMFUNC] = {"VMFUNC", L},
    [VMX_EXIT_ENCLS] = {"ENCLS", L},
    [VMX_EXIT_RDSEED] = {"RDSEED", L | I},
    [VMX_EXIT_PML_FULL] = {"page-modification log full", Q},
    [VMX_EXIT_XSAVES] = {"XSAVES", Q | L | I},
    [VMX_EXIT_XRSTORS] = {"XRSTORS", Q | L | I},
    [VMX_EXIT_PCONFIG] = {"PCONFIG", L},
    [VMX_EXIT_SPP_EVENT] = {"SPP-related event", Q | P | A},
    [VMX_EXIT_UMWAIT] = {"UMWAIT", L | I},
    [VMX_EXIT_TPAUSE] = {"TPAUSE", L | I},
    [VMX_EXIT_LOADIWKEY] = {"LOADIWKEY", L | I},
    [VMX_EXIT_ENCLV] = {"ENCLV", L},
    [VMX_EXIT_ENQCMD_PASID] = {"ENQCMD PASID translation", Q | L | I},
    [VMX_EXIT_ENQCMDS_PASID] = {"ENQCMDS PASID translation", Q | L | I},
    [VMX_EXIT_BUS_LOCK] = {"bus lock", 0},
    [VMX_EXIT_INSTRUCTION_TIMEOUT] = {"instruction timeout", Q},
    [VMX_EXIT_SEAMCALL] = {"SEAMCALL", L},
    [VMX_EXIT_TDCALL] = {"TDCALL", L},
};

#undef Q
#undef L
#undef I
#undef E
#undef P
#undef A
#undef R

uint32_t vmx_exit_needs(uint32_t reason)
{
    uint32_t basic = reason & VMX_REASON_BASIC;

    return basic < VMX_EXIT_REASON_COUNT ? reasons[basic].needs : 0;
}

const char *vmx_exit_name(uint32_t reason)
{
    uint32_t basic = reason & VMX_REASON_BASIC;
    const char *name = basic < VMX_EXIT_REASON_COUNT ? reasons[basic].name : NULL;

    return name ? name : "reserved";
}

/* Bits `low` and up of a word, `count` of them. */
static uint32_t bits(uint64_t word, unsigned low, unsigned count)
{
    return (uint32_t)((word >> low) & (BIT(count) - 1));
}

static bool bit(uint64_t word, unsigned n)
{
    return (word >> n) & 1;
}

/* SDM 3C tables 28-5 (qualification) and 28-9 (instruction information of INS and OUTS). */
static void decode_io(const struct vmx_exit_raw *raw, struct vmx_exit_io *io)
{
    uint64_t q = raw->qualification;

    io->size = (uint8_t)(bits(q, 0, 3) + 1);
    io->in = bit(q, 3);
    io->string = bit(q, 4);
    io->rep = bit(q, 5);
    io->immediate = bit(q, 6);
    io->port = (uint16_t)bits(q, 16, 16);
    if (io->string) {
        io->address = (uint8_t)(2u << bits(raw->instruction_info, 7, 3));
        /* INS always stores to ES; its segment bits are undefined. */
        io->segment = io->in ? SEGMENT_ES : (uint8_t)bits(raw->instruction_info, 15, 3);
        io->gla = raw->gla;
    }
}

/* SDM 3C table 28-3. */
static void decode_cr(uint64_t q, struct vmx_exit_cr *cr)
{
    cr->cr = (uint8_t)bits(q, 0, 4);
    cr->kind = (uint8_t)bits(q, 4, 2);
    cr->memory = bit(q, 6);
    cr->gpr = (uint8_t)bits(q, 8, 4);
    cr->source = (uint16_t)bits(q, 16, 16);
}

/* SDM 3C table 28-4. */
static void decode_dr(uint64_t q, struct vmx_exit_dr *dr)
{
    dr->dr = (uint8_t)bits(q, 0, 3);
    dr->from = bit(q, 4);
    dr->gpr = (uint8_t)bits(q, 8, 4);
}

/* SDM 3C table 28-7. */
static void decode_ept(const struct vmx_exit_raw *raw, struct vmx_exit_ept *ept)
{
    uint64_t q = raw->qualification;

    ept->gpa = gpa(raw->gpa);
    ept->read = bit(q, 0);
    ept->write = bit(q, 1);
    ept->fetch = bit(q, 2);
    ept->readable = bit(q, 3);
    ept->writable = bit(q, 4);
    ept->executable = bit(q, 5);
    ept->gla_valid = bit(q, 7);
    ept->gla = gva(ept->gla_valid ? raw->gla : 0);
    ept->page_walk = ept->gla_valid && !bit(q, 8);
    ept->nmi_unblocking = bit(q, 12);
}

static uint8_t info_vector(uint32_t info)
{
    return (uint8_t)(info & VMX_INFO_VECTOR);
}

static uint8_t info_type(uint32_t info)
{
    return (uint8_t)((info & VMX_INFO_TYPE) >> VMX_INFO_TYPE_SHIFT);
}

/* SDM 3C table 25-18. */
static void decode_exception(const struct vmx_exit_raw *raw, struct vmx_exit *exit)
{
    struct vmx_exit_exception *exception = &exit->exception;
    uint32_t info = raw->interruption_info;

    exception->vector = info_vector(info);
    exception->type = info_type(info);
    exception->error_valid = (info & VMX_INFO_ERROR_VALID) != 0;
    exception->error = exception->error_valid ? raw->interruption_error : 0;
    exception->nmi_unblocking = (info & VMX_INFO_NMI_UNBLOCKED) != 0;
    exception->qualification = raw->qualification;
    exit->host_nmi = (info & VMX_INFO_VALID) && exception->type == VMX_EVENT_NMI;
}

static void decode_msr(const struct vmx_exit_raw *raw, struct vmx_exit_msr *msr)
{
    msr->index = (uint32_t)raw->rcx;
    msr->value = (raw->rdx << 32) | (uint32_t)raw->rax;
}

/* SDM 3C table 28-12: operand size 0 is 16 bits, 1 is 32, 2 is 64. */
static void decode_random(uint32_t info, struct vmx_exit_random *random)
{
    random->gpr = (uint8_t)bits(info, 3, 4);
    random->size = (uint8_t)(2u << bits(info, 11, 2));
}

/* SDM 3C table 28-2. */
static void decode_task_switch(uint64_t q, struct vmx_exit_task_switch *task)
{
    task->selector = (uint16_t)bits(q, 0, 16);
    task->source = (uint8_t)bits(q, 30, 2);
}

static void decode_details(const struct vmx_exit_raw *raw, struct vmx_exit *exit)
{
    switch (exit->reason) {
    case VMX_EXIT_EXCEPTION_OR_NMI:
        decode_exception(raw, exit);
        break;
    case VMX_EXIT_TASK_SWITCH:
        decode_task_switch(raw->qualification, &exit->task_switch);
        break;
    case VMX_EXIT_INVLPG:
        exit->invlpg = gva(raw->qualification);
        break;
    case VMX_EXIT_CR_ACCESS:
        decode_cr(raw->qualification, &exit->cr);
        break;
    case VMX_EXIT_DR_ACCESS:
        decode_dr(raw->qualification, &exit->dr);
        break;
    case VMX_EXIT_IO:
        decode_io(raw, &exit->io);
        break;
    case VMX_EXIT_RDMSR:
    case VMX_EXIT_WRMSR:
    case VMX_EXIT_XSETBV:
        decode_msr(raw, &exit->msr);
        break;
    case VMX_EXIT_EPT_VIOLATION:
        decode_ept(raw, &exit->ept);
        break;
    case VMX_EXIT_EPT_MISCONFIGURATION:
        exit->ept.gpa = gpa(raw->gpa);
        break;
    case VMX_EXIT_RDRAND:
    case VMX_EXIT_RDSEED:
        decode_random(raw->instruction_info, &exit->random);
        break;
    default:
        exit->qualification = raw->qualification;
        break;
    }
}

void vmx_exit_decode(const struct vmx_exit_raw *raw, struct vmx_exit *exit)
{
    memset(exit, 0, sizeof(*exit));
    exit->reason = raw->reason & VMX_REASON_BASIC;
    exit->entry_failed = (raw->reason & VMX_REASON_ENTRY_FAILS) != 0;
    exit->instruction_length = raw->instruction_length;
    exit->rip = raw->rip;
    decode_details(raw, exit);
}

/* Whether the exit says that an IRET had unblocked NMIs before it faulted (SDM 3C 28.2.3). */
static bool iret_unblocked_nmi(const struct vmx_exit_raw *raw)
{
    uint32_t basic = raw->reason & VMX_REASON_BASIC;
    uint32_t info = raw->interruption_info;

    if (raw->idt_vectoring_info & VMX_INFO_VALID) {
        return false; /* the bit is undefined */
    }
    switch (basic) {
    case VMX_EXIT_EXCEPTION_OR_NMI:
        return (info & VMX_INFO_VALID) && (info & VMX_INFO_NMI_UNBLOCKED) && info_vector(info) != VECTOR_DF;
    case VMX_EXIT_EPT_VIOLATION:
    case VMX_EXIT_PML_FULL:
    case VMX_EXIT_SPP_EVENT:
        return bit(raw->qualification, 12);
    default:
        return false;
    }
}

uint32_t vmx_reinject_event(const struct vmx_exit_raw *raw, uint32_t interruptibility,
                            struct vmx_event *event)
{
    uint32_t vectoring = raw->idt_vectoring_info;
    uint32_t type = info_type(vectoring);

    memset(event, 0, sizeof(*event));
    if (!(vectoring & VMX_INFO_VALID)) {
        return iret_unblocked_nmi(raw) ? interruptibility | VMX_BLOCKING_BY_NMI : interruptibility;
    }
    /* Bit 12 is undefined here and reserved at entry. */
    event->info = vectoring & (VMX_INFO_VALID | VMX_INFO_ERROR_VALID | VMX_INFO_TYPE | VMX_INFO_VECTOR);
    if (vectoring & VMX_INFO_ERROR_VALID) {
        event->error = raw->idt_vectoring_error;
    }
    if (type >= VMX_EVENT_SOFTWARE_INTERRUPT && type <= VMX_EVENT_SOFTWARE_EXCEPTION) {
        event->instruction_length = raw->idt_instruction_length;
    }
    if (type == VMX_EVENT_NMI) {
        interruptibility &= ~VMX_BLOCKING_BY_NMI;
    }
    /* The shadow ended when the delivery began; entry refuses an event inside one (SDM 3C 27.3.1.5). */
    return interruptibility & ~VMX_SHADOWS;
}

/* SDM 3B 18.2.3 */
#define DR6_TRAPS UINT64_C(0xF) /* B0-B3 */
#define DR6_BD    UINT64_C(0x2000)
#define DR6_BS    UINT64_C(0x4000)
#define DR6_CAUSE (DR6_TRAPS | DR6_BD | DR6_BS)

uint64_t vmx_debug_status(uint64_t dr6, uint64_t causes)
{
    return (dr6 & ~DR6_TRAPS) | (causes & DR6_CAUSE);
}

uint64_t vmx_next_rip(uint64_t rip, uint32_t length, bool code_64bit)
{
    uint64_t next = rip + length;

    return code_64bit ? next : (uint32_t)next;
}
