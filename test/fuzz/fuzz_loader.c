/*
 * Any file: the loader stays inside it and inside guest memory, and writes nothing when it refuses. A
 * header with a right checksum is rare in random bytes, so one is put where the input says.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/base/check.h"
#include "hv/guestmem/loader.h"

#define MEM_BYTES LOADER_MIN_MEMORY
#define MB2_MAGIC 0xe85250d6u
#define MB2_ALIGN 8u
#define FILLER    0xee

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes the 16 bytes at a place that the file's last byte chooses the start of a valid header. */
static void put_header(uint8_t *file, size_t size)
{
    size_t at = (size_t)file[size - 1] * MB2_ALIGN;
    uint32_t head[4];

    if (at + sizeof(head) > size)
        return;
    memcpy(head, file + at, sizeof(head));
    head[0] = MB2_MAGIC;
    head[1] = 0;
    head[3] = 0u - (head[0] + head[2]);
    memcpy(file + at, head, sizeof(head));
}

static void check_loaded(const struct loaded_guest *guest)
{
    HV_CHECK(guest->entry >= guest->image_start && guest->entry < guest->image_end);
    HV_CHECK(guest->image_end <= MEM_BYTES - LOADER_RESERVED_BYTES);
    HV_CHECK(guest->info_gpa + guest->info_bytes <= MEM_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *mem;
    uint8_t *file = malloc(size + 1);
    struct load_request request = {file, size, "fuzz", 1};
    struct loaded_guest guest;

    if (mem == NULL) {
        mem = malloc(MEM_BYTES);
        memset(mem, FILLER, MEM_BYTES);
    }
    file = realloc(file, size + (size == 0));
    request.image = file;
    memcpy(file, data, size);
    if (size != 0)
        put_header(file, size);
    if (load_guest(&request, mem, MEM_BYTES, &guest) == LOAD_OK) {
        check_loaded(&guest);
        memset(mem, FILLER, MEM_BYTES);
    }
    for (uint64_t at = 0; at < MEM_BYTES; at += PAGE_SIZE / 2)
        HV_CHECK(mem[at] == FILLER);
    free(file);
    return 0;
}
