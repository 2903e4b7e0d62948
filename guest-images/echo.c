/*
 * Reads lines from the console and prints them again, each on the next CPU in turn, until one says `quit`
 * or an end-of-input byte (04, Ctrl-D) comes. Between two looks at the UART a CPU spins on PAUSE, or with
 * `wait=halt` sleeps until its timer. What comes out depends on what comes in alone; how often the CPUs
 * looked for it is a race. With `input=none` nothing is waited for.
 */
#include <string.h>

#include "guest-images/lib/guest.h"

#define VECTOR_TIMER   0x40
#define DEFAULT_PERIOD 20000
#define LINE_MAX_BYTES 200
#define END_OF_INPUT   4

static atomic_uint turn;
static volatile bool over;
static bool halts;
static uint32_t period;
static unsigned lines, bytes;
static uint64_t looks;

static void on_timer(void)
{
}

static void wait_a_little(void)
{
    if (!halts) {
        cpu_relax();
        return;
    }
    timer_oneshot(VECTOR_TIMER, period);
    sleep_with_interrupts();
}

static uint8_t read_byte(void)
{
    int byte;

    while (looks++, (byte = console_read()) < 0)
        wait_a_little();
    bytes++;
    return (uint8_t)byte;
}

/* A line without its end (CR, LF or both in any order); false where the input has ended. */
static bool read_line(char *line)
{
    static uint8_t last;
    size_t length = 0;

    for (;;) {
        uint8_t byte = read_byte(), before = last;

        last = byte;
        if (byte == END_OF_INPUT)
            return false;
        if (byte == '\n' && before == '\r')
            continue;
        if (byte == '\r' || byte == '\n' || length == LINE_MAX_BYTES) {
            line[length] = '\0';
            return true;
        }
        line[length++] = (char)byte;
    }
}

static void serve(void *arg)
{
    char line[LINE_MAX_BYTES + 1];

    (void)arg;
    while (!over) {
        if (atomic_load(&turn) != cpu_id()) {
            cpu_relax();
            continue;
        }
        if (over)
            break;
        if (!read_line(line) || strcmp(line, "quit") == 0) {
            over = true;
            break;
        }
        lines++;
        say("result: line %u on cpu %u: %s\n", lines, cpu_id(), line);
        atomic_store(&turn, (cpu_id() + 1) % cpu_count());
    }
}

int main(void)
{
    halts = arg_word("wait", "halt");
    period = (uint32_t)arg_number("period", DEFAULT_PERIOD);
    interrupt_set(VECTOR_TIMER, on_timer);
    if (!arg_word("input", "none"))
        run_on_all(serve, NULL);
    say("result: echo lines %u bytes %u\n", lines, bytes);
    say("race: echo looks %llu\n", (ull)looks);
    return 0;
}
