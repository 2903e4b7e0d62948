/* The interrupt handlers of guest_code.S. */

/* ---- Handlers: they note vector, EIP and EFLAGS, in a ring of the vCPU's own. ---- */

/* Past the call: return address, three registers, the frame. */
note_frame:
        private
        add     20(%esp), %ecx
        rolb    $1, %cl
        add     24(%esp), %ecx
        add     %eax, %ecx
        mov     GUEST_TRACE_NEXT(%ebx), %eax
        and     $0xff, %eax
        add     %ecx, GUEST_TRACE(%ebx,%eax,4)
        incl    GUEST_TRACE_NEXT(%ebx)
        ret

handler ipi, 0x40, 0, 1
handler ipi_others, 0x41, 0, 1
handler ipi_self, 0x42, 0, 1
handler timer, 0x50, 0, 1
handler nmi, 2, 0, 0
handler undefined, 6, 3, 0
handler interrupt, 0x30, 0, 0
        .balign 4
        .globl  guest_on_debug
guest_on_debug:
        push    %eax
        push    %ebx
        push    %ecx
        mov     %dr6, %eax
        mov     12(%esp), %ecx
        call    note_frame
        xor     %eax, %eax
        mov     %eax, %dr6
        pop     %ecx
        pop     %ebx
        pop     %eax
        iret
/* With an error code. */
        .balign 4
        .globl  guest_on_fault
guest_on_fault:
        add     $4, %esp
        push    %eax
        push    %ebx
        push    %ecx
        mov     $13, %eax
        mov     12(%esp), %ecx
        addl    $2, 12(%esp)
        call    note_frame
        pop     %ecx
        pop     %ebx
        pop     %eax
        iret
/* The page before is there. */
        .balign 4
        .globl  guest_on_page_fault
guest_on_page_fault:
        add     $4, %esp
        push    %eax
        push    %ebx
        push    %ecx
        mov     %cr2, %eax
        mov     12(%esp), %ecx
        call    note_frame
        pop     %ecx
        pop     %ebx
        pop     %eax
        sub     $0x1000, %edi
        iret
