/*
 * Guest code for the fake processor: small pieces that a test strings together into programs (see guest.h),
 * and interrupt handlers that note what they found on the stack. 32-bit protected mode, flat, no paging.
 *
 * A piece may change all registers but EBP (the vCPU's number) and ESP. Addresses of data are guest.h's.
 */
#include "test/fake/guest_layout.h"
#include "test/fake/guest_macros.inc"

        .section .rodata
        .balign 16
        .globl  guest_code, guest_code_end
        .code32
guest_code:

/* ---- Shared memory ---- */

piece atomic
        lock incl GUEST_ATOMIC
        ret

piece racy
        mov     GUEST_RACY, %eax
        imul    %eax, %eax
        add     %ebp, %eax
        inc     %eax
        mov     %eax, GUEST_RACY
        ret

piece history
        mov     $1, %eax
        lock xadd %eax, GUEST_HISTORY_NEXT
        and     $0x1ff, %eax
        movb    $'0', %cl
        add     %ebp, %ecx
        movb    %cl, GUEST_HISTORY(%eax)
        ret

piece exchange
        mov     GUEST_SWAP, %eax
1:      lea     3(%eax), %ecx
        xor     %ebp, %ecx
        lock cmpxchg %ecx, GUEST_SWAP
        jne     1b
        ret

piece lock
        take_lock
        incl    GUEST_LOCKED1
        mov     GUEST_LOCKED1, %eax
        mov     %eax, GUEST_LOCKED2
        drop_lock
        ret

piece look
        mov     $GUEST_SHARED, %esi
        mov     $32, %ecx
        xor     %eax, %eax
1:      add     (%esi), %eax
        add     $4, %esi
        dec     %ecx
        jnz     1b
        note_eax
        ret

piece silent
        mov     GUEST_SWAP, %eax
        mov     %eax, GUEST_SWAP
        orl     $0, GUEST_RACY
        ret

/* ---- Private memory ---- */

piece work
        private
        mov     $20, %ecx
1:      mov     GUEST_WORK(%ebx), %eax
        imul    %eax, %eax
        add     %ecx, %eax
        rolb    $3, %al
        mov     %eax, GUEST_WORK(%ebx)
        dec     %ecx
        jnz     1b
        ret

/* More pages than a chunk may change. */
piece sweep
        private
        mov     $GUEST_SWEEP_PAGES, %ecx
        mov     $GUEST_SWEEP, %edi
1:      mov     %ebp, %eax
        add     %ecx, %eax
        addb    %al, 8(%edi,%ebp,4)
        add     $0x1000, %edi
        dec     %ecx
        jnz     1b
        ret

/* Stores entries of paging structures, and clears accessed bits; what walks set there it never looks at. */
piece tables
        private
        mov     $6, %ecx
1:      mov     GUEST_WORK(%ebx), %eax
        imul    %eax, %eax
        add     %ecx, %eax
        rolb    $3, %al
        mov     %eax, GUEST_WORK(%ebx)
        mov     %eax, %edi
        and     $0x1ffc, %edi
        or      $0x1021, %eax
        mov     %eax, GUEST_TABLES(%edi)
        xor     $0x730, %edi
        andb    $0xdf, GUEST_TABLES(%edi)
        dec     %ecx
        jnz     1b
        ret

/* Loops whose registers do not change: only memory tells one round from the next. */
piece same
        private
        movl    $30, GUEST_COUNT(%ebx)
1:      decl    GUEST_COUNT(%ebx)
        jnz     1b
        ret

/* One instruction that jumps to itself. */
piece tight
        mov     $40, %ecx
1:      loop    1b
        ret

piece xmm
        movd    %xmm0, %eax
        add     $0x101, %eax
        movd    %eax, %xmm0
        note_eax
        ret

/* ---- REP ---- */

piece movs
        private
        mov     $GUEST_SHARED, %esi
        lea     GUEST_COPY+0xf00(%ebx), %edi
        mov     $120, %ecx
        cld
        rep movsl
        ret

piece movs_down
        private
        mov     $GUEST_SHARED+0xff, %esi
        lea     GUEST_COPY+0x1020(%ebx), %edi
        mov     $90, %ecx
        std
        rep movsb
        cld
        ret

piece stos
        mov     $GUEST_FILL+0xfa0, %edi
        mov     %ebp, %eax
        mov     $120, %ecx
        rep stosb
        mov     $GUEST_FILL, %edi
        mov     $10, %ecx
        rep stosw
        ret

piece cmps
        private
        mov     $GUEST_SHARED, %esi
        lea     GUEST_COPY+0xf00(%ebx), %edi
        mov     $100, %ecx
        repe cmpsb
        pushf
        pop     %eax
        add     %ecx, %eax
        note_eax
        ret

piece scas
        mov     $GUEST_HISTORY, %edi
        mov     $'1', %al
        mov     $150, %ecx
        repne scasb
        pushf
        pop     %eax
        and     $0xcd5, %eax
        add     %edi, %eax
        note_eax
        ret

piece lods
        mov     $GUEST_HISTORY, %esi
        mov     $60, %ecx
        xor     %eax, %eax
        rep lodsw
        note_eax
        ret

/* RCX is 0, and 16 bits of it. */
piece rep_odd
        private
        lea     GUEST_COPY(%ebx), %edi
        xor     %ecx, %ecx
        rep stosb
        mov     $0x10003, %ecx
        mov     $GUEST_LOW, %edi
        addr16 rep stosb
        mov     %ecx, %eax
        note_eax
        ret

piece rep_long
        private
        lea     GUEST_COPY(%ebx), %edi
        mov     %ebp, %eax
        mov     $2600, %ecx
        rep stosb
        ret

/* A page fault in the middle; the handler's IRET has RF set. */
piece rep_fault
        mov     $GUEST_ABSENT-0x30, %edi
        lea     1(%ebp), %eax
        mov     $0x30+40, %ecx
        rep stosb
        ret

piece rep_fault_long
        mov     $GUEST_ABSENT-0x30, %edi
        lea     1(%ebp), %eax
        mov     $0x30+1700, %ecx
        rep stosb
        ret

/* ---- Time ---- */

piece tsc
        take_lock
        rdtsc
        cmp     GUEST_TSC_LAST, %eax
        jae     1f
        incl    GUEST_TSC_BACK
1:      mov     %eax, GUEST_TSC_LAST
        drop_lock
        ret

piece tscp
        rdtscp
        add     %ecx, %eax
        note_eax
        ret

/* ---- Exits that the vCPU alone sees ---- */

piece cpuid
        mov     $1, %eax
        xor     %ecx, %ecx
        cpuid
        add     %ebx, %eax
        note_eax
        ret

piece random
        rdrand  %eax
        note_eax
        ret

piece msr
        mov     $0xc0000082, %ecx
        rdmsr
        add     $0x1000, %eax
        add     %ebp, %eax
        xor     %edx, %edx
        wrmsr
        note_eax
        ret

piece cr0
        mov     %cr0, %eax
        xor     $8, %eax
        mov     %eax, %cr0
        mov     %cr0, %eax
        note_eax
        ret

piece dr
        mov     %dr3, %eax
        add     $7, %eax
        mov     %eax, %dr3
        mov     %dr7, %eax
        note_eax
        ret

piece xcr0
        xor     %ecx, %ecx
        xor     %edx, %edx
        mov     $3, %eax
        xsetbv
        mov     $7, %eax
        xsetbv
        ret

piece pauses
        mov     $25, %ecx
1:      pause
        dec     %ecx
        jnz     1b
        ret

/* ---- Ports ---- */

piece out
        mov     $0x3f8, %dx
        lea     'a'(%ebp), %eax
        out     %al, %dx
        ret

/* Downwards, the second over the border of two pages. */
piece outs
        private
        movl    $0x41424344, GUEST_COPY+0xffe(%ebx)
        mov     $0x3f8, %dx
        lea     GUEST_COPY+0x1000(%ebx), %esi
        mov     $3, %ecx
        std
        rep outsb
        cld
        mov     $0x80, %dx
        lea     GUEST_COPY+0xffe(%ebx), %esi
        outsl
        ret

/* What no device answers reads as ones; the UART is ready to send. */
piece ins
        private
        mov     $0x90, %dx
        lea     GUEST_COPY+0xffa(%ebx), %edi
        movl    $0, (%edi)
        movl    $0, 4(%edi)
        mov     $2, %ecx
        rep insl
        xor     %ecx, %ecx
        rep insl
        cmpl    $-1, -4(%edi)
        jne     1f
        cmpl    $-1, -8(%edi)
        jne     1f
        mov     $0x3fd, %dx
        insb
        movzbl  -1(%edi), %eax
        and     $0x60, %eax
        cmp     $0x60, %eax
        je      2f
1:      lock incl GUEST_WRONG
2:      ret

piece in
        mov     $0x3fd, %dx
        mov     $-1, %eax
        in      %dx, %al
        mov     %eax, %ecx
        and     $0xffffff60, %ecx
        cmp     $0xffffff60, %ecx
        je      1f
        lock incl GUEST_WRONG
1:      in      $0x71, %al
        note_eax
        ret

/* ---- The local APIC, as memory ---- */

piece ipi
        mov     %ebp, %eax
        inc     %eax
        cmp     GUEST_VCPUS, %eax
        jb      1f
        xor     %eax, %eax
1:      shl     $24, %eax
        mov     %eax, GUEST_APIC+0x310
        movl    $0x4040, GUEST_APIC+0x300
        ret

piece ipi_others
        movl    $0xc4041, GUEST_APIC+0x300
        ret

/* Flags and registers that an act leaves behind. */
piece ipi_or
        movl    $0, GUEST_APIC+0x300
        xor     %eax, %eax
        orl     $0xc4041, GUEST_APIC+0x300
        jnz     1f
        lock incl GUEST_WRONG
1:      ret

piece ipi_exchange
        movl    $0xc4041, GUEST_APIC+0x300
        mov     $0xc4041, %eax
        xchg    %eax, GUEST_APIC+0x300
        cmp     $0xc4041, %eax
        je      1f
        lock incl GUEST_WRONG
1:      mov     $0xc4000, %ecx
        mov     %ecx, %eax
        xchg    %eax, GUEST_APIC+0x300
        cmp     %ecx, %eax
        jne     2f
        lock incl GUEST_WRONG
2:      ret

piece ipi_self
        movl    $0x44042, GUEST_APIC+0x300
        ret

piece nmi
        mov     %ebp, %eax
        inc     %eax
        cmp     GUEST_VCPUS, %eax
        jb      1f
        xor     %eax, %eax
1:      shl     $24, %eax
        mov     %eax, GUEST_APIC+0x310
        movl    $0x4400, GUEST_APIC+0x300
        ret

piece timer
        movl    $0x0b, GUEST_APIC+0x3e0
        movl    $0x50, GUEST_APIC+0x320
        movl    $2000, GUEST_APIC+0x380
        ret

piece timer_periodic
        movl    $0x0b, GUEST_APIC+0x3e0
        movl    $0x20051, GUEST_APIC+0x320
        movl    $6000, GUEST_APIC+0x380
        ret

piece timer_count
        mov     GUEST_APIC+0x390, %eax
        note_eax
        ret

piece tpr
        movl    $0x40, GUEST_APIC+0x80
        mov     GUEST_APIC+0xa0, %eax
        orl     $0x10, GUEST_APIC+0x80
        xchg    %eax, GUEST_APIC+0x80
        note_eax
        movl    $0, GUEST_APIC+0x80
        ret

/* Its own timer wakes it; what comes first may. */
piece halt
        pushf
        cli
        call    guest_timer
        sti
        hlt
        popf
        ret

/* ---- Shadows, flags, faults ---- */

piece closed
        pushf
        cli
        incl    GUEST_RACY
        call    guest_work
        sti
        incl    GUEST_RACY
        incl    GUEST_RACY
        popf
        ret

/* The shadow of STI covers a REP, and one that reaches another page. */
piece closed_rep
        private
        pushf
        cli
        call    guest_ipi_self
        lea     GUEST_COPY+0xfe0(%ebx), %edi
        mov     $60, %ecx
        sti
        rep stosb
        popf
        ret

piece stack_segment
        private
        mov     %ss, %eax
        mov     %eax, %ss
        incl    GUEST_COUNT+8(%ebx)
        mov     %eax, %ss
        rdrand  %edx
        mov     %eax, %ss
        mov     %eax, %ss
        nop
        ret

/* Single steps. */
piece trap
        private
        pushf
        orl     $0x100, (%esp)
        popf
        incl    GUEST_COUNT+12(%ebx)
        rdrand  %edx
        mov     %ss, %eax
        mov     %eax, %ss
        nop
        lea     GUEST_COPY(%ebx), %edi
        mov     $3, %ecx
        rep stosb
        pushf
        andl    $~0x100, (%esp)
        popf
        ret

piece fault
        mov     $0x123456, %ecx
        rdmsr
        nop
        ret

piece undefined
        vmcall
        incl    GUEST_RACY
        ret

piece interrupt
        int     $0x30
        ret

#include "test/fake/guest_debug.inc"

/* ---- For tests of their own ---- */

/* Starts vCPU 1 anew, and waits until it runs. */
piece startup
        mov     GUEST_SIPI_DATA, %ecx
        movl    $0x01000000, GUEST_APIC+0x310
        movl    $0x4500, GUEST_APIC+0x300
        movl    $0x4600+GUEST_SIPI_PAGE, GUEST_APIC+0x300
1:      pause
        cmp     GUEST_SIPI_DATA, %ecx
        je      1b
        ret

/* One turn of two vCPUs that wake each other. */
piece pingpong
1:      cli
        cmp     GUEST_TURN, %ebp
        je      2f
        sti
        hlt
        jmp     1b
2:      mov     %ebp, %eax
        xor     $1, %eax
        mov     %eax, GUEST_TURN
        incl    GUEST_TURNS
        sti
        shl     $24, %eax
        mov     %eax, GUEST_APIC+0x310
        movl    $0x4040, GUEST_APIC+0x300
        /* The other one wakes among these, and its chunks are squashed. */
        mov     $25, %ecx
3:      incl    GUEST_RACY
        dec     %ecx
        jnz     3b
        ret

/* For good. */
piece stop
        cli
        hlt
        jmp     guest_stop

/* An instruction that device memory is not accessed with. */
/*
 * Data that looks like page table entries: string instructions write words of which every other one differs from what
 * was there in its A bit alone. The port ends a chunk, so that what was there is committed.
 */
piece rep_entries
        mov     $0x1001, %eax
        mov     $GUEST_SWEEP, %edi
        mov     $1024, %ecx
        rep stosl
        mov     $GUEST_FILL, %edi
        mov     $1024, %ecx
        rep stosl
        mov     $255, %ecx
1:      mov     %ecx, %edi
        shl     $4, %edi
        xorl    $0x20, GUEST_SWEEP(%edi)
        dec     %ecx
        jns     1b
        mov     $0x3fd, %edx
        in      (%dx), %al
        mov     $GUEST_SWEEP, %esi
        mov     $GUEST_FILL, %edi
        mov     $4096, %ecx
        rep movsb
        in      (%dx), %al
        ret

piece refused
        mov     $GUEST_APIC+0x80, %edi
        mov     $1, %ecx
        rep stosl
        ret

/* ---- Begin and end of a vCPU's program ---- */

piece begin
        movl    $0x1ff, GUEST_APIC+0xf0
        movd    %ebp, %xmm0
        sti
        ret

piece end
        lock incl GUEST_DONE
        test    %ebp, %ebp
        jnz     2f
1:      pause
        mov     GUEST_DONE, %eax
        cmp     GUEST_VCPUS, %eax
        jne     1b
        mov     $0x3f8, %dx
        mov     GUEST_ATOMIC, %eax
        out     %al, %dx
        mov     GUEST_RACY, %eax
        out     %al, %dx
        mov     $0x501, %dx
        mov     $7, %eax
        out     %al, %dx
2:      sti
        hlt
        jmp     2b

#include "test/fake/guest_handlers.inc"

/* One more buffer for the entropy device, and a look at what it has given so far. */
piece device
        mov     $0x10000, %eax
        lock xadd %eax, GUEST_RING_AVAIL
        movl    $0, GUEST_DOORBELL
        lock incl GUEST_RING_COUNT
        mov     GUEST_RING_DATA, %eax
        add     GUEST_RING_DATA+64, %eax
        add     GUEST_RING_USED, %eax
        note_eax
        ret

guest_code_end:
        .code64
        .section .note.GNU-stack, "", @progbits
