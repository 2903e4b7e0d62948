# diff: the first commit that differs and why, header, console and end; symbols; logs that are cut or damaged.
. "$(dirname "$0")/lib.sh"

# A guest's image whose code is at the fake log's positions.
printf '.globl start_here\n.type start_here,@function\nstart_here: .fill 8\n.size start_here,8\n.type work,@function\nwork: .fill 65536\n.size work,65536\n' >"$T/guest.s"
as --64 "$T/guest.s" -o "$T/guest.o"
ld -Ttext=0x100000 -e start_here "$T/guest.o" -o "$T/guest.elf"

make_log() {
    $FAKE file "$T/$1.log" commits=500 "${@:2}"
}
make_log a
make_log b
expect 0 $RETRO diff "$T/a.log" "$T/b.log"
said out '^all 500 commits are equal$'
expect 0 $RETRO diff --json "$T/a.log" "$T/b.log"
python3 -c 'import json,sys; o=json.load(open(sys.argv[1])); assert o["equal"] and not o["header"] and not o["end"] and "commit" not in o' "$T/out"

# Each way to differ, at commit 250; how long a chunk took is none.
make_log base odd=250 how=none
for how in vcpu events time end position registers state input; do
    make_log odd odd=250 how=$how
    expect 2 $RETRO diff --json "$T/base.log" "$T/odd.log"
    kind=$how
    [ $how != input ] || kind=kind
    python3 - "$T/out" $kind <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert not o["equal"] and o["code"] == 2 and o["commit"] == 250 and o["kind"] == sys.argv[2], o
assert not o["header"] and not o["end"], o
assert o["a"]["last_seen"]["vcpu0"]["commit"] < 250
END
    expect 2 $RETRO diff "$T/base.log" "$T/odd.log"
    said out '^the logs part at commit 250: '
    said out '^  A: a chunk of vCPU 0 is cut at 100010 after 50000 ticks'
done
make_log odd odd=250 how=duration
expect 0 $RETRO diff "$T/base.log" "$T/odd.log"
make_log odd odd=250 how=events
expect 2 $RETRO diff --guest "$T/guest.elf" "$T/base.log" "$T/odd.log"
said out 'begins with other interrupts'
said out 'A: a chunk of vCPU 0 is cut at 100010 \(work\+0x8\)'
said out 'B: a chunk of vCPU 0 takes timer 40 and is cut at'
said out '^  vCPU 0: last seen at [0-9a-f]+ \(work\+0x[0-9a-f]+\) \(commit 2[0-9]+\)'
lacks out 'vCPU 1:'
make_log in1 odd=250 how=input
make_log in2 odd=250 how=typed
expect 2 $RETRO diff "$T/in1.log" "$T/in2.log"
said out 'other input comes in'
said out 'B: 5 bytes of input "typed"'

# One that goes on, header, console, end.
make_log long commits=700
expect 2 $RETRO diff "$T/a.log" "$T/long.log"
said out 'part at commit 501: one log has no commit more'
said out 'A: nothing more, the guest has ended'
said out 'end: commits: A 500, B 700'
make_log seed seed=9 vcpus=1
expect 2 $RETRO diff "$T/a.log" "$T/seed.log"
said out 'header: seed: A 1, B 9'
said out 'header: vcpus: A 2, B 1'
said out '^so state and memory differ from the start'
# Another seed changes the state from the first commit on: only the records count.
make_log machine machine=9
expect 2 $RETRO diff "$T/a.log" "$T/machine.log"
said out '^all 500 commits are alike in their records$'
make_log machine machine=9 odd=250 how=position
expect 2 $RETRO diff "$T/base.log" "$T/machine.log"
said out '^the logs part at commit 250: the chunk is cut at another place'
make_log lost lost=3
make_log bad lost=4 exit=1 flip=memory
expect 2 $RETRO diff "$T/lost.log" "$T/bad.log"
said out '^all 500 commits are equal$'
said out '^console from line 4:'
said out '^  B: "race: lost 4"'
said out '^end: status: A 0, B 1'
said out '^end: memory_digest: A "1234567890abcdef", B "1234567890abcdf0"'

# Cut off: as far as it goes. Damaged: said so.
head -c 3000 "$T/a.log" >"$T/cut.log"
expect 2 $RETRO diff "$T/cut.log" "$T/a.log"
said out 'A: nothing more, the log was cut off'
expect 0 $RETRO diff "$T/cut.log" "$T/cut.log"
cp "$T/a.log" "$T/harmed.log"
printf '\377\377\377' | dd of="$T/harmed.log" bs=1 seek=3000 conv=notrunc 2>/dev/null
expect 3 $RETRO diff "$T/a.log" "$T/harmed.log"
{ cat "$T/a.log"; echo rubbish; } >"$T/longer.log"
expect 3 $RETRO diff "$T/a.log" "$T/longer.log"
expect 3 $RETRO diff "$T/longer.log" "$T/longer.log"
$RETRO compress "$T/a.log" 2>/dev/null
echo rubbish >>"$T/a.log.zst"
expect 3 $RETRO diff "$T/a.log" "$T/a.log.zst"
expect 3 $RETRO diff --json "$T/a.log.zst" "$T/a.log.zst"
said out '"equal":false'
# A record that does not decode, in a sound block: nothing behind it is read.
python3 - "$T/a.log" "$T/record.log" <<'END'
import sys
sys.path.insert(0, "test/tool")
import harm
blocks = harm.split(open(sys.argv[1], "rb").read())
victim = [i for i, rest in enumerate(blocks) if rest[0] == 2][1]
kind, flags, payload = blocks[victim]
blocks[victim] = (kind, flags, payload[:-1])
open(sys.argv[2], "wb").write(harm.join(blocks))
END
expect 3 $RETRO verify "$T/record.log"
cp "$T/err" "$T/verify"
expect 3 $RETRO diff "$T/record.log" "$T/a.log"
said out 'A: nothing more, the log is damaged'
head -n 1 "$T/verify" | cmp - <(head -n 1 "$T/err")
expect 8 $RETRO diff "$T/a.log" "$T/none.log"
expect 1 $RETRO diff "$T/a.log"
expect 1 $RETRO diff "$T/a.log" "$T/a.log" "$T/a.log"

# dump names positions too; images that are none, or torn anywhere, do no harm.
expect 0 $RETRO dump --guest "$T/guest.elf" --from 250 --to 250 "$T/base.log"
said out 'rip 100010 <work\+0x8> rflags 202'
expect 0 $RETRO dump --json --guest "$T/guest.elf" --from 250 --to 250 "$T/base.log"
said out '"rip":"0000000000100010","symbol":"work\+0x8"'
expect 1 $RETRO dump --guest "$T/guest.s" "$T/a.log"
expect 8 $RETRO dump --guest "$T/none" "$T/a.log"
python3 - "$T/guest.elf" "$T" <<'END'
import random, sys
random.seed(1)
data = open(sys.argv[1], "rb").read()
table = int.from_bytes(data[40:48], "little")  # e_shoff
for i in range(24):
    torn = bytearray(data[:random.randrange(64, len(data))] if i % 3 == 0 else data)
    for _ in range(8):
        at = random.choice((random.randrange(40, 64), random.randrange(table, len(data)), len(data) - random.randrange(1, 900)))
        if at < len(torn):
            torn[at] = random.randrange(256)
    open("%s/torn%d.elf" % (sys.argv[2], i), "wb").write(torn)
END
for torn in "$T"/torn*.elf; do
    code=0
    $RETRO dump --guest "$torn" --from 250 --to 250 "$T/base.log" >"$T/out" 2>"$T/err" || code=$?
    [ $code = 0 ] || [ $code = 1 ] || { cat "$T/err"; exit 1; }
done
