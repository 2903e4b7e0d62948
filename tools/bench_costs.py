"""What the emulator does not charge: costs on real processors, in cycles, each with where the number is from.

An emulated tick is an instruction. A VM exit and the entry after it, and the misses after an INVEPT take longer than that on
processors. The numbers are published ones, not ours, of processors that differ. The columns made with them are an estimate, to see
which costs matter. A cycle counts like a tick, as if a processor did one instruction in a cycle.
"""

COSTS = {
    # VM exit and entry, the processor's part alone ("direct cost"; that of cold caches comes on top): Landau, Ben-Yehuda and Gordon,
    # "SplitX: Split Guest/Hypervisor Execution on Multi-Core", WIOV 2011, table 1 (Xeon X5570 of 2009, KVM with EPT and VPID). Later
    # processors are said to be faster, so this is rather too much.
    "exit": 2000,
    # Pages are compared with AVX2: some 450 instructions for an equal page, 1,250 for one that changed all over, which no processor does
    # slower than one in a cycle from its caches. The emulator charges that.
    "compare": 0,
    # REP MOVSQ over a page: no measurement that we know of is above a cycle a word, which the emulator charges.
    "copy": 0,
    # A TLB miss under nested paging: up to 24 accesses one after the other (Stojkovic and others, "Parallel Virtualized Memory
    # Translation with Nested Elastic Cuckoo Page Tables", ASPLOS 2022), taken as 5 cycles each, as if all hit the first-level cache:
    # an assumption. Charged for each page of each chunk's sets, as the INVEPT before the chunk has emptied the TLB. Of the instruction
    # itself we found no published measurement, and charge nothing.
    "walk": 120,
}


def surcharge(counters):
    """Cycles to add to one vCPU's ticks."""
    copies = counters["copies"] + counters["copies-ahead"] + counters["copies-out"]
    return (counters["exits"] * COSTS["exit"] + counters["compares"] * COSTS["compare"] + copies * COSTS["copy"] +
            counters["read-pages"] * COSTS["walk"])
