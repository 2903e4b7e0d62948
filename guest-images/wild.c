/*
 * Wild programs that a machine must survive: every exception is caught, and the results are the same on every
 * run. The word `kind=NAME` says what is tried; without it the kinds are listed. `n` scales.
 */
#include <string.h>

#include "guest-images/lib/guest.h"
#include "guest-images/lib/kind.h"
#include "guest-images/lib/probe.h"
#include "guest-images/lib/try.h"

#define BEYOND_MEMORY UINT64_C(0x30000000) /* mapped, but no memory: guests of this kind have less */
#define APIC_PAGE     UINT64_C(0xFEE00000)
#define NOT_CANONICAL UINT64_C(0x900000000000)
#define PORT_EXIT     0x501u
#define PORT_CONSOLE  0x3F8u
#define MSR_FS_BASE   0xC0000100u

static uint32_t faults;

static int done(const char *kind)
{
    say("result: %s faults %u hash %016llx\n", kind, (unsigned)faults, (ull)try_hash());
    return 0;
}

/* ---- Jumps ---- */

static int jumps(void)
{
    static const uint64_t targets[] = {PROBED, NOT_CANONICAL, UINT64_MAX, INT64_MIN,
                                       UINT64_C(0x7FFFFFFFFFFF)};

    catch_all();
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct registers r = {.rax = targets[i]};
        uint32_t vector = TRY(&r, 0xFF, 0xE0); /* JMP RAX */
        faults += vector != NO_FAULT;
        say("result: jump to %llx vector %u\n", (ull)targets[i], (unsigned)vector);
    }
    return done("jumps");
}

/* ---- MSRs, ports ---- */

/* Those that the start-up library lives on. */
static bool msr_is_ours(uint32_t msr)
{
    return msr == MSR_GS_BASE || msr == MSR_FS_BASE;
}

static void try_msr(uint32_t msr)
{
    static const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_C(0x8000000000000000), UINT64_C(0xFFFFFFFF)};
    struct registers r = {.rcx = msr};
    uint64_t low, high;
    bool readable = TRY(&r, 0x0F, 0x32) == NO_FAULT;

    faults += !readable;
    low = r.rax, high = r.rdx;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) && !msr_is_ours(msr); i++) {
        r = (struct registers){.rcx = msr, .rax = (uint32_t)values[i], .rdx = values[i] >> 32};
        faults += TRY(&r, 0x0F, 0x30) != NO_FAULT;
        r = (struct registers){.rcx = msr, .rax = low, .rdx = high};
        if (readable)
            faults += TRY(&r, 0x0F, 0x30) != NO_FAULT;
    }
}

static int msrs(void)
{
    static const uint32_t begins[] = {0,          0x800,      0x1000,     0x40000000,
                                      0x4B564D00, 0xC0000080, 0xC0010000, 0xFFFFFF00};
    uint32_t count = (uint32_t)arg_number("n", 0x100);

    catch_all();
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        for (uint32_t j = 0; j < count; j++)
            try_msr(begins[i] + j);
    }
    return done("msrs");
}

static bool port_is_ours(uint32_t port)
{
    return (port + 3 >= PORT_EXIT && port <= PORT_EXIT + 3) ||
           (port + 3 >= PORT_CONSOLE && port <= PORT_CONSOLE + 10);
}

/* Each port by each size; `n` is the step between them. */
static int ports(void)
{
    uint32_t step = (uint32_t)arg_number("n", 1);

    catch_all();
    for (uint32_t port = 0; port < 0x10000; port += step) {
        struct registers r = {.rdx = port, .rax = 0x12345678};
        if (port_is_ours(port))
            continue;
        faults += TRY(&r, 0xEC, 0xED, 0x66, 0xED) != NO_FAULT; /* IN by byte, dword, word */
        note(r.rax);
        faults += TRY(&r, 0xEE, 0xEF, 0x66, 0xEF) != NO_FAULT;
    }
    return done("ports");
}

/* ---- Device memory ---- */

static void try_memory(uint64_t address)
{
    struct registers r = {.rdi = address, .rcx = 0};

    TRY(&r, 0x8A, 0x07); /* MOV AL, [RDI] */
    note(r.rax);
    TRY(&r, 0x66, 0x8B, 0x07);
    TRY(&r, 0x8B, 0x07);
    note(r.rax);
    TRY(&r, 0x48, 0x8B, 0x07);
    note(r.rax);
    TRY(&r, 0x0F, 0xB6, 0x07);                         /* MOVZX */
    TRY(&r, 0x48, 0x0F, 0xBF, 0x07);                   /* MOVSX */
    TRY(&r, 0x31, 0xC0, 0x88, 0x07, 0x66, 0x89, 0x07); /* MOV [RDI], 0 */
    TRY(&r, 0x31, 0xC0, 0x48, 0x89, 0x07);
    TRY(&r, 0x83, 0x27, 0x00);       /* AND [RDI], 0 */
    TRY(&r, 0x31, 0xC0, 0x87, 0x07); /* XCHG */
    TRY(&r, 0x3B, 0x07, 0x85, 0x07); /* CMP, TEST */
    note(r.rax);
}

static int mmio(void)
{
    catch_all();
    for (uint64_t offset = 0; offset < PAGE_BYTES; offset += arg_number("n", 4))
        try_memory(APIC_PAGE + offset);
    for (uint64_t address = BEYOND_MEMORY; address < UINT64_C(0x40000000); address += UINT64_C(0x765431))
        try_memory(address);
    apic_init();
    return done("mmio");
}

/* ---- Page tables ---- */

static uint32_t probe(void)
{
    struct registers r = {.rdi = PROBED};
    uint32_t vector = TRY(&r, 0x48, 0x8B, 0x07);

    faults += vector != NO_FAULT;
    return vector;
}

static int tables(void)
{
    catch_all();
    for (unsigned level = 0; level < 4; level++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            uint64_t entry = UINT64_C(1) << bit | PTE_PRESENT;
            bool is_memory = bit < 12 || bit >= 52;
            if (!is_memory && bit < 40)
                continue; /* an address: other kinds */
            if (bit == 0 || (bit < 12 && level))
                entry &= ~(uint64_t)PTE_PRESENT;
            probe_table(level, entry);
            probe();
        }
    }
    return done("tables");
}

/* ---- Control registers ---- */

/* MOV to the register with each bit turned, then back. */
static void turn_bits(uint8_t modrm_from, uint8_t modrm_to)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        struct registers r = {.rcx = UINT64_C(1) << bit};
        uint32_t vector = TRY(&r, 0x0F, 0x20, modrm_from, 0x48, 0x31, 0xC1, /* MOV RAX, CRn; XOR RCX, RAX */
                              0x0F, 0x22, modrm_to, 0x0F, 0x22, modrm_to - 1);
        faults += vector != NO_FAULT;
    }
}

static void try_xcr0(uint64_t value, uint32_t index)
{
    struct registers r = {.rax = (uint32_t)value, .rdx = value >> 32, .rcx = index};

    faults += TRY(&r, 0x0F, 0x01, 0xD1) != NO_FAULT;
}

static int control(void)
{
    catch_all();
    turn_bits(0xC0, 0xC1);
    turn_bits(0xE0, 0xE1);
    for (uint64_t value = 0; value < 0x200; value++) { /* CR8 */
        struct registers r = {.rax = value};
        faults += TRY(&r, 0x44, 0x0F, 0x22, 0xC0) != NO_FAULT;
    }
    note(faults);
    try_xcr0(1, 0); /* #UD: OSXSAVE is clear */
    write_cr4(read_cr4() | CR4_OSXSAVE);
    for (unsigned bit = 0; bit < 64; bit++) {
        try_xcr0(UINT64_C(1) << bit, 0);
        try_xcr0(UINT64_C(1) << bit | 1, 0);
        try_xcr0(UINT64_C(1) << bit | 3, 0);
        try_xcr0(3, bit);
    }
    return done("control");
}

/* ---- Odd instructions ---- */

#define INSN(...)                                                                                            \
    {                                                                                                        \
        sizeof((const uint8_t[]){__VA_ARGS__}),                                                              \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }

static const struct {
    uint8_t size, bytes[12];
} odd[] = {
    INSN(0x0F, 0x01, 0xC1),                         /* VMCALL */
    INSN(0x0F, 0x01, 0xC2),                         /* VMLAUNCH */
    INSN(0x0F, 0x01, 0xC3),                         /* VMRESUME */
    INSN(0x0F, 0x01, 0xC4),                         /* VMXOFF */
    INSN(0x0F, 0x01, 0xD4),                         /* VMFUNC */
    INSN(0xF3, 0x0F, 0xC7, 0x37),                   /* VMXON [RDI] */
    INSN(0x66, 0x0F, 0xC7, 0x37),                   /* VMCLEAR */
    INSN(0x0F, 0xC7, 0x37),                         /* VMPTRLD */
    INSN(0x0F, 0xC7, 0x3F),                         /* VMPTRST */
    INSN(0x0F, 0x78, 0xC1),                         /* VMREAD */
    INSN(0x0F, 0x79, 0xC1),                         /* VMWRITE */
    INSN(0x66, 0x0F, 0x38, 0x80, 0x07),             /* INVEPT */
    INSN(0x66, 0x0F, 0x38, 0x81, 0x07),             /* INVVPID */
    INSN(0x66, 0x0F, 0x38, 0x82, 0x07),             /* INVPCID */
    INSN(0x0F, 0x01, 0xC8),                         /* MONITOR */
    INSN(0x0F, 0x01, 0xC9),                         /* MWAIT */
    INSN(0x0F, 0xAA),                               /* RSM */
    INSN(0x0F, 0x33),                               /* RDPMC */
    INSN(0x0F, 0x37),                               /* GETSEC */
    INSN(0x0F, 0x01, 0xCF),                         /* ENCLS */
    INSN(0x0F, 0x01, 0xD7),                         /* ENCLU */
    INSN(0x0F, 0xC7, 0x2F),                         /* XSAVES */
    INSN(0x0F, 0xC7, 0x1F),                         /* XRSTORS */
    INSN(0x0F, 0x01, 0xEE),                         /* RDPKRU */
    INSN(0xF3, 0x0F, 0xAE, 0xF0),                   /* UMONITOR */
    INSN(0x66, 0x0F, 0xAE, 0xF0),                   /* TPAUSE */
    INSN(0x0F, 0x01, 0xC5),                         /* PCONFIG */
    INSN(0x0F, 0x0B),                               /* UD2 */
    INSN(0x0F, 0xB9, 0xC0),                         /* UD1 */
    INSN(0x0F, 0xFF, 0xC0),                         /* UD0 */
    INSN(0xF0, 0x90),                               /* LOCK NOP */
    INSN(0x06),                                     /* PUSH ES: invalid in 64-bit mode */
    INSN(0xD6),                                     /* SALC, the same */
    INSN(0x0F, 0x20, 0xC8),                         /* MOV RAX, CR1 */
    INSN(0x0F, 0x22, 0xE8),                         /* MOV CR5, RAX */
    INSN(0x0F, 0x08),                               /* INVD */
    INSN(0x0F, 0x09),                               /* WBINVD */
    INSN(0x0F, 0x01, 0x3F),                         /* INVLPG */
    INSN(0x0F, 0x01, 0xD0),                         /* XGETBV */
    INSN(0x0F, 0x05),                               /* SYSCALL, EFER.SCE is clear */
    INSN(0x0F, 0x35),                               /* SYSEXIT */
    INSN(0x0F, 0x34),                               /* SYSENTER, IA32_SYSENTER_CS is 0 */
    INSN(0xCC),                                     /* INT3 */
    INSN(0x0F, 0x00, 0xD8),                         /* LTR AX */
    INSN(0x0F, 0x00, 0xD0),                         /* LLDT AX */
    INSN(0x8E, 0xD0),                               /* MOV SS, AX */
    INSN(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66), /* prefixes before RET */
};

static int odd_instructions(void)
{
    static uint8_t operand[PAGE_BYTES] __attribute__((aligned(4096)));

    catch_all();
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct registers r = {.rdi = (uintptr_t)operand, .rax = 0x7777};
        uint32_t vector = try_bytes(odd[i].bytes, odd[i].size, &r);
        faults += vector != NO_FAULT;
        say("result: odd %02x %02x %02x vector %u\n", odd[i].bytes[0], odd[i].bytes[1], odd[i].bytes[2],
            (unsigned)vector);
    }
    return done("odd");
}

/* ---- */

static const struct kind kinds[] = {
    {"jumps", jumps},   {"msrs", msrs},       {"ports", ports},          {"mmio", mmio},
    {"tables", tables}, {"control", control}, {"odd", odd_instructions},
};

int main(void)
{
    return run_kind(kinds, sizeof(kinds) / sizeof(kinds[0]));
}
