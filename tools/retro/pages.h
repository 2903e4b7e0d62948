/* The pages over which most chunks were squashed, with names for what lies there. */
#ifndef RV_TOOLS_RETRO_PAGES_H
#define RV_TOOLS_RETRO_PAGES_H

#include "replay/log_codec.h"
#include "tools/retro/symbols.h"

#include <jansson.h>

enum { PAGES_SHOWN = 20 };

/* A table for people, of at most PAGES_SHOWN pages. `symbols` may be empty. */
void pages_print(const struct rec_pages *pages, const struct symbols *symbols);
/* A list of all pages; with `symbols` also addresses, and names where there are any. */
json_t *pages_json(const struct rec_pages *pages, const struct symbols *symbols);

#endif
