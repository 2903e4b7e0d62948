#include "hv/guestmem/linux_image.h"

#include <string.h>

#define ONE_MIB (UINT64_C(1) << 20)

/* Offsets in the file (boot protocol, "The Real-Mode Kernel Header"). */
enum {
    AT_SETUP_SECTS = 0x1f1,
    AT_SYSSIZE = 0x1f4, /* in units of 16 bytes */
    AT_BOOT_FLAG = 0x1fe,
    AT_JUMP_OFFSET = 0x201, /* of the jump over the header: tells where it ends */
    AT_MAGIC = 0x202,
    AT_VERSION = 0x206,
    AT_LOADFLAGS = 0x211,
    AT_INITRD_MAX = 0x22c,
    AT_XLOADFLAGS = 0x236,
    AT_COMMAND_LINE_MAX = 0x238,
    AT_PREF_ADDRESS = 0x258,
    AT_INIT_SIZE = 0x260,
    AT_END = 0x264, /* of what is looked at here */
};

#define BOOT_FLAG        0xaa55u
#define MAGIC            "HdrS"
#define PROTOCOL_64BIT   0x20cu /* the first with xloadflags */
#define SECTOR_BYTES     512u
#define SETUP_SECTS_OF_0 4u
#define PARAGRAPH_BYTES  16u
#define LOADFLAG_HIGH    0x1u
#define XLOADFLAG_64     0x1u

/* A little-endian number of `bytes` bytes. */
static uint64_t number(const uint8_t *file, size_t at, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, file + at, bytes);
    return value;
}

bool linux_image_is(const uint8_t *file, size_t bytes)
{
    return bytes >= AT_VERSION && number(file, AT_BOOT_FLAG, 2) == BOOT_FLAG &&
           memcmp(file + AT_MAGIC, MAGIC, sizeof(MAGIC) - 1) == 0;
}

static bool place_valid(const struct linux_image *image)
{
    return image->gpa >= ONE_MIB && !(image->gpa & PAGE_MASK) && image->file_bytes <= image->memory_bytes &&
           image->file_bytes > LINUX_ENTRY64;
}

enum load_result linux_image_parse(const uint8_t *file, size_t bytes, struct linux_image *out,
                                   uint64_t *detail)
{
    uint64_t sects, end;

    if (bytes < AT_END)
        return LOAD_TRUNCATED;
    *detail = number(file, AT_VERSION, 2);
    if (*detail < PROTOCOL_64BIT)
        return LOAD_LINUX_PROTOCOL;
    out->protocol = (uint32_t)*detail;
    *detail = 0;
    if (!(number(file, AT_XLOADFLAGS, 2) & XLOADFLAG_64))
        return LOAD_LINUX_32BIT;
    end = AT_MAGIC + number(file, AT_JUMP_OFFSET, 1);
    if (!(number(file, AT_LOADFLAGS, 1) & LOADFLAG_HIGH) || end < AT_END || end > LINUX_HEADER_MAX)
        return LOAD_LINUX_HEADER;
    sects = number(file, AT_SETUP_SECTS, 1);
    out->header_bytes = (uint32_t)end - LINUX_HEADER_AT;
    out->file_offset = (1 + (sects ? sects : SETUP_SECTS_OF_0)) * SECTOR_BYTES;
    out->file_bytes = number(file, AT_SYSSIZE, 4) * PARAGRAPH_BYTES;
    out->gpa = number(file, AT_PREF_ADDRESS, 8);
    out->memory_bytes = number(file, AT_INIT_SIZE, 4);
    out->command_line_max = (uint32_t)number(file, AT_COMMAND_LINE_MAX, 4);
    out->initrd_end_max = number(file, AT_INITRD_MAX, 4) + 1;
    if (out->file_offset > bytes || out->file_bytes > bytes - out->file_offset)
        return LOAD_LINUX_TRUNCATED;
    return end <= bytes && place_valid(out) ? LOAD_OK : LOAD_LINUX_HEADER;
}
