/* The decoder, by tables: encodings as an assembler writes them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guestmem/insn.h"

enum flag {
    HIGH = 1,  /* reg_high */
    IMM = 2,   /* has_imm */
    SIGN = 4,  /* sign_extend */
    FIRST = 8, /* reg_is_first */
    LOCKED = 16,
};

struct mem_case {
    const char *text; /* as an assembler would have it */
    const char *bytes;
    uint8_t length;
    enum insn_mode mode;
    enum insn_kind kind;
    enum insn_op op;
    uint8_t size, reg_size, reg, flags, addr_size;
    uint64_t imm;
};

#define M16 INSN_MODE_16
#define M32 INSN_MODE_32
#define M64 INSN_MODE_64
#define MOV INSN_OP_MOV

/* clang-format off */
static const struct mem_case cases[] = {
    /* loads and stores */
    {"mov eax, [rdi]", "\x8b\x07", 2, M64, INSN_LOAD, MOV, 4, 4, 0, 0, 8, 0},
    {"mov [rdi], eax", "\x89\x07", 2, M64, INSN_STORE, MOV, 4, 4, 0, 0, 8, 0},
    {"mov [rdi+0x30], ecx", "\x89\x4f\x30", 3, M64, INSN_STORE, MOV, 4, 4, 1, 0, 8, 0},
    {"mov r9, [r8]", "\x4d\x8b\x08", 3, M64, INSN_LOAD, MOV, 8, 8, 9, 0, 8, 0},
    {"mov [rax], r15d", "\x44\x89\x38", 3, M64, INSN_STORE, MOV, 4, 4, 15, 0, 8, 0},
    {"mov ax, [rbx]", "\x66\x8b\x03", 3, M64, INSN_LOAD, MOV, 2, 2, 0, 0, 8, 0},
    {"66 and REX.W: W wins", "\x66\x48\x8b\x03", 4, M64, INSN_LOAD, MOV, 8, 8, 0, 0, 8, 0},
    {"REX before 66 is void", "\x48\x66\x8b\x03", 4, M64, INSN_LOAD, MOV, 2, 2, 0, 0, 8, 0},
    {"mov al, [rsi]", "\x8a\x06", 2, M64, INSN_LOAD, MOV, 1, 1, 0, 0, 8, 0},
    {"mov ah, [rsi]", "\x8a\x26", 2, M64, INSN_LOAD, MOV, 1, 1, 0, HIGH, 8, 0},
    {"mov [rsi], bh", "\x88\x3e", 2, M64, INSN_STORE, MOV, 1, 1, 3, HIGH, 8, 0},
    {"mov [rsi], dil", "\x40\x88\x3e", 3, M64, INSN_STORE, MOV, 1, 1, 7, 0, 8, 0},
    {"mov [rsi], r12b", "\x44\x88\x26", 3, M64, INSN_STORE, MOV, 1, 1, 12, 0, 8, 0},
    {"mov [rip+x], edx", "\x89\x15\x44\x33\x22\x11", 6, M64, INSN_STORE, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [abs32]", "\x8b\x14\x25\x20\x00\xe0\xfe", 7, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [rbx+rcx*4]", "\x8b\x14\x8b", 3, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [rbx+rcx*4+8]", "\x8b\x54\x8b\x08", 4, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [rbx+rcx*4+d32]", "\x8b\x94\x8b\x00\x01\x00\x00", 7, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [r13+r12*2]", "\x43\x8b\x54\x65\x00", 5, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [rbp+8]", "\x8b\x55\x08", 3, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, [rax+d32]", "\x8b\x90\x00\x01\x00\x00", 6, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 8, 0},
    {"mov edx, gs:[edi]", "\x65\x67\x8b\x17", 4, M64, INSN_LOAD, MOV, 4, 4, 2, 0, 4, 0},
    {"mov [rax], 0x12345678", "\xc7\x00\x78\x56\x34\x12", 6, M64, INSN_STORE, MOV, 4, 4, 0, IMM, 8, 0x12345678},
    {"mov [rax], -2 (8 bytes)", "\x48\xc7\x00\xfe\xff\xff\xff", 7, M64, INSN_STORE, MOV, 8, 8, 0, IMM, 8, (uint64_t)-2},
    {"mov word [rax+4], 0x8001", "\x66\xc7\x40\x04\x01\x80", 6, M64, INSN_STORE, MOV, 2, 2, 0, IMM, 8, 0xffffffffffff8001},
    {"mov byte [rax+rbx], 5", "\xc6\x04\x18\x05", 4, M64, INSN_STORE, MOV, 1, 1, 0, IMM, 8, 5},
    {"mov dword [rip+x], 1", "\xc7\x05\x00\x00\x00\x00\x01\x00\x00\x00", 10, M64, INSN_STORE, MOV, 4, 4, 0, IMM, 8, 1},
    /* absolute addresses */
    {"mov al, [moffs64]", "\xa0\x30\x00\xe0\xfe\x00\x00\x00\x00", 9, M64, INSN_LOAD, MOV, 1, 1, 0, 0, 8, 0},
    {"mov eax, [moffs64]", "\xa1\x30\x00\xe0\xfe\x00\x00\x00\x00", 9, M64, INSN_LOAD, MOV, 4, 4, 0, 0, 8, 0},
    {"mov [moffs64], rax", "\x48\xa3\x30\x00\xe0\xfe\x00\x00\x00\x00", 10, M64, INSN_STORE, MOV, 8, 8, 0, 0, 8, 0},
    {"mov [moffs32], eax", "\x67\xa3\x30\x00\xe0\xfe", 6, M64, INSN_STORE, MOV, 4, 4, 0, 0, 4, 0},
    {"mov eax, [moffs32]", "\xa1\x30\x00\xe0\xfe", 5, M32, INSN_LOAD, MOV, 4, 4, 0, 0, 4, 0},
    {"mov [moffs32], al", "\xa2\x30\x00\xe0\xfe", 5, M32, INSN_STORE, MOV, 1, 1, 0, 0, 4, 0},
    {"mov ax, [moffs16]", "\xa1\x34\x12", 3, M16, INSN_LOAD, MOV, 2, 2, 0, 0, 2, 0},
    {"mov eax, [moffs32] in 16 bits", "\x66\x67\xa1\x30\x00\xe0\xfe", 7, M16, INSN_LOAD, MOV, 4, 4, 0, 0, 4, 0},
    /* extending loads */
    {"movzx eax, byte [rdi]", "\x0f\xb6\x07", 3, M64, INSN_LOAD, MOV, 1, 4, 0, 0, 8, 0},
    {"movzx ax, byte [rdi]", "\x66\x0f\xb6\x07", 4, M64, INSN_LOAD, MOV, 1, 2, 0, 0, 8, 0},
    {"movzx esp, byte [rdi]", "\x0f\xb6\x27", 3, M64, INSN_LOAD, MOV, 1, 4, 4, 0, 8, 0},
    {"movzx r10, word [rdi]", "\x4c\x0f\xb7\x17", 4, M64, INSN_LOAD, MOV, 2, 8, 10, 0, 8, 0},
    {"movsx eax, byte [rdi]", "\x0f\xbe\x07", 3, M64, INSN_LOAD, MOV, 1, 4, 0, SIGN, 8, 0},
    {"movsx rcx, word [rdi]", "\x48\x0f\xbf\x0f", 4, M64, INSN_LOAD, MOV, 2, 8, 1, SIGN, 8, 0},
    {"movsxd rcx, dword [rdi]", "\x48\x63\x0f", 3, M64, INSN_LOAD, MOV, 4, 8, 1, SIGN, 8, 0},
    {"movsxd ecx, dword [rdi]", "\x63\x0f", 2, M64, INSN_LOAD, MOV, 4, 4, 1, SIGN, 8, 0},
    {"movsxd cx, word [rdi]", "\x66\x63\x0f", 3, M64, INSN_LOAD, MOV, 2, 2, 1, SIGN, 8, 0},
    {"movzx eax, byte [bx+si]", "\x66\x0f\xb6\x00", 4, M16, INSN_LOAD, MOV, 1, 4, 0, 0, 2, 0},
    /* 32-bit and 16-bit code */
    {"mov eax, [0xfee00020]", "\x8b\x05\x20\x00\xe0\xfe", 6, M32, INSN_LOAD, MOV, 4, 4, 0, 0, 4, 0},
    {"mov [ebp-4], bp", "\x66\x89\x6d\xfc", 4, M32, INSN_STORE, MOV, 2, 2, 5, 0, 4, 0},
    {"mov eax, [bp+di]", "\x67\x8b\x03", 3, M32, INSN_LOAD, MOV, 4, 4, 0, 0, 2, 0},
    {"mov ax, [d16]", "\x8b\x06\x34\x12", 4, M16, INSN_LOAD, MOV, 2, 2, 0, 0, 2, 0},
    {"mov [bp+2], ax", "\x89\x46\x02", 3, M16, INSN_STORE, MOV, 2, 2, 0, 0, 2, 0},
    {"mov [bx+d16], cl", "\x88\x8f\x00\x10", 4, M16, INSN_STORE, MOV, 1, 1, 1, 0, 2, 0},
    {"mov eax, es:[esp+4]", "\x26\x66\x67\x8b\x44\x24\x04", 7, M16, INSN_LOAD, MOV, 4, 4, 0, 0, 4, 0},
    {"mov word [si], 0x1234", "\xc7\x04\x34\x12", 4, M16, INSN_STORE, MOV, 2, 2, 0, IMM, 2, 0x1234},
    /* read, modify, write */
    {"add [rdi], eax", "\x01\x07", 2, M64, INSN_RMW, INSN_OP_ADD, 4, 4, 0, 0, 8, 0},
    {"or [rdi], dl", "\x08\x17", 2, M64, INSN_RMW, INSN_OP_OR, 1, 1, 2, 0, 8, 0},
    {"and dword [rdi], -2", "\x83\x27\xfe", 3, M64, INSN_RMW, INSN_OP_AND, 4, 4, 0, IMM, 8, (uint64_t)-2},
    {"or dword [rdi], 0x100", "\x81\x0f\x00\x01\x00\x00", 6, M64, INSN_RMW, INSN_OP_OR, 4, 4, 0, IMM, 8, 0x100},
    {"sub qword [rdi], 1", "\x48\x83\x2f\x01", 4, M64, INSN_RMW, INSN_OP_SUB, 8, 8, 0, IMM, 8, 1},
    {"xor byte [rdi], 0x80", "\x80\x37\x80", 3, M64, INSN_RMW, INSN_OP_XOR, 1, 1, 0, IMM, 8, 0xffffffffffffff80},
    {"add word [rdi], 0x1234", "\x66\x81\x07\x34\x12", 5, M64, INSN_RMW, INSN_OP_ADD, 2, 2, 0, IMM, 8, 0x1234},
    {"lock or [rdi], eax", "\xf0\x09\x07", 3, M64, INSN_RMW, INSN_OP_OR, 4, 4, 0, LOCKED, 8, 0},
    {"lock add dword [rdi], 1", "\xf0\x83\x07\x01", 4, M64, INSN_RMW, INSN_OP_ADD, 4, 4, 0, IMM | LOCKED, 8, 1},
    {"xchg [rdi], eax", "\x87\x07", 2, M64, INSN_XCHG, MOV, 4, 4, 0, LOCKED, 8, 0},
    {"xchg [rdi], ch", "\x86\x2f", 2, M64, INSN_XCHG, MOV, 1, 1, 1, HIGH | LOCKED, 8, 0},
    {"lock xchg [rdi], r8", "\xf0\x4c\x87\x07", 4, M64, INSN_XCHG, MOV, 8, 8, 8, LOCKED, 8, 0},
    /* flags only, and operations into registers */
    {"test [rdi], eax", "\x85\x07", 2, M64, INSN_COMPARE, INSN_OP_TEST, 4, 4, 0, 0, 8, 0},
    {"test [rdi], cl", "\x84\x0f", 2, M64, INSN_COMPARE, INSN_OP_TEST, 1, 1, 1, 0, 8, 0},
    {"test byte [rdi+5], 0x20", "\xf6\x47\x05\x20", 4, M64, INSN_COMPARE, INSN_OP_TEST, 1, 1, 0, IMM, 8, 0x20},
    {"test dword [rdi], 0x1000", "\xf7\x07\x00\x10\x00\x00", 6, M64, INSN_COMPARE, INSN_OP_TEST, 4, 4, 0, IMM, 8, 0x1000},
    {"cmp [rdi], eax", "\x39\x07", 2, M64, INSN_COMPARE, INSN_OP_CMP, 4, 4, 0, 0, 8, 0},
    {"cmp eax, [rdi]", "\x3b\x07", 2, M64, INSN_COMPARE, INSN_OP_CMP, 4, 4, 0, FIRST, 8, 0},
    {"cmp dword [rdi], 0", "\x83\x3f\x00", 3, M64, INSN_COMPARE, INSN_OP_CMP, 4, 4, 0, IMM, 8, 0},
    {"cmp byte [rdi], 7", "\x80\x3f\x07", 3, M64, INSN_COMPARE, INSN_OP_CMP, 1, 1, 0, IMM, 8, 7},
    {"and eax, [rdi]", "\x23\x07", 2, M64, INSN_LOAD_OP, INSN_OP_AND, 4, 4, 0, FIRST, 8, 0},
    {"sub r9, [rdi]", "\x4c\x2b\x0f", 3, M64, INSN_LOAD_OP, INSN_OP_SUB, 8, 8, 9, FIRST, 8, 0},
    {"xor dh, [rdi]", "\x32\x37", 2, M64, INSN_LOAD_OP, INSN_OP_XOR, 1, 1, 2, FIRST | HIGH, 8, 0},
    {"longest: 15 bytes", "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x8b\x07", 15, M64, INSN_LOAD, MOV, 4, 4, 0, 0, 8, 0},
};

struct bad_case {
    const char *text;
    const char *bytes;
    uint8_t length;
    enum insn_mode mode;
};

static const struct bad_case bad_cases[] = {
    {"register operands", "\x89\xc3", 2, M64},
    {"movzx from a register", "\x0f\xb6\xc0", 3, M64},
    {"lock mov", "\xf0\x89\x07", 3, M64},
    {"lock cmp", "\xf0\x39\x07", 3, M64},
    {"lock add register", "\xf0\x03\x07", 3, M64},
    {"rep mov", "\xf3\x89\x07", 3, M64},
    {"repne mov", "\xf2\x89\x07", 3, M64},
    {"adc", "\x11\x07", 2, M64},
    {"sbb immediate", "\x83\x1f\x01", 3, M64},
    {"adc immediate", "\x83\x17\x01", 3, M64},
    {"82 group", "\x82\x07\x01", 3, M32},
    {"not", "\xf7\x17", 2, M64},
    {"neg", "\xf6\x1f", 2, M64},
    {"group 11 /1", "\xc7\x08\x00\x00\x00\x00", 6, M64},
    {"xabort", "\xc6\xf8\x01", 3, M64},
    {"inc", "\xff\x07", 2, M64},
    {"arpl in 32-bit mode", "\x63\x07", 2, M32},
    {"inc eax, not REX, in 32-bit mode", "\x48\x8b\x07", 3, M32},
    {"nop", "\x90", 1, M64},
    {"movs", "\xa4", 1, M64},
    {"cmpxchg", "\x0f\xb1\x07", 3, M64},
    {"bts", "\x0f\xab\x07", 3, M64},
    {"movups", "\x0f\x10\x07", 3, M64},
    {"VEX", "\xc5\xf8\x28\x07", 4, M64},
    {"16 bytes", "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x8b\x07", 16, M64},
    {"only prefixes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66", 16, M64},
    {"nothing", "", 0, M64},
};
/* clang-format on */

/* Decodes exactly `count` bytes on the heap, so that the sanitizer sees a read past them. */
static bool decode(const char *bytes, size_t count, enum insn_mode mode, struct insn_mem *out)
{
    uint8_t *exact = malloc(count + (count == 0));
    bool known;

    memcpy(exact, bytes, count);
    known = insn_decode_mem(exact, count, mode, out);
    free(exact);
    return known;
}

static void check_case(const struct mem_case *c, const struct insn_mem *i)
{
    uint8_t flags =
        (uint8_t)((i->reg_high ? HIGH : 0) | (i->has_imm ? IMM : 0) | (i->sign_extend ? SIGN : 0) |
                  (i->reg_is_first ? FIRST : 0) | (i->locked ? LOCKED : 0));

    if (i->kind != c->kind || i->op != c->op)
        fail_msg("%s: kind %u op %u", c->text, i->kind, i->op);
    if (i->length != c->length || i->addr_size != c->addr_size)
        fail_msg("%s: length %u, address size %u", c->text, i->length, i->addr_size);
    if (i->size != c->size || i->reg_size != c->reg_size)
        fail_msg("%s: sizes %u %u", c->text, i->size, i->reg_size);
    if (!i->has_imm && i->reg != c->reg)
        fail_msg("%s: register %u", c->text, i->reg);
    if (flags != c->flags || i->imm != c->imm)
        fail_msg("%s: flags %x immediate %llx", c->text, flags, (unsigned long long)i->imm);
}

static void accesses(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct insn_mem insn;

        if (!decode(cases[i].bytes, cases[i].length, cases[i].mode, &insn))
            fail_msg("%s: unknown", cases[i].text);
        check_case(&cases[i], &insn);
    }
}

/* Every prefix of an instruction is cut off, every longer buffer is the same instruction. */
static void every_cut(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct insn_mem insn;
        char longer[20] = {0};

        for (size_t count = 0; count < cases[i].length; count++)
            if (decode(cases[i].bytes, count, cases[i].mode, &insn) || insn.kind != INSN_UNKNOWN)
                fail_msg("%s: known after %zu bytes", cases[i].text, count);
        memset(longer, 0xcc, sizeof(longer));
        memcpy(longer, cases[i].bytes, cases[i].length);
        assert_true(decode(longer, sizeof(longer), cases[i].mode, &insn));
        check_case(&cases[i], &insn);
    }
}

static void refused(void **state)
{
    static const struct insn_mem unknown = {.kind = INSN_UNKNOWN};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad_cases); i++) {
        struct insn_mem insn;

        memset(&insn, 0xff, sizeof(insn));
        if (decode(bad_cases[i].bytes, bad_cases[i].length, bad_cases[i].mode, &insn))
            fail_msg("%s: known", bad_cases[i].text);
        assert_int_equal(insn.kind, unknown.kind);
        assert_int_equal(insn.length, 0);
    }
}

struct rep_case {
    const char *text;
    const char *bytes;
    uint8_t length;
    enum insn_mode mode;
    bool is_rep;
    bool repne;
    enum insn_string string;
    uint8_t size, addr_size;
};

static const struct rep_case rep_cases[] = {
    {"rep movsb", "\xf3\xa4", 2, M64, true, false, INSN_MOVS, 1, 8},
    {"rep movsq", "\xf3\x48\xa5", 3, M64, true, false, INSN_MOVS, 8, 8},
    {"rep movsd", "\xf3\xa5", 2, M64, true, false, INSN_MOVS, 4, 8},
    {"rep movsw", "\x66\xf3\xa5", 3, M64, true, false, INSN_MOVS, 2, 8},
    {"rep movsw, 16 bits", "\xf3\xa5", 2, M16, true, false, INSN_MOVS, 2, 2},
    {"rep movsd, 16 bits", "\xf3\x66\x67\xa5", 4, M16, true, false, INSN_MOVS, 4, 4},
    {"rep stosq, 32-bit addresses", "\x67\xf3\x48\xab", 4, M64, true, false, INSN_STOS, 8, 4},
    {"rep stosb", "\xf3\xaa", 2, M32, true, false, INSN_STOS, 1, 4},
    {"rep lodsd", "\xf3\xad", 2, M32, true, false, INSN_LODS, 4, 4},
    {"repe cmpsb", "\xf3\xa6", 2, M64, true, false, INSN_CMPS, 1, 8},
    {"repne cmpsq", "\xf2\x48\xa7", 3, M64, true, true, INSN_CMPS, 8, 8},
    {"repne scasb", "\xf2\xae", 2, M64, true, true, INSN_SCAS, 1, 8},
    {"repe scasw, 16-bit addresses", "\x67\x66\xf3\xaf", 4, M32, true, false, INSN_SCAS, 2, 2},
    {"rep insb", "\xf3\x6c", 2, M64, true, false, INSN_INS, 1, 8},
    {"rep insd with REX.W", "\xf3\x48\x6d", 3, M64, true, false, INSN_INS, 4, 8},
    {"rep outsw", "\x66\xf3\x6f", 3, M64, true, false, INSN_OUTS, 2, 8},
    {"repne movsb repeats too", "\xf2\xa4", 2, M64, true, true, INSN_MOVS, 1, 8},
    {"the last of F2 F3 counts", "\xf2\xf3\xa6", 3, M64, true, false, INSN_CMPS, 1, 8},
    {"fs rep movsb", "\x64\xf3\xa4", 3, M64, true, false, INSN_MOVS, 1, 8},
    {"movsb alone", "\xa4", 1, M64, false, false, 0, 0, 0},
    {"pause", "\xf3\x90", 2, M64, false, false, 0, 0, 0},
    {"rep ret", "\xf3\xc3", 2, M64, false, false, 0, 0, 0},
    {"test al, imm8", "\xf3\xa8\x01", 3, M64, false, false, 0, 0, 0},
    {"moffs", "\xf3\xa3", 2, M32, false, false, 0, 0, 0},
    {"popcnt", "\xf3\x0f\xb8\xc1", 4, M64, false, false, 0, 0, 0},
    {"lock rep movsb", "\xf0\xf3\xa4", 3, M64, false, false, 0, 0, 0},
    {"REX in 32-bit mode", "\xf3\x48\xa5", 3, M32, false, false, 0, 0, 0},
    {"only prefixes", "\xf3\xf3", 2, M64, false, false, 0, 0, 0},
};

static void rep_strings(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rep_cases); i++) {
        const struct rep_case *c = &rep_cases[i];
        struct insn_rep rep;
        uint8_t *exact = malloc(c->length);
        bool found;

        memcpy(exact, c->bytes, c->length);
        found = insn_rep_string(exact, c->length, c->mode, &rep);
        if (found != c->is_rep || rep.is_rep_string != c->is_rep)
            fail_msg("%s: %d", c->text, found);
        if (found && (rep.string != c->string || rep.repne != c->repne || rep.size != c->size ||
                      rep.addr_size != c->addr_size || rep.length != c->length))
            fail_msg("%s: string %u size %u/%u length %u", c->text, rep.string, rep.size, rep.addr_size,
                     rep.length);
        if (found)
            assert_int_equal(rep.sets_flags, c->string == INSN_CMPS || c->string == INSN_SCAS);
        if (found)
            assert_false(insn_rep_string(exact, c->length - 1u, c->mode, &rep));
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accesses),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(refused),
        cmocka_unit_test(rep_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
