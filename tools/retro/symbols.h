/* Names for addresses in a guest, from the symbol table of its ELF image. */
#ifndef RV_TOOLS_RETRO_SYMBOLS_H
#define RV_TOOLS_RETRO_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

enum { SYMBOL_TEXT_MAX = 96 };

struct symbol {
    uint64_t address, size;
    const char *name; /* ends within the string table */
};

struct symbols {
    uint8_t *file;
    size_t length;
    struct symbol *list; /* by address */
    size_t count;
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

#endif
