#include "hv/main.h"

#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/cpuid.h"
#include "hv/cpu/smp.h"
#include "hv/guest.h"
#include "hv/machine.h"
#include "hv/memmap.h"
#include "hv/msg.h"
#include "hv/prepare.h"
#include "hv/selftest.h"
#include "hv/state.h"

#define BOOT_INFO_MAX (1u << 20) /* GRUB's is a few KiB */
#define MAPPED_END    (UINT64_C(4) << 30)

#define PIC_MASTER_DATA 0x21
#define PIC_SLAVE_DATA  0xA1
#define PIC_ALL_MASKED  0xFF

extern const char image_start[];
extern const char image_text_end[];
extern const char image_rodata_end[];
extern const char image_end[];
extern const char boot_stack_guard[];

static _Noreturn void refuse_boot(enum machine_status status, const char *what)
{
    hv_msg(MSG_ERROR, "%s", what);
    machine_end(status);
}

static void read_boot_information(struct hv_state *hv, uint32_t magic, uint32_t address)
{
    enum mb2_error error;

    if (magic != MB2_BOOTLOADER_MAGIC) {
        refuse_boot(MACHINE_BAD_BOOT, "not started by a multiboot2 loader");
    }
    error = mb2_parse((const void *)(uint64_t)address, BOOT_INFO_MAX, &hv->boot);
    if (error != MB2_OK) {
        refuse_boot(MACHINE_BAD_BOOT, mb2_error_name(error));
    }
    hv->boot.info_address = address;
}

static void read_command_line(struct hv_state *hv)
{
    char word[CMDLINE_WORD_SIZE];
    enum cmdline_error error = cmdline_parse(hv->boot.cmdline, &hv->options, word);

    if (error != CMDLINE_OK) {
        hv_msg(MSG_ERROR, "command line: %s: %s", word,
               error == CMDLINE_UNKNOWN_WORD ? "unknown word" : "bad value");
        machine_end(MACHINE_BAD_COMMAND_LINE);
    }
}

static struct image_layout image_layout(void)
{
    return (struct image_layout){(uint64_t)image_start, (uint64_t)image_text_end, (uint64_t)image_rodata_end,
                                 (uint64_t)image_end};
}

static void find_free_memory(struct hv_state *hv)
{
    struct image_layout image = image_layout();

    if (!memmap_find_free(&hv->boot, &image, &hv->mem)) {
        refuse_boot(MACHINE_BAD_BOOT, "the memory map has too many pieces");
    }
}

/* From here on: all RAM is mapped, the image's pages have only the rights they need, stacks have guard pages.
 */
static void build_paging(struct hv_state *hv)
{
    struct image_layout image = image_layout();
    bool pages_1g = cpuid(CPUID_EXT_VERSION).edx & CPUID_EXT_1_EDX_1G;
    uint64_t guard = (uint64_t)boot_stack_guard;
    bool good = memmap_build_paging(&hv->boot, &image, pages_1g, &hv->mem, &hv->paging) &&
                paging_set(&hv->paging, guard, guard + PAGE_SIZE, 0);

    for (uint32_t i = 0; i < hv->cpus.count; i++) {
        guard = (uint64_t)hv->cpus.cpus[i].priv.guard;
        good = good && paging_set(&hv->paging, guard, guard + PAGE_SIZE, 0);
    }
    if (!good) {
        refuse_boot(MACHINE_BAD_BOOT, "no memory for page tables");
    }
    write_cr3((uint64_t)hv->paging.root);
}

static const void *read_physical(void *context, uint64_t address, uint64_t size)
{
    (void)context;
    return size <= MAPPED_END && address <= MAPPED_END - size ? (const void *)address : NULL;
}

/* The boot processor becomes cpus[0], the others follow in the MADT's order. */
static void list_cpus(struct hv_state *hv)
{
    struct acpi_memory memory = {read_physical, NULL};
    enum acpi_error error = acpi_find_cpus(&memory, hv->boot.rsdp, hv->boot.rsdp_size, &hv->acpi);
    uint32_t own, next = 1;

    if (error != ACPI_OK) {
        refuse_boot(MACHINE_BAD_BOOT, acpi_error_name(error));
    }
    hv->cpus.count = hv->acpi.count;
    hv->cpus.cpus = mem_alloc(&hv->mem, hv->acpi.count * sizeof(struct percpu), PAGE_SIZE);
    if (!hv->cpus.cpus) {
        refuse_boot(MACHINE_BAD_BOOT, "no memory for the CPUs' blocks");
    }
    hv->cpus.unexpected_trap = panic_unexpected_trap;
    apic_choose_mode(&hv->cpus, hv->acpi.lapic_address, hv->options.xapic);
    smp_init_boot_cpu(&hv->cpus);
    own = apic_read_id(&hv->cpus);
    hv->cpus.cpus[0].pub.apic_id = own;
    for (uint32_t i = 0; i < hv->acpi.count; i++) {
        if (hv->acpi.apic_ids[i] != own) {
            if (next == hv->cpus.count) {
                refuse_boot(MACHINE_BAD_BOOT, "ACPI: the MADT does not list the boot processor");
            }
            hv->cpus.cpus[next++].pub.apic_id = hv->acpi.apic_ids[i];
        }
    }
}

static void start_cpus(struct hv_state *hv)
{
    uint64_t low_page;
    uint32_t running;

    if (!apic_calibrate(&hv->cpus)) {
        refuse_boot(MACHINE_BAD_BOOT, "the TSC's rate cannot be found");
    }
    if (!memmap_find_low_page(&hv->boot, &low_page) ||
        !paging_set(&hv->paging, low_page, low_page + PAGE_SIZE, PAGING_PRESENT | PAGING_WRITE)) {
        refuse_boot(MACHINE_BAD_BOOT, "no page below 640 KiB to start the CPUs in");
    }
    write_cr3((uint64_t)hv->paging.root);
    running = smp_start(&hv->cpus, low_page, NULL);
    (void)paging_set(&hv->paging, low_page, low_page + PAGE_SIZE, PAGING_DATA); /* the tables exist now */
    write_cr3((uint64_t)hv->paging.root);
    for (uint32_t i = 1; running < hv->cpus.count && i < hv->cpus.count; i++) {
        if (!hv->cpus.cpus[i].pub.online) {
            hv_msg(MSG_WARNING, "CPU %u (APIC id %u) does not start", i, hv->cpus.cpus[i].pub.apic_id);
        }
    }
}

static void print_report_line(void *context, bool important, const char *line)
{
    (void)context;
    hv_msg(important ? MSG_ERROR : MSG_INFO, "%s", line);
}

/* What the machine lacks is said by name, and nothing is tried without it. */
static void check_requirements(struct hv_state *hv)
{
    prepare_cpus(hv);
    report_print(&hv->report, hv->options.full_report, print_report_line, NULL);
    if (!report_good(&hv->report)) {
        machine_end(MACHINE_REFUSED);
    }
}

_Noreturn void hv_main(uint32_t magic, uint32_t info_address)
{
    struct hv_state *hv = &hv_state;

    out8(PIC_MASTER_DATA, PIC_ALL_MASKED);
    out8(PIC_SLAVE_DATA, PIC_ALL_MASKED);
    hv->options = cmdline_defaults();
    uart_init(&hv->com1, UART_COM1, hv->options.baud);
    msg_set_sink(msg_plain_sink, NULL);
    read_boot_information(hv, magic, info_address);
    read_command_line(hv);
    uart_init(&hv->com1, UART_COM1, hv->options.baud);
    hv_msg(MSG_INFO, "Retrovisor, mode=%s", cmdline_mode_name(hv->options.mode));
    find_free_memory(hv);
    list_cpus(hv);
    build_paging(hv);
    start_cpus(hv);
    selftest_run(hv);
    check_requirements(hv);
    if (hv->boot.module_count == 0) {
        hv_msg(MSG_INFO, "no modules: nothing to run");
        machine_end(MACHINE_OK);
    }
    machine_end(guest_run(hv));
}
