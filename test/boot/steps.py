"""The steps of a line of test/boot/table: runs of retro and of the emulators, and what must come of them."""

import json
import os
import random
import re
import shlex
import struct
import subprocess
import time

GRACE = 60  # seconds that retro may take beyond its own --timeout
HEAD, TAIL = 20, 8  # bytes of a log's block around the payload, see replay/FORMAT.md
COMMITS = 2  # type of a block
LINUX_KERNEL, LINUX_INITRD = "bzImage", "initrd"  # what `make linux-guest` makes
SECOND_READER_BYTES = 1 << 20
KILL_STEP = 2500  # bytes of log between two kills, at most


class Failure(Exception):
    """What went wrong, for people."""


def require(condition, text):
    if not condition:
        raise Failure(text)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def break_guest(path, broken, how):
    """A copy of a guest, an ELF64 file with two segments, that is wrong in one way."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    second = struct.unpack_from("<Q", data, 32)[0] + 56  # program header
    if how == "headers-cut":
        del data[40:]
    elif how == "segment-cut":
        del data[struct.unpack_from("<Q", data, second + 8)[0] + 100:]
    elif how == "machine":
        struct.pack_into("<H", data, 18, 183)
    elif how == "no-header":
        at = data.index(struct.pack("<I", 0xE85250D6))
        data[at] ^= 1
    elif how == "outside":
        struct.pack_into("<Q", data, second + 40, 1 << 40)
    elif how == "overlap":
        struct.pack_into("<Q", data, second + 24, struct.unpack_from("<Q", data, second - 56 + 24)[0] + 4096)
    else:
        raise Failure("table: unknown way to break a guest: " + how)
    with open(broken, "wb") as file:
        file.write(data)
    return broken


class Test:
    """One line of the table on its way. `home` keeps what it leaves, `tools` has what all share."""

    def __init__(self, entry, home, tools, patience):
        self.entry, self.home, self.tools = entry, home, tools
        self.limit = int(entry.seconds * patience)
        self.logs = []  # recorded so far, without suffix
        self.console = None  # of the last run
        self.said = ""  # all that the last command printed
        self.code = 0
        self.command = ""  # the last one, for a shell
        self.runs = 0
        self.typed = []  # lines that the guest was given

    def path(self, name):
        return os.path.join(self.home, name)

    def guest(self, name=None):
        name = name or self.entry.guest
        return os.path.join(self.tools.guests, LINUX_KERNEL if name == "linux" else name + ".elf")

    def initrd(self):
        return os.path.join(self.tools.guests, LINUX_INITRD)

    def call(self, command, seconds):
        """Runs a command; its output and exit code are then in `said` and `code`."""
        self.command = "RETROVISOR=%s %s" % (self.tools.hypervisor, shlex.join(command))
        environment = dict(os.environ, RETROVISOR=os.path.abspath(self.tools.hypervisor))
        with open(self.path("commands"), "a", encoding="utf-8") as file:
            file.write(self.command + "\n")
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=environment, timeout=seconds, check=False)
            self.code, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as expired:
            self.code, output = 7, expired.stdout or b""
        self.said = output.decode(errors="replace")
        with open(self.path("output"), "a", encoding="utf-8") as file:
            file.write("$ %s\n%s(exit code %d)\n" % (self.command, self.said, self.code))

    def retro(self, verb, words, arguments, boots=1):
        """
        Runs retro, which has the time for so many boots; `words` are those behind the step's name. Its verdict is returned
        as a dictionary.
        """
        self.runs += 1
        options = {"guest": self.entry.guest, "broken": None, "emulator": None, "machine-mem": None, "ips": None, "input": None}
        further = []
        for word in words:
            name, _, value = word.partition("=")
            if name in options:
                options[name] = value
            else:
                further.append(word)
        guest = self.guest(options["guest"])
        if options["broken"]:
            guest = break_guest(guest, self.path("broken.elf"), options["broken"])
        command = [self.tools.retro, verb, "--json", "--timeout", str(self.limit), "--guest", guest]
        if verb != "hunt":
            self.console = self.path("console-%d" % self.runs)
            command += ["--console", self.console]
        if options["emulator"]:
            command += ["--emulator", options["emulator"]]
        if guest == self.guest("linux"):
            command += ["--initrd", self.initrd()]
        if options["ips"]:
            command += ["--ips", options["ips"]]
        if options["machine-mem"]:
            command += ["--machine-mem", options["machine-mem"]]
        if options["input"]:
            command += ["--input", self.write_input(int(options["input"]))]
        if further:
            command += ["--hv", " ".join(further)]
        self.call(command + arguments, self.limit * boots + GRACE)
        for line in self.said.splitlines():
            if line.startswith("{"):
                return json.loads(line)
        return {}

    def write_input(self, count):
        """A file with so many lines for the guest `echo`, and the one that ends it."""
        self.typed = ["%d %s" % (number, "abc " * (number % 13)) for number in range(count)]
        path = self.path("input")
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in self.typed + ["quit", "never read"]))
        return path

    def machine(self):
        words = [] if self.entry.words == "-" else ["--append", self.entry.words]
        return ["--vcpus", str(self.entry.vcpus), "--mem", self.entry.memory] + words


def without_kernel_lines(test):
    """A file with what Linux' init printed: the kernel's lines begin with a time in brackets."""
    path = test.path("console-of-init")
    lines = re.sub(r"^\[ *\d+\.\d+\] .*\n", "", read(test.console).replace("\r", ""), flags=re.MULTILINE)
    with open(path, "w", encoding="utf-8") as file:
        file.write(lines)
    return path


def results_are_known(entry):
    """Linux says the same whatever its command line; the others do so without words of their own."""
    return entry.words == "-" or entry.guest == "linux"


def check_output(test, may_fail):
    """The guest's own lines: those that results.txt asks for, or what holds for every guest."""
    if may_fail:
        return
    entry = test.entry
    if results_are_known(entry):
        console = without_kernel_lines(test) if entry.guest == "linux" else test.console
        checked = subprocess.run(["guest-images/check-output", entry.guest, str(entry.vcpus), console, "sc"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=GRACE, check=False)
        require(checked.returncode == 0, "the guest's output is wrong: " + checked.stdout.strip())
        return
    lines = read(test.console).split("\n")
    require("exit 0" in lines, "the guest did not print: exit 0")
    for number, line in enumerate(test.typed):
        echoed = "result: line %d on cpu %d: %s" % (number + 1, number % entry.vcpus, line)
        require(echoed in lines, "the guest did not print: " + echoed)
    for line in lines:
        require(not line.startswith("panic:"), line)
        require(not line.startswith("forbidden:") or line.endswith(" = 0"), "must not happen: " + line)


def check_readers(test, log):
    """The reader that was written from the format's text sees in the log what retro sees. (It is slow: not in long logs.)"""
    if os.path.getsize(log) > SECOND_READER_BYTES:
        return
    texts = [subprocess.run(command + [log], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=GRACE, check=False).stdout
             for command in (["test/golden/second_reader.py"], [test.tools.retro, "dump", "--json"])]
    second, first = ([json.loads(line) for line in text.splitlines()] for text in texts)
    require(first and first == second, "test/golden/second_reader.py and retro dump see different things in the log")


def ended_so(test, outcome, verdict):
    """The recording is complete and says that the guest ended in this way."""
    code = 0 if outcome in ("exit", "limit", "power-off") else 5
    require(test.code == code, "exit code %d instead of %d" % (test.code, code))
    found = verdict.get("trailer", {}).get("outcome")
    require(found == outcome, "the guest ended by %s instead of %s" % (found, outcome))
    require("panic:" not in read(test.console), "the guest panicked")
    test.code = 0


def check_counter(test, log, name):
    """The log's counters say that this happened."""
    stats = subprocess.run([test.tools.retro, "stats", "--json", log], stdout=subprocess.PIPE, timeout=GRACE, check=False)
    require(stats.returncode == 0, "retro stats refuses the log")
    counters = json.loads(stats.stdout)["counters"]
    require(sum(vcpu[name] for vcpu in counters) > 0, "the counter %s is 0" % name)


def step_record(test, words, may_fail):
    outcome = next((word[len("outcome="):] for word in words if word.startswith("outcome=")), None)
    counted = [word[len("counted="):] for word in words if word.startswith("counted=")]
    words = [word for word in words if not word.startswith(("outcome=", "counted="))]
    log = test.path("%d.rvlog" % (len(test.logs) + 1))
    test.logs.append(log)
    verdict = test.retro("record", words, test.machine() + ["--output", log])
    if outcome:
        ended_so(test, outcome, verdict)
    if test.code == 0:
        check_output(test, may_fail or (outcome and not results_are_known(test.entry)))
        test.call([test.tools.retro, "verify", log], GRACE)
        require(test.code == 0, "retro verify refuses the log")
        check_readers(test, log)
        for name in counted:
            check_counter(test, log, name)
    elif os.path.exists(log):
        code = test.code
        complete = subprocess.run([test.tools.retro, "verify", log], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=GRACE, check=False).returncode == 0
        require(not complete or code == 5, "a recording that failed with %d left a complete log" % code)


def console_of(test, log):
    """The console that a log holds is the test's from here on."""
    test.call([test.tools.retro, "console", log], GRACE)
    require(test.code == 0, "retro console refuses the log")
    test.console = test.path("console-of-log")
    with open(test.console, "w", encoding="utf-8", newline="") as file:
        file.write(test.said)


def step_hunt(test, words, _):
    """Records by one seed after the other until the console matches; `diff` tells where that parts from another."""
    log, options, further = test.path("%d.rvlog" % (len(test.logs) + 1)), {}, []
    for word in words:
        name, _, value = word.partition("=")
        if name in ("match", "tries"):
            options[name] = value
        else:
            further.append(word)
    verdict = test.retro("hunt", further, test.machine() + ["--match", options["match"], "--tries", options["tries"],
                                                            "--output", log], int(options["tries"]))
    if test.code != 0:
        return
    require(verdict["found"] and sum(end["count"] for end in verdict["ends"]) == verdict["recordings"],
            "the hunt's table does not add up")
    console_of(test, log)
    require(re.search(options["match"], test.said), "what was found does not match")
    test.logs.append(log)


def step_part(test, _, __):
    """The last two logs part somewhere, each is equal to itself."""
    first, second = test.logs[-2:]
    test.call([test.tools.retro, "diff", second, second], GRACE)
    require(test.code == 0, "a log differs from itself")
    test.call([test.tools.retro, "diff", "--guest", test.guest(), first, second], GRACE)
    require(test.code == 2 and "the logs part at commit" in test.said, "diff does not see where two recordings part")
    test.code = 0


def step_pages(test, words, _):
    """Most chunks of the last recording were squashed over the page of this symbol, and the pages account for all conflicts."""
    test.call([test.tools.retro, "stats", "--json", "--symbols", test.guest(), test.logs[-1]], GRACE)
    require(test.code == 0, "retro stats refuses the log or the guest's symbols")
    stats = json.loads(next(line for line in test.said.splitlines() if line.startswith("{")))
    require(stats.get("pages"), "no chunk was squashed over a page")
    place = stats["pages"][0].get("symbol", "nowhere")
    require(place.startswith(words[0] + "+"), "the page that is fought over most is that of %s, not of %s" % (place, words[0]))
    conflicts = sum(vcpu["squash-" + cause] for vcpu in stats["counters"] for cause in ("words", "page", "read", "tables"))
    counted = sum(sum(row["squashed"].values()) for page in stats["pages"] for row in page["vcpus"])
    require(counted <= conflicts, "%d squashes over pages, but only %d conflicts" % (counted, conflicts))
    require(counted == conflicts or stats["pages_unlisted"], "pages count for %d of %d conflicts" % (counted, conflicts))


def step_run(test, words, may_fail):
    test.retro("run", words, test.machine())
    if test.code == 0:
        check_output(test, may_fail)


def step_soak(test, words, _):
    """Rounds in one boot: all equal, or with `bad` one whose guest ends badly and leaves its log."""
    log = test.path("%d.rvlog" % (len(test.logs) + 1))
    verdict = test.retro("soak", [word for word in words if word != "bad"], test.machine() + ["--count", "4", "--output", log])
    rounds = re.findall(r"soak round=.* result=(\S+)", test.said)
    if "bad" in words:
        require(rounds == ["guest-ended-badly"], "rounds came out as: " + " ".join(rounds))
        require(test.code == 5 and verdict.get("verdict") == "guest-ended-badly", "exit code %d instead of 5" % test.code)
        test.logs.append(log)
        test.code = 0
    elif test.code == 0:
        require(rounds == ["equal"] * 4, "rounds came out as: " + " ".join(rounds))
        require(not os.path.exists(log), "all rounds are equal, but one left a log")


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def collect_over(test, port, log, size):
    """A collector on the bad line, killed when the log has `size` bytes, or left to its end (None). Its exit code, None: killed."""
    command = [test.tools.retro, "collect", "--json", "--timeout", str(test.limit), "--output", log, "tcp:127.0.0.1:%s" % port]
    with open(test.path("collected"), "ab") as file, \
            subprocess.Popen(command + (["--append"] if os.path.exists(log) else []), stdin=subprocess.DEVNULL, stdout=file,
                             stderr=file) as collector:
        while collector.poll() is None:
            if size and size_of(log) >= size:
                collector.kill()
                collector.wait()
                return None
            time.sleep(0.005)
        return collector.returncode


def collect_with_kills(test, port, log, kills):
    """Collectors one after the other, of which so many are killed. The last one's exit code, and the log's sizes in between."""
    dice = random.Random(kills)
    sizes = [0]
    for kill in range(kills + 1):
        code = collect_over(test, port, log, sizes[-1] + dice.randint(1, KILL_STEP) if kill < kills else None)
        sizes.append(size_of(log))
        require(sizes[-1] >= sizes[-2], "a collector that went on left a shorter log: %s" % sizes)
        require(code is None or kill == kills, "the recording ended before its collectors were killed")
    return code, sizes


def record_over(test, line, iso, kills):
    """A machine at one end of this line, collectors at the other: what collect_with_kills() returns."""
    log = test.path("%d.rvlog" % (len(test.logs) + 1))
    ports = line.stdout.readline().split()
    require(len(ports) == 2, "the line does not start")
    emulator = subprocess.Popen(["tools/emulate", "bochs", "--iso", iso, "--cpus", str(test.entry.vcpus + 1), "--mem", "256",
                                 "--timeout", str(test.limit), "--serial", "client:" + ports[0]],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return collect_with_kills(test, ports[1], log, kills)
    finally:
        emulator.terminate()
        emulator.wait()


def step_line(test, words, _):
    """
    A recording over a line that loses, doubles and changes HARM of 100,000 bytes in both directions: line+HARM+KILLS. Its
    collector is killed KILLS times, anywhere in the log, and another one goes on.
    """
    harm, kills = int(words[0]), int(words[1])
    log, iso = test.path("%d.rvlog" % (len(test.logs) + 1)), test.path("line.iso")
    options = "mode=record mem=%s vcpus=%d log=serial end=bochs" % (test.entry.memory, test.entry.vcpus)
    guest = test.guest() + "=guest" + ("" if test.entry.words == "-" else " " + test.entry.words)
    test.call(["tools/mkiso", iso, " ".join([options] + words[2:]), guest], GRACE)
    require(test.code == 0, "tools/mkiso failed")
    with subprocess.Popen(["test/tool/bad_line.py", "1", str(harm)], stdout=subprocess.PIPE, text=True) as line:
        try:
            code, sizes = record_over(test, line, iso, kills)
            numbers = [int(number) for number in re.findall(r"\d+", line.stdout.read())]
        finally:
            line.kill()
    require(len(numbers) == 2, "the line ended without a word")
    test.said = read(test.path("collected")) + "%d bytes passed, %d harmed; sizes %s\n" % (*numbers, sizes)
    with open(test.path("output"), "a", encoding="utf-8") as file:
        file.write(test.said)
    require(code == 0, "the last collector's exit code is %d" % code)
    require(numbers[1] > 0 or not harm, "the line harmed nothing")
    test.call([test.tools.retro, "verify", log], GRACE)
    require(test.code == 0, "the log is not whole")
    console_of(test, log)
    check_output(test, False)
    check_readers(test, log)
    test.logs.append(log)


def step_replay(test, words, _):
    recorded = test.path("console-recorded")
    if not words and test.entry.steps[0].startswith(("record", "line")) and not os.path.exists(recorded):
        os.link(test.console, recorded)
    verdict = test.retro("replay", words, [test.logs[-1]])
    if test.code == 0:
        require(verdict.get("equal") is True, "exit code 0, but the verdict does not say equal")
        require(verdict["trailer"]["memory_digest"] == verdict["recorded"]["memory_digest"], "memory digests differ")
        require(os.path.exists(recorded) is False or read(recorded) == read(test.console), "the consoles differ")


def lines_of(path, kind):
    return [line for line in read(path).splitlines() if line.startswith(kind)]


def step_differ(test, _, __):
    """The last two recordings took different ways and came to the same results."""
    first, second = [log.replace(".rvlog", "") for log in test.logs[-2:]]
    consoles = [test.path("console-" + os.path.basename(name)) for name in (first, second)]
    require(lines_of(consoles[0], "race:") != lines_of(consoles[1], "race:"), "two seeds gave the same race")
    require(lines_of(consoles[0], "result:") == lines_of(consoles[1], "result:"), "two seeds gave other results")


def blocks(data):
    """Yields type, begin, end, and for COMMITS the number of records, of each block of a log."""
    at = 0
    while at + HEAD <= len(data):
        kind, length = struct.unpack_from("<H", data, at + 4)[0], struct.unpack_from("<I", data, at + 8)[0]
        count = struct.unpack_from("<I", data, at + HEAD + 16)[0] if kind == COMMITS else 0
        yield kind, at, at + HEAD + length + TAIL, count
        at += HEAD + length + TAIL


def cut(test, data, size, commits):
    log = test.path("cut-%d.rvlog" % size)
    with open(log, "wb") as file:
        file.write(data[:size])
    test.retro("replay", [], [log])
    require(test.code == 4, "cut at byte %d: exit code %d instead of 4" % (size, test.code))
    if commits is not None:
        text = "replayed up to commit %d," % commits
        require(text in test.said, "cut at byte %d: retro does not say: %s" % (size, text))


def step_cuts(test, _, __):
    """The log cut off in several places replays up to its last whole block."""
    with open(test.logs[-1], "rb") as file:
        data = file.read()
    runs = [(begin, end, count) for kind, begin, end, count in blocks(data) if kind == COMMITS]
    require(len(runs) > 2, "the log has too few blocks to cut between")
    first, middle = runs[0][2], len(runs) // 2
    up_to_middle = sum(count for _, _, count in runs[:middle])
    cut(test, data, 0, None)
    cut(test, data, runs[0][0] // 2, None)
    cut(test, data, runs[0][1] + HEAD + 3, first)
    cut(test, data, runs[middle][0], up_to_middle)
    cut(test, data, runs[middle][1] - 1, up_to_middle)
    cut(test, data, len(data) - 1, sum(count for _, _, count in runs))
    test.code = 0


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def harm(data, how):
    data = bytearray(data)
    _, begin, end, _ = next(block for block in blocks(data) if block[0] == COMMITS)
    if how == "flip-first":
        data[5] ^= 1
    elif how == "flip-commit":
        data[(begin + end) // 2] ^= 0x10
    elif how in ("semantics", "traits"):
        length = struct.unpack_from("<I", data, 8)[0]
        if how == "semantics":
            struct.pack_into("<I", data, HEAD + 4, 99)
        else:  # the header ends with them and a byte, the branch event: FMA (bit 2) changes, RTM (bit 6) comes
            data[HEAD + length - 9] ^= 0x44
        struct.pack_into("<I", data, HEAD + length, crc32c(data[:HEAD + length]))
    elif how == "garbage":
        data = bytearray(os.urandom(5000))
    else:
        raise Failure("table: unknown harm: " + how)
    return data


def step_refused(test, words, _):
    """
    The log, harmed: retro refuses it, and so does the hypervisor, which is booted here without retro; its messages
    come by port 0xE9.
    """
    how = words[0]
    log, iso = test.path("harmed.rvlog"), test.path("harmed.iso")
    with open(test.logs[-1], "rb") as file:
        data = harm(file.read(), how)
    with open(log, "wb") as file:
        file.write(data)
    test.retro("replay", [], [log])
    if how in ("semantics", "traits"):
        require(test.code == 10, "retro: exit code %d instead of 10" % test.code)
    else:
        require(test.code == 3, "retro: exit code %d instead of 3" % test.code)
    options = "mode=replay mem=%s vcpus=%d log=none end=bochs msg-port-e9=on" % (test.entry.memory, test.entry.vcpus)
    test.call(["tools/mkiso", iso, options, test.guest() + "=guest", log + "=log"], GRACE)
    require(test.code == 0, "tools/mkiso failed")
    test.call(["tools/emulate", "bochs", "--iso", iso, "--cpus", str(test.entry.vcpus + 1), "--mem", "256",
               "--timeout", str(test.limit)], test.limit + GRACE)


STEPS = {"record": step_record, "run": step_run, "replay": step_replay, "soak": step_soak, "differ": step_differ,
         "hunt": step_hunt, "part": step_part, "cuts": step_cuts, "refused": step_refused, "line": step_line, "pages": step_pages}


def run_steps(test):
    """Raises Failure at the first step that does not come out as the table says."""
    steps = test.entry.steps
    for number, step in enumerate(steps, 1):
        verb, *words = step.split("+")
        expected, pattern = (test.entry.code, test.entry.pattern) if number == len(steps) else (0, "")
        require(verb in STEPS, "table: unknown step: " + verb)
        test.code = 0
        STEPS[verb](test, words, expected != 0)
        require(test.code == expected, "step %d (%s): exit code %d instead of %d" % (number, step, test.code, expected))
        require(re.search(pattern, test.said), "step %d (%s): no line matches: %s" % (number, step, pattern))
