/* The 8042. See kbc.h. */
#include "drivers/vdev/kbc.h"

#include <string.h>

#define STATUS_FULL    UINT8_C(0x01)
#define STATUS_SYSTEM  UINT8_C(0x04)
#define STATUS_COMMAND UINT8_C(0x08)
#define STATUS_ENABLED UINT8_C(0x10) /* not locked */

#define MODE_SYSTEM       UINT8_C(0x04)
#define MODE_KEYBOARD_OFF UINT8_C(0x10)
#define MODE_MOUSE_OFF    UINT8_C(0x20)

#define PORT_RUN UINT8_C(0x01) /* 0 resets the processors */
#define PORT_A20 UINT8_C(0x02)

enum command {
    READ_MODE = 0x20,
    WRITE_MODE = 0x60,
    MOUSE_DISABLE = 0xA7,
    MOUSE_ENABLE = 0xA8,
    MOUSE_TEST = 0xA9,
    SELF_TEST = 0xAA,
    KEYBOARD_TEST = 0xAB,
    KEYBOARD_DISABLE = 0xAD,
    KEYBOARD_ENABLE = 0xAE,
    READ_INPUT_PORT = 0xC0,
    READ_OUTPUT_PORT = 0xD0,
    WRITE_OUTPUT_PORT = 0xD1,
    PULSE = 0xF0, /* F0H to FFH: bits that are 0 pulse lines of the output port low */
};

#define SELF_TEST_GOOD UINT8_C(0x55)
#define TEST_GOOD      UINT8_C(0x00)
#define TEST_DEAD      UINT8_C(0x01) /* clock line stuck low: nothing is connected */

void vkbc_reset(struct vkbc *k)
{
    memset(k, 0, sizeof(*k));
    k->mode = MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_MOUSE_OFF;
    k->port = PORT_RUN | PORT_A20;
}

static void answer(struct vkbc *k, uint8_t value)
{
    k->output = value;
    k->full = 1;
}

uint8_t vkbc_read_data(struct vkbc *k)
{
    k->full = 0;
    return k->output;
}

uint8_t vkbc_read_status(const struct vkbc *k)
{
    return (uint8_t)((k->full ? STATUS_FULL : 0) | (k->mode & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
                     (k->last_command ? STATUS_COMMAND : 0) | STATUS_ENABLED);
}

bool vkbc_write_data(struct vkbc *k, uint8_t value)
{
    uint8_t command = k->expects;

    k->expects = 0;
    k->last_command = 0;
    if (command == WRITE_MODE)
        k->mode = value;
    if (command != WRITE_OUTPUT_PORT)
        return false;
    k->port = value | PORT_RUN;
    return !(value & PORT_RUN);
}

static void answer_command(struct vkbc *k, uint8_t value)
{
    switch (value) {
    case READ_MODE:
        answer(k, k->mode);
        break;
    case SELF_TEST:
        answer(k, SELF_TEST_GOOD);
        break;
    case KEYBOARD_TEST:
        answer(k, TEST_GOOD);
        break;
    case MOUSE_TEST:
        answer(k, TEST_DEAD);
        break;
    case READ_INPUT_PORT:
        answer(k, 0);
        break;
    case READ_OUTPUT_PORT:
        answer(k, k->port);
        break;
    default:
        break;
    }
}

bool vkbc_write_command(struct vkbc *k, uint8_t value)
{
    k->last_command = 1;
    k->expects = value == WRITE_MODE || value == WRITE_OUTPUT_PORT ? value : 0;
    switch (value) {
    case MOUSE_DISABLE:
        k->mode |= MODE_MOUSE_OFF;
        break;
    case MOUSE_ENABLE:
        k->mode &= (uint8_t)~MODE_MOUSE_OFF;
        break;
    case KEYBOARD_DISABLE:
        k->mode |= MODE_KEYBOARD_OFF;
        break;
    case KEYBOARD_ENABLE:
        k->mode &= (uint8_t)~MODE_KEYBOARD_OFF;
        break;
    default:
        answer_command(k, value);
        break;
    }
    return value >= PULSE && !(value & PORT_RUN);
}
