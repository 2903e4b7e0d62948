/*
 * Pure, part of the loader. What the loader needs of an executable: its segments, checked against the
 * file (System V ABI, ELF header and program header).
 */
#ifndef RV_HV_GUESTMEM_ELF_IMAGE_H
#define RV_HV_GUESTMEM_ELF_IMAGE_H

#include "hv/base/types.h"
#include "hv/guestmem/loader.h"

struct elf_segment {
    uint64_t file_offset; /* [file_offset, file_offset + file_bytes) lies in the file */
    uint64_t file_bytes;  /* at most memory_bytes */
    uint64_t gpa;         /* physical address of the program header */
    uint64_t linear;      /* virtual address of the program header */
    uint64_t memory_bytes;
};

struct elf_image {
    bool elf64;
    uint64_t entry; /* virtual address */
    uint32_t segments;
    struct elf_segment segment[LOADER_MAX_SEGMENTS]; /* PT_LOAD that are not empty, in the file's order */
};

/* Fills in *out from the file. Reads nothing past `bytes`. On a refusal about a segment *detail is the
 * index of its program header. */
enum load_result elf_parse(const uint8_t *file, size_t bytes, struct elf_image *out, uint64_t *detail);

#endif
