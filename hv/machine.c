#include "hv/machine.h"

#include "hv/cpu/cpu.h"
#include "hv/msg.h"
#include "hv/state.h"

#define BOCHS_PORT          0x8900
#define BOCHS_TO_DEBUGGER   'D'
#define ISA_DEBUG_EXIT_PORT 0x501
#define KEYBOARD_COMMAND    0x64
#define KEYBOARD_RESET      0xFE
#define RESET_CONTROL       0xCF9
#define RESET_COLD          0x06

const char *machine_status_name(enum machine_status status)
{
    static const char *const names[] = {
        [MACHINE_OK] = "ok",
        [MACHINE_REFUSED] = "refused",
        [MACHINE_BAD_COMMAND_LINE] = "bad-command-line",
        [MACHINE_BAD_BOOT] = "bad-boot",
        [MACHINE_BAD_GUEST] = "bad-guest",
        [MACHINE_BAD_LOG] = "bad-log",
        [MACHINE_DIVERGENCE] = "divergence",
        [MACHINE_LOG_ERROR] = "log-error",
        [MACHINE_PANIC] = "panic",
    };

    return (size_t)status < ARRAY_LEN(names) ? names[status] : "unknown";
}

_Noreturn void machine_stop(enum machine_status status)
{
    cpu_cli();
    uart_flush(&hv_state.com1);
    switch (hv_state.options.end) {
    case END_BOCHS:
        out8(BOCHS_PORT, BOCHS_TO_DEBUGGER);
        break;
    case END_ISA_DEBUG_EXIT:
        out8(ISA_DEBUG_EXIT_PORT, (uint8_t)status);
        break;
    case END_REBOOT:
        out8(RESET_CONTROL, RESET_COLD);
        out8(KEYBOARD_COMMAND, KEYBOARD_RESET);
        break;
    case END_HALT:
        break;
    }
    for (;;) {
        cpu_cli();
        cpu_hlt();
    }
}

_Noreturn void machine_end(enum machine_status status)
{
    hv_msg(MSG_INFO, "end status=%s", machine_status_name(status));
    machine_stop(status);
}
