# Logs harmed at random: every look at them ends with an exit code of its own, and no sanitizer's finding.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/a.log" commits=300
python3 - "$T" "$RETRO" <<'END'
import random, subprocess, sys
scratch, retro = sys.argv[1:]
seed = 20260101
random.seed(seed)
sound = open(scratch + "/a.log", "rb").read()
for round in range(60):
    log = bytearray(sound)
    for _ in range(random.randint(1, 4)):
        at, kind = random.randrange(len(log)), random.random()
        if kind < 0.5:
            log[at] ^= 1 << random.randrange(8)
        elif kind < 0.7:
            del log[at:at + random.randint(1, 50)]
        elif kind < 0.9:
            log[at:at] = bytes(random.randrange(256) for _ in range(random.randint(1, 30)))
        else:
            log = log[:at + 1]
    open(scratch + "/bad.log", "wb").write(log)
    for look in ["info", "verify", "stats", "dump", "console", "stats --json", "dump --json", "info --json"]:
        run = subprocess.run([retro, *look.split(), scratch + "/bad.log"], capture_output=True)
        assert run.returncode in (0, 3, 4), (seed, round, look, run.returncode, run.stderr[-500:])
END
