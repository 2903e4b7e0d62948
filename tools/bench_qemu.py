"""The same guests under QEMU's record and replay (-icount, rr=record), against QEMU without it: wall time and log bytes."""

import os
import shutil
import subprocess
import time

RUNS = 3  # the fastest counts
LIMIT = 60  # seconds
MODES = ("tcg", "icount", "record", "replay")


def command(mode, iso, vcpus, log):
    drive = ["-drive", "file=%s,if=none,format=raw,readonly=on,id=disc" % iso]
    options = {"tcg": [], "icount": ["-icount", "shift=auto"], "record": ["-icount", "shift=auto,rr=record,rrfile=" + log],
               "replay": ["-icount", "shift=auto,rr=replay,rrfile=" + log]}[mode]
    if mode in ("record", "replay"):
        drive += ["-drive", "driver=blkreplay,if=none,image=disc,id=replayed", "-device", "ide-cd,drive=replayed"]
    else:
        drive += ["-device", "ide-cd,drive=disc"]
    return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", str(vcpus), "-m", "128", "-boot", "d", "-display", "none",
            "-nodefaults", "-no-reboot", "-serial", "null", "-device", "isa-debug-exit,iobase=0x501,iosize=0x04", *drive, *options]


def wall(mode, iso, vcpus, log):
    """Seconds, or None if the guest did not end well (status 0 leaves QEMU with 1)."""
    start = time.monotonic()
    try:
        status = subprocess.run(command(mode, iso, vcpus, log), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, timeout=LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        return None
    return time.monotonic() - start if status == 1 else None


def fastest(mode, iso, vcpus, log):
    times = []
    for _ in range(RUNS):
        seconds = wall(mode, iso, vcpus, log)
        if not seconds:
            break  # it would not end well the next time either
        times.append(seconds)
    return round(min(times), 3) if times else None


def measure(guest, vcpus, words, scratch):
    iso, log = os.path.join(scratch, "qemu.iso"), os.path.join(scratch, "qemu.log")
    environment = dict(os.environ, RETROVISOR="build/boot-bench/guests/%s.elf" % guest)
    subprocess.run(["tools/mkiso", iso, words or "n"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    row = {"guest": guest, "vcpus": vcpus, **{mode: fastest(mode, iso, vcpus, log) for mode in MODES}}
    row["log_bytes"] = os.path.getsize(log) if os.path.exists(log) else 0
    return row


def measure_all(which, scratch):
    """One after the other, since wall time is measured; the start of machine and boot loader is taken off by hello's time."""
    if not shutil.which("qemu-system-x86_64"):
        print("QEMU is not installed: no comparison with it")
        return []
    rows, boots = [], {}
    print("QEMU, seconds (of them to start): guest, vCPUs, TCG, icount, record, replay, record against TCG, log bytes")
    for guest, vcpus, words in which:
        if vcpus not in boots:
            boots[vcpus] = measure("hello", vcpus, "", scratch)
        row, boot = measure(guest, vcpus, words, scratch), boots[vcpus]
        spent = {mode: row[mode] - boot[mode] for mode in MODES if row[mode] and boot[mode]}
        known = all(spent.get(mode, 0) > 0.05 for mode in ("tcg", "record"))
        row["slowdown"] = round(spent["record"] / spent["tcg"], 2) if known else None
        print("  %-9s %d  %s  %s  %d" % (guest, vcpus, "  ".join("%s (%s)" % (row[mode], boot[mode]) for mode in MODES),
                                        row["slowdown"] or "-", row["log_bytes"]), flush=True)
        rows.append(row)
    return rows
