/* Pure, part of the loader. The multiboot2 header of a guest kernel (Multiboot2 Specification 2.0, 3.1). */
#ifndef RV_HV_GUESTMEM_MB2_HEADER_H
#define RV_HV_GUESTMEM_MB2_HEADER_H

#include "hv/base/types.h"
#include "hv/guestmem/loader.h"

struct mb2_header {
    bool has_entry; /* an entry address tag overrides the ELF header's entry */
    uint32_t entry; /* physical */
};

/* Finds the header in the file's first 32 KiB and checks that nothing mandatory in it is beyond this
 * loader. *detail: the tag's or information request's type on a refusal of one. */
enum load_result mb2_header_parse(const uint8_t *file, size_t bytes, struct mb2_header *out,
                                  uint64_t *detail);

#endif
