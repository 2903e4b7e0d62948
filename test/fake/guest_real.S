#include "test/fake/guest_layout.h"

        .section .rodata
/* Real mode: where a startup IPI leads. Page 9 is GUEST_SIPI_PAGE. */
        .globl  guest_real, guest_real_end
        .code16
guest_real:
        mov     $GUEST_SIPI_DATA, %edi
        lock incl (%edi)
        mov     %cs, %ax
        mov     %ax, 4(%edi)
1:      hlt
        jmp     1b
guest_real_end:
        .code64
        .section .note.GNU-stack, "", @progbits
