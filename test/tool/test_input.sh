# Console input: all of it arrives once and in order, over bad lines, with a slow guest, by collectors that are killed.
. "$(dirname "$0")/lib.sh"

# 30 KB, every byte value but the one that ends it; that comes last.
python3 - "$T/typed" <<'END'
import random, sys
random.seed(5)
values = [b for b in range(256) if b != 4]
open(sys.argv[1], "wb").write(bytes(random.choice(values) for _ in range(30000)) + b"\4")
END

given() {
    start_fake commits=200 input="$T/got" "$@"
}

for words in "" "lossy=1" "slow=100" "lossy=1 slow=200 noise=1"; do
    rm -f "$T/got" "$T/a.log"
    # shellcheck disable=SC2086 # words
    given $words
    expect 0 $RETRO collect --input "$T/typed" "tcp:127.0.0.1:$port" -o "$T/a.log"
    cmp "$T/typed" "$T/got"
    said out "guest: done"
done

# From a pipe that comes in pieces.
rm -f "$T/got" "$T/a.log"
given
{ head -c 10000 "$T/typed"; sleep 0.3; tail -c +10001 "$T/typed"; } |
    expect 0 $RETRO collect --input - "tcp:127.0.0.1:$port" -o "$T/a.log"
cmp "$T/typed" "$T/got"

# Collectors that are killed: the next one goes on in the file where the hypervisor is.
rm -f "$T/got" "$T/a.log"
given slow=40 rate=300000
for size in 2000 9000 17000; do
    $RETRO collect --append --input "$T/typed" "tcp:127.0.0.1:$port" -o "$T/a.log" >/dev/null 2>&1 &
    collector=$!
    wait_for at_least "$T/got" $size
    kill -KILL $collector
    wait $collector 2>/dev/null || true
done
expect 0 $RETRO collect --append --input "$T/typed" "tcp:127.0.0.1:$port" -o "$T/a.log"
cmp "$T/typed" "$T/got"

# A hypervisor that takes none; sources and inputs that cannot be.
rm -f "$T/a.log"
start_fake commits=100
expect 0 $RETRO collect --input "$T/typed" "tcp:127.0.0.1:$port" -o "$T/a.log"
said err "took no console input"
$FAKE file "$T/capture" commits=10
expect 1 $RETRO collect --input "$T/typed" "$T/capture" -o "$T/b.log"
said err "nobody there takes input"
start_fake commits=100
expect 8 $RETRO collect --input "$T/none" "tcp:127.0.0.1:$port" -o "$T/b.log"
expect 1 $RETRO collect --interactive "tcp:127.0.0.1:$port" -o "$T/b.log" --force </dev/null
said err "no terminal"
expect 1 $RETRO collect -i --input - "tcp:127.0.0.1:$port" -o "$T/b.log" --force

# The terminal: keys go through as they are, Ctrl-A x leaves, and it is as before after every end.
cat >"$T/typist.py" <<'END'
import os, pty, select, signal, subprocess, sys, termios, time
end, keys, retro = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
child = subprocess.Popen(retro, stdin=slave, stdout=subprocess.DEVNULL, stderr=sys.stderr, start_new_session=True)
deadline = time.time() + 20
while termios.tcgetattr(slave)[3] & termios.ICANON and time.time() < deadline:
    time.sleep(0.02)
assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG), "not raw"
os.write(master, keys)
if end == "later":
    time.sleep(0.5)
    os.write(master, b"\1x")
if end.startswith("SIG"):
    time.sleep(0.5)
    child.send_signal(getattr(signal, end))
code = child.wait(20)
assert termios.tcgetattr(slave) == before, "the terminal is not as it was"
sys.exit(code if code >= 0 else 128 - code)
END
on_terminal() {
    expect "$1" python3 "$T/typist.py" "$2" "$3" $RETRO "${@:4}"
}
typist() {
    on_terminal "$@" collect --force -i "tcp:127.0.0.1:$port" -o "$T/c.log"
}
rm -f "$T/got"
given
typist 0 exit 'a\r\x03\x01\x01b\x7f\x04'
printf 'a\r\003\001b\177\004' >"$T/want"
cmp "$T/want" "$T/got"
given
typist 11 leave 'abc\x01x'
for signal in TERM INT; do
    given
    typist 11 SIG$signal 'abc'
done
for signal in HUP:129 QUIT:131 ABRT:134; do
    given
    typist "${signal#*:}" "SIG${signal%:*}" 'abc'
done

# Keys that nobody takes, even more of them than are kept, do not keep Ctrl-A x from being seen.
for keys in a "$(printf '%6000s' '' | tr ' ' b)"; do
    on_terminal 11 later "$keys" collect --force -i listen:0 -o "$T/c.log"
done

# What ends the program while there is no collection yet puts the terminal back, too.
make_home
printf '#!/bin/sh\nexec sleep 5\n' >"$home/tools/mkiso"
for signal in TERM:143 INT:130; do
    on_terminal "${signal#*:}" "SIG${signal%:*}" a record -i --home "$home" --guest "$home/guest file=1.elf" -o "$T/d.log"
done
