# record, replay and run, with scripts in place of ISO maker and emulator that run the fake hypervisor.
. "$(dirname "$0")/lib.sh"

make_home
retro() {
    local command=$1
    shift
    $RETRO "$command" --home "$home" --guest "$home/guest file=1.elf" "$@"
}

# The hypervisor's and the modules' command lines; CPUs; the log.
FAKE_WORDS="commits=500 linger=100"
$FAKE file "$T/want.log" commits=500
expect 0 retro record --vcpus 3 --mem 128M --append "counters 1000 x=y" --chunk 7000 --seed 5 --chaos 9 --hv "stride=3 pause=9" \
    --ips 5000000 -o "$T/a.log"
cmp "$T/want.log" "$T/a.log"
said out "guest: counters 123 456"
said err "recorded .*: guest ended with status 0; 500 commits, .* memory digest 1234567890abcdef"
cp "$home/iso" "$T/out"
said out '^mode=record mem=128M vcpus=3 log=serial end=bochs chunk=7000 seed=5 chaos=9 stride=3 pause=9$'
said out 'guest.elf=guest counters 1000 x=y$'
cp "$home/arguments" "$T/out"
said out '^bochs --iso .* --cpus 4 .*--serial client:[0-9]+ .*--ips 5000000'

# An unknown emulator is the command line's fault, not a crash.
expect 1 retro record --emulator vmware -o "$T/never.log"
said err "'vmware' is none of bochs, qemu and qemu-uefi"
expect 1 retro record --chunk 0 -o "$T/never.log"
said err "'0' is not a number of TSC ticks"
[ ! -e "$T/never.log" ]
# A log that is there is overwritten.
cp "$T/a.log" "$T/twice.log"
expect 0 retro record -o "$T/twice.log"
cmp "$T/want.log" "$T/twice.log"

# Replay: what the log says, and what the report says.
FAKE_WORDS="report=1"
expect 0 retro replay "$T/a.log"
said err "^retro: equal: 500 commits, memory digest 1234567890abcdef, 2 vCPU digests, 49 bytes of console"
cp "$home/iso" "$T/out"
said out '^mode=replay mem=64M vcpus=2 log=serial end=bochs seed=1$'
said out 'guest.elf=guest counters 1000$'
said out '/log=log$'
for flip in memory vcpu console; do
    FAKE_WORDS="report=1 flip=$flip"
    expect 2 retro replay "$T/a.log"
    said err "NOT EQUAL"
    said err "$flip"
done
FAKE_WORDS="report=1 end=abort status=divergence"
expect 2 retro replay --json "$T/a.log"
said err "NOT EQUAL: aborted: vCPU 1, chunk 17: page 0x123 differs"
python3 -c 'import json,sys; o=json.load(open(sys.argv[1])); assert not o["equal"] and o["code"]==2 and "0x123" in o["abort"]' "$T/out"
FAKE_WORDS="report=1 end=abort status=bad-log"
expect 10 retro replay "$T/a.log"
FAKE_WORDS="report=1 status=divergence"
expect 2 retro replay "$T/a.log"
FAKE_WORDS="report=1 end=none status=ok"
expect 2 retro replay "$T/a.log"
FAKE_WORDS="report=1"
expect 0 retro replay --json "$T/a.log"
python3 -c 'import json,sys; o=json.load(open(sys.argv[1])); assert o["equal"] and o["differences"]==[]' "$T/out"

# Logs that are refused before anything boots; a cut one replays as far as it goes.
rm "$home/arguments"
expect 3 retro replay tools/tools.mk
expect 8 retro replay "$T/none.log"
expect 1 retro replay
python3 - "$T/a.log" "$T/newer.log" <<'END'
import struct, sys
def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
data = bytearray(open(sys.argv[1], "rb").read())
length = struct.unpack_from("<I", data, 8)[0]
data[24:28] = struct.pack("<I", 99)
struct.pack_into("<I", data, 20 + length, crc32c(data[:20 + length]))
open(sys.argv[2], "wb").write(data)
END
expect 10 retro replay "$T/newer.log"
said err "has replay semantics 99"
[ ! -e "$home/arguments" ]
head -c 2000 "$T/a.log" >"$T/cut.log"
expect 4 retro replay "$T/cut.log"
said err "no end to compare with"

# Runs that go wrong.
FAKE_WORDS="end=none status=refused"
expect 6 retro record -o "$T/b.log"
FAKE_WORDS="commits=100 end=none status=ok"
expect 4 retro record -o "$T/b.log"
FAKE_WORDS="die"
expect 9 retro record -o "$T/b.log"
said err "panic: no such model"
FAKE_WORDS="sleep"
expect 7 retro record --timeout 1 -o "$T/b.log"
FAKE_WORDS="commits=100 hang=1 end=none status=none"
expect 7 retro record --timeout 2 -o "$T/b.log"
FAIL_MKISO=1 expect 9 retro record -o "$T/b.log"
said err "no room on the disk"
expect 1 retro record --append 'a;b' -o "$T/b.log"
expect 1 retro record --mem 3M -o "$T/b.log"
expect 1 retro record --vcpus 9 -o "$T/b.log"
expect 1 retro record
expect 8 $RETRO record --home "$T" --guest "$home/guest file=1.elf" -o "$T/b.log"
expect 8 $RETRO record --home "$home" --guest "$T/none" -o "$T/b.log"

# mode=run has no log; a result may come all the same.
FAKE_WORDS="report=1"
expect 0 retro run --json
python3 -c 'import json,sys; o=json.load(open(sys.argv[1])); assert o["counters"][0]["chunks"]==500' "$T/out"
FAKE_WORDS="report=1 end=none"
expect 0 retro run

# soak: an older log is not touched; where no round fails, none stays.
FAKE_WORDS="report=1"
echo older >"$T/s.log"
expect 1 retro soak --count 1 -o "$T/s.log"
said err 's.log exists'
[ "$(cat "$T/s.log")" = older ]
rm "$T/s.log"
FAKE_WORDS="commits=100 exit=7"
expect 5 retro soak --count 1 -o "$T/s.log"
expect 0 $RETRO verify "$T/s.log"

# ^C ends the emulator too, and nothing stays behind.
FAKE_WORDS="commits=20000 rate=20000"
retro record -o "$T/c.log" >/dev/null 2>&1 &
recorder=$!
wait_for at_least "$T/c.log" 5000
kill -INT "$(pgrep -P $recorder || echo $recorder)"
code=0
wait $recorder || code=$?
[ "$code" = 11 ]
expect 4 $RETRO verify "$T/c.log"
[ -z "$(ls "$T/tmp")" ]
[ -z "$(pgrep -f "$T/tmp")" ]
