#include "hv/main.h"

#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/machine.h"
#include "hv/msg.h"
#include "hv/state.h"

#define LOW_MEMORY_END (1u << 20)
#define BOOT_INFO_MAX  (1u << 20) /* GRUB's is a few KiB */
#define MAPPED_END     (UINT64_C(4) << 30)

#define PIC_MASTER_DATA 0x21
#define PIC_SLAVE_DATA  0xA1
#define PIC_ALL_MASKED  0xFF

extern const char image_start[];
extern const char image_end[];

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

/* Free memory: what the map calls usable, minus what it calls anything else, minus what somebody holds. */
static void find_free_memory(struct hv_state *hv)
{
    const struct boot_info *b = &hv->boot;
    bool good = true;

    for (uint32_t i = 0; i < b->region_count; i++) {
        if (b->regions[i].type == BOOT_MEMORY_USABLE) {
            good = good && mem_add(&hv->mem, b->regions[i].base, b->regions[i].base + b->regions[i].length);
        }
    }
    for (uint32_t i = 0; i < b->region_count; i++) {
        if (b->regions[i].type != BOOT_MEMORY_USABLE) {
            good =
                good && mem_remove(&hv->mem, b->regions[i].base, b->regions[i].base + b->regions[i].length);
        }
    }
    for (uint32_t i = 0; i < b->module_count; i++) {
        good = good && mem_remove(&hv->mem, b->modules[i].start, b->modules[i].end);
    }
    good = good && mem_remove(&hv->mem, 0, LOW_MEMORY_END);
    good = good && mem_remove(&hv->mem, (uint64_t)image_start, (uint64_t)image_end);
    good = good && mem_remove(&hv->mem, b->info_address, b->info_address + b->info_size);
    if (!good) {
        refuse_boot(MACHINE_BAD_BOOT, "the memory map has too many pieces");
    }
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
    uint32_t running;

    if (!apic_calibrate(&hv->cpus)) {
        refuse_boot(MACHINE_BAD_BOOT, "the TSC's rate cannot be found");
    }
    running = smp_start(&hv->cpus, 0x8000, NULL);
    hv_msg(MSG_INFO, "%u of %u CPUs run, %s, TSC %lu kHz", running, hv->cpus.count,
           hv->cpus.x2apic ? "x2APIC" : "xAPIC", hv->cpus.tsc_khz);
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
    hv_msg(MSG_INFO, "%lu MiB of memory are free", mem_free_bytes(&hv->mem) >> 20);
    list_cpus(hv);
    start_cpus(hv);
    machine_end(MACHINE_OK);
}
