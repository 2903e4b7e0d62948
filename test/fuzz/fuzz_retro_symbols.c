/*
 * Any file as a guest's image or a System.map: retro's readers of symbols stay inside it, and what they say
 * of an address ends. The ELF header's fixed fields are mended where the first byte asks for it.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/base/check.h"
#include "tools/retro/symbols.h"
#include "tools/retro/util.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What retro says of each file is no finding. (Sanitizers write past the stream.) */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stderr = fopen("/dev/null", "w");
    return stderr == NULL;
}

static void mend(uint8_t *file, size_t size)
{
    Elf64_Ehdr head;

    if (size < sizeof(head))
        return;
    memcpy(&head, file, sizeof(head));
    memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_shentsize = sizeof(Elf64_Shdr);
    head.e_shoff %= size;
    head.e_shnum = head.e_shnum % 8 + 1;
    memcpy(file, &head, sizeof(head));
    /* The first section is a symbol table, and its names are in the second. */
    if (head.e_shoff <= size && size - head.e_shoff >= 2 * sizeof(Elf64_Shdr)) {
        Elf64_Shdr table[2];

        memcpy(table, file + head.e_shoff, sizeof(table));
        table[0].sh_type = SHT_SYMTAB;
        table[0].sh_link = 1;
        table[1].sh_type = SHT_STRTAB;
        for (unsigned i = 0; i < 2; i++) {
            table[i].sh_offset %= size;
            table[i].sh_size %= size;
        }
        memcpy(file + head.e_shoff, table, sizeof(table));
    }
}

static void look(struct symbols *s, uint64_t address)
{
    char text[SYMBOL_TEXT_MAX], page[64];

    HV_CHECK(strlen(symbols_find(s, address, text)) < sizeof(text));
    HV_CHECK(strlen(symbols_on_page(s, address, page, sizeof(page))) < sizeof(page));
}

static void look_around(struct symbols *s)
{
    look(s, 0);
    look(s, UINT64_MAX);
    for (size_t i = 0; i < s->count && i < 64; i++) {
        look(s, s->list[i].address);
        look(s, s->list[i].address + s->list[i].size);
    }
    symbols_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t how = size ? data[0] : 0;
    uint64_t offset = (uint64_t)how << 20;
    struct symbols s;
    uint8_t *file;
    char path[64];
    int fd;

    if (size < 1)
        return 0;
    file = xmalloc(size);
    memcpy(file, data, size);
    if (how & 1)
        mend(file + 1, size - 1);
    fd = memfd_create("image", 0);
    HV_CHECK(fd >= 0 && write_all(fd, file + 1, size - 1) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (symbols_open(&s, path) == 0)
        look_around(&s);
    else
        symbols_close(&s);
    if (symbols_open_physical(&s, path, how & 2 ? &offset : NULL) == 0)
        look_around(&s);
    else
        symbols_close(&s);
    close(fd);
    free(file);
    return 0;
}
