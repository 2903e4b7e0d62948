#include "tools/retro/symbols.h"
#include "tools/retro/retro.h"
#include "tools/retro/util.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A label has no size: nothing far behind it is called by its name. */
static const uint64_t LABEL_REACH = 4096;

static bool is_inside(const struct symbols *s, uint64_t offset, uint64_t length)
{
    return offset <= s->length && length <= s->length - offset;
}

static bool read_section(const struct symbols *s, const Elf64_Ehdr *head, uint64_t index, Elf64_Shdr *section)
{
    uint64_t offset = index * sizeof *section;

    if (index >= head->e_shnum || head->e_shoff > s->length ||
        !is_inside(s, head->e_shoff + offset, sizeof *section))
        return false;
    memcpy(section, s->file + head->e_shoff + offset, sizeof *section);
    return section->sh_type == SHT_NOBITS || is_inside(s, section->sh_offset, section->sh_size);
}

static void add_symbol(struct symbols *s, const Elf64_Sym *sym, const Elf64_Shdr *strings)
{
    unsigned type = ELF64_ST_TYPE(sym->st_info);
    const char *names = (const char *)s->file + strings->sh_offset;

    if ((type != STT_FUNC && type != STT_NOTYPE) || sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS)
        return;
    if (sym->st_name >= strings->sh_size || !names[sym->st_name])
        return;
    if (!memchr(names + sym->st_name, 0, strings->sh_size - sym->st_name))
        return;
    s->list[s->count++] = (struct symbol){sym->st_value, sym->st_size, names + sym->st_name};
}

static void read_table(struct symbols *s, const Elf64_Ehdr *head, const Elf64_Shdr *table)
{
    Elf64_Shdr strings;
    uint64_t count = table->sh_size / sizeof(Elf64_Sym);

    if (!read_section(s, head, table->sh_link, &strings) || strings.sh_type != SHT_STRTAB)
        return;
    s->list = xrealloc(s->list, (s->count + count) * sizeof *s->list);
    for (uint64_t i = 0; i < count; i++) {
        Elf64_Sym sym;
        memcpy(&sym, s->file + table->sh_offset + i * sizeof sym, sizeof sym);
        add_symbol(s, &sym, &strings);
    }
}

/* By address; functions behind labels at the same place, so that they are found first. */
static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;

    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->size != 0) - (y->size != 0);
}

int symbols_open(struct symbols *s, const char *path)
{
    struct buffer b = {0};
    Elf64_Ehdr head = {0};
    Elf64_Shdr section;

    *s = (struct symbols){0};
    if (read_file(path, &b))
        return fail(RETRO_IO, "cannot read the guest's image %s: %s", path, strerror(errno));
    s->file = b.data;
    s->length = b.length;
    if (b.length >= sizeof head)
        memcpy(&head, b.data, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_ident[EI_DATA] != ELFDATA2LSB || (head.e_shnum && head.e_shentsize != sizeof section))
        return fail(RETRO_USAGE, "%s is no ELF64 file", path);
    /* A file has one such table; many in one place would only need memory. */
    for (uint64_t i = 0; i < head.e_shnum; i++) {
        if (read_section(s, &head, i, &section) && section.sh_type == SHT_SYMTAB) {
            read_table(s, &head, &section);
            break;
        }
    }
    if (s->count)
        qsort(s->list, s->count, sizeof *s->list, by_address);
    else
        note("%s has no symbols", path);
    return RETRO_OK;
}

/* The last symbol at or before the address, -1 if all are behind it. */
static ptrdiff_t last_before(const struct symbols *s, uint64_t address)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->list[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return (ptrdiff_t)low - 1;
}

const char *symbols_find(const struct symbols *s, uint64_t address, char out[SYMBOL_TEXT_MAX])
{
    ptrdiff_t i = last_before(s, address);

    out[0] = '\0';
    if (i < 0)
        return out;
    const struct symbol *found = &s->list[i];
    uint64_t offset = address - found->address;
    if (offset >= (found->size ? found->size : LABEL_REACH))
        return out;
    int n = snprintf(out, SYMBOL_TEXT_MAX, "%.*s", SYMBOL_TEXT_MAX - 20, found->name);
    for (char *c = out; *c; c++) {
        if (*c < '!' || *c > '~')
            *c = '?';
    }
    snprintf(out + n, (size_t)(SYMBOL_TEXT_MAX - n), "+0x%" PRIx64, offset);
    return out;
}

void symbols_close(struct symbols *s)
{
    free(s->list);
    free(s->file);
    *s = (struct symbols){0};
}
