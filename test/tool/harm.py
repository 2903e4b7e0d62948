#!/usr/bin/env python3
"""Harms logs by seed and holds all readers against each other: harm.py RETRO LOAD_LOG ROUNDS SEED LOG LOG...

Readers are test/golden/second_reader.py, `retro dump --json`, the other looks of retro, and LOAD_LOG, which reads a log as the
hypervisor does before a replay. All must see the same records up to the same place and call what is wrong there by the same
name; none may crash, hang or, where a sound log was cut, take from it anything that was not in it.
"""

import json
import os
import random
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden"))
import second_reader  # noqa: E402

HEAD, TAIL = 20, 8
SECONDS = 20
LOOKS = ["info", "stats", "dump", "console", "info --json", "stats --json"]


def error_texts():
    """What retro says for each error, from the table in FORMAT.md."""
    with open("replay/FORMAT.md", encoding="utf-8") as page:
        rows = re.findall(r"^\| ([a-z-]+) \| ([^|]+) \|", page.read().split("\n## Errors")[1].split("\n## ")[0], re.MULTILINE)
    return dict(rows[1:])


def split(log):
    """A sound log's blocks: (type, flags, payload)."""
    blocks, at = [], 0
    while at < len(log):
        kind, flags, length = (int.from_bytes(log[at + a:at + b], "little") for a, b in ((4, 6), (6, 8), (8, 12)))
        blocks.append((kind, flags, log[at + HEAD:at + HEAD + length]))
        at += HEAD + length + TAIL
    return blocks


def block(number, kind, flags, payload, length=None):
    """The block's bytes with sound CRCs, perhaps with a length that is a lie."""
    length = len(payload) if length is None else length
    head = b"RVBK" + b"".join(value.to_bytes(size, "little") for value, size in ((kind, 2), (flags, 2), (length, 4), (number, 4)))
    whole = head + second_reader.crc32c(head).to_bytes(4, "little") + payload
    return whole + second_reader.crc32c(whole).to_bytes(4, "little") + length.to_bytes(4, "little")


def join(blocks):
    return b"".join(block(number, *rest) for number, rest in enumerate(blocks))


# Ways to harm: (log's bytes, another log's bytes, random) -> bytes.

def cut(log, _, r):
    return log[:r.randrange(len(log))]


def flip(log, _, r):
    log = bytearray(log)
    for _ in range(r.randint(1, 3)):
        log[r.randrange(len(log))] ^= 1 << r.randrange(8)
    return bytes(log)


def lose(log, _, r):
    at = r.randrange(len(log))
    return log[:at] + log[at + r.randint(1, 50):]


def insert(log, _, r):
    at = r.randrange(len(log))
    return log[:at] + r.randbytes(r.randint(1, 30)) + log[at:]


def zeros(log, _, r):
    """As a file system leaves what it had no time to write."""
    at = r.randrange(len(log))
    return log[:at] + bytes(len(log) - at)


def whole_blocks(log):
    ends, at = [], 0
    for kind, flags, payload in split(log):
        ends.append(log[at:at + HEAD + len(payload) + TAIL])
        at += HEAD + len(payload) + TAIL
    return ends


def swap(log, _, r):
    parts = whole_blocks(log)
    i, j = r.randrange(len(parts)), r.randrange(len(parts))
    parts[i], parts[j] = parts[j], parts[i]
    return b"".join(parts)


def drop(log, _, r):
    parts = whole_blocks(log)
    del parts[r.randrange(len(parts))]
    return b"".join(parts)


def double(log, _, r):
    parts = whole_blocks(log)
    i = r.randrange(len(parts))
    return b"".join(parts[:i + 1] + parts[i:])


def splice(log, other, r):
    """The begin of one run and the end of another, as they are."""
    one, two = whole_blocks(log), whole_blocks(other)
    return b"".join(one[:r.randint(1, len(one))] + two[r.randrange(len(two)):])


def splice_numbered(log, other, r):
    """The same with the blocks numbered anew."""
    one, two = split(log), split(other)
    return join(one[:r.randint(1, len(one))] + two[r.randrange(len(two)):])


def reorder(log, _, r):
    """Blocks dropped, doubled, swapped, all numbered anew."""
    blocks = split(log)
    for _ in range(r.randint(1, 3)):
        i = r.randrange(len(blocks))
        if r.random() < 0.4:
            blocks.insert(r.randrange(len(blocks)), blocks[i])
        elif len(blocks) > 1:
            taken = blocks.pop(i)
            if r.random() < 0.5:
                blocks.insert(r.randrange(len(blocks) + 1), taken)
    return join(blocks)


def forge_length(log, _, r):
    """A length that is a lie in a head whose CRC is right."""
    blocks = split(log)
    victim = r.randrange(len(blocks))
    size = len(blocks[victim][2])
    lie = r.choice([0, size - 1, size + 1, size + r.randrange(200), 65536, 65537, 2**31, 2**32 - 1, 2**32 - 28]) % 2**32
    return b"".join(block(i, *rest, lie if i == victim else None) for i, rest in enumerate(blocks))


def forge_head(log, _, r):
    """Another type, flag or number in a head whose CRC is right."""
    blocks = split(log)
    victim, what = r.randrange(len(blocks)), r.randrange(3)
    kind, flags, payload = blocks[victim]
    if what == 0:
        kind = r.choice([0, 1, 2, 3, 4, 5, 6, 7, 0x7FFF, 0x8000, 0x8001, 0x8002, 0x8003, 0x8004, 0xFFFF])
    elif what == 1:
        flags = 1 << r.randrange(16)
    blocks[victim] = (kind, flags, payload)
    jump = r.choice([-1, 1, 2**32 - 1]) if what == 2 else 0
    return b"".join(block((i + jump) % 2**32 if i == victim else i, *rest) for i, rest in enumerate(blocks))


def forge_bytes(log, _, r):
    """Other contents, all CRCs right."""
    blocks = split(log)
    for _ in range(r.randint(1, 2)):
        victim = r.randrange(len(blocks))
        kind, flags, payload = blocks[victim]
        payload = bytearray(payload)
        for _ in range(r.randint(1, 3)):
            # The fields in front decide most: half of the changes go there.
            at = r.randrange(min(len(payload), 72) if r.random() < 0.5 else len(payload)) if payload else None
            if at is not None:
                payload[at] = r.choice([payload[at] ^ 1 << r.randrange(8), 0, 1, 0x7F, 0x80, 0xFF, r.randrange(256)])
        end = r.random()
        if end < 0.15:
            payload = payload[:max(0, len(payload) - r.randint(1, 12))]
        elif end < 0.3:
            payload += r.randbytes(r.randint(1, 12))
        blocks[victim] = (kind, flags, bytes(payload))
    return join(blocks)


def forge_varints(log, _, r):
    """Long numbers written over records."""
    blocks = split(log)
    victims = [i for i, rest in enumerate(blocks) if rest[0] == 2] or [0]
    victim = r.choice(victims)
    kind, flags, payload = blocks[victim]
    payload = bytearray(payload)
    at = r.randrange(min(20, len(payload)), len(payload) + 1)
    number = bytes([r.choice([0x80, 0xFF])] * r.randint(1, 10)) + bytes([r.choice([0, 1, 2, 0x0F, 0x10, 0x7F])])
    payload[at:at + len(number) if r.random() < 0.5 else at] = number
    blocks[victim] = (kind, flags, bytes(payload))
    return join(blocks)


WAYS = [cut, flip, lose, insert, zeros, swap, drop, double, splice, splice_numbered, reorder, forge_length, forge_head,
        forge_bytes, forge_bytes, forge_bytes, forge_varints, forge_varints]
UNFORGED = (cut, flip, zeros, drop, double, swap)


class Readers:
    def __init__(self, retro, load_log, scratch):
        self.retro, self.load_log, self.path, self.texts = retro, load_log, scratch, error_texts()
        self.names, self.random = set(), random.Random(1)

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        text = done.stderr.decode(errors="replace")
        assert done.returncode in (0, 3, 4), "%s ended with %d: %s" % (command, done.returncode, text[-2000:])
        return done.returncode, done.stdout, text

    @staticmethod
    def second(log, statistics=True):
        """Lines, the Damage or None, and the reader at its end."""
        reader, lines, damage = second_reader.Reader(log, statistics), [], None
        try:
            for line in reader.lines():
                lines.append(line)
        except second_reader.Damage as found:
            damage = found
            reader.end = "damaged"
        return lines, damage, reader

    def check(self, log):
        with open(self.path, "wb") as file:
            file.write(log)
        lines, damage, reader = self.second(log)
        code = {"damaged": 3, "cut": 4}.get(reader.end, 0)
        dumped, out, said = self.run(self.retro, "dump", "--json", self.path)
        theirs = [json.loads(line) for line in out.splitlines()]
        for mine, other in zip(lines, theirs):
            assert mine == other, "second reader: %s\nretro: %s" % (mine, other)
        assert len(lines) == len(theirs), "%d lines in the second reader, %d in retro: %s" % (len(lines), len(theirs), said)
        assert dumped == code, "retro dump: %d, second reader: %s, %s" % (dumped, reader.end, damage)
        if damage:
            self.names.add(damage.name)
            text = "%s at offset %d" % (self.texts[damage.name], damage.offset)
            plain = re.sub(r" \(type 0x[0-9a-f]{4}\)", "", said)
            assert text in plain, "second reader: %s\nretro: %s" % (text, said)
        self.check_looks(code, 4 if reader.end == "aborted" else code)
        self.check_load(*self.second(log, statistics=False))
        return lines

    def check_looks(self, code, verified):
        found, _, said = self.run(self.retro, "verify", self.path)
        # That a running digest is not its last record's is found by verify alone.
        assert found == verified or found == 3 and "running digest" in said, "verify: %d instead of %d: %s" % (found, verified, said)
        for look in self.random.sample(LOOKS, 2):
            found, _, said = self.run(self.retro, *look.split(), self.path)
            assert found == code, "%s: %d instead of %d: %s" % (look, found, code, said)

    def check_load(self, lines, damage, reader):
        """The hypervisor takes whole blocks of commits up to the first that is wrong."""
        usable = sum(line.get("count", 0) for line in lines if line["kind"] == "block" and line["offset"] < reader.offset)
        complete = any("trailer" in line for line in lines)
        _, out, said = self.run(self.load_log, self.path)
        wanted = "commits %d complete %d" % (usable, complete) if usable else "refused"
        assert out.decode().strip() == wanted, "the hypervisor: %s (%s), second reader: %s" % (out, said, wanted)
        if damage or not usable:
            assert said, "the hypervisor says nothing of %s" % damage


def same_records(lines, sound):
    """What a harmed log gave up to its first error was in the sound one."""
    known = {json.dumps({k: v for k, v in line.items() if k not in ("offset", "number")}, sort_keys=True) for line in sound}
    return all(json.dumps({k: v for k, v in line.items() if k not in ("offset", "number")}, sort_keys=True) in known
               for line in lines)


def main():
    retro, load_log, rounds, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logs = []
    for path in sys.argv[5:]:
        with open(path, "rb") as file:
            logs.append((os.path.basename(path), file.read()))
    readers = Readers(retro, load_log, os.path.join(os.environ["TOOL_SCRATCH"], "harmed.log"))
    for name, log in logs:
        try:
            readers.check(log)
        except AssertionError as error:
            sys.exit("%s: %s" % (name, error))
    sound = [(name, log) for name, log in logs if not name.startswith("bad-") and name != "cut.golden"]
    for number in range(rounds):
        r = random.Random(seed + number)
        (name, log), (_, other) = r.choice(sound), r.choice(sound)
        way = r.choice(WAYS)
        try:
            lines = readers.check(way(log, other, r))
            assert way not in UNFORGED or same_records(lines, readers.second(log)[0]), "something that was not in the log"
        except (AssertionError, KeyError, subprocess.TimeoutExpired) as error:
            sys.exit("round with seed %d, %s of %s: %s\nthe log is %s" % (seed + number, way.__name__, name, error, readers.path))
    print("%d logs and %d harmed ones; errors seen: %s" % (len(logs), rounds, " ".join(sorted(readers.names))))


if __name__ == "__main__":
    main()
