#include "tools/retro/machine.h"
#include "tools/retro/emulator.h"
#include "tools/retro/retro.h"
#include "tools/retro/source.h"
#include "tools/retro/util.h"

#include "replay/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OPTION_CHUNK = 256,
    OPTION_SEED,
    OPTION_CHAOS,
    OPTION_HV,
    OPTION_IPS,
    OPTION_MACHINE_MEM,
    OPTION_HOME,
    OPTION_CONSOLE,
    OPTION_KEEP,
    OPTION_JSON,
    OPTION_INITRD,
};

#define MIB (UINT64_C(1) << 20)

enum { MACHINE_OWN_MIB = 64, SCRIPT_GRACE = 30, FOREVER = 10000000 };

/* How long the emulator may take to end by itself once the hypervisor has told its result. */
static const double END_GRACE = 5.0;

/* Those of tools/emulate. */
static bool is_emulator(const char *name)
{
    return strcmp(name, "bochs") == 0 || strcmp(name, "qemu") == 0 || strcmp(name, "qemu-uefi") == 0;
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct machine_options *o = state->input;
    uint64_t number;

    switch (key) {
    case 'g':
        o->guest = arg;
        return 0;
    case OPTION_INITRD:
        o->initrd = arg;
        return 0;
    case OPTION_HV:
        o->words = arg;
        return 0;
    case 'e':
        if (!is_emulator(arg))
            argp_error(state, "--emulator: '%s' is none of bochs, qemu and qemu-uefi", arg);
        o->emulator = arg;
        return 0;
    case OPTION_IPS:
        if (!parse_number(arg, 1, UINT32_MAX, &number))
            argp_error(state, "--ips: '%s' is not a number of instructions per second", arg);
        o->ips = (unsigned)number;
        return 0;
    case OPTION_MACHINE_MEM:
        if (!parse_size(arg, &number) || number >> 20 == 0 || number >> 20 > UINT32_MAX)
            argp_error(state, "--machine-mem: '%s' is not a size such as 512M", arg);
        o->machine_mib = (unsigned)(number >> 20);
        return 0;
    case 't':
        if (!parse_number(arg, 0, 1000000, &number))
            argp_error(state, "--timeout: '%s' is not a number of seconds", arg);
        o->timeout = (double)number;
        return 0;
    case OPTION_HOME:
        o->home = arg;
        return 0;
    case OPTION_CONSOLE:
        o->console_file = arg;
        return 0;
    case OPTION_KEEP:
        o->keep = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case 'v':
        o->verbose++;
        return 0;
    case ARGP_KEY_END:
        if (!o->guest)
            argp_error(state, "give the guest's image by --guest");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option common_options[] = {
    {"guest", 'g', "FILE", 0, "The guest's image: a multiboot2 ELF file, or a Linux bzImage", 0},
    {"initrd", OPTION_INITRD, "FILE", 0, "Linux: the initramfs", 0},
    {"hv", OPTION_HV, "WORDS", 0, "Further words for the hypervisor's command line", 0},
    {"emulator", 'e', "NAME", 0, "Emulator: bochs (the default), qemu, qemu-uefi; only bochs has VT-x", 0},
    {"ips", OPTION_IPS, "N", 0, "Emulated instructions per emulated second", 0},
    {"machine-mem", OPTION_MACHINE_MEM, "SIZE", 0, "Memory of the emulated machine (fits the guest)", 0},
    {"timeout", 't', "SECONDS", 0, "Give up after this time; 0 for never (600)", 0},
    {"home", OPTION_HOME, "DIR", 0, "Retrovisor's directory (default: $RETROVISOR_HOME, or beside retro)", 0},
    {"console", OPTION_CONSOLE, "FILE", 0, "Write the guest's console to FILE too", 0},
    {"keep", OPTION_KEEP, NULL, 0, "Keep the temporary files and name their place", 0},
    {"json", OPTION_JSON, NULL, 0, "Print the verdict as JSON; the console is then not shown", 0},
    {"verbose", 'v', NULL, 0, "Show all that comes: firmware, boot loader, the whole start-up report", 0},
    {0},
};

const struct argp machine_argp = {.options = common_options, .parser = parse_common};

static error_t parse_guest(int key, char *arg, struct argp_state *state)
{
    struct machine_options *o = state->input;
    uint64_t number;

    switch (key) {
    case 'n':
        if (!parse_number(arg, 1, MAX_VCPUS, &number))
            argp_error(state, "--vcpus: '%s' is not a number from 1 to %u", arg, MAX_VCPUS);
        o->vcpus = (unsigned)number;
        return 0;
    case 'm':
        if (!parse_size(arg, &o->memory) || o->memory % (2 * MIB))
            argp_error(state, "--mem: '%s' is not an even number of MiB, such as 64M", arg);
        return 0;
    case 'a':
        o->append = arg;
        return 0;
    case OPTION_CHUNK:
        if (!parse_number(arg, 1, UINT32_MAX, &o->chunk))
            argp_error(state, "--chunk: '%s' is not a number of TSC ticks", arg);
        o->has_chunk = true;
        return 0;
    case OPTION_SEED:
        if (!parse_number(arg, 0, UINT64_MAX, &o->seed))
            argp_error(state, "--seed: '%s' is not a number", arg);
        o->has_seed = true;
        return 0;
    case OPTION_CHAOS:
        if (!parse_number(arg, 0, 90, &o->chaos))
            argp_error(state, "--chaos: '%s' is not a number from 0 to 90", arg);
        o->has_chaos = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option guest_options[] = {
    {"vcpus", 'n', "N", 0, "Virtual CPUs (2)", 0},
    {"mem", 'm', "SIZE", 0, "Guest memory (64M)", 0},
    {"append", 'a', "TEXT", 0, "The guest's command line", 0},
    {"chunk", OPTION_CHUNK, "N", 0, "Target length of a chunk, in TSC ticks", 0},
    {"seed", OPTION_SEED, "N", 0, "Seed of the hypervisor's own choices", 0},
    {"chaos", OPTION_CHAOS, "N", 0, "Vary the length of chunks by up to N percent, by the seed", 0},
    {0},
};

const struct argp machine_guest_argp = {.options = guest_options, .parser = parse_guest};

/* How the hypervisor ends the machine, by emulator. */
static const char *end_word(const char *emulator)
{
    return strncmp(emulator, "qemu", 4) == 0 ? "isa-debug-exit" : "bochs";
}

/* The hypervisor's command line. */
static char *hypervisor_words(const struct machine_options *o, const char *mode)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        return xprintf(" ");
    fprintf(f, "mode=%s mem=%lluM vcpus=%u log=serial%s end=%s", mode, (unsigned long long)(o->memory / MIB),
            o->vcpus, o->verbose ? " report=full" : "", end_word(o->emulator));
    if (o->has_chunk)
        fprintf(f, " chunk=%llu", (unsigned long long)o->chunk);
    if (o->has_seed)
        fprintf(f, " seed=%llu", (unsigned long long)o->seed);
    if (o->has_chaos)
        fprintf(f, " chaos=%llu", (unsigned long long)o->chaos);
    if (*o->words)
        fprintf(f, " %s", o->words);
    fclose(f);
    return text;
}

/* The texts pass through GRUB's script language: what means something there is refused, not mangled. */
static bool grub_takes(const char *text, const char *option)
{
    size_t n = strcspn(text, "\"'\\$;{}#<>|&\n\r\t");

    if (text[n] == '\0')
        return true;
    fail(RETRO_USAGE, "%s: the character 0x%02x cannot pass the boot loader", option, (unsigned char)text[n]);
    return false;
}

static int make_image(struct emulator *e, const struct machine_options *o, const struct machine_job *job)
{
    char *words = hypervisor_words(o, job->mode);
    char *guest_words = xprintf("guest%s%s", *o->append ? " " : "", o->append);
    struct emulator_module modules[3] = {{o->guest, "guest.elf", guest_words}};
    unsigned count = 1;
    int code;

    if (o->initrd)
        modules[count++] = (struct emulator_module){o->initrd, "initrd", "initrd"};
    if (job->log)
        modules[count++] = (struct emulator_module){job->log, "log", "log"};
    code = emulator_make_image(e, words, modules, count);
    if (o->verbose)
        note("hypervisor command line: %s", words);
    free(words);
    free(guest_words);
    return code;
}

struct watch {
    struct emulator *emulator;
    int status;
};

static bool emulator_alive(void *context)
{
    struct watch *w = context;

    return !emulator_ended(w->emulator, &w->status);
}

/* Says why there is no result; shows what the emulator said. */
static int explain(const struct emulator *e, const struct collector *c, const struct machine_options *o)
{
    if (c->end == COLLECT_INTERRUPTED)
        return fail(RETRO_INTERRUPTED, "interrupted");
    if (c->end == COLLECT_FAILED)
        return RETRO_IO; /* it has said why */
    if (c->end == COLLECT_TIMEOUT)
        return fail(RETRO_TIMEOUT, "no end after %.0f s (--timeout): the run was stopped", o->timeout);
    if (collector_has_result(c))
        return RETRO_OK;
    emulator_print_output(e, "emulate");
    collector_print_foreign(c);
    return fail(RETRO_EMULATOR, "the emulator ended without a result from the hypervisor%s",
                c->link.stats.frames_received ? "" : " (it never spoke on the line)");
}

/* 0 for no path, or no such file. */
static uint64_t file_bytes(const char *path)
{
    struct stat st = {0};

    return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/*
 * The guest three times over (memory, versions, private copies), its images, the log as a file and as decoded
 * records, and the hypervisor itself.
 */
static unsigned machine_mib(const struct machine_options *o, const struct machine_job *job)
{
    uint64_t log = file_bytes(job->log), images = file_bytes(o->guest) + file_bytes(o->initrd);
    uint64_t records = job->commits * (sizeof(struct rec_commit) + sizeof(uint64_t));
    uint64_t mib = (3 * o->memory + images + 2 * log + records) / MIB + MACHINE_OWN_MIB;

    return o->machine_mib ? o->machine_mib : (unsigned)MIN(mib, UINT64_C(1) << 20);
}

static int run_image(struct emulator *e, const struct machine_options *o, const struct machine_job *job,
                     struct collector *c)
{
    struct source s;
    struct watch watch = {.emulator = e};
    struct emulator_options eo = {
        .kind = o->emulator,
        .cpus = o->vcpus + 1, /* one for the control plane */
        .ips = o->ips,
        .mib = machine_mib(o, job),
        .seconds = o->timeout > 0 ? (unsigned)o->timeout + SCRIPT_GRACE : FOREVER,
    };
    double deadline = o->timeout > 0 ? now() + o->timeout : 0;

    int code = source_listen(&s, &eo.port);
    if (code == RETRO_OK)
        code = emulator_start(e, &eo);
    if (code == RETRO_OK) {
        c->quiet = END_GRACE;
        collector_run(c, &s, deadline, emulator_alive, &watch);
        emulator_stop(e, collector_has_result(c) && c->end != COLLECT_INTERRUPTED ? END_GRACE : 0);
        code = explain(e, c, o);
    }
    source_close(&s);
    return code;
}

int machine_run(const struct machine_options *o, const struct machine_job *job, struct collector *c)
{
    struct emulator e;
    int code;

    if (!grub_takes(o->append, "--append") || !grub_takes(o->words, "--hv"))
        return RETRO_USAGE;
    if (access(o->guest, R_OK))
        return fail(RETRO_IO, "cannot read the guest's image %s: %s", o->guest, strerror(errno));
    if (o->initrd && access(o->initrd, R_OK))
        return fail(RETRO_IO, "cannot read the initramfs %s: %s", o->initrd, strerror(errno));
    code = emulator_init(&e, o->home);
    if (code == RETRO_OK)
        code = make_image(&e, o, job);
    if (code == RETRO_OK)
        code = run_image(&e, o, job, c);
    emulator_free(&e, o->keep);
    return code;
}
