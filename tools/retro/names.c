#include "tools/retro/names.h"

#include "replay/record.h"

static const char *pick(const char *const *names, unsigned count, unsigned i)
{
    return i < count && names[i] ? names[i] : "?";
}

const char *end_name(unsigned end)
{
    static const char *const names[REC_END_COUNT] = {
        [REC_END_POSITION] = "position", [REC_END_PAUSE] = "pause",
        [REC_END_HLT] = "hlt",           [REC_END_IO] = "io",
        [REC_END_MMIO] = "mmio",         [REC_END_APIC] = "apic",
        [REC_END_SHUTDOWN] = "shutdown", [REC_END_REFUSED] = "refused",
    };

    return pick(names, REC_END_COUNT, end);
}

const char *event_name(unsigned kind)
{
    static const char *const names[REC_EVENT_COUNT] = {
        [REC_EVENT_FIXED] = "fixed", [REC_EVENT_TIMER] = "timer", [REC_EVENT_NMI] = "nmi",
        [REC_EVENT_INIT] = "init",   [REC_EVENT_SIPI] = "sipi",   [REC_EVENT_EXTINT] = "extint",
        [REC_EVENT_LEVEL] = "level",
    };

    return pick(names, REC_EVENT_COUNT, kind);
}

const char *device_name(unsigned device)
{
    static const char *const names[REC_DEVICE_COUNT] = {[REC_DEVICE_CONSOLE] = "console",
                                                        [REC_DEVICE_TIME] = "time",
                                                        [REC_DEVICE_DATE] = "date",
                                                        [REC_DEVICE_VIRTIO] = "virtio"};

    return pick(names, REC_DEVICE_COUNT, device);
}

const char *outcome_name(unsigned outcome)
{
    static const char *const names[REC_OUTCOME_COUNT] = {
        [REC_OUTCOME_EXIT] = "exit",       [REC_OUTCOME_SHUTDOWN] = "shutdown",
        [REC_OUTCOME_REFUSED] = "refused", [REC_OUTCOME_HALTED] = "halted",
        [REC_OUTCOME_LIMIT] = "limit",     [REC_OUTCOME_POWER_OFF] = "power-off",
        [REC_OUTCOME_RESET] = "reset",
    };

    return pick(names, REC_OUTCOME_COUNT, outcome);
}
