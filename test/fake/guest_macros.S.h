/* Macros of guest_code.S. */

.macro  piece name
        .balign 4
        .globl  guest_\name
guest_\name:
.endm

.macro  take_lock
8:      mov     $1, %eax
        xchg    %eax, GUEST_LOCK
        test    %eax, %eax
        jz      9f
        pause
        jmp     8b
9:
.endm

.macro  drop_lock
        movl    $0, GUEST_LOCK
.endm

/* EBX: this vCPU's private pages. */
.macro  private
        mov     %ebp, %ebx
        shl     $GUEST_PRIVATE_SHIFT, %ebx
        add     $GUEST_PRIVATE, %ebx
.endm

/* Adds EAX to what the vCPU has seen so far. */
.macro  note_eax
        private
        add     %eax, GUEST_NOTED(%ebx)
        mov     GUEST_NOTED(%ebx), %eax
        imul    %eax, %eax
        xor     %eax, GUEST_NOTED+4(%ebx)
.endm

/* An interrupt handler, which may step over `skip` bytes of what it interrupted. */
.macro  handler name, vector, skip, eoi
        .balign 4
        .globl  guest_on_\name
guest_on_\name:
        push    %eax
        push    %ebx
        push    %ecx
        mov     $\vector, %eax
        mov     12(%esp), %ecx
        addl    $\skip, 12(%esp)
        call    note_frame
        incl    GUEST_TAKEN+4*\vector(%ebx)
.if \eoi
        movl    $0, GUEST_APIC+0xb0
.endif
        pop     %ecx
        pop     %ebx
        pop     %eax
        iret
.endm
