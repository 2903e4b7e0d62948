/*
 * String I/O: every CPU prints lines by REP OUTSB, one CPU after the other, and fills memory by INSB, INSW
 * and INSD, with and without REP, up and down and over the border of pages; what no device answers reads as
 * ones. `n` is the number of rounds.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define PORT_CONSOLE 0x3F8u
#define PORT_NOTHING 0x90u
#define BUFFER_BYTES (2 * (size_t)PAGE_BYTES)

static uint8_t *buffers;
static atomic_uint turn, errors;

static void outs_bytes(uint16_t port, const void *from, size_t count)
{
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
}

static void ins_bytes(uint16_t port, void *to, size_t count)
{
    __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
}

static void ins_words_down(uint16_t port, void *to, size_t count)
{
    __asm__ volatile("std; rep insw; cld" : "+D"(to), "+c"(count) : "d"(port) : "memory", "cc");
}

static void ins_dword(uint16_t port, void *to)
{
    __asm__ volatile("insl" : "+D"(to) : "d"(port) : "memory");
}

/* All of the buffer is 0 but for `bytes` from `first` on, which are ones. */
static void check(const uint8_t *buffer, size_t first, size_t bytes)
{
    for (size_t i = 0; i < BUFFER_BYTES; i++)
        errors += buffer[i] != (i >= first && i < first + bytes ? 0xFF : 0);
}

static void input(uint8_t *buffer, size_t first)
{
    memset(buffer, 0, BUFFER_BYTES);
    ins_bytes(PORT_NOTHING, buffer + first, 7);
    check(buffer, first, 7);
    memset(buffer, 0, BUFFER_BYTES);
    ins_words_down(PORT_NOTHING, buffer + first + 6, 4);
    check(buffer, first, 8);
    memset(buffer, 0, BUFFER_BYTES);
    ins_dword(PORT_NOTHING, buffer + first);
    ins_bytes(PORT_NOTHING, buffer, 0);
    check(buffer, first, 4);
}

static void work(void *arg)
{
    char line[] = "result: cpu 0 by string\n";
    uint64_t rounds = arg_number("n", 4);

    (void)arg;
    for (uint64_t i = 0; i < rounds; i++)
        input(buffers + cpu_id() * BUFFER_BYTES, PAGE_BYTES - 3 + i % 3);
    line[sizeof("result: cpu ") - 1] = (char)('0' + cpu_id());
    while (atomic_load(&turn) != cpu_id())
        cpu_relax();
    outs_bytes(PORT_CONSOLE, line, sizeof(line) - 1);
    turn++;
}

int main(void)
{
    buffers = memory_pages(cpu_count() * BUFFER_BYTES);
    run_on_all(work, NULL);
    say("result: stringio errors %u\n", atomic_load(&errors));
    return errors != 0;
}
