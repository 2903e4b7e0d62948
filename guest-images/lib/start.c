/*
 * The first C code of a guest, and the few system calls that newlib asks for.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-images/lib/apic.h"
#include "guest-images/lib/bootinfo.h"
#include "guest-images/lib/console.h"
#include "guest-images/lib/memory.h"
#include "guest-images/lib/smp.h"
#include "guest-images/lib/trap.h"
#include "guest-images/lib/x86.h"

#define PIC_MASTER_MASK 0x21
#define PIC_SLAVE_MASK  0xA1
#define PIC_ALL         0xFF

int main(void);
_Noreturn void start_first_cpu(uint32_t boot_information);

static char output_buffer[512];

/* The firmware's interrupt controllers are left running by some loaders, and no guest uses them. */
static void mask_pics(void)
{
    outb(PIC_MASTER_MASK, PIC_ALL);
    outb(PIC_SLAVE_MASK, PIC_ALL);
}

void start_first_cpu(uint32_t boot_information)
{
    struct bootinfo info = bootinfo_read(boot_information);

    mask_pics();
    trap_init();
    trap_init_cpu(0);
    cpu_set_id(0);
    console_init();
    memory_init(info.memory_end);
    setvbuf(stdout, output_buffer, _IOFBF, sizeof(output_buffer));
    apic_choose();
    apic_init();
    smp_start(&info);
    guest_exit(main());
}

int write(int file, const void *text, size_t length)
{
    (void)file;
    console_write(text, length);
    return (int)length;
}

int read(int file, void *text, size_t length)
{
    (void)file, (void)text, (void)length;
    return 0;
}

int close(int file)
{
    (void)file;
    return 0;
}

off_t lseek(int file, off_t offset, int whence)
{
    (void)file, (void)offset, (void)whence;
    errno = ESPIPE;
    return -1;
}

int fstat(int file, struct stat *status)
{
    (void)file;
    status->st_mode = S_IFCHR;
    return 0;
}

int isatty(int file)
{
    (void)file;
    return 1;
}

int getpid(void)
{
    return 1;
}

int kill(int process, int signal)
{
    (void)process;
    panic("signal %d", signal);
}

void _exit(int code)
{
    guest_exit(code);
}
