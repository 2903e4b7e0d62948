#!/usr/bin/env python3
"""A second reader of logs, written from replay/FORMAT.md alone: second_reader.py LOG...

For each log it prints what `retro dump --json` prints: a JSON object a line, for each block and each record. It shares no code
with the codec, so where the two differ, one of them or the page is wrong. Like retro it ends with 0 for a complete log, 3 for
one that is wrong (the error's name and place are on standard error), 4 for one that is cut off or whose recorder died.
"""

import json
import sys

MAGIC, HEAD, TAIL = 0x4B425652, 20, 8
MAX_PAYLOAD, MAX_VCPUS, MAX_EVENTS, MAX_INPUT, MAX_REASON = 65536, 8, 32, 256, 200
MAX_ACCESSED, MAX_PAGE = 120, 0xFFFFF
OPTIONAL = 0x8000
TYPES = {1: "HEADER", 2: "COMMITS", 3: "TRAILER", 4: "ABORT", 5: "OUTPUT_COMMIT", 6: "CHECKPOINT",
         0x8001: "CONSOLE", 0x8002: "MESSAGE", 0x8003: "COUNTERS", 0x8004: "DETAIL", 0x8005: "PAGES"}
RESERVED = (5, 6)
ENDS = ["position", "pause", "hlt", "io", "mmio", "apic", "shutdown", "refused"]
EVENTS = ["fixed", "timer", "nmi", "init", "sipi", "extint", "level"]
DEVICES = ["console", "time", "date", "virtio"]
OUTCOMES = ["exit", "shutdown", "refused", "halted", "limit", "power-off", "reset"]
COUNTERS = [
    "ticks", "chunks", "squashes", "exits", "copies", "copies-ahead", "compares", "equal-pages", "value-saves",
    "tokens", "stalls", "invept", "steps", "tries", "hits", "guest-ticks", "squash-words", "squash-page",
    "squash-read", "squash-tables", "squash-other", "exit-timer", "exit-ept", "exit-pause", "exit-io", "exit-hlt",
    "exit-msr", "exit-time", "exit-cpuid", "exit-registers", "exit-window", "exit-exception", "exit-interrupt",
    "exit-other", "read-pages", "changed-pages", "tables", "cuts", "ticks-guest", "ticks-exits", "ticks-begin",
    "ticks-state", "ticks-collect", "ticks-validate", "ticks-commit", "ticks-squash", "ticks-search", "ticks-room",
    "ticks-token", "ticks-turn", "ticks-sleep", "copies-out", "no-frame", "exit-pml"]
CAUSES = ["words", "page", "read", "tables", "device"]
MAX_PAGES, NO_WORD, BY_DEVICE = 32, 512, 8
NO_TRAITS = 2**64 - 1
BIG = 2**64


REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] + ["r%d" % i for i in range(8, 16)] + [
    "rip", "rflags", "cr0", "cr2", "cr3", "cr4"]
DIGESTS = ["cpu", "xsave", "lapic", "other"]


class Damage(Exception):
    """The log ends here, with an error of FORMAT.md's chapter "Errors"."""

    def __init__(self, name, offset=None):
        super().__init__(name)
        self.name, self.offset = name, offset


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def text_of(data):
    """Bytes that are no UTF-8 are shown with a question mark for each that is not ASCII."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else "?" for byte in data)


def integer(value):
    """As retro prints it: JSON's usual integers have 63 bits."""
    return value if value < 2**63 else str(value)


def hex64(value):
    return "%016x" % value


class Bytes:
    """A payload, read from front to back."""

    def __init__(self, data, short):
        self.data, self.at, self.short = data, 0, short

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            raise Damage(self.short)
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def varint(self, limit=BIG - 1):
        value, shift = 0, 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if value >= BIG or (byte == 0 and shift > 7):
                raise Damage("varint")
            if not byte & 0x80:
                break
            if shift == 70:
                raise Damage("varint")
        if value > limit:
            raise Damage("varint")
        return value

    def delta(self, previous):
        z = self.varint()
        return (previous + (z >> 1 if z % 2 == 0 else -((z + 1) >> 1))) % BIG


class State:
    """What records are relative to, from the begin of a block."""

    def __init__(self, vcpus):
        self.time = 0
        self.rip, self.duration, self.branches, self.last = ([0] * vcpus for _ in range(4))


class Reader:
    """Reads one log; `lines` yields its JSON objects, and ends by Damage, or by setting `end`.

    Without statistics it leaves COUNTERS, DETAIL and PAGES unread, as a replayer does.
    """

    def __init__(self, data, statistics=True):
        self.statistics = statistics
        self.data, self.offset, self.number = data, 0, 0
        self.header, self.next_seq, self.end, self.branches, self.accessed = None, 1, "cut", False, False

    def lines(self):
        while True:
            block = self.block()
            if block is None:
                return
            number, offset, kind, payload = block
            line = {"kind": "block", "type": TYPES.get(kind, "unknown"), "number": number, "offset": offset,
                    "length": len(payload)}
            yield from self.contents(kind, payload, line)
            self.offset += HEAD + len(payload) + TAIL
            self.number += 1

    def block(self):
        """The next block with all checks that do not need its payload's meaning; None at the log's end."""
        data, at = self.data, self.offset
        if at == len(data):
            return None
        if self.end != "cut":
            raise Damage("after-end", at)
        head = Bytes(data[at:at + HEAD], "cut")
        if head.left() < HEAD:
            return None
        magic, kind, flags, length, number, crc = (head.number(size) for size in (4, 2, 2, 4, 4, 4))
        if magic != MAGIC:
            raise Damage("magic", at)
        if crc != crc32c(data[at:at + 16]):
            raise Damage("head-crc", at)
        if length > MAX_PAYLOAD:
            raise Damage("length", at)
        if len(data) - at < HEAD + length + TAIL:
            return None
        end = at + HEAD + length
        if int.from_bytes(data[end:end + 4], "little") != crc32c(data[at:end]):
            raise Damage("crc", at)
        if int.from_bytes(data[end + 4:end + 8], "little") != length:
            raise Damage("length-again", at)
        if number != self.number:
            raise Damage("block-repeated" if number < self.number else "block-gap", at)
        self.admit(kind, flags)
        return number, at, kind, data[at + HEAD:end]

    def admit(self, kind, flags):
        known = 3 if kind == 2 else 0
        if (kind in TYPES or not kind & OPTIONAL) and flags & ~known:
            raise Damage("flags", self.offset)
        if self.header is None and kind != 1:
            raise Damage("no-header", self.offset)
        if kind == 2 and flags & 1 != self.branches:
            raise Damage("flags", self.offset)
        self.accessed = kind == 2 and bool(flags & 2)
        if kind in RESERVED:
            raise Damage("reserved-type", self.offset)
        if kind not in TYPES and not kind & OPTIONAL:
            raise Damage("unknown-type", self.offset)

    def contents(self, kind, payload, line):
        parts = {1: self.read_header, 3: self.read_trailer, 4: self.read_abort}
        if self.statistics:
            parts.update({0x8003: self.read_counters, 0x8005: self.read_pages})
        if kind == 2:
            yield from self.read_commits(payload, line)
            return
        if kind == 0x8004 and self.statistics:
            entries = list(self.read_details(payload))
            yield line
            yield from entries
            return
        try:
            if kind in parts:
                parts[kind](payload, line)
        except Damage as damage:
            raise Damage(damage.name, self.offset) from None
        if kind in (0x8001, 0x8002):
            line["data"] = payload.hex()
        yield line

    def read_header(self, payload, line):
        if self.header is not None:
            raise Damage("second-header")
        p = Bytes(payload, "header-short")
        major = p.number(2)
        if major != 1:
            raise Damage("major")
        minor = p.number(2)
        h = {}
        sizes = {"semantics": 4, "vcpus": 4, "cpuid_model": 4, "memory_bytes": 8, "image_digest": 8, "pause_limit": 4,
                 "time_stride": 4, "time_quantum": 4, "command": 2, "build": 2, "tsc_hz": 8, "seed": 8}
        for name, size in sizes.items():
            h[name] = p.number(size)
        if not 1 <= h["vcpus"] <= MAX_VCPUS:
            raise Damage("vcpus")
        if not h["time_quantum"] or h["time_quantum"] & (h["time_quantum"] - 1):
            raise Damage("time-quantum")
        command, build = p.take(h.pop("command")), p.take(h.pop("build"))
        traits = p.number(8) if minor >= 1 else NO_TRAITS
        event = p.number(1) if minor >= 2 else 0
        if minor <= 3 and p.left():
            raise Damage("header-long")
        if len(command) > 255 or len(build) > 63 or 0 in command or 0 in build:
            raise Damage("text")
        h["image_digest"] = hex64(h["image_digest"])
        for name in ("memory_bytes", "tsc_hz", "seed"):
            h[name] = integer(h[name])
        if traits != NO_TRAITS:
            h["host_traits"] = hex64(traits)
        h["guest_command_line"], h["build_id"] = text_of(command), text_of(build)
        h["branch_event"] = event
        self.branches = event != 0
        self.header = line["header"] = h

    def read_trailer(self, payload, line):
        p = Bytes(payload, "trailer-length")
        outcome, vcpu, vcpus, reason, status = (p.number(size) for size in (1, 1, 1, 1, 4))
        commits, memory, console, console_bytes = (p.number(8) for _ in range(4))
        if vcpus != self.header["vcpus"]:
            raise Damage("trailer-vcpus")
        digests = [hex64(p.number(8)) for _ in range(vcpus)]
        if reason > 127 or p.left() != reason:
            raise Damage("trailer-length")
        text = p.take(reason)
        if outcome >= len(OUTCOMES):
            raise Damage("outcome")
        if vcpu >= vcpus:
            raise Damage("vcpu-range")
        if commits != self.next_seq - 1:
            raise Damage("trailer-commits")
        if 0 in text:
            raise Damage("text")
        line["trailer"] = {"outcome": OUTCOMES[outcome], "vcpu": vcpu, "status": status, "commits": commits,
                           "memory_digest": hex64(memory), "vcpu_digests": digests, "console_digest": hex64(console),
                           "console_bytes": integer(console_bytes), "reason": text_of(text)}
        self.end = "complete"

    def read_abort(self, payload, line):
        if len(payload) > MAX_REASON or 0 in payload:
            raise Damage("text")
        line["reason"] = text_of(payload)
        self.end = "aborted"

    def read_counters(self, payload, line):
        p = Bytes(payload, "counters")
        vcpus, count = p.number(1), p.number(1)
        rows = []
        try:
            for _ in range(vcpus):
                values = [p.varint() for _ in range(count)][:len(COUNTERS)]
                values += [0] * (len(COUNTERS) - len(values))
                rows.append({name: integer(value) for name, value in zip(COUNTERS, values)})
        except Damage:
            raise Damage("counters") from None
        if p.left() or vcpus > MAX_VCPUS:
            raise Damage("counters")
        line["counters"] = rows

    def read_pages(self, payload, line):
        p = Bytes(payload, "pages")
        vcpus, causes = p.number(1), p.number(1)
        if not 1 <= vcpus <= MAX_VCPUS:
            raise Damage("pages")
        try:
            unlisted, count = p.varint(), p.varint(MAX_PAGES)
            pages = [{"page": p.varint(2**32 - 1), "vcpus": [self.read_pages_row(p, causes) for _ in range(vcpus)]}
                     for _ in range(count)]
        except Damage:
            raise Damage("pages") from None
        if p.left():
            raise Damage("pages")
        line["unlisted"], line["pages"] = integer(unlisted), pages

    @staticmethod
    def read_pages_row(p, causes):
        writes, missed, by, word = p.varint(), p.varint(), p.varint(511), p.varint(NO_WORD)
        squashed = [p.varint() for _ in range(causes)][:len(CAUSES)]
        squashed += [0] * (len(CAUSES) - len(squashed))
        row = {"squashed": {name: integer(value) for name, value in zip(CAUSES, squashed)}, "missed": integer(missed),
               "by": [bit if bit < BY_DEVICE else "device" for bit in range(BY_DEVICE + 1) if by >> bit & 1],
               "writes": integer(writes)}
        if word != NO_WORD:
            row["word"] = "%x" % (8 * word)
        return row

    def read_details(self, payload):
        at = 0
        try:
            while at < len(payload):
                length = Bytes(payload[at:at + 4], "detail").number(4)
                if length < 4 or length > len(payload) - at:
                    raise Damage("detail")
                yield self.read_detail(Bytes(payload[at + 4:at + length], "detail"))
                at += length
        except Damage as damage:
            raise Damage(damage.name, self.offset) from None

    def read_detail(self, p):
        vcpu, _, listed, seq, changed, _ = (p.number(size) for size in (1, 1, 2, 8, 4, 4))
        line = {"kind": "detail", "seq": integer(seq), "vcpu": vcpu,
                "registers": {name: hex64(p.number(8)) for name in REGISTERS},
                "digests": {name: hex64(p.number(8)) for name in DIGESTS}, "changed_pages": changed,
                "pages": [self.read_detail_page(p) for _ in range(listed)]}
        if p.left() or listed > changed:
            raise Damage("detail")
        return line

    @staticmethod
    def read_detail_page(p):
        page, changed, listed = p.number(4), p.number(2), p.number(2)
        words, last = {}, -1
        for _ in range(listed):
            index, value = p.number(2), p.number(8)
            if index <= last or index >= 512:
                raise Damage("detail")
            words["%x" % (8 * index)], last = hex64(value), index
        if changed > 512 or listed > changed:
            raise Damage("detail")
        return {"page": page, "changed": changed, "words": words}

    def read_commits(self, payload, line):
        p = Bytes(payload, "commits-short")
        try:
            first, digest, count = p.number(8), p.number(8), p.number(4)
            if count == 0:
                raise Damage("commits-empty")
            if count > p.left():
                raise Damage("commits-short")
            if first != self.next_seq:
                raise Damage("commit-repeated" if first < self.next_seq else "commit-gap")
        except Damage as damage:
            raise Damage(damage.name, self.offset) from None
        yield dict(line, first=integer(first), count=count, running_digest=hex64(digest))
        p.short = "record-short"
        state = State(self.header["vcpus"])
        for index in range(count):
            begin = self.offset + HEAD + p.at
            try:
                record = self.read_record(p, state, index)
            except Damage as damage:
                raise Damage(damage.name, begin) from None
            yield dict({"seq": self.next_seq, "offset": begin}, **record)
            self.next_seq += 1
        if p.left():
            raise Damage("commits-long", self.offset + HEAD + p.at)

    def read_record(self, p, state, index):
        tag = p.number(1)
        ext = p.number(1) if tag & 0x80 else None
        if ext is not None and ext & 1:
            return self.read_input(p, tag, ext)
        vcpu, end = tag & 7, tag >> 3 & 7
        if vcpu >= self.header["vcpus"]:
            raise Damage("vcpu-range")
        rep = ext is not None and bool(ext & 4)
        if rep and end != 0:
            raise Damage("rep")
        record = {"kind": "chunk", "vcpu": vcpu, "end": ENDS[end]}
        digest = p.number(2)
        if ext is None:
            lag = index - state.last[vcpu]
        else:
            lag = ext >> 3 if ext >> 3 < 31 else p.varint(2**32 - 1)
        record["lag"], record["digest"] = lag, "%04x" % digest
        if tag & 0x40:
            state.time = p.delta(state.time)
            record["time_base"] = integer(state.time)
        if ext is not None and ext & 2:
            record["events"] = self.read_events(p)
        if end == 0:
            record["position"] = self.read_position(p, state, vcpu, rep)
        if self.accessed:
            pages = self.read_accessed(p)
            if pages:
                record["accessed"] = pages
        if lag >= self.next_seq:
            raise Damage("lag")
        state.last[vcpu] = index + 1
        return record

    @staticmethod
    def read_events(p):
        events = []
        while True:
            first, vector = p.number(1), p.number(1)
            if len(events) == MAX_EVENTS:
                raise Damage("event-count")
            if first & 0x78:
                raise Damage("reserved-bits")
            if first & 7 >= len(EVENTS):
                raise Damage("event-kind")
            events.append({"kind": EVENTS[first & 7], "vector": vector})
            if not first & 0x80:
                return events

    def read_position(self, p, state, vcpu, rep):
        state.rip[vcpu] = p.delta(state.rip[vcpu])
        position = {"rip": hex64(state.rip[vcpu]), "rflags": hex64(p.varint())}
        state.duration[vcpu] = p.delta(state.duration[vcpu])
        regs, whole = p.number(4), p.number(4)
        if rep:
            position["rcx"] = hex64(p.varint())
        if self.branches:
            state.branches[vcpu] = p.delta(state.branches[vcpu])
            position["branches"] = integer(state.branches[vcpu])
        position.update(duration=integer(state.duration[vcpu]), regs_check="%08x" % regs, state_check="%08x" % whole)
        return position

    @staticmethod
    def read_accessed(p):
        length = p.number(1)
        if length > MAX_ACCESSED:
            raise Damage("accessed")
        part, pages, page = Bytes(p.take(length), "accessed"), [], -1
        try:
            while part.left():
                key, runs, entry, of_page = part.varint(), part.varint(), 0, []
                page += 1 + (key >> 1)
                size = 8 if key & 1 else 4
                for _ in range(runs):
                    first = entry + part.varint()
                    count = part.varint() + 1
                    if first + count > 4096 // size:
                        raise Damage("accessed")
                    of_page.append([first, count])
                    entry = first + count + 1
                if page > MAX_PAGE:
                    raise Damage("accessed")
                pages.append({"page": page, "entry_bytes": size, "runs": of_page})
        except Damage:
            raise Damage("accessed") from None
        return pages

    @staticmethod
    def read_input(p, tag, ext):
        if ext != 1 or tag & 0x78:
            raise Damage("reserved-bits")
        if tag & 7 >= len(DEVICES):
            raise Damage("device")
        digest, length = p.number(2), p.varint(65535)
        if not 1 <= length <= MAX_INPUT:
            raise Damage("input-length")
        return {"kind": "input", "device": DEVICES[tag & 7], "digest": "%04x" % digest, "data": p.take(length).hex()}


def read(path):
    with open(path, "rb") as file:
        reader = Reader(file.read())
    try:
        for line in reader.lines():
            print(json.dumps(line))
    except Damage as damage:
        print("%s: %s at offset %d; usable %d bytes, up to commit %d"
              % (path, damage.name, damage.offset, reader.offset, reader.next_seq - 1), file=sys.stderr)
        return 3
    print("%s: %s; usable %d bytes, up to commit %d" % (path, reader.end, reader.offset, reader.next_seq - 1), file=sys.stderr)
    return 0 if reader.end == "complete" else 4


if __name__ == "__main__":
    sys.exit(max([read(path) for path in sys.argv[1:]], default=1))
