/* Where things are in the guests of the fake processor. For C and assembler. */
#ifndef RV_TEST_FAKE_GUEST_LAYOUT_H
#define RV_TEST_FAKE_GUEST_LAYOUT_H

#define GUEST_IDT       0x1000
#define GUEST_LOW       0x2000 /* below 64 KiB, for 16-bit addresses */
#define GUEST_CODE      0x4000
#define GUEST_SIPI_PAGE 9
#define GUEST_SIPI_DATA 0xa000
#define GUEST_MAIN      0xc000  /* a page for each vCPU's program */
#define GUEST_STACK     0x14000 /* the same; stacks begin at the page's end */

/* Shared. */
#define GUEST_SHARED       0x18000
#define GUEST_ATOMIC       0x18000
#define GUEST_RACY         0x18004
#define GUEST_SWAP         0x18008
#define GUEST_DONE         0x18040
#define GUEST_VCPUS        0x18044
#define GUEST_TURN         0x18048
#define GUEST_TURNS        0x1804c
#define GUEST_WRONG        0x18050 /* results that cannot be */
#define GUEST_LOCK         0x19000
#define GUEST_LOCKED1      0x19004
#define GUEST_LOCKED2      0x1a000
#define GUEST_TSC_LAST     0x1a004
#define GUEST_TSC_BACK     0x1a008 /* how often time went back */
#define GUEST_HISTORY_NEXT 0x1b000
#define GUEST_HISTORY      0x1b010
#define GUEST_FILL         0x1c000 /* two pages */
#define GUEST_SWEEP        0x1e000
#define GUEST_SWEEP_PAGES  12
#define GUEST_BEFORE       0x2a000
#define GUEST_TABLES       0x40000 /* looks like paging structures: a page of 8-byte entries, one of 4 */
#define GUEST_TABLES_BYTES 0x2000
#define GUEST_ABSENT       0x2b000 /* string stores there are page faults */

/* The entropy device's queue, whose buffers are 16 bytes each, and its doorbell. */
#define GUEST_RING_DESC   0x2c000
#define GUEST_RING_AVAIL  0x2c800
#define GUEST_RING_USED   0x2d000
#define GUEST_RING_DATA   0x2e000
#define GUEST_RING_SIZE   128
#define GUEST_RING_BUFFER 16
#define GUEST_RING_COUNT  0x2ef00 /* how often the vCPUs rang */
#define GUEST_DOORBELL    0xfe00d000

/* Each vCPU's own: four pages. */
#define GUEST_PRIVATE       0x30000
#define GUEST_PRIVATE_SHIFT 14
#define GUEST_NOTED         0x0
#define GUEST_WORK          0x8
#define GUEST_COUNT         0x10
#define GUEST_TRACE_NEXT    0x40
#define GUEST_TRACE         0x100
#define GUEST_TAKEN         0x800 /* interrupts taken, by vector */
#define GUEST_TAKEN_DEBUG   0x60  /* as vectors, more: #DB by bits 3:0 of DR6 */
#define GUEST_COPY          0x1000
#define GUEST_WATCHED       0x2000 /* two pages; each piece watches its own words */

#define GUEST_BYTES 0x42000
#define GUEST_APIC  0xfee00000

#endif
