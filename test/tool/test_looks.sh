# info, verify, stats, dump and console on sound logs.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/a.log" commits=1000 vcpus=2
expect 0 $RETRO verify "$T/a.log"
said out "sound and complete, .* 1000 commits"
expect 0 $RETRO info "$T/a.log"
said out "2 vCPUs, 64 MiB"
said out "guest ended with status 0"
said out "1234567890abcdef"
expect 0 $RETRO info --json "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert o["state"] == "complete" and o["commits"] == 1000 and sum(o["chunks"]) == 1000
assert o["header"]["guest_command_line"] == "counters 1000" and o["trailer"]["outcome"] == "exit"
assert o["usable_bytes"] == o["bytes"]
END
expect 0 $RETRO stats --json "$T/a.log"
python3 - "$T/out" "$T/a.log" <<'END'
import json, os, sys
o = json.load(open(sys.argv[1]))
assert sum(b["bytes"] for b in o["blocks"].values()) == os.path.getsize(sys.argv[2])
assert sum(e["count"] for v in o["chunks"] for e in v.values()) == 1000 == sum(o["lag_log2"])
assert o["counters"][1]["chunks"] == 500
END
expect 0 $RETRO stats "$T/a.log"
said out "all chunks +1000"
expect 0 $RETRO dump --json "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
chunks = [r for r in rows if r["kind"] == "chunk"]
assert [c["seq"] for c in chunks] == list(range(1, 1001))
assert all(c["vcpu"] in (0, 1) for c in chunks)
assert all(("position" in c) == (c["end"] == "position") for c in chunks)
assert any(c.get("events") for c in chunks) and any("time_base" in c for c in chunks)
END
expect 0 $RETRO dump --from 10 --to 19 --vcpu 1 "$T/a.log"
said out '^ +[0-9]+ vcpu 1'
lacks out '^ +[0-9]+ vcpu 0'
expect 0 $RETRO dump --from 10 --to 19 "$T/a.log"
[ "$(grep -c '^ ' "$T/out")" = 10 ]
expect 0 $RETRO console "$T/a.log"
[ "$(cat "$T/out")" = "$(printf 'guest: hello\nguest: counters 123 456\nguest: done')" ]

# What is asked for and is not there.
expect 1 $RETRO dump --from 20 --to 19 "$T/a.log"
said err '--from is behind --to'
expect 1 $RETRO dump --vcpu 2 "$T/a.log"
said err 'has 2 vCPUs: none of them is vCPU 2'
for look in info verify stats dump console; do
    expect 3 $RETRO $look README.md
    said err 'no block begins here at offset 0: this is no log of Retrovisor'
done
expect 0 $RETRO --version
said out '^retro: log format [0-9]+\.[0-9]+, replay semantics [0-9]+$'
