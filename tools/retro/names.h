/* Names of the log's values, as text and JSON output give them; "?" for values out of range. */
#ifndef RV_TOOLS_RETRO_NAMES_H
#define RV_TOOLS_RETRO_NAMES_H

const char *end_name(unsigned end);         /* enum rec_end */
const char *event_name(unsigned kind);      /* enum rec_event_kind */
const char *device_name(unsigned device);   /* enum rec_device */
const char *outcome_name(unsigned outcome); /* enum rec_outcome */

#endif
