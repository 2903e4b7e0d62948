"""What the emulator does not charge: costs on real processors, in cycles, each with where the number is from.

An emulated tick is an instruction. A VM exit and the entry after it, the slow string compare, and the misses after an INVEPT take
longer than that on processors. These are published measurements, not ours, of processors that differ, as we remember them from these
sources: look them up before you rely on one. The columns made with them are an estimate, to see which costs matter. A cycle counts like a tick, as if a processor did one instruction in a cycle.
"""

COSTS = {
    # VM exit and entry, hardware alone: Agesen, Mattson, Rugina and Sheldon, "Software Techniques for Avoiding Hardware Virtualization
    # Exits", USENIX ATC 2012, table 1 (Sandy Bridge; Nehalem 1009, Prescott 3963).
    "exit": 784,
    # REPE CMPSQ over a page takes two cycles a word: Fog, "Instruction tables" (Skylake: at least 2n). The emulator charges one.
    "compare": 512,
    # REP MOVSQ over a page takes one cycle a word at worst, and much less as a rule (the same tables): the emulator charges that.
    "copy": 0,
    # A TLB miss under nested paging: 24 references (Bhargava, Serebrin, Spadini and Manne, "Accelerating Two-Dimensional Page Walks for
    # Virtualized Systems", ASPLOS 2008) of 5 cycles, where all are in the first-level cache (Intel, "Optimization Reference Manual").
    # Charged for each page of each chunk's sets, as the INVEPT before the chunk has emptied the TLB. Of the instruction itself we
    # know no published measurement, and charge nothing.
    "walk": 120,
}


def surcharge(counters):
    """Cycles to add to one vCPU's ticks."""
    copies = counters["copies"] + counters["copies-ahead"] + counters["copies-out"]
    return (counters["exits"] * COSTS["exit"] + counters["compares"] * COSTS["compare"] + copies * COSTS["copy"] +
            counters["read-pages"] * COSTS["walk"])
