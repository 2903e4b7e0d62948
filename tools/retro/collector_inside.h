/* What the collector's two files share. */
#ifndef RV_TOOLS_RETRO_COLLECTOR_INSIDE_H
#define RV_TOOLS_RETRO_COLLECTOR_INSIDE_H

#include "tools/retro/collector.h"

/* The link's time: microseconds. */
uint64_t collector_ticks(void);
/* Looks at the log's new blocks. */
void collector_read_blocks(struct collector *c);

#endif
