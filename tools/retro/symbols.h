/* Names for addresses in a guest, from the symbol table of its ELF image, or from a System.map. */
#ifndef RV_TOOLS_RETRO_SYMBOLS_H
#define RV_TOOLS_RETRO_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYMBOL_TEXT_MAX = 96 };

struct symbol {
    uint64_t address, size;
    const char *name; /* ends within the string table */
    bool data;
};

struct symbols {
    uint8_t *file;
    size_t length;
    struct symbol *list; /* by address */
    size_t count;
    bool want_data; /* data are read, too */
};

/*
 * Reads the functions and labels of the ELF64 file at `path`. Returns RETRO_OK, or an exit code after a
 * message where it cannot be read or is no such file; one without symbols is fine. The file may be anybody's.
 */
int symbols_open(struct symbols *s, const char *path);
/*
 * "name+0x14" for a linear address of a guest that maps its image one to one; "" where nothing is known
 * (also for an empty `s`). The text is in `out`, which is returned.
 */
const char *symbols_find(const struct symbols *s, uint64_t address, char out[SYMBOL_TEXT_MAX]);
void symbols_close(struct symbols *s);

/*
 * The same for guest-physical addresses, data too: from an ELF64 file or the System.map of a Linux kernel.
 * `offset` is added to each linked address (modulo 2^64); without one (NULL) addresses are taken as they are,
 * but where a symbol lies in the mapping of Linux's text (x86-64: from SYMBOLS_LINUX_TEXT on, for 1 GiB),
 * those in it are what is known, less that address: so it is for a kernel that was not relocated, and per-CPU
 * variables, which are linked at 0, are not taken for the first pages.
 */
int symbols_open_physical(struct symbols *s, const char *path, const uint64_t *offset);
#define SYMBOLS_LINUX_TEXT UINT64_C(0xffffffff80000000)

/*
 * What lies on the page at `address`: as many names as fit into `out`, with commas between, and how many more
 * there are. Data come first. "" where nothing is known.
 */
const char *symbols_on_page(const struct symbols *s, uint64_t address, char *out, size_t size);

#endif
