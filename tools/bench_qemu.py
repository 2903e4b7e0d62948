"""The same guests under QEMU's record and replay (-icount, rr=record), against QEMU without it: wall time and log bytes.

On one CPU: QEMU refuses to record with -smp ("not supported for 'smp'").
"""

import os
import shutil
import subprocess
import sys
import time

RUNS = 3  # the fastest counts
LIMIT = 60  # seconds
MODES = ("tcg", "icount", "record", "replay")


def command(mode, iso, text, log):
    drive = ["-drive", "file=%s,if=none,format=raw,readonly=on,id=disc" % iso]
    options = {"tcg": [], "icount": ["-icount", "shift=auto"], "record": ["-icount", "shift=auto,rr=record,rrfile=" + log],
               "replay": ["-icount", "shift=auto,rr=replay,rrfile=" + log]}[mode]
    if mode in ("record", "replay"):
        drive += ["-drive", "driver=blkreplay,if=none,image=disc,id=replayed", "-device", "ide-cd,drive=replayed"]
    else:
        drive += ["-device", "ide-cd,drive=disc"]
    return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "128", "-boot", "d", "-display", "none",
            "-nodefaults", "-no-reboot", "-serial", "file:" + text, "-device", "isa-debug-exit,iobase=0x501,iosize=0x04", *drive, *options]


def remove(path):
    if os.path.exists(path):
        os.remove(path)


def wall(mode, iso, log):
    """Seconds, or None if the guest did not end well: QEMU's status is 1 then, and when it does not even start."""
    text = iso + ".txt"
    remove(text)  # another run's would tell of that
    if mode == "record":
        remove(log)
    start = time.monotonic()
    try:
        subprocess.run(command(mode, iso, text, log), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return None
    seconds = time.monotonic() - start
    if not os.path.exists(text):
        return None
    with open(text, encoding="latin-1") as file:
        return seconds if file.read().split()[-2:] == ["exit", "0"] else None


def fastest(mode, iso, log):
    times = []
    for _ in range(RUNS):
        seconds = wall(mode, iso, log)
        if not seconds:
            break  # it would not end well the next time either
        times.append(seconds)
    return round(min(times), 3) if times else None


def measure(guest, words, scratch):
    iso, log = os.path.join(scratch, "qemu.iso"), os.path.join(scratch, "qemu.log")
    remove(iso)
    remove(log)
    environment = dict(os.environ, RETROVISOR="build/boot-bench/guests/%s.elf" % guest)
    subprocess.run(["tools/mkiso", iso, words or "n"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    row = {"guest": guest, **{mode: fastest(mode, iso, log) for mode in MODES}}
    row["log_bytes"] = os.path.getsize(log) if os.path.exists(log) else 0
    return row


def measured(guest, words, scratch):
    """A row in any case: of a guest that cannot even be tried it has no times."""
    try:
        return measure(guest, words, scratch)
    except (OSError, subprocess.SubprocessError) as error:
        print("bench: %s in QEMU: %s" % (guest, error), file=sys.stderr)
        return {"guest": guest, **{mode: None for mode in MODES}, "log_bytes": 0}


def complete(row):
    return all(row[mode] is not None for mode in MODES)


def measure_all(which, scratch):
    """
    The rows, and whether all guests ended well in all modes. One after the other, since wall time is measured; the start of
    machine and boot loader is taken off by hello's time.
    """
    if not shutil.which("qemu-system-x86_64"):
        print("QEMU is not installed: no comparison with it")
        return [], True
    rows, boot = [], measured("hello", "", scratch)
    good = complete(boot)
    print("QEMU on 1 CPU, seconds (of them to start): guest, TCG, icount, record, replay, record against TCG, log bytes")
    for guest, words in which:
        row = measured(guest, words, scratch)
        good = complete(row) and good
        spent = {mode: row[mode] - boot[mode] for mode in MODES if row[mode] and boot[mode]}
        known = all(spent.get(mode, 0) > 0.05 for mode in ("tcg", "record"))
        row["slowdown"] = round(spent["record"] / spent["tcg"], 2) if known else None
        print("  %-9s %s  %s  %d" % (guest, "  ".join("%s (%s)" % (row[mode], boot[mode]) for mode in MODES),
                                     row["slowdown"] or "-", row["log_bytes"]), flush=True)
        rows.append(row)
    if not good:
        print("  FAILED: a None is a guest that did not end well in QEMU")
    return rows, good
