/* The date that the machine's own real-time clock shows. */
#ifndef RV_HV_HOST_DATE_H
#define RV_HV_HOST_DATE_H

#include <stdint.h>

/* Seconds since 1970; 0 where the clock does not answer. Boot processor, nobody else uses the clock's ports.
 */
uint64_t host_date(void);

#endif
