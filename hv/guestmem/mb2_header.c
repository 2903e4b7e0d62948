#include "hv/guestmem/mb2_header.h"

#include <string.h>

#include "hv/guestmem/mb2_info.h"

#define MB2_MAGIC        UINT32_C(0xe85250d6)
#define MB2_ARCH_I386    0u
#define MB2_SEARCH_BYTES 32768u
#define MB2_ALIGN        8u

struct mb2_head {
    uint32_t magic;
    uint32_t architecture;
    uint32_t bytes;
    uint32_t checksum;
};
_Static_assert(sizeof(struct mb2_head) == 16, "multiboot2 header");

struct mb2_header_tag {
    uint16_t type;
    uint16_t flags;
    uint32_t bytes;
};
_Static_assert(sizeof(struct mb2_header_tag) == 8, "multiboot2 header tag");

enum { MB2_TAG_OPTIONAL = 1 };

/* Types of header tags, 3.1.4 to 3.1.13. */
enum {
    MB2_HEADER_END = 0,
    MB2_HEADER_REQUEST = 1,
    MB2_HEADER_ENTRY = 3,
    MB2_HEADER_MODULE_ALIGN = 6,
    MB2_HEADER_ENTRY_EFI32 = 8,
    MB2_HEADER_ENTRY_EFI64 = 9,
    MB2_HEADER_RELOCATABLE = 10,
};

static bool find_header(const uint8_t *file, size_t bytes, size_t *at, struct mb2_head *head)
{
    size_t limit = MIN(bytes, (size_t)MB2_SEARCH_BYTES);

    for (*at = 0; *at + sizeof(*head) <= limit; *at += MB2_ALIGN) {
        memcpy(head, file + *at, sizeof(*head));
        if (head->magic == MB2_MAGIC && head->magic + head->architecture + head->bytes + head->checksum == 0)
            return head->bytes >= sizeof(*head) && head->bytes <= limit - *at;
    }
    return false;
}

/* What the information of mb2_info.c holds. */
static bool request_met(uint32_t type)
{
    switch (type) {
    case MB2_INFO_COMMAND_LINE:
    case MB2_INFO_LOADER_NAME:
    case MB2_INFO_BASIC_MEMORY:
    case MB2_INFO_MEMORY_MAP:
    case MB2_INFO_RSDP_NEW:
        return true;
    default:
        return false;
    }
}

static enum load_result check_requests(const uint8_t *types, uint32_t bytes, uint64_t *detail)
{
    uint32_t type;

    for (uint32_t at = 0; bytes - at >= sizeof(type); at += sizeof(type)) {
        memcpy(&type, types + at, sizeof(type));
        if (!request_met(type)) {
            *detail = type;
            return LOAD_HEADER_REQUEST;
        }
    }
    return LOAD_OK;
}

/* One tag; `body` follows its 8 bytes. The image is loaded where it is linked and there are no modules
 * and no EFI, so relocation, module alignment and EFI entries ask for nothing. */
static enum load_result take_tag(const struct mb2_header_tag *tag, const uint8_t *body,
                                 struct mb2_header *out, uint64_t *detail)
{
    bool optional = (tag->flags & MB2_TAG_OPTIONAL) != 0;
    uint32_t body_bytes = tag->bytes - (uint32_t)sizeof(*tag);

    switch (tag->type) {
    case MB2_HEADER_REQUEST:
        return optional ? LOAD_OK : check_requests(body, body_bytes, detail);
    case MB2_HEADER_ENTRY:
        if (body_bytes < sizeof(out->entry))
            return LOAD_BAD_HEADER;
        out->has_entry = true;
        memcpy(&out->entry, body, sizeof(out->entry));
        return LOAD_OK;
    case MB2_HEADER_MODULE_ALIGN:
    case MB2_HEADER_ENTRY_EFI32:
    case MB2_HEADER_ENTRY_EFI64:
    case MB2_HEADER_RELOCATABLE:
        return LOAD_OK;
    default:
        *detail = tag->type;
        return optional ? LOAD_OK : LOAD_HEADER_TAG;
    }
}

enum load_result mb2_header_parse(const uint8_t *file, size_t bytes, struct mb2_header *out, uint64_t *detail)
{
    struct mb2_head head;
    struct mb2_header_tag tag;
    size_t start;
    uint32_t at = sizeof(head);

    *out = (struct mb2_header){.has_entry = false};
    if (!find_header(file, bytes, &start, &head))
        return LOAD_NO_HEADER;
    if (head.architecture != MB2_ARCH_I386)
        return LOAD_BAD_HEADER;
    while (at <= head.bytes && head.bytes - at >= sizeof(tag)) {
        enum load_result result;

        memcpy(&tag, file + start + at, sizeof(tag));
        if (tag.bytes < sizeof(tag) || tag.bytes > head.bytes - at)
            return LOAD_BAD_HEADER;
        if (tag.type == MB2_HEADER_END)
            return LOAD_OK;
        result = take_tag(&tag, file + start + at + sizeof(tag), out, detail);
        if (result != LOAD_OK)
            return result;
        at += ALIGN_UP(tag.bytes, MB2_ALIGN);
    }
    return LOAD_BAD_HEADER;
}
