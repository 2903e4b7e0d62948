/* Where the boot code enters C. */
#ifndef RV_HV_MAIN_H
#define RV_HV_MAIN_H

#include "hv/base/types.h"

/* magic and info_address as GRUB left them in EAX and EBX; on the boot stack, 4 GiB mapped to themselves. */
_Noreturn void hv_main(uint32_t magic, uint32_t info_address);

#endif
