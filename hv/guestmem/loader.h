/*
 * Pure. Puts a guest kernel into guest memory, with what its loader leaves for it and a minimal ACPI (RSDP,
 * XSDT, MADT; ACPI 6.5 chapter 5). Which kind it is, its file says:
 *
 *   an ELF32 or ELF64 file with a multiboot2 header (Multiboot2 Specification 2.0);
 *   a Linux kernel for x86-64, as a bzImage, perhaps with an initramfs ("The Linux/x86 Boot Protocol").
 *
 * The machine state at entry is the caller's. Multiboot2: 32-bit protected mode without paging, EAX =
 * LOADER_EAX, EBX = info_gpa, EIP = entry (3.3), for ELF64 files too. Linux: 64-bit mode, paging by the
 * tables at cr3, GDTR as given, CS = LINUX_BOOT_CS, DS, ES and SS = LINUX_BOOT_DS, RSI = info_gpa, RIP =
 * entry.
 */
#ifndef RV_HV_GUESTMEM_LOADER_H
#define RV_HV_GUESTMEM_LOADER_H

#include "hv/base/types.h"

#define LOADER_EAX              UINT32_C(0x36d76289)
#define LOADER_MIN_MEMORY       (UINT64_C(2) << 20)
#define LOADER_MAX_MEMORY       UINT64_C(0xc0000000)
#define LOADER_RESERVED_BYTES   UINT64_C(0x10000) /* at the top of memory: multiboot2 information, ACPI */
#define LOADER_RSDP_COPY        UINT64_C(0xf0000) /* for guests that search the BIOS area (ACPI 5.2.5.1) */
#define LOADER_LOW_END          UINT64_C(0x9f000) /* end of usable memory below 1 MiB */
#define LOADER_MAX_COMMAND_LINE 4096u             /* bytes, terminating zero included */
#define LOADER_MAX_SEGMENTS     64u

enum load_result {
    LOAD_OK,
    LOAD_BAD_MEMORY,         /* guest memory too small, too large, or not whole pages */
    LOAD_BAD_VCPUS,          /* none, or more than MAX_VCPUS */
    LOAD_LONG_COMMAND_LINE,  /* longer than LOADER_MAX_COMMAND_LINE */
    LOAD_TRUNCATED,          /* the file ends inside its ELF header or program headers */
    LOAD_NOT_ELF,            /* no ELF magic, or not a little-endian version 1 file */
    LOAD_WRONG_MACHINE,      /* neither ELF32 for i386 nor ELF64 for x86-64 */
    LOAD_WRONG_TYPE,         /* not an executable (ET_EXEC) */
    LOAD_BAD_PROGRAM_HEADER, /* entry size, count or place of program headers is invalid */
    LOAD_NO_SEGMENT,         /* nothing to load */
    LOAD_SEGMENT_TRUNCATED,  /* the file ends inside a segment */
    LOAD_SEGMENT_SIZE,       /* a segment is larger in the file than in memory */
    LOAD_SEGMENT_MEMORY,     /* a segment lies outside guest memory */
    LOAD_SEGMENT_RESERVED,   /* a segment lies on memory that the loader needs or devices own */
    LOAD_SEGMENT_OVERLAP,    /* two segments lie on each other */
    LOAD_NO_HEADER,          /* no multiboot2 header with a right checksum in the first 32 KiB */
    LOAD_BAD_HEADER,         /* the multiboot2 header's tags are broken */
    LOAD_HEADER_TAG,         /* a mandatory header tag is not supported: detail = its type */
    LOAD_HEADER_REQUEST,     /* a mandatory information request: detail = the type asked for */
    LOAD_BAD_ENTRY,          /* the entry point lies in no segment */
    LOAD_LINUX_PROTOCOL,     /* a boot protocol older than 2.12: detail = its version, 2.12 is 0x20c */
    LOAD_LINUX_32BIT,        /* the kernel has no 64-bit entry */
    LOAD_LINUX_HEADER,       /* the setup header contradicts itself */
    LOAD_LINUX_TRUNCATED,    /* the file ends before its kernel does */
    LOAD_LINUX_MEMORY,       /* guest memory is too small for the kernel: detail = bytes it takes */
    LOAD_INITRD_MEMORY,      /* there is no room for the initramfs: detail = its bytes */
    LOAD_INITRD_KIND,        /* an initramfs for a kernel that is not Linux */
};
const char *load_result_name(enum load_result result);

struct load_request {
    const uint8_t *image; /* the file */
    size_t image_bytes;
    const char *command_line; /* zero-terminated */
    uint32_t vcpus;           /* local APIC ids 0 to vcpus - 1 */
    const uint8_t *initrd;    /* Linux: the initramfs */
    size_t initrd_bytes;      /* 0: none */
};

enum load_kind {
    LOAD_KIND_MULTIBOOT2,
    LOAD_KIND_LINUX,
};

struct loaded_guest {
    enum load_kind kind;
    uint64_t entry;      /* guest-physical entry point, below 4 GiB */
    uint64_t info_gpa;   /* multiboot2 information, for EBX; Linux: the zero page, for RSI */
    uint64_t info_bytes; /* its total size */
    uint64_t cr3;        /* Linux: page tables that map the lowest 4 GiB where they are */
    uint64_t gdt_gpa;    /* Linux: for GDTR */
    uint32_t gdt_bytes;
    uint64_t rsdp_gpa;
    uint64_t image_start; /* lowest and one past the highest address of the segments, or of the kernel */
    uint64_t image_end;
    bool elf64;      /* multiboot2 */
    uint64_t detail; /* what a refusal is about: see enum load_result; otherwise the segment's index */
};

/* Loads request->image into guest memory, `mem_bytes` (whole pages, LOADER_MIN_MEMORY to
 * LOADER_MAX_MEMORY) at `mem`, guest-physical 0 first. Nothing is written unless the result is LOAD_OK;
 * then only segments (rest of each zeroed), the top LOADER_RESERVED_BYTES and the page at
 * LOADER_RSDP_COPY are; of Linux the kernel, the initramfs and some pages of the lowest 40 KiB. */
enum load_result load_guest(const struct load_request *request, uint8_t *mem, uint64_t mem_bytes,
                            struct loaded_guest *out);

#endif
