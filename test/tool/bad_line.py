#!/usr/bin/env python3
"""A bad serial line between a machine and its collectors: bad_line.py SEED HARM

Prints two ports of this host: the machine connects to the first, once; collectors to the second, one after the other, and may go
at any time: what the machine says meanwhile is lost, as on a wire. HARM of 100,000 bytes in each direction are dropped, doubled or
changed; some pieces come late. Ends with the machine, and then says how many bytes passed and how many were harmed.
"""

import random
import select
import socket
import sys
import time

PIECE = 4096
LATE_BYTES = 2000  # one of so many comes late, and all behind it
LATE_SECONDS = 0.3
MACHINE_SECONDS = 120  # until the machine has connected


class Direction:
    """Bytes on their way in one direction."""

    def __init__(self, seed, harm):
        self.random, self.harm = random.Random(seed), harm / 100000
        self.waiting = []  # (time, bytes)
        self.passed = self.harmed = 0
        self.next = self.gap()

    def gap(self):
        return int(self.random.expovariate(self.harm)) if self.harm else 1 << 62

    def spoil(self, piece):
        out, at = bytearray(), 0
        while at + self.next < len(piece):
            out += piece[at:at + self.next]
            at += self.next
            byte, way = piece[at], self.random.randrange(3)
            out += (b"", bytes([byte, byte]), bytes([byte ^ 1 << self.random.randrange(8)]))[way]
            at += 1
            self.harmed += 1
            self.next = self.gap()
        self.next -= len(piece) - at
        return bytes(out + piece[at:])

    def put(self, piece):
        self.passed += len(piece)
        now = time.monotonic()
        after = max(now, self.waiting[-1][0] if self.waiting else now)
        late = self.harm and self.random.random() < len(piece) / LATE_BYTES  # not by the piece: Bochs writes byte by byte
        self.waiting.append((after + (self.random.random() * LATE_SECONDS if late else 0), self.spoil(piece)))

    def take(self):
        """What is due now."""
        due = bytearray()
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            due += self.waiting.pop(0)[1]
        return due

    def wait(self):
        return max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else 1.0


def listener():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(1)
    return made


def receive(peer):
    try:
        return peer.recv(PIECE)
    except ConnectionError:
        return b""


def send(peer, data):
    """False: it is gone."""
    try:
        if data:
            peer.sendall(data)
        return True
    except OSError:
        return False


def serve(machine, door, up, down):
    collector = None
    while True:
        peers = [machine] + ([collector] if collector else [door])
        ready, _, _ = select.select(peers, [], [], min(up.wait(), down.wait()))
        if machine in ready:
            piece = receive(machine)
            if not piece:
                break
            up.put(piece)
        if door in ready:
            collector = door.accept()[0]
        elif collector in ready:
            piece = receive(collector)
            down.put(piece)
            if not piece:
                collector.close()
                collector = None
        due = up.take()
        if collector and not send(collector, due):
            collector.close()
            collector = None
        if not send(machine, down.take()):
            break
    while collector and up.waiting:
        time.sleep(up.wait())
        send(collector, up.take())
    if collector:
        collector.close()


def main():
    seed, harm = int(sys.argv[1]), int(sys.argv[2])
    first, door = listener(), listener()
    print(first.getsockname()[1], door.getsockname()[1], flush=True)
    first.settimeout(MACHINE_SECONDS)
    machine = first.accept()[0]
    up, down = Direction(2 * seed, harm), Direction(2 * seed + 1, harm)
    serve(machine, door, up, down)
    print("%d bytes passed, %d harmed" % (up.passed + down.passed, up.harmed + down.harmed), flush=True)


if __name__ == "__main__":
    main()
