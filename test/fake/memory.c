/* The processor's accesses to guest memory: through EPT and the TLB. */
#include <string.h>

#include "ept/view.h"
#include "hv/base/check.h"
#include "hv/cpu/cpu.h"
#include "test/fake/guest_layout.h"
#include "test/fake/processor_inside.h"
#include "vmx/vmcs.h"

/* Exit qualification (SDM 3C table 28-7). */
#define QUALIFY_READ    BIT(0)
#define QUALIFY_WRITE   BIT(1)
#define QUALIFY_FETCH   BIT(2)
#define QUALIFY_RIGHT_R BIT(3)
#define QUALIFY_RIGHT_X BIT(5)
#define QUALIFY_LINEAR  BIT(7)
#define QUALIFY_ACCESS  BIT(8) /* not by a page walk */

uint32_t fake_segment_base(struct fakerun *run, enum vmx_segment_index index)
{
    return (uint32_t)run->cpu->vmcs[VMCS_GUEST_ES_BASE + 2 * index];
}

bool fake_protected(struct fakerun *run)
{
    return run->cpu->vmcs[VMCS_GUEST_CR0] & CR0_PE;
}

/* RF: SDM 3C 28.3.3. During a delivery it is what would have been pushed, which run->rflags still has. */
static bool violation(struct fakerun *run, uint32_t linear, uint64_t access)
{
    uint64_t *vmcs = run->cpu->vmcs;
    uint64_t rights = linear >> PAGE_SHIFT < run->cpu->tlb.pages ? QUALIFY_RIGHT_R | QUALIFY_RIGHT_X : 0;

    if (!run->vectoring)
        run->rflags |= RFLAGS_RF;
    vmcs[VMCS_GUEST_PHYSICAL_ADDRESS] = linear;
    vmcs[VMCS_GUEST_LINEAR_ADDRESS] = linear;
    fake_exit(run, VMX_EXIT_EPT_VIOLATION, access | rights | QUALIFY_LINEAR, 0);
    return false;
}

/* RF as with a violation. */
static bool log_full(struct fakerun *run)
{
    if (!run->vectoring)
        run->rflags |= RFLAGS_RF;
    fake_exit(run, VMX_EXIT_PML_FULL, 0, 0);
    return false;
}

static bool translate(struct fakerun *run, uint32_t linear, enum faketlb_access access, uint64_t qualify,
                      uint8_t **host)
{
    struct fakecpu *cpu = run->cpu;
    uint32_t gpn = linear >> PAGE_SHIFT;
    uint64_t frame = 0;
    enum faketlb_result result;

    if (fakecpu_chance(cpu, cpu->model.evict))
        faketlb_evict(&cpu->tlb, run->eptp, (uint32_t)(fake_random(&cpu->random) % cpu->tlb.pages));
    result = faketlb_access(&cpu->tlb, run->eptp, gpn, access, &frame);
    HV_CHECK(result != FAKETLB_MISCONFIG);
    if (result == FAKETLB_LOG_FULL)
        return log_full(run);
    if (result == FAKETLB_VIOLATION)
        return violation(run, linear, qualify);
    *host = (uint8_t *)(uintptr_t)frame + (linear & PAGE_MASK);
    return true;
}

/* Both pages of an access that crosses from one to the next, before a byte of it is moved. */
static bool translate_span(struct fakerun *run, uint32_t linear, uint32_t bytes, enum faketlb_access access,
                           uint64_t qualify, uint8_t *host[2], uint32_t *first)
{
    *first = MIN(bytes, PAGE_SIZE - (uint32_t)(linear & PAGE_MASK));
    if (!translate(run, linear, access, qualify, &host[0]))
        return false;
    return *first == bytes || translate(run, linear + *first, access, qualify, &host[1]);
}

bool fake_read(struct fakerun *run, uint32_t linear, void *data, uint32_t bytes)
{
    uint8_t *host[2];
    uint32_t first;

    if (!translate_span(run, linear, bytes, FAKETLB_READ, QUALIFY_ACCESS | QUALIFY_READ, host, &first))
        return false;
    run->matched |= fake_match_data(run, linear, bytes, false);
    memcpy(data, host[0], first);
    if (first < bytes)
        memcpy((uint8_t *)data + first, host[1], bytes - first);
    return true;
}

bool fake_write(struct fakerun *run, uint32_t linear, const void *data, uint32_t bytes)
{
    uint8_t *host[2];
    uint32_t first;

    if (!translate_span(run, linear, bytes, FAKETLB_WRITE, QUALIFY_ACCESS | QUALIFY_WRITE, host, &first))
        return false;
    run->matched |= fake_match_data(run, linear, bytes, true);
    memcpy(host[0], data, first);
    if (first < bytes)
        memcpy(host[1], (const uint8_t *)data + first, bytes - first);
    return true;
}

bool fake_probe_write(struct fakerun *run, uint32_t linear, uint32_t bytes, bool also_read)
{
    uint8_t *host[2];
    uint32_t first;

    return translate_span(run, linear, bytes, FAKETLB_WRITE,
                          QUALIFY_ACCESS | QUALIFY_WRITE | (also_read ? QUALIFY_READ : 0), host, &first);
}

/* The second page only when the first does not hold a whole instruction: as late as a processor may. */
bool fake_fetch(struct fakerun *run, uint8_t bytes[15], uint32_t *count)
{
    uint32_t linear = fake_segment_base(run, SEGMENT_CS) + run->rip;
    uint32_t here = PAGE_SIZE - (uint32_t)(linear & PAGE_MASK);
    uint8_t *host;

    if (!translate(run, linear, FAKETLB_FETCH, QUALIFY_ACCESS | QUALIFY_FETCH, &host))
        return false;
    *count = MIN(here, 15u);
    memcpy(bytes, host, *count);
    return true;
}

void fake_speculate(struct fakerun *run)
{
    struct fakecpu *cpu = run->cpu;

    faketlb_access(&cpu->tlb, run->eptp, (uint32_t)(fake_random(&cpu->random) % cpu->tlb.pages), FAKETLB_READ,
                   NULL);
}

#define ENTRY_PRESENT 0x01u
#define ENTRY_A       0x20u
#define ENTRY_ADDRESS 0xfffff000u

/* With EPT A/D bits each walk counts as a write to the paging structure (SDM 3C 29.3.5). */
bool fake_walk(struct fakerun *run)
{
    uint32_t linear = GUEST_TABLES + (uint32_t)(fake_random(&run->cpu->random) % GUEST_TABLES_BYTES & ~3u);
    uint32_t entry;
    uint8_t *host;

    if (!translate(run, linear, FAKETLB_WRITE, QUALIFY_READ | QUALIFY_WRITE, &host))
        return false;
    memcpy(&entry, host, sizeof(entry));
    if ((entry & ENTRY_PRESENT) && (entry & ENTRY_ADDRESS))
        entry |= ENTRY_A;
    memcpy(host, &entry, sizeof(entry));
    return true;
}
