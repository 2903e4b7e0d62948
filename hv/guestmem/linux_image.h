/*
 * Pure, part of the loader. A Linux kernel as a bzImage: its setup header (Linux documentation, "The
 * Linux/x86 Boot Protocol"), checked against the file.
 */
#ifndef RV_HV_GUESTMEM_LINUX_IMAGE_H
#define RV_HV_GUESTMEM_LINUX_IMAGE_H

#include "hv/base/types.h"
#include "hv/guestmem/loader.h"

#define LINUX_HEADER_AT  0x1f1u /* the setup header, in the file and in the zero page */
#define LINUX_HEADER_MAX 0x290u /* where it ends at most: the zero page has other things behind it */
#define LINUX_ENTRY64    0x200u /* the 64-bit entry's offset in the kernel */

struct linux_image {
    uint32_t protocol;         /* version, 0x20c or later */
    uint32_t header_bytes;     /* of the setup header, from LINUX_HEADER_AT */
    uint64_t file_offset;      /* [file_offset, file_offset + file_bytes) lies in the file: the kernel */
    uint64_t file_bytes;       /* at most memory_bytes, more than LINUX_ENTRY64 */
    uint64_t gpa;              /* where it wants to be; whole pages, at least 1 MiB */
    uint64_t memory_bytes;     /* that it needs there until it has read its memory map */
    uint32_t command_line_max; /* bytes, without terminating zero */
    uint64_t initrd_end_max;   /* the initramfs ends there at most */
};

/* Whether the file has the marks of a bzImage: it is then nothing else. */
bool linux_image_is(const uint8_t *file, size_t bytes);

/* Fills in *out from such a file. Reads nothing past `bytes`. *detail: on LOAD_LINUX_PROTOCOL the version. */
enum load_result linux_image_parse(const uint8_t *file, size_t bytes, struct linux_image *out,
                                   uint64_t *detail);

#endif
