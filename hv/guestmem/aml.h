/* Pure, part of the loader. Writes AML, the byte code of ACPI's DSDT (ACPI 6.5 20.2), as far as ours needs
 * it. */
#ifndef RV_HV_GUESTMEM_AML_H
#define RV_HV_GUESTMEM_AML_H

#include "hv/base/types.h"

/* Where the next byte goes; past the end is a failed HV_CHECK. */
struct aml {
    uint8_t *bytes;
    uint32_t at;
    uint32_t end;
};

void aml_put(struct aml *aml, const void *bytes, uint32_t count);
void aml_byte(struct aml *aml, uint8_t byte);
/* The low `bytes` (1, 2, 4) of a number, without a prefix, as resource descriptors have it. */
void aml_number(struct aml *aml, uint32_t value, uint32_t bytes);
/* An integer object of any size up to 32 bits. */
void aml_integer(struct aml *aml, uint32_t value);
/* Name (path, ...): the object follows. `path`: characters of a NameString, as they stand in AML. */
void aml_name(struct aml *aml, const char *path);

/* Each of these begins an object with a length, at most 4095 bytes; aml_end() is given what it returned. */
uint32_t aml_begin_device(struct aml *aml, const char *path);
uint32_t aml_begin_package(struct aml *aml, uint8_t elements);
uint32_t aml_begin_buffer(struct aml *aml);
void aml_end(struct aml *aml, uint32_t begin);
void aml_end_buffer(struct aml *aml, uint32_t begin);

#endif
