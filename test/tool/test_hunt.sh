# hunt: what is found, counted, and kept; when it gives up; nothing stays behind.
. "$(dirname "$0")/lib.sh"

make_home
retro() {
    local command=$1
    shift
    $RETRO "$command" --home "$home" --guest "$home/guest file=1.elf" "$@"
}
cat >"$home/seeds" <<'END'
1 commits=50 lost=0
2 commits=60 lost=0
3 commits=70 lost=17 exit=1
4 commits=80 lost=0
5 commits=90 lost=4
6 sleep
7 commits=50 lost=0
9 die
10 status=bad-guest end=none cut=1
END

# Until the console matches: the log of that seed is kept, and all before it is counted.
$FAKE file "$T/want.log" commits=70 lost=17 exit=1
expect 0 retro hunt --tries 8 --match 'lost [1-9]' -o "$T/a.log"
cmp "$T/want.log" "$T/a.log"
said out '^ +2 +1 +\(no match\)$'
said out '^ +1 +3 +lost 1$'
said out '^ +2 +1 +exit 0$'
said out '^ +1 +3 +exit 1$'
said err 'found after 3 recordings in .*: seed 3, chaos 80; kept as'
cp "$home/iso" "$T/out"
said out ' seed=3 chaos=80$'

# By another first seed, another end, both; what is shown is another expression's group, line by line.
expect 0 retro hunt --tries 8 --seed 4 --chaos 33 --json --match 'lost [1-9]' --end 0 --show '^race: lost ([0-9]+)$' -o "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert o["found"] and o["code"] == 0 and (o["seed"], o["chaos"], o["recordings"]) == (5, 33, 2), o
assert o["matches"] == [{"match": "0", "count": 1, "first_seed": 4}, {"match": "4", "count": 1, "first_seed": 5}], o
assert o["ends"] == [{"end": "exit 0", "count": 2, "first_seed": 4}], o
END
expect 0 retro hunt --tries 8 --end bad -o "$T/a.log"
said err 'seed 3,'
expect 0 retro hunt --tries 8 --seed 2 --no-match 'lost 0' -o "$T/a.log"
said err 'seed 3,'
expect 0 retro hunt --tries 2 --seed 5 --timeout 5 --end timeout -o "$T/a.log"
said err 'seed 6,'

# What a stopped recording lacks is nothing that does not match, unless its end is wanted.
expect 12 retro hunt --tries 1 --seed 6 --timeout 1 --no-match 'lost' -o "$T/b.log"
[ ! -e "$T/b.log" ]
expect 0 retro hunt --tries 1 --seed 6 --timeout 1 --no-match 'lost' --end timeout -o "$T/b.log"
rm "$T/b.log"

# Expressions that match nothing at all find it everywhere, up to the console's last byte and not behind.
for show in 'x*' '$' '^'; do
    expect 0 retro hunt --tries 1 --show "$show"
    said out '^ +1 +1 +$'
done

# Not found; nothing looked for; side by side, each seed once.
rm "$T/a.log"
expect 12 retro hunt --tries 2 --match 'lost [1-9]' -o "$T/a.log"
said err 'not found in 2 recordings'
[ ! -e "$T/a.log" ]
expect 0 retro hunt -j 3 --tries 5 --show 'lost .*' --json
python3 - "$T/out" <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert not o["found"] and o["recordings"] == 5 and sum(m["count"] for m in o["matches"]) == 5, o
assert {m["match"]: m["count"] for m in o["matches"]} == {"lost 0": 3, "lost 17": 1, "lost 4": 1}, o
END
expect 0 retro hunt -j 3 --tries 8 --match 'lost [1-9]' -o "$T/a.log"
$RETRO console "$T/a.log" | grep -q 'lost [1-9]'

# A recording that fails ends the hunt and says why; so do conditions that cannot be.
expect 9 retro hunt --tries 1 --seed 9 --match x -o "$T/b.log"
said err 'no such model'
said err 'seed 9 failed'
expect 5 retro hunt --tries 1 --seed 10 --match x -o "$T/b.log"
said err 'seed 10 failed'
for end in exit bad1 times ''; do
    expect 1 retro hunt --tries 1 --end "$end" -o "$T/b.log"
done
expect 1 retro hunt --tries 1 --match '(' -o "$T/b.log"
expect 1 retro hunt --match x -o "$T/b.log"
expect 1 retro hunt --tries 1 --match x
expect 1 retro hunt --tries 1 --match x --no-match y -o "$T/b.log"
expect 8 retro hunt --tries 3 --match 'lost 17' -o "$T/none/b.log"
lacks err 'found after'
expect 8 retro hunt --tries 3 --match 'lost 17' --json -o "$T/none/b.log"
said out '"found":false'

# ^C and a kill end emulators, too.
retro hunt --tries 4 --seed 6 --match x -o "$T/b.log" >/dev/null 2>&1 &
hunt=$!
wait_for pgrep -f "$T/tmp/retro-hunt" >/dev/null
sleep 0.3
kill -INT "$(pgrep -P $hunt -f hunt || echo $hunt)"
code=0
wait $hunt || code=$?
[ "$code" = 11 ]
[ -z "$(ls "$T/tmp")" ]
gone() {
    [ -z "$(pgrep -f "$T/tmp")" ]
}
wait_for gone

# A try leaves nothing to the next one; and one that still makes its image ends at once, too.
cp "$home/tools/emulate" "$T/emulate"
sed -i '2i ls "${TMPDIR%/*}" >"${0%/*}/../listing"' "$home/tools/emulate"
expect 0 retro hunt --tries 3 --match 'lost 17' -o "$T/b.log"
cp "$home/listing" "$T/out"
said out '^2\.out$'
lacks out '^[01]\.(out|rvlog)$'
printf '#!/bin/sh\nexec sleep 60\n' >"$home/tools/mkiso"
SECONDS=0
expect 11 timeout --preserve-status -s INT 1 "$RETRO" hunt --home "$home" --guest "$home/guest file=1.elf" --tries 4 --match x -o "$T/b.log"
[ $SECONDS -lt 8 ]
wait_for gone

# The help names each end that is taken.
expect 0 "$RETRO" hunt --help
tr -s ' \n' ' ' <"$T/out" >"$T/words"
said words 'guest ends so: an exit status, bad \(all but 0\), shutdown, halted, refused, limit, power-off, reset, timeout '
