/*
 * Pure, part of the loader. What a Linux kernel finds in memory at its 64-bit entry: the kernel, the zero
 * page with memory map and command line, the initramfs, and a GDT and page tables that the loader must have
 * set up.
 */
#ifndef RV_HV_GUESTMEM_LINUX_BOOT_H
#define RV_HV_GUESTMEM_LINUX_BOOT_H

#include "hv/guestmem/linux_image.h"

/* Selectors of the GDT (boot protocol, "64-bit Boot Protocol"). */
#define LINUX_BOOT_CS 0x10u
#define LINUX_BOOT_DS 0x18u

/* Whether kernel, initramfs and command line fit. *detail: on LOAD_LINUX_MEMORY the guest memory that it
 * takes, on LOAD_INITRD_MEMORY the initramfs' bytes, in bytes. */
enum load_result linux_boot_check(const struct linux_image *image, const struct load_request *request,
                                  uint64_t mem_bytes, uint64_t *detail);

/* Writes all of it, after linux_boot_check() has allowed it; fills in *out but for rsdp_gpa, which is there.
 */
void linux_boot_build(const struct linux_image *image, const struct load_request *request, uint8_t *mem,
                      uint64_t mem_bytes, struct loaded_guest *out);

#endif
