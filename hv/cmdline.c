#include "hv/cmdline.h"

#include <string.h>

/* A choice among names, in the order of its enum. */
struct choice {
    const char *const *names;
    uint32_t count;
};

static const char *const mode_names[] = {
    [MODE_RECORD] = "record", [MODE_REPLAY] = "replay", [MODE_RUN] = "run", [MODE_SOAK] = "soak"};
static const char *const log_names[] = {[LOG_SERIAL] = "serial", [LOG_NONE] = "none"};
static const char *const end_names[] = {[END_HALT] = "halt",
                                        [END_REBOOT] = "reboot",
                                        [END_BOCHS] = "bochs",
                                        [END_ISA_DEBUG_EXIT] = "isa-debug-exit"};
static const char *const selftest_names[] = {
    [SELFTEST_NONE] = "none",   [SELFTEST_CPUS] = "cpus",   [SELFTEST_TRAP] = "trap",
    [SELFTEST_CHECK] = "check", [SELFTEST_STACK] = "stack", [SELFTEST_WRITE] = "write",
};
static const char *const policy_names[] = {[POLICY_RETROVISOR] = "retrovisor", [POLICY_SAMSARA] = "samsara"};
/* In the order of enum hv_feature's bits. */
static const char *const feature_names[] = {"value", "equal", "ahead", "keep", "pause", "adapt", "guess"};
static const char *const frames_names[] = {"plenty", "least"};
static const char *const bool_names[] = {"off", "on"};
static const char *const apic_names[] = {"auto", "xapic"};
static const char *const pmu_names[] = {"auto", "off"};
static const char *const report_names[] = {"short", "full"};

#define CHOICE(a)                                                                                            \
    {                                                                                                        \
        a, ARRAY_LEN(a)                                                                                      \
    }

static const struct choice modes = CHOICE(mode_names);
static const struct choice logs = CHOICE(log_names);
static const struct choice ends = CHOICE(end_names);
static const struct choice selftests = CHOICE(selftest_names);
static const struct choice policies = CHOICE(policy_names);
static const struct choice features = CHOICE(feature_names);
static const struct choice frames = CHOICE(frames_names);
static const struct choice bools = CHOICE(bool_names);
static const struct choice apics = CHOICE(apic_names);
static const struct choice pmus = CHOICE(pmu_names);
static const struct choice reports = CHOICE(report_names);

/* A word's value: points into the line, not terminated. */
struct text {
    const char *at;
    size_t size;
};

static bool text_is(struct text t, const char *name)
{
    return strlen(name) == t.size && memcmp(name, t.at, t.size) == 0;
}

static bool parse_choice(struct text t, const struct choice *choice, uint32_t *out)
{
    for (uint32_t i = 0; i < choice->count; i++) {
        if (text_is(t, choice->names[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool parse_digit(char c, uint64_t base, uint64_t *digit)
{
    if (c >= '0' && c <= '9') {
        *digit = (uint64_t)(c - '0');
    } else if (base == 16 && c >= 'a' && c <= 'f') {
        *digit = (uint64_t)(c - 'a') + 10;
    } else if (base == 16 && c >= 'A' && c <= 'F') {
        *digit = (uint64_t)(c - 'A') + 10;
    } else {
        return false;
    }
    return true;
}

/* Decimal, or hexadecimal after 0x; within [low, high]. */
static bool parse_number(struct text t, uint64_t low, uint64_t high, uint64_t *out)
{
    uint64_t base = 10, value = 0;

    if (t.size > 2 && t.at[0] == '0' && t.at[1] == 'x') {
        base = 16;
        t.at += 2;
        t.size -= 2;
    }
    if (t.size == 0) {
        return false;
    }
    for (size_t i = 0; i < t.size; i++) {
        uint64_t digit;

        if (!parse_digit(t.at[i], base, &digit) || value > (UINT64_MAX - digit) / base) {
            return false;
        }
        value = value * base + digit;
    }
    if (value < low || value > high) {
        return false;
    }
    *out = value;
    return true;
}

static bool parse_u32(struct text t, uint32_t low, uint32_t high, uint32_t *out)
{
    uint64_t value;

    if (!parse_number(t, low, high, &value)) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

#define GUEST_MEMORY_MIN (UINT64_C(2) << 20)
#define GUEST_MEMORY_MAX (UINT64_C(3) << 30) /* below the guest's MMIO hole */

/* Bytes, or with K, M, G behind the number; within [low, high]. */
static bool parse_size(struct text t, uint64_t low, uint64_t high, uint64_t *out)
{
    static const char suffixes[] = {'K', 'M', 'G'};
    uint64_t value, shift = 0;

    for (size_t i = 0; t.size > 0 && i < sizeof(suffixes); i++) {
        if (t.at[t.size - 1] == suffixes[i]) {
            shift = 10 * (i + 1);
            t.size--;
            break;
        }
    }
    if (!parse_number(t, 1, high >> shift, &value) || value << shift < low) {
        return false;
    }
    *out = value << shift;
    return true;
}

static bool parse_bool(struct text t, bool *out)
{
    uint32_t value;

    if (!parse_choice(t, &bools, &value)) {
        return false;
    }
    *out = value;
    return true;
}

/* The setters, one per word. */
static bool set_mode(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &modes, &value);

    if (good) {
        o->mode = (enum hv_mode)value;
    }
    return good;
}

static bool set_log(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &logs, &value);

    if (good) {
        o->log = (enum hv_log)value;
    }
    return good;
}

static bool set_end(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &ends, &value);

    if (good) {
        o->end = (enum hv_end)value;
    }
    return good;
}

static bool set_selftest(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &selftests, &value);

    if (good) {
        o->selftest = (enum hv_selftest)value;
    }
    return good;
}

static bool set_apic(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &apics, &value);

    if (good) {
        o->xapic = value;
    }
    return good;
}

static bool set_pmu(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &pmus, &value);

    if (good) {
        o->no_pmu = value;
    }
    return good;
}

static bool set_report(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &reports, &value);

    if (good) {
        o->full_report = value;
    }
    return good;
}

static bool set_mem(struct hv_options *o, struct text t)
{
    uint64_t value;

    if (!parse_size(t, GUEST_MEMORY_MIN, GUEST_MEMORY_MAX, &value) || value % PAGE_2M != 0) {
        return false;
    }
    o->guest_memory = value;
    return true;
}

static bool set_log_buffer(struct hv_options *o, struct text t)
{
    uint64_t value;

    if (!parse_size(t, LOG_BUFFER_MIN, LOG_BUFFER_MAX, &value) || (value & (value - 1)) != 0) {
        return false;
    }
    o->log_buffer = (uint32_t)value;
    return true;
}

static bool set_frames(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &frames, &value);

    if (good) {
        o->least_frames = value;
    }
    return good;
}

static bool set_vcpus(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, MAX_VCPUS, &o->vcpus);
}

static bool set_chunk(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->chunk);
}

static bool set_min_chunk(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->min_chunk);
}

static bool set_pause(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->pause);
}

static bool set_stride(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->stride);
}

static bool set_chaos(struct hv_options *o, struct text t)
{
    return parse_u32(t, 0, 90, &o->chaos);
}

/* Kinds between commas, `all`, or `none`. */
static bool set_noise(struct hv_options *o, struct text t)
{
    static const struct {
        const char *name;
        uint32_t kinds;
    } kinds[] = {{"none", 0},
                 {"squash", NOISE_SQUASH},
                 {"delay", NOISE_DELAY},
                 {"interrupt", NOISE_INTERRUPT},
                 {"token", NOISE_TOKEN},
                 {"walk", NOISE_WALK},
                 {"all", NOISE_ALL}};
    const char *end = t.at + t.size;
    uint32_t noise = 0;

    for (;;) {
        const char *comma = memchr(t.at, ',', (size_t)(end - t.at));
        size_t i = 0;

        t.size = (size_t)((comma ? comma : end) - t.at);
        while (i < ARRAY_LEN(kinds) && !text_is(t, kinds[i].name))
            i++;
        if (i == ARRAY_LEN(kinds))
            return false;
        noise |= kinds[i].kinds;
        if (!comma)
            break;
        t.at = comma + 1;
    }
    o->noise = noise;
    return true;
}

static bool set_count(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->count);
}

static bool set_seconds(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->seconds);
}

#define BAUD_MAX 115200u

static bool set_baud(struct hv_options *o, struct text t)
{
    uint32_t value;

    /* The UART divides its clock by a whole number. */
    if (!parse_u32(t, 2, BAUD_MAX, &value) || BAUD_MAX % value != 0) {
        return false;
    }
    o->baud = value;
    return true;
}

static bool set_seed(struct hv_options *o, struct text t)
{
    return parse_number(t, 0, UINT64_MAX, &o->seed);
}

static bool set_limit(struct hv_options *o, struct text t)
{
    return parse_number(t, 1, UINT64_MAX, &o->limit);
}

static bool set_limit_ms(struct hv_options *o, struct text t)
{
    return parse_u32(t, 1, UINT32_MAX, &o->limit_ms);
}

static bool set_verify(struct hv_options *o, struct text t)
{
    return parse_bool(t, &o->verify);
}

static bool set_detail(struct hv_options *o, struct text t)
{
    return parse_bool(t, &o->detail);
}

static bool set_msg_port_e9(struct hv_options *o, struct text t)
{
    return parse_bool(t, &o->msg_port_e9);
}

static bool set_policy(struct hv_options *o, struct text t)
{
    uint32_t value;
    bool good = parse_choice(t, &policies, &value);

    if (good) {
        o->policy = (enum hv_policy)value;
    }
    return good;
}

/* Names with commas between them. */
static bool set_off(struct hv_options *o, struct text t)
{
    uint32_t off = 0, value;

    for (;;) {
        const char *comma = memchr(t.at, ',', t.size);
        struct text name = {t.at, comma ? (size_t)(comma - t.at) : t.size};

        if (!parse_choice(name, &features, &value)) {
            return false;
        }
        off |= 1u << value;
        if (!comma) {
            o->off = off;
            return true;
        }
        t.size -= name.size + 1;
        t.at = comma + 1;
    }
}

static bool set_pml(struct hv_options *o, struct text t)
{
    return parse_bool(t, &o->pml);
}

static bool set_serial(struct hv_options *o, struct text t)
{
    return parse_bool(t, &o->serial);
}

static const struct {
    const char *name;
    bool (*set)(struct hv_options *options, struct text value);
} words[] = {
    {"mode", set_mode},
    {"mem", set_mem},
    {"vcpus", set_vcpus},
    {"chunk", set_chunk},
    {"log", set_log},
    {"min-chunk", set_min_chunk},
    {"pause", set_pause},
    {"stride", set_stride},
    {"chaos", set_chaos},
    {"baud", set_baud},
    {"seed", set_seed},
    {"verify", set_verify},
    {"end", set_end},
    {"msg-port-e9", set_msg_port_e9},
    {"report", set_report},
    {"apic", set_apic},
    {"selftest", set_selftest},
    {"limit", set_limit},
    {"limit-ms", set_limit_ms},
    {"count", set_count},
    {"seconds", set_seconds},
    {"pmu", set_pmu},
    {"noise", set_noise},
    {"detail", set_detail},
    {"frames", set_frames},
    {"policy", set_policy},
    {"off", set_off},
    {"serial", set_serial},
    {"log-buffer", set_log_buffer},
    {"pml", set_pml},
};

struct hv_options cmdline_defaults(void)
{
    return (struct hv_options){
        .mode = MODE_RECORD,
        .log = LOG_SERIAL,
        .end = END_HALT,
        .guest_memory = UINT64_C(64) << 20,
        .chunk = 100000,
        .min_chunk = 20000,
        .pause = 1,
        .stride = 20,
        .baud = BAUD_MAX,
        .log_buffer = 256u << 10,
        .verify = true,
    };
}

static enum cmdline_error parse_word(struct text word, struct hv_options *options)
{
    const char *equals = memchr(word.at, '=', word.size);
    size_t name_size = equals ? (size_t)(equals - word.at) : word.size;
    struct text name = {word.at, name_size};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (text_is(name, words[i].name)) {
            if (!equals) {
                return CMDLINE_BAD_VALUE;
            }
            struct text value = {equals + 1, word.size - name_size - 1};

            return words[i].set(options, value) ? CMDLINE_OK : CMDLINE_BAD_VALUE;
        }
    }
    return CMDLINE_UNKNOWN_WORD;
}

enum cmdline_error cmdline_parse(const char *line, struct hv_options *options, char word[CMDLINE_WORD_SIZE])
{
    static const char spaces[] = " \t\r\n";

    *options = cmdline_defaults();
    word[0] = '\0';
    for (const char *at = line + strspn(line, spaces); *at; at += strspn(at, spaces)) {
        struct text t = {at, strcspn(at, spaces)};
        enum cmdline_error error = parse_word(t, options);

        if (error != CMDLINE_OK) {
            size_t kept = MIN(t.size, (size_t)CMDLINE_WORD_SIZE - 1);

            memcpy(word, t.at, kept);
            word[kept] = '\0';
            return error;
        }
        at += t.size;
    }
    return CMDLINE_OK;
}

const char *cmdline_mode_name(enum hv_mode mode)
{
    return (size_t)mode < ARRAY_LEN(mode_names) ? mode_names[mode] : "unknown";
}
