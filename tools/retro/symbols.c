#include "tools/retro/symbols.h"
#include "hv/base/types.h"
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

    if (type != STT_FUNC && type != STT_NOTYPE && !(s->want_data && type == STT_OBJECT))
        return;
    if (sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS)
        return;
    if (sym->st_name >= strings->sh_size || !names[sym->st_name])
        return;
    if (!memchr(names + sym->st_name, 0, strings->sh_size - sym->st_name))
        return;
    s->list[s->count++] =
        (struct symbol){sym->st_value, sym->st_size, names + sym->st_name, type == STT_OBJECT};
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

static bool is_elf(const struct symbols *s)
{
    return s->length >= SELFMAG && memcmp(s->file, ELFMAG, SELFMAG) == 0;
}

static int read_symbol_file(struct symbols *s, const char *path, const char *what)
{
    struct buffer b = {0};

    *s = (struct symbols){0};
    if (read_file(path, &b))
        return fail(RETRO_IO, "cannot read %s %s: %s", what, path, strerror(errno));
    s->file = b.data;
    s->length = b.length;
    return RETRO_OK;
}

static int read_elf(struct symbols *s, const char *path)
{
    Elf64_Ehdr head = {0};
    Elf64_Shdr section;

    if (s->length >= sizeof head)
        memcpy(&head, s->file, sizeof head);
    if (!is_elf(s) || head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
        (head.e_shnum && head.e_shentsize != sizeof section))
        return fail(RETRO_USAGE, "%s is no ELF64 file", path);
    /* A file has one such table; many in one place would only need memory. */
    for (uint64_t i = 0; i < head.e_shnum; i++) {
        if (read_section(s, &head, i, &section) && section.sh_type == SHT_SYMTAB) {
            read_table(s, &head, &section);
            break;
        }
    }
    return RETRO_OK;
}

static void sort(struct symbols *s, const char *path)
{
    if (s->count)
        qsort(s->list, s->count, sizeof *s->list, by_address);
    else
        note("%s has no symbols", path);
}

int symbols_open(struct symbols *s, const char *path)
{
    int code = read_symbol_file(s, path, "the guest's image");

    if (code == RETRO_OK)
        code = read_elf(s, path);
    if (code == RETRO_OK)
        sort(s, path);
    return code;
}

/* ---- System.map ---- */

/* A line "ffffffff81000000 T _text", ended by a NUL; false: it is none. Undefined and absolute ones are left
 * out. */
static bool add_map_line(struct symbols *s, char *line)
{
    char *end, type;
    uint64_t address = strtoull(line, &end, 16);

    if (end == line || end[0] != ' ' || !end[1] || end[2] != ' ' || !end[3] || strchr(end + 3, ' '))
        return false;
    type = (char)(end[1] | 0x20);
    if (type == 'u' || type == 'a' || type == 'w')
        return true;
    s->list[s->count++] = (struct symbol){address, 0, end + 3, type == 'd' || type == 'b' || type == 'r'};
    return true;
}

static int read_map(struct symbols *s, const char *path)
{
    size_t lines = 1;
    char *line, *next, *end;

    for (size_t i = 0; i < s->length; i++)
        lines += s->file[i] == '\n';
    s->file = xrealloc(s->file, s->length + 1);
    s->file[s->length] = 0;
    s->list = xmalloc(lines * sizeof *s->list);
    end = (char *)s->file + s->length;
    for (line = (char *)s->file; line < end; line = next) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next : end;
        *next++ = 0;
        /* A NUL within it would make more lines than were counted. */
        if (line + strlen(line) + 1 != next || !add_map_line(s, line))
            return fail(RETRO_USAGE, "%s is neither an ELF64 file nor a System.map: '%.100s'", path, line);
    }
    return RETRO_OK;
}

/* A map tells no sizes: each reaches to the next one. */
static void size_by_next(struct symbols *s)
{
    for (size_t i = s->count; i-- > 1;) {
        const struct symbol *next = &s->list[i];
        uint64_t room = next->address - s->list[i - 1].address;
        s->list[i - 1].size = room ? room : next->size;
    }
}

/* ---- Physical addresses ---- */

static bool in_linux_text(const struct symbol *symbol)
{
    return symbol->address - SYMBOLS_LINUX_TEXT < UINT64_C(1) << 30;
}

static void to_physical(struct symbols *s, const uint64_t *offset)
{
    bool linux_kernel = false;
    size_t kept = 0;

    for (size_t i = 0; i < s->count && !offset; i++)
        linux_kernel = linux_kernel || in_linux_text(&s->list[i]);
    for (size_t i = 0; i < s->count; i++) {
        struct symbol symbol = s->list[i];
        if (linux_kernel && !in_linux_text(&symbol))
            continue;
        symbol.address += linux_kernel ? -SYMBOLS_LINUX_TEXT : offset ? *offset : 0;
        s->list[kept++] = symbol;
    }
    s->count = kept;
}

int symbols_open_physical(struct symbols *s, const char *path, const uint64_t *offset)
{
    int code = read_symbol_file(s, path, "the symbols");
    bool map;

    if (code != RETRO_OK)
        return code;
    map = !is_elf(s);
    s->want_data = true;
    code = map ? read_map(s, path) : read_elf(s, path);
    if (code != RETRO_OK)
        return code;
    to_physical(s, offset);
    sort(s, path);
    if (map)
        size_by_next(s);
    return RETRO_OK;
}

/* ---- Looking up ---- */

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

/* The name, as far as it may be printed; its length. */
static int put_name(char *out, size_t size, const struct symbol *symbol)
{
    int n = snprintf(out, size, "%.*s", SYMBOL_TEXT_MAX - 20, symbol->name);

    for (char *c = out; *c; c++) {
        if (*c < '!' || *c > '~')
            *c = '?';
    }
    return n;
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
    int n = put_name(out, SYMBOL_TEXT_MAX, found);
    snprintf(out + n, (size_t)(SYMBOL_TEXT_MAX - n), "+0x%" PRIx64, offset);
    return out;
}

/* Whether it is on the page at `address`, and worth a name: a label that has a neighbour at its place is not.
 */
static bool is_on_page(const struct symbols *s, size_t i, uint64_t address)
{
    const struct symbol *symbol = &s->list[i];

    if (i + 1 < s->count && symbol[1].address == symbol->address)
        return false;
    if (symbol->address >= address)
        return true;
    return address - symbol->address < symbol->size;
}

/* The names of data, or those of all else; `*more` is how many found no room. */
static size_t put_names(const struct symbols *s, uint64_t address, bool data, char *out, size_t size,
                        size_t used, unsigned *more)
{
    char name[SYMBOL_TEXT_MAX];
    ptrdiff_t first = address ? last_before(s, address - 1) : -1;

    for (size_t i = first < 0 ? 0 : (size_t)first; i < s->count; i++) {
        if (s->list[i].address > address + (PAGE_SIZE - 1))
            break;
        if (s->list[i].data != data || !is_on_page(s, i, address))
            continue;
        size_t n = (size_t)put_name(name, sizeof name, &s->list[i]);
        if (*more || used + n + 2 > size) {
            ++*more;
            continue;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "," : "", name);
    }
    return used;
}

const char *symbols_on_page(const struct symbols *s, uint64_t address, char *out, size_t size)
{
    static const size_t more_room = sizeof ",+1000000000";
    unsigned more = 0;
    size_t used;

    out[0] = 0;
    used = put_names(s, address, true, out, size - more_room, 0, &more);
    used = put_names(s, address, false, out, size - more_room, used, &more);
    if (more)
        snprintf(out + used, size - used, "%s+%u", used ? "," : "", more);
    return out;
}

void symbols_close(struct symbols *s)
{
    free(s->list);
    free(s->file);
    *s = (struct symbols){0};
}
